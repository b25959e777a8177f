//! Who waits for a thread that computes, and for how long: the figures of [`Turns`](hearth_common::Turns), by kind of turn.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::TurnWatch;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The label of these figures.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfKind {
    kind: &'static str,
}

type Waiting = Family<OfKind, Gauge>;
type Behind = Family<OfKind, Counter>;
type Waits = Family<OfKind, Histogram, fn() -> Histogram>;

/// The turns of one role. Clones share the figures; whoever owns them registers all.
#[derive(Debug, Clone)]
pub struct TurnMetrics {
    waiting: Waiting,
    seconds: Waits,
    behind: Behind,
}

impl Default for TurnMetrics {
    fn default() -> Self {
        // 1 ms, about the shortest work, to 30 s, about when clients give up.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let seconds = Family::new_with_constructor(seconds);
        Self { waiting: Family::default(), seconds, behind: Family::default() }
    }
}

impl TurnMetrics {
    /// Takes what one kind of turns tells.
    pub fn of(&self, kind: &'static str) -> Arc<dyn TurnWatch> {
        let kind = OfKind { kind };
        let (waiting, seconds) = (self.waiting.get_or_create(&kind), self.seconds.get_or_create(&kind));
        let behind = self.behind.get_or_create(&kind).clone();
        Arc::new(Figures { waiting: waiting.clone(), seconds: seconds.clone(), behind })
    }

    /// How many wait: a gauge.
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    /// How long turns were waited for: a histogram.
    pub fn seconds(&self) -> Waits {
        self.seconds.clone()
    }

    /// How many turns were given behind the others', to tenants that took much more than their share: a counter.
    pub fn behind(&self) -> Behind {
        self.behind.clone()
    }
}

#[derive(Debug)]
struct Figures {
    waiting: Gauge,
    seconds: Histogram,
    behind: Counter,
}

impl TurnWatch for Figures {
    fn waits(&self) {
        self.waiting.inc();
    }

    fn ends(&self) {
        self.waiting.dec();
    }

    fn given(&self, after: Duration, is_behind: bool) {
        self.seconds.observe(after.as_secs_f64());
        self.behind.inc_by(u64::from(is_behind));
    }
}
