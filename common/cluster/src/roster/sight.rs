//! What the planner of the roster sees, and what it says. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_common::{CellId, InstanceId, LogId, MemberId, TenantId, TimestampNs};

use super::shards::Volume;

/// What is planned for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// The cluster's name.
    pub cluster_id: String,
    /// How many members keep each cell, for a new cluster. The roster's own factor holds afterwards.
    pub factor: u32,
    /// How long nobody may come or go before a cluster is begun.
    pub settle: Duration,
    /// The same, if there are fewer zones than `factor`: others may be about to start.
    pub settle_without_zones: Duration,
    /// How long a member is away before others take its places.
    pub replace_after: Duration,
    /// How far ahead of now a schedule entry begins. Also the least time between two.
    pub entry_ahead: Duration,
    /// How old a profile may be when it is taken.
    pub ingestion_window: Duration,
    /// How much longer old schedule entries, and cells that leave, are kept.
    pub window_margin: Duration,
    /// Bytes of records a second for which a service gets a shard; 0: no service has several.
    pub shard_bytes_per_second: u64,
    /// The least time between two changes of shards.
    pub shards_every: Duration,
    /// Cells that each tenant uses; 0 is all.
    pub shuffle_size: u32,
    /// Tenants with another number of cells.
    pub shuffle_sizes: BTreeMap<TenantId, u32>,
}

impl PlanOptions {
    /// The usual times.
    pub fn new(cluster_id: &str, factor: u32, ingestion_window: Duration) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            factor,
            settle: Duration::from_secs(5),
            settle_without_zones: Duration::from_secs(30),
            replace_after: Duration::from_secs(600),
            entry_ahead: Duration::from_secs(60),
            ingestion_window,
            window_margin: Duration::from_secs(600),
            shard_bytes_per_second: 0,
            shards_every: Duration::from_secs(600),
            shuffle_size: 0,
            shuffle_sizes: BTreeMap::new(),
        }
    }
}

/// What is seen of an ingester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// Away.
    Gone,
    /// Alive, and asks to leave for good.
    Leaving,
    /// Alive, not ready yet.
    Joining,
    /// Alive.
    Active,
}

/// An ingester that is alive, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub member: MemberId,
    /// Where it runs.
    pub zone: String,
    /// Whether it is there.
    pub presence: Presence,
    /// Since when it is alive or away without a gap, by the planner's monotonic clock.
    pub since: Duration,
}

/// What the planner knows of the world.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// All ingesters that are alive, and those that went since `watching_since`.
    pub seen: &'a [Seen],
    /// Since when the planner watches, by its monotonic clock.
    pub watching_since: Duration,
    /// Now, by its monotonic clock.
    pub now: Duration,
    /// Now, by its wall clock.
    pub wall: TimestampNs,
    /// Logs whose leader says that all records are published and released.
    pub drained: &'a [LogId],
    /// What is pushed of services, as the leaders of all open cells say; `None` if not all were heard.
    pub volumes: Option<&'a [Volume]>,
    /// What all cells know, if they were asked.
    pub knowledge: Option<&'a Knowledge>,
}

/// What the cells of a roster know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge {
    /// The version that everybody knows at least who leads a cell, or gives a vote that makes a leader: a leader that is yet to
    /// come hears of it with its votes. An error names a cell of which this cannot be said.
    pub version: Result<u64, CellId>,
    /// The latest of their wall clocks.
    pub wall: TimestampNs,
}

/// What is worth telling people. Display is the sentence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Note {
    /// The cluster cannot begin yet.
    #[error("waiting for ingesters: {seen} seen in {zones} zones, {factor} needed")]
    WaitingForMembers {
        /// How many.
        seen: usize,
        /// In how many zones.
        zones: usize,
        /// How many are needed.
        factor: u32,
    },
    /// Enough are there; somebody came or went a moment ago.
    #[error("waiting until nobody comes or goes")]
    WaitingToSettle,
    /// The loss of one zone may take several members of a cell.
    #[error(
        "ingesters run in {zones} zones and each cell has {factor} members: the loss of one zone can lose data"
    )]
    ZonesNotIndependent {
        /// How many zones there are.
        zones: usize,
        /// Members of each cell.
        factor: u32,
    },
    /// A new member's cell waits for others to keep it.
    #[error("cell {0} waits for enough members that can keep it")]
    NoFounders(InstanceId),
    /// A seat should change, and nobody can take it.
    #[error("cell {cell} needs another member and there is none to spare")]
    NoSpare {
        /// The cell.
        cell: InstanceId,
        /// Who should be replaced; `None`: a seat is empty.
        member: Option<InstanceId>,
    },
    /// Two members of a cell are in one zone, and nobody is to spare in another.
    #[error("two members of cell {0} are in one zone and there is no other to spare")]
    SharedZone(InstanceId),
    /// Two processes have one name.
    #[error("two processes with different disks are alive as {0}: names must be unique")]
    TwoLives(InstanceId),
    /// So few are seen that this process is probably the one that is cut off: it declares nobody dead, and not itself alive
    /// again.
    #[error("only {alive} of {members} members are seen; nobody is declared dead, and nobody alive again")]
    Blind {
        /// How many are seen.
        alive: usize,
        /// Of how many.
        members: usize,
    },
    /// Leaders must know that records will be placed elsewhere before they are.
    #[error("a change of placement waits until cell {0} has a leader that knows of it")]
    PlacementWaits(InstanceId),
    /// Everybody leaves.
    #[error("all members leave: the last schedule entry stays")]
    NobodyToPlaceOn,
    /// The settings say another factor than the roster.
    #[error("settings say factor {settings}, the roster says {roster}, which holds")]
    FactorDiffers {
        /// In the settings.
        settings: u32,
        /// In the roster.
        roster: u32,
    },
}
