//! Time as a value: instants of profiles, ranges of queries, and the clock that is passed in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimestampNs(pub i64);

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_DAY: i64 = 86_400_000_000_000;

impl TimestampNs {
    /// The instant `ms` milliseconds after the epoch; saturates at the ends of what an i64 of nanoseconds can hold.
    pub fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(NS_PER_MS))
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub fn as_ms(self) -> i64 {
        self.0.div_euclid(NS_PER_MS)
    }

    /// The UTC day that this instant lies in, counted from the epoch.
    pub fn day(self) -> i32 {
        // An i64 of nanoseconds spans ±106,752 days, so the quotient fits.
        self.0.div_euclid(NS_PER_DAY) as i32
    }
}

/// A range of instants, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First instant that belongs to the range.
    pub start: TimestampNs,
    /// Last instant that belongs to the range.
    pub end: TimestampNs,
}

impl TimeRange {
    /// Everything.
    pub const ALL: Self = Self { start: TimestampNs(i64::MIN), end: TimestampNs(i64::MAX) };

    /// The range between two instants given in milliseconds, both ends inclusive.
    pub fn from_ms(start_ms: i64, end_ms: i64) -> Self {
        Self { start: TimestampNs::from_ms(start_ms), end: TimestampNs::from_ms(end_ms) }
    }

    /// Whether `t` lies in the range.
    pub fn contains(self, t: TimestampNs) -> bool {
        self.start <= t && t <= self.end
    }

    /// Whether the two ranges share an instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether all of `other` lies inside this range.
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// The wall clock and a monotonic one; passed in so that a simulated cluster can own time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time.
    fn now(&self) -> TimestampNs;
    /// Time since some fixed instant; never falls.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn default() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> TimestampNs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampNs(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
