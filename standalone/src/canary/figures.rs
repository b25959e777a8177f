//! What a canary counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_common::TimestampNs;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::past::AGES;

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Acknowledged,
    /// The server answered with an error.
    Refused,
    /// There was no answer.
    Failed,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Every total is what was pushed.
    Exact,
    Missing,
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadLabels {
    age: &'static str,
    outcome: &'static str,
}

/// All of them. Clones share the figures.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pushes: Family<PushLabels, Counter>,
    push_seconds: Histogram,
    reads: Family<ReadLabels, Counter>,
    freshness_seconds: Histogram,
    last_exact: Gauge<f64, AtomicU64>,
    last_round: Gauge<f64, AtomicU64>,
    steps: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl Default for Figures {
    fn default() -> Self {
        // 1 ms to 33 s.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let figures = Self {
            pushes: Family::default(),
            push_seconds: seconds(),
            reads: Family::default(),
            freshness_seconds: seconds(),
            last_exact: Gauge::default(),
            last_round: Gauge::default(),
            steps: Arc::default(),
            failures: Arc::default(),
        };
        // A rate needs a first value before something goes wrong.
        for outcome in [Pushed::Acknowledged, Pushed::Refused, Pushed::Failed] {
            drop(figures.pushes.get_or_create(&PushLabels { outcome: outcome.label() }));
        }
        for age in AGES.iter().map(|(name, _)| *name).chain(["fresh"]) {
            for outcome in [Some(Read::Exact), Some(Read::Missing), Some(Read::Wrong), None] {
                drop(figures.reads.get_or_create(&ReadLabels { age, outcome: outcome_of(outcome) }));
            }
        }
        figures
    }
}

impl Pushed {
    fn label(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

fn outcome_of(read: Option<Read>) -> &'static str {
    match read {
        Some(Read::Exact) => "exact",
        Some(Read::Missing) => "missing",
        Some(Read::Wrong) => "wrong",
        None => "failed",
    }
}

impl Figures {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_canary");
        registry.register("pushes", "Profiles pushed by the canary, by how it ended", self.pushes.clone());
        let help = "Time of pushes of the canary, with their answer";
        registry.register("push_duration_seconds", help, self.push_seconds.clone());
        let help =
            "Profiles of the canary that were read back, by their age and what was found; failed: no answer";
        registry.register("reads", help, self.reads.clone());
        let help = "Time from a push's answer until the profile was read exactly";
        registry.register("freshness_seconds", help, self.freshness_seconds.clone());
        let help = "When a profile was read exactly for the last time";
        registry.register("last_exact_timestamp_seconds", help, self.last_exact.clone());
        let help = "When the canary ended its last round";
        registry.register("last_round_timestamp_seconds", help, self.last_round.clone());
    }

    pub(super) fn pushed(&self, outcome: Pushed, took: Duration) {
        self.pushes.get_or_create(&PushLabels { outcome: outcome.label() }).inc();
        self.push_seconds.observe(took.as_secs_f64());
        self.step(outcome == Pushed::Acknowledged);
    }

    /// `None`: there was no answer.
    pub(super) fn read(&self, age: &'static str, read: Option<Read>, now: TimestampNs) {
        self.reads.get_or_create(&ReadLabels { age, outcome: outcome_of(read) }).inc();
        let is_exact = read == Some(Read::Exact);
        if is_exact {
            self.last_exact.set(seconds(now));
        }
        self.step(is_exact);
    }

    pub(super) fn fresh_after(&self, took: Duration) {
        self.freshness_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn round_ended(&self, now: TimestampNs) {
        self.last_round.set(seconds(now));
    }

    /// Seconds since 1970; 0 before the first round.
    pub(super) fn last_round(&self) -> f64 {
        self.last_round.get()
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn step(&self, is_good: bool) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(!is_good), Ordering::Relaxed);
    }
}

pub(super) fn seconds(at: TimestampNs) -> f64 {
    at.0 as f64 / 1e9
}
