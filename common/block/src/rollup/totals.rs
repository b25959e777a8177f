//! Totals of profiles by group and bin. A bin `b` of width `w` has the profiles of `(b − w, b]`, in whole milliseconds
//! rounded down, as the points of a series have.

use hearth_common::TimestampNs;

use super::TOTALS;
use super::groups::{Groups, NO_GROUP};

/// Sum and number of the profiles of one group in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) group: u32,
    /// The end of the bin, milliseconds.
    pub(crate) bin_ms: i64,
    pub(crate) sum: i64,
    pub(crate) profiles: u32,
}

/// The groups of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunGroups {
    /// Ascending; at most as many as a unit may have.
    pub(crate) groups: Vec<u32>,
    /// For each profile row which of `groups` it belongs to.
    pub(crate) of_rows: Vec<u8>,
}

/// The end of the bin that a time lies in.
pub(crate) fn bin_of(time_ns: i64, width_ms: i64) -> i64 {
    end_of_bin(TimestampNs(time_ns).as_ms(), width_ms)
}

fn end_of_bin(ms: i64, width_ms: i64) -> i64 {
    ms + (-ms).rem_euclid(width_ms)
}

/// The sums of a run for each width, and the groups of its rows. `rows` are (series, time, total) of its profile rows.
/// `None` when a sum does not fit, or the unit has no groups: the run has no rollups then.
pub(crate) fn sum_totals(
    rows: impl Iterator<Item = (u32, i64, i64)>,
    groups: &Groups,
) -> Option<(RunGroups, [Vec<Total>; TOTALS.len()])> {
    let mut finest = Vec::new();
    let mut of_rows = Vec::new();
    let mut all = 0i64;
    for (series, time_ns, total) in rows {
        let group = groups.of_one(series);
        // A total that did not fit is stored as the largest number.
        all = all.checked_add(total).filter(|&all| all < i64::MAX && group != NO_GROUP)?;
        of_rows.push(group);
        finest.push(Total { group, bin_ms: bin_of(time_ns, TOTALS[0].1), sum: total, profiles: 1 });
    }
    let mut found = of_rows.clone();
    found.sort_unstable();
    found.dedup();
    let local = |group: &u32| found.binary_search(group).ok().and_then(|at| u8::try_from(at).ok());
    let of_rows = of_rows.iter().map(local).collect::<Option<Vec<u8>>>()?;
    finest.sort_unstable_by_key(|total| (total.group, total.bin_ms));
    let mut sums: [Vec<Total>; TOTALS.len()] = Default::default();
    let mut finer = finest;
    for (out, (_, width_ms)) in sums.iter_mut().zip(TOTALS) {
        finer = coarser(&finer, width_ms);
        out.clone_from(&finer);
    }
    Some((RunGroups { groups: found, of_rows }, sums))
}

/// Joins sorted sums of finer bins.
fn coarser(finer: &[Total], width_ms: i64) -> Vec<Total> {
    let mut out: Vec<Total> = Vec::new();
    for &total in finer {
        let bin_ms = end_of_bin(total.bin_ms, width_ms);
        match out.last_mut() {
            Some(last) if (last.group, last.bin_ms) == (total.group, bin_ms) => {
                // The sum of all of them was found to fit.
                last.sum += total.sum;
                last.profiles += total.profiles;
            }
            _ => out.push(Total { bin_ms, ..total }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_closed_on_the_right_in_whole_milliseconds() {
        let minute = 60_000;
        let bin = |ns: i64| bin_of(ns, minute);
        assert_eq!((bin(0), bin(1), bin(999_999), bin(1_000_000)), (0, 0, 0, minute));
        assert_eq!((bin(minute * 1_000_000), bin(minute * 1_000_000 + 1_000_000)), (minute, 2 * minute));
        assert_eq!((bin(-1), bin(-1_000_000), bin(-minute * 1_000_000)), (0, 0, -minute));
    }

    #[test]
    fn coarser_sums_have_the_same_total() {
        let groups = Groups { of_series: vec![1, 0, 1], ..Groups::default() };
        let minute = 60_000_000_000;
        let rows =
            [(0, 0, 5), (0, 3 * minute, 1), (1, 7 * minute, 2), (2, 4 * minute, 10), (2, 61 * minute, 3)];
        let (run, [fine, coarse]) = sum_totals(rows.into_iter(), &groups).expect("fits");
        assert_eq!((&run.groups[..], &run.of_rows[..]), (&[0, 1][..], &[1, 1, 0, 1, 1][..]));
        let of = |totals: &[Total]| -> Vec<(u32, i64, i64, u32)> {
            totals.iter().map(|t| (t.group, t.bin_ms / 60_000, t.sum, t.profiles)).collect()
        };
        assert_eq!(of(&fine), [(0, 10, 2, 1), (1, 0, 5, 1), (1, 5, 11, 2), (1, 65, 3, 1)]);
        assert_eq!(of(&coarse), [(0, 60, 2, 1), (1, 0, 5, 1), (1, 60, 11, 2), (1, 120, 3, 1)]);
    }

    #[test]
    fn what_does_not_fit_has_no_sums() {
        let groups = Groups { of_series: vec![0, NO_GROUP], ..Groups::default() };
        let sums = |rows: &[(u32, i64, i64)]| sum_totals(rows.iter().copied(), &groups);
        assert!(sums(&[(0, 0, i64::MAX)]).is_none());
        assert!(sums(&[(0, 0, i64::MAX - 1), (0, 0, 1)]).is_none());
        assert!(sums(&[(0, 0, i64::MAX - 1)]).is_some());
        assert!(sums(&[(1, 0, 1)]).is_none() && sums(&[(9, 0, 1)]).is_none());
    }
}
