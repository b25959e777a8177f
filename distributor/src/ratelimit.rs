//! The token bucket that bounds a tenant's bytes per second, on the clock that is passed in.

use std::time::Duration;

use hearth_common::limits::raise;
use hearth_common::units::iec_bytes;

use crate::reject::{Reason, Rejected};

const MIB: f64 = 1_048_576.0;

/// A gzipped profile is not smaller when it is inflated, but for what gzip puts around it: some of a hundred bytes.
const GZIP_BYTES_MAX: usize = 100;

/// What a tenant may push, as its limits say it now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// MiB a second, over all distributors; 0 switches the limit off.
    pub limit_mb: f64,
    /// MiB at once, at each distributor.
    pub burst_mb: f64,
    /// Distributors that share the rate.
    pub replicas: usize,
}

/// A bucket of bytes. It starts full; rate and burst are given at each use because limits change while it lives.
#[derive(Debug)]
pub struct TokenBucket {
    tokens: f64,
    at: Option<Duration>,
    /// When it holds all that may be pushed at once, if nothing more is taken.
    full_at: Duration,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self { tokens: f64::INFINITY, at: None, full_at: Duration::ZERO }
    }
}

impl TokenBucket {
    /// Takes `bytes` if the bucket holds them. `now` is monotonic time.
    pub fn take(&mut self, bytes: usize, rate: Rate, now: Duration) -> Result<(), Rejected> {
        if rate.limit_mb <= 0.0 {
            return Ok(());
        }
        self.fill(rate, now);
        if bytes as f64 > self.tokens {
            return Err(refused(bytes, rate));
        }
        self.tokens -= bytes as f64;
        let missing_secs = (rate.burst_mb * MIB - self.tokens) / share(rate);
        let missing = Duration::try_from_secs_f64(missing_secs).unwrap_or(Duration::MAX);
        self.full_at = now.saturating_add(missing);
        Ok(())
    }

    /// Whether it lets through as much as one that was never used, by the rate of its last use. `now` is monotonic time.
    pub fn is_full(&self, now: Duration) -> bool {
        now >= self.full_at
    }

    /// Refuses bytes that [`Self::take`] would refuse, and takes none.
    pub fn check(&mut self, bytes: usize, rate: Rate, now: Duration) -> Result<(), Rejected> {
        if rate.limit_mb <= 0.0 {
            return Ok(());
        }
        self.fill(rate, now);
        match bytes as f64 > self.tokens {
            true => Err(refused(bytes, rate)),
            false => Ok(()),
        }
    }

    fn fill(&mut self, rate: Rate, now: Duration) {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.tokens = (self.tokens + elapsed.as_secs_f64() * share(rate)).min(rate.burst_mb * MIB);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }
}

/// Bytes a second that one distributor lets through.
fn share(rate: Rate) -> f64 {
    rate.limit_mb * MIB / rate.replicas.max(1) as f64
}

/// Bytes that a profile has at least when it is inflated, by its size as sent.
pub(crate) fn without_gzip(sent_bytes: usize) -> usize {
    sent_bytes.saturating_sub(GZIP_BYTES_MAX)
}

fn refused(bytes: usize, rate: Rate) -> Rejected {
    let (limit, burst) = (iec_bytes((rate.limit_mb * MIB) as u64), iec_bytes((rate.burst_mb * MIB) as u64));
    let what = format!("push rate limit ({limit}) exceeded while adding {}", iec_bytes(bytes as u64));
    let message = match bytes as f64 > rate.burst_mb * MIB {
        true => format!(
            "{what}, which is more than may come at once ({burst}){}",
            raise("ingestion_burst_size_mb")
        ),
        false => format!("{what}{}", raise("ingestion_rate_mb")),
    };
    Rejected::exhausted(Reason::RateLimited, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit_mb: f64, burst_mb: f64) -> Rate {
        Rate { limit_mb, burst_mb, replicas: 1 }
    }

    #[test]
    fn fills_by_the_clock_and_never_beyond_the_burst() {
        let mut bucket = TokenBucket::default();
        let at = Duration::from_millis;
        assert_eq!(bucket.take(2 << 20, rate(4.0, 2.0), at(0)), Ok(()));
        let refused = bucket.take(1, rate(4.0, 2.0), at(0)).expect_err("empty");
        let message = "push rate limit (4.0 MiB) exceeded while adding 1 B; ingestion_rate_mb allows more";
        assert!(refused.message.starts_with(message), "{}", refused.message);
        assert_eq!(refused.reason, Reason::RateLimited);
        assert_eq!(bucket.take(1 << 20, rate(4.0, 2.0), at(250)), Ok(()));
        assert!(bucket.take(1 << 20, rate(4.0, 2.0), at(260)).is_err());
        assert_eq!(bucket.take(2 << 20, rate(4.0, 2.0), at(100_000)), Ok(()));
        let refused = bucket.take(3 << 20, rate(4.0, 2.0), at(200_000)).expect_err("larger than the burst");
        let message = "push rate limit (4.0 MiB) exceeded while adding 3.0 MiB, which is more than may come at once (2.0 MiB); \
                       ingestion_burst_size_mb allows more";
        assert!(refused.message.starts_with(message), "{}", refused.message);
        assert_eq!(bucket.take(1 << 30, rate(0.0, 2.0), at(200_000)), Ok(()));
    }

    #[test]
    fn it_is_full_when_what_was_taken_has_come_back() {
        let (mut bucket, at) = (TokenBucket::default(), Duration::from_secs);
        assert!(bucket.is_full(at(0)));
        let slow = Rate { replicas: 2, ..rate(1.0, 100.0) };
        assert_eq!(bucket.take(50 << 20, slow, at(10)), Ok(()));
        assert!(!bucket.is_full(at(109)) && bucket.is_full(at(110)));
        assert!(bucket.take(200 << 20, slow, at(20)).is_err());
        assert!(bucket.is_full(at(110)), "what is refused takes nothing");
        assert_eq!(bucket.take(1, rate(f64::MIN_POSITIVE, 1.0), at(110)), Ok(()));
        assert!(!bucket.is_full(at(1 << 40)));
    }

    #[test]
    fn a_clock_that_stands_or_falls_gives_nothing() {
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(1 << 20, rate(1.0, 1.0), Duration::from_secs(10)).is_ok());
        assert!(bucket.take(1, rate(1.0, 1.0), Duration::from_secs(5)).is_err());
        assert!(bucket.take(1, rate(1.0, 1.0), Duration::from_secs(10)).is_err());
        assert!(bucket.take(1 << 19, rate(1.0, 1.0), Duration::from_millis(10_500)).is_ok());
    }

    #[test]
    fn distributors_share_the_rate_and_refuse_before_they_inflate() {
        let (mut bucket, at) = (TokenBucket::default(), Duration::from_millis);
        let shared = Rate { replicas: 4, ..rate(4.0, 2.0) };
        assert_eq!(bucket.take(2 << 20, shared, at(0)), Ok(()));
        assert_eq!(bucket.check(1 << 20, shared, at(1000)), Ok(()));
        assert!(bucket.check(without_gzip((1 << 20) + 101), shared, at(1000)).is_err());
        assert_eq!(bucket.check(without_gzip((1 << 20) + 100), shared, at(1000)), Ok(()));
        assert_eq!(bucket.take(1 << 20, shared, at(1000)), Ok(()), "a check takes nothing");
        assert!(bucket.take(1, shared, at(1000)).is_err());
    }
}
