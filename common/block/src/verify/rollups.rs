//! Sums of a run are made again from its rows, by the code that wrote them, and compared.

use crate::error::BlockError;
use crate::meta::datasets::Run;
use crate::pages::decode::PageDecoder;
use crate::read::fetch::Fetched;
use crate::read::meta::stack_column;
use crate::read::rolled::TotalsReader;
use crate::read::rows::{Column, Table};
use crate::read::{Meta, decoder};
use crate::rollup::{Groups, RunGroups, StackRows, StackSums, TOTALS, Total, sum_totals};
use crate::{INDEX, STACKS_1D};

/// Checks the rollups of a block, run after run.
pub(super) struct RollupVerifier<'a> {
    meta: &'a Meta,
    groups: Groups,
    decoder: PageDecoder,
    totals: Vec<TotalsReader<'a>>,
    stack_groups: Column<'a, u32>,
    stacks: Column<'a, u32>,
    values: Column<'a, i64>,
}

impl<'a> RollupVerifier<'a> {
    /// `None` if the block has no rollups. Which labels are kept is checked at once.
    pub(super) fn new(meta: &'a Meta, fetched: &'a Fetched) -> Result<Option<Self>, BlockError> {
        let Some(rollups) = &meta.rollups else { return Ok(None) };
        let groups = Groups::of(&meta.series);
        if groups.of_series != rollups.of_series || groups.dropped != rollups.dropped {
            return Err(BlockError::index(0, "the groups of rollups are not those of the series"));
        }
        let table = Table::stacks(meta);
        Ok(Some(Self {
            meta,
            groups,
            decoder: decoder()?,
            totals: (0..TOTALS.len()).map(|at| TotalsReader::new(meta, at, fetched)).collect(),
            stack_groups: Column::new(table, stack_column::GROUP, fetched),
            stacks: Column::new(table, stack_column::STACK, fetched),
            values: Column::new(table, stack_column::VALUE, fetched),
        }))
    }

    /// Checks the totals of a run; `rows` are (series, time, total) of its profile rows. Gives what sums its samples.
    pub(super) fn totals(
        &mut self,
        number: usize,
        run: &Run,
        rows: &[(u32, i64, i64)],
    ) -> Result<Option<StackSums>, BlockError> {
        let said = self.meta.rollups.as_ref().and_then(|rollups| rollups.runs.get(number));
        let said = said.ok_or_else(|| BlockError::index(0, format!("run {number} has no rollups")))?;
        let summed = sum_totals(rows.iter().copied(), &self.groups);
        let (groups, expected): (Option<RunGroups>, [Vec<Total>; TOTALS.len()]) = match summed {
            Some((groups, expected)) => (Some(groups), expected),
            None => Default::default(),
        };
        for (at, expected) in expected.iter().enumerate() {
            let mut found = Vec::new();
            self.totals[at].each(said.totals[at].clone(), &mut self.decoder, |row| {
                found.push(Total {
                    group: row.group,
                    bin_ms: row.bin_ms,
                    sum: row.sum,
                    profiles: row.profiles,
                });
            })?;
            if found != *expected {
                let what = format!("the totals of run {number} are not those of its profiles");
                return Err(BlockError::damaged(TOTALS[at].0, 0, what));
            }
        }
        if groups.is_none() && !said.stacks.is_empty() {
            return Err(BlockError::damaged(INDEX, 0, format!("run {number} has stacks and no totals")));
        }
        // Rows of a block were found to fit in 32 bits.
        Ok(groups.map(|groups| StackSums::new(groups, run.first_profile as u32, run.samples)))
    }

    /// Compares the sums of the samples of a run.
    pub(super) fn stacks(&mut self, number: usize, expected: StackRows) -> Result<(), BlockError> {
        let said = self.meta.rollups.as_ref().and_then(|rollups| rollups.runs.get(number));
        let rows = said.map(|said| said.stacks.clone()).unwrap_or_default();
        let mut found = StackRows::default();
        for (page, part, _) in Table::stacks(self.meta).parts(rows) {
            found.groups.extend_from_slice(&self.stack_groups.page(page, &mut self.decoder)?[part.clone()]);
            found.stacks.extend_from_slice(&self.stacks.page(page, &mut self.decoder)?[part.clone()]);
            found.values.extend_from_slice(&self.values.page(page, &mut self.decoder)?[part]);
        }
        if found == expected {
            return Ok(());
        }
        let what = format!("the stacks of run {number} are not those of its samples");
        Err(BlockError::damaged(STACKS_1D, 0, what))
    }
}
