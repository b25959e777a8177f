//! What the log held when it was opened: for each cell what its replica starts from, and where its entries lie.
//!
//! Pure: an iterator of entries in, values out. Must not know files, tasks, or what a record says beyond its header.

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_cell::{Base, Body, Entry, EntryKind, EntryMeta, Membership, Pledge, Saved, Term};
use hearth_common::{CellId, DiskId, LogId, Position, Rid};
use hearth_formats::record;
use hearth_wal::{Damage, DamageKind, Location, Replayed, SegmentNo};

use super::codec::{self, CellNumber, Logged, What};

/// A place of a cell's log on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) meta: EntryMeta,
    /// Where it lies; `None` = it was damaged, and no other member has it.
    pub(crate) location: Option<Location>,
}

/// A cell as it was found.
#[derive(Debug)]
pub(crate) struct LoadedCell {
    pub(crate) cell: CellId,
    pub(crate) log: LogId,
    pub(super) pledge: Pledge,
    pub(super) base: Base,
    /// The places behind the base. While the log is read there may be gaps: a segment that began long ago knows an old base
    /// only, and what lies between that and its first entry went with the segments before it.
    slots: BTreeMap<u64, Slot>,
    /// Records at or below the base that were still in the log.
    remembered: Vec<(Rid, Position)>,
    /// Entries behind a gap are left out.
    gap: bool,
    /// Places that are lost for good.
    lost: u64,
}

/// By segment and cell the last place that an entry in it is for: a segment may go when all of them are dropped.
#[derive(Debug, Default)]
pub(crate) struct Segments(BTreeMap<SegmentNo, BTreeMap<CellNumber, u64>>);

impl Segments {
    pub(crate) fn begin(&mut self, segment: SegmentNo) {
        self.0.entry(segment).or_default();
    }

    pub(crate) fn note(&mut self, segment: SegmentNo, cell: CellNumber, position: Position) {
        let last = self.0.entry(segment).or_default().entry(cell).or_default();
        *last = position.0.max(*last);
    }

    /// The last segment such that it and all before it hold only places at or below the bases given. The newest one is
    /// never named: its checkpoint is the only one.
    pub(crate) fn removable(&self, base: impl Fn(CellNumber) -> Position) -> Option<SegmentNo> {
        let newest = *self.0.keys().next_back()?;
        let dropped =
            |cells: &BTreeMap<CellNumber, u64>| cells.iter().all(|(cell, last)| *last <= base(*cell).0);
        self.0.iter().take_while(|(at, cells)| **at < newest && dropped(cells)).map(|(at, _)| *at).last()
    }

    /// The cell's log begins anew: no entry of it that was written before is needed.
    pub(crate) fn begin_anew(&mut self, cell: CellNumber) {
        self.0.values_mut().for_each(|cells| _ = cells.remove(&cell));
    }

    pub(crate) fn forget(&mut self, upto: SegmentNo) {
        self.0 = self.0.split_off(&SegmentNo(upto.0 + 1));
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) cells: BTreeMap<CellNumber, LoadedCell>,
    pub(crate) segments: Segments,
    /// What is damaged, for people.
    pub(crate) damage: Vec<String>,
    /// A whole segment cannot be read, and none behind it says anew what was pledged: this member may have promised what it
    /// does not know.
    pub(crate) forgotten: bool,
    /// Something was damaged, and a cell that is first named behind it may have had entries there.
    unnamed: bool,
}

/// Reads all of the log of a disk. One segment is in memory at a time.
pub(crate) fn load(disk: DiskId, replay: impl Iterator<Item = Result<Replayed, Damage>>) -> Loaded {
    let mut loaded = read(replay);
    // Only the last base tells what is missing.
    loaded.cells.values_mut().for_each(|cell| cell.settle(disk));
    loaded
}

/// The same, but gaps stay.
pub(super) fn read(replay: impl Iterator<Item = Result<Replayed, Damage>>) -> Loaded {
    let mut loaded = Loaded::default();
    for item in replay {
        match item {
            Ok(Replayed::Segment { segment, preamble }) => loaded.segment(segment, &preamble),
            Ok(Replayed::Entry { location, bytes }) => loaded.entry(location, &bytes),
            Err(damage) => {
                loaded.damage.push(damage.to_string());
                let whole = matches!(
                    damage.kind,
                    DamageKind::Header | DamageKind::Missing { .. } | DamageKind::Unreadable(_)
                );
                loaded.forgotten |= whole;
                // Whose entries are gone is not known: what this disk acknowledged may be missing from any cell.
                loaded.cells.values_mut().for_each(|cell| cell.pledge.damaged = true);
                loaded.unnamed = true;
            }
        }
    }
    loaded
}

impl Loaded {
    fn segment(&mut self, segment: SegmentNo, preamble: &[u8]) {
        self.segments.begin(segment);
        let Some(cells) = codec::read_checkpoint(preamble) else {
            self.damage.push(format!("segment {segment} begins with no checkpoint of this version"));
            self.forgotten = true;
            return;
        };
        self.forgotten = false;
        for found in cells {
            let cell = self.cells.entry(found.number).or_insert_with(|| LoadedCell {
                cell: found.cell.clone(),
                log: found.log,
                pledge: Pledge { damaged: self.unnamed, ..Pledge::default() },
                base: Base::default(),
                slots: BTreeMap::new(),
                remembered: Vec::new(),
                gap: false,
                lost: 0,
            });
            cell.pledge(found.pledge);
            cell.rebase(found.base, false);
        }
    }

    fn entry(&mut self, location: Location, bytes: &Bytes) {
        let Some((number, logged)) = codec::read(bytes) else {
            let Location { segment, offset, .. } = location;
            self.damage.push(format!("an entry at byte {offset} of segment {segment} is of no known kind"));
            return;
        };
        let Some(cell) = self.cells.get_mut(&number) else {
            self.damage.push(format!("segment {} has an entry of a cell without a name", location.segment));
            return;
        };
        match logged {
            Logged::Pledge(pledge) => cell.pledge(pledge),
            Logged::Base { base, reset } => {
                if reset {
                    self.segments.begin_anew(number);
                }
                cell.rebase(base, reset);
            }
            Logged::Entry { position, term, what } => {
                self.segments.note(location.segment, number, position);
                let body = match what {
                    What::Begin => Body::Begin,
                    What::Members(membership) => Body::Members(membership),
                    What::Record(bytes) => match record::peek(&bytes) {
                        Ok((header, _)) => Body::Record { rid: header.rid, bytes },
                        Err(error) => {
                            let (cell, position) = (&cell.cell.0, position.0);
                            self.damage.push(format!("record {position} of cell {cell} is damaged: {error}"));
                            Body::Begin
                        }
                    },
                };
                let meta = Entry { term, body }.meta();
                cell.put(position, Slot { meta, location: Some(location) });
            }
        }
    }
}

impl LoadedCell {
    /// Damage that was found while reading stays: what was pledged later knew nothing of it.
    fn pledge(&mut self, pledge: Pledge) {
        let damaged = self.pledge.damaged;
        self.pledge = pledge;
        self.pledge.damaged |= damaged;
    }

    fn put(&mut self, position: Position, slot: Slot) {
        if position <= self.base.position {
            if let EntryKind::Record(rid) = slot.meta.kind {
                self.remembered.push((rid, position));
            }
            return;
        }
        // It replaces all that was behind it.
        _ = self.slots.split_off(&position.0);
        self.slots.insert(position.0, slot);
    }

    fn rebase(&mut self, base: Base, reset: bool) {
        // A base that goes back is that of a member which was removed and let go of its log.
        if reset || base.position < self.base.position {
            self.slots.clear();
        }
        let behind = self.slots.split_off(&(base.position.0 + 1));
        for (at, slot) in std::mem::replace(&mut self.slots, behind) {
            if let EntryKind::Record(rid) = slot.meta.kind {
                self.remembered.push((rid, Position(at)));
            }
        }
        self.base = base;
    }

    /// Closes gaps, when everything is read.
    fn settle(&mut self, disk: DiskId) {
        let first = self.base.position.0 + 1;
        let whole =
            self.slots.keys().zip(first..).take_while(|(at, expected)| *at == expected).count() as u64;
        if whole == self.slots.len() as u64 {
            return;
        }
        // The last members that were written down count, also behind a gap: somebody may have decided there that the others
        // are gone (`takeover`).
        let alone = self.is_alone(disk);
        let behind = self.slots.split_off(&(first + whole));
        if !alone {
            // The others have what is missing: the log ends before the gap.
            self.gap = true;
            return;
        }
        // Nobody else has it. What was acknowledged behind the gap must not go, too.
        let mut term = self.slots.values().next_back().map_or(self.base.term, |slot| slot.meta.term);
        let mut next = first + whole;
        for (at, slot) in behind {
            self.lost += at - next;
            self.slots.extend((next..at).map(|missing| (missing, lost(term))));
            (term, next) = (slot.meta.term, at + 1);
            self.slots.insert(at, slot);
        }
    }

    pub(super) fn membership(&self) -> &Membership {
        let in_log = self.slots.values().rev().find_map(|slot| match &slot.meta.kind {
            EntryKind::Members(membership) => Some(membership),
            _ => None,
        });
        in_log.unwrap_or(&self.base.membership)
    }

    /// Whether the disk's member is the only voter. A learner changes nothing: it can bring back what it has of the log only
    /// once there is a leader, and nobody else can lead.
    pub(crate) fn is_alone(&self, disk: DiskId) -> bool {
        let voters = &self.membership().voters;
        voters.len() == 1 && voters.iter().all(|voter| voter.disk == disk)
    }

    /// The last place that is known, and the term of the entry there.
    pub(super) fn end(&self) -> (Position, Term) {
        let last = self.slots.last_key_value();
        last.map_or((self.base.position, self.base.term), |(at, slot)| (Position(*at), slot.meta.term))
    }

    /// How many records are behind the base.
    pub(super) fn records(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot.meta.kind, EntryKind::Record(_))).count()
    }

    /// How many bytes their entries have.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.values().map(|slot| slot.meta.bytes).sum()
    }

    /// How many places between the base and the end are missing.
    pub(super) fn missing(&self) -> u64 {
        (self.end().0.0 - self.base.position.0).saturating_sub(self.slots.len() as u64)
    }

    /// How many places no member can bring back.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// What the replica starts from, and where its entries lie.
    pub(crate) fn into_parts(mut self) -> (Saved, Vec<Slot>) {
        self.pledge.damaged |= self.gap || self.lost > 0;
        let slots: Vec<Slot> = self.slots.into_values().collect();
        let entries = slots.iter().map(|slot| slot.meta.clone()).collect();
        let saved = Saved { pledge: self.pledge, base: self.base, entries, remembered: self.remembered };
        (saved, slots)
    }
}

/// Stands for an entry that is damaged everywhere.
fn lost(term: Term) -> Slot {
    Slot { meta: Entry { term, body: Body::Begin }.meta(), location: None }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
