//! Why the roster cannot be read or changed.

use hearth_common::{Classify, ErrorKind, Retry};
use hearth_objstore::StoreError;

use super::types::InvalidRoster;

/// A failed call of the roster's store. After a failed proposal nothing is known about its fate: load, and look.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// The object store failed.
    #[error("the store of the roster failed")]
    Store(#[from] StoreError),
    /// The store did not say whether the new version exists.
    #[error("whether version {version} of '{chain}' was written is unknown after {attempts} attempts")]
    OutcomeUnknown {
        /// The chain's prefix.
        chain: String,
        /// The version.
        version: u64,
        /// How often it was put.
        attempts: u32,
        /// The last error.
        #[source]
        source: Option<StoreError>,
    },
    /// Versions went away while they were looked at, again and again.
    #[error("'{chain}' changed under {attempts} looks; try again")]
    Contended {
        /// The chain's prefix.
        chain: String,
        /// How many.
        attempts: u32,
    },
    /// An object or file cannot be decoded.
    #[error("'{key}' is damaged: {why}")]
    Damaged {
        /// The object or file.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer Hearth.
    #[error("'{key}' has format {found}, this version reads up to {known}; upgrade Hearth")]
    NewerFormat {
        /// The object or file.
        key: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The roster contradicts itself.
    #[error("version {version} of the roster is not valid")]
    Invalid {
        /// The version.
        version: u64,
        /// Why.
        #[source]
        source: InvalidRoster,
    },
    /// The proposal does not follow its base, or what it plans for is too close.
    #[error("the proposed roster is refused: {0}")]
    Refused(String),
    /// The bucket or the data folder belongs to another cluster.
    #[error("{place} holds the roster of cluster '{found}', this process belongs to '{expected}'")]
    OtherCluster {
        /// Bucket or folder.
        place: String,
        /// Whose roster it is.
        found: String,
        /// Which cluster this process is in.
        expected: String,
    },
    /// The store has an older roster than this process knows, or another one: the bucket was replaced or restored.
    #[error(
        "the object store's newest roster is version {found}, but version {known} was known before; \
         if the bucket was replaced on purpose, remove the file 'roster' from the data folder"
    )]
    WentBack {
        /// The version that this process knows.
        known: u64,
        /// The newest in the store; 0 if there is none.
        found: u64,
    },
    /// The copy in the data folder cannot be written or read.
    #[error("the copy of the roster in '{path}' cannot be used")]
    Disk {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Classify for RosterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::OutcomeUnknown { .. } | Self::Disk { .. } => ErrorKind::Unavailable,
            Self::Contended { .. } => ErrorKind::Aborted,
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::NewerFormat { .. }
            | Self::OtherCluster { .. }
            | Self::WentBack { .. }
            | Self::Invalid { .. } => ErrorKind::FailedPrecondition,
            Self::Refused(_) => ErrorKind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::OutcomeUnknown { .. } | Self::Contended { .. } | Self::Disk { .. } => {
                Retry::After(std::time::Duration::from_secs(1))
            }
            _ => Retry::Never,
        }
    }
}
