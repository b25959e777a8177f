//! The loop that tends what an ingester leads: cuts, publications, and the log that they release.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::service::{Ingester, TICK};

impl Ingester {
    /// Until the ingester stops. Waiting for the store is work that ends: its client gives up in time.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut stopped = self.stop.subscribe();
        loop {
            if tokio::time::timeout(TICK, stopped.changed()).await.is_ok() {
                return;
            }
            let pulse = &self.common.deps.pulses.publishing;
            let _work = pulse.work();
            let Some(host) = self.host_now() else { continue };
            if self.closed.load(Ordering::Relaxed) {
                continue;
            }
            let stats = host.shared.wal.stats();
            let pressed = stats.bytes > stats.quota_bytes / 2;
            for lead in self.leads() {
                lead.tend(pressed).await;
            }
            // The log's own pulse says whether the disk answers.
            let _waits = pulse.wait();
            if let Err(error) = host.trim().await {
                tracing::warn!(error, "segments of the log were not removed");
            }
        }
    }
}
