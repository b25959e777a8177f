//! Why a push was not taken, from wherever that was decided.

use hearth_cluster::push::PushError;
use hearth_common::{Classify, ErrorKind};

use crate::reject::Rejected;

/// Why a request, or a part of it, was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DistributeError {
    /// By this distributor's rules.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// By an ingester's limits.
    #[error("{message}")]
    Refused {
        /// What the ingester says.
        kind: ErrorKind,
        /// For people.
        message: String,
    },
    /// No ingester could take it.
    #[error("profiles were not stored: {message}")]
    Target {
        /// What the target says.
        kind: ErrorKind,
        /// For people.
        message: String,
    },
}

impl Classify for DistributeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Rejected(rejected) => rejected.kind,
            Self::Refused { kind, .. } | Self::Target { kind, .. } => *kind,
        }
    }
}

impl From<PushError> for DistributeError {
    fn from(error: PushError) -> Self {
        Self::Target { kind: error.kind(), message: error.to_string() }
    }
}
