//! From summed buckets to the series of an answer (api-semantics §2.11): values, order, limit.

use hearth_model::{Labels, PointSet, StepGrid};

/// How a bucket's profiles become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Average,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoint {
    /// Milliseconds.
    pub timestamp_ms: i64,
    /// Sum or mean of profile totals; not divided by any time.
    pub value: f64,
    /// (key, value), each once.
    pub annotations: Vec<(String, String)>,
}

/// One series; points in order of time, none where there is no profile.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesResult {
    /// The group-by labels that exist.
    pub labels: Labels,
    /// The points.
    pub points: Vec<SeriesPoint>,
}

/// Makes series of sums, greatest sum of values first, equal ones by labels; `limit` > 0 keeps the first ones.
pub fn finish(points: PointSet, grid: StepGrid, aggregation: Aggregation, limit: i64) -> Vec<SeriesResult> {
    let value = |sum: i128, count: u64| match aggregation {
        Aggregation::Sum => sum as f64,
        Aggregation::Average => sum as f64 / count as f64,
    };
    let mut series: Vec<(f64, SeriesResult)> = Vec::with_capacity(points.groups.len());
    for (labels, buckets) in points.groups {
        let points: Vec<SeriesPoint> = buckets
            .into_iter()
            .map(|(index, bucket)| SeriesPoint {
                timestamp_ms: grid.timestamp_ms(index),
                value: value(bucket.sum, bucket.count),
                annotations: bucket.annotations.into_iter().collect(),
            })
            .collect();
        let sum = points.iter().map(|point| point.value).sum();
        series.push((sum, SeriesResult { labels, points }));
    }
    // Groups come in order of labels, and the sort is stable.
    series.sort_by(|a, b| b.0.total_cmp(&a.0));
    let keep = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    series.into_iter().map(|(_, series)| series).take(keep).collect()
}

#[cfg(test)]
mod tests {
    use hearth_common::TimestampNs;

    use super::*;

    #[test]
    fn the_worked_example_of_the_reference() {
        let grid = StepGrid::new(100_000, 130_500, 10_000);
        let mut points = PointSet::default();
        for ms in [90_000, 95_000, 100_000, 100_001, 120_000, 130_000, 130_400] {
            if let Some(index) = grid.index_of(TimestampNs::from_ms(ms)) {
                points.add(&Labels::default(), index, 1);
            }
        }
        let series = finish(points, grid, Aggregation::Sum, 0);
        let got: Vec<(i64, f64)> = series[0].points.iter().map(|p| (p.timestamp_ms, p.value)).collect();
        assert_eq!(got, [(100_000, 3.0), (110_000, 1.0), (120_000, 1.0), (130_000, 1.0)]);
    }

    #[test]
    fn greatest_first_then_by_labels_and_the_mean_is_exact() {
        let grid = StepGrid::new(0, 10_000, 10_000);
        let mut points = PointSet::default();
        for (pod, total) in [("c", 4), ("a", 1), ("a", 2), ("b", 4), ("d", 9)] {
            points.add(&Labels::from_pairs([("pod", pod)]), 0, total);
        }
        let names = |aggregation, limit| -> Vec<(String, f64)> {
            finish(points.clone(), grid, aggregation, limit)
                .iter()
                .map(|s| (s.labels.get("pod").unwrap_or_default().to_owned(), s.points[0].value))
                .collect()
        };
        let want = |pairs: &[(&str, f64)]| -> Vec<(String, f64)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        assert_eq!(names(Aggregation::Sum, 0), want(&[("d", 9.0), ("b", 4.0), ("c", 4.0), ("a", 3.0)]));
        assert_eq!(names(Aggregation::Average, 0)[3], ("a".to_owned(), 1.5));
        assert_eq!(names(Aggregation::Sum, 2).len(), 2);
    }
}
