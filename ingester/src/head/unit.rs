//! One unit (profile name, service): its dictionary, series and rows behind one lock; snapshots for readers.

use std::sync::Arc;

use hashbrown::HashTable;
use hearth_formats::record::{Record, RecordHeader};
use hearth_model::{Labels, ProfileType, View};
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3Default;

use super::dict::{Dict, HashKey, Hashes, Numbers, STACKS_MAX};
use super::filter::{Filter, Hides};
use super::rows::{self, Row, RowHead, RowScratch};
use super::series::{Chunk, ChunkMeta, Series};
use super::symbols::Symbols;

/// A unit is cut early from this many bytes on.
const UNIT_BYTES_MAX: usize = 256 << 20;
/// Bytes that a series takes beside its rows: labels, tables. An estimate, for budgets.
const SERIES_BYTES: usize = 1 << 10;

/// Buffers for building a record into a head; reused from record to record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) hashes: Hashes,
    numbers: Numbers,
    rows: RowScratch,
    encoded: Vec<u8>,
}

/// Where a record stands in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the journal in the process.
    pub(crate) journal: u32,
    pub(crate) position: u64,
}

/// What adding a record did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) values: u64,
    pub(crate) new_series: u64,
    /// Growth in bytes.
    pub(crate) bytes: isize,
    /// The unit has reached a limit: its tenant should be cut.
    pub(crate) full: bool,
}

/// A type of a unit.
#[derive(Debug, Clone)]
pub(crate) struct UnitType {
    pub(crate) ty: ProfileType,
    /// Its id as text.
    pub(crate) id: String,
}

#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dict: Option<Dict>,
    /// Kept when the dictionary is dropped.
    symbols: Option<Symbols>,
    types: Arc<Vec<UnitType>>,
    type_sets: Arc<Vec<Vec<u32>>>,
    series: Vec<Series>,
    by_labels: HashTable<u32>,
    /// Bytes of series and rows.
    rows_bytes: usize,
    /// All bytes.
    bytes: usize,
}

/// A series in a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SeriesView {
    pub(crate) labels: Labels,
    pub(crate) chunks: Vec<Chunk>,
}

/// A unit as it was at one moment; needs no lock.
#[derive(Debug, Clone)]
pub(crate) struct UnitView {
    pub(crate) name: Arc<str>,
    pub(crate) service: Arc<str>,
    pub(crate) types: Arc<Vec<UnitType>>,
    /// The types of each column, by type set.
    pub(crate) type_sets: Arc<Vec<Vec<u32>>>,
    pub(crate) series: Vec<SeriesView>,
    /// Empty unless asked for.
    pub(crate) symbols: Symbols,
    /// Bytes of the dictionary.
    pub(crate) symbol_bytes: usize,
}

impl Unit {
    pub(crate) fn new(name: &str, service: &str, key: HashKey) -> Self {
        let state = State {
            dict: Some(Dict::new(key)),
            symbols: None,
            types: Arc::default(),
            type_sets: Arc::default(),
            series: Vec::new(),
            by_labels: HashTable::new(),
            rows_bytes: 0,
            bytes: 0,
        };
        Self { name: Arc::from(name), service: Arc::from(service), state: Mutex::new(state) }
    }

    /// Adds a record whose hashes are filled in `scratch`. Rows come last: a panic before leaves no part of a profile.
    pub(crate) fn add(
        &self,
        place: Place,
        header: &RecordHeader<'_>,
        record: &Record<'_>,
        scratch: &mut Scratch,
    ) -> Added {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(dict) = &mut state.dict else {
            unreachable!("a sealed unit takes nothing: the tenant's lock is held while its head is swapped");
        };
        dict.intern(record, &scratch.hashes, &mut scratch.numbers);
        let type_set = find_type_set(&mut state.types, &mut state.type_sets, &self.name, record);
        let columns = &state.type_sets[type_set as usize];
        let head = RowHead {
            journal: place.journal,
            position: place.position,
            time: header.time,
            rid: header.rid,
            duration_ns: record.duration_ns,
            period: record.period,
            type_set,
        };
        scratch.encoded.clear();
        let encoded =
            rows::encode(&head, record, &scratch.numbers.stacks, &mut scratch.rows, &mut scratch.encoded);
        let mut new_series = 0;
        if encoded.values > 0 {
            let (series, is_new) = find_series(&mut state.series, &mut state.by_labels, record);
            let before = series.bytes();
            series.reserve(scratch.encoded.len());
            series.open().extend_from_slice(&scratch.encoded);
            let columns = columns.iter().enumerate().filter(|(at, _)| encoded.types >> at & 1 == 1);
            series.added(&head, columns.fold(0, |bits, (_, ty)| bits | 1u64.checked_shl(*ty).unwrap_or(0)));
            state.rows_bytes = (state.rows_bytes + series.bytes()).saturating_sub(before);
            new_series = u64::from(is_new);
            state.rows_bytes += usize::from(is_new) * SERIES_BYTES;
        }
        let full = dict.symbols.stacks.len() >= STACKS_MAX;
        let after = state.rows_bytes + dict.bytes();
        let before = std::mem::replace(&mut state.bytes, after);
        Added {
            values: encoded.values,
            new_series,
            bytes: after as isize - before as isize,
            full: full || after >= UNIT_BYTES_MAX,
        }
    }

    /// The unit as it is now: series that `select` selects, symbols if `symbols`. The lock is held for the copy of the
    /// open ends only.
    pub(crate) fn view(&self, symbols: bool, select: impl Fn(&Labels) -> bool) -> UnitView {
        let state = self.state.lock();
        let chosen = state.series.iter().filter(|series| select(&series.labels));
        let all = state.dict.as_ref().map(|dict| &dict.symbols).or(state.symbols.as_ref());
        UnitView {
            name: Arc::clone(&self.name),
            service: Arc::clone(&self.service),
            types: Arc::clone(&state.types),
            type_sets: Arc::clone(&state.type_sets),
            series: chosen
                .map(|series| SeriesView { labels: series.labels.clone(), chunks: series.chunks() })
                .collect(),
            symbols: all.filter(|_| symbols).cloned().unwrap_or_default(),
            symbol_bytes: all.map_or(0, Symbols::bytes),
        }
    }

    /// Whether a type was ever added.
    pub(crate) fn has_type(&self, ty: &ProfileType) -> bool {
        self.state.lock().types.iter().any(|own| own.ty == *ty)
    }

    /// Drops what only additions need. Nothing is added afterwards.
    pub(crate) fn seal(&self) {
        let mut state = self.state.lock();
        if let Some(dict) = state.dict.take() {
            state.symbols = Some(dict.symbols);
        }
        state.by_labels = HashTable::new();
        state.series.iter_mut().for_each(Series::seal);
    }

    /// Number of series, and bytes of memory: dictionary, rows.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        let dict = state.dict.as_ref().map(Dict::bytes);
        let dict = dict.or(state.symbols.as_ref().map(Symbols::bytes)).unwrap_or_default();
        (state.series.len(), dict, state.rows_bytes)
    }
}

/// What is deleted of a series, by number of the type.
#[derive(Debug)]
pub(crate) struct HidesByType<'f>(Vec<Hides<'f>>);

impl HidesByType<'_> {
    /// Whether a row of the type is deleted.
    pub(crate) fn has(&self, ty: u32, head: &RowHead) -> bool {
        self.0.get(ty as usize).is_some_and(|hides| hides.has(head))
    }

    /// Whether some row of a chunk may be deleted.
    pub(crate) fn touches(&self, meta: &ChunkMeta) -> bool {
        self.0.iter().any(|hides| hides.touches(meta))
    }
}

impl UnitView {
    /// What is deleted of a series.
    pub(crate) fn hides<'f>(&self, series: &SeriesView, filter: &'f Filter) -> HidesByType<'f> {
        let types = if filter.deletes() { &self.types[..] } else { &[] };
        let of_type =
            |own: &UnitType| filter.hides(View { labels: &series.labels, ty: &own.ty, type_id: &own.id });
        HidesByType(types.iter().map(of_type).collect())
    }

    /// The columns of a row that have values and are not deleted, with their types.
    pub(crate) fn columns<'v>(
        &'v self,
        row: &Row<'v>,
        hides: &'v HidesByType<'v>,
    ) -> impl Iterator<Item = (usize, u32)> + use<'v> {
        let types = self.type_sets.get(row.head.type_set as usize).map_or(&[][..], Vec::as_slice);
        let row = *row;
        let own = types.iter().enumerate().map(|(at, ty)| (at, *ty));
        own.filter(move |(at, ty)| row.total(*at).1 > 0 && !hides.has(*ty, &row.head))
    }

    /// Whether something of a row is there.
    pub(crate) fn has_column(&self, row: &Row<'_>, hides: &HidesByType<'_>) -> bool {
        self.columns(row, hides).next().is_some()
    }

    /// The number of a type in the unit.
    pub(crate) fn find_type(&self, ty: &ProfileType) -> Option<u32> {
        self.types.iter().position(|own| own.ty == *ty).map(|at| at as u32)
    }
}

fn find_type_set(
    types: &mut Arc<Vec<UnitType>>,
    sets: &mut Arc<Vec<Vec<u32>>>,
    name: &str,
    record: &Record<'_>,
) -> u32 {
    let is = |ty: &ProfileType, (sample_type, unit): (&str, &str)| {
        &*ty.sample_type == sample_type
            && &*ty.sample_unit == unit
            && (&*ty.period_type, &*ty.period_unit) == record.period_type
    };
    let same = |set: &Vec<u32>| {
        set.len() == record.sample_types.len()
            && set.iter().zip(&record.sample_types).all(|(at, parts)| is(&types[*at as usize].ty, *parts))
    };
    if let Some(at) = sets.iter().position(same) {
        return at as u32;
    }
    let mut set = Vec::with_capacity(record.sample_types.len());
    for parts in &record.sample_types {
        let known = types.iter().position(|own| is(&own.ty, *parts));
        set.push(known.unwrap_or(types.len()) as u32);
        if known.is_none() {
            let (period_type, period_unit) = record.period_type;
            let ty = ProfileType::new(name, parts.0, parts.1, period_type, period_unit);
            let id = ty.id();
            Arc::make_mut(types).push(UnitType { ty, id });
        }
    }
    Arc::make_mut(sets).push(set);
    sets.len() as u32 - 1
}

fn find_series<'s>(
    series: &'s mut Vec<Series>,
    by_labels: &mut HashTable<u32>,
    record: &Record<'_>,
) -> (&'s mut Series, bool) {
    let hash = hash_labels(record.labels.iter().copied());
    let same = |labels: &Labels| labels.iter().eq(record.labels.iter().copied());
    if let Some(at) = by_labels.find(hash, |at| same(&series[*at as usize].labels)) {
        return (&mut series[*at as usize], false);
    }
    let at = series.len();
    series.push(Series::new(Labels::from_pairs(record.labels.iter().copied())));
    by_labels.insert_unique(hash, at as u32, |at| hash_labels(series[*at as usize].labels.iter()));
    (&mut series[at], true)
}

fn hash_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = Xxh3Default::new();
    for (name, value) in labels {
        hasher.update(name.as_bytes());
        hasher.update(&[0xff]);
        hasher.update(value.as_bytes());
        hasher.update(&[0xff]);
    }
    hasher.digest()
}
