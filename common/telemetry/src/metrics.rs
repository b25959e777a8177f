//! The registry of all metrics and its two text formats.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::build::BuildInfo;
use crate::process::ProcessFigures;

/// Content type of the OpenMetrics format.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of the older text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, closed for registration. Clones share.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// An answer to a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposition {
    /// Its content type.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}

impl Metrics {
    /// A registry that has the figures of the process and of the build; roles register theirs in it.
    pub fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessFigures));
        registry.register_collector(Box::new(BuildCollector));
        registry
    }

    /// Closes the registry.
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    /// All metrics in the format that the `Accept` header asks for; the older text format when it does not say.
    pub fn expose(&self, accept: Option<&str>) -> Exposition {
        let mut body = String::with_capacity(16 << 10);
        // Writing to a string fails only if a metric's own encoder does, which ours do not.
        if let Err(error) = prometheus_client::encoding::text::encode(&mut body, &self.0) {
            tracing::error!(%error, "metrics do not encode");
        }
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            return Exposition { content_type: OPENMETRICS_CONTENT_TYPE, body };
        }
        Exposition { content_type: TEXT_CONTENT_TYPE, body: classic(&body) }
    }
}

/// OpenMetrics to the older format: there a counter's family has the name of its samples, with `_total`.
fn classic(open: &str) -> String {
    let mut counters: Vec<&str> = Vec::new();
    for line in open.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.push(name);
        }
    }
    let mut text = String::with_capacity(open.len() + 64);
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((keyword @ ("HELP" | "TYPE"), rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let total = if counters.contains(&name) { "_total" } else { "" };
                let rest =
                    if keyword == "TYPE" && matches!(rest, "info" | "unknown") { "untyped" } else { rest };
                text.push_str(&format!("# {keyword} {name}{total} {rest}\n"));
            }
            _ => {
                // An exemplar follows " # "; the older format has none.
                text.push_str(line.split(" # {").next().unwrap_or(line));
                text.push('\n');
            }
        }
    }
    text
}

/// `pyroscope_build_info` as dashboards look for it.
#[derive(Debug)]
struct BuildCollector;

impl Collector for BuildCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let BuildInfo { version, revision, branch } = BuildInfo::CURRENT;
        let help = "Version of the running program; the value is always 1";
        let gauge = ConstGauge::new(1i64);
        let mut family = encoder.encode_descriptor(
            "pyroscope_build_info",
            help,
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        let labels = [("version", version), ("revision", revision), ("branch", branch)];
        gauge.encode(family.encode_family(&labels)?)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn both_formats_name_counters_as_they_must() {
        let mut registry = Metrics::registry();
        let counter: Counter = Counter::default();
        registry.register("hearth_tests", "Tests", counter.clone());
        counter.inc_by(3);
        let metrics = Metrics::new(registry);
        let open = metrics.expose(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
        assert_eq!(open.content_type, OPENMETRICS_CONTENT_TYPE);
        assert!(open.body.contains("# TYPE hearth_tests counter\nhearth_tests_total 3\n"), "{}", open.body);
        assert!(open.body.ends_with("# EOF\n"));
        let classic = metrics.expose(None);
        assert_eq!(classic.content_type, TEXT_CONTENT_TYPE);
        assert!(
            classic.body.contains("# TYPE hearth_tests_total counter\nhearth_tests_total 3\n"),
            "{}",
            classic.body
        );
        assert!(!classic.body.contains("# EOF"));
        assert!(classic.body.contains("pyroscope_build_info{version=\"0.1.0\""), "{}", classic.body);
        assert!(classic.body.contains("process_resident_memory_bytes "), "{}", classic.body);
        assert!(
            classic.body.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "),
            "{}",
            classic.body
        );
    }
}
