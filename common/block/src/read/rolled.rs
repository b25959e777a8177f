//! Sums that stand for the rows of a whole run: when they give exactly the answer that the rows would, and reading them.
//!
//! A question that cuts a run in time reads its rows: samples of a run are sorted by stack, so that an edge costs as much as
//! all of it, and sums beside it would save nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use hearth_common::TimestampNs;
use hearth_model::{ProfileQuery, Question, StepGrid};

use super::fetch::{Fetched, Wanted};
use super::meta::{Meta, stack_column, total_column};
use super::plan::{ProfilePlan, RunPlan, covered};
use super::rows::{Column, Table};
use crate::STACKS_1D;
use crate::error::BlockError;
use crate::meta::datasets::HAS_ANNOTATIONS;
use crate::meta::rollups::Rollups;
use crate::pages::decode::PageDecoder;
use crate::rollup::TOTALS;

/// What is read of a run instead of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rolled {
    /// Rows of the table of stacks; of these groups only, ascending; `None` = all.
    Stacks { rows: Range<u64>, groups: Option<Vec<u32>> },
    /// Rows of a table of totals; of these groups only, ascending, each with one of its series.
    Totals { table: usize, rows: Range<u64>, groups: Vec<(u32, u32)> },
}

impl Rolled {
    pub(crate) fn rows(&self) -> Range<u64> {
        match self {
            Self::Stacks { rows, .. } | Self::Totals { rows, .. } => rows.clone(),
        }
    }

    /// Adds what is read.
    pub(crate) fn want(&self, meta: &Meta, wanted: &mut Wanted) {
        match self {
            Self::Stacks { rows, groups } => {
                let columns: &[usize] = match groups {
                    None => &[stack_column::STACK, stack_column::VALUE],
                    Some(_) => &[stack_column::GROUP, stack_column::STACK, stack_column::VALUE],
                };
                Table::stacks(meta).want(columns, rows, wanted);
            }
            Self::Totals { table, rows, .. } => {
                let all: Vec<usize> = (0..total_column::COUNT).collect();
                Table::totals(meta, *table).want(&all, rows, wanted);
            }
        }
    }
}

/// Replaces rows of runs by their sums wherever the answer stays the same.
pub(crate) fn roll(meta: &Meta, question: &Question, plan: &mut ProfilePlan) {
    let (Some(rollups), Some(query)) = (&meta.rollups, question.profile_query()) else { return };
    if query.spans.is_some() || !query.profile_ids.is_empty() {
        return;
    }
    for dataset in &mut plan.datasets {
        for run in &mut dataset.runs {
            run.rolled = match question {
                Question::Tree(_) | Question::Pprof(_) => stacks_of(rollups, query, run),
                Question::Points { group_by, grid, .. } => {
                    let dropped = rollups.dropped.get(dataset.unit as usize).map_or(&[][..], |names| names);
                    // Annotations are those of profiles, and so are the stacks of a call site.
                    let is_plain = dataset.flags & HAS_ANNOTATIONS == 0 && query.call_site.is_empty();
                    let is_kept =
                        |name: &String| dropped.binary_search_by(|known| (**known).cmp(name)).is_err();
                    let usable = is_plain && group_by.iter().all(is_kept);
                    if usable { totals_of(rollups, query, *grid, run) } else { None }
                }
                _ => None,
            };
        }
    }
}

fn stacks_of(rollups: &Rollups, query: &ProfileQuery, run: &RunPlan) -> Option<Rolled> {
    let rows = rollups.runs.get(run.number)?.stacks.clone();
    if rows.is_empty() || !covered(query.range, &run.run) {
        return None;
    }
    let groups = selected_groups(rollups, run)?;
    let all = run.series.len() == run.run.series.len();
    let groups = (!all).then(|| groups.into_iter().map(|(group, _)| group).collect());
    Some(Rolled::Stacks { rows, groups })
}

fn totals_of(rollups: &Rollups, query: &ProfileQuery, grid: StepGrid, run: &RunPlan) -> Option<Rolled> {
    let (range, of_run) = (query.range, &run.run);
    let first_ms = grid.first_ms.saturating_sub(grid.step_ms);
    // Nothing of the run lies before the range or the first step: a bin that ends with the first step has its last instant
    // only. What lies behind the last step is no point, so that a bin is either all there or not at all.
    let from_begin = range.start.0 <= of_run.min_time && first_ms <= TimestampNs(of_run.min_time).as_ms();
    let behind_last = TimestampNs::from_ms(grid.last_ms.saturating_add(1));
    let to_end = of_run.max_time <= range.end.0 || behind_last.0.saturating_sub(1) <= range.end.0;
    if !from_begin || !to_end {
        return None;
    }
    let rows = rollups.runs.get(run.number)?;
    let fits = |table: &usize| {
        let width_ms = TOTALS[*table].1;
        let aligned = grid.first_ms % width_ms == 0 && grid.step_ms % width_ms == 0;
        aligned && !rows.totals[*table].is_empty()
    };
    let table = (0..TOTALS.len()).rev().find(fits)?;
    Some(Rolled::Totals { table, rows: rows.totals[table].clone(), groups: selected_groups(rollups, run)? })
}

/// The groups that are selected, each with one of its series; `None` if one is selected in part.
fn selected_groups(rollups: &Rollups, run: &RunPlan) -> Option<Vec<(u32, u32)>> {
    if run.hidden.needs_rows() {
        return None;
    }
    // By group: its series in the run, those that are selected, and the first of these.
    let mut groups: BTreeMap<u32, (usize, usize, u32)> = BTreeMap::new();
    for &series in &run.run.series {
        groups.entry(rollups.group_of(series)).or_default().0 += 1;
    }
    for &series in &run.series {
        let (_, selected, first) = groups.entry(rollups.group_of(series)).or_default();
        if *selected == 0 {
            *first = series;
        }
        *selected += 1;
    }
    groups.retain(|_, (_, selected, _)| *selected > 0);
    let whole = groups.values().all(|(all, selected, _)| all == selected);
    whole.then(|| groups.into_iter().map(|(group, (_, _, first))| (group, first)).collect())
}

/// Reads sums by stack.
#[derive(Debug)]
pub(crate) struct StackRowsReader<'a> {
    table: Table<'a>,
    groups: Column<'a, u32>,
    stacks: Column<'a, u32>,
    values: Column<'a, i64>,
}

impl<'a> StackRowsReader<'a> {
    pub(crate) fn new(meta: &'a Meta, fetched: &'a Fetched) -> Self {
        let table = Table::stacks(meta);
        Self {
            table,
            groups: Column::new(table, stack_column::GROUP, fetched),
            stacks: Column::new(table, stack_column::STACK, fetched),
            values: Column::new(table, stack_column::VALUE, fetched),
        }
    }

    /// Adds the values of some groups (`None`: all) to `sums`, by stack; gives what was added.
    pub(crate) fn add(
        &mut self,
        rows: Range<u64>,
        wanted: Option<&[u32]>,
        sums: &mut [u64],
        decoder: &mut PageDecoder,
    ) -> Result<u128, BlockError> {
        let mut total = 0u128;
        for (page, part, first) in self.table.parts(rows) {
            let groups = match wanted {
                None => None,
                Some(_) => Some(&self.groups.page(page, decoder)?[part.clone()]),
            };
            let stacks = &self.stacks.page(page, decoder)?[part.clone()];
            let values = &self.values.page(page, decoder)?[part];
            for (at, (&stack, &value)) in stacks.iter().zip(values).enumerate() {
                if let (Some(wanted), Some(groups)) = (wanted, groups)
                    && wanted.binary_search(&groups[at]).is_err()
                {
                    continue;
                }
                let sum = sums.get_mut(stack as usize).zip(u64::try_from(value).ok());
                let Some((sum, value)) = sum else {
                    let what = format!("row {}: stack {stack} with value {value}", first + at as u64);
                    return Err(BlockError::damaged(STACKS_1D, 0, what));
                };
                *sum = sum.wrapping_add(value);
                total += u128::from(value);
            }
        }
        Ok(total)
    }
}

/// One row of a table of totals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TotalRow {
    pub(crate) bin_ms: i64,
    pub(crate) group: u32,
    pub(crate) sum: i64,
    pub(crate) profiles: u32,
}

/// Reads totals of one width.
#[derive(Debug)]
pub(crate) struct TotalsReader<'a> {
    table: Table<'a>,
    bins: Column<'a, i64>,
    groups: Column<'a, u32>,
    sums: Column<'a, i64>,
    profiles: Column<'a, u32>,
}

impl<'a> TotalsReader<'a> {
    pub(crate) fn new(meta: &'a Meta, table: usize, fetched: &'a Fetched) -> Self {
        let table = Table::totals(meta, table);
        Self {
            table,
            bins: Column::new(table, total_column::BIN, fetched),
            groups: Column::new(table, total_column::GROUP, fetched),
            sums: Column::new(table, total_column::SUM, fetched),
            profiles: Column::new(table, total_column::PROFILES, fetched),
        }
    }

    /// Calls `each` for every row.
    pub(crate) fn each(
        &mut self,
        rows: Range<u64>,
        decoder: &mut PageDecoder,
        mut each: impl FnMut(TotalRow),
    ) -> Result<(), BlockError> {
        for (page, part, _) in self.table.parts(rows) {
            let bins = &self.bins.page(page, decoder)?[part.clone()];
            let groups = &self.groups.page(page, decoder)?[part.clone()];
            let sums = &self.sums.page(page, decoder)?[part.clone()];
            let profiles = &self.profiles.page(page, decoder)?[part];
            for (((&bin_ms, &group), &sum), &profiles) in bins.iter().zip(groups).zip(sums).zip(profiles) {
                each(TotalRow { bin_ms, group, sum, profiles });
            }
        }
        Ok(())
    }
}
