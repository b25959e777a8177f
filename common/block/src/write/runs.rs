//! Profiles of one (type, service): collects them series by series, closes runs, writes rows to the tables.

use std::ops::Range;

use hearth_model::{Labels, ProfileType};
use parquet::data_type::ByteArray;

use super::canon::{CanonUnit, UNUSED};
use super::profiles::{FLAG_SPANS, ProfileOut, ProfileTable};
use super::rollups::{Finished, RollupTables};
use super::samples::{RunRows, SampleTable};
use super::spans::{SpanRow, SpanTable};
use super::table::GroupLayout;
use super::zstd_level;
use crate::error::BlockError;
use crate::input::{ProfileRow, SpanSample};
use crate::meta::datasets::{Dataset, HAS_ANNOTATIONS, Run, Slice};
use crate::meta::rollups::put_rollups;
use crate::meta::series::SeriesRow;
use crate::rollup::{Groups, ROLLUP_LEVEL_MIN, RunGroups, StackSums};
use crate::{PROFILES, SAMPLES, SPANS};

/// A run of several series is closed at the first end of a series after this many rows.
pub(crate) const RUN_ROWS: usize = 131_072;

/// The tables of a block while it is written.
pub(crate) struct Tables {
    pub(crate) profiles: ProfileTable,
    pub(crate) samples: SampleTable,
    pub(crate) spans: SpanTable,
    /// Only in blocks of whole days.
    pub(crate) rollups: Option<RollupTables>,
    pub(crate) annotations: Vec<(u32, Vec<(String, String)>)>,
    /// Runs so far.
    pub(crate) runs: u64,
    pub(crate) span_rows: u64,
}

impl Tables {
    pub(crate) fn new(block_level: u8, series: &[SeriesRow]) -> Result<Self, BlockError> {
        let level = zstd_level(block_level);
        let rollups = (block_level >= ROLLUP_LEVEL_MIN).then(|| RollupTables::new(Groups::of(series), level));
        Ok(Self {
            profiles: ProfileTable::new(level)?,
            samples: SampleTable::new(level)?,
            spans: SpanTable::new(level)?,
            rollups: rollups.transpose()?,
            annotations: Vec::new(),
            runs: 0,
            span_rows: 0,
        })
    }

    /// Ends all tables.
    pub(crate) fn finish(self) -> Result<FinishedTables, BlockError> {
        let samples = self.samples.rows();
        let mut objects = Vec::new();
        let mut add = |name, (out, layout)| objects.push((name, out, layout));
        add(PROFILES, self.profiles.finish()?);
        add(SAMPLES, self.samples.finish()?);
        if let Some(spans) = self.spans.finish()? {
            add(SPANS, spans);
        }
        let mut section = None;
        if let Some(rollups) = self.rollups {
            let (tables, groups, runs) = rollups.finish()?;
            objects.extend(tables);
            section = Some(put_rollups(&groups, &runs));
        }
        Ok(FinishedTables { objects, annotations: self.annotations, rollups: section, samples })
    }

    /// Says which (type, service) the next runs belong to.
    pub(crate) fn begin_dataset(&mut self, ty: &ByteArray, service: &ByteArray) {
        if let Some(rollups) = &mut self.rollups {
            rollups.begin_dataset(ty, service);
        }
    }

    /// Writes the totals of the next run; `rows` are its profile rows. What it gives belongs to [`Tables::begin_samples`].
    pub(crate) fn sum_totals<'r>(
        &mut self,
        unit: u32,
        rows: impl Iterator<Item = &'r ProfileOut>,
    ) -> Result<Option<RunGroups>, BlockError> {
        let rows = rows.map(|row| (row.series, row.time_ns, row.total));
        self.rollups.as_mut().map_or(Ok(None), |rollups| rollups.totals(unit, rows))
    }

    /// The samples of a run come next.
    pub(crate) fn begin_samples(&mut self, groups: Option<RunGroups>, first_profile: u64, samples: u64) {
        // Rows of a block were found to fit in 32 bits.
        let sums = groups.map(|groups| StackSums::new(groups, first_profile as u32, samples));
        self.samples.sum_next_run(sums);
    }

    /// The samples of a run are all there.
    pub(crate) fn end_samples(&mut self) -> Result<(), BlockError> {
        let sums = self.samples.take_sums();
        self.rollups.as_mut().map_or(Ok(()), |rollups| rollups.stacks(&sums))
    }
}

/// The tables when all rows are in.
pub(crate) struct FinishedTables {
    /// In the order of the entry, without the index.
    pub(crate) objects: Vec<Finished>,
    pub(crate) annotations: Vec<(u32, Vec<(String, String)>)>,
    /// The section of the index that speaks of rollups.
    pub(crate) rollups: Option<Vec<u8>>,
    pub(crate) samples: u64,
}

impl FinishedTables {
    /// Where the pages of all objects lie.
    pub(crate) fn layouts(&self) -> Vec<(&str, &[GroupLayout])> {
        self.objects.iter().map(|(name, _, layout)| (*name, layout.as_slice())).collect()
    }
}

/// A profile of the run that is being collected.
struct Head {
    out: ProfileOut,
    /// Its rows among the collected ones.
    rows: (usize, usize),
    spans: Vec<SpanSample>,
}

/// What was collected since the last run was closed.
#[derive(Default)]
struct Collected {
    stacks: Vec<u32>,
    values: Vec<i64>,
    heads: Vec<Head>,
    pairs: Vec<(u32, i64)>,
}

/// Writes one (type, service); `series_ids` are parallel to the unit's series.
pub(crate) struct DatasetWriter<'a, 'u> {
    pub(crate) unit: &'a CanonUnit<'u>,
    /// The unit's number.
    pub(crate) unit_at: u32,
    pub(crate) series_ids: &'a [u32],
    pub(crate) ty: &'a ProfileType,
    pub(crate) day: i32,
    pub(crate) tables: &'a mut Tables,
}

impl DatasetWriter<'_, '_> {
    /// Visits the profiles and writes them; at level 0 there is one slice.
    pub(crate) fn write(mut self, mut dataset: Dataset) -> Result<Dataset, BlockError> {
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        self.tables.begin_dataset(&text(&self.ty.id()), &text(self.unit.source.service()));
        let mut collected = Collected::default();
        let mut slice = Slice { first_span: self.tables.span_rows, ..Slice::default() };
        let mut spans = Vec::new();
        let source = self.unit.source;
        let parts: [&str; 4] =
            [&self.ty.sample_type, &self.ty.sample_unit, &self.ty.period_type, &self.ty.period_unit];
        for (at, (_, places)) in self.unit.series.iter().enumerate() {
            let (heads_before, rows_before) = (collected.heads.len(), collected.stacks.len());
            let id = self.series_ids[at];
            for &place in places {
                source
                    .profiles_of_type(place, self.day, parts, &mut |row| collected.push(self.unit, id, row));
            }
            collected.sort(heads_before);
            let own = collected.stacks.len() - rows_before;
            if own >= RUN_ROWS && heads_before > 0 {
                slice.runs.push(self.close_run(&mut collected, 0..heads_before, &mut spans)?);
                slice.runs.push(self.close_run(&mut collected, heads_before..usize::MAX, &mut spans)?);
                collected.clear();
            } else if collected.stacks.len() >= RUN_ROWS {
                slice.runs.push(self.close_run(&mut collected, 0..usize::MAX, &mut spans)?);
                collected.clear();
            }
        }
        if !collected.heads.is_empty() {
            slice.runs.push(self.close_run(&mut collected, 0..usize::MAX, &mut spans)?);
        }
        slice.spans = spans.len() as u64;
        self.tables.span_rows += slice.spans;
        self.tables.spans.append(&mut spans)?;
        let rows = slice.runs.first().map_or(0, |r| r.first_profile)..self.tables.profiles.rows();
        let annotated =
            self.tables.annotations.last().is_some_and(|(row, _)| rows.contains(&u64::from(*row)));
        dataset.flags = if annotated { HAS_ANNOTATIONS } else { 0 };
        dataset.slices.push(slice);
        Ok(dataset)
    }

    /// Writes the collected profiles `heads` as a run.
    fn close_run(
        &mut self,
        collected: &mut Collected,
        heads: Range<usize>,
        spans: &mut Vec<SpanRow>,
    ) -> Result<Run, BlockError> {
        let heads = &collected.heads[heads.start..heads.end.min(collected.heads.len())];
        let from = heads.iter().map(|h| h.rows.0).min().unwrap_or_default();
        let to = heads.iter().map(|h| h.rows.1).max().unwrap_or_default();
        let rows = RunRows { stacks: &collected.stacks[from..to], values: &collected.values[from..to] };
        let ranges: Vec<(usize, usize)> = heads.iter().map(|h| (h.rows.0 - from, h.rows.1 - from)).collect();
        let tables = &mut *self.tables;
        let first_profile = tables.profiles.rows();
        let first_row = u32::try_from(first_profile + heads.len() as u64).map(|_| first_profile as u32);
        let limit = u64::from(u32::MAX);
        let too_many = |_| BlockError::Limit { what: "profile rows of a block", value: first_profile, limit };
        let first_row = first_row.map_err(too_many)?;
        let mut run = Run {
            min_time: heads.iter().map(|h| h.out.time_ns).min().unwrap_or_default(),
            max_time: heads.iter().map(|h| h.out.time_ns).max().unwrap_or_default(),
            series: heads.iter().map(|h| h.out.series).collect(),
            first_profile,
            profiles: heads.len() as u64,
            first_sample: tables.samples.rows(),
            samples: rows.stacks.len() as u64,
            total: rows.values.iter().map(|&value| value as u128).sum(),
        };
        run.series.dedup();
        let groups = tables.sum_totals(self.unit_at, heads.iter().map(|head| &head.out))?;
        tables.begin_samples(groups, first_profile, run.samples);
        tables.samples.append_run(rows, &ranges, first_row, self.unit.tree.stacks)?;
        tables.end_samples()?;
        let mut outs = Vec::with_capacity(heads.len());
        for (profile_row, head) in (first_row..).zip(heads) {
            spans.extend(head.spans.iter().map(|span| SpanRow {
                span: span.span,
                profile_row,
                stack: span.stack,
                trace: span.trace.unwrap_or_default(),
                value: span.value,
            }));
            if !head.out.annotations.is_empty() {
                tables.annotations.push((profile_row, head.out.annotations.clone()));
            }
            outs.push(head.out.clone());
        }
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let (ty, service) = (text(&self.ty.id()), text(self.unit.source.service()));
        let labels =
            |id: u32| -> &Labels { &self.unit.series[self.series_ids.partition_point(|&s| s < id)].0 };
        tables.profiles.append_run(&ty, &service, tables.runs as u32, &outs, labels)?;
        tables.runs += 1;
        Ok(run)
    }
}

impl Collected {
    fn clear(&mut self) {
        self.stacks.clear();
        self.values.clear();
        self.heads.clear();
    }

    fn push(&mut self, unit: &CanonUnit<'_>, series: u32, row: &ProfileRow<'_>) {
        let from = self.stacks.len();
        if unit.stacks_merge {
            self.push_merged(unit, row);
        } else {
            // The first visit of all profiles has checked stacks and values.
            for &(stack, value) in row.samples {
                let rank = unit.stack_ranks[stack as usize];
                if value > 0 && rank != UNUSED {
                    self.stacks.push(rank);
                    self.values.push(value);
                }
            }
        }
        if self.stacks.len() == from {
            return;
        }
        let total: i128 = self.values[from..].iter().map(|&value| i128::from(value)).sum();
        let span = |span: &SpanSample| {
            let rank = unit.stack_ranks.get(span.stack as usize).copied().unwrap_or(UNUSED);
            (span.value > 0 && rank != UNUSED).then_some(SpanSample { stack: rank, ..*span })
        };
        let spans: Vec<SpanSample> = row.spans.iter().filter_map(span).collect();
        let mut annotations = row.annotations.to_vec();
        annotations.sort_unstable();
        annotations.dedup();
        let out = ProfileOut {
            time_ns: row.time.0,
            series,
            id: row.rid.0.to_be_bytes(),
            // A sum that does not fit is stored as the largest number, which every reader takes for "too large".
            total: i64::try_from(total).unwrap_or(i64::MAX),
            samples: (self.stacks.len() - from) as u32,
            duration_ns: row.duration_ns,
            period: row.period,
            flags: if spans.is_empty() { 0 } else { FLAG_SPANS },
            annotations,
        };
        self.heads.push(Head { out, rows: (from, self.stacks.len()), spans });
    }

    /// The slow way for heads in which two stacks have the same content: sums values of equal stacks.
    fn push_merged(&mut self, unit: &CanonUnit<'_>, row: &ProfileRow<'_>) {
        self.pairs.clear();
        let used = row.samples.iter().filter(|(_, value)| *value > 0);
        self.pairs.extend(used.map(|&(stack, value)| (unit.stack_ranks[stack as usize], value)));
        self.pairs.sort_unstable();
        for pair in self.pairs.chunk_by(|a, b| a.0 == b.0) {
            self.stacks.push(pair[0].0);
            self.values.push(pair.iter().fold(0i64, |sum, &(_, value)| sum.saturating_add(value)));
        }
    }

    /// Brings the profiles of one series in order of time and id; ties are broken by content.
    fn sort(&mut self, from: usize) {
        let Self { stacks, values, heads, .. } = self;
        let content = |head: &Head| {
            let rows = head.rows.0..head.rows.1;
            let mut pairs: Vec<(u32, i64)> =
                stacks[rows.clone()].iter().copied().zip(values[rows].iter().copied()).collect();
            pairs.sort_unstable();
            let mut spans: Vec<_> = head.spans.iter().map(|s| (s.stack, s.span, s.trace, s.value)).collect();
            spans.sort_unstable();
            let out = &head.out;
            (out.duration_ns, out.period, out.annotations.clone(), pairs, spans)
        };
        heads[from..].sort_by(|a, b| {
            let key = |head: &Head| (head.out.time_ns, head.out.id);
            key(a).cmp(&key(b)).then_with(|| content(a).cmp(&content(b)))
        });
    }
}
