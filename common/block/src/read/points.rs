//! Time series: totals of profiles by group and step, or sums of some of their stacks.

use hashbrown::HashMap;
use hearth_common::TimestampNs;
use hearth_model::points::Collector;
use hearth_model::{Answer, AnswerError, Labels, PointSet, StepGrid, View};

use super::plan::{DatasetPlan, ProfilePlan, ProfileRows, Selected};
use super::rolled::{Rolled, TotalRow, TotalsReader};
use super::rows::decoder;
use super::stacks::{SampleReader, call_site_stacks};
use super::tree::{Context, Task};
use crate::error::BlockError;
use crate::meta::datasets::HAS_ANNOTATIONS;

/// Buckets by group, groups numbered as they are met.
struct Groups<'a> {
    context: Context<'a>,
    group_by: &'a [String],
    grid: StepGrid,
    type_at: usize,
    numbers: HashMap<Labels, u32>,
    /// Group of each series, once met.
    of_series: HashMap<u32, u32>,
    /// Of each group.
    buckets: Vec<Collector>,
}

impl<'a> Groups<'a> {
    fn new(context: Context<'a>, group_by: &'a [String], grid: StepGrid) -> Self {
        let type_at = context.meta.types.binary_search(&context.query.profile_type).unwrap_or_default();
        let (numbers, of_series, buckets) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { context, group_by, grid, type_at, numbers, of_series, buckets }
    }

    fn group(&mut self, series: u32) -> u32 {
        if let Some(group) = self.of_series.get(&series) {
            return *group;
        }
        let meta = self.context.meta;
        let labels = &meta.series[series as usize].labels;
        let view = View { labels, ty: &meta.types[self.type_at], type_id: &meta.type_ids[self.type_at] };
        let next = self.numbers.len() as u32;
        let group = *self.numbers.entry(view.project(self.group_by)).or_insert(next);
        if group == next {
            self.buckets.push(Collector::default());
        }
        self.of_series.insert(series, group);
        group
    }

    fn add(&mut self, group: u32, row: Selected, value: i64, annotated: bool) {
        let Some(step) = self.grid.index_of(TimestampNs(row.time_ns)) else { return };
        let bucket = self.buckets[group as usize].bucket(step);
        bucket.sum += i128::from(value);
        bucket.count += 1;
        if annotated {
            bucket.annotations.extend(self.context.meta.annotations.of(row.row as u32).cloned());
        }
    }

    /// Adds the profiles of a bin, which lies in one step.
    fn add_total(&mut self, group: u32, row: TotalRow) {
        let Some(step) = self.grid.index_of(TimestampNs::from_ms(row.bin_ms)) else { return };
        let bucket = self.buckets[group as usize].bucket(step);
        bucket.sum += i128::from(row.sum);
        bucket.count += u64::from(row.profiles);
    }

    fn finish(self) -> Answer {
        let mut collected = self.buckets;
        let of_groups = self.numbers.into_iter().map(|(labels, group)| {
            let buckets = std::mem::take(&mut collected[group as usize]).finish();
            (labels, buckets)
        });
        Answer::Points(PointSet { groups: of_groups.filter(|(_, buckets)| !buckets.is_empty()).collect() })
    }
}

/// Points of profile totals.
pub(crate) fn totals(
    context: Context<'_>,
    plan: &ProfilePlan,
    group_by: &[String],
    grid: StepGrid,
) -> Result<Answer, BlockError> {
    let mut groups = Groups::new(context, group_by, grid);
    let mut rows = ProfileRows::new(context.meta, context.query, context.fetched);
    let mut rolled = [0, 1].map(|table| TotalsReader::new(context.meta, table, context.fetched));
    let mut decoder = decoder()?;
    let mut cut_off = false;
    for dataset in &plan.datasets {
        let annotated = dataset.flags & HAS_ANNOTATIONS != 0;
        for run in &dataset.runs {
            let mut last = (u32::MAX, 0);
            if let Some(Rolled::Totals { table, rows, groups: of_run }) = &run.rolled {
                let known: Vec<u32> = of_run.iter().map(|(_, series)| groups.group(*series)).collect();
                rolled[*table].each(rows.clone(), &mut decoder, |row| {
                    if let Ok(at) = of_run.binary_search_by_key(&row.group, |(group, _)| *group) {
                        groups.add_total(known[at], row);
                    }
                })?;
                continue;
            }
            rows.selected(run, &mut decoder, |row| {
                if last.0 != row.series {
                    last = (row.series, groups.group(row.series));
                }
                cut_off |= row.total == i64::MAX;
                groups.add(last.1, row, row.total, annotated);
            })?;
        }
    }
    // A total that did not fit was stored as the largest number.
    if cut_off { Err(AnswerError::Overflow.into()) } else { Ok(groups.finish()) }
}

/// Points of those stacks that the query selects by call site or span. A profile without such stacks counts with zero.
pub(crate) fn of_stacks(
    context: Context<'_>,
    tasks: &[Task<'_>],
    group_by: &[String],
    grid: StepGrid,
) -> Result<Answer, BlockError> {
    let mut groups = Groups::new(context, group_by, grid);
    let mut samples = SampleReader::new(context.meta, context.query, context.fetched)?;
    let mut decoder = decoder()?;
    for (dataset, unit) in tasks {
        let counts = call_site_stacks(unit, context.shared, &context.query.call_site);
        let by_row = sums_by_row(&mut samples, dataset, counts.as_deref(), context)?;
        let annotated = dataset.flags & HAS_ANNOTATIONS != 0;
        for (run, sums) in dataset.runs.iter().zip(by_row) {
            samples.profiles.selected(run, &mut decoder, |row| {
                let group = groups.group(row.series);
                groups.add(group, row, sums[(row.row - run.run.first_profile) as usize] as i64, annotated);
            })?;
        }
    }
    Ok(groups.finish())
}

/// For each run of a dataset the sums of its profile rows.
fn sums_by_row(
    samples: &mut SampleReader<'_>,
    dataset: &DatasetPlan,
    counts: Option<&[bool]>,
    context: Context<'_>,
) -> Result<Vec<Vec<u64>>, BlockError> {
    let mut sums: Vec<Vec<u64>> = dataset.runs.iter().map(|run| vec![0; run.run.profiles as usize]).collect();
    if context.query.spans.is_none() {
        for (run, sums) in dataset.runs.iter().zip(&mut sums) {
            samples.add_by_row(run, counts, sums)?;
        }
        return Ok(sums);
    }
    samples.each_span(dataset, &mut |row, stack, value| {
        let run = dataset.runs.partition_point(|run| run.run.first_profile <= row) - 1;
        if counts.is_none_or(|counts| counts.get(stack as usize).copied().unwrap_or_default()) {
            sums[run][(row - dataset.runs[run].run.first_profile) as usize] += value as u64;
        }
        Ok(())
    })?;
    Ok(sums)
}
