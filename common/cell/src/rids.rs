//! Which records a log has: a retry of one counts once (design: replication B5).
//!
//! Owns rid → position for every entry behind the base, exactly, and for dropped ones as long as a horizon and a bound
//! allow. Must not know terms, members or what a record says.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use hashbrown::HashMap;
use hearth_common::{Position, Rid};

/// Width of the steps in which dropped records are forgotten.
const STEP: Duration = Duration::from_secs(60);

/// Records by identity. About 64 bytes each.
#[derive(Clone, Debug)]
pub struct Rids {
    positions: HashMap<Rid, Position>,
    /// What each entry behind the base holds; none for entries that are no records.
    log: VecDeque<Option<Rid>>,
    base: Position,
    /// Records whose entries were dropped, by the time of that, oldest first.
    dropped: VecDeque<(Duration, Vec<Rid>)>,
    dropped_count: usize,
    horizon: Duration,
    dropped_max: usize,
}

impl Rids {
    pub(crate) fn new(base: Position, horizon: Duration, dropped_max: usize) -> Self {
        Self {
            positions: HashMap::new(),
            log: VecDeque::new(),
            base,
            dropped: VecDeque::new(),
            dropped_count: 0,
            horizon,
            dropped_max,
        }
    }

    /// Where a record is in the log, or was before its entry was dropped.
    pub fn find(&self, rid: Rid) -> Option<Position> {
        self.positions.get(&rid).copied()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The dropped records that are still known, oldest first: they go with a snapshot.
    pub fn remembered(&self) -> impl Iterator<Item = (Rid, Position)> {
        let rids = self.dropped.iter().flat_map(|(_, rids)| rids);
        rids.filter_map(|rid| Some((*rid, self.find(*rid)?)))
    }

    /// All records at or below a position that are still known, dropped ones first.
    pub fn known_upto(&self, upto: Position) -> impl Iterator<Item = (Rid, Position)> {
        let count = usize::try_from(upto.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let in_log = self.log.iter().take(count).flatten();
        self.remembered().chain(in_log.filter_map(|rid| Some((*rid, self.find(*rid)?))))
    }

    /// The next entry of the log holds this record, or none.
    ///
    /// A record that is known already keeps its older position: a leader that remembers for a shorter time than this
    /// member took it anew.
    pub(crate) fn push(&mut self, rid: Option<Rid>) {
        let position = Position(self.base.0 + self.log.len() as u64 + 1);
        let fresh = rid.filter(|rid| !self.positions.contains_key(rid));
        if let Some(rid) = fresh {
            self.positions.insert(rid, position);
        }
        self.log.push_back(fresh);
    }

    /// The entry at `from` and those behind it are gone; their records were never taken.
    pub(crate) fn truncate(&mut self, from: Position) {
        let kept = usize::try_from(from.0.saturating_sub(self.base.0 + 1)).unwrap_or(usize::MAX);
        let kept = kept.min(self.log.len());
        for rid in self.log.drain(kept..).flatten() {
            self.positions.remove(&rid);
        }
    }

    /// Entries up to `base` are dropped; their records are remembered from `now` on. Says which.
    pub(crate) fn drop_upto(&mut self, base: Position, now: Duration) -> Vec<(Rid, Position)> {
        let count = usize::try_from(base.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let count = count.min(self.log.len());
        let rids: Vec<Rid> = self.log.drain(..count).flatten().collect();
        self.base = self.base.max(base);
        let dropped = rids.iter().filter_map(|rid| Some((*rid, self.find(*rid)?))).collect();
        self.remember(rids, now);
        dropped
    }

    /// The log starts anew behind `base`. Says which of the given records were new.
    pub(crate) fn reset(
        &mut self,
        base: Position,
        rids: Vec<(Rid, Position)>,
        now: Duration,
    ) -> Vec<(Rid, Position)> {
        self.truncate(Position(0));
        self.base = base;
        self.restore(rids, now)
    }

    /// Remembers records of dropped entries from `now` on. Says which of them were new.
    pub(crate) fn restore(&mut self, rids: Vec<(Rid, Position)>, now: Duration) -> Vec<(Rid, Position)> {
        let mut new = rids;
        new.retain(|(rid, position)| {
            let fresh = !self.positions.contains_key(rid);
            if fresh {
                self.positions.insert(*rid, *position);
            }
            fresh
        });
        self.remember(new.iter().map(|(rid, _)| *rid).collect(), now);
        new
    }

    fn remember(&mut self, rids: Vec<Rid>, now: Duration) {
        if rids.is_empty() {
            return;
        }
        self.dropped_count += rids.len();
        match self.dropped.back_mut() {
            Some((since, step)) if now.saturating_sub(*since) < STEP => step.extend(rids),
            _ => self.dropped.push_back((now, rids)),
        }
        self.forget(now);
    }

    /// Forgets dropped records that are older than the horizon, and the oldest beyond the bound.
    pub(crate) fn forget(&mut self, now: Duration) {
        while let Some((since, rids)) = self.dropped.front_mut() {
            let old = now.saturating_sub(*since) > self.horizon + STEP;
            let beyond = self.dropped_count.saturating_sub(self.dropped_max).min(rids.len());
            let gone = if old { rids.len() } else { beyond };
            if gone == 0 {
                return;
            }
            for rid in rids.drain(..gone) {
                self.positions.remove(&rid);
            }
            self.dropped_count -= gone;
            if rids.is_empty() {
                self.dropped.pop_front();
            }
        }
    }
}

impl Hash for Rids {
    /// The map follows from the rest but for the positions of dropped records, which never change.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.log.hash(state);
        self.base.hash(state);
        self.dropped.hash(state);
    }
}
