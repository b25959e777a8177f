//! Merges the samples of one dataset, run after run of the output. Nothing is sorted: in an input a run is sorted by
//! (stack, row), and both are mapped by rising maps, so sorted sequences merge.
//!
//! Runs of several series are small: each is read once and dealt out to the runs of the output that it feeds. Runs of one
//! series can be of any size: they are read page by page.

use std::ops::Range;

use hashbrown::HashMap;

use super::bits::{StackMap, Walk};
use super::error::{MergeError, OfBlock};
use super::rows::{DatasetRows, RowMap};
use super::sink::{self, BlockSink};
use super::window::TableReader;
use crate::SAMPLES;
use crate::error::BlockError;
use crate::meta::datasets::Run;
use crate::read::meta::sample_column;
use crate::write::canon::UNUSED;
use crate::write::runs::{RUN_ROWS, Tables};
use crate::write::samples::SampleTable;

/// Columns of `samples.parquet`.
pub(super) const COLUMNS: &[usize] =
    &[sample_column::PROFILE_ROW, sample_column::STACK, sample_column::VALUE];

/// Most buffers that are kept for later: those of that many small runs.
const SPARE_MAX: usize = 16;

/// Rows of the output, sorted by (stack, row).
#[derive(Debug, Default)]
pub(super) struct Segment {
    rows: Vec<u32>,
    stacks: Vec<u32>,
    values: Vec<i64>,
}

impl Segment {
    fn key(&self, at: usize) -> u64 {
        u64::from(self.stacks[at]) << 32 | u64::from(self.rows[at])
    }

    fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows);
        self.stacks.reserve(rows);
        self.values.reserve(rows);
    }

    fn push(&mut self, row: u32, stack: u32, value: i64) {
        self.rows.push(row);
        self.stacks.push(stack);
        self.values.push(value);
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.stacks.clear();
        self.values.clear();
    }
}

/// Reads a run of an input page by page, in numbers of the output.
struct RunCursor<'m> {
    map: &'m RowMap,
    stacks: Walk<'m>,
    left: Range<u64>,
    run: &'m Run,
    /// The lowest bits of the sum of all values so far.
    sum: u64,
    /// The least that the next row's (stack, row) can be.
    least: u64,
}

impl<'m> RunCursor<'m> {
    fn new(map: &'m RowMap, stacks: &'m StackMap, run: &'m Run) -> Self {
        Self { map, stacks: Walk::new(stacks), left: run.sample_rows(), run, sum: 0, least: 0 }
    }

    /// Appends what stays of the next page; `false` at the end.
    async fn next(&mut self, reader: &mut TableReader<'_>, out: &mut Segment) -> Result<bool, MergeError> {
        let Some((page, part, first)) = reader.table().parts(self.left.clone()).next() else {
            return Ok(false);
        };
        let block = reader.block();
        reader.need(page).await?;
        self.decode(reader, page, &part, first, out).of(block)?;
        self.left.start = first + part.len() as u64;
        if self.left.is_empty() && self.sum != self.run.total as u64 {
            let what = format!("the values of a run do not add up to {}", self.run.total);
            return Err(BlockError::damaged(SAMPLES, 0, what)).of(block);
        }
        Ok(true)
    }

    fn decode(
        &mut self,
        reader: &mut TableReader<'_>,
        page: usize,
        part: &Range<usize>,
        first: u64,
        out: &mut Segment,
    ) -> Result<(), BlockError> {
        reader.load::<u32>(sample_column::PROFILE_ROW, page)?;
        reader.load::<u32>(sample_column::STACK, page)?;
        reader.load::<i64>(sample_column::VALUE, page)?;
        let in_rows: &[u32] = &reader.loaded(sample_column::PROFILE_ROW)[part.clone()];
        let in_stacks: &[u32] = &reader.loaded(sample_column::STACK)[part.clone()];
        let in_values: &[i64] = &reader.loaded(sample_column::VALUE)[part.clone()];
        self.sum = in_values.iter().fold(self.sum, |sum, &value| sum.wrapping_add(value as u64));
        let profiles = self.run.profile_rows();
        let offset = profiles.start - self.map.first;
        let rows = &self.map.rows[offset as usize..(profiles.end - self.map.first) as usize];
        // Rows of a run were checked to fit in 32 bits.
        let first_row = profiles.start as u32;
        let wrong = |at: usize, what: &str| {
            let what = format!("row {}: {what}", first + at as u64);
            Err(BlockError::damaged(SAMPLES, 0, what))
        };
        out.reserve(in_rows.len());
        let mut at = 0;
        while at < in_stacks.len() {
            let stack = in_stacks[at];
            let same = in_stacks[at..].iter().take_while(|&&other| other == stack).count();
            if self.least > u64::from(stack) << 32 | u64::from(in_rows[at]) {
                return wrong(at, "it is out of order");
            }
            let mut least_row = in_rows[at];
            let before = out.rows.len();
            for (&row, &value) in in_rows[at..at + same].iter().zip(&in_values[at..at + same]) {
                let Some(&to) = rows.get(row.wrapping_sub(first_row) as usize) else {
                    return wrong(at, "its profile is of another run");
                };
                if row < least_row || value <= 0 {
                    return wrong(at, "it is out of order or has no value");
                }
                // No row has the greatest number: it stands for "unused".
                least_row = row.saturating_add(1);
                if to != UNUSED {
                    out.rows.push(to);
                    out.values.push(value);
                }
            }
            self.least = (u64::from(stack) << 32) + u64::from(least_row);
            if out.rows.len() > before {
                let Some(to) = self.stacks.get(stack) else {
                    return wrong(at, "its stack does not exist");
                };
                out.stacks.resize(out.rows.len(), to);
            }
            at += same;
        }
        Ok(())
    }
}

/// A sorted sequence of rows on its way into a run.
struct Source<'m> {
    segment: Segment,
    at: usize,
    /// Where more comes from, and which input it is.
    more: Option<(RunCursor<'m>, usize)>,
}

/// The runs of one slice of one input, in order.
struct Feed<'m> {
    map: &'m RowMap,
    stacks: &'m StackMap,
    runs: &'m [Run],
    next: usize,
    /// Rows that were read already and wait for their run of the output.
    waiting: HashMap<usize, Vec<Segment>>,
}

/// What a merge of samples works on.
pub(super) struct SampleMerge<'m, 'r, 'b> {
    pub(super) readers: &'r mut [TableReader<'b>],
    pub(super) series_maps: &'m [Vec<u32>],
    /// Parallel to the maps of rows.
    pub(super) stacks: Vec<&'m StackMap>,
    /// Buffers that are used again.
    pub(super) spare: &'r mut Vec<Segment>,
}

impl<'m, 'b> SampleMerge<'m, '_, 'b> {
    /// Appends all samples of a dataset; completes its runs.
    pub(super) async fn dataset(
        &mut self,
        rows: &'m DatasetRows,
        tables: &mut Tables,
        sink: &mut dyn BlockSink,
    ) -> Result<Vec<Run>, MergeError>
    where
        'b: 'm,
    {
        let mut feeds: Vec<Feed<'m>> = Vec::new();
        for (map, stacks) in rows.maps.iter().zip(&self.stacks) {
            let meta = self.readers[map.input].block().meta();
            let runs = meta.datasets[map.dataset].slices[map.slice].runs.as_slice();
            feeds.push(Feed { map, stacks, runs, next: 0, waiting: HashMap::new() });
        }
        let run_of_row = run_of_row(&rows.runs);
        let mut runs = rows.runs.clone();
        for (at, run) in runs.iter_mut().enumerate() {
            let mut sources = Vec::new();
            for feed in &mut feeds {
                self.sources(feed, at, run, &run_of_row, &mut sources).await?;
            }
            run.first_sample = tables.samples.rows();
            tables.begin_samples(rows.groups[at].clone(), run.first_profile, run.samples);
            tables.samples.begin_run(run.samples);
            run.total = self.merge(sources, &mut tables.samples, sink).await?;
            tables.samples.end_run()?;
            tables.end_samples()?;
            let found = tables.samples.rows() - run.first_sample;
            if found != run.samples {
                let what = format!("a run has {found} samples, its profiles say {}", run.samples);
                return Err(MergeError::Balance(what));
            }
            sink::drain(sink, SAMPLES, tables.samples.out()?).await?;
        }
        Ok(runs)
    }

    /// Adds what an input has for a run of the output.
    async fn sources(
        &mut self,
        feed: &mut Feed<'m>,
        at: usize,
        run: &Run,
        run_of_row: &RunOfRow,
        sources: &mut Vec<Source<'m>>,
    ) -> Result<(), MergeError> {
        let input = feed.map.input;
        let series = &self.series_maps[input];
        let last = run.series.last().copied().unwrap_or_default();
        let begins = |run: &Run| run.series.iter().map(|&id| series[id as usize]).find(|&id| id != UNUSED);
        // A run whose series are all gone feeds nothing.
        while feed.next < feed.runs.len() && begins(&feed.runs[feed.next]).is_none_or(|first| first <= last) {
            let of_input = &feed.runs[feed.next];
            feed.next += 1;
            let cursor = RunCursor::new(feed.map, feed.stacks, of_input);
            if of_input.series.len() > 1 {
                self.deal(cursor, of_input, input, run_of_row, &mut feed.waiting).await?;
            } else {
                sources.push(Source { segment: Segment::default(), at: 0, more: Some((cursor, input)) });
            }
        }
        let waiting = feed.waiting.remove(&at).into_iter().flatten();
        sources.extend(waiting.map(|segment| Source { segment, at: 0, more: None }));
        Ok(())
    }

    /// Reads a run of several series and deals its rows out to the runs of the output.
    async fn deal(
        &mut self,
        mut cursor: RunCursor<'m>,
        run: &Run,
        input: usize,
        run_of_row: &RunOfRow,
        waiting: &mut HashMap<usize, Vec<Segment>>,
    ) -> Result<(), MergeError> {
        let reader = &mut self.readers[input];
        let limit = 2 * RUN_ROWS as u64;
        if run.samples >= limit {
            let what = format!(
                "a run of {} series has {} rows, the limit is {limit}",
                run.series.len(),
                run.samples
            );
            return Err(BlockError::index(0, what)).of(reader.block());
        }
        let mut all = self.spare.pop().unwrap_or_default();
        all.clear();
        all.reserve(run.samples as usize);
        while cursor.next(reader, &mut all).await? {}
        let (Some(&least), Some(&most)) = (all.rows.iter().min(), all.rows.iter().max()) else {
            return Ok(());
        };
        let (first, last) = (run_of_row.get(least), run_of_row.get(most));
        if first == last {
            waiting.entry(first).or_default().push(all);
            return Ok(());
        }
        let mut parts: Vec<Segment> = (first..=last).map(|_| Segment::default()).collect();
        for ((&row, &stack), &value) in all.rows.iter().zip(&all.stacks).zip(&all.values) {
            parts[run_of_row.get(row) - first].push(row, stack, value);
        }
        for (at, part) in (first..).zip(parts).filter(|(_, part)| !part.rows.is_empty()) {
            waiting.entry(at).or_default().push(part);
        }
        Ok(())
    }

    /// Merges sorted sources into the table; the sum of all values.
    async fn merge(
        &mut self,
        mut sources: Vec<Source<'m>>,
        table: &mut SampleTable,
        sink: &mut dyn BlockSink,
    ) -> Result<u128, MergeError> {
        let mut heap = Heap::default();
        for (at, source) in sources.iter_mut().enumerate() {
            if self.refill(source).await? {
                heap.push(source.segment.key(source.at), at as u32);
            }
        }
        // Two words of the sum: values have 63 bits.
        let (mut total, mut carried) = (0u64, 0u64);
        while let Some((at, second)) = heap.first() {
            let source = &mut sources[at as usize];
            let (from, segment) = (source.at, &source.segment);
            let behind = segment.stacks[from + 1..].iter().zip(&segment.rows[from + 1..]);
            let key = |(&stack, &row): (&u32, &u32)| u64::from(stack) << 32 | u64::from(row);
            let to = from + 1 + behind.take_while(|&next| key(next) < second).count();
            let values = &segment.values[from..to];
            for &value in values {
                let (sum, over) = total.overflowing_add(value as u64);
                (total, carried) = (sum, carried + u64::from(over));
            }
            table.extend(&segment.rows[from..to], &segment.stacks[from..to], values)?;
            source.at = to;
            if to < source.segment.stacks.len() {
                heap.replace_first(source.segment.key(to));
            } else if self.refill(source).await? {
                heap.replace_first(source.segment.key(source.at));
                sink::drain(sink, SAMPLES, table.out()?).await?;
            } else {
                if self.spare.len() < SPARE_MAX {
                    self.spare.push(std::mem::take(&mut source.segment));
                }
                heap.remove_first();
            }
        }
        Ok(u128::from(carried) << 64 | u128::from(total))
    }

    /// Brings the next rows of a source; `false` at its end.
    async fn refill(&mut self, source: &mut Source<'m>) -> Result<bool, MergeError> {
        while source.at == source.segment.stacks.len() {
            let Some((cursor, input)) = &mut source.more else { return Ok(false) };
            source.segment.clear();
            source.at = 0;
            if !cursor.next(&mut self.readers[*input], &mut source.segment).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The run of the output to which each row of the dataset belongs.
struct RunOfRow {
    first: u32,
    runs: Vec<u32>,
}

impl RunOfRow {
    fn get(&self, row: u32) -> usize {
        self.runs[(row - self.first) as usize] as usize
    }
}

fn run_of_row(runs: &[Run]) -> RunOfRow {
    let first = runs.first().map_or(0, |run| run.first_profile as u32);
    let each = runs.iter().zip(0u32..).flat_map(|(run, at)| (0..run.profiles).map(move |_| at));
    RunOfRow { first, runs: each.collect() }
}

/// Sources by their next key, smallest first. No two keys are equal: each row of the output comes from one input.
#[derive(Debug, Default)]
struct Heap {
    items: Vec<(u64, u32)>,
}

impl Heap {
    /// The source with the smallest key, and the key of the second.
    fn first(&self) -> Option<(u32, u64)> {
        let key = |at: usize| self.items.get(at).map_or(u64::MAX, |(key, _)| *key);
        Some((self.items.first()?.1, key(1).min(key(2))))
    }

    fn push(&mut self, key: u64, source: u32) {
        let mut at = self.items.len();
        self.items.push((key, source));
        while at > 0 && self.items[(at - 1) / 2].0 > self.items[at].0 {
            self.items.swap((at - 1) / 2, at);
            at = (at - 1) / 2;
        }
    }

    fn replace_first(&mut self, key: u64) {
        self.items[0].0 = key;
        self.sink();
    }

    fn remove_first(&mut self) {
        self.items.swap_remove(0);
        self.sink();
    }

    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let key = |at: usize| self.items.get(at).map_or(u64::MAX, |(key, _)| *key);
            let child = if key(right) < key(left) { right } else { left };
            if child >= self.items.len() || self.items[at].0 <= self.items[child].0 {
                return;
            }
            self.items.swap(at, child);
            at = child;
        }
    }
}
