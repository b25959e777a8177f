//! Sums of a run's samples by stack and group. Samples come in the order of the block, in pieces of any size.

use super::totals::RunGroups;

/// Sums are kept if they have no more than a share of the rows that they stand for: else they would save nothing …
const SHRINK_LEAST: u64 = 4;
/// … and if they are no more than this: they wait in memory until the run ends.
const ROWS_MAX: u64 = 1 << 19;

/// Rows of the table of stacks: parallel columns, ascending by (stack, group).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StackRows {
    pub(crate) groups: Vec<u32>,
    pub(crate) stacks: Vec<u32>,
    pub(crate) values: Vec<i64>,
}

/// Sums the samples of one run.
#[derive(Debug)]
pub(crate) struct StackSums {
    run: RunGroups,
    first_row: u32,
    rows_max: usize,
    /// The stack whose samples come, and its sums by place in the run's groups; 0 = none, since values are greater.
    stack: u32,
    open: Vec<u64>,
    out: StackRows,
    gave_up: bool,
}

impl StackSums {
    /// Begins a run of so many samples, whose profile rows are numbered from `first_row`.
    pub(crate) fn new(run: RunGroups, first_row: u32, samples: u64) -> Self {
        let open = vec![0; run.groups.len()];
        let rows_max = (samples / SHRINK_LEAST).min(ROWS_MAX) as usize;
        Self { run, first_row, rows_max, stack: 0, open, out: StackRows::default(), gave_up: false }
    }

    /// Adds the next samples: parallel columns, in order.
    pub(crate) fn add(&mut self, rows: &[u32], stacks: &[u32], values: &[i64]) {
        let mut at = 0;
        while at < stacks.len() && !self.gave_up {
            let stack = stacks[at];
            let same = stacks[at..].iter().take_while(|&&other| other == stack).count();
            if stack != self.stack {
                self.close();
                self.stack = stack;
            }
            let to = at + same;
            if let [sum] = &mut self.open[..] {
                *sum = values[at..to].iter().fold(*sum, |sum, &value| sum.wrapping_add(value as u64));
            } else {
                for (&row, &value) in rows[at..to].iter().zip(&values[at..to]) {
                    let group = self.run.of_rows.get(row.wrapping_sub(self.first_row) as usize);
                    let Some(group) = group else {
                        self.gave_up = true;
                        return;
                    };
                    let sum = &mut self.open[usize::from(*group)];
                    *sum = sum.wrapping_add(value as u64);
                }
            }
            at = to;
        }
    }

    /// Ends a stack.
    fn close(&mut self) {
        for (sum, &group) in self.open.iter_mut().zip(&self.run.groups) {
            let sum = std::mem::take(sum);
            if sum > 0 {
                self.out.groups.push(group);
                self.out.stacks.push(self.stack);
                self.out.values.push(sum as i64);
            }
        }
        self.gave_up |= self.out.stacks.len() > self.rows_max;
    }

    /// The sums of the run; none when they are not worth it.
    pub(crate) fn finish(mut self) -> StackRows {
        self.close();
        if self.gave_up { StackRows::default() } else { self.out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(pieces: &[usize], groups: &RunGroups) -> StackRows {
        // (row, stack, value): two rows of the first group, one of the second.
        let samples = [(10, 0, 1), (11, 0, 2), (12, 0, 4), (10, 3, 8), (11, 3, 16), (11, 3, 1), (10, 3, 1)];
        let samples: Vec<(u32, u32, i64)> = samples.into_iter().chain((0..9).map(|_| (12, 5, 1))).collect();
        let mut sums = StackSums::new(groups.clone(), 10, samples.len() as u64);
        let mut rest = &samples[..];
        for &piece in pieces.iter().chain([&usize::MAX]) {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            let column = |of: fn(&(u32, u32, i64)) -> u32| now.iter().map(of).collect::<Vec<u32>>();
            let values: Vec<i64> = now.iter().map(|sample| sample.2).collect();
            sums.add(&column(|sample| sample.0), &column(|sample| sample.1), &values);
            rest = later;
        }
        sums.finish()
    }

    #[test]
    fn pieces_make_no_difference() {
        let two = RunGroups { groups: vec![4, 7], of_rows: vec![0, 0, 1] };
        let one = RunGroups { groups: vec![4], of_rows: vec![0, 0, 0] };
        for pieces in [&[][..], &[1, 1, 1, 1, 1, 1], &[2, 7, 1], &[4, 3]] {
            let rows = sums(pieces, &two);
            assert_eq!(
                (rows.groups, rows.stacks, rows.values),
                (vec![4, 7, 4, 7], vec![0, 0, 3, 5], vec![3, 4, 26, 9])
            );
            let rows = sums(pieces, &one);
            assert_eq!((rows.groups, rows.stacks, rows.values), (vec![4; 3], vec![0, 3, 5], vec![7, 26, 9]));
        }
    }

    #[test]
    fn sums_that_save_little_are_not_kept() {
        let groups = RunGroups { groups: vec![0], of_rows: vec![0] };
        for (stacks, kept) in [(1u32, true), (2, true), (3, false)] {
            let mut sums = StackSums::new(groups.clone(), 0, 8);
            (0..stacks).for_each(|stack| sums.add(&[0], &[stack], &[1]));
            assert_eq!(!sums.finish().stacks.is_empty(), kept, "{stacks}");
        }
    }
}
