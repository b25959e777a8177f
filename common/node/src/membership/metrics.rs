//! What a membership counts.

use hearth_cluster::roster::Note;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Zero from the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// The newest roster that is known here.
    pub(super) roster_version: Gauge,
    changes: Counter,
    failures: Counter,
    note_count: Gauge,
    /// What the planner said last.
    pub(super) notes: Mutex<Vec<Note>>,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_membership");
        registry.register(
            "roster_version",
            "Version of the roster that this process knows",
            self.roster_version.clone(),
        );
        registry.register("changes", "Changes of the roster that this process made", self.changes.clone());
        let help = "Times that this process could not change the roster";
        registry.register("change_failures", help, self.failures.clone());
        registry.register(
            "notes",
            "What the planner waits for or warns of; see /ring",
            self.note_count.clone(),
        );
    }

    pub(super) fn changed(&self, steps: usize) {
        self.changes.inc_by(steps as u64);
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// Keeps what the planner says; new notes are logged.
    pub(super) fn noted(&self, notes: Vec<Note>) {
        let mut before = self.notes.lock();
        for note in notes.iter().filter(|note| !before.contains(note)) {
            tracing::warn!(%note, "the planner of the roster says");
        }
        self.note_count.set(i64::try_from(notes.len()).unwrap_or(i64::MAX));
        *before = notes;
    }
}
