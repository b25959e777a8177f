//! Time series: sums and counts of profile totals by group of labels and step.

use std::collections::BTreeMap;

use hearth_common::TimestampNs;

use crate::labels::Labels;

/// The steps of a series: points at `first, first+step, …, last`; a profile at t belongs to the smallest point ≥ t
/// (bucket `(point − step, point]`; the first bucket takes its left end too).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepGrid {
    /// Timestamp of the first point, milliseconds.
    pub first_ms: i64,
    /// Timestamp of the last point, milliseconds; `first + k·step`.
    pub last_ms: i64,
    /// Distance of points, milliseconds, ≥ 1.
    pub step_ms: i64,
}

impl StepGrid {
    /// The grid of a query: from `start`, as many steps as fit up to `end`.
    pub fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let steps = end_ms.saturating_sub(start_ms).max(0) / step_ms;
        Self { first_ms: start_ms, last_ms: start_ms + steps * step_ms, step_ms }
    }

    /// Index of the point that a profile belongs to; `None` = after the last point (dropped) or before the first bucket.
    /// Times are compared in whole milliseconds, rounded down.
    pub fn index_of(self, t: TimestampNs) -> Option<u32> {
        let ms = t.as_ms();
        if ms > self.last_ms || ms < self.first_ms.saturating_sub(self.step_ms) {
            return None;
        }
        let past = ms.saturating_sub(self.first_ms).max(0);
        let steps = past / self.step_ms + i64::from(past % self.step_ms > 0);
        u32::try_from(steps).ok()
    }

    /// Timestamp of a point, milliseconds.
    pub fn timestamp_ms(self, index: u32) -> i64 {
        self.first_ms + i64::from(index) * self.step_ms
    }
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Sum of totals of the profiles in it.
    pub sum: i128,
    /// Number of profiles in it.
    pub count: u64,
    /// Annotations of these profiles, each (key, value) once.
    pub annotations: std::collections::BTreeSet<(String, String)>,
}

impl Bucket {
    fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
        if !other.annotations.is_empty() {
            self.annotations.extend(other.annotations);
        }
    }
}

/// Buckets of a group, ascending by step, each step once. Sparse: only steps with profiles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Buckets(Vec<(u32, Bucket)>);

impl Buckets {
    /// How many steps have profiles.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Steps with their buckets, ascending.
    pub fn iter(&self) -> std::slice::Iter<'_, (u32, Bucket)> {
        self.0.iter()
    }

    /// The bucket of a step, made if it is not there. Costs what lies behind it: many are collected by [`Collector`].
    pub fn bucket(&mut self, step: u32) -> &mut Bucket {
        let at = self.0.partition_point(|(other, _)| *other < step);
        if self.0.get(at).is_none_or(|(other, _)| *other != step) {
            self.0.insert(at, (step, Bucket::default()));
        }
        &mut self.0[at].1
    }

    /// Adds other buckets. Costs no more than those of both from the first of the others on: blocks of one day after another
    /// are appended.
    pub fn merge(&mut self, mut other: Self) {
        let Some((first, _)) = other.0.first() else { return };
        let before = self.0.partition_point(|(step, _)| step < first);
        if before < self.0.len() {
            other.0.extend(self.0.drain(before..));
            fold(&mut other.0);
        }
        self.0.append(&mut other.0);
    }
}

impl IntoIterator for Buckets {
    type Item = (u32, Bucket);
    type IntoIter = std::vec::IntoIter<(u32, Bucket)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Any order, and steps more than once: they become one bucket.
impl FromIterator<(u32, Bucket)> for Buckets {
    fn from_iter<T: IntoIterator<Item = (u32, Bucket)>>(iter: T) -> Self {
        let mut buckets: Vec<_> = iter.into_iter().collect();
        fold(&mut buckets);
        Self(buckets)
    }
}

/// Sorts by step, and makes one of those that are equal. Runs that are sorted already are merged.
fn fold(buckets: &mut Vec<(u32, Bucket)>) {
    buckets.sort_by_key(|(step, _)| *step);
    buckets.dedup_by(|(step, bucket), (kept_step, kept)| {
        let same = step == kept_step;
        if same {
            kept.add(std::mem::take(bucket));
        }
        same
    });
}

/// Collects the buckets of a group from profiles in any order: those of a series come in order of time as a rule.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    /// Sorted up to where they were folded last.
    buckets: Vec<(u32, Bucket)>,
    /// They are folded when there are so many: when as many have been added as there were, so that a bucket is moved a few
    /// times at most, and there are never more than twice as many as steps, and [`COLLECTED_MIN`].
    fold_at: usize,
}

/// A [`Collector`] folds no fewer.
const COLLECTED_MIN: usize = 64;

impl Collector {
    /// A bucket of a step, to be added to.
    pub fn bucket(&mut self, step: u32) -> &mut Bucket {
        if self.buckets.last().is_none_or(|(last, _)| *last != step) {
            if self.buckets.len() >= self.fold_at.max(COLLECTED_MIN) {
                fold(&mut self.buckets);
                self.fold_at = self.buckets.len() * 2;
            }
            self.buckets.push((step, Bucket::default()));
        }
        let last = self.buckets.len() - 1;
        &mut self.buckets[last].1
    }

    /// The buckets.
    pub fn finish(self) -> Buckets {
        self.buckets.into_iter().collect()
    }
}

/// Buckets by group. A group's labels are the group-by labels that exist on its series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PointSet {
    /// None without buckets.
    pub groups: BTreeMap<Labels, Buckets>,
}

impl PointSet {
    /// Adds one profile's total to a bucket: for few profiles, see [`Buckets::bucket`].
    pub fn add(&mut self, group: &Labels, step: u32, total: i64) {
        let bucket = self.group(group).bucket(step);
        bucket.sum += i128::from(total);
        bucket.count += 1;
    }

    /// The buckets of a group, made if they are not there.
    pub fn group(&mut self, group: &Labels) -> &mut Buckets {
        // No clone of the labels where they are known.
        if !self.groups.contains_key(group) {
            self.groups.insert(group.clone(), Buckets::default());
        }
        self.groups.get_mut(group).expect("just made")
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.groups.values().map(Buckets::len).sum()
    }

    /// Whether there are no buckets.
    pub fn is_empty(&self) -> bool {
        self.groups.values().all(Buckets::is_empty)
    }

    /// Adds another set.
    pub fn merge(&mut self, other: Self) {
        for (group, buckets) in other.groups {
            match self.groups.get_mut(&group) {
                Some(to) => to.merge(buckets),
                None => _ = self.groups.insert(group, buckets),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bucket((sum, note): (i64, u8)) -> Bucket {
        let annotations = (note < 2).then(|| ("note".to_owned(), note.to_string())).into_iter().collect();
        Bucket { sum: sum.into(), count: 1, annotations }
    }

    /// What buckets must be, by the plainest means.
    fn summed<'a>(rows: impl IntoIterator<Item = &'a (u32, (i64, u8))>) -> Vec<(u32, Bucket)> {
        let mut sums: BTreeMap<u32, Bucket> = BTreeMap::new();
        rows.into_iter().for_each(|(step, row)| sums.entry(*step).or_default().add(bucket(*row)));
        sums.into_iter().collect()
    }

    fn collected(rows: &[(u32, (i64, u8))]) -> Buckets {
        let mut collector = Collector::default();
        rows.iter().for_each(|(step, row)| collector.bucket(*step).add(bucket(*row)));
        collector.finish()
    }

    /// Rows of some series, each in order of time as a rule.
    fn rows() -> impl Strategy<Value = Vec<(u32, (i64, u8))>> {
        let series = |in_order: bool| {
            vec((0u32..300, any::<(i64, u8)>()), 0..150).prop_map(move |mut rows| {
                if in_order {
                    rows.sort_by_key(|(step, _)| *step);
                }
                rows
            })
        };
        vec(prop_oneof![series(true), series(true), series(false)], 0..5).prop_map(|rows| rows.concat())
    }

    proptest! {
        #[test]
        fn collecting_is_summing_by_step(rows in rows()) {
            prop_assert_eq!(collected(&rows).0, summed(&rows));
        }

        #[test]
        fn any_split_merges_to_the_whole(parts in vec(rows(), 0..6)) {
            let mut merged = Buckets::default();
            parts.iter().for_each(|part| merged.merge(collected(part)));
            prop_assert_eq!(merged.0, summed(parts.iter().flatten()));
        }

        #[test]
        fn one_at_a_time_is_the_same(rows in rows()) {
            let mut buckets = Buckets::default();
            rows.iter().for_each(|(step, row)| buckets.bucket(*step).add(bucket(*row)));
            prop_assert_eq!(buckets, collected(&rows));
        }
    }
}
