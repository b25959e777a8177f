//! What the write-ahead log reports: how far it is on disk, how long that takes, and that it has failed.

use std::sync::Arc;

use hearth_common::error::chain;
use hearth_wal::{GroupWritten, Lsn, WalError, WalEvents};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// How far the log is on disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// All entries up to here are.
    pub(crate) upto: Lsn,
    /// Writing has ended for good.
    pub(crate) failed: Option<Arc<str>>,
}

/// Figures of writing. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct WalTimes {
    write_seconds: Histogram,
    fsync_seconds: Histogram,
    written_bytes: Counter,
}

impl Default for WalTimes {
    fn default() -> Self {
        // 0.1 ms, a good flash disk, to 3 s, a broken one.
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        Self { write_seconds: seconds(), fsync_seconds: seconds(), written_bytes: Counter::default() }
    }
}

impl WalTimes {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_wal");
        let help = "Time to hand a group of entries to the disk, before its fsync";
        registry.register("write_duration_seconds", help, self.write_seconds.clone());
        let help = "Time of the fsync of a group of entries";
        registry.register("fsync_duration_seconds", help, self.fsync_seconds.clone());
        let help = "Bytes written to the write-ahead log and on disk";
        registry.register("written_bytes", help, self.written_bytes.clone());
    }
}

/// Receives what the log reports.
#[derive(Debug)]
pub(crate) struct Reports(pub(crate) watch::Sender<Durable>, pub(crate) WalTimes);

impl WalEvents for Reports {
    fn group(&self, written: GroupWritten) {
        self.1.write_seconds.observe(written.write.as_secs_f64());
        self.1.fsync_seconds.observe(written.sync.as_secs_f64());
        self.1.written_bytes.inc_by(written.bytes);
    }

    fn durable(&self, upto: Lsn) {
        self.0.send_modify(|durable| durable.upto = upto);
    }

    fn failed(&self, error: &WalError) {
        let text: Arc<str> = chain(error).into();
        tracing::error!(error = %text, "the write-ahead log takes nothing more: restart the process");
        self.0.send_modify(|durable| durable.failed = Some(text));
    }
}
