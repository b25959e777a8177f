//! The token bucket that bounds a tenant's bytes per second, on the clock that is passed in.

use std::time::Duration;

use hearth_common::units::iec_bytes;

use crate::reject::{Reason, Rejected};

const MIB: f64 = 1_048_576.0;

/// A bucket of bytes. It starts full; rate and burst are given at each use because limits change while it lives.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: f64,
    at: Option<Duration>,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self { tokens: f64::INFINITY, at: None }
    }
}

impl TokenBucket {
    /// Takes `bytes` if the bucket holds them. `now` is monotonic time; a rate of 0 switches the limit off.
    pub fn take(&mut self, bytes: usize, rate_mb: f64, burst_mb: f64, now: Duration) -> Result<(), Rejected> {
        if rate_mb <= 0.0 {
            return Ok(());
        }
        let burst = burst_mb * MIB;
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.tokens = (self.tokens + elapsed.as_secs_f64() * rate_mb * MIB).min(burst);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        if bytes as f64 > self.tokens {
            let message = format!(
                "push rate limit ({}) exceeded while adding {}",
                iec_bytes((rate_mb * MIB) as u64),
                iec_bytes(bytes as u64)
            );
            return Err(Rejected::exhausted(Reason::RateLimited, message));
        }
        self.tokens -= bytes as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_by_the_clock_and_never_beyond_the_burst() {
        let mut bucket = TokenBucket::default();
        let at = Duration::from_millis;
        assert_eq!(bucket.take(2 << 20, 4.0, 2.0, at(0)), Ok(()));
        let refused = bucket.take(1, 4.0, 2.0, at(0)).expect_err("empty");
        assert_eq!(refused.message, "push rate limit (4.0 MiB) exceeded while adding 1 B");
        assert_eq!(refused.reason, Reason::RateLimited);
        assert_eq!(bucket.take(1 << 20, 4.0, 2.0, at(250)), Ok(()));
        assert!(bucket.take(1 << 20, 4.0, 2.0, at(260)).is_err());
        assert_eq!(bucket.take(2 << 20, 4.0, 2.0, at(100_000)), Ok(()));
        let refused = bucket.take(3 << 20, 4.0, 2.0, at(200_000)).expect_err("larger than the burst");
        assert_eq!(refused.message, "push rate limit (4.0 MiB) exceeded while adding 3.0 MiB");
        assert_eq!(bucket.take(1 << 30, 0.0, 2.0, at(200_000)), Ok(()));
    }

    #[test]
    fn a_clock_that_stands_or_falls_gives_nothing() {
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(1 << 20, 1.0, 1.0, Duration::from_secs(10)).is_ok());
        assert!(bucket.take(1, 1.0, 1.0, Duration::from_secs(5)).is_err());
        assert!(bucket.take(1, 1.0, 1.0, Duration::from_secs(10)).is_err());
        assert!(bucket.take(1 << 19, 1.0, 1.0, Duration::from_millis(10_500)).is_ok());
    }
}
