//! The trace that a request belongs to: taken from whoever asks (W3C `traceparent`), in every line of the log that the request
//! makes, and passed on to every process that is asked for its sake.
//!
//! A request is a `tracing` span, in which its trace is kept; what runs within it need not know. Only when spans are exported
//! ([`start_traces`]) and this trace is sampled there is a span of OpenTelemetry beside it, which ends with it.

mod context;
mod export;
mod hop;

use std::borrow::Cow;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Status};
use opentelemetry_sdk::trace::Span as OtelSpan;
use tracing::Span;
use tracing::field::Empty;
use tracing_subscriber::registry::{ExtensionsMut, LookupSpan, Registry};

pub use context::TraceContext;
pub use export::{Protocol, TraceError, TraceOptions, Traces, start_traces};
pub use hop::Hop;

/// The header of W3C trace contexts.
pub const TRACEPARENT: &str = "traceparent";

/// What a request's span keeps.
struct Traced {
    context: TraceContext,
    span: Option<OtelSpan>,
}

/// A request begins: the span in which it is handled. `header` gives the request's headers.
pub fn request<'a>(
    name: impl Into<Cow<'static, str>>,
    header: impl FnOnce(&'static str) -> Option<&'a str>,
) -> Span {
    let told = header(TRACEPARENT).and_then(TraceContext::parse);
    let (context, span) = match export::exporting() {
        None => (told.unwrap_or_else(TraceContext::fresh), None),
        Some(exporting) => {
            let span = exporting.begin(name.into(), SpanKind::Server, told);
            (TraceContext::of(span.span_context()), span.is_recording().then_some(span))
        }
    };
    // Of the highest level, so that lines of any level have it.
    let request = tracing::error_span!("request", trace_id = %context.trace_id_hex(), tenant = Empty);
    with_extensions(&request, |mut extensions| extensions.insert(Traced { context, span }));
    request
}

/// Says for whom the request that runs now is.
pub fn set_tenant(tenants: &str) {
    let request = Span::current();
    request.record("tenant", tenants);
    change(&request, |span| span.set_attribute(KeyValue::new("hearth.tenant", tenants.to_owned())));
}

/// Says which route the request that runs now takes: a template, not what was asked.
pub fn set_route(method: &str, route: &str) {
    change(&Span::current(), |span| {
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
    });
}

/// How a request was answered over HTTP.
pub fn set_status(request: &Span, status: u16) {
    change(request, |span| {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
    });
}

/// How a call of another process was answered.
pub fn set_outcome(request: &Span, outcome: &'static str) {
    change(request, |span| outcome_of(span, outcome));
}

fn outcome_of(span: &mut OtelSpan, outcome: &'static str) {
    span.set_attribute(KeyValue::new("hearth.outcome", outcome));
    if outcome != "ok" {
        span.set_status(Status::error(outcome));
    }
}

/// The trace of the request that runs now. Libraries put spans of their own around what runs within it.
pub fn current() -> Option<TraceContext> {
    let mut found = None;
    Span::current().with_subscriber(|(id, dispatch)| {
        let innermost = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id));
        found = innermost.and_then(|span| {
            span.scope().find_map(|span| span.extensions().get::<Traced>().map(|traced| traced.context))
        });
    });
    found
}

fn change(request: &Span, how: impl FnOnce(&mut OtelSpan)) {
    if export::exporting().is_none() {
        return;
    }
    with_extensions(request, |mut extensions| {
        if let Some(span) = extensions.get_mut::<Traced>().and_then(|traced| traced.span.as_mut()) {
            how(span);
        }
    });
}

/// Nothing, where the log takes no spans.
fn with_extensions(span: &Span, use_them: impl FnOnce(ExtensionsMut<'_>)) {
    span.with_subscriber(|(id, dispatch)| {
        if let Some(span) = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id)) {
            use_them(span.extensions_mut());
        }
    });
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_request_keeps_the_trace_of_whoever_asks() {
        let subscriber =
            tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_test_writer());
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(current(), None);
            let told = request("GET /", |name| (name == "traceparent").then_some(PARENT));
            told.in_scope(|| {
                assert_eq!(current().map(|context| context.to_string()).as_deref(), Some(PARENT));
                let _of_a_library = tracing::error_span!("within").entered();
                assert_eq!(Hop::begin("push", "127.0.0.1:1").traceparent(), Some(PARENT));
            });
            assert_eq!(current(), None);
            let fresh = |header| request("GET /", |_| header).in_scope(|| current().unwrap());
            let (one, other) = (fresh(None), fresh(Some("00-xyz")));
            assert_ne!(one.trace_id_hex(), other.trace_id_hex());
        });
    }
}
