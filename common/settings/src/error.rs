//! What can be wrong with settings, said so that a person can put it right.

use std::path::PathBuf;

use hearth_common::secrets::hide_in;
use hearth_common::{Classify, ErrorKind};

use crate::redact;

/// Why settings could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key of the file does not exist.
    #[error("{path}:{line}: unknown key '{key}'{hint}", path = path.display(), hint = hint(suggestion))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: u64,
        /// The key as written.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A value of the file does not fit its key, or the file is no YAML.
    #[error("{path}:{line}: {message}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Line of the value, from 1; 0 if it is not known.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// `--set` or a flag names a key that does not exist.
    #[error("{origin}: there is no setting '{key}'{hint}", hint = hint(suggestion))]
    UnknownSetting {
        /// The flag or variable.
        origin: String,
        /// The key as written.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A value from the environment or a flag does not fit its key.
    #[error("{origin}: '{value}' does not fit setting '{key}': {message}")]
    Value {
        /// The flag or variable.
        origin: String,
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values that are fine alone but not together, or out of range.
    #[error("setting '{key}' is {value}: {message}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What must hold.
        message: &'static str,
    },
}

fn hint(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(key) => format!("; did you mean '{key}'?"),
        None => "; `hearth config --defaults` prints all keys".to_owned(),
    }
}

impl Error {
    /// Without the secrets that a value may hold.
    pub(crate) fn hidden(mut self) -> Self {
        match &mut self {
            Self::Value { key, value, message, .. } => {
                let shown = redact::given(key, value);
                if shown != *value {
                    // The message may repeat it.
                    *message = message.replace(value.as_str(), &shown);
                    *value = shown;
                }
            }
            Self::Invalid { key, value, .. } => *value = redact::given(key, value),
            Self::File { message, .. } => *message = hide_in(message),
            Self::Read { .. } | Self::UnknownKey { .. } | Self::UnknownSetting { .. } => {}
        }
        self
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}
