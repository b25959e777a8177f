//! Time ranges of queries: what is refused, what is cut, what is empty by rule (api-semantics §2.2).

use hearth_common::limits::raise;
use hearth_common::units::GoDuration;
use hearth_common::{Classify, ErrorKind, TenantLimits, TimeRange, TimestampNs};

/// A range as a request gives it, milliseconds; 0 = not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AskedRange {
    /// First millisecond.
    pub start_ms: i64,
    /// Last millisecond, inclusive.
    pub end_ms: i64,
}

/// The range is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// One bound is missing.
    #[error("missing time range in the query")]
    Missing,
    /// Start lies after end.
    #[error("query start time is after end time")]
    Inverted,
    /// Longer than the tenant may ask for.
    #[error("the query time range exceeds the limit (max_query_length, actual: {}, limit: {limit}){}", .actual.to_go_string(), raise("max_query_length"))]
    TooLong {
        /// What was asked for.
        actual: GoDuration,
        /// What is allowed.
        limit: GoDuration,
    },
}

impl Classify for RangeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// The range of a query on profile data. `None`: all of it lies before the tenant's lookback, the answer is empty.
pub fn resolve(
    asked: AskedRange,
    now: TimestampNs,
    limits: &TenantLimits,
) -> Result<Option<AskedRange>, RangeError> {
    if asked.start_ms == 0 || asked.end_ms == 0 {
        return Err(RangeError::Missing);
    }
    if asked.start_ms > asked.end_ms {
        return Err(RangeError::Inverted);
    }
    let mut range = asked;
    if !limits.max_query_lookback.is_zero() {
        let oldest_ms = now.as_ms().saturating_sub(limits.max_query_lookback.as_ns() / 1_000_000);
        if range.end_ms < oldest_ms {
            return Ok(None);
        }
        range.start_ms = range.start_ms.max(oldest_ms);
    }
    let length_ms = range.end_ms.saturating_sub(range.start_ms);
    let limit_ms = limits.max_query_length.as_ns() / 1_000_000;
    if limit_ms > 0 && length_ms > limit_ms {
        let actual = GoDuration(std::time::Duration::from_millis(length_ms.unsigned_abs()));
        return Err(RangeError::TooLong { actual, limit: limits.max_query_length });
    }
    Ok(Some(range))
}

/// The range of a question about labels: rules apply only when both bounds are given; else everything is asked.
/// `None`: the answer is empty.
pub fn resolve_labels(
    asked: AskedRange,
    now: TimestampNs,
    limits: &TenantLimits,
) -> Result<Option<Option<TimeRange>>, RangeError> {
    match resolve(asked, now, limits) {
        Err(RangeError::Missing) => Ok(Some(None)),
        other => Ok(other?.map(|range| Some(range.into()))),
    }
}

impl From<AskedRange> for TimeRange {
    fn from(asked: AskedRange) -> Self {
        Self::from_ms(asked.start_ms, asked.end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn check(start_ms: i64, end_ms: i64) -> Result<Option<(i64, i64)>, String> {
        let now = TimestampNs::from_ms(1000 * HOUR_MS);
        resolve(AskedRange { start_ms, end_ms }, now, &TenantLimits::default())
            .map(|range| range.map(|r| (r.start_ms, r.end_ms)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_rules_of_the_reference() {
        assert_eq!(check(0, 5), Err("missing time range in the query".to_owned()));
        assert_eq!(check(7, 5), Err("query start time is after end time".to_owned()));
        assert_eq!(check(999 * HOUR_MS, 999 * HOUR_MS), Ok(Some((999 * HOUR_MS, 999 * HOUR_MS))));
        assert_eq!(check(10, 20), Ok(None), "before the lookback of 7 days");
        let oldest = (1000 - 168) * HOUR_MS;
        assert_eq!(check(10, oldest + HOUR_MS), Ok(Some((oldest, oldest + HOUR_MS))), "the start is raised");
        let text = "the query time range exceeds the limit (max_query_length, actual: 25h0m0s, limit: 1d)";
        let error = check(900 * HOUR_MS, 925 * HOUR_MS).expect_err("too long");
        assert!(error.starts_with(text), "{error}");
    }

    #[test]
    fn labels_without_bounds_are_asked_of_everything() {
        let now = TimestampNs::from_ms(1000 * HOUR_MS);
        let ask =
            |start_ms, end_ms| resolve_labels(AskedRange { start_ms, end_ms }, now, &TenantLimits::default());
        assert_eq!(ask(0, 0), Ok(Some(None)));
        assert_eq!(ask(0, 77), Ok(Some(None)));
        assert_eq!(ask(1, 2), Ok(None));
        assert_eq!(ask(5, 2), Err(RangeError::Inverted));
    }
}
