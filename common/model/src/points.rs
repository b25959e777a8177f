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

/// Buckets by group. A group's labels are the group-by labels that exist on its series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PointSet {
    /// Sparse: only buckets with profiles.
    pub groups: BTreeMap<Labels, BTreeMap<u32, Bucket>>,
}

impl PointSet {
    /// Adds one profile's total to a bucket.
    pub fn add(&mut self, group: &Labels, index: u32, total: i64) {
        let buckets = match self.groups.get_mut(group) {
            Some(buckets) => buckets,
            None => self.groups.entry(group.clone()).or_default(),
        };
        let bucket = buckets.entry(index).or_default();
        bucket.sum += i128::from(total);
        bucket.count += 1;
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    /// Whether there are no buckets.
    pub fn is_empty(&self) -> bool {
        self.groups.values().all(BTreeMap::is_empty)
    }

    /// Adds another set.
    pub fn merge(&mut self, other: Self) {
        for (group, buckets) in other.groups {
            let to = self.groups.entry(group).or_default();
            for (index, from) in buckets {
                let bucket = to.entry(index).or_default();
                bucket.sum += from.sum;
                bucket.count += from.count;
                bucket.annotations.extend(from.annotations);
            }
        }
    }
}
