//! Where the entries of a cell's log lie on this disk, and which of their records are still in memory.
//!
//! Pure bookkeeping. Must not know replicas, files, or what a record says.

use std::collections::VecDeque;

use bytes::Bytes;
use hearth_cell::{Body, Entry, EntryKind};
use hearth_common::Position;
use hearth_wal::{Appended, Lsn};

use super::load::Slot;

/// Bytes of records that stay in memory for members that are a little behind.
const RECENT_BYTES_MAX: usize = 16 << 20;

/// The places behind a base, without a gap.
#[derive(Debug)]
pub(super) struct Places {
    kept: VecDeque<Place>,
    base: Position,
    /// The first place that may still have its record in memory.
    recent_from: Position,
    recent_bytes: usize,
}

/// A place, perhaps with its record in memory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) slot: Slot,
    /// The log's entry that it lies in; 0 if a life before wrote it.
    lsn: Lsn,
    bytes: Option<Bytes>,
}

impl Place {
    /// The whole entry, if nothing of it has to be read.
    pub(super) fn in_memory(&self) -> Option<Entry> {
        let term = self.slot.meta.term;
        let body = match &self.slot.meta.kind {
            EntryKind::Begin => Body::Begin,
            EntryKind::Members(membership) => Body::Members(membership.clone()),
            EntryKind::Record(rid) => Body::Record { rid: *rid, bytes: self.bytes.clone()? },
        };
        Some(Entry { term, body })
    }
}

impl Places {
    /// What a life before wrote.
    pub(super) fn new(base: Position, slots: Vec<Slot>) -> Self {
        let kept = slots.into_iter().map(|slot| Place { slot, lsn: Lsn(0), bytes: None }).collect();
        Self { kept, base, recent_from: Position(0), recent_bytes: 0 }
    }

    /// The end of what was dropped.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    pub(super) fn get(&self, position: Position) -> Option<&Place> {
        let at = position.0.checked_sub(self.base.0 + 1)?;
        self.kept.get(usize::try_from(at).ok()?)
    }

    /// Places at `first` and behind are superseded.
    pub(super) fn cut(&mut self, first: Position) {
        let kept = usize::try_from(first.0.saturating_sub(self.base.0 + 1)).unwrap_or(usize::MAX);
        for gone in self.kept.drain(kept.min(self.kept.len())..) {
            self.recent_bytes -= gone.bytes.map_or(0, |bytes| bytes.len());
        }
        self.recent_from = self.recent_from.min(first);
    }

    /// Everything up to a base is dropped; with `reset` what is behind it, too.
    pub(super) fn rebase(&mut self, base: Position, reset: bool) {
        let dropped = usize::try_from(base.0.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        let dropped = if reset { self.kept.len() } else { dropped.min(self.kept.len()) };
        for gone in self.kept.drain(..dropped) {
            self.recent_bytes -= gone.bytes.map_or(0, |bytes| bytes.len());
        }
        self.base = base;
    }

    /// The next place.
    pub(super) fn push(&mut self, position: Position, entry: &Entry, appended: &Appended) {
        let bytes = match &entry.body {
            Body::Record { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        if self.recent_bytes == 0 {
            self.recent_from = position;
        }
        self.recent_bytes += bytes.as_ref().map_or(0, Bytes::len);
        let slot = Slot { meta: entry.meta(), location: Some(appended.location) };
        self.kept.push_back(Place { slot, lsn: appended.lsn, bytes });
    }

    /// Lets go of records that are on disk up to `durable`: all of them if nobody else needs them, else the oldest beyond
    /// the bound.
    pub(super) fn forget_recent(&mut self, alone: bool, durable: Lsn) {
        let most = if alone { 0 } else { RECENT_BYTES_MAX };
        while self.recent_bytes > most {
            let at = self.recent_from.0.saturating_sub(self.base.0 + 1) as usize;
            let Some(place) = self.kept.get_mut(at).filter(|place| place.lsn <= durable) else { return };
            self.recent_bytes -= place.bytes.take().map_or(0, |bytes| bytes.len());
            self.recent_from = self.recent_from.max(self.base).next();
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_cell::Term;
    use hearth_common::Rid;
    use hearth_wal::{Location, SegmentNo};

    use super::*;

    fn push(places: &mut Places, position: u64, bytes: usize) {
        let body = Body::Record { rid: Rid(u128::from(position)), bytes: vec![7; bytes].into() };
        let location = Location { segment: SegmentNo(1), offset: position, bytes: 1 };
        let appended = Appended { lsn: Lsn(position), location };
        places.push(Position(position), &Entry { term: Term(1), body }, &appended);
    }

    fn in_memory(places: &Places) -> Vec<u64> {
        (0..20).filter(|at| places.get(Position(*at)).is_some_and(|p| p.in_memory().is_some())).collect()
    }

    #[test]
    fn what_is_on_disk_leaves_memory_oldest_first() {
        let mut places = Places::new(Position(2), Vec::new());
        (3..=6).for_each(|at| push(&mut places, at, RECENT_BYTES_MAX / 2));
        places.forget_recent(false, Lsn(3));
        assert_eq!(in_memory(&places), [4, 5, 6], "4 is not on disk");
        places.forget_recent(false, Lsn(9));
        assert_eq!(in_memory(&places), [5, 6]);
        places.forget_recent(true, Lsn(5));
        assert_eq!(in_memory(&places), [6]);
        places.cut(Position(4));
        push(&mut places, 4, 10);
        assert_eq!((in_memory(&places), places.get(Position(5)).is_none()), (vec![4], true));
        places.forget_recent(true, Lsn(9));
        assert_eq!(in_memory(&places), [0; 0]);
    }

    #[test]
    fn a_base_drops_what_is_before_it_and_a_reset_everything() {
        let mut places = Places::new(Position(0), Vec::new());
        (1..=5).for_each(|at| push(&mut places, at, 10));
        places.rebase(Position(3), false);
        assert_eq!((in_memory(&places), places.base()), (vec![4, 5], Position(3)));
        places.rebase(Position(9), true);
        assert_eq!((in_memory(&places), places.base()), (vec![], Position(9)));
        push(&mut places, 10, 10);
        assert_eq!(in_memory(&places), [10]);
    }
}
