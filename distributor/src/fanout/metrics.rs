//! Metrics of sending records to cells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::CellId;
use hearth_internode::api::RetryWhy;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Most cells that are told apart; the rest is `other`.
const CELLS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabels {
    cell: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    reason: &'static str,
}

/// As the reference labels it: there, pushes may have two ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DownstreamLabels {
    route: &'static str,
    primary: &'static str,
    status: &'static str,
}

type Downstream = Family<DownstreamLabels, Histogram, fn() -> Histogram>;

/// Seconds of a call to an ingester: as those of requests.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

/// Why records were sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The member said so.
    Told(RetryWhy),
    /// The call failed; the word of `CallError::outcome`.
    Failed(&'static str),
}

impl Again {
    fn label(self) -> &'static str {
        match self {
            Self::Told(RetryWhy::NotLeader) => "not_leader",
            Self::Told(RetryWhy::NotMember) => "not_member",
            Self::Told(RetryWhy::NotReady) => "not_ready",
            Self::Told(RetryWhy::Full) => "full",
            Self::Told(RetryWhy::Stopping) => "stopping",
            Self::Told(RetryWhy::OldRoster) => "old_roster",
            Self::Failed(outcome) => outcome,
        }
    }
}

/// All of them. Clones share the figures.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    downstream: Downstream,
    pushes: Family<PushLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
    /// Rounds over all members of a cell that found nobody who takes records.
    pub(super) waits: Counter,
    /// Pushes refused because too much is in flight.
    pub(super) refused: Counter,
    pub(super) in_flight_bytes: Gauge,
    cells: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            downstream: Family::new_with_constructor(seconds),
            pushes: Family::default(),
            retries: Family::default(),
            waits: Counter::default(),
            refused: Counter::default(),
            in_flight_bytes: Gauge::default(),
            cells: Arc::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time of calls that push records to ingesters, by whether they were answered";
        registry.register(
            "pyroscope_write_path_downstream_request_duration_seconds",
            help,
            self.downstream.clone(),
        );
        let registry = registry.sub_registry_with_prefix("hearth_distributor_cells");
        registry.register("pushes", "Batches of records sent to cells, by how it ended", self.pushes.clone());
        registry.register("retries", "Tries after which records were sent again", self.retries.clone());
        let help = "Rounds in which no member of a cell took records, as in an election";
        registry.register("election_waits", help, self.waits.clone());
        let help = "Pushes refused because too many bytes of records were in flight";
        registry.register("refused_in_flight", help, self.refused.clone());
        let help = "Bytes of records that are being sent";
        registry.register("in_flight_bytes", help, self.in_flight_bytes.clone());
    }

    pub(super) fn pushed(&self, cell: &CellId, outcome: &'static str) {
        let cell = self.cell(cell);
        self.pushes.get_or_create(&PushLabels { cell, outcome }).inc();
    }

    /// A call to an ingester has ended.
    pub(super) fn called(&self, answered: bool, took: Duration) {
        let status = if answered { "success" } else { "error" };
        let labels = DownstreamLabels { route: "ingester", primary: "1", status };
        self.downstream.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn again(&self, why: Again) {
        self.retries.get_or_create(&RetryLabels { reason: why.label() }).inc();
    }

    /// A roster may name more cells over time than metrics should keep.
    fn cell(&self, cell: &CellId) -> Arc<str> {
        let mut cells = self.cells.lock();
        if cells.len() >= CELLS_MAX && !cells.contains(&cell.0.0) {
            return Arc::from("other");
        }
        cells.insert(Arc::clone(&cell.0.0));
        Arc::clone(&cell.0.0)
    }
}
