//! What all parts of an ingester share: its settings, its surroundings, and what it must say about itself.

use std::sync::Arc;

use hearth_common::TimestampNs;
use parking_lot::Mutex;

use crate::metrics::IngesterMetrics;
use crate::options::{IngesterDeps, IngesterOptions};
use crate::planted::Planted;
use crate::state_dir::StateDir;

/// Shared by the ingester and all its leads.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) options: IngesterOptions,
    pub(crate) deps: IngesterDeps,
    pub(crate) dir: Arc<StateDir>,
    pub(crate) metrics: IngesterMetrics,
    /// Why answers may miss something.
    pub(crate) inexact: Mutex<Option<String>>,
    pub(crate) planted: Planted,
}

impl Common {
    pub(crate) fn now(&self) -> TimestampNs {
        self.deps.clock.now()
    }

    /// Keeps the bytes of a record that cannot be read or built: the log's segment goes when its other entries are
    /// published.
    pub(crate) fn keep_aside(&self, bytes: &[u8]) {
        if let Err(error) = self.dir.keep_aside(bytes) {
            tracing::error!(%error, "a record that could not be built was not kept");
        }
    }

    /// Says that other members of the cells bring back what is damaged here: answers will not miss it.
    pub(crate) fn note_damage(&self, text: &str) {
        self.metrics.damaged.inc();
        tracing::warn!(
            damage = text,
            "the write-ahead log is damaged: the other members of its cells repair it"
        );
    }

    /// Marks answers as possibly incomplete, also in later lives.
    pub(crate) fn report_damage(&self, text: &str) {
        self.metrics.damaged.inc();
        if let Err(error) = self.dir.report_damage(text) {
            tracing::error!(%error, "damage could not be written down");
        }
        let mut inexact = self.inexact.lock();
        match &mut *inexact {
            Some(known) if known.contains(text) => {}
            Some(known) => known.push_str(&format!("; {text}")),
            none => *none = Some(text.to_owned()),
        }
    }
}
