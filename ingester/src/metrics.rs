//! All metrics of an ingester.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::host::HostMetrics;
use crate::service::Ingester;

type Level = Gauge<i64>;

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
    pub(crate) host: HostMetrics,
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
        let levels = [
            ("pyroscope_tsdb_head_series", "Active series", &self.head_series),
            ("pyroscope_head_profiles", "Records in heads", &self.head_profiles),
            ("hearth_ingester_head_bytes", "Memory of heads", &self.head_bytes),
            ("hearth_wal_bytes", "Bytes of the write-ahead log", &self.wal_bytes),
            ("hearth_wal_waiting_bytes", "Bytes accepted and not yet on disk", &self.wal_waiting_bytes),
            ("hearth_wal_segments", "Segments of the write-ahead log", &self.wal_segments),
            ("hearth_ingester_remembered_pushes", "Records whose retry would count once", &self.remembered),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
    }

    /// Reads the levels.
    pub(crate) fn update(&self, ingester: &Ingester) {
        let (mut series, mut profiles, mut bytes) = (0, 0, 0);
        for tenant in ingester.leads().iter().flat_map(|lead| lead.all_tenants()) {
            series += tenant.active_series();
            let state = tenant.state.read();
            for head in state.sealed.iter().map(|sealed| &sealed.head).chain([&state.live]) {
                let sizes = head.sizes();
                profiles += sizes.records;
                bytes += sizes.bytes;
            }
        }
        self.head_series.set(series as i64);
        self.head_profiles.set(profiles as i64);
        self.head_bytes.set(bytes as i64);
        let Some(host) = ingester.host_now() else { return };
        let stats = host.shared.wal.stats();
        self.wal_bytes.set(stats.bytes as i64);
        self.wal_waiting_bytes.set(stats.waiting_bytes as i64);
        self.wal_segments.set(stats.segments as i64);
        self.remembered.set(host.cells().iter().map(|cell| cell.status().rids as i64).sum());
    }
}

impl Ingester {
    /// Registers the metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.common.metrics.register(registry);
    }
}
