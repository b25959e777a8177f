//! What a replica says about itself, for pages and metrics.

use std::time::Duration;

use hearth_common::{MemberId, Position};

use crate::effects::Role;
use crate::types::{Life, Membership, Term};

/// A replica at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Who this is.
    pub me: MemberId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Which start of the member this is.
    pub life: Life,
    /// Who leads, if known.
    pub leader: Option<MemberId>,
    /// The members as the log says.
    pub membership: Membership,
    /// The end of what was dropped.
    pub base: Position,
    /// Up to here the entries are covered by committed roots.
    pub released: Position,
    /// Up to here the entries are committed.
    pub commit: Position,
    /// Up to here the log is on this disk.
    pub durable_end: Position,
    /// The end of the log.
    pub end: Position,
    /// Whether the disk lost entries and has not got them back.
    pub damaged: bool,
    /// Records that would be known again.
    pub rids: usize,
    /// Bytes of entries of its term that are not committed; 0 unless it leads.
    pub uncommitted_bytes: u64,
    /// The others, if it leads.
    pub peers: Vec<PeerStatus>,
    /// What it waits for, in words. Empty if for nothing.
    pub waits_for: String,
}

/// What a leader knows of another member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Who.
    pub member: MemberId,
    /// Whether it votes.
    pub voter: bool,
    /// It has the log on disk up to here.
    pub matched: Position,
    /// Entries that it lacks.
    pub lag_entries: u64,
    /// Bytes under way to it.
    pub flight_bytes: u64,
    /// How long ago it answered; none if never in this term.
    pub heard_ago: Option<Duration>,
}
