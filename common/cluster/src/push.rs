//! The seam between a distributor and an ingester (design: replication B4).

use async_trait::async_trait;
use bytes::Bytes;
use hearth_common::{Classify, ErrorKind};

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// On disk, fsynced, and visible to the next query; also said of a record that was there already.
    Acked,
    /// A limit of the tenant was reached; the text names it, its value and what to do.
    Refused {
        /// `resource_exhausted` or `invalid_argument`.
        kind: ErrorKind,
        /// The discard reason for metrics, such as `series_limit`.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// The ingester could not take any of the records.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PushError {
    /// Not ready, stopping, or its disk is full: try again, here or elsewhere.
    #[error("ingester cannot take profiles now: {0}")]
    Unavailable(String),
    /// Records do not decode: a defect of the sender.
    #[error("record refused: {0}")]
    Malformed(String),
}

impl Classify for PushError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Malformed(_) => ErrorKind::Internal,
        }
    }
}

/// An ingester, in this process or behind an RPC client.
#[async_trait]
pub trait PushTarget: Send + Sync + std::fmt::Debug {
    /// Takes encoded records (`hearth_formats::record`) of one or several tenants; answers in their order, each acked only
    /// when it is durable and visible.
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError>;
}
