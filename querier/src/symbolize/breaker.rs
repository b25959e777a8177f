//! Keeps requests from a server that fails: after some failures in a row none is sent for a while, then one to see. Pure.

use std::time::Duration;

/// So many failures in a row …
const FAILURES_MAX: u32 = 5;
/// … keep requests back for so long.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// Times are those of a monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    /// Nothing is sent before; after it, one request at a time.
    closed_until: Option<Duration>,
}

impl Breaker {
    /// Whether a request may be sent now. When it may after a pause, the next one waits for what becomes of it, or for the
    /// next pause to end.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        match self.closed_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.closed_until = Some(now + OPEN_FOR);
                true
            }
        }
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.closed_until = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_keep_requests_back_for_a_minute() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::default();
        for second in 0..4 {
            assert!(breaker.admits(at(second)));
            breaker.failed(at(second));
        }
        breaker.succeeded();
        for second in 10..15 {
            assert!(breaker.admits(at(second)), "{second}");
            breaker.failed(at(second));
        }
        assert!(!breaker.admits(at(15)) && !breaker.admits(at(73)));
        // One to see.
        assert!(breaker.admits(at(74)) && !breaker.admits(at(75)));
        breaker.failed(at(80));
        assert!(!breaker.admits(at(139)));
        assert!(breaker.admits(at(140)));
        breaker.succeeded();
        assert!(breaker.admits(at(140)) && breaker.admits(at(140)));
    }
}
