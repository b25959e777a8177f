//! A call to another process for the sake of a request.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind};
use opentelemetry_sdk::trace::Span as OtelSpan;

use super::{TraceContext, export, outcome_of};

/// A call under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Hop {
    traceparent: Option<String>,
    span: Option<OtelSpan>,
}

impl Hop {
    /// A call begins, to a peer, within the request that runs now, if one does.
    pub fn begin(call: &'static str, peer: &str) -> Self {
        let Some(context) = super::current() else { return Self { traceparent: None, span: None } };
        let begin = |exporting: &export::Exporting| {
            exporting.begin_within(Cow::Borrowed(call), SpanKind::Client, context)
        };
        let mut span = export::exporting().map(begin).filter(OtelSpan::is_recording);
        let context = match &mut span {
            Some(span) => {
                span.set_attribute(KeyValue::new("server.address", peer.to_owned()));
                TraceContext::of(span.span_context())
            }
            None => context,
        };
        Self { traceparent: Some(context.to_string()), span }
    }

    /// What the peer is told.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// How it ended: `ok`, or why not in a word.
    pub fn end(mut self, outcome: &'static str) {
        if let Some(span) = &mut self.span {
            outcome_of(span, outcome);
        }
    }
}
