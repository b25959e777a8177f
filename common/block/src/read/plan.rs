//! What a question about profiles reads of a block: datasets, runs, series; and which profile rows of a run it selects.

use hearth_common::TimeRange;
use hearth_model::{ProfileQuery, View};

use super::fetch::{Fetched, Wanted};
use super::hidden::{HiddenOfRun, HiddenRows, any_has};
use super::meta::{Meta, sample_column, span_column};
use super::rolled::Rolled;
use super::rows::{Column, Fixed16Column, Table};
use crate::error::BlockError;
use crate::meta::datasets::Run;
use crate::pages::decode::PageDecoder;
use crate::write::profiles::column;

/// A run that is read.
#[derive(Debug, Clone)]
pub(crate) struct RunPlan {
    pub(crate) run: Run,
    /// All its profiles are selected.
    pub(crate) whole: bool,
    /// Of the selected series, what is hidden.
    pub(crate) hidden: HiddenOfRun,
    /// The series of it that are selected, ascending.
    pub(crate) series: Vec<u32>,
    /// The run's number in the block.
    pub(crate) number: usize,
    /// Sums that are read instead of its rows.
    pub(crate) rolled: Option<Rolled>,
}

impl RunPlan {
    /// Rows of `samples`, or of what is read instead.
    fn sample_count(&self) -> u64 {
        self.rolled.as_ref().map_or(self.run.samples, |rolled| rolled.rows().end - rolled.rows().start)
    }

    /// Rows of `profiles`, or of what is read instead.
    fn profile_count(&self) -> u64 {
        self.rolled.as_ref().map_or(self.run.profiles, |rolled| rolled.rows().end - rolled.rows().start)
    }
}

/// A (type, service) that is read.
#[derive(Debug, Clone)]
pub(crate) struct DatasetPlan {
    pub(crate) unit: u32,
    pub(crate) flags: u64,
    pub(crate) runs: Vec<RunPlan>,
    /// Rows of `spans.parquet`, when the question is about spans.
    pub(crate) span_rows: Vec<std::ops::Range<u64>>,
}

impl DatasetPlan {
    /// Sample rows of its runs.
    pub(crate) fn samples(&self) -> u64 {
        self.runs.iter().map(RunPlan::sample_count).sum()
    }
}

/// What of a block is read for a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProfilePlan {
    pub(crate) datasets: Vec<DatasetPlan>,
}

/// Whether a run lies in a range of times.
pub(crate) fn covered(range: TimeRange, run: &Run) -> bool {
    range.start.0 <= run.min_time && run.max_time <= range.end.0
}

/// Whether a run shares a time with a range.
pub(crate) fn overlaps(range: TimeRange, run: &Run) -> bool {
    range.start.0 <= run.max_time && run.min_time <= range.end.0
}

impl ProfilePlan {
    /// Prunes by type, service, time and series, and what is hidden as a whole.
    pub(crate) fn new(meta: &Meta, query: &ProfileQuery, hidden: &HiddenRows) -> Self {
        let Ok(ty) = meta.types.binary_search(&query.profile_type) else { return Self::default() };
        let view = |labels| View { labels, ty: &meta.types[ty], type_id: &meta.type_ids[ty] };
        let mut plan = Self::default();
        let mut next_run = 0;
        for dataset in &meta.datasets {
            let first_run = next_run;
            next_run += dataset.slices.iter().map(|slice| slice.runs.len()).sum::<usize>();
            if dataset.ty as usize != ty {
                continue;
            }
            let mut number = first_run;
            let mut planned = DatasetPlan {
                unit: dataset.unit,
                flags: dataset.flags,
                runs: Vec::new(),
                span_rows: Vec::new(),
            };
            for slice in &dataset.slices {
                let before = planned.runs.len();
                for run in &slice.runs {
                    let this = number;
                    number += 1;
                    if !overlaps(query.range, run) {
                        continue;
                    }
                    let matches =
                        |id: &&u32| view(&meta.series[**id as usize].labels).matches(&query.selector);
                    let mut series: Vec<u32> = run.series.iter().filter(matches).copied().collect();
                    let hidden = hidden.of_run(meta, ty, run, &series);
                    series.retain(|series| !hidden.hides_all_of(*series));
                    if series.is_empty() {
                        continue;
                    }
                    let all_series = series.len() == run.series.len();
                    let whole = all_series
                        && covered(query.range, run)
                        && query.profile_ids.is_empty()
                        && !hidden.needs_rows();
                    let run = run.clone();
                    planned.runs.push(RunPlan { run, whole, series, hidden, number: this, rolled: None });
                }
                if query.spans.is_some() && planned.runs.len() > before {
                    planned.span_rows.push(slice.span_rows());
                }
            }
            if !planned.runs.is_empty() {
                plan.datasets.push(planned);
            }
        }
        plan
    }

    /// Adds what a question about stacks needs of the tables.
    pub(crate) fn want_samples(
        &self,
        meta: &Meta,
        query: &ProfileQuery,
        each_row: bool,
        wanted: &mut Wanted,
    ) {
        let (profiles, samples, spans) = (Table::profiles(meta), Table::samples(meta), Table::spans(meta));
        for dataset in &self.datasets {
            for run in &dataset.runs {
                if let Some(rolled) = &run.rolled {
                    rolled.want(meta, wanted);
                    continue;
                }
                if !run.whole || each_row {
                    profiles.want(selection_columns(query), &run.run.profile_rows(), wanted);
                }
                let columns: &[usize] = match (query.spans.is_some(), run.whole && !each_row) {
                    (true, _) => &[],
                    (_, true) => &[sample_column::STACK, sample_column::VALUE],
                    _ => &[sample_column::PROFILE_ROW, sample_column::STACK, sample_column::VALUE],
                };
                samples.want(columns, &run.run.sample_rows(), wanted);
            }
            for rows in &dataset.span_rows {
                let all: Vec<usize> = (0..span_column::COUNT).collect();
                spans.want(&all, rows, wanted);
            }
        }
    }

    /// Adds what a question about totals needs.
    pub(crate) fn want_profiles(&self, meta: &Meta, query: &ProfileQuery, wanted: &mut Wanted) {
        for run in self.datasets.iter().flat_map(|d| &d.runs) {
            match &run.rolled {
                Some(rolled) => rolled.want(meta, wanted),
                None => Table::profiles(meta).want(selection_columns(query), &run.run.profile_rows(), wanted),
            }
        }
    }

    /// Sample rows that are read.
    pub(crate) fn samples(&self) -> u64 {
        self.datasets.iter().map(DatasetPlan::samples).sum()
    }

    /// Profile rows that are read.
    pub(crate) fn profiles(&self) -> u64 {
        self.datasets.iter().flat_map(|d| &d.runs).map(RunPlan::profile_count).sum()
    }
}

fn selection_columns(query: &ProfileQuery) -> &'static [usize] {
    if query.profile_ids.is_empty() {
        &[column::TIME, column::SERIES, column::TOTAL]
    } else {
        &[column::TIME, column::SERIES, column::TOTAL, column::ID]
    }
}

/// A selected profile row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selected {
    pub(crate) row: u64,
    pub(crate) time_ns: i64,
    pub(crate) series: u32,
    pub(crate) total: i64,
}

/// Reads the columns of `profiles` that decide which rows are selected.
#[derive(Debug)]
pub(crate) struct ProfileRows<'a> {
    table: Table<'a>,
    query: &'a ProfileQuery,
    ids: Vec<[u8; 16]>,
    time: Column<'a, i64>,
    series: Column<'a, u32>,
    total: Column<'a, i64>,
    id: Fixed16Column<'a>,
}

impl<'a> ProfileRows<'a> {
    pub(crate) fn new(meta: &'a Meta, query: &'a ProfileQuery, fetched: &'a Fetched) -> Self {
        let table = Table::profiles(meta);
        let mut ids: Vec<[u8; 16]> = query.profile_ids.iter().map(|id| id.to_be_bytes()).collect();
        ids.sort_unstable();
        Self {
            table,
            query,
            ids,
            time: Column::new(table, column::TIME, fetched),
            series: Column::new(table, column::SERIES, fetched),
            total: Column::new(table, column::TOTAL, fetched),
            id: Fixed16Column::new(table, column::ID, fetched),
        }
    }

    /// Calls `each` for every selected row of a run, in order.
    pub(crate) fn selected(
        &mut self,
        plan: &RunPlan,
        decoder: &mut PageDecoder,
        mut each: impl FnMut(Selected),
    ) -> Result<(), BlockError> {
        let (range, all_series) = (self.query.range, plan.series.len() == plan.run.series.len());
        let mut last_series = (u32::MAX, false);
        let mut hidden_times: &[TimeRange] = &[];
        for (page, part, first) in self.table.parts(plan.run.profile_rows()) {
            let times = &self.time.page(page, decoder)?[part.clone()];
            let series = &self.series.page(page, decoder)?[part.clone()];
            let totals = &self.total.page(page, decoder)?[part.clone()];
            let ids = match self.ids.is_empty() {
                true => None,
                false => Some(&self.id.page(page, decoder)?[part]),
            };
            for (at, ((&time_ns, &series), &total)) in times.iter().zip(series).zip(totals).enumerate() {
                if last_series.0 != series {
                    last_series = (series, all_series || plan.series.binary_search(&series).is_ok());
                    hidden_times = plan.hidden.times_of(series);
                }
                let in_time = range.start.0 <= time_ns && time_ns <= range.end.0;
                let named = ids.is_none_or(|ids| self.ids.binary_search(&ids[at]).is_ok());
                if last_series.1 && in_time && named && !any_has(hidden_times, time_ns) {
                    each(Selected { row: first + at as u64, time_ns, series, total });
                }
            }
        }
        Ok(())
    }
}
