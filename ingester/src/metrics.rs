//! All metrics of an ingester.

mod cells;

use std::time::Duration;

use hearth_telemetry::TurnMetrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::cells::CellMetrics;
use crate::host::{HostMetrics, WalTimes};
use crate::service::Ingester;

type Level = Gauge<i64>;

/// How long publications took: 10 ms to 5 min.
#[derive(Debug, Clone)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.01, 2.0, 16)))
    }
}

/// Counters and levels; cheap to touch.
#[derive(Debug, Clone, Default)]
pub(crate) struct IngesterMetrics {
    pub(crate) records: Counter,
    pub(crate) values: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) series_refused: Counter,
    pub(crate) services_unmeasured: Counter,
    pub(crate) wal_refused: Counter,
    pub(crate) damaged: Counter,
    pub(crate) cuts: Counter,
    pub(crate) publish_failures: Counter,
    pub(crate) unwritable: Counter,
    pub(crate) host: HostMetrics,
    pub(crate) wal: WalTimes,
    /// Of questions that wait to be answered.
    pub(crate) turns: TurnMetrics,
    cells: CellMetrics,
    publish_seconds: Seconds,
    oldest_cut_age: Level,
    wal_quota_bytes: Level,
    wal_reserve_bytes: Level,
    wal_disk_free_bytes: Level,
    wal_failed: Level,
    head_series: Level,
    head_profiles: Level,
    head_bytes: Level,
    wal_bytes: Level,
    wal_waiting_bytes: Level,
    wal_segments: Level,
    remembered: Level,
}

impl IngesterMetrics {
    fn register(&self, registry: &mut Registry) {
        let counters = [
            ("pyroscope_head_profiles_created", "Profiles built into heads", &self.records),
            (
                "pyroscope_head_ingested_sample_values",
                "Values that are not zero, built into heads",
                &self.values,
            ),
            ("hearth_ingester_duplicates", "Pushed records that had been taken before", &self.duplicates),
            ("hearth_ingester_series_refused", "Records refused by the series limit", &self.series_refused),
            (
                "hearth_ingester_services_unmeasured",
                "Records of services beyond the number of which volumes are measured",
                &self.services_unmeasured,
            ),
            (
                "hearth_ingester_wal_refused",
                "Records that the write-ahead log did not take",
                &self.wal_refused,
            ),
            ("hearth_ingester_wal_damage", "Damaged places found in the write-ahead log", &self.damaged),
            ("hearth_ingester_cuts", "Cuts published", &self.cuts),
            (
                "hearth_ingester_publish_failures",
                "Attempts to publish a cut that failed",
                &self.publish_failures,
            ),
            (
                "hearth_ingester_unwritable_records",
                "Records that no block can hold: left out, their bytes kept in the data folder",
                &self.unwritable,
            ),
        ];
        let host = [
            (
                "hearth_cell_appends_without_room",
                "Appends of other members whose entries were left out because the log had no room",
                &self.host.no_room,
            ),
            (
                "hearth_cell_disk_sends_dropped",
                "Appends to members far behind that were dropped because too many waited for the disk",
                &self.host.sends_dropped,
            ),
        ];
        for (name, help, counter) in counters.into_iter().chain(host) {
            registry.register(name, help, counter.clone());
        }
        self.register_levels(registry);
        let help = "Time to publish a cut: its blocks and the commit of the root, with all attempts";
        registry.register("hearth_ingester_publish_duration_seconds", help, self.publish_seconds.0.clone());
        let help = "Questions that wait for a thread to answer them";
        registry.register("hearth_ingester_turns_waiting", help, self.turns.waiting());
        let help = "Time that questions waited for a thread to answer them";
        registry.register("hearth_ingester_turn_wait_seconds", help, self.turns.seconds());
        let help = "Questions that were answered behind others: their tenant took much more than its share";
        registry.register("hearth_ingester_turns_behind", help, self.turns.behind());
        self.wal.register(registry);
        self.cells.register(registry);
    }

    fn register_levels(&self, registry: &mut Registry) {
        let levels = [
            ("pyroscope_tsdb_head_series", "Active series", &self.head_series),
            ("pyroscope_head_profiles", "Records in heads", &self.head_profiles),
            ("hearth_ingester_head_bytes", "Memory of heads", &self.head_bytes),
            ("hearth_wal_bytes", "Bytes of the write-ahead log", &self.wal_bytes),
            ("hearth_wal_waiting_bytes", "Bytes accepted and not yet on disk", &self.wal_waiting_bytes),
            ("hearth_wal_segments", "Segments of the write-ahead log", &self.wal_segments),
            ("hearth_wal_quota_bytes", "Bytes that the write-ahead log may have", &self.wal_quota_bytes),
            ("hearth_wal_reserve_bytes", "Bytes that stay free on its disk", &self.wal_reserve_bytes),
            (
                "hearth_wal_disk_free_bytes",
                "Bytes free on the disk of the write-ahead log when it was written last",
                &self.wal_disk_free_bytes,
            ),
            (
                "hearth_wal_failed",
                "Whether a write or fsync failed: nothing is taken until a restart",
                &self.wal_failed,
            ),
            (
                "hearth_ingester_oldest_cut_age_seconds",
                "How long the oldest cut that is not published waits; 0 if none does",
                &self.oldest_cut_age,
            ),
            ("hearth_ingester_remembered_pushes", "Records whose retry would count once", &self.remembered),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
    }

    /// A cut is published.
    pub(crate) fn published(&self, took: Duration) {
        self.cuts.inc();
        self.publish_seconds.0.observe(took.as_secs_f64());
    }

    /// Reads the levels.
    pub(crate) fn update(&self, ingester: &Ingester) {
        let (mut series, mut profiles, mut bytes) = (0, 0, 0);
        let now = ingester.now();
        let mut oldest_cut = now;
        for tenant in ingester.leads().iter().flat_map(|lead| lead.all_tenants()) {
            series += tenant.active_series();
            let state = tenant.state.read();
            oldest_cut = state.sealed.iter().fold(oldest_cut, |oldest, sealed| oldest.min(sealed.at));
            for head in state.sealed.iter().map(|sealed| &sealed.head).chain([&state.live]) {
                let sizes = head.sizes();
                profiles += sizes.records;
                bytes += sizes.bytes;
            }
        }
        self.head_series.set(series as i64);
        self.head_profiles.set(profiles as i64);
        self.head_bytes.set(bytes as i64);
        self.oldest_cut_age.set((now.0 - oldest_cut.0) / 1_000_000_000);
        let Some(host) = ingester.host_now() else { return };
        let stats = host.shared.wal.stats();
        self.wal_bytes.set(stats.bytes as i64);
        self.wal_waiting_bytes.set(stats.waiting_bytes as i64);
        self.wal_segments.set(stats.segments as i64);
        self.wal_quota_bytes.set(stats.quota_bytes as i64);
        self.wal_reserve_bytes.set(stats.reserve_bytes as i64);
        self.wal_disk_free_bytes.set(stats.free_bytes as i64);
        self.wal_failed.set(i64::from(stats.failed));
        let statuses = host.cells().iter().map(|cell| (cell.id.clone(), cell.status())).collect::<Vec<_>>();
        self.remembered.set(statuses.iter().map(|(_, status)| status.rids as i64).sum());
        self.cells.update(&statuses);
    }
}

impl Ingester {
    /// Registers the metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.common.metrics.register(registry);
    }
}
