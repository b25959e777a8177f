//! What members of a cell send each other, as values. What the messages mean is in hearth-cell; this file knows their
//! shapes only.

use bytes::Bytes;
use hearth_common::{CellId, MemberId, Position, Rid};

/// Who opens (or accepts) a stream. The sender of all frames of a stream is the member of its Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Processes of different clusters refuse each other.
    pub cluster_id: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Who speaks.
    pub member: MemberId,
}

/// Version of the messages between members. Only equal versions speak to each other.
pub const PROTOCOL: u32 = 1;

/// One message about one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The cell.
    pub cell: CellId,
    /// Identity of the cell's log: a message about another log of that name is not for this one.
    pub log: u128,
    /// The sender's term (of a pre-vote: the term that it would begin).
    pub term: u64,
    /// Version of the sender's roster.
    pub roster_version: u64,
    /// The message.
    pub message: Message,
}

/// The messages of Raft (Ongaro & Ousterhout 2014; pre-vote, leadership transfer and ReadIndex of Ongaro's thesis).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A candidate asks for a vote.
    VoteRequest {
        /// A question beforehand: nobody's term moves.
        pre: bool,
        /// Last position of the candidate's log …
        last: Position,
        /// … and its term.
        last_term: u64,
        /// The leader asked for this election.
        transfer: bool,
    },
    /// The vote.
    VoteReply {
        /// To a pre-vote.
        pre: bool,
        /// Yes.
        granted: bool,
    },
    /// Entries, or a heartbeat.
    Append(Append),
    /// To an append.
    AppendReply {
        /// Up to where the follower's log agrees and is fsynced.
        durable_end: Position,
        /// `None` = the entries fitted; else where to try next.
        reject: Option<Position>,
        /// Of the append.
        probe: u64,
    },
    /// The leader hands over: campaign at once.
    TimeoutNow,
    /// The follower's log is to begin anew at a base.
    Snapshot(Snapshot),
    /// The follower's log begins at a base.
    SnapshotReply {
        /// The base.
        base: Position,
    },
}

/// Entries at the positions after `prev`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Append {
    /// The position before the first entry …
    pub prev: Position,
    /// … and its term.
    pub prev_term: u64,
    /// End of what is committed.
    pub commit: Position,
    /// Up to here entries may be dropped.
    pub released: Position,
    /// Echoed by the reply: what confirms a leader.
    pub probe: u64,
    /// None: a heartbeat.
    pub entries: Vec<Entry>,
}

/// One entry of a cell's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: u64,
    /// What it holds.
    pub body: EntryBody,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// A leader begins its term.
    Begin,
    /// A record.
    Record {
        /// Its identity.
        rid: Rid,
        /// The encoded record: a slice of the message that it came in.
        bytes: Bytes,
    },
    /// Who keeps the log from here on.
    Members(Membership),
}

/// Who keeps a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Count for quorums.
    pub voters: Vec<MemberId>,
    /// Get all entries and do not count.
    pub learners: Vec<MemberId>,
}

/// What a follower needs to begin at a base: no data, since all up to the base is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// End of what was dropped.
    pub base: Position,
    /// Term of the entry there.
    pub base_term: u64,
    /// Who keeps the log as of the base.
    pub membership: Membership,
    /// Records taken not long ago.
    pub rids: Vec<RecentRid>,
}

/// A record taken not long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentRid {
    /// Its identity.
    pub rid: Rid,
    /// Where it stands in the log.
    pub position: Position,
    /// How long ago it was taken, in seconds.
    pub age_s: u32,
}

/// What an entry costs in queues beside its bytes, about.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// What a frame costs in queues beside its entries, about.
const FRAME_OVERHEAD_BYTES: usize = 128;

impl Frame {
    /// About how much memory the frame holds: what queues count.
    pub fn weight_bytes(&self) -> usize {
        let content = match &self.message {
            Message::Append(append) => append.entries.iter().map(Entry::weight_bytes).sum(),
            Message::Snapshot(snapshot) => snapshot.rids.len() * size_of::<RecentRid>(),
            _ => 0,
        };
        FRAME_OVERHEAD_BYTES + content
    }
}

impl Entry {
    /// About how much memory the entry holds.
    pub fn weight_bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES
            + match &self.body {
                EntryBody::Begin => 0,
                EntryBody::Record { bytes, .. } => bytes.len(),
                EntryBody::Members(members) => {
                    ENTRY_OVERHEAD_BYTES * (members.voters.len() + members.learners.len())
                }
            }
    }
}
