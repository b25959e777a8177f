//! Planted bugs: each breaks one rule, and a test shows that the checks of this crate find it.
//!
//! Outside of tests no bug can be planted: [`Bugs::has`] is constantly false.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bug {
    /// A follower says "durable" before its disk does.
    ReplyBeforeDisk,
    /// The leader counts itself before its disk has the entry.
    LeaderCountsBeforeDisk,
    /// A vote is given and not written down.
    VoteNotPersisted,
    /// A vote is given to a log that lacks entries.
    VoteForShorterLog,
    /// An entry of an older term is committed by counting copies.
    CommitOlderTerm,
    /// Questions are answered without asking whether the member still leads.
    ReadWithoutProbe,
    /// Records do not come with a snapshot.
    RidsLostAtSnapshot,
    /// A damaged member is whole without the records that it dropped.
    HealsWithoutRids,
    /// Records stay known although their entries were cut off.
    RidsKeptAtTruncation,
    /// A damaged member votes as if it had everything.
    DamagedVotes,
    /// A second change of members begins before the first is committed.
    TwoChangesAtOnce,
    /// A removal counts although the log knows that the member was added again.
    OldRemovalCounts,
    /// Who let go of its log leads by old entries when it is added again.
    ForgetsThatItLeft,
}

/// The bugs of one replica.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub(crate) struct Bugs {
    #[cfg(test)]
    planted: Option<Bug>,
}

impl Bugs {
    #[cfg(test)]
    pub(crate) fn plant(&mut self, bug: Option<Bug>) {
        self.planted = bug;
    }

    #[cfg(test)]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the shape of the one for tests")]
    pub(crate) const fn has(self, _bug: Bug) -> bool {
        false
    }
}
