//! The header `traceparent` (W3C Trace Context): which trace, which span of it, whether it is sampled.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The version that is written; of later ones the same four parts are read.
const VERSION: &str = "00";
/// A version that never is.
const VERSION_NEVER: &str = "ff";
/// Bytes of a header of this version.
const HEADER_BYTES: usize = 55;

/// A trace, and the span in it that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// What a header says; `None` if it is not what it must be, which begins a trace of its own.
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim_matches([' ', '\t']);
        let later = header.len() > HEADER_BYTES;
        if !header.is_ascii() || header.len() < HEADER_BYTES {
            return None;
        }
        let (version, trace_id) = (&header[..2], &header[3..35]);
        let (span_id, flags) = (&header[36..52], &header[53..55]);
        let dashes = [2, 35, 52].iter().all(|at| header.as_bytes()[*at] == b'-');
        let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !dashes || ![version, trace_id, span_id, flags].into_iter().all(hex) || version == VERSION_NEVER {
            return None;
        }
        if later && (version == VERSION || header.as_bytes()[HEADER_BYTES] != b'-') {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace_id, 16).ok()?,
            span_id: u64::from_str_radix(span_id, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// A trace of its own, which nobody samples: for the log only.
    pub(crate) fn fresh() -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|key: usize| KEYS[key].hash_one(count));
        // Zero would be no id.
        Self { trace_id: (u128::from(high) << 64) | u128::from(low | 1), span_id: high | 1, flags: 0 }
    }

    pub(crate) fn of(span: &SpanContext) -> Self {
        Self {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            flags: span.trace_flags().to_u8(),
        }
    }

    pub(crate) fn span_context(self, remote: bool) -> SpanContext {
        let (trace_id, span_id) = (TraceId::from(self.trace_id), SpanId::from(self.span_id));
        SpanContext::new(trace_id, span_id, TraceFlags::new(self.flags), remote, TraceState::default())
    }

    /// The id of the trace, as backends show it.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expect: Option<&str>) {
        let parsed = TraceContext::parse(header).map(|context| context.to_string());
        assert_eq!(parsed.as_deref(), expect, "{header}");
    }

    #[test]
    fn headers_are_read_as_the_standard_says() {
        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        check(GOOD, Some(GOOD));
        check(
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\t",
            Some(&GOOD.replace("-01", "-00")),
        );
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later", Some(GOOD));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn fresh_traces_differ_and_are_valid() {
        let [one, other] = [TraceContext::fresh(), TraceContext::fresh()];
        assert_ne!(one.trace_id, other.trace_id);
        assert_eq!(TraceContext::parse(&one.to_string()), Some(one));
    }
}
