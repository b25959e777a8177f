//! What a world is made of: chance, time, the trace, and an object store that fails. Knows no role.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hearth_common::{Clock, TimestampNs};
use hearth_objstore::{Fault, Faults, Operation};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::disk::Random;

/// The lines of a trace that a failure shows.
const TRACE_LINES_MAX: usize = 160;
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;

/// All chance of a world comes from here.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<Random>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.0.lock().below(n)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.0.lock().chance(percent)
    }

    pub(crate) fn wide(&self) -> u128 {
        let mut random = self.0.lock();
        (u128::from(random.next()) << 64) | u128::from(random.next())
    }
}

/// Simulated time of one machine; its wall clock may be stepped.
#[derive(Debug)]
pub(crate) struct SimClock {
    began: Instant,
    step_ns: AtomicI64,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), step_ns: AtomicI64::new(0) }
    }

    pub(crate) fn step(&self, by_ns: i64) {
        self.step_ns.store(by_ns, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> TimestampNs {
        let elapsed_ns = i64::try_from(self.began.elapsed().as_nanos()).expect("a simulation is short");
        TimestampNs(EPOCH_NS + elapsed_ns + self.step_ns.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What happened, in words.
#[derive(Debug)]
pub(crate) struct Trace {
    began: Instant,
    state: Mutex<(DefaultHasher, VecDeque<String>)>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    pub(crate) fn note(&self, what: &str) {
        let line = format!("{:>7} ms  {what}", self.began.elapsed().as_millis());
        let (hash, lines) = &mut *self.state.lock();
        line.hash(hash);
        if lines.len() == TRACE_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().0.finish()
    }

    pub(crate) fn tail(&self) -> String {
        let lines = &self.state.lock().1;
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// How the object store is, for all.
#[derive(Debug)]
pub(crate) struct Weather {
    /// Of a hundred calls, so many go wrong.
    pub(crate) percent: AtomicU64,
    /// Nothing is answered, or only errors.
    pub(crate) away: watch::Sender<bool>,
    /// When objects were written, by the store's clock.
    written: Mutex<BTreeMap<String, TimestampNs>>,
    clock: SimClock,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            percent: AtomicU64::new(0),
            away: watch::Sender::new(false),
            written: Mutex::default(),
            clock: SimClock::new(),
        }
    }
}

/// Lets one process' calls to the object store take time, fail, and fail although they are applied. A process that is dead
/// calls nothing more, but what it has sent may still arrive.
#[derive(Debug)]
pub(crate) struct StoreFaults {
    pub(crate) dice: Arc<Dice>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) alive: watch::Receiver<bool>,
    /// Calls wait until then: the process stands still.
    pub(crate) paused_until: Arc<Mutex<Option<Instant>>>,
}

impl StoreFaults {
    async fn wait(&self) -> bool {
        if !*self.alive.borrow() {
            std::future::pending::<()>().await;
        }
        let percent = self.weather.percent.load(Ordering::Relaxed);
        let wait_ms = match percent > 0 && self.dice.chance(3) {
            true => self.dice.below(5_000),
            false => 1 + self.dice.below(20),
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let paused_until = *self.paused_until.lock();
        if let Some(until) = paused_until {
            tokio::time::sleep_until(until).await;
        }
        let mut away = self.weather.away.subscribe();
        if *away.borrow_and_update() {
            let patience = Duration::from_millis(self.dice.below(8_000));
            let back = tokio::time::timeout(patience, away.wait_for(|away| !away)).await;
            return matches!(back, Ok(Ok(_)));
        }
        if !*self.alive.borrow() && self.dice.chance(50) {
            std::future::pending::<()>().await;
        }
        true
    }
}

impl Faults for StoreFaults {
    fn modified(&self, key: &str) -> Option<TimestampNs> {
        self.weather.written.lock().get(key).copied()
    }

    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        async move {
            if !self.wait().await {
                return Fault::FailBefore;
            }
            if matches!(operation, Operation::Upload | Operation::Create) {
                let now = self.weather.clock.now();
                self.weather.written.lock().entry(key.to_owned()).or_insert(now);
            }
            if !self.dice.chance(self.weather.percent.load(Ordering::Relaxed)) {
                return Fault::None;
            }
            match self.dice.below(4) {
                0 => Fault::FailBefore,
                1 => Fault::FailAfter,
                2 => Fault::FailThenApply { turns: 1 + self.dice.below(200) as u32 },
                _ => Fault::ReportExists,
            }
        }
        .boxed()
    }
}
