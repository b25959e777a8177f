//! `samples.parquet`: sorts the rows of a run by stack and streams runs into row groups.

use bytes::Bytes;

use super::table::{Column, GROUP_ROWS, GroupLayout, Table};
use crate::SAMPLES;
use crate::error::BlockError;

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
}

impl SampleTable {
    pub(crate) fn new(level: i32) -> Result<Self, BlockError> {
        let table = Table::new(SAMPLES, SCHEMA, level)?;
        let (profile_rows, stacks, values, next) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { table, profile_rows, stacks, values, next, rows: 0 })
    }

    /// Rows of all runs so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
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
        self.rows += count as u64;
        if self.stacks.len() >= GROUP_ROWS_RUN { self.flush() } else { Ok(()) }
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

    pub(crate) fn finish(mut self) -> Result<(Bytes, Vec<GroupLayout>), BlockError> {
        self.flush()?;
        self.table.finish()
    }
}
