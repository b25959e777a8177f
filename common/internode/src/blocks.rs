//! What a querier asks of another one: a partial answer to a question, of blocks that are named. In types of our own.
//!
//! The asked one reads blocks itself and asks nobody. It answers for all of the blocks or refuses, so whoever asks knows
//! what is merged. Must not know: which blocks belong to whom, when a call is repeated elsewhere.

mod client;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_block::{BlockEntry, Deletion};
use hearth_common::{Classify, ErrorKind, TenantId};
use hearth_model::{Answer, Question};

pub use client::QuerierClients;

use crate::error::CallError;

/// Version of questions, of partial answers and of entries of blocks, as queriers understand them together. To be raised
/// with each change of what one of them means: peers of another version refuse, and the asker reads blocks itself.
pub const PROTOCOL: u32 = 2;
/// Most blocks of one call.
pub const BLOCKS_MAX: usize = 1024;

/// Blocks to be read for a question.
#[derive(Debug, Clone)]
pub struct BlocksRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The question.
    pub question: Question,
    /// The blocks, as the asker's root has them; without their sources.
    pub blocks: Vec<Arc<BlockEntry>>,
    /// Deletions of the asker's root that these blocks have not applied; without their positions.
    pub deletions: Vec<Deletion>,
    /// Bytes that the query may still fetch: beyond them the call is refused.
    pub bytes_max: u64,
    /// Time that the query has left.
    pub timeout: Duration,
}

/// A partial answer of exactly the blocks of a request.
#[derive(Debug)]
pub struct BlocksAnswer {
    /// Merged over the blocks.
    pub partial: Answer,
    /// What was fetched for it from the object store.
    pub fetched_bytes: u64,
    /// What it took on the wire; 0 before it was sent.
    pub wire_bytes: u64,
}

/// Why there is no partial answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalWhy {
    /// It serves as many calls as it may.
    Busy,
    /// We are of another cluster or version.
    Stranger,
    /// The blocks take more than [`BlocksRequest::bytes_max`].
    Bytes,
    /// The sum does not fit in 63 bits.
    Overflow,
    /// A block could not be read: a newer root may not have it any more.
    Unreadable,
    /// Anything else.
    Failed,
}

/// A call that was refused, or failed at the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub why: RefusalWhy,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(why: RefusalWhy, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }
}

impl Classify for Refusal {
    fn kind(&self) -> ErrorKind {
        match self.why {
            RefusalWhy::Busy | RefusalWhy::Unreadable => ErrorKind::Unavailable,
            RefusalWhy::Stranger => ErrorKind::FailedPrecondition,
            RefusalWhy::Bytes => ErrorKind::ResourceExhausted,
            RefusalWhy::Overflow => ErrorKind::OutOfRange,
            RefusalWhy::Failed => ErrorKind::Internal,
        }
    }
}

/// Why a peer gave no partial answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlocksError {
    /// It did not get the question, or its answer did not come.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl BlocksError {
    /// A closed set of words for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Call(error) => error.outcome(),
            Self::Refused(refusal) => match refusal.why {
                RefusalWhy::Busy => "busy",
                RefusalWhy::Stranger => "stranger",
                RefusalWhy::Bytes => "bytes",
                RefusalWhy::Overflow => "overflow",
                RefusalWhy::Unreadable => "unreadable",
                RefusalWhy::Failed => "failed",
            },
        }
    }
}

impl Classify for BlocksError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
        }
    }
}

/// What a querier gives its peers on its internal port.
///
/// A call whose deadline passes, or whose caller goes away, is dropped where it awaits.
#[async_trait]
pub trait QuerierApi: Send + Sync + std::fmt::Debug + 'static {
    /// Reads blocks and merges what they answer.
    async fn blocks(&self, request: BlocksRequest) -> Result<BlocksAnswer, Refusal>;
}
