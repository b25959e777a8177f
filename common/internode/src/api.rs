//! What a role gives and gets on the internal port, in types of our own. Wire types stay in `wire`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::roster::Volume;
use hearth_cluster::{PushError, PushOutcome};
use hearth_common::{CellId, Classify, ErrorKind, InstanceId, JournalId, LogId, MemberId, Position};
use hearth_model::Answer;
use hearth_query::fetch::{FetchAnswer, FetchError, FetchRequest, JournalAnswer};

/// Records for one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The cell that the sender's roster places them in.
    pub cell: CellId,
    /// Version of the sender's roster.
    pub roster_version: u64,
    /// Encoded records, of one tenant or several.
    pub records: Vec<Bytes>,
}

/// What became of the records of a [`Push`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// One for each record, in their order.
    pub outcomes: Vec<Outcome>,
    /// Version of the ingester's roster.
    pub roster_version: u64,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acked, or refused for good.
    Done(PushOutcome),
    /// Not now, or not here. Whether the record is in the log is not known: it is to be tried again under its own rid.
    Retry(Retry),
}

/// Why, and where else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// For programs.
    pub why: RetryWhy,
    /// For people.
    pub message: String,
    /// Who leads the cell, if known.
    pub leader: Option<InstanceId>,
}

/// Why a record is to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryWhy {
    /// Another member leads the cell, or none does for the moment.
    NotLeader,
    /// This member does not keep the cell.
    NotMember,
    /// Still reading its log.
    NotReady,
    /// A queue or the disk is full.
    Full,
    /// On its way out.
    Stopping,
    /// The sender's roster is too old to place the record.
    OldRoster,
}

/// A [`FetchRequest`] to a process that leads several cells.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Tenant, question, and what the querier's root covers.
    pub request: FetchRequest,
    /// Version of the querier's roster.
    pub roster_version: u64,
    /// Cells wanted; empty = all that the ingester leads.
    pub cells: Vec<CellId>,
}

/// What an ingester says to a [`Fetch`].
#[derive(Debug)]
pub struct Fetched {
    /// The answer, or why there is none.
    pub outcome: FetchOutcome,
    /// Version of the ingester's roster.
    pub roster_version: u64,
}

/// The answer, or why there is none.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each ingester and query")]
pub enum FetchOutcome {
    /// Exactly what the coverage leaves of `cells`.
    Answered {
        /// What was read of each journal.
        journals: Vec<JournalAnswer>,
        /// Merged over these journals.
        partial: Answer,
        /// Why the answer may miss something.
        inexact: Option<String>,
        /// Cells that the answer speaks for.
        cells: Vec<CellId>,
        /// Cells that were wanted and are not led here.
        elsewhere: Vec<NotReady>,
    },
    /// None of the cells can be answered here now.
    NotReady(NotReady),
    /// Rows after the querier's coverage are gone from here: plan anew on the newest root.
    NeedFresh {
        /// The journal.
        journal: JournalId,
        /// Rows after this position are still here.
        retained_after: Position,
    },
}

/// A cell that cannot be answered here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// The cell; `None` = all of the process.
    pub cell: Option<CellId>,
    /// For people.
    pub why: String,
    /// Who leads the cell, if known.
    pub leader: Option<InstanceId>,
}

impl From<FetchOutcome> for FetchAnswer {
    /// For callers that asked for all cells of a process.
    fn from(outcome: FetchOutcome) -> Self {
        match outcome {
            FetchOutcome::Answered { journals, partial, inexact, .. } => {
                Self::Answered { journals, partial, inexact }
            }
            FetchOutcome::NotReady(NotReady { why, .. }) => Self::NotReady(why),
            FetchOutcome::NeedFresh { journal, retained_after } => {
                Self::NeedFresh { journal, retained_after }
            }
        }
    }
}

/// How a member and its cells are, for pages and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// The cluster that it belongs to.
    pub cluster_id: String,
    /// Who it is.
    pub member: MemberId,
    /// Version of its roster.
    pub roster_version: u64,
    /// Such as `starting`, `active`, `leaving`.
    pub state: String,
    /// The cells that it keeps.
    pub cells: Vec<CellStatus>,
    /// What is pushed of services in the cells that it leads, the loudest first.
    pub volumes: Vec<Volume>,
    /// Its wall clock, in nanoseconds since 1970.
    pub wall_ns: i64,
}

/// How one cell is, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellStatus {
    /// The cell.
    pub cell: CellId,
    /// Identity of its log.
    pub log: LogId,
    /// Such as `leader`, `follower`.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// Its leader, if known.
    pub leader: Option<MemberId>,
    /// End of what is fsynced here.
    pub durable_end: Position,
    /// End of what is committed.
    pub committed: Position,
    /// End of what is published.
    pub covered: Position,
    /// Up to here entries may be dropped.
    pub released: Position,
    /// Up to here they were.
    pub base: Position,
    /// The other members.
    pub peers: Vec<PeerStatus>,
    /// In words; empty = nothing.
    pub waits_for: String,
    /// `voter`, `learner`, or `none`, as its own log says.
    pub standing: String,
    /// Its disk lost entries and has not got them back: it gives no vote meanwhile.
    pub damaged: bool,
}

/// One other member of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who it is.
    pub member: MemberId,
    /// Whether it votes.
    pub voter: bool,
    /// Up to here its log is known to be the leader's.
    pub matched: Position,
    /// How long ago it was heard, in milliseconds; `None` = never.
    pub last_heard_ms: Option<u64>,
}

/// An operator's wish could not be met.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl Classify for ControlError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// What an ingester gives on its internal port.
///
/// A call whose deadline passes, or whose caller goes away, is dropped where it awaits.
#[async_trait]
pub trait IngesterApi: Send + Sync + std::fmt::Debug + 'static {
    /// Takes records of one cell. An error is one of all records; whether they are in the log is then not known.
    async fn push(&self, push: Push) -> Result<Pushed, PushError>;
    /// Answers with exactly what lies beyond the request's coverage. `request.timeout` is the time left.
    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, FetchError>;
    /// How it is.
    async fn status(&self) -> Result<MemberStatus, ControlError>;
    /// Cuts and publishes everything; returns when that is committed.
    async fn flush(&self) -> Result<(), ControlError>;
    /// Leaves the cluster for good; returns when the wish is noted.
    async fn leave(&self) -> Result<(), ControlError>;
}

/// A push takes no longer than this, unless its caller says otherwise.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
