//! Sums that a block of a whole day has beside its rows: totals by bins of time, and stacks over all of a run.
//!
//! Owns what is summed: which labels are kept, where bins end, when sums are worth their bytes. Writers feed it rows in the
//! order of the block, so that they need not agree on anything else. Must not know: tables, files, questions.

mod groups;
mod stacks;
mod totals;

pub(crate) use groups::{Groups, NO_GROUP};
pub(crate) use stacks::{StackRows, StackSums};
pub(crate) use totals::{RunGroups, Total, sum_totals};

use crate::{STACKS_1D, TOTALS_1H, TOTALS_5M};

/// Blocks of this level and above have rollups: the compactor's level of a whole day.
pub const ROLLUP_LEVEL_MIN: u8 = 16;

/// Tables of totals, finest first: name and width of the bins in milliseconds. Each width divides the next, and a day.
pub(crate) const TOTALS: [(&str, i64); 2] = [(TOTALS_5M, 300_000), (TOTALS_1H, 3_600_000)];

/// All objects that rollups add to a block, in the order of its entry.
pub const ROLLUP_OBJECTS: [&str; 3] = [TOTALS_5M, TOTALS_1H, STACKS_1D];
