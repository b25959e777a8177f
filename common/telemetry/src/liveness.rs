//! Whether the process lives: each loop that must get on has a pulse, and a time after which silence at work means that it is
//! stuck.
//!
//! Restarting the process is the cure that this is for, so only what a restart may cure counts: a call into the system that
//! does not come back, a deadlock, a task that panicked. What others are to blame for (a store or a quorum that is away) ends
//! in errors or is marked as waiting by the loop itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hearth_common::Clock;
use hearth_common::pulse::{Pulse, Vital};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// How often the runtime shows that it runs tasks, and stuck loops are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All watched loops of a process. Clones share.
#[derive(Debug, Clone)]
pub struct Liveness {
    clock: Arc<dyn Clock>,
    loops: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug, Clone)]
struct Watched {
    name: &'static str,
    limit: Duration,
    pulse: Pulse,
}

/// A loop that does not get on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub name: &'static str,
    /// How long it was silent; `None`: it panicked.
    pub silent: Option<Duration>,
    /// How long it may be.
    pub limit: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, silent, limit } = self;
        match silent {
            Some(silent) => {
                write!(f, "{name}: no progress for {}s, at most {}s", silent.as_secs(), limit.as_secs())
            }
            None => write!(f, "{name}: it panicked and does not run any more"),
        }
    }
}

impl Watched {
    fn stuck(&self) -> Option<Stuck> {
        let silent = match self.pulse.vital() {
            Vital::Working(silent) if silent > self.limit => Some(silent),
            Vital::Dead => None,
            Vital::Idle | Vital::Working(_) => return None,
        };
        Some(Stuck { name: self.name, silent, limit: self.limit })
    }
}

impl Liveness {
    /// Watches nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, loops: Arc::default() }
    }

    /// The pulse of a loop that is stuck when it is silent at work for longer than `limit`.
    pub fn watch(&self, name: &'static str, limit: Duration) -> Pulse {
        let pulse = Pulse::new(Arc::clone(&self.clock));
        let watched = Watched { name, limit, pulse: pulse.clone() };
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        pulse
    }

    /// All loops that are stuck.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.all().iter().filter_map(Watched::stuck).collect()
    }

    /// `Ok` if every loop gets on, else what is stuck, as one line.
    pub fn check(&self) -> Result<(), String> {
        let stuck: Vec<String> = self.stuck().iter().map(Stuck::to_string).collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join("; ")) }
    }

    /// Adds the metrics of all loops.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Figures(self.clone())));
    }

    /// Runs for as long as the process: says by its own pulse that tasks run, and logs when a loop gets stuck or goes on.
    pub async fn look_after(self, limit: Duration) {
        let pulse = self.watch("runtime", limit);
        let _work = pulse.work();
        let mut known: Vec<&'static str> = Vec::new();
        loop {
            pulse.beat();
            let stuck = self.stuck();
            for new in stuck.iter().filter(|stuck| !known.contains(&stuck.name)) {
                tracing::error!(part = new.name, "a part of the process is stuck: {new}");
            }
            for name in known.iter().filter(|name| !stuck.iter().any(|stuck| stuck.name == **name)) {
                tracing::warn!(part = name, "a part of the process that was stuck goes on");
            }
            known = stuck.iter().map(|stuck| stuck.name).collect();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn all(&self) -> Vec<Watched> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
struct Figures(Liveness);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let loops = self.0.all();
        let mut family = |name: &str, help: &str, value: &dyn Fn(&Watched) -> f64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for watched in &loops {
                let gauge = ConstGauge::new(value(watched));
                gauge.encode(family.encode_family(&[("loop", watched.name)])?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        let help = "Whether the loop is stuck: silent at work for longer than it may be, or ended by a panic";
        family("hearth_loop_stalled", help, &|watched| f64::from(u8::from(watched.stuck().is_some())))?;
        let help = "Time since the loop got on with the work that it has; 0 when it has none";
        family("hearth_loop_silent_seconds", help, &|watched| match watched.pulse.vital() {
            Vital::Working(silent) => silent.as_secs_f64(),
            Vital::Idle | Vital::Dead => 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use hearth_testkit::HandClock;

    use super::*;
    use crate::Metrics;

    fn watched() -> (Arc<HandClock>, Liveness) {
        let hand = Arc::new(HandClock::default());
        (Arc::clone(&hand), Liveness::new(hand))
    }

    #[test]
    fn a_sync_that_does_not_come_back_is_named() {
        let (hand, liveness) = watched();
        let (wal, merging) = (
            liveness.watch("wal", Duration::from_secs(60)),
            liveness.watch("merging", Duration::from_secs(900)),
        );
        hand.pass(Duration::from_secs(10_000));
        assert_eq!(liveness.check(), Ok(()), "idle is alive");
        let sync = wal.work();
        hand.pass(Duration::from_secs(60));
        assert_eq!(liveness.check(), Ok(()));
        hand.pass(Duration::from_secs(1));
        assert_eq!(liveness.check(), Err("wal: no progress for 61s, at most 60s".to_owned()));
        // A merge that takes hours gets on all the time.
        drop(sync);
        let _merge = merging.work();
        for _ in 0..100 {
            hand.pass(Duration::from_secs(600));
            merging.beat();
        }
        hand.pass(Duration::from_secs(600));
        assert_eq!(liveness.check(), Ok(()));
        // A store that is away: its client gives up, the loop tries again.
        drop(wal);
        hand.pass(Duration::from_secs(301));
        assert_eq!(liveness.check(), Err("merging: no progress for 901s, at most 900s".to_owned()));
    }

    #[test]
    fn what_panicked_is_stuck_for_good_and_metrics_say_so() {
        let (hand, liveness) = watched();
        let mut registry = Registry::default();
        liveness.register_metrics(&mut registry);
        let metrics = Metrics::new(registry);
        let roster = liveness.watch("roster", Duration::from_secs(5));
        let lives = liveness.watch("wal", Duration::from_secs(5));
        let thread = std::thread::spawn(move || {
            let _work = roster.work();
            panic!("for the test");
        });
        assert!(thread.join().is_err());
        let _work = lives.work();
        hand.pass(Duration::from_secs(3));
        assert_eq!(liveness.check(), Err("roster: it panicked and does not run any more".to_owned()));
        let body = metrics.expose(None).body;
        for line in [
            "hearth_loop_stalled{loop=\"roster\"} 1.0",
            "hearth_loop_stalled{loop=\"wal\"} 0.0",
            "hearth_loop_silent_seconds{loop=\"wal\"} 3.0",
        ] {
            assert!(body.contains(line), "{line}:\n{body}");
        }
    }
}
