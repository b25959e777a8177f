//! Sums values by stack: the adds that flame graphs and pprof answers share, and the filter by call site.

use hearth_model::{AnswerError, ProfileQuery};

use super::fetch::Fetched;
use super::meta::{Meta, sample_column, span_column};
use super::plan::{DatasetPlan, ProfileRows, RunPlan};
use super::rolled::{Rolled, StackRowsReader};
use super::rows::{Column, Fixed16Column, Table, decoder};
use super::symbols::{SharedSymbols, UnitSymbols};
use crate::error::BlockError;
use crate::pages::decode::PageDecoder;
use crate::{SAMPLES, SPANS};

/// Sums from this on are refused: stored totals are cut off there, too.
const SUM_LIMIT: u128 = i64::MAX as u128;

/// A sample row that a question selects: its profile row, stack and value.
type Visit<'v> = &'v mut dyn FnMut(u64, u32, i64) -> Result<(), BlockError>;

/// Reads sample rows; keeps columns and buffers from one dataset to the next.
#[derive(Debug)]
pub(crate) struct SampleReader<'a> {
    meta: &'a Meta,
    query: &'a ProfileQuery,
    fetched: &'a Fetched,
    decoder: PageDecoder,
    pub(crate) profiles: ProfileRows<'a>,
    rows: Column<'a, u32>,
    stacks: Column<'a, u32>,
    values: Column<'a, i64>,
    rolled: StackRowsReader<'a>,
    /// Sums of the selected totals so far.
    total: u128,
}

impl<'a> SampleReader<'a> {
    pub(crate) fn new(
        meta: &'a Meta,
        query: &'a ProfileQuery,
        fetched: &'a Fetched,
    ) -> Result<Self, BlockError> {
        let samples = Table::samples(meta);
        Ok(Self {
            meta,
            query,
            fetched,
            decoder: decoder()?,
            profiles: ProfileRows::new(meta, query, fetched),
            rows: Column::new(samples, sample_column::PROFILE_ROW, fetched),
            stacks: Column::new(samples, sample_column::STACK, fetched),
            values: Column::new(samples, sample_column::VALUE, fetched),
            rolled: StackRowsReader::new(meta, fetched),
            total: 0,
        })
    }

    /// Adds the selected values of a dataset to `sums`, which has an element for each stack of the unit.
    pub(crate) fn add(&mut self, dataset: &DatasetPlan, sums: &mut [u64]) -> Result<(), BlockError> {
        if self.query.spans.is_some() {
            return self.add_spans(dataset, sums);
        }
        for plan in &dataset.runs {
            if let Some(Rolled::Stacks { rows, groups }) = &plan.rolled {
                let added = self.rolled.add(rows.clone(), groups.as_deref(), sums, &mut self.decoder)?;
                self.check_total(added)?;
                continue;
            }
            if plan.whole {
                self.check_total(plan.run.total)?;
                self.add_whole(plan, sums)?;
                continue;
            }
            let chosen = self.choose(plan)?;
            if chosen.count == plan.run.profiles {
                self.add_whole(plan, sums)?;
            } else if chosen.count > 0 {
                self.each_sample(plan, &chosen, &mut |_, stack, value| put(sums, stack, value))?;
            }
        }
        Ok(())
    }

    /// Adds the selected values to one sum for each selected profile row of a run; `stack_counts` filters stacks.
    pub(crate) fn add_by_row(
        &mut self,
        plan: &RunPlan,
        stack_counts: Option<&[bool]>,
        sums: &mut [u64],
    ) -> Result<(), BlockError> {
        let chosen = self.choose(plan)?;
        let first = plan.run.first_profile;
        self.each_sample(plan, &chosen, &mut |row, stack, value| {
            if stack_counts.is_none_or(|counts| counts.get(stack as usize).copied().unwrap_or_default()) {
                sums[(row - first) as usize] += value as u64;
            }
            Ok(())
        })
    }

    fn check_total(&mut self, more: u128) -> Result<(), BlockError> {
        self.total = self.total.saturating_add(more);
        if self.total >= SUM_LIMIT { Err(AnswerError::Overflow.into()) } else { Ok(()) }
    }

    /// The selected profile rows of a run; their totals enter the sum that is checked.
    fn choose(&mut self, plan: &RunPlan) -> Result<Chosen, BlockError> {
        let mut chosen = Chosen { first: plan.run.first_profile, rows: Vec::new(), count: 0 };
        chosen.rows.resize(plan.run.profiles as usize, false);
        let mut total = 0u128;
        self.profiles.selected(plan, &mut self.decoder, |selected| {
            chosen.rows[(selected.row - chosen.first) as usize] = true;
            chosen.count += 1;
            total += u128::try_from(selected.total).unwrap_or_default();
        })?;
        self.check_total(total)?;
        Ok(chosen)
    }

    /// The hot loop: equal stacks are neighbours, so they are summed before they are added.
    fn add_whole(&mut self, plan: &RunPlan, sums: &mut [u64]) -> Result<(), BlockError> {
        for (page, part, _) in Table::samples(self.meta).parts(plan.run.sample_rows()) {
            let stacks = &self.stacks.page(page, &mut self.decoder)?[part.clone()];
            let values = &self.values.page(page, &mut self.decoder)?[part];
            let Some(&first) = stacks.first() else { continue };
            let (mut open, mut sum) = (first, 0u64);
            for (&stack, &value) in stacks.iter().zip(values) {
                if stack != open {
                    put(sums, open, sum as i64)?;
                    (open, sum) = (stack, 0);
                }
                sum = sum.wrapping_add(value as u64);
            }
            put(sums, open, sum as i64)?;
        }
        Ok(())
    }

    fn each_sample(&mut self, plan: &RunPlan, chosen: &Chosen, each: Visit<'_>) -> Result<(), BlockError> {
        for (page, part, first) in Table::samples(self.meta).parts(plan.run.sample_rows()) {
            let rows = &self.rows.page(page, &mut self.decoder)?[part.clone()];
            let stacks = &self.stacks.page(page, &mut self.decoder)?[part.clone()];
            let values = &self.values.page(page, &mut self.decoder)?[part];
            for ((&row, &stack), &value) in rows.iter().zip(stacks).zip(values) {
                match chosen.has(u64::from(row)) {
                    Some(true) => each(u64::from(row), stack, value)?,
                    Some(false) => {}
                    None => {
                        let what = format!("near row {first}: a sample has profile row {row} of another run");
                        return Err(BlockError::damaged(SAMPLES, 0, what));
                    }
                }
            }
        }
        Ok(())
    }

    fn add_spans(&mut self, dataset: &DatasetPlan, sums: &mut [u64]) -> Result<(), BlockError> {
        self.each_span(dataset, &mut |_, stack, value| put(sums, stack, value))
    }

    /// Calls `each` for every selected row of `spans` in a dataset.
    pub(crate) fn each_span(&mut self, dataset: &DatasetPlan, each: Visit<'_>) -> Result<(), BlockError> {
        let Some(filter) = &self.query.spans else { return Ok(()) };
        let mut chosen = Vec::with_capacity(dataset.runs.len());
        for plan in &dataset.runs {
            chosen.push(match plan.whole {
                true => Chosen::all(plan),
                false => self.choose(plan)?,
            });
        }
        let table = Table::spans(self.meta);
        let mut spans = Column::<u64>::new(table, span_column::SPAN, self.fetched);
        let mut rows = Column::<u32>::new(table, span_column::PROFILE_ROW, self.fetched);
        let mut stacks = Column::<u32>::new(table, span_column::STACK, self.fetched);
        let mut values = Column::<i64>::new(table, span_column::VALUE, self.fetched);
        let mut traces = Fixed16Column::new(table, span_column::TRACE, self.fetched);
        let mut total = 0u128;
        for (page, part, _) in dataset.span_rows.iter().flat_map(|rows| table.parts(rows.clone())) {
            let spans = spans.page(page, &mut self.decoder)?;
            let traces = traces.page(page, &mut self.decoder)?;
            let rows = rows.page(page, &mut self.decoder)?;
            let stacks = stacks.page(page, &mut self.decoder)?;
            let values = values.page(page, &mut self.decoder)?;
            for at in part {
                let trace = (traces[at] != [0; 16]).then_some(&traces[at]);
                let row = u64::from(rows[at]);
                let run = chosen.partition_point(|c| c.first <= row).checked_sub(1);
                let in_run = run.and_then(|run| chosen[run].has(row)).unwrap_or_default();
                if in_run && filter.selects(spans[at], trace) {
                    total += u128::try_from(values[at]).map_err(|_| negative())?;
                    if total >= SUM_LIMIT {
                        return Err(AnswerError::Overflow.into());
                    }
                    each(row, stacks[at], values[at])?;
                }
            }
        }
        Ok(())
    }
}

fn negative() -> BlockError {
    BlockError::damaged(SPANS, 0, "a value is negative")
}

#[inline(always)]
fn put(sums: &mut [u64], stack: u32, value: i64) -> Result<(), BlockError> {
    let stacks = sums.len();
    let unknown = || BlockError::damaged(SAMPLES, 0, format!("a sample has stack {stack} of {stacks}"));
    let sum = sums.get_mut(stack as usize).ok_or_else(unknown)?;
    *sum = sum.wrapping_add(value as u64);
    Ok(())
}

/// Which profile rows of a run are selected.
struct Chosen {
    first: u64,
    rows: Vec<bool>,
    count: u64,
}

impl Chosen {
    fn all(plan: &RunPlan) -> Self {
        let count = plan.run.profiles;
        Self { first: plan.run.first_profile, rows: vec![true; count as usize], count }
    }

    /// Whether a profile row is selected; `None` = it does not belong to the run.
    fn has(&self, row: u64) -> Option<bool> {
        self.rows.get(usize::try_from(row.checked_sub(self.first)?).ok()?).copied()
    }
}

/// Which stacks have a root side of these function names; `None` = no filter.
pub(crate) fn call_site_stacks(
    unit: &UnitSymbols,
    shared: &SharedSymbols,
    names: &[String],
) -> Option<Vec<bool>> {
    const FAILED: u32 = u32::MAX;
    if names.is_empty() {
        return None;
    }
    let wanted: Vec<Option<u32>> = names.iter().map(|name| unit.find_string(shared, name)).collect();
    // For each node how many of the names its path has matched.
    let mut matched = vec![0u32; unit.parents.len()];
    for node in 1..unit.parents.len() {
        let mut state = matched[unit.parents[node] as usize];
        for line in unit.lines(unit.locations[node]) {
            if state == FAILED || state as usize == wanted.len() {
                break;
            }
            let equal = wanted[state as usize] == Some(unit.line_names[line]);
            state = if equal { state + 1 } else { FAILED };
        }
        matched[node] = state;
    }
    Some(unit.stack_nodes.iter().map(|&node| matched[node as usize] as usize == wanted.len()).collect())
}
