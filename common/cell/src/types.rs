//! The words of the protocol: terms, entries, members, and what a member keeps on its disk.
//!
//! Plain values. Must not know how they are encoded or who acts on them.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use hearth_common::{MemberId, Position, Rid};

/// What an entry costs beside its record's bytes when batches and queues are bounded, in bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after it.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A reign: at most one leader each. Grows; 0 is before the first.
    Term
);
number!(
    /// Which start of a member this is. Kept on its disk, grows by one at each start; 0 = not known yet.
    ///
    /// An answer of a former life says nothing about a disk that has been damaged since.
    Life
);
number!(
    /// The number of a write: 1, 2, 3 … in one life of a replica. 0 = none.
    WriteNo
);
number!(
    /// A round in which a leader asks its peers whether it still leads. Grows within a term; 0 = none.
    Probe
);

/// Who belongs to a cell, as one entry of its log says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Membership {
    /// They vote, and a majority of them commits.
    pub voters: BTreeSet<MemberId>,
    /// They get the log and count for nothing yet.
    pub learners: BTreeSet<MemberId>,
}

impl Membership {
    /// A membership without learners.
    pub fn of(voters: impl IntoIterator<Item = MemberId>) -> Self {
        Self { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// How many voters commit: more than half.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Voters and learners.
    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.voters.iter().chain(&self.learners)
    }

    /// Whether it names the member in either part.
    pub fn contains(&self, member: &MemberId) -> bool {
        self.voters.contains(member) || self.learners.contains(member)
    }

    /// The greatest value that a majority of the voters has reached; the least value when there is no voter.
    pub(crate) fn reached_by_quorum<T: Ord + Copy + Default>(&self, value: impl Fn(&MemberId) -> T) -> T {
        let mut values: Vec<T> = self.voters.iter().map(value).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.quorum() - 1).copied().unwrap_or_default()
    }
}

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Body {
    /// Nothing: with it a leader begins its term, since only an entry of its own term commits those before.
    Begin,
    /// A record.
    Record {
        /// Its identity. No log holds one twice.
        rid: Rid,
        /// Its bytes; not looked at.
        bytes: Bytes,
    },
    /// The members from this entry on; in force as soon as it is in a log.
    Members(Membership),
}

/// One place of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Entry {
    /// The term of the leader that appended it. Position and term together name an entry and all before it.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

impl Entry {
    /// What a replica remembers of it.
    pub fn meta(&self) -> EntryMeta {
        let (kind, bytes) = match &self.body {
            Body::Begin => (EntryKind::Begin, 0),
            Body::Record { rid, bytes } => (EntryKind::Record(*rid), bytes.len() as u64),
            Body::Members(membership) => {
                let bytes = ENTRY_OVERHEAD_BYTES * membership.members().count() as u64;
                (EntryKind::Members(membership.clone()), bytes)
            }
        };
        EntryMeta { term: self.term, kind, bytes: bytes + ENTRY_OVERHEAD_BYTES }
    }
}

/// An entry without its bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EntryMeta {
    /// As in [`Entry`].
    pub term: Term,
    /// What it says.
    pub kind: EntryKind,
    /// What it counts against bounds, in bytes.
    pub bytes: u64,
}

/// [`Body`] without bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// [`Body::Begin`].
    Begin,
    /// [`Body::Record`].
    Record(Rid),
    /// [`Body::Members`].
    Members(Membership),
}

/// The end of what was dropped from the log: everything at or below it is committed and in the object store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Base {
    /// The last dropped position; 0 = nothing was dropped.
    pub position: Position,
    /// The term of the entry there.
    pub term: Term,
    /// The members as of that entry. Empty at a member that is to join a cell and knows nothing yet.
    pub membership: Membership,
}

/// What a member must remember besides its log.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Pledge {
    /// The newest term it has heard of: it takes no part in older ones.
    pub term: Term,
    /// Whom it gave its vote in that term.
    pub vote: Option<MemberId>,
    /// Its number of starts.
    pub life: Life,
    /// Entries that this disk acknowledged may be missing from it. See [`Saved::pledge`].
    pub damaged: bool,
    /// It was removed as of this committed entry, and let go of its log. It stands for the log up to there all the same:
    /// added again, it reads old members in old entries, and must not take part in what they would decide now.
    pub left: Option<Mark>,
}

/// A place in the log and the term of the entry there; marks of logs compare as logs do when votes are given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mark {
    /// The term.
    pub term: Term,
    /// The place.
    pub position: Position,
}

/// What a replica starts from: what its shell found on its disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Saved {
    /// As last written; the default on a new disk. The shell sets `damaged` when it finds that entries which were
    /// durable cannot be read. If the pledge itself cannot be read, the disk is lost: it must return as another member.
    pub pledge: Pledge,
    /// As last written. On a new disk: [`Saved::first`] for the first members of a cell, else the default.
    pub base: Base,
    /// The entries behind the base without a gap; those behind the first unreadable one are left out.
    pub entries: Vec<EntryMeta>,
    /// Records at or below the base that are still remembered, oldest first ([`crate::Write::Base`]).
    pub remembered: Vec<(Rid, Position)>,
}

impl Saved {
    /// The empty disk of one of the first members of a cell. All of them must be given the same membership.
    pub fn first(membership: Membership) -> Self {
        Self { base: Base { membership, ..Base::default() }, ..Self::default() }
    }
}

/// The positions `first ..= last`; empty if `last < first`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Positions {
    /// The first one.
    pub first: Position,
    /// The last one.
    pub last: Position,
}

impl Positions {
    /// No position, as if in front of `first`.
    pub(crate) fn none_at(first: Position) -> Self {
        Self { first, last: Position(first.0.saturating_sub(1)) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// Each of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Position> + use<> {
        (self.first.0..=self.last.0).map(Position)
    }
}
