//! Profiles of the process itself, in the format of pprof: where its threads spend CPU time, and which memory is in use.
//!
//! One CPU profile at a time: the signal that takes samples belongs to the whole process. Whoever waits for a turn is refused
//! when another one waits already.

mod cpu;
mod heap;
mod push;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use heap::{heap_since_start, keep_heap_profile};
pub use push::{PushOptions, SelfProfiling};

use hearth_common::Clock;
use tokio::sync::{Mutex, MutexGuard};

/// The longest CPU profile.
pub const CPU_SECONDS_MAX: u64 = 60;

/// A profile in pprof's format, gzipped.
pub type Gzipped = Vec<u8>;

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfilingError {
    /// Somebody waits for the next turn already.
    #[error("another CPU profile is being taken and one more waits: try again in a minute")]
    Busy,
    /// The profiler could not be used.
    #[error("the CPU profiler cannot be used: {0}")]
    Cpu(String),
    /// The heap cannot be profiled.
    #[error("{0}")]
    Heap(String),
}

static TURN: Mutex<()> = Mutex::const_new(());
static WAITED_FOR: AtomicBool = AtomicBool::new(false);

/// Waits for the turn to take a CPU profile, alone.
async fn turn() -> Result<MutexGuard<'static, ()>, ProfilingError> {
    if let Ok(turn) = TURN.try_lock() {
        return Ok(turn);
    }
    if WAITED_FOR.swap(true, Ordering::SeqCst) {
        return Err(ProfilingError::Busy);
    }
    let _waits = Waits;
    Ok(TURN.lock().await)
}

struct Waits;

impl Drop for Waits {
    fn drop(&mut self) {
        WAITED_FOR.store(false, Ordering::SeqCst);
    }
}

/// Where threads spend CPU time during `window`, with `per_second` samples for each second of CPU time.
pub async fn cpu(window: Duration, per_second: u32, clock: &dyn Clock) -> Result<Gzipped, ProfilingError> {
    let _turn = turn().await?;
    let started = clock.now();
    let profiler = cpu::Profiler::start(per_second)?;
    tokio::time::sleep(window).await;
    let took =
        Duration::from_nanos(u64::try_from(clock.now().0.saturating_sub(started.0)).unwrap_or_default());
    // Names are looked up in the program's debug information: that takes a while.
    let encoding = tokio::task::spawn_blocking(move || profiler.finish(started, took));
    encoding.await.map_err(|error| ProfilingError::Cpu(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_common::SystemClock;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_third_profile_at_once_is_refused() {
        let clock = SystemClock::default();
        let window = Duration::from_millis(300);
        let [one, other, third] = [(); 3].map(|()| cpu(window, 100, &clock));
        let all = futures_join(one, other, third).await;
        let refused = all.iter().filter(|taken| matches!(taken, Err(ProfilingError::Busy))).count();
        assert_eq!(refused, 1, "{all:?}");
        assert!(cpu(window, 100, &clock).await.is_ok(), "the turn is free again");
    }

    async fn futures_join<A: Future, B: Future<Output = A::Output>, C: Future<Output = A::Output>>(
        one: A,
        other: B,
        third: C,
    ) -> [A::Output; 3] {
        let (one, other, third) = tokio::join!(one, other, third);
        [one, other, third]
    }
}
