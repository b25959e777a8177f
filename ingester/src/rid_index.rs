//! Which records were taken lately: a retry within the horizon counts once (design: replication B5).

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use hearth_common::{Position, Rid, TimestampNs};

/// Most records that are remembered; beyond it the oldest are forgotten early. About 64 bytes each.
pub(crate) const RIDS_MAX: usize = 8 << 20;
/// Width of the steps in which records are forgotten.
const STEP_NS: i64 = 60_000_000_000;

/// Records by identity.
#[derive(Debug)]
pub(crate) struct RidIndex {
    /// Position in the live journal; 0 = durable in any case.
    known: HashMap<u128, u64>,
    steps: VecDeque<(TimestampNs, Vec<u128>)>,
    horizon_ns: i64,
}

impl RidIndex {
    pub(crate) fn new(horizon: Duration) -> Self {
        let horizon_ns = i64::try_from(horizon.as_nanos()).unwrap_or(i64::MAX);
        Self { known: HashMap::new(), steps: VecDeque::new(), horizon_ns }
    }

    /// Where a record is, if it was taken before.
    pub(crate) fn find(&self, rid: Rid) -> Option<Position> {
        self.known.get(&rid.0).copied().map(Position)
    }

    /// Remembers a record from `now` on.
    pub(crate) fn insert(&mut self, rid: Rid, position: Position, now: TimestampNs) {
        if self.known.insert(rid.0, position.0).is_some() {
            return;
        }
        match self.steps.back_mut() {
            Some((since, rids)) if now.0 - since.0 < STEP_NS => rids.push(rid.0),
            _ => self.steps.push_back((now, vec![rid.0])),
        }
        self.forget(now);
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets what is older than the horizon, and the oldest beyond the bound.
    pub(crate) fn forget(&mut self, now: TimestampNs) {
        while let Some((since, rids)) = self.steps.front() {
            let old = now.0.saturating_sub(since.0) > self.horizon_ns.saturating_add(STEP_NS);
            if !(old || self.known.len() > RIDS_MAX && self.steps.len() > 1) {
                return;
            }
            for rid in rids {
                self.known.remove(rid);
            }
            self.steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_known_for_the_horizon() {
        let mut index = RidIndex::new(Duration::from_secs(600));
        let at = |minute: i64| TimestampNs(minute * STEP_NS);
        index.insert(Rid(1), Position(5), at(0));
        index.insert(Rid(2), Position(6), at(5));
        assert_eq!(index.find(Rid(1)), Some(Position(5)));
        index.forget(at(11));
        assert_eq!(index.find(Rid(1)), Some(Position(5)));
        index.forget(at(12));
        assert_eq!((index.find(Rid(1)), index.find(Rid(2)), index.len()), (None, Some(Position(6)), 1));
    }
}
