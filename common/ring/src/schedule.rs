//! The schedule: which ring is in force for which profile times. Versions of it live in the roster; this is the decision.

use std::collections::BTreeMap;

use hearth_common::{CellId, InstanceId, TenantId, TimestampNs};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::placement::{Key, Ring};

/// A schedule holds at most this many entries: those within the ingestion window, and a few.
pub const SCHEDULE_ENTRIES_MAX: usize = 1024;

/// One version of the map, in force for profiles at or after `effective`.
#[derive(Debug)]
pub struct ScheduleEntry {
    /// First profile time that it is for.
    pub effective: TimestampNs,
    /// All members that take records.
    pub ring: Ring,
    /// Instances that one tenant uses; 0 = all.
    pub shuffle_size: u32,
    /// Shards of services that have more than one, by (tenant, service).
    pub shards: BTreeMap<(TenantId, String), u32>,
}

/// Entries by effective time.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: Vec<ScheduleEntry>,
}

/// The entry cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Entries are added in order of time.
    #[error("a schedule entry effective at {given} ns does not follow the last one, effective at {last} ns")]
    NotLater {
        /// The entry's time.
        given: i64,
        /// The last entry's time.
        last: i64,
    },
    /// Too many entries; drop those that ended before the ingestion window.
    #[error("the schedule holds {SCHEDULE_ENTRIES_MAX} entries, the most it may: drop old ones first")]
    Full,
}

impl Schedule {
    /// A schedule of one entry for all times: one machine, or a cluster that has never changed.
    pub fn fixed(instances: impl IntoIterator<Item = InstanceId>) -> Self {
        let entry = ScheduleEntry {
            effective: TimestampNs(i64::MIN),
            ring: Ring::new(instances),
            shuffle_size: 0,
            shards: BTreeMap::new(),
        };
        Self { entries: vec![entry] }
    }

    /// Adds the next entry.
    pub fn push(&mut self, entry: ScheduleEntry) -> Result<(), ScheduleError> {
        if self.entries.len() >= SCHEDULE_ENTRIES_MAX {
            return Err(ScheduleError::Full);
        }
        if let Some(last) = self.entries.last().filter(|last| last.effective >= entry.effective) {
            return Err(ScheduleError::NotLater { given: entry.effective.0, last: last.effective.0 });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The cell that is home to a record: newest entry at or before the profile's time (the oldest one for earlier
    /// profiles), then the tenant's subset, then the shard of the series, then the ring. Liveness is no input.
    pub fn home(
        &self,
        tenant: &TenantId,
        service: &str,
        series_hash: u64,
        time: TimestampNs,
    ) -> Option<CellId> {
        let later = self.entries.partition_point(|entry| entry.effective <= time);
        let entry = self.entries.get(later.saturating_sub(1))?;
        let shards = entry.shards.get(&(tenant.clone(), service.to_owned())).copied().unwrap_or(1).max(1);
        let shard = u32::try_from(series_hash % u64::from(shards)).unwrap_or_default();
        let key = Key::new(tenant, service, shard);
        let size = entry.shuffle_size as usize;
        let owner = if size == 0 || size >= entry.ring.instances().len() {
            entry.ring.owner(key).cloned()
        } else {
            Ring::new(subset(entry.ring.instances(), tenant, size)).owner(key).cloned()
        };
        owner.map(CellId)
    }
}

/// The tenant's instances: those with the least hashes (rendezvous), so that a change of one member changes at most one.
fn subset(instances: &[InstanceId], tenant: &TenantId, size: usize) -> Vec<InstanceId> {
    let seed = xxh3_64_with_seed(tenant.as_str().as_bytes(), 0);
    let mut ranked: Vec<(u64, &InstanceId)> =
        instances.iter().map(|i| (xxh3_64_with_seed(i.0.as_bytes(), seed), i)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(size).map(|(_, i)| i.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn instances(n: usize) -> impl Iterator<Item = InstanceId> {
        (0..n).map(|n| InstanceId(Arc::from(format!("ingester-{n}"))))
    }

    #[test]
    fn one_machine_is_home_to_everything() {
        let schedule = Schedule::fixed(instances(1));
        let home = schedule.home(&TenantId::anonymous(), "svc", 9, TimestampNs(5)).expect("a cell");
        assert_eq!(home.0.to_string(), "ingester-0");
    }

    #[test]
    fn the_profile_time_decides_which_entry_is_in_force() {
        let mut schedule = Schedule::fixed(instances(1));
        let next = |at| ScheduleEntry {
            effective: TimestampNs(at),
            ring: Ring::new(instances(6).skip(1)),
            shuffle_size: 0,
            shards: BTreeMap::new(),
        };
        schedule.push(next(100)).expect("later");
        assert_eq!(schedule.push(next(100)), Err(ScheduleError::NotLater { given: 100, last: 100 }));
        let home = |t| {
            schedule.home(&TenantId::anonymous(), "svc", 9, TimestampNs(t)).expect("a cell").0.to_string()
        };
        assert_eq!(home(99), "ingester-0");
        assert_ne!(home(100), "ingester-0");
        assert_eq!(home(100), home(i64::MAX), "a retry finds the same cell");
    }

    #[test]
    fn a_tenant_keeps_to_its_subset_and_shards_spread_within_it() {
        let mut shards = BTreeMap::new();
        shards.insert((TenantId::anonymous(), "big".to_owned()), 64);
        let mut schedule = Schedule::default();
        schedule
            .push(ScheduleEntry {
                effective: TimestampNs(0),
                ring: Ring::new(instances(12)),
                shuffle_size: 3,
                shards,
            })
            .expect("first");
        let cells: std::collections::BTreeSet<CellId> = (0..64)
            .map(|hash| schedule.home(&TenantId::anonymous(), "big", hash, TimestampNs(1)).expect("a cell"))
            .collect();
        assert!((2..=3).contains(&cells.len()), "{cells:?}");
    }
}
