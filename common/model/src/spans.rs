//! Span and trace ids: how they are read from text, and the filter that selects samples by them.

/// A span id as stored: the 8 bytes of the 16 hex digits read little-endian; only equality matters.
pub type SpanId = u64;
/// A trace id: the 16 bytes of 32 hex digits.
pub type TraceId = [u8; 16];

/// Selects samples by span or by trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanFilter {
    /// Samples of any of these spans (sorted).
    Spans(Vec<SpanId>),
    /// Samples of any of these traces (sorted).
    Traces(Vec<TraceId>),
}

impl SpanFilter {
    /// Whether a sample with this span and trace is selected.
    pub fn selects(&self, span: SpanId, trace: Option<&TraceId>) -> bool {
        match self {
            Self::Spans(spans) => spans.binary_search(&span).is_ok(),
            Self::Traces(traces) => trace.is_some_and(|t| traces.binary_search(t).is_ok()),
        }
    }
}

/// Reads 16 hex digits; `None` when the text is not that.
pub fn parse_span_id(text: &str) -> Option<SpanId> {
    hex::<8>(text).map(u64::from_le_bytes)
}

/// Reads 32 hex digits; `None` when the text is not that.
pub fn parse_trace_id(text: &str) -> Option<TraceId> {
    hex::<16>(text)
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0u8; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(out)
}
