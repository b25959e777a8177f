//! Time that passes when a test says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_common::{Clock, TimestampNs};

/// A clock whose wall time stands still and whose monotonic time begins at zero and goes on by hand.
#[derive(Debug, Default)]
pub struct HandClock {
    wall: TimestampNs,
    passed_ms: AtomicU64,
}

impl HandClock {
    /// A clock that shows this wall time.
    pub fn at(wall: TimestampNs) -> Self {
        Self { wall, passed_ms: AtomicU64::new(0) }
    }

    /// So much time passes, in whole milliseconds.
    pub fn pass(&self, time: Duration) {
        self.passed_ms.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> TimestampNs {
        self.wall
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }
}
