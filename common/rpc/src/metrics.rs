//! Metrics of requests, under the reference's names (api-semantics §11).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::server::CONNECTIONS_MAX;
use crate::sizes::counted;

/// Seconds; the reference's, so that its dashboards keep their quantiles.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Arc<str>,
    status_code: u16,
    ws: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InflightLabels {
    method: &'static str,
    route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    protocol: &'static str,
}

type Sizes = Family<InflightLabels, Histogram, fn() -> Histogram>;

/// Durations and requests in flight by route, and open connections.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    inflight: Family<InflightLabels, Gauge>,
    received_bytes: Sizes,
    sent_bytes: Sizes,
    connections: Gauge,
}

impl RequestMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let make: fn() -> Histogram = || Histogram::new(BUCKETS);
        // 4 B to 1 GiB, the reference's.
        let sizes: fn() -> Histogram = || Histogram::new(exponential_buckets(4.0, 4.0, 15));
        let connections: Family<ConnectionLabels, Gauge> = Family::default();
        let http = ConnectionLabels { protocol: "http" };
        let metrics = Self {
            durations: Family::new_with_constructor(make),
            inflight: Family::default(),
            received_bytes: Family::new_with_constructor(sizes),
            sent_bytes: Family::new_with_constructor(sizes),
            connections: connections.get_or_create(&http).clone(),
        };
        registry.register(
            "pyroscope_request_duration_seconds",
            "Time in seconds spent on serving requests",
            metrics.durations.clone(),
        );
        registry.register("pyroscope_inflight_requests", "Requests being served", metrics.inflight.clone());
        let help = "Bytes of the bodies of requests, as sent";
        registry.register("pyroscope_request_message_bytes", help, metrics.received_bytes.clone());
        let help = "Bytes of the bodies of answers, as sent";
        registry.register("pyroscope_response_message_bytes", help, metrics.sent_bytes.clone());
        registry.register("pyroscope_tcp_connections", "Open connections", connections);
        let limit: Family<ConnectionLabels, Gauge> = Family::default();
        limit.get_or_create(&http).set(CONNECTIONS_MAX as i64);
        registry.register("pyroscope_tcp_connections_limit", "Most connections at once", limit);
        metrics
    }

    pub(crate) fn start(&self, method: &http::Method, route: &RouteLabel) -> InFlight {
        let labels = InflightLabels { method: method_label(method), route: Arc::clone(&route.0) };
        InFlight::count(self.inflight.get_or_create(&labels).clone())
    }

    pub(crate) fn connection(&self) -> InFlight {
        InFlight::count(self.connections.clone())
    }

    /// Counts the bytes of a request, and those of its answer once they are sent.
    pub(crate) fn sizes(
        &self,
        method: &http::Method,
        route: &RouteLabel,
        received: usize,
        answer: Body,
    ) -> Body {
        let labels = InflightLabels { method: method_label(method), route: Arc::clone(&route.0) };
        self.received_bytes.get_or_create(&labels).observe(received as f64);
        counted(answer, self.sent_bytes.get_or_create(&labels).clone())
    }

    pub(crate) fn observe(&self, method: &http::Method, route: &RouteLabel, status: u16, took: Duration) {
        let (method, route) = (method_label(method), Arc::clone(&route.0));
        let labels = RequestLabels { method, route, status_code: status, ws: "false" };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// Clients may send any word as a method; only these become labels.
fn method_label(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        http::Method::HEAD => "HEAD",
        http::Method::OPTIONS => "OPTIONS",
        http::Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// Counts a request until it is dropped.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl InFlight {
    fn count(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

/// A route as a label: runs of other characters become `_`, lower case (api-semantics §1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteLabel(Arc<str>);

impl RouteLabel {
    /// Of a path that is known to exist: a template, never what a client sent.
    pub(crate) fn of_path(path: &str) -> Self {
        let mut label = String::with_capacity(path.len());
        for c in path.chars() {
            if c.is_ascii_alphanumeric() {
                label.push(c.to_ascii_lowercase());
            } else if !label.ends_with('_') && !label.is_empty() {
                label.push('_');
            }
        }
        let label = label.trim_end_matches('_');
        Self(Arc::from(if label.is_empty() { "root" } else { label }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Shared by all paths that nobody serves.
    pub(crate) fn not_found() -> Self {
        Self(Arc::from("notfound"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_as_dashboards_expect() {
        let label = |path: &str| RouteLabel::of_path(path).0.to_string();
        assert_eq!(label("/push.v1.PusherService/Push"), "push_v1_pusherservice_push");
        assert_eq!(label("/pyroscope/render"), "pyroscope_render");
        assert_eq!(label("/"), "root");
    }
}
