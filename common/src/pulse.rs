//! Whether a loop gets on: what works says so, and whoever watches judges by the time that has passed since.
//!
//! A loop that has nothing to do, or waits for what no restart brings back, is not stuck: only one that works and is silent
//! for longer than its work ever takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// What a loop tells of itself. Clones share; the default is one that nobody watches, which costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    beat_ns: AtomicU64,
    working: AtomicU32,
    waiting: AtomicU32,
    panicked: AtomicBool,
}

/// What is known of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vital {
    /// It has no work, or waits for others.
    Idle,
    /// It works, and was heard of so long ago.
    Working(Duration),
    /// It panicked at work: it will never be heard of again.
    Dead,
}

impl Pulse {
    /// One that is watched.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Some(Arc::new(Shared {
            clock,
            beat_ns: AtomicU64::new(0),
            working: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            panicked: AtomicBool::new(false),
        })))
    }

    /// Work begins; it ends when the guard is dropped.
    #[must_use = "the work ends when this is dropped"]
    pub fn work(&self) -> Working {
        // First the beat: whoever looks in between must not see an old one.
        self.beat();
        if let Some(shared) = &self.0 {
            shared.working.fetch_add(1, Ordering::SeqCst);
        }
        Working(self.clone())
    }

    /// Within work: it waits for what a restart would not bring, such as the other members of a quorum.
    #[must_use = "the wait ends when this is dropped"]
    pub fn wait(&self) -> Waiting {
        if let Some(shared) = &self.0 {
            shared.waiting.fetch_add(1, Ordering::SeqCst);
        }
        Waiting(self.clone())
    }

    /// The work got on.
    pub fn beat(&self) {
        if let Some(shared) = &self.0 {
            let now_ns = u64::try_from(shared.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
            // Of two at once the later one counts.
            shared.beat_ns.fetch_max(now_ns, Ordering::SeqCst);
        }
    }

    /// What is known of it.
    pub fn vital(&self) -> Vital {
        let Some(shared) = &self.0 else { return Vital::Idle };
        if shared.panicked.load(Ordering::SeqCst) {
            return Vital::Dead;
        }
        let idle = shared.working.load(Ordering::SeqCst) == 0 || shared.waiting.load(Ordering::SeqCst) > 0;
        let heard = Duration::from_nanos(shared.beat_ns.load(Ordering::SeqCst));
        if idle { Vital::Idle } else { Vital::Working(shared.clock.monotonic().saturating_sub(heard)) }
    }
}

/// Work under way.
#[derive(Debug)]
pub struct Working(Pulse);

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(shared) = &self.0.0 {
            if std::thread::panicking() {
                shared.panicked.store(true, Ordering::SeqCst);
            }
            shared.working.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Waiting for others.
#[derive(Debug)]
pub struct Waiting(Pulse);

impl Drop for Waiting {
    fn drop(&mut self) {
        // First the beat: the wait is over now, not when it began.
        self.0.beat();
        if let Some(shared) = &self.0.0 {
            shared.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TimestampNs;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Hand {
        fn pass(&self, seconds: u64) {
            self.0.fetch_add(seconds, Ordering::SeqCst);
        }
    }

    impl Clock for Hand {
        fn now(&self) -> TimestampNs {
            TimestampNs(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn only_work_ages() {
        let hand = Arc::new(Hand::default());
        let pulse = Pulse::new(Arc::<Hand>::clone(&hand));
        let working = |seconds| Vital::Working(Duration::from_secs(seconds));
        hand.pass(1000);
        assert_eq!(pulse.vital(), Vital::Idle);
        let work = pulse.work();
        hand.pass(5);
        assert_eq!(pulse.vital(), working(5));
        pulse.beat();
        assert_eq!(pulse.vital(), working(0));
        hand.pass(7);
        let wait = pulse.wait();
        hand.pass(1000);
        assert_eq!(pulse.vital(), Vital::Idle);
        drop(wait);
        hand.pass(2);
        assert_eq!(pulse.vital(), working(2));
        drop(work);
        assert_eq!(pulse.vital(), Vital::Idle);
    }

    #[test]
    fn work_that_panicked_never_ends_well() {
        let pulse = Pulse::new(Arc::new(Hand::default()));
        let inside = pulse.clone();
        let thread = std::thread::spawn(move || {
            let _work = inside.work();
            panic!("for the test");
        });
        assert!(thread.join().is_err());
        assert_eq!(pulse.vital(), Vital::Dead);
        assert_eq!(Pulse::default().vital(), Vital::Idle);
    }
}
