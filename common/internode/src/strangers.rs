//! Peers that are refused: each is counted, and logged once until it is welcome again.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::{Metrics, Stranger};

/// Most peers that are remembered as logged; then all are forgotten.
const LOGGED_MAX: usize = 1024;

/// Counts and logs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    metrics: Metrics,
    logged: Arc<Mutex<BTreeSet<(String, Stranger)>>>,
}

impl Strangers {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, logged: Arc::default() }
    }

    /// `peer`: an IP address or an instance, without what changes at each try.
    pub(crate) fn refuse(&self, peer: &str, stranger: Stranger, why: &str) {
        self.metrics.stranger(stranger);
        let mut logged = self.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        if logged.insert((peer.to_owned(), stranger)) {
            tracing::warn!(
                peer,
                reason = stranger.label(),
                why,
                "peer refused; further tries are not logged"
            );
        }
    }

    pub(crate) fn welcome(&self, peer: &str) {
        self.logged.lock().retain(|(known, _)| known != peer);
    }
}
