//! `samples.parquet`: sorts the rows of a run by stack and streams runs into row groups.

use super::outgoing::Outgoing;
use super::table::{Column, GROUP_ROWS, GroupLayout, Table};
use crate::SAMPLES;
use crate::error::BlockError;
use crate::rollup::{StackRows, StackSums};

const SCHEMA: &str = "message samples {
  required int32 profile_row (INTEGER(32,false));
  required int32 stack (INTEGER(32,false));
  required int64 value;
}";
/// A row group may end at the end of a run from this many rows on …
const GROUP_ROWS_RUN: usize = 1 << 19;
/// … and where the profile's name changes from this many on.
const GROUP_ROWS_NAME: usize = 1 << 17;

/// The rows of one run as they arrived: profile after profile, stacks in any order.
#[derive(Clone, Copy)]
pub(crate) struct RunRows<'a> {
    pub(crate) stacks: &'a [u32],
    pub(crate) values: &'a [i64],
}

pub(crate) struct SampleTable {
    table: Table,
    profile_rows: Vec<u32>,
    stacks: Vec<u32>,
    values: Vec<i64>,
    /// Where the next row of each stack goes; reused.
    next: Vec<u32>,
    rows: u64,
    /// Rows of a row group of the run that comes in parts; none while the run may share its group.
    group_rows: Option<usize>,
    /// Sums the rows of the run that is written; none when nobody wants to know.
    sums: Option<StackSums>,
}

impl SampleTable {
    pub(crate) fn new(level: i32) -> Result<Self, BlockError> {
        let table = Table::new(SAMPLES, SCHEMA, level)?;
        let (profile_rows, stacks, values, next) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { table, profile_rows, stacks, values, next, rows: 0, group_rows: None, sums: None })
    }

    /// Rows of all runs so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The samples of the next run are summed, too.
    pub(crate) fn sum_next_run(&mut self, sums: Option<StackSums>) {
        self.sums = sums;
    }

    /// The sums of the run that ended.
    pub(crate) fn take_sums(&mut self) -> StackRows {
        self.sums.take().map(StackSums::finish).unwrap_or_default()
    }

    /// Appends a run. `profiles` gives, in order of profile rows from `first_profile_row`, each one's range in `rows`.
    pub(crate) fn append_run(
        &mut self,
        rows: RunRows<'_>,
        profiles: &[(usize, usize)],
        first_profile_row: u32,
        stack_count: u32,
    ) -> Result<(), BlockError> {
        let before = self.stacks.len();
        let count = rows.stacks.len();
        let limit = u64::from(u32::MAX);
        if count as u64 > limit {
            return Err(BlockError::Limit { what: "rows of one series", value: count as u64, limit });
        }
        self.next.clear();
        self.next.resize(stack_count as usize + 1, 0);
        for &stack in rows.stacks {
            self.next[stack as usize + 1] += 1;
        }
        for (stack, of_stack) in self.next[1..].iter().enumerate().filter(|(_, of_stack)| **of_stack > 0) {
            self.stacks.resize(self.stacks.len() + *of_stack as usize, stack as u32);
        }
        for at in 1..self.next.len() {
            self.next[at] += self.next[at - 1];
        }
        self.profile_rows.resize(before + count, 0);
        self.values.resize(before + count, 0);
        let (profile_rows, values) = (&mut self.profile_rows[before..], &mut self.values[before..]);
        for (profile_row, &(from, to)) in (first_profile_row..).zip(profiles) {
            for (&stack, &value) in rows.stacks[from..to].iter().zip(&rows.values[from..to]) {
                let to = &mut self.next[stack as usize];
                profile_rows[*to as usize] = profile_row;
                values[*to as usize] = value;
                *to += 1;
            }
        }
        if let Some(sums) = &mut self.sums {
            sums.add(&self.profile_rows[before..], &self.stacks[before..], &self.values[before..]);
        }
        self.rows += count as u64;
        if self.stacks.len() >= GROUP_ROWS_RUN { self.flush() } else { Ok(()) }
    }

    /// Begins a run of `rows` rows that come by [`SampleTable::extend`], sorted.
    pub(crate) fn begin_run(&mut self, rows: u64) {
        let all = self.stacks.len() as u64 + rows;
        // The cut into equal groups is that of a run that comes at once.
        let each = all.div_ceil(all.div_ceil(GROUP_ROWS as u64).max(1)) as usize;
        self.group_rows = (all >= GROUP_ROWS_RUN as u64).then_some(each);
    }

    /// Appends sorted rows of the run that was begun: parallel columns.
    pub(crate) fn extend(
        &mut self,
        profile_rows: &[u32],
        stacks: &[u32],
        values: &[i64],
    ) -> Result<(), BlockError> {
        if let Some(sums) = &mut self.sums {
            sums.add(profile_rows, stacks, values);
        }
        let mut at = 0;
        while at < stacks.len() {
            let room = self.group_rows.map_or(usize::MAX, |rows| rows - self.stacks.len());
            let to = stacks.len().min(at.saturating_add(room));
            self.profile_rows.extend_from_slice(&profile_rows[at..to]);
            self.stacks.extend_from_slice(&stacks[at..to]);
            self.values.extend_from_slice(&values[at..to]);
            self.rows += (to - at) as u64;
            at = to;
            if self.group_rows.is_some_and(|rows| self.stacks.len() >= rows) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the run that was begun.
    pub(crate) fn end_run(&mut self) -> Result<(), BlockError> {
        if self.group_rows.take().is_some() { self.flush() } else { Ok(()) }
    }

    /// See [`Table::out`].
    pub(crate) fn out(&mut self) -> Result<&mut Outgoing, BlockError> {
        self.table.out()
    }

    /// Says that the next run has another profile name.
    pub(crate) fn end_name(&mut self) -> Result<(), BlockError> {
        if self.stacks.len() >= GROUP_ROWS_NAME { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let all = self.stacks.len();
        if all == 0 {
            return Ok(());
        }
        let wrong = self.table.wrong();
        let descs = [0, 1, 2].map(|at| self.table.column(at));
        // A long series is cut into equal row groups.
        let rows_each = all.div_ceil(all.div_ceil(GROUP_ROWS));
        for from in (0..all).step_by(rows_each) {
            let range = from..all.min(from + rows_each);
            let encoder = &mut self.table.encoder;
            let columns = vec![
                Column::Encoded(encoder.delta(&descs[0], &self.profile_rows[range.clone()]).map_err(&wrong)?),
                Column::Encoded(encoder.delta(&descs[1], &self.stacks[range.clone()]).map_err(&wrong)?),
                Column::Encoded(encoder.smallest(&descs[2], &self.values[range.clone()]).map_err(&wrong)?),
            ];
            self.table.append(range.len(), columns)?;
        }
        self.profile_rows.clear();
        self.stacks.clear();
        self.values.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(Outgoing, Vec<GroupLayout>), BlockError> {
        self.flush()?;
        self.table.finish()
    }
}
