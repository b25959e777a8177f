//! Limits as metrics, under the names of the reference's overrides exporter (api-semantics §11). Durations are in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hearth_common::TenantLimits;
use hearth_settings::TenantOverrides;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Tenants of the overrides file that are told apart; every process tells of them, so they are bounded.
const TENANTS_MAX: usize = 500;

type Level = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAll {
    limit_name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    limit_name: &'static str,
    tenant: Arc<str>,
}

/// What is in force.
#[derive(Debug, Default)]
pub(crate) struct LimitMetrics {
    defaults: Family<OfAll, Level>,
    overrides: Family<OfTenant, Level>,
}

impl LimitMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Limits of tenants that the overrides file does not name; durations in ns";
        registry.register("pyroscope_limits_defaults", help, self.defaults.clone());
        let help = "Limits of tenants that the overrides file names; durations in ns";
        registry.register("pyroscope_limits_overrides", help, self.overrides.clone());
    }

    /// Takes the limits that are in force now.
    pub(crate) fn set(&self, limits: &TenantOverrides) {
        for (limit_name, value) in figures(limits.default_limits()) {
            self.defaults.get_or_create(&OfAll { limit_name }).set(value);
        }
        self.overrides.clear();
        for (tenant, limits) in limits.named().take(TENANTS_MAX) {
            let tenant: Arc<str> = Arc::from(tenant);
            for (limit_name, value) in figures(limits) {
                let label = OfTenant { limit_name, tenant: Arc::clone(&tenant) };
                self.overrides.get_or_create(&label).set(value);
            }
        }
    }
}

fn figures(limits: &TenantLimits) -> [(&'static str, f64); 13] {
    let ns = |duration: Duration| duration.as_nanos() as f64;
    [
        ("ingestion_rate_mb", limits.ingestion_rate_mb),
        ("ingestion_burst_size_mb", limits.ingestion_burst_size_mb),
        ("max_global_series_per_tenant", limits.max_global_series_per_tenant as f64),
        ("max_series_per_tenant", limits.max_local_series_per_tenant as f64),
        ("max_label_name_length", limits.max_label_name_length as f64),
        ("max_label_value_length", limits.max_label_value_length as f64),
        ("max_label_names_per_series", limits.max_label_names_per_series as f64),
        ("max_sessions_per_series", f64::from(limits.max_sessions_per_series)),
        ("max_query_lookback", ns(limits.max_query_lookback.0)),
        ("max_query_length", ns(limits.max_query_length.0)),
        ("max_query_parallelism", f64::from(limits.max_query_parallelism)),
        ("max_flamegraph_nodes_default", limits.max_flamegraph_nodes_default as f64),
        ("max_flamegraph_nodes_max", limits.max_flamegraph_nodes_max as f64),
    ]
}
