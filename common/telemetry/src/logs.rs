//! One line an event on standard error: for people, as JSON, or as pairs.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::logfmt::{Logfmt, LogfmtFields};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// `time LEVEL module: message key=value`; coloured on a terminal.
    Text,
    /// One JSON object.
    Json,
    /// `key=value` pairs.
    Logfmt,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no filter.
    #[error(
        "log level '{0}' is not valid: write error, warn, info, debug or trace, or module=level pairs with commas"
    )]
    Level(String),
    /// Someone was first.
    #[error("logs are already set up")]
    Again,
}

/// Begins logging for the process.
pub fn init_logs(level: &str, style: LogStyle) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LogError::Level(level.to_owned()))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match style {
        LogStyle::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogStyle::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(true).try_init()
        }
        LogStyle::Logfmt => builder.event_format(Logfmt).fmt_fields(LogfmtFields).try_init(),
    };
    done.map_err(|_| LogError::Again)
}
