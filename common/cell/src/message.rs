//! What members say to each other.
//!
//! Values only; the shell's codec knows their form on the wire. Each carries the term of its sender.

use hearth_common::{Position, Rid};

use crate::types::{Base, Entry, Life, Probe, Term};

/// A message between two members of a cell.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Message {
    /// Entries of the leader's log, or none: then a sign of life.
    Append {
        /// What comes with them.
        head: AppendHead,
        /// The entries from `head.prev + 1` on.
        entries: Vec<Entry>,
    },
    /// The answer to [`Message::Append`] and [`Message::Snapshot`].
    AppendReply(AppendReply),
    /// A member asks to lead.
    Vote(VoteRequest),
    /// The answer.
    VoteReply(VoteReply),
    /// The receiver's next entry was dropped from the leader's log: it starts anew behind the leader's base.
    Snapshot {
        /// Where it starts.
        head: SnapshotHead,
        /// The records at or below the base that the leader remembers, oldest first ([`crate::Rids::remembered`]).
        rids: Vec<(Rid, Position)>,
    },
    /// The receiver's disk lost something: which records were taken, as it may not know of those that it dropped.
    Remember {
        /// For whom, and how far.
        head: RememberHead,
        /// All records at or below `head.upto` that the leader knows ([`crate::Rids::known_upto`]).
        rids: Vec<(Rid, Position)>,
    },
    /// The leader hands over: campaign at once.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// The receiver asked for votes, and the sender knows that it does not belong to the cell: as of a committed entry.
    Removed {
        /// The sender's term.
        term: Term,
        /// A committed position of which that is true …
        at: Position,
        /// … and the term of the entry there.
        at_term: Term,
    },
}

impl Message {
    /// The term that the message speaks in.
    pub fn term(&self) -> Term {
        match self {
            Self::Append { head, .. } => head.term,
            Self::AppendReply(reply) => reply.term,
            Self::Vote(request) => request.term,
            Self::VoteReply(reply) => reply.term,
            Self::Snapshot { head, .. } => head.term,
            Self::Remember { head, .. } => head.term,
            Self::TimeoutNow { term } | Self::Removed { term, .. } => *term,
        }
    }
}

/// What a leader says with each append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AppendHead {
    /// The leader's term.
    pub term: Term,
    /// The position in front of the first entry; the receiver takes them only if it has the same entry there.
    pub prev: Position,
    /// The term of the entry there.
    pub prev_term: Term,
    /// Up to here the leader knows everything to be committed.
    pub commit: Position,
    /// Up to here everything is covered by committed roots, so that no copy is needed.
    pub released: Position,
    /// The leader's newest round of questions whether it still leads.
    pub probe: Probe,
    /// The newest life of the receiver that the leader has heard of.
    pub life: Life,
}

/// A follower's answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AppendReply {
    /// The follower's term. Newer than the leader's: the leader has been replaced.
    pub term: Term,
    /// The follower's life.
    pub life: Life,
    /// The newest probe that it has heard of in this term.
    pub probe: Probe,
    /// Its disk lost something: [`Message::Remember`] is wanted.
    pub damaged: bool,
    /// How it went.
    pub outcome: Outcome,
}

/// Whether a follower could take an append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Outcome {
    /// The follower's log is the leader's up to `durable_end`, and on disk up to there.
    Held {
        /// The end of what is on disk.
        durable_end: Position,
    },
    /// The follower has another entry at `prev`, or none.
    Missing {
        /// The `prev` of the append.
        prev: Position,
        /// The logs can only agree at or below it …
        hint: Position,
        /// … where the follower's entry has this term.
        hint_term: Term,
    },
    /// The append was of an older term.
    Stale,
}

/// Whether a vote is asked for or only tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum VoteKind {
    /// Would you? Changes nothing at either side, so that a member that was cut off disturbs nobody.
    Pre,
    /// The vote.
    Real,
}

/// A candidate's question.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct VoteRequest {
    /// The term in which it wants to lead.
    pub term: Term,
    /// Whether it asks in earnest.
    pub kind: VoteKind,
    /// The old leader wants it so: answer even if that leader was heard a moment ago.
    pub forced: bool,
    /// The end of the candidate's log.
    pub last: Position,
    /// The term of the entry there.
    pub last_term: Term,
}

/// A voter's answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct VoteReply {
    /// The term of the request if the vote was given, else the voter's own term.
    pub term: Term,
    /// As asked.
    pub kind: VoteKind,
    /// Whether it was given.
    pub granted: bool,
}

/// Where a follower starts anew.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SnapshotHead {
    /// The leader's term.
    pub term: Term,
    /// Everything at or below it is in the object store.
    pub base: Base,
}

/// What comes with the records for a member whose disk lost something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct RememberHead {
    /// The leader's term.
    pub term: Term,
    /// The life that it is meant for.
    pub life: Life,
    /// A committed position: records of later entries are not among them.
    pub upto: Position,
}
