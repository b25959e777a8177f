//! What goes wrong with uploads.

use hearth_common::{Classify, ErrorKind, Retry};
use hearth_objstore::StoreError;
use hearth_symbols::BuildId;

use crate::record::NAME_BYTES_MAX;

/// An upload cannot be begun, received, finished, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is not what was written.
    #[error("the object '{key}' is damaged: {why}")]
    Damaged {
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer version.
    #[error("the object '{key}' has format {found}, this version knows {known}; upgrade Hearth")]
    NewerFormat {
        /// Its key.
        key: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Others changed the same upload all the time.
    #[error(
        "the upload of {build_id} was changed by others {attempts} times while this was tried: try again"
    )]
    Contended {
        /// Which.
        build_id: BuildId,
        /// How often.
        attempts: u32,
    },
    /// A name is too long.
    #[error("{field} has {bytes} bytes, the limit is {NAME_BYTES_MAX}")]
    Name {
        /// Which field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Nobody began it, or it is finished.
    #[error("no upload of {0} is pending: begin one with ShouldInitiateUpload")]
    NotPending(BuildId),
    /// It was never begun.
    #[error("there is no upload of {0}")]
    NotFound(BuildId),
    /// It was begun, but no file came.
    #[error("no file of {0} was received: send it before the upload is finished")]
    NoFile(BuildId),
    /// What came is no program.
    #[error("the file is no ELF file: it begins with {0:02x?}; send the program itself, not compressed")]
    NotElf(Vec<u8>),
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::NewerFormat { .. } | Self::NotPending(_) | Self::NoFile(_) => ErrorKind::FailedPrecondition,
            Self::Contended { .. } => ErrorKind::Aborted,
            Self::Name { .. } | Self::NotElf(_) => ErrorKind::InvalidArgument,
            Self::NotFound(_) => ErrorKind::NotFound,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}
