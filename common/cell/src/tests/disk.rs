//! A disk that loses what was not reported.

use std::collections::VecDeque;

use hearth_common::{Position, Rid};

use crate::{Base, Entry, Pledge, Saved, Write, WriteNo};

/// What a disk holds.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Image {
    pub(super) pledge: Pledge,
    pub(super) base: Base,
    /// Behind the base.
    pub(super) entries: Vec<Entry>,
    pub(super) remembered: Vec<(Rid, Position)>,
}

impl Image {
    pub(super) fn apply(&mut self, write: &Write) {
        match write {
            Write::Pledge(pledge) => self.pledge = pledge.clone(),
            Write::Entries { first, entries } => {
                let kept = usize::try_from(first.0 - self.base.position.0 - 1).expect("a small log");
                assert!(kept <= self.entries.len(), "a write of entries leaves a gap");
                self.entries.truncate(kept);
                self.entries.extend(entries.iter().cloned());
            }
            Write::Remember { rids } => self.remembered.extend(rids),
            Write::Base { base, reset, rids } => {
                if *reset {
                    self.entries.clear();
                } else {
                    let dropped =
                        usize::try_from(base.position.0 - self.base.position.0).expect("a small log");
                    self.entries.drain(..dropped);
                }
                self.base = base.clone();
                self.remembered.extend(rids);
            }
        }
    }

    pub(super) fn end(&self) -> Position {
        Position(self.base.position.0 + self.entries.len() as u64)
    }

    pub(super) fn entry(&self, position: Position) -> Option<&Entry> {
        let index = position.0.checked_sub(self.base.position.0 + 1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The entries in `from + 1 ..= upto` that are there.
    pub(super) fn behind(&self, from: Position, upto: Position) -> impl Iterator<Item = (Position, &Entry)> {
        let positions = (from.0 + 1..=upto.0).map(Position);
        positions.filter_map(|position| Some((position, self.entry(position)?)))
    }

    pub(super) fn saved(&self) -> Saved {
        Saved {
            pledge: self.pledge.clone(),
            base: self.base.clone(),
            entries: self.entries.iter().map(Entry::meta).collect(),
            remembered: self.remembered.clone(),
        }
    }
}

/// A disk and the writes under way to it.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Disk {
    pub(super) image: Image,
    pending: VecDeque<(WriteNo, Write)>,
}

impl Disk {
    pub(super) fn holding(image: Image) -> Self {
        Self { image, pending: VecDeque::new() }
    }

    pub(super) fn push(&mut self, no: WriteNo, write: Write) {
        self.pending.push_back((no, write));
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The first writes reach the disk. Says the number of the last one, to be reported.
    pub(super) fn sync(&mut self, count: usize) -> Option<WriteNo> {
        let mut last = None;
        for (no, write) in self.pending.drain(..count) {
            self.image.apply(&write);
            last = Some(no);
        }
        last
    }

    /// Power goes: the first `kept` writes had reached the disk, nobody was told, the others are lost.
    pub(super) fn crash(&mut self, kept: usize) {
        self.sync(kept);
        self.pending.clear();
    }
}
