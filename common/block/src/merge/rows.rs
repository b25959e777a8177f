//! Merges the profile rows of one dataset by (series, time, id), drops what is gone or double, and forms runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use hearth_model::{Labels, ProfileType};
use parquet::data_type::ByteArray;

use super::Counts;
use super::error::{MergeError, OfBlock};
use super::filter::Left;
use super::plan::{Part, PlanDataset};
use super::window::{TableReader, copy};
use crate::PROFILES;
use crate::error::BlockError;
use crate::meta::datasets::Run;
use crate::rollup::RunGroups;
use crate::write::canon::UNUSED;
use crate::write::profiles::{ProfileOut, column};
use crate::write::runs::{RUN_ROWS, Tables};

/// Columns of `profiles.parquet` that a merge reads; texts come from the index.
pub(super) const COLUMNS: &[usize] = &[
    column::TIME,
    column::SERIES,
    column::ID,
    column::TOTAL,
    column::SAMPLES,
    column::DURATION,
    column::PERIOD,
    column::FLAGS,
];

/// Where the rows of one slice of one input go.
#[derive(Debug)]
pub(super) struct RowMap {
    /// Which input, and the number of the dataset and of its slice there.
    pub(super) input: usize,
    pub(super) dataset: usize,
    pub(super) slice: usize,
    pub(super) first: u64,
    /// Row of the output by row of the slice; [`UNUSED`] = it does not stay.
    pub(super) rows: Vec<u32>,
}

impl RowMap {
    pub(super) fn get(&self, row: u64) -> Option<u32> {
        let at = row.checked_sub(self.first)?;
        self.rows.get(at as usize).copied()
    }
}

type Key = (u32, i64, [u8; 16]);

/// Reads the rows of one slice of one input.
struct Cursor {
    map: RowMap,
    left: Range<u64>,
    at: usize,
    /// The row at `at`.
    row: u64,
    before: Option<Key>,
    time: Vec<i64>,
    series: Vec<u32>,
    id: Vec<[u8; 16]>,
    total: Vec<i64>,
    samples: Vec<u32>,
    duration: Vec<i64>,
    period: Vec<i64>,
    flags: Vec<u32>,
}

impl Cursor {
    fn new(input: usize, dataset: usize, slice: usize, rows: Range<u64>) -> Self {
        let map = vec![UNUSED; (rows.end - rows.start) as usize];
        Self {
            map: RowMap { input, dataset, slice, first: rows.start, rows: map },
            row: rows.start,
            left: rows,
            at: 0,
            before: None,
            time: Vec::new(),
            series: Vec::new(),
            id: Vec::new(),
            total: Vec::new(),
            samples: Vec::new(),
            duration: Vec::new(),
            period: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Goes to the next row that the filter leaves; its key in the output. Must not be called again before the row was
    /// taken by [`Cursor::pass`].
    async fn key(
        &mut self,
        reader: &mut TableReader<'_>,
        left: &Left,
        series: &[u32],
        counts: &mut Counts,
    ) -> Result<Option<Key>, MergeError> {
        loop {
            if self.at == self.time.len() {
                if self.left.is_empty() {
                    return Ok(None);
                }
                self.load(reader).await?;
            }
            if !left.drops(self.row) {
                break;
            }
            counts.samples_dropped += u64::from(self.samples[self.at]);
            self.pass();
        }
        let damaged = |what: &str| BlockError::damaged(PROFILES, 0, format!("row {}: {what}", self.row));
        let id = self.series[self.at];
        let id = series.get(id as usize).copied().filter(|&id| id != UNUSED);
        let id = id.ok_or_else(|| damaged("its series is unknown")).of(reader.block())?;
        let key = (id, self.time[self.at], self.id[self.at]);
        if self.before.is_some_and(|before| before > key) {
            return Err(damaged("it is out of order")).of(reader.block());
        }
        self.before = Some(key);
        Ok(Some(key))
    }

    async fn load(&mut self, reader: &mut TableReader<'_>) -> Result<(), MergeError> {
        let block = reader.block();
        let parts = reader.table().parts(self.left.clone()).next();
        let missing = || BlockError::damaged(PROFILES, 0, "rows of a run are in no page");
        let (page, part, first) = parts.ok_or_else(missing).of(block)?;
        reader.need(page).await?;
        let mut load = || -> Result<(), BlockError> {
            copy(&mut self.time, reader.values(column::TIME, page, part.clone())?);
            copy(&mut self.series, reader.values(column::SERIES, page, part.clone())?);
            copy(&mut self.total, reader.values(column::TOTAL, page, part.clone())?);
            copy(&mut self.samples, reader.values(column::SAMPLES, page, part.clone())?);
            copy(&mut self.duration, reader.values(column::DURATION, page, part.clone())?);
            copy(&mut self.period, reader.values(column::PERIOD, page, part.clone())?);
            copy(&mut self.flags, reader.values(column::FLAGS, page, part.clone())?);
            copy(&mut self.id, reader.values16(column::ID, page, part.clone())?);
            Ok(())
        };
        load().of(block)?;
        self.at = 0;
        self.row = first;
        self.left.start = first + part.len() as u64;
        Ok(())
    }

    fn pass(&mut self) {
        self.at += 1;
        self.row += 1;
    }

    /// The row that [`Cursor::key`] found.
    fn out(&self, key: Key, block: &crate::BlockReader) -> ProfileOut {
        let meta = block.meta();
        let row = self.row as u32;
        ProfileOut {
            time_ns: key.1,
            series: key.0,
            id: key.2,
            total: self.total[self.at],
            samples: self.samples[self.at],
            duration_ns: self.duration[self.at],
            period: self.period[self.at],
            flags: self.flags[self.at],
            annotations: meta.annotations.of(row).cloned().collect(),
        }
    }
}

/// The row that is the next of the output unless a better copy of it comes.
struct Candidate {
    key: Key,
    out: ProfileOut,
    cursor: usize,
    row: u64,
}

/// Of copies that differ (a defect of a writer: the id is a hash of the content) the greater stays, whatever the order.
fn content(out: &ProfileOut) -> (i64, u32, i64, i64, u32, &[(String, String)]) {
    (out.total, out.samples, out.duration_ns, out.period, out.flags, &out.annotations)
}

/// What the samples of a dataset need to know of its rows.
pub(super) struct DatasetRows {
    pub(super) maps: Vec<RowMap>,
    /// Runs of the output; first sample and total are not known yet.
    pub(super) runs: Vec<Run>,
    pub(super) annotated: bool,
    /// By run: the groups by which its samples are summed, if they are.
    pub(super) groups: Vec<Option<RunGroups>>,
}

/// Merges the rows of a dataset and appends them to `profiles`.
pub(super) async fn merge_rows(
    part: &Part,
    dataset: &PlanDataset,
    left: &[Left],
    readers: &mut [TableReader<'_>],
    tables: &mut Tables,
    counts: &mut Counts,
) -> Result<DatasetRows, MergeError> {
    let mut cursors = Vec::new();
    for &(input, at) in &dataset.members {
        let slices = &readers[input].block().meta().datasets[at].slices;
        for (slice, of_slice) in slices.iter().enumerate() {
            let from = of_slice.runs.first().map_or(0, |run| run.first_profile);
            let to = of_slice.runs.last().map_or(0, |run| run.profile_rows().end);
            cursors.push(Cursor::new(input, at, slice, from..to));
        }
    }
    let mut heap = BinaryHeap::new();
    for (at, cursor) in cursors.iter_mut().enumerate() {
        let input = cursor.map.input;
        let key = cursor.key(&mut readers[input], &left[input], &part.series_maps[input], counts).await?;
        heap.extend(key.map(|key| Reverse((key, at))));
    }
    let unit = &part.units[dataset.unit as usize];
    let ty = &part.types[dataset.ty as usize];
    let annotations_before = tables.annotations.len();
    let mut runs = RunBuilder::new(part, dataset.unit, ty, &unit.service, tables);
    let mut candidate: Option<Candidate> = None;
    while let Some(Reverse((key, at))) = heap.pop() {
        let cursor = &mut cursors[at];
        let input = cursor.map.input;
        let block = readers[input].block();
        let next = Candidate { key, out: cursor.out(key, block), cursor: at, row: cursor.row };
        cursor.pass();
        let more = cursor.key(&mut readers[input], &left[input], &part.series_maps[input], counts).await?;
        heap.extend(more.map(|key| Reverse((key, at))));
        candidate = match candidate {
            Some(before) if before.key == next.key => Some(better(before, next, counts)),
            Some(before) => {
                place(&mut cursors, &mut runs, before)?;
                Some(next)
            }
            None => Some(next),
        };
    }
    if let Some(last) = candidate {
        place(&mut cursors, &mut runs, last)?;
    }
    let (runs, groups) = runs.finish()?;
    let annotated = tables.annotations.len() > annotations_before;
    Ok(DatasetRows { maps: cursors.into_iter().map(|cursor| cursor.map).collect(), runs, annotated, groups })
}

/// Two copies of one record: one stays.
fn better(before: Candidate, next: Candidate, counts: &mut Counts) -> Candidate {
    counts.duplicates += 1;
    if content(&before.out) != content(&next.out) {
        counts.unequal_duplicates += 1;
    }
    let (stays, goes) =
        if content(&next.out) > content(&before.out) { (next, before) } else { (before, next) };
    counts.samples_dropped += u64::from(goes.out.samples);
    stays
}

fn place(cursors: &mut [Cursor], runs: &mut RunBuilder<'_>, candidate: Candidate) -> Result<(), MergeError> {
    let row = runs.push(candidate.out)?;
    let map = &mut cursors[candidate.cursor].map;
    map.rows[(candidate.row - map.first) as usize] = row;
    Ok(())
}

/// Closes runs where the format says, and writes their rows.
struct RunBuilder<'a> {
    part: &'a Part,
    unit: u32,
    ty: ByteArray,
    service: ByteArray,
    tables: &'a mut Tables,
    /// Rows since the last run was closed.
    rows: Vec<ProfileOut>,
    samples: u64,
    /// Of these, what stood before the series that is open.
    rows_before: usize,
    samples_before: u64,
    runs: Vec<Run>,
    groups: Vec<Option<RunGroups>>,
}

impl<'a> RunBuilder<'a> {
    fn new(part: &'a Part, unit: u32, ty: &ProfileType, service: &str, tables: &'a mut Tables) -> Self {
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let (ty, service) = (text(&ty.id()), text(service));
        tables.begin_dataset(&ty, &service);
        Self {
            part,
            unit,
            ty,
            service,
            tables,
            rows: Vec::new(),
            samples: 0,
            rows_before: 0,
            samples_before: 0,
            runs: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Appends a row; gives its number.
    fn push(&mut self, out: ProfileOut) -> Result<u32, MergeError> {
        if self.rows.last().is_some_and(|last| last.series != out.series) {
            self.end_series()?;
        }
        let row = self.tables.profiles.rows() + self.rows.len() as u64;
        self.samples += u64::from(out.samples);
        self.rows.push(out);
        let limit = u64::from(UNUSED) - 1;
        let too_many = BlockError::Limit { what: "profile rows of a block", value: row, limit };
        if row > limit { Err(too_many.into()) } else { Ok(row as u32) }
    }

    fn end_series(&mut self) -> Result<(), MergeError> {
        let own = self.samples - self.samples_before;
        if own >= RUN_ROWS as u64 && self.rows_before > 0 {
            self.close(0..self.rows_before, self.samples_before)?;
            self.close(self.rows_before..self.rows.len(), own)?;
            (self.samples, _) = (0, self.rows.clear());
        } else if self.samples >= RUN_ROWS as u64 {
            self.close(0..self.rows.len(), self.samples)?;
            (self.samples, _) = (0, self.rows.clear());
        }
        self.rows_before = self.rows.len();
        self.samples_before = self.samples;
        Ok(())
    }

    fn close(&mut self, rows: Range<usize>, samples: u64) -> Result<(), MergeError> {
        let tables = &mut *self.tables;
        let outs = &self.rows[rows];
        let first_profile = tables.profiles.rows();
        let mut run = Run {
            min_time: outs.iter().map(|out| out.time_ns).min().unwrap_or_default(),
            max_time: outs.iter().map(|out| out.time_ns).max().unwrap_or_default(),
            series: outs.iter().map(|out| out.series).collect(),
            first_profile,
            profiles: outs.len() as u64,
            first_sample: 0,
            samples,
            total: 0,
        };
        run.series.dedup();
        for (row, out) in (first_profile..).zip(outs).filter(|(_, out)| !out.annotations.is_empty()) {
            tables.annotations.push((row as u32, out.annotations.clone()));
        }
        self.groups.push(tables.sum_totals(self.unit, outs.iter())?);
        let series = &self.part.series;
        let labels = |id: u32| -> &Labels { &series[id as usize].labels };
        tables.profiles.append_run(&self.ty, &self.service, tables.runs as u32, outs, labels)?;
        tables.runs += 1;
        self.runs.push(run);
        Ok(())
    }

    fn finish(mut self) -> Result<(Vec<Run>, Vec<Option<RunGroups>>), MergeError> {
        self.end_series()?;
        if !self.rows.is_empty() {
            self.close(0..self.rows.len(), self.samples)?;
        }
        Ok((self.runs, self.groups))
    }
}
