//! Why a call to another process failed: told apart by what the caller may conclude.

use hearth_cluster::PushError;
use hearth_common::{Classify, ErrorKind};
use hearth_model::AnswerError;
use hearth_query::fetch::FetchError;

use crate::limits::MESSAGE_BYTES_MAX;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there: the process is down. The request was not sent.
    #[error("connection refused by {0}")]
    Refused(String),
    /// No connection came about: name not found, no route, no answer in time. The request was not sent.
    #[error("no connection to {peer}: {why}")]
    Unreachable {
        /// Its address.
        peer: String,
        /// In words.
        why: String,
    },
    /// The request is longer than the port takes: it was not sent.
    #[error("a request of {bytes} bytes is not sent, limit {MESSAGE_BYTES_MAX}")]
    TooLarge {
        /// What it is long.
        bytes: usize,
    },
    /// No answer in time. The request may have been carried out.
    #[error("no answer from {0} in time")]
    TimedOut(String),
    /// The connection broke. The request may have been carried out.
    #[error("connection to {peer} broke: {why}")]
    Lost {
        /// Its address.
        peer: String,
        /// In words.
        why: String,
    },
    /// The process answered with an error.
    #[error("{message}")]
    Answered {
        /// What went wrong there.
        kind: ErrorKind,
        /// For people.
        message: String,
    },
    /// The answer does not decode.
    #[error("malformed answer of {peer}: {what}")]
    Malformed {
        /// Its address.
        peer: String,
        /// In words.
        what: String,
    },
}

impl CallError {
    /// Whether it is certain that the request was not carried out.
    pub fn not_sent(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreachable { .. } | Self::TooLarge { .. })
    }

    /// A closed set of words for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::TooLarge { .. } => "too_large",
            Self::TimedOut(_) => "timed_out",
            Self::Lost { .. } => "lost",
            Self::Answered { .. } => "error",
            Self::Malformed { .. } => "malformed",
        }
    }
}

impl Classify for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) | Self::Unreachable { .. } | Self::Lost { .. } => ErrorKind::Unavailable,
            Self::TooLarge { .. } => ErrorKind::InvalidArgument,
            Self::TimedOut(_) => ErrorKind::DeadlineExceeded,
            Self::Answered { kind, .. } => *kind,
            Self::Malformed { .. } => ErrorKind::Internal,
        }
    }
}

impl From<CallError> for PushError {
    fn from(error: CallError) -> Self {
        match error {
            // What an ingester answers when records do not decode.
            CallError::Answered { kind: ErrorKind::Internal, message } => Self::Malformed(message),
            CallError::TooLarge { .. } => Self::Malformed(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<CallError> for FetchError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Answered { kind: ErrorKind::OutOfRange, .. } => Self::Answer(AnswerError::Overflow),
            CallError::Answered { kind: ErrorKind::Internal | ErrorKind::DataLoss, .. }
            | CallError::Malformed { .. }
            | CallError::TooLarge { .. } => Self::Read(Box::new(error)),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
