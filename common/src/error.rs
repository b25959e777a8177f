//! Three questions about every error, kept apart: what went wrong (kind), whether a retry helps, and why (source).

use std::time::Duration;

/// A boxed error cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, in the closed set of codes that the wire knows (Connect and gRPC share it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller went away.
    Canceled,
    /// Nothing more is known.
    Unknown,
    /// The request is wrong and stays wrong.
    InvalidArgument,
    /// The deadline passed before the answer was complete.
    DeadlineExceeded,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or a newer version of it does.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A limit was reached.
    ResourceExhausted,
    /// The system is not in the state that the request needs.
    FailedPrecondition,
    /// A concurrent change won.
    Aborted,
    /// A value lies outside what can be represented.
    OutOfRange,
    /// Not built, or switched off.
    Unimplemented,
    /// A defect of ours.
    Internal,
    /// A part that is needed cannot be reached now.
    Unavailable,
    /// Bytes on disk or in the bucket are damaged.
    DataLoss,
    /// No tenant was given.
    Unauthenticated,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// The same request may succeed, after the given pause.
    After(Duration),
}

/// Every error that leaves a module answers these two questions; the wire mapping needs no more.
pub trait Classify: std::error::Error {
    /// What went wrong.
    fn kind(&self) -> ErrorKind;

    /// Whether a retry helps. By default: after a second when the kind is `Unavailable`, `Aborted` or
    /// `ResourceExhausted`, else never.
    fn retry(&self) -> Retry {
        match self.kind() {
            ErrorKind::Unavailable | ErrorKind::Aborted | ErrorKind::ResourceExhausted => {
                Retry::After(Duration::from_secs(1))
            }
            _ => Retry::Never,
        }
    }
}

/// The chain of an error's causes as one line: `a: b: c`. Display of a module's error never repeats its source.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
