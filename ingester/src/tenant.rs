//! One tenant: its live head, the heads that are being published, its active series.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use hearth_common::{TenantId, TimestampNs};
use parking_lot::{Mutex, RwLock};

use crate::head::{Filter, Head};

/// A series counts as active for this long after its last profile.
const ACTIVE_NS: i64 = 600_000_000_000;

/// A head that takes nothing more, and what of the journals it holds: by journal, positions after the first up to the
/// second.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) head: Arc<Head>,
    pub(crate) ranges: BTreeMap<u32, (u64, u64)>,
}

impl Sealed {
    /// The filter that admits all rows of the ranges.
    pub(crate) fn filter(&self, journals: usize) -> Filter {
        let range = |journal: usize| self.ranges.get(&(journal as u32)).copied().unwrap_or((0, 0));
        Filter((0..journals).map(range).collect())
    }
}

/// What changes by cuts. Pushes hold the read lock from the append to the end of building, so that under the write lock
/// everything appended is built.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) live: Arc<Head>,
    /// When the first record came into the live head.
    pub(crate) since: TimestampNs,
    /// Last position of each journal in the live head.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// By journal: rows up to here were cut before the live head.
    pub(crate) cut: BTreeMap<u32, u64>,
    /// By journal: rows up to here are published and gone from memory.
    pub(crate) dropped: BTreeMap<u32, u64>,
}

/// A tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) state: RwLock<State>,
    /// By journal: first and last position in the live head.
    pub(crate) live: Mutex<BTreeMap<u32, (u64, u64)>>,
    active: Mutex<Active>,
    /// Only one publication of a tenant at a time.
    pub(crate) publishing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Active {
    /// By hash of the label set: last profile, number of sample types.
    series: HashMap<u64, (i64, u32)>,
    count: usize,
    swept: i64,
}

/// The tenant has as many series as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySeries {
    pub(crate) active: usize,
    pub(crate) limit: usize,
}

impl Tenant {
    pub(crate) fn new(id: TenantId, head: Head, now: TimestampNs) -> Self {
        let state = State {
            live: Arc::new(head),
            since: now,
            sealed: Vec::new(),
            cut: BTreeMap::new(),
            dropped: BTreeMap::new(),
        };
        Self {
            id,
            state: RwLock::new(state),
            live: Mutex::default(),
            active: Mutex::default(),
            publishing: tokio::sync::Mutex::new(()),
        }
    }

    /// Notes that a record is in the live head. The caller holds the read lock.
    pub(crate) fn note(&self, journal: u32, position: u64) {
        let mut live = self.live.lock();
        let range = live.entry(journal).or_insert((position, position));
        *range = (range.0.min(position), range.1.max(position));
    }

    /// Counts a series as active; refuses a new one beyond the limit (0 = none). Each sample type is a series.
    pub(crate) fn admit(
        &self,
        series: u64,
        types: u32,
        limit: usize,
        now: TimestampNs,
    ) -> Result<(), TooManySeries> {
        let mut active = self.active.lock();
        if let Some((seen, known)) = active.series.get_mut(&series) {
            *seen = now.0;
            let more = types.saturating_sub(*known);
            *known += more;
            active.count += more as usize;
            return Ok(());
        }
        let full = |active: &Active| limit > 0 && active.count + types as usize > limit;
        if full(&active) || now.0 - active.swept > ACTIVE_NS {
            active.sweep(now.0);
        }
        if full(&active) {
            return Err(TooManySeries { active: active.count, limit });
        }
        active.series.insert(series, (now.0, types));
        active.count += types as usize;
        Ok(())
    }

    /// Active series.
    pub(crate) fn active_series(&self) -> usize {
        self.active.lock().count
    }
}

impl Active {
    fn sweep(&mut self, now: i64) {
        self.swept = now;
        self.series.retain(|_, (seen, _)| now - *seen <= ACTIVE_NS);
        self.count = self.series.values().map(|(_, types)| *types as usize).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HashKey;

    #[test]
    fn series_are_counted_by_sample_type_and_for_ten_minutes() {
        let tenant = Tenant::new(TenantId::anonymous(), Head::new(HashKey::new(1)), TimestampNs(0));
        let minute = |m: i64| TimestampNs(m * 60_000_000_000);
        assert_eq!(tenant.admit(1, 4, 6, minute(0)), Ok(()));
        assert_eq!(tenant.admit(2, 2, 6, minute(5)), Ok(()));
        assert_eq!(tenant.admit(1, 4, 6, minute(6)), Ok(()));
        assert_eq!(tenant.admit(3, 1, 6, minute(7)), Err(TooManySeries { active: 6, limit: 6 }));
        assert_eq!(tenant.admit(3, 1, 0, minute(7)), Ok(()), "0 switches the limit off");
        assert_eq!(tenant.admit(4, 1, 6, minute(16)), Ok(()), "series 2 is not active any more");
        assert_eq!(tenant.active_series(), 6);
    }
}
