//! Metrics of asking cells.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    outcome: &'static str,
}

/// All of them. Clones share the figures.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    fetches: Family<FetchLabels, Counter>,
    /// Rounds over all members of a cell that found nobody who answers.
    pub(super) waits: Counter,
    /// Members that were asked because another one was silent.
    pub(super) silences: Counter,
    /// Newer rosters that answers spoke of.
    pub(super) rosters: Counter,
    /// Cells that answers are without.
    pub(super) left_out: Counter,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier_cells");
        registry.register("fetches", "Requests to ingesters, by how they ended", self.fetches.clone());
        let help = "Rounds in which no member of a cell answered, as in an election";
        registry.register("election_waits", help, self.waits.clone());
        registry.register("silences", "Requests that were not answered soon", self.silences.clone());
        registry.register("newer_rosters", "Times that ingesters had a newer roster", self.rosters.clone());
        registry.register("left_out", "Cells that answers were given without", self.left_out.clone());
    }

    /// `answered`, `not_here`, `need_fresh`, `dropped`, or the word of a failed call.
    pub(super) fn fetched(&self, outcome: &'static str) {
        self.fetches.get_or_create(&FetchLabels { outcome }).inc();
    }
}
