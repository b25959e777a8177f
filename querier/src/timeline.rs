//! The time line beside an older flame graph answer (api-semantics §2.16): a dense list of values, one a step.

use hearth_query::series::SeriesPoint;

/// Steps that a range is cut into, before rounding.
const STEPS_WANTED: i64 = 1500;
/// Most values of one time line.
const VALUES_MAX: i64 = 1 << 20;

/// A dense time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Time of the first value, seconds.
    pub start_secs: i64,
    /// Seconds between values.
    pub step_secs: i64,
    /// The values; 0 where there is nothing.
    pub values: Vec<u64>,
}

/// The step of a range, in seconds.
pub fn step_secs(start_ms: i64, end_ms: i64) -> i64 {
    // (upper bound of the raw step in ms, step in s)
    const ROUNDED: [(i64, i64); 18] = [
        (17_500, 15),
        (25_000, 20),
        (45_000, 30),
        (90_000, 60),
        (210_000, 120),
        (450_000, 300),
        (750_000, 600),
        (1_050_000, 900),
        (1_500_000, 1200),
        (2_700_000, 1800),
        (5_400_000, 3600),
        (9_000_000, 7200),
        (16_200_000, 10_800),
        (32_400_000, 21_600),
        (86_400_000, 43_200),
        (604_800_000, 86_400),
        (1_814_400_000, 604_800),
        (3_628_799_999, 2_592_000),
    ];
    let raw_ms = end_ms.saturating_sub(start_ms) / STEPS_WANTED;
    ROUNDED.iter().find(|(upto_ms, _)| raw_ms <= *upto_ms).map_or(31_536_000, |(_, step)| *step)
}

impl Timeline {
    /// A line of zeros: both ends snapped down to the step, the end not included.
    pub fn empty(start_ms: i64, end_ms: i64, step_secs: i64) -> Self {
        let snapped = |ms: i64| ms.div_euclid(1000).div_euclid(step_secs) * step_secs;
        let (start, end) = (snapped(start_ms), snapped(end_ms));
        let values = ((end - start) / step_secs).clamp(0, VALUES_MAX);
        Self { start_secs: start, step_secs, values: vec![0; values as usize] }
    }

    /// Adds points; those outside of the line are dropped.
    pub fn add(&mut self, points: &[SeriesPoint]) {
        for point in points {
            let offset = point.timestamp_ms.div_euclid(1000) - self.start_secs;
            let at = usize::try_from(offset.div_euclid(self.step_secs)).ok();
            if let Some(value) = at.and_then(|at| self.values.get_mut(at)) {
                *value = value.saturating_add(point.value as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (range_secs, want) in
            [(60, 15), (3600 * 6, 15), (3600 * 10, 20), (86_400, 60), (86_400 * 30, 1800)]
        {
            assert_eq!(step_secs(0, range_secs * 1000), want, "{range_secs}");
        }
    }

    #[test]
    fn ends_are_snapped_down_and_gaps_are_zero() {
        let mut line = Timeline::empty(1_000_007_000, 1_000_067_000, 15);
        assert_eq!((line.start_secs, line.values.len()), (999_990 + 15, 4));
        let point = |timestamp_ms, value| SeriesPoint { timestamp_ms, value, annotations: Vec::new() };
        line.add(&[
            point(1_000_004_000, 9.0),
            point(1_000_007_000, 2.0),
            point(1_000_037_000, 3.5),
            point(1_000_067_000, 8.0),
        ]);
        assert_eq!(line.values, [2, 0, 3, 0]);
    }
}
