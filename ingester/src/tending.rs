//! Tends what an ingester leads: the loop of cuts, publications, and the log that they release; and all of it at once, when asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::service::{Ingester, TICK};

impl Ingester {
    /// Publishes all heads, or says what is not published within `flush_timeout`: that stays in the log and is tried again. A
    /// store that is away must not keep a process from handing over and closing its log.
    pub(crate) async fn flush_in_time(&self) -> Result<(), String> {
        let limit = self.common.options.flush_timeout;
        let flushed = tokio::time::timeout(limit, self.flush()).await;
        flushed.unwrap_or_else(|_| Err(self.late(limit)))
    }

    /// What a flush has not published in time, for people.
    fn late(&self, limit: Duration) -> String {
        let limit = format!("not within {limit:?} (ingester.flush_timeout)");
        if self.host_now().is_none() {
            return format!("{limit}: the write-ahead log is still being read");
        }
        let open: Vec<String> = self.leads().iter().filter_map(|lead| lead.unpublished()).collect();
        match open.is_empty() {
            true => format!("{limit}: what is published is still in the log"),
            false => format!("{limit}: {}. It stays in the log and is published later", open.join("; ")),
        }
    }

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
