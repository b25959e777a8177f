//! Planted bugs: each breaks one rule, and the simulation shows that its checker finds it.
//!
//! Without the feature `simulated` none can be planted: [`Planted::has`] is constantly false.

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A push is acknowledged when it is built, not when it is committed.
    AckBeforeCommit,
    /// A cut is published although its last record is not committed.
    PublishBeforeCommit,
    /// Questions are answered without asking whether the member still leads.
    ReadWithoutProbe,
    /// Heads answer also what the question's root covers.
    CoverageIgnored,
    /// Heads answer although they have dropped what the question's root does not cover.
    DroppedIgnored,
    /// As before, for what was dropped before the reign began.
    DroppedBeforeIgnored,
    /// The log lets go of what one tenant has published, whatever others have not.
    ReleaseForgetsTenants,
    /// Remembered pushes are not written down when their segments go.
    RidsLostAtTrim,
    /// Remembered pushes that are written down are not read at a start.
    RidsNotLoaded,
    /// Records are taken whatever cell they belong to.
    MisplacedAccepted,
    /// A leader takes records although placement may have changed without its knowledge.
    DoubtIgnored,
    /// Who begins to lead builds nothing of what the log holds.
    RebuildSkipped,
}

/// The bug of one ingester, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "simulated")]
    pub(crate) bug: Option<Bug>,
}

impl Planted {
    #[cfg(feature = "simulated")]
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "simulated"))]
    #[allow(clippy::unused_self, reason = "the shape of the one for simulations")]
    pub(crate) const fn has(self, _bug: Bug) -> bool {
        false
    }
}
