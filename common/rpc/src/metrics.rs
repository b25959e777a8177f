//! Metrics of requests, under the reference's names (api-semantics §11).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds; the reference's, so that its dashboards keep their quantiles.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status_code: String,
    ws: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InflightLabels {
    method: String,
    route: String,
}

/// Durations and requests in flight, by route.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    inflight: Family<InflightLabels, Gauge>,
}

impl RequestMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let make: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self { durations: Family::new_with_constructor(make), inflight: Family::default() };
        registry.register(
            "pyroscope_request_duration_seconds",
            "Time in seconds spent on serving requests",
            metrics.durations.clone(),
        );
        registry.register("pyroscope_inflight_requests", "Requests being served", metrics.inflight.clone());
        metrics
    }

    pub(crate) fn start(&self, method: &http::Method, route: &str) -> InFlight {
        let labels = InflightLabels { method: method.to_string(), route: route.to_owned() };
        let gauge = self.inflight.get_or_create(&labels).clone();
        gauge.inc();
        InFlight(gauge)
    }

    pub(crate) fn observe(&self, method: &http::Method, route: &str, status: u16, took: Duration) {
        let labels = RequestLabels {
            method: method.to_string(),
            route: route.to_owned(),
            status_code: status.to_string(),
            ws: "false".to_owned(),
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// Counts a request until it is dropped.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A route as a label: runs of other characters become `_`, lower case (api-semantics §1.2).
pub(crate) fn route_label(path: &str) -> String {
    let mut label = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.ends_with('_') && !label.is_empty() {
            label.push('_');
        }
    }
    let label = label.trim_end_matches('_');
    if label.is_empty() { "root".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_as_dashboards_expect() {
        assert_eq!(route_label("/push.v1.PusherService/Push"), "push_v1_pusherservice_push");
        assert_eq!(route_label("/pyroscope/render"), "pyroscope_render");
        assert_eq!(route_label("/"), "root");
    }
}
