//! One tenant: its live head, the heads that are being published, its active series.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use hearth_common::{Position, TenantId, TimestampNs};
use parking_lot::{Mutex, RwLock};

use super::volume::Volumes;
use crate::head::{Filter, Head};

/// A series counts as active for this long after its last profile.
const ACTIVE_NS: i64 = 600_000_000_000;

/// A head that takes nothing more, and which places of the cell's log it holds: those after the first, up to the second.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) head: Arc<Head>,
    /// When it was taken out of the live head's place.
    pub(crate) at: TimestampNs,
    pub(crate) after: Position,
    pub(crate) upto: Position,
}

impl Sealed {
    /// The filter that admits all of its rows.
    pub(crate) fn filter(&self) -> Filter {
        Filter::new(vec![(self.after.0, self.upto.0)])
    }
}

/// What changes by cuts. Pushes hold the read lock from the append to the end of building, so that under the write lock
/// everything appended is built.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) live: Arc<Head>,
    /// When the first record came into the live head.
    pub(crate) since: TimestampNs,
    /// Cut and not yet published, oldest first.
    pub(crate) sealed: Vec<Arc<Sealed>>,
    /// Rows up to here were cut before the live head.
    pub(crate) cut: Position,
    /// Rows up to here are published and gone from memory.
    pub(crate) dropped: Position,
}

impl State {
    /// The oldest cut is published up to here; what is left of it stays.
    pub(crate) fn published(&mut self, sealed: &Sealed, upto: Position) {
        self.dropped = self.dropped.max(upto);
        if upto >= sealed.upto {
            self.sealed.remove(0);
        } else if let Some(first) = self.sealed.first_mut() {
            *first = Arc::new(Sealed {
                head: Arc::clone(&sealed.head),
                at: sealed.at,
                after: upto,
                upto: sealed.upto,
            });
        }
    }
}

/// A tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) state: RwLock<State>,
    /// First and last place in the live head.
    pub(crate) live: Mutex<Option<(Position, Position)>>,
    active: Mutex<Active>,
    pub(crate) volumes: Mutex<Volumes>,
    /// It was looked up how much of it is published.
    known: AtomicBool,
    /// Its root cannot be read, and will not be by waiting.
    unreadable: AtomicBool,
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
            cut: Position(0),
            dropped: Position(0),
        };
        Self {
            id,
            state: RwLock::new(state),
            live: Mutex::default(),
            active: Mutex::default(),
            volumes: Mutex::default(),
            known: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            publishing: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether it was looked up how much of the tenant is published.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    pub(crate) fn set_known(&self) {
        self.known.store(true, Ordering::Release);
    }

    /// Whether its root was found to be damaged, or newer than this version.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unreadable(&self) {
        self.unreadable.store(true, Ordering::Relaxed);
    }

    /// Notes that a record is in the live head. The caller holds the read lock.
    pub(crate) fn note(&self, position: Position) {
        let mut live = self.live.lock();
        let (first, last) = live.unwrap_or((position, position));
        *live = Some((first.min(position), last.max(position)));
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
