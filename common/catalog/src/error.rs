//! Why a root cannot be read or committed.

use hearth_common::{Classify, ErrorKind, JournalId, Position, Retry};
use hearth_objstore::StoreError;

/// A failed call of the catalog. After a failed commit nothing is known about its fate: repeat it, the coverage in the
/// root tells (design: replication B8).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The store failed.
    #[error("the store of roots failed")]
    Store(#[from] StoreError),
    /// The store did not say whether the new root exists.
    #[error(
        "whether version {version} of the root was written is unknown after {attempts} attempts; repeat the commit"
    )]
    OutcomeUnknown {
        /// The version.
        version: u64,
        /// How often it was put.
        attempts: u32,
        /// The last error.
        #[source]
        source: Option<StoreError>,
    },
    /// Others committed first, again and again.
    #[error("lost {attempts} races for the next root; repeat the commit")]
    Contended {
        /// How many.
        attempts: u32,
    },
    /// A root or page cannot be decoded.
    #[error("'{key}' is damaged: {why}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer Hearth.
    #[error("'{key}' has format {found}, this version reads up to {known}; upgrade Hearth")]
    NewerFormat {
        /// The object.
        key: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A block or page of the commit is condemned: its objects are being deleted. Write it anew as another attempt.
    #[error("'{path}' is condemned; write it again under another name")]
    Condemned {
        /// Folder of the block, or key of the page.
        path: String,
    },
    /// An object that the commit names is not in the store.
    #[error("'{key}' is named by the commit and is not in the store; write it again under another name")]
    ObjectMissing {
        /// The object.
        key: String,
    },
    /// The commit starts behind what is covered: entries between would never be published.
    #[error("journal {journal} is covered up to {}, the commit starts after {}", covered.0, after.0)]
    Gap {
        /// The journal.
        journal: JournalId,
        /// What the root covers.
        covered: Position,
        /// Where the commit starts.
        after: Position,
    },
    /// A block that the edit removes is not in the newest root.
    #[error("block {block} is not in the newest root any more")]
    InputGone {
        /// Id and attempt.
        block: String,
    },
    /// The tenant has as many deletions as it may have.
    #[error(
        "{pending} deletions are not carried out yet, the limit is {limit}: wait until the compactor has carried out some, or \
         cancel one"
    )]
    TooManyDeletions {
        /// Those that wait.
        pending: usize,
        /// Most at a time.
        limit: usize,
    },
    /// The deletions that wait name too many blocks.
    #[error(
        "all deletions that wait would name {blocks} blocks, the limit is {limit}: delete a shorter time at once, or wait until \
         the compactor has carried out some"
    )]
    TooManyBlocks {
        /// With the new one.
        blocks: usize,
        /// Most of all deletions together.
        limit: usize,
    },
    /// There is no such deletion, or it is carried out or cancelled.
    #[error("deletion {id:032x} is not pending: it is carried out, cancelled, or never was")]
    NotPending {
        /// Which.
        id: u128,
    },
    /// It cannot be taken back as a whole.
    #[error(
        "deletion {id:032x} is carried out in part, and that part does not come back: cancel with force to keep the rest"
    )]
    CarriedOutInPart {
        /// Which.
        id: u128,
    },
    /// The commit contradicts itself or the root.
    #[error("the commit is not valid: {0}")]
    Invalid(String),
}

impl Classify for CatalogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::OutcomeUnknown { .. } => ErrorKind::Unavailable,
            Self::Contended { .. }
            | Self::Condemned { .. }
            | Self::InputGone { .. }
            | Self::ObjectMissing { .. } => ErrorKind::Aborted,
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::NewerFormat { .. } | Self::CarriedOutInPart { .. } => ErrorKind::FailedPrecondition,
            Self::TooManyDeletions { .. } | Self::TooManyBlocks { .. } => ErrorKind::ResourceExhausted,
            Self::NotPending { .. } => ErrorKind::NotFound,
            Self::Gap { .. } | Self::Invalid(_) => ErrorKind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::OutcomeUnknown { .. } | Self::Contended { .. } => {
                Retry::After(std::time::Duration::from_secs(1))
            }
            _ => Retry::Never,
        }
    }
}
