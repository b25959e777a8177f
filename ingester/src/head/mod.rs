//! The head: profiles of one tenant in memory, queryable at once, until they are published as blocks.
//!
//! Owns how rows and symbols are kept and how they become the input of a block. Must not know the log, the catalog or what
//! is published: which rows count is said by a [`Filter`].

mod dict;
mod filter;
mod paged;
mod rows;
mod series;
mod source;
mod symbols;
mod unit;
mod varint;

#[cfg(test)]
mod bench;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use hashbrown::HashTable;
use hearth_common::TimestampNs;
use hearth_formats::record::{Record, RecordHeader};
use hearth_model::labels;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use dict::HashKey;
pub(crate) use filter::{Deleted, Filter, Hides, Share};
pub(crate) use rows::{Row, Rows};

pub(crate) use series::{Chunk, ChunkMeta};
pub(crate) use source::SealedUnit;
pub(crate) use unit::{Added, Place, Scratch, Unit, UnitView};

/// The profiles of one tenant since its last cut.
#[derive(Debug)]
pub(crate) struct Head {
    key: HashKey,
    units: RwLock<Units>,
    bytes: AtomicI64,
    records: AtomicU64,
    values: AtomicU64,
    series: AtomicU64,
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct Units {
    all: Vec<Arc<Unit>>,
    by_name: HashTable<u32>,
}

/// Figures of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadSizes {
    /// Bytes of memory.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// Values that are not zero.
    pub(crate) values: u64,
    pub(crate) series: u64,
}

impl Head {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            units: RwLock::default(),
            bytes: AtomicI64::new(0),
            records: AtomicU64::new(0),
            values: AtomicU64::new(0),
            series: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Adds a record. Records of different units are added at the same time; a reader sees it whole or not at all.
    pub(crate) fn add(
        &self,
        place: Place,
        header: &RecordHeader<'_>,
        record: &Record<'_>,
        scratch: &mut Scratch,
    ) -> Added {
        scratch.hashes.fill(&self.key, record);
        let name = record.label(labels::NAME).unwrap_or_default();
        let service = record.label(labels::SERVICE_NAME).unwrap_or_default();
        let added = self.unit(name, service).add(place, header, record, scratch);
        self.bytes.fetch_add(added.bytes as i64, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
        self.values.fetch_add(added.values, Ordering::Relaxed);
        self.series.fetch_add(added.new_series, Ordering::Relaxed);
        if added.full {
            self.full.store(true, Ordering::Relaxed);
        }
        added
    }

    fn unit(&self, name: &str, service: &str) -> Arc<Unit> {
        let seed = self.key.seed;
        let hash = |name: &str, service: &str| {
            xxh3_64_with_seed(service.as_bytes(), xxh3_64_with_seed(name.as_bytes(), seed))
        };
        let same = |unit: &Arc<Unit>| &*unit.name == name && &*unit.service == service;
        let own = hash(name, service);
        {
            let units = self.units.read();
            if let Some(at) = units.by_name.find(own, |at| same(&units.all[*at as usize])) {
                return Arc::clone(&units.all[*at as usize]);
            }
        }
        let mut units = self.units.write();
        let Units { all, by_name } = &mut *units;
        if let Some(at) = by_name.find(own, |at| same(&all[*at as usize])) {
            return Arc::clone(&all[*at as usize]);
        }
        let unit = Arc::new(Unit::new(name, service, self.key));
        let at = all.len() as u32;
        all.push(Arc::clone(&unit));
        by_name.insert_unique(own, at, |at| hash(&all[*at as usize].name, &all[*at as usize].service));
        unit
    }

    /// All units.
    pub(crate) fn units(&self) -> Vec<Arc<Unit>> {
        self.units.read().all.clone()
    }

    /// Drops what only additions need; the caller sees to it that none follow.
    pub(crate) fn seal(&self) {
        let units = self.units();
        units.iter().for_each(|unit| unit.seal());
        let bytes = units.iter().map(|unit| unit.sizes()).map(|(_, dict, rows)| dict + rows).sum::<usize>();
        self.bytes.store(bytes as i64, Ordering::Relaxed);
    }

    /// Figures; cheap.
    pub(crate) fn sizes(&self) -> HeadSizes {
        HeadSizes {
            bytes: self.bytes.load(Ordering::Relaxed).max(0) as u64,
            records: self.records.load(Ordering::Relaxed),
            values: self.values.load(Ordering::Relaxed),
            series: self.series.load(Ordering::Relaxed),
        }
    }

    /// Whether a unit has reached a limit, so that the tenant should be cut.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// The UTC days in which rows lie that count.
pub(crate) fn days(units: &[UnitView], filter: &Filter) -> std::collections::BTreeSet<i32> {
    let mut days = std::collections::BTreeSet::new();
    for unit in units {
        for series in &unit.series {
            let hides = unit.hides(series, filter);
            for chunk in &series.chunks {
                let (first, last) = (chunk.meta.min_time.day(), chunk.meta.max_time.day());
                match filter.share(&chunk.meta) {
                    Share::None => {}
                    Share::All if first == last && !hides.touches(&chunk.meta) => _ = days.insert(first),
                    _ => {
                        let rows = admitted(chunk, filter).filter(|row| unit.has_column(row, &hides));
                        days.extend(rows.map(|row| row.head.time.day()));
                    }
                }
            }
        }
    }
    days
}

/// The rows of a chunk whose places a filter admits.
pub(crate) fn admitted<'a>(chunk: &'a Chunk, filter: &'a Filter) -> impl Iterator<Item = Row<'a>> {
    let share = filter.share(&chunk.meta);
    let bytes = if share == Share::None { &[] } else { &*chunk.bytes };
    Rows::new(bytes)
        .filter(move |row| share == Share::All || filter.admits(row.head.journal, row.head.position))
}

/// The times of a chunk's rows, both ends inclusive.
pub(crate) fn span(meta: &ChunkMeta) -> hearth_common::TimeRange {
    let (start, end): (TimestampNs, TimestampNs) = (meta.min_time, meta.max_time);
    hearth_common::TimeRange { start, end }
}
