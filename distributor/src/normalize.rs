//! Normalising and sanitising a pprof (api-semantics §3.6): what remains is each stack once, with what it is worth.
//!
//! Works on flat arrays that are reused from profile to profile; one pass over the samples. Must not know: labels of series
//! beyond those that groups need, limits, records.

use hashbrown::HashTable;
use hearth_formats::pprof::Pprof;
use hearth_model::spans::{SpanId, TraceId};

use crate::canonical::Canonical;
use crate::idtable::{FirstUse, IdTable, NONE};
use crate::labels::Label;
use crate::mix;
use crate::split::{Groups, Place};

/// What all steps of one profile share.
#[derive(Debug)]
pub(crate) struct Input<'p, 'a> {
    /// The profile.
    pub(crate) pprof: &'p Pprof<'a>,
    /// Its strings, checked.
    pub(crate) strings: &'p [&'a str],
    /// Labels of the series.
    pub(crate) series: &'p [Label<'a>],
    /// The sample types that are kept, as columns of the profile.
    pub(crate) columns: &'p [u32],
    /// Whether equal symbols may stand twice, so that they have to be found by content.
    pub(crate) repeats: bool,
}

/// A sample that belongs to a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanEntry {
    /// Index of the row.
    pub(crate) row: u32,
    /// Span; 0 = only the trace is known.
    pub(crate) span: SpanId,
    /// Trace.
    pub(crate) trace: Option<TraceId>,
}

/// Rows: each (stack, group) once, with the sums of its values. Arrays are parallel.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// End of each row's stack in `frames`.
    pub(crate) ends: Vec<u32>,
    /// Numbers of locations (by first use), root first.
    pub(crate) frames: Vec<u32>,
    /// `values[row * columns + column]`.
    pub(crate) values: Vec<i64>,
    /// Group of each row.
    pub(crate) groups: Vec<u32>,
    /// Hash of each row's stack.
    pub(crate) hashes: Vec<u64>,
    /// Samples with spans.
    pub(crate) spans: Vec<SpanEntry>,
    /// `span_values[entry * columns + column]`.
    pub(crate) span_values: Vec<i64>,
    /// Samples that were dropped because they point at what is not there.
    pub(crate) dropped: u32,
}

impl Rows {
    /// The stack of a row.
    pub(crate) fn stack(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.frames[start..self.ends[row] as usize]
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.frames.clear();
        self.values.clear();
        self.groups.clear();
        self.hashes.clear();
        self.spans.clear();
        self.span_values.clear();
        self.dropped = 0;
    }
}

/// The work space, and the result.
#[derive(Debug, Default)]
pub(crate) struct Normalizer {
    /// The rows.
    pub(crate) rows: Rows,
    /// Locations in the order of their use: `used` holds their positions in the profile by number.
    pub(crate) order: FirstUse,
    /// Position of the function of each line of the profile.
    pub(crate) line_functions: Vec<u32>,
    /// Mappings by id.
    pub(crate) mappings: IdTable,
    locations: IdTable,
    functions: IdTable,
    canonical: Canonical,
    stacks: HashTable<u32>,
    span_table: HashTable<u32>,
}

/// Marks a location that is valid and has no number yet; the other bits are its position.
const UNUSED: u32 = 1 << 31;

impl Normalizer {
    /// Normalises; the result stands in `self` until the next call.
    pub(crate) fn run<'a>(&mut self, input: &Input<'_, 'a>, groups: &mut Groups<'a>) {
        self.rows.clear();
        self.order.start(input.pprof.locations.len());
        self.stacks.clear();
        self.span_table.clear();
        self.tables(input);
        self.stacks.reserve(input.pprof.samples.len(), |_| 0);
        let seed = mix::seed();
        for sample in &input.pprof.samples {
            let first = sample.first_value as usize;
            let values = &input.pprof.values[first..first + sample.value_count as usize];
            if !worth(values, input.columns) {
                continue;
            }
            let first = sample.first_location as usize;
            let ids = &input.pprof.location_ids[first..first + sample.location_count as usize];
            if !self.push_stack(ids) {
                self.rows.dropped += 1;
                continue;
            }
            let place = groups.place(input.pprof, sample, input.strings, input.series);
            self.row(place, values, input.columns, seed);
        }
        if self.rows.dropped > 0 {
            self.compact();
        }
    }

    /// Ids to positions. A location that has neither lines nor an address, or whose mapping or function is missing, is not
    /// there; its samples are dropped with it.
    fn tables(&mut self, input: &Input<'_, '_>) {
        let pprof = input.pprof;
        self.functions.fill(pprof.functions.iter().map(|f| f.id));
        self.mappings.fill(pprof.mappings.iter().map(|m| m.id));
        self.locations.fill(pprof.locations.iter().map(|l| l.id));
        self.line_functions.clear();
        self.line_functions.extend(pprof.lines.iter().map(|line| self.functions.get(line.function_id)));
        let (lines, mappings) = (&mut self.line_functions, &self.mappings);
        let canonical = input.repeats.then(|| {
            self.canonical.fill(input, lines, mappings);
            &self.canonical
        });
        self.locations.update(|at| {
            let location = &pprof.locations[at as usize];
            let first = location.first_line as usize;
            let functions = &lines[first..first + location.line_count as usize];
            let nothing = functions.is_empty() && location.address == 0;
            let unknown = location.mapping_id != 0 && mappings.get(location.mapping_id) == NONE;
            if nothing || unknown || functions.contains(&NONE) {
                return NONE;
            }
            canonical.map_or(at, |canonical| canonical.locations[at as usize]) | UNUSED
        });
    }

    /// Appends the stack of a sample, root first; `false`, and nothing appended, when a location is not there.
    #[inline]
    fn push_stack(&mut self, ids: &[u64]) -> bool {
        let frames = &mut self.rows.frames;
        let start = frames.len();
        // Only samples that bring new locations, or point at none, need a closer look.
        if self.locations.extend(ids.iter().rev().copied(), frames) < UNUSED {
            return true;
        }
        if frames[start..].contains(&NONE) {
            frames.truncate(start);
            return false;
        }
        self.number_new(ids, start);
        true
    }

    #[cold]
    fn number_new(&mut self, ids: &[u64], start: usize) {
        for (frame, id) in self.rows.frames[start..].iter_mut().zip(ids.iter().rev()) {
            if *frame >= UNUSED {
                *frame = self.order.number(*frame & !UNUSED);
                self.locations.set(*id, *frame);
            }
        }
    }

    /// Locations that only dropped samples used are not used.
    #[cold]
    fn compact(&mut self) {
        let mut order = FirstUse::default();
        order.start(self.order.used.len());
        for frame in &mut self.rows.frames {
            *frame = order.number(*frame);
        }
        self.order.used = order.used.iter().map(|number| self.order.used[*number as usize]).collect();
    }

    fn row(&mut self, place: Place, values: &[i64], columns: &[u32], seed: u64) {
        let rows = &mut self.rows;
        let start = rows.ends.last().map_or(0, |end| *end as usize);
        let stack = &rows.frames[start..];
        let hash = mix::stack(stack, seed ^ u64::from(place.group));
        let found = self.stacks.find(hash, |row| {
            rows.hashes[*row as usize] == hash
                && rows.groups[*row as usize] == place.group
                && rows.stack(*row as usize) == stack
        });
        let row = match found {
            Some(row) => {
                let row = *row;
                rows.frames.truncate(start);
                add(&mut rows.values, row as usize, values, columns);
                row
            }
            None => {
                let row = rows.ends.len() as u32;
                rows.ends.push(rows.frames.len() as u32);
                rows.groups.push(place.group);
                rows.hashes.push(hash);
                rows.values.extend(columns.iter().map(|column| values[*column as usize]));
                let hashes = &rows.hashes;
                self.stacks.insert_unique(hash, row, |row| hashes[*row as usize]);
                row
            }
        };
        if place.span != 0 || place.trace.is_some() {
            self.span(SpanEntry { row, span: place.span, trace: place.trace }, values, columns, seed);
        }
    }

    fn span(&mut self, entry: SpanEntry, values: &[i64], columns: &[u32], seed: u64) {
        let rows = &mut self.rows;
        let hash = |entry: &SpanEntry| {
            let trace = entry.trace.map_or(0, u128::from_le_bytes);
            mix::mix(mix::mix(seed ^ u64::from(entry.row), entry.span), trace as u64 ^ (trace >> 64) as u64)
        };
        let found = self.span_table.find(hash(&entry), |at| rows.spans[*at as usize] == entry);
        match found {
            Some(at) => add(&mut rows.span_values, *at as usize, values, columns),
            None => {
                let at = rows.spans.len() as u32;
                rows.spans.push(entry);
                rows.span_values.extend(columns.iter().map(|column| values[*column as usize]));
                let spans = &rows.spans;
                self.span_table.insert_unique(hash(&entry), at, |at| hash(&spans[*at as usize]));
            }
        }
    }
}

/// Whether a sample counts: no value below zero, and one above.
#[inline]
fn worth(values: &[i64], columns: &[u32]) -> bool {
    let (mut any, mut negative) = (0i64, 0i64);
    for column in columns {
        any |= values[*column as usize];
        negative |= values[*column as usize];
    }
    any != 0 && negative >= 0
}

fn add(sums: &mut [i64], row: usize, values: &[i64], columns: &[u32]) {
    let sums = &mut sums[row * columns.len()..][..columns.len()];
    for (sum, column) in sums.iter_mut().zip(columns) {
        *sum = sum.saturating_add(values[*column as usize]);
    }
}
