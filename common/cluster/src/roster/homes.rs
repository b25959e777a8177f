//! Which cell takes a record (design: replication B2). Pure.

use std::time::Duration;

use hearth_common::{CellId, TenantId, TimestampNs};
use hearth_ring::{Schedule, ScheduleError};

use super::types::Roster;

/// A profile dated further ahead of the receiver's clock than this is placed by the time at which it was received.
pub const LOOSE_AHEAD: Duration = Duration::from_secs(30);

/// Where a record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The cell.
    pub cell: CellId,
    /// It was placed by receive time, so a retry may meet another cell; compaction finds the two.
    pub loose: bool,
}

/// The placement of one version of the roster. Build one a version and share it.
#[derive(Debug, Clone)]
pub struct Homes {
    version: u64,
    schedule: Schedule,
    /// The placement as it is announced, and the profile time before which it does not hold.
    announced: Option<(TimestampNs, Box<Homes>)>,
}

impl Homes {
    /// The placement that a roster describes.
    pub fn new(roster: &Roster) -> Result<Self, ScheduleError> {
        let version = roster.version;
        let announced = roster.announced_placement()?.map(|(from, schedule)| {
            let homes = Self { version, schedule, announced: None };
            (from, Box::new(homes))
        });
        Ok(Self { version, schedule: roster.placement()?, announced })
    }

    /// The placement of one instance for all time, as on one machine.
    pub fn single(instance: hearth_common::InstanceId) -> Self {
        Self { version: 0, schedule: Schedule::single(instance), announced: None }
    }

    /// The roster's version; 0 without one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The placement that is announced, and the profile time before which it does not hold. From that time on it may.
    pub fn announced(&self) -> Option<(TimestampNs, &Self)> {
        self.announced.as_ref().map(|(time, homes)| (*time, &**homes))
    }

    /// The cells in which data of a tenant may lie whose profile time is not before `from`, sorted. Those of what is announced,
    /// too: others may know already that it holds.
    pub fn cells_since(&self, tenant: &TenantId, from: TimestampNs) -> Vec<CellId> {
        let mut cells = self.schedule.cells_since(tenant, from);
        if let Some((_, announced)) = self.announced() {
            cells.extend(announced.schedule.cells_since(tenant, from));
            cells.sort();
            cells.dedup();
        }
        cells
    }

    /// Entries and rings.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The cell that takes a record. Without clocks at fault and for times that the schedule knows, a retry has the same
    /// profile time and so the same cell, whoever asks. Records dated ahead by more than [`LOOSE_AHEAD`], or older than
    /// every entry, are placed by `now`.
    pub fn place(
        &self,
        tenant: &TenantId,
        service: &str,
        shard: u32,
        profile_time: TimestampNs,
        now: TimestampNs,
    ) -> Placed {
        let ahead_ns = i128::from(profile_time.0) - i128::from(now.0);
        if ahead_ns <= LOOSE_AHEAD.as_nanos() as i128 {
            let home = self.schedule.home(tenant, service, shard, profile_time);
            if !home.before_schedule {
                return Placed { cell: home.cell, loose: false };
            }
        }
        Placed { cell: self.schedule.home(tenant, service, shard, now).cell, loose: true }
    }
}

/// What of a record says where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceKey {
    /// Hash of the service's name.
    pub service_hash: u64,
    /// Hash of the series' labels.
    pub series_hash: u64,
    /// Time of the profile.
    pub profile_time: TimestampNs,
}

/// The name under which a schedule knows a service: the hash of its name, as the headers of records have it, in 16 hex
/// digits. Whoever gives a service several shards names it by this.
pub fn service_key(service_hash: u64) -> String {
    format!("{service_hash:016x}")
}

impl Homes {
    /// The cell of a record. A function of its header and the schedule but for records dated ahead or older than the
    /// schedule, which `now` places. A series stays in one shard, so that its rows meet in one head.
    pub fn place_record(&self, tenant: &TenantId, key: PlaceKey, now: TimestampNs) -> Placed {
        let service = service_key(key.service_hash);
        let placed_at = |time: TimestampNs| {
            let shards = self.schedule.entry_at(time).shards(tenant, &service);
            let shard = (key.series_hash % u64::from(shards)) as u32;
            self.place(tenant, &service, shard, key.profile_time, now)
        };
        let placed = placed_at(key.profile_time);
        // Entries may have different numbers of shards, so the one that places counts.
        if placed.loose { placed_at(now) } else { placed }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_common::InstanceId;
    use hearth_ring::ScheduleEntry;

    use super::*;

    const S: i64 = 1_000_000_000;

    fn instance(name: &str) -> InstanceId {
        InstanceId(Arc::from(name))
    }

    fn check(profile_time: i64, now: i64, expect: (&str, bool)) {
        let entries = vec![
            ScheduleEntry::new(TimestampNs(100 * S), &[instance("old")]),
            ScheduleEntry::new(TimestampNs(200 * S), &[instance("new")]),
        ];
        let homes = Homes { version: 1, schedule: Schedule::new(entries).expect("valid"), announced: None };
        let placed =
            homes.place(&TenantId::anonymous(), "service", 0, TimestampNs(profile_time), TimestampNs(now));
        assert_eq!((&*placed.cell.0.0, placed.loose), expect, "{profile_time} at {now}");
    }

    #[test]
    fn what_is_announced_is_asked_and_does_not_place() {
        let entries = vec![ScheduleEntry::new(TimestampNs(100 * S), &[instance("old")])];
        let announced = vec![ScheduleEntry::new(TimestampNs(i64::MIN), &[instance("new")])];
        let homes = |entries, announced| Homes {
            version: 1,
            schedule: Schedule::new(entries).expect("valid"),
            announced,
        };
        let after = Box::new(homes(announced, None));
        let homes = homes(entries, Some((TimestampNs(200 * S), after)));
        let (tenant, late) = (TenantId::anonymous(), TimestampNs(300 * S));
        let names =
            homes.cells_since(&tenant, late).iter().map(|cell| cell.0.to_string()).collect::<Vec<_>>();
        assert_eq!(names, ["new", "old"]);
        assert_eq!(&*homes.place(&tenant, "service", 0, late, late).cell.0.0, "old");
    }

    #[test]
    fn profile_time_places_unless_it_is_ahead_or_too_old() {
        check(199 * S, 199 * S, ("old", false));
        check(199 * S, 900 * S, ("old", false));
        check(200 * S, 200 * S, ("new", false));
        check(200 * S, 170 * S, ("new", false));
        check(200 * S + 1, 170 * S, ("old", true));
        check(99 * S, 150 * S, ("old", true));
        check(99 * S, 250 * S, ("new", true));
        check(i64::MAX, 150 * S, ("old", true));
        check(i64::MIN, 250 * S, ("new", true));
    }
}
