//! What a replica wants done: writes, messages, news.
//!
//! Values only; the shell carries them out.

use hearth_common::{MemberId, Position, Rid};

use crate::message::{AppendHead, Message, RememberHead, SnapshotHead};
use crate::types::{Base, Entry, Pledge, Positions, Probe, Term, WriteNo};

/// Everything that came out of the inputs since the last call.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Effects {
    /// To be written in this order.
    pub writes: Vec<(WriteNo, Write)>,
    /// To be sent at once, whether or not the writes are on disk. What depends on a write is not among them.
    pub sends: Vec<Send>,
    /// The commit has moved up to here.
    pub committed: Option<Position>,
    /// The released position has moved up to here: [`crate::Replica::drop_upto`] may follow.
    pub released: Option<Position>,
    /// The newest role, term or leader, if any of them has changed.
    pub role: Option<RoleChange>,
    /// Questions may be answered.
    pub confirmed: Option<Confirmed>,
    /// A rule that must never break has broken: stop writing and answering.
    pub violation: Option<Invariant>,
}

impl Effects {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A write. Later ones supersede earlier ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Write {
    /// Replaces the pledge.
    Pledge(Pledge),
    /// Entries at `first` and behind. What the log held at or behind `first` is superseded, also if it was longer.
    Entries {
        /// The position of the first one.
        first: Position,
        /// The entries, never empty.
        entries: Vec<Entry>,
    },
    /// Replaces the base. When it is on disk, segments at or below it may go.
    Base {
        /// The new base.
        base: Base,
        /// Whether entries behind the base are superseded, too: the log starts anew there.
        reset: bool,
        /// Records at or below the base that are new to [`crate::Saved::remembered`]; to be kept for the horizon.
        rids: Vec<(Rid, Position)>,
    },
    /// Records of dropped entries that no entry on this disk tells of: new to [`crate::Saved::remembered`].
    Remember {
        /// Which; to be kept for the horizon.
        rids: Vec<(Rid, Position)>,
    },
}

/// A message to be sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Send {
    /// [`Message::Append`], to be filled with entries.
    Append {
        /// To whom.
        to: MemberId,
        /// Its head.
        head: AppendHead,
        /// Which entries; often none.
        entries: Positions,
    },
    /// [`Message::Snapshot`], to be filled with the remembered records.
    Snapshot {
        /// To whom.
        to: MemberId,
        /// Its head.
        head: SnapshotHead,
    },
    /// [`Message::Remember`], to be filled with the records up to `head.upto`.
    Remember {
        /// To whom.
        to: MemberId,
        /// Its head.
        head: RememberHead,
    },
    /// A message as it is.
    Message {
        /// To whom.
        to: MemberId,
        /// What.
        message: Message,
    },
}

/// What a replica is in its term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// It takes entries from the leader, or waits for one.
    Follower,
    /// It asks whether it would win.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It takes records and answers questions.
    Leader,
}

/// News of the role. On losing leadership the shell fails whatever waits for a commit or a confirmation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RoleChange {
    /// The role.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<MemberId>,
}

/// A quorum confirmed that this replica still led after these questions had come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Confirmed {
    /// Questions with this probe or a lower one.
    pub probe: Probe,
    /// They are answered with at least everything up to here.
    pub upto: Position,
}

/// A rule of the protocol that broke: a defect, or a disk that forgot what it had reported.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invariant {
    /// A committed entry was to be replaced.
    #[error("term {term} replaces position {} although {} is committed", .from.0, .commit.0)]
    Truncated {
        /// The term of the leader that asked for it.
        term: Term,
        /// The first position to be replaced.
        from: Position,
        /// The commit.
        commit: Position,
    },
    /// Two leaders in one term.
    #[error("{} leads in term {term}, and so does another", .other.instance)]
    TwoLeaders {
        /// The term.
        term: Term,
        /// The one that was heard last.
        other: MemberId,
    },
    /// The commit is behind the end of the log, or behind the released position.
    #[error(
        "released {}, commit {} and end {} of the log are out of order", .released.0, .commit.0, .end.0
    )]
    Order {
        /// The released position.
        released: Position,
        /// The commit.
        commit: Position,
        /// The end of the log.
        end: Position,
    },
}
