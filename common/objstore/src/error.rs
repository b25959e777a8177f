//! What goes wrong with a store, and whether it may have happened all the same.

use hearth_common::secrets::hide_in;
use hearth_common::{BoxError, Classify, ErrorKind};

use crate::metrics::Operation;

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("object store: {operation} of '{key}' failed: {kind}")]
pub struct StoreError {
    /// What was tried.
    pub operation: Operation,
    /// On which object; a prefix for listings.
    pub key: String,
    /// What went wrong.
    pub kind: StoreErrorKind,
    /// Why, in the store's words.
    #[source]
    pub source: Option<BoxError>,
}

/// What somebody else says went wrong. Stores and their clients repeat what was asked, with signatures and tokens: only the
/// text is kept, without them.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Told {
    text: String,
    source: Option<Box<Told>>,
}

impl Told {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let source = error.source().map(|source| Box::new(Self::of(source)));
        Self { text: hide_in(&error.to_string()), source }
    }
}

/// What went wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The object does not exist.
    #[error("no such object")]
    NotFound,
    /// The key is not one that this store can hold.
    #[error("not a valid key")]
    InvalidKey,
    /// The object is longer than the caller takes.
    #[error("{bytes} bytes long, limit {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The caller's limit.
        limit: u64,
    },
    /// The range ends behind the object.
    #[error("a range lies outside of the object")]
    OutOfRange,
    /// The store refuses the credentials.
    #[error("access denied; check the credentials and the bucket's policy")]
    Denied,
    /// The URL or the configuration of the store is wrong.
    #[error("{0}")]
    Configuration(String),
    /// The store does not keep a promise that Hearth's data depends on.
    #[error("the store is not usable: {0}")]
    Unusable(String),
    /// Anything else: a server error, a timeout, a broken connection, a full disk. Whether a write took place is unknown.
    #[error("the store did not answer properly")]
    Unavailable,
}

impl StoreError {
    pub(crate) fn new(operation: Operation, key: &str, kind: StoreErrorKind) -> Self {
        Self { operation, key: key.to_owned(), kind, source: None }
    }

    pub(crate) fn caused(
        operation: Operation,
        key: &str,
        kind: StoreErrorKind,
        source: impl Into<BoxError>,
    ) -> Self {
        let told: BoxError = source.into();
        Self { operation, key: key.to_owned(), kind, source: Some(Box::new(Told::of(&*told))) }
    }

    pub(crate) fn from_backend(operation: Operation, key: &str, source: object_store::Error) -> Self {
        use object_store::Error;
        let kind = match &source {
            Error::NotFound { .. } => StoreErrorKind::NotFound,
            Error::InvalidPath { .. } => StoreErrorKind::InvalidKey,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreErrorKind::Denied,
            Error::NotSupported { .. } | Error::NotImplemented { .. } => {
                StoreErrorKind::Unusable("it lacks an operation that is needed".to_owned())
            }
            _ => StoreErrorKind::Unavailable,
        };
        Self::caused(operation, key, kind, source)
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }

    /// For writes: whether the write may have taken place, or may still do so, although the call failed.
    pub fn outcome_unknown(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match &self.kind {
            StoreErrorKind::NotFound => ErrorKind::NotFound,
            StoreErrorKind::InvalidKey | StoreErrorKind::OutOfRange => ErrorKind::Internal,
            StoreErrorKind::TooLarge { .. } => ErrorKind::DataLoss,
            StoreErrorKind::Denied | StoreErrorKind::Configuration(_) | StoreErrorKind::Unusable(_) => {
                ErrorKind::FailedPrecondition
            }
            StoreErrorKind::Unavailable => ErrorKind::Unavailable,
        }
    }
}
