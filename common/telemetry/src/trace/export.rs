//! Spans to whoever collects them, over OTLP. Bounded: what the collector does not take in time is dropped.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hearth_common::secrets::{hide_in, hide_url};
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData,
    SpanExporter,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::TraceContext;
use crate::build::BuildInfo;

/// Spans that wait to be exported; more are dropped.
const WAITING_SPANS_MAX: usize = 8192;
/// Spans of one export.
const BATCH_SPANS_MAX: usize = 512;
/// How often spans are exported.
const EXPORT_EVERY: Duration = Duration::from_secs(2);
/// The longest that an export takes.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that the end of the process waits for what is left.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Where collectors take traces over HTTP.
const HTTP_PATH: &str = "/v1/traces";

static EXPORTING: OnceLock<Exporting> = OnceLock::new();

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf in HTTP.
    Http,
    /// gRPC without TLS.
    Grpc,
}

/// Where spans go, and of whom they are.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOptions {
    /// The collector: `http://host:4318`, or `http://host:4317` for gRPC.
    pub endpoint: String,
    /// How it is spoken with.
    pub protocol: Protocol,
    /// Share of requests without a trace of their own that are sampled, 0 to 1; others are as whoever asks says.
    pub sample_ratio: f64,
    /// What the process is called.
    pub service: String,
    /// Which one it is.
    pub instance: String,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The exporter cannot be made.
    #[error("traces cannot be sent to {endpoint}")]
    Exporter {
        /// Where they should go.
        endpoint: String,
        /// Why not.
        #[source]
        source: ExporterBuildError,
    },
    /// Someone was first.
    #[error("traces are already set up")]
    Again,
}

pub(super) struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    counts: Counts,
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporting")
    }
}

/// The export of spans, until it is dropped.
#[derive(Debug)]
pub struct Traces(());

impl Traces {
    /// Adds its metrics, if spans are exported.
    pub fn register_metrics(registry: &mut Registry) {
        let Some(exporting) = exporting() else { return };
        let help = "Spans that were sent to the collector of traces, by whether it took them";
        registry.register("hearth_trace_spans", help, exporting.counts.0.clone());
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(exporting) = exporting()
            && let Err(error) = exporting.provider.shutdown_with_timeout(STOP_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans may not have been exported");
        }
    }
}

/// Begins to export spans, for the process. Must be called inside a tokio runtime; the result is dropped outside of it.
pub fn start_traces(options: &TraceOptions) -> Result<Traces, TraceError> {
    let fail = |source| TraceError::Exporter { endpoint: hide_url(&options.endpoint), source };
    let builder = opentelemetry_otlp::SpanExporter::builder();
    let exporter = match options.protocol {
        Protocol::Http => {
            let builder = builder.with_http().with_endpoint(http_endpoint(&options.endpoint));
            builder.with_timeout(EXPORT_TIMEOUT).build()
        }
        Protocol::Grpc => {
            builder.with_tonic().with_endpoint(options.endpoint.as_str()).with_timeout(EXPORT_TIMEOUT).build()
        }
    };
    let counts = Counts::new();
    let exporter =
        Counted { exporter: exporter.map_err(fail)?, counts: counts.clone(), failing: AtomicBool::default() };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(EXPORT_EVERY);
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attribute(KeyValue::new("service.instance.id", options.instance.clone()))
        .with_attribute(KeyValue::new("service.version", BuildInfo::CURRENT.version));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio))))
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("hearth");
    EXPORTING.set(Exporting { provider, tracer, counts }).map_err(|_| TraceError::Again)?;
    Ok(Traces(()))
}

/// As the standard says: what names no path is a collector's base.
fn http_endpoint(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match rest.split_once('/') {
        Some((_, path)) if !path.is_empty() => endpoint.to_owned(),
        _ => format!("{}{HTTP_PATH}", endpoint.trim_end_matches('/')),
    }
}

/// The export of this process, if there is one.
pub(super) fn exporting() -> Option<&'static Exporting> {
    EXPORTING.get()
}

impl Exporting {
    /// A span of whoever asks, or of a trace of its own.
    pub(super) fn begin(&self, name: Cow<'static, str>, kind: SpanKind, told: Option<TraceContext>) -> Span {
        let parent = told.map_or_else(Context::new, |told| {
            Context::new().with_remote_span_context(told.span_context(true))
        });
        self.tracer.span_builder(name).with_kind(kind).start_with_context(&self.tracer, &parent)
    }

    /// A span within one of this process.
    pub(super) fn begin_within(&self, name: Cow<'static, str>, kind: SpanKind, parent: TraceContext) -> Span {
        let parent = Context::new().with_remote_span_context(parent.span_context(false));
        self.tracer.span_builder(name).with_kind(kind).start_with_context(&self.tracer, &parent)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone)]
struct Counts(Family<Outcome, Counter>);

impl Counts {
    fn new() -> Self {
        let counts = Self(Family::default());
        counts.add("exported", 0);
        counts.add("failed", 0);
        counts
    }

    fn add(&self, outcome: &'static str, spans: usize) {
        self.0.get_or_create(&Outcome { outcome }).inc_by(spans as u64);
    }
}

/// Counts what is exported, and says when that begins to fail.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    counts: Counts,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Ok(()) => {
                self.counts.add("exported", spans);
                if failed_before {
                    tracing::info!("spans are exported again");
                }
            }
            Err(error) => {
                self.counts.add("failed", spans);
                if !failed_before {
                    let error = hide_in(&error.to_string());
                    tracing::warn!(
                        error,
                        spans,
                        "spans cannot be exported; they are dropped until the collector takes them"
                    );
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_gets_the_path_of_traces() {
        for (endpoint, expect) in [
            ("http://tempo:4318", "http://tempo:4318/v1/traces"),
            ("http://tempo:4318/", "http://tempo:4318/v1/traces"),
            ("https://tempo/otlp/v1/traces", "https://tempo/otlp/v1/traces"),
        ] {
            assert_eq!(http_endpoint(endpoint), expect);
        }
    }
}
