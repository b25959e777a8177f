//! Which members take which keys from when on.

use std::collections::BTreeMap;

use hearth_common::{CellId, InstanceId, TenantId, TimestampNs};
use xxhash_rust::xxh3::Xxh3;

use crate::ring::Ring;

/// From `effective` on, records of profiles are placed like this. Cells are named by the instance that is their home.
#[derive(Debug, Clone)]
pub struct ScheduleEntry {
    /// Profile time from which the entry holds.
    pub effective: TimestampNs,
    /// Cells that each tenant uses; 0 is all.
    pub shuffle_size: u32,
    /// Tenants with another number of cells.
    pub shuffle_sizes: BTreeMap<TenantId, u32>,
    /// How many shards services have; those not named have one.
    pub shards: ServiceShards,
    ring: Ring,
}

/// Shards of each service that has more than one.
pub type ServiceShards = BTreeMap<TenantId, BTreeMap<String, u32>>;

/// Why a schedule is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There must be one entry at least.
    #[error("the schedule has no entry")]
    Empty,
    /// An entry places nothing.
    #[error("the schedule entry effective at {} ns has no members", .0.0)]
    NoMembers(TimestampNs),
    /// Entries must be in order, each later than the one before.
    #[error("the schedule entry effective at {} ns is not later than the one before it", .0.0)]
    Order(TimestampNs),
}

impl hearth_common::Classify for ScheduleError {
    fn kind(&self) -> hearth_common::ErrorKind {
        hearth_common::ErrorKind::FailedPrecondition
    }
}

impl ScheduleEntry {
    /// An entry in which every tenant uses all cells and every service has one shard.
    pub fn new(effective: TimestampNs, members: &[InstanceId]) -> Self {
        Self {
            effective,
            shuffle_size: 0,
            shuffle_sizes: BTreeMap::new(),
            shards: ServiceShards::new(),
            ring: Ring::new(members),
        }
    }

    /// The members.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// How many shards a service has; at least 1.
    pub fn shards(&self, tenant: &TenantId, service: &str) -> u32 {
        self.shards.get(tenant).and_then(|services| services.get(service)).copied().unwrap_or(1).max(1)
    }

    /// The cells of a tenant, in the order in which they were chosen: a smaller size is a prefix of a larger one.
    pub fn cells(&self, tenant: &TenantId) -> Vec<CellId> {
        self.subset(tenant).into_iter().cloned().map(CellId).collect()
    }

    fn subset(&self, tenant: &TenantId) -> Vec<&InstanceId> {
        let size = self.shuffle_sizes.get(tenant).copied().unwrap_or(self.shuffle_size) as usize;
        let all = self.ring.members();
        if size == 0 || size >= all.len() {
            return all.iter().collect();
        }
        let mut chosen: Vec<&InstanceId> = Vec::with_capacity(size);
        for n in 0..size {
            let token = hash(&[b"shuffle", tenant.as_str().as_bytes(), &(n as u64).to_le_bytes()]);
            // A new point for each: a member that joins or leaves changes few of them.
            chosen.extend(self.ring.successors(token).find(|member| !chosen.contains(member)));
        }
        chosen
    }

    fn home(&self, tenant: &TenantId, service: &str, shard: u32) -> Option<&InstanceId> {
        let subset = self.subset(tenant);
        let token = key_token(tenant, service, shard);
        if subset.len() == self.ring.members().len() {
            return self.ring.owner(token);
        }
        self.ring.successors(token).find(|member| subset.contains(member))
    }
}

/// Where a key lies on the ring.
pub fn key_token(tenant: &TenantId, service: &str, shard: u32) -> u32 {
    hash(&[b"key", tenant.as_str().as_bytes(), service.as_bytes(), &shard.to_le_bytes()])
}

/// Hashes parts with their lengths, so that they cannot run into each other.
fn hash(parts: &[&[u8]]) -> u32 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest() as u32
}

/// Where a record belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The cell.
    pub cell: CellId,
    /// The record is older than every entry: the oldest one was taken, and duplicates across cells are found by compaction
    /// only.
    pub before_schedule: bool,
}

/// Entries in order of their effective time.
#[derive(Debug, Clone)]
pub struct Schedule {
    entries: Vec<ScheduleEntry>,
}

impl Schedule {
    /// Checks that entries are in order and none is without members.
    pub fn new(entries: Vec<ScheduleEntry>) -> Result<Self, ScheduleError> {
        if entries.is_empty() {
            return Err(ScheduleError::Empty);
        }
        for (at, entry) in entries.iter().enumerate() {
            if entry.ring.members().is_empty() {
                return Err(ScheduleError::NoMembers(entry.effective));
            }
            if at > 0 && entries[at - 1].effective >= entry.effective {
                return Err(ScheduleError::Order(entry.effective));
            }
        }
        Ok(Self { entries })
    }

    /// The schedule of one member for all time.
    pub fn single(member: InstanceId) -> Self {
        Self { entries: vec![ScheduleEntry::new(TimestampNs(i64::MIN), &[member])] }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[ScheduleEntry] {
        &self.entries
    }

    /// The entry that holds for a profile time; the oldest if all are later.
    pub fn entry_at(&self, profile_time: TimestampNs) -> &ScheduleEntry {
        let next = self.entries.partition_point(|entry| entry.effective <= profile_time);
        &self.entries[next.saturating_sub(1)]
    }

    /// The cell that takes a record. The same arguments give the same cell everywhere, so a retry meets its first try.
    pub fn home(&self, tenant: &TenantId, service: &str, shard: u32, profile_time: TimestampNs) -> Home {
        let entry = self.entry_at(profile_time);
        let member = entry.home(tenant, service, shard).expect("no entry is without members: checked by new");
        Home { cell: CellId(member.clone()), before_schedule: entry.effective > profile_time }
    }

    /// The cells in which data of a tenant may lie whose profile time is not before `from`.
    pub fn cells_since(&self, tenant: &TenantId, from: TimestampNs) -> Vec<CellId> {
        let first = self.entries.partition_point(|entry| entry.effective <= from).saturating_sub(1);
        let mut cells: Vec<CellId> =
            self.entries[first..].iter().flat_map(|entry| entry.cells(tenant)).collect();
        cells.sort();
        cells.dedup();
        cells
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
