//! What a querier counts.

use std::time::Duration;

use hearth_telemetry::TurnMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::blocks::Blocks;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Query {
    rpc: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Deletion {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    rpc: &'static str,
}

/// The metrics of one querier. Clones share the figures.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    queries: Family<Query, Counter>,
    seconds: Family<Rpc, Histogram, fn() -> Histogram>,
    /// Blocks that answered.
    pub(crate) blocks: Counter,
    /// Bytes fetched from them.
    pub(crate) bytes: Counter,
    /// Rows decoded of them.
    pub(crate) rows: Counter,
    /// Rounds after the first.
    pub(crate) replans: Counter,
    /// Answers that may miss something.
    pub(crate) inexact: Counter,
    pub(crate) partial: Counter,
    /// Blocks that were opened: they were not in memory.
    pub(crate) opens: Counter,
    /// Blocks that answers were given without.
    pub(crate) skipped: Counter,
    /// Queries that would have read more than a query may.
    pub(crate) refused: Counter,
    deletions: Family<Deletion, Counter>,
    /// Of blocks that wait to be fetched, and to be computed.
    pub(crate) turns: TurnMetrics,
    /// Bytes of open blocks.
    open_bytes: Gauge,
    /// Open blocks.
    open_blocks: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            queries: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            blocks: Counter::default(),
            bytes: Counter::default(),
            rows: Counter::default(),
            replans: Counter::default(),
            inexact: Counter::default(),
            partial: Counter::default(),
            opens: Counter::default(),
            skipped: Counter::default(),
            refused: Counter::default(),
            deletions: Family::default(),
            turns: TurnMetrics::default(),
            open_bytes: Gauge::default(),
            open_blocks: Gauge::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier");
        registry.register("queries", "Queries by method and outcome", self.queries.clone());
        registry.register("query_seconds", "How long queries took", self.seconds.clone());
        registry.register("blocks_read", "Blocks that answered a question", self.blocks.clone());
        registry.register("block_bytes_fetched", "Bytes fetched from blocks", self.bytes.clone());
        registry.register("block_rows_decoded", "Rows of blocks that were decoded", self.rows.clone());
        registry.register("replans", "Times a query was planned anew on a newer root", self.replans.clone());
        let help = "Answers that lack cells which could not be asked, as the client allowed";
        registry.register("partial_answers", help, self.partial.clone());
        registry.register("inexact_answers", "Answers marked as inexact", self.inexact.clone());
        registry.register(
            "block_opens",
            "Blocks that were not in memory and were opened",
            self.opens.clone(),
        );
        let help = "Queries that were refused before they read anything, as it would have been more than query_bytes_max";
        registry.register("too_large", help, self.refused.clone());
        let help = "Damaged blocks that answers were given without, as the client allowed";
        registry.register("skipped_blocks", help, self.skipped.clone());
        let help = "Deletions that were created, refused because too many wait, failed, or cancelled";
        registry.register("deletions", help, self.deletions.clone());
        for outcome in ["created", "refused", "failed", "cancelled"] {
            drop(self.deletions.get_or_create(&Deletion { outcome }));
        }
        let help = "Blocks that wait to be fetched, or for a thread to compute what they answer";
        registry.register("turns_waiting", help, self.turns.waiting());
        let help = "Time that blocks waited to be fetched, or for a thread";
        registry.register("turn_wait_seconds", help, self.turns.seconds());
        let help =
            "Blocks that were fetched or computed behind others: their tenant took much more than its share";
        registry.register("turns_behind", help, self.turns.behind());
        registry.register("open_block_bytes", "Memory of open blocks", self.open_bytes.clone());
        registry.register("open_blocks", "Blocks that are open in memory", self.open_blocks.clone());
    }

    /// Counts what became of a deletion.
    pub(crate) fn deletion(&self, outcome: &'static str) {
        self.deletions.get_or_create(&Deletion { outcome }).inc();
    }

    /// Looks at what is open.
    pub(crate) fn open(&self, blocks: &Blocks) {
        self.open_bytes.set(i64::try_from(blocks.bytes()).unwrap_or(i64::MAX));
        self.open_blocks.set(i64::try_from(blocks.len()).unwrap_or(i64::MAX));
    }

    /// Counts one query. `outcome` is `ok` or the code of the error.
    pub(crate) fn count(&self, rpc: &'static str, outcome: &'static str, took: Duration) {
        self.queries.get_or_create(&Query { rpc, outcome }).inc();
        self.seconds.get_or_create(&Rpc { rpc }).observe(took.as_secs_f64());
    }
}
