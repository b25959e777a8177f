//! Metrics of asking other queriers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// All of them. Clones share the figures.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    /// Queries that were shared.
    pub(super) queries: Counter,
    calls: Family<Outcome, Counter>,
    /// Parts that were asked for again while a peer was late.
    pub(super) hedges: Counter,
    /// Parts that were read here although they are another's.
    pub(super) local_parts: Counter,
    /// Blocks that peers answered.
    pub(super) blocks: Counter,
    /// Bytes that they fetched for it.
    pub(super) block_bytes: Counter,
    /// Bytes of their answers.
    pub(super) answer_bytes: Counter,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier_share");
        registry.register("queries", "Queries that other queriers read blocks for", self.queries.clone());
        let help = "Calls to other queriers, by how they ended; late: somebody else was faster; crowded: not made, for \
                    there are too many";
        registry.register("calls", help, self.calls.clone());
        let help = "Parts of queries that were asked for again because their querier was late";
        registry.register("hedges", help, self.hedges.clone());
        let help = "Parts of queries that were read here because their querier was late or failed";
        registry.register("local_parts", help, self.local_parts.clone());
        registry.register("blocks", "Blocks that other queriers answered", self.blocks.clone());
        let help = "Bytes that other queriers fetched from blocks for queries of this one";
        registry.register("block_bytes_fetched", help, self.block_bytes.clone());
        registry.register("answer_bytes", "Bytes of answers of other queriers", self.answer_bytes.clone());
    }

    /// `answered`, `late`, `crowded`, or the word of an error.
    pub(super) fn called(&self, outcome: &'static str) {
        self.calls.get_or_create(&Outcome { outcome }).inc();
    }
}
