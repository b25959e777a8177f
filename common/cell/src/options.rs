//! How a replica behaves: times and bounds.

use std::time::Duration;

/// Options of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// A random number, another one at each start: it spreads the elections of the members.
    pub seed: u64,
    /// The home of the cell: it campaigns earlier than others.
    pub preferred: bool,
    /// The member takes part as if it were whole although entries that it acknowledged are missing. Somebody has decided
    /// that they are lost, or that the others have them: the only voter of a cell has no other way, and of two voters the
    /// one cannot lead without the other.
    pub accept_damage: bool,
    /// Times.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
}

impl Options {
    /// The defaults with a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            preferred: false,
            accept_damage: false,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }
}

/// Times of the protocol. All are differences of the `now` that inputs carry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// A leader is heard at least this often.
    pub heartbeat: Duration,
    /// The least silence after which a follower campaigns; for as long, it refuses its vote to others.
    pub election_min: Duration,
    /// The greatest. A leader that hears no quorum for as long steps down.
    pub election_max: Duration,
    /// A peer that acknowledges nothing of what is under way to it for this long gets it again.
    pub resend: Duration,
    /// For how long a record is remembered after its entry was dropped from the log.
    pub rid_horizon: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(1_000),
            election_max: Duration::from_millis(2_000),
            resend: Duration::from_millis(1_000),
            rid_horizon: Duration::from_secs(30 * 60),
        }
    }
}

/// Bounds of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Most bytes in one append; a single longer entry goes alone.
    pub batch_bytes: u64,
    /// Most entries in one append.
    pub batch_entries: usize,
    /// Most bytes under way to one peer.
    pub flight_bytes: u64,
    /// Most appends with entries under way to one peer.
    pub flight_batches: usize,
    /// Most bytes of entries of a leader's own term that are not committed; beyond it no record is taken.
    pub uncommitted_bytes: u64,
    /// A learner becomes a voter only if it lacks at most this many entries.
    pub promote_lag_entries: u64,
    /// Most records that are remembered after their entries were dropped; beyond it the oldest are forgotten early.
    pub remembered_rids: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes: 4 << 20,
            batch_entries: 1_024,
            flight_bytes: 16 << 20,
            flight_batches: 16,
            uncommitted_bytes: 64 << 20,
            promote_lag_entries: 1_024,
            remembered_rids: 8 << 20,
        }
    }
}
