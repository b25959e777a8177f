//! The trace of a request, from process to process.

use hearth_telemetry::trace::{self, Hop, TRACEPARENT};
use tonic::metadata::MetadataMap;
use tracing::Span;

/// Tells the peer which trace a call belongs to, if it belongs to one.
pub(crate) fn told(hop: &Hop, metadata: &mut MetadataMap) {
    if let Some(value) = hop.traceparent().and_then(|told| told.parse().ok()) {
        metadata.insert(TRACEPARENT, value);
    }
}

/// The span in which a call is answered. What is asked for no request, such as how an ingester is, has no trace.
pub(crate) fn asked(call: &'static str, metadata: &MetadataMap) -> Span {
    match metadata.get(TRACEPARENT).and_then(|value| value.to_str().ok()) {
        Some(told) => trace::request(call, |_| Some(told)),
        None => Span::none(),
    }
}
