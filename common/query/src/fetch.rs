//! The seam between a querier and an ingester (design: replication B9): "give me exactly what the root that I planned on
//! does not cover".

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use hearth_block::Deletion;
use hearth_common::{Classify, ErrorKind, Incarnation, JournalId, Position, TenantId};
use hearth_model::{Answer, Question};

/// What a querier asks of one ingester.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The question.
    pub question: Question,
    /// Version of the root that the querier planned on; 0 = the tenant has no root yet.
    pub root_version: u64,
    /// That root's coverage: rows at or below these positions are answered from blocks, so the ingester leaves them out.
    /// A journal that is absent has coverage 0.
    pub coverage: BTreeMap<JournalId, Position>,
    /// Owners whose journals are covered as a whole: the text of a journal without its incarnation, and the last of their
    /// lives of which that is true. Ask [`FetchRequest::covered`], which knows both.
    pub drained: BTreeMap<String, Incarnation>,
    /// That root's deletions that reach beyond its coverage: their rows are left out.
    pub deletions: Vec<Deletion>,
    /// Time left.
    pub timeout: Duration,
}

impl FetchRequest {
    /// How far a journal is covered: 0 = not at all, `Position(u64::MAX)` = it is drained, and none of it is to be answered.
    pub fn covered(&self, journal: &JournalId) -> Position {
        if !self.drained.is_empty() {
            let text = journal.to_string();
            let owner = text.rsplit_once('/').map_or(text.as_str(), |(owner, _)| owner);
            if self.drained.get(owner).is_some_and(|upto| journal.incarnation <= *upto) {
                return Position(u64::MAX);
            }
        }
        self.coverage.get(journal).copied().unwrap_or_default()
    }
}

/// One journal's share in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalAnswer {
    /// The journal.
    pub journal: JournalId,
    /// Rows after this position …
    pub after: Position,
    /// … up to this one are in the answer.
    pub visible_end: Position,
    /// After this one, up to `visible_end`, no row of the tenant stands, published or not; 0 if none is known.
    pub rows_end: Position,
}

/// What an ingester says.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each ingester and query")]
pub enum FetchAnswer {
    /// The rest, complete.
    Answered {
        /// For each journal that it serves.
        journals: Vec<JournalAnswer>,
        /// Merged over these journals.
        partial: Answer,
        /// Why the answer may miss something: damaged records that no copy could mend.
        inexact: Option<String>,
    },
    /// Still replaying.
    NotReady(String),
    /// The querier's root is too old: rows after its coverage are gone from here. Load the newest root and plan anew.
    NeedFresh {
        /// The journal.
        journal: JournalId,
        /// Rows after this position are still here.
        retained_after: Position,
    },
}

/// The ingester failed to answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be reached or is stopping.
    #[error("ingester cannot answer: {0}")]
    Unavailable(String),
    /// The answer could not be built.
    #[error("the head could not be read")]
    Read(#[source] hearth_common::BoxError),
    /// Values do not add up to 63 bits.
    #[error(transparent)]
    Answer(#[from] hearth_model::AnswerError),
}

impl Classify for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Read(_) => ErrorKind::Internal,
            Self::Answer(error) => error.kind(),
        }
    }
}

/// An ingester's read side, in this process or behind an RPC client.
#[async_trait]
pub trait HeadSource: Send + Sync + std::fmt::Debug {
    /// Answers with exactly what lies beyond the request's coverage.
    async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError>;
}
