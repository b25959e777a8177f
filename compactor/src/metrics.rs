//! What the compactor counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::Collected;

/// Counters of collection; zero from the start.
#[derive(Debug, Default)]
pub struct Metrics {
    runs: Counter,
    failures: Counter,
    expired_blocks: Counter,
    condemned_orphans: Counter,
    deleted_objects: Counter,
    deleted_versions: Counter,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        add("hearth_compactor_runs", "Runs over one tenant that succeeded", &self.runs);
        add("hearth_compactor_run_failures", "Runs over one tenant that failed", &self.failures);
        add("hearth_compactor_expired_blocks", "Blocks removed by retention", &self.expired_blocks);
        add(
            "hearth_compactor_condemned_orphans",
            "Blocks and pages condemned without a root",
            &self.condemned_orphans,
        );
        add("hearth_compactor_deleted_objects", "Objects deleted after their delay", &self.deleted_objects);
        add("hearth_compactor_deleted_versions", "Versions of roots deleted", &self.deleted_versions);
    }

    pub(crate) fn done(&self, collected: &Collected) {
        self.runs.inc();
        self.expired_blocks.inc_by(collected.expired_blocks);
        self.condemned_orphans.inc_by(collected.condemned_orphans);
        self.deleted_objects.inc_by(collected.deleted_objects);
        self.deleted_versions.inc_by(collected.deleted_versions);
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
