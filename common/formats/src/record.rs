//! The normalised record: one profile of one series, self-contained, as distributors send it and the WAL keeps it.
//!
//! Written down in `docs/formats/record.md`. A header that backups can read alone, then labels, symbols and rows.

use hearth_common::{Rid, TimestampNs};
use hearth_model::spans::{SpanId, TraceId};

/// The part that is readable without the payload (design: replication B1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// The tenant, already validated by the distributor.
    pub tenant: &'a str,
    /// Identity of the record.
    pub rid: Rid,
    /// Hash of the service name.
    pub service_hash: u64,
    /// Hash of the label set.
    pub series_hash: u64,
    /// Time of the profile.
    pub time: TimestampNs,
}

/// A mapping; strings by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mapping {
    /// File name.
    pub file: u32,
    /// Build id.
    pub build_id: u32,
    /// Address range and offset; zero when the mapping is symbolised.
    pub start: u64,
    /// End of the range.
    pub limit: u64,
    /// Offset in the file.
    pub offset: u64,
}

/// A function; strings by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Function {
    /// Name.
    pub name: u32,
    /// System name.
    pub system_name: u32,
    /// File name.
    pub file: u32,
    /// Line of its start.
    pub start_line: i64,
}

/// One line of a location. Lines stand leaf first, as in pprof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Line {
    /// Index of the function.
    pub function: u32,
    /// Line number.
    pub line: i64,
}

/// A location: `lines[first_line .. first_line + line_count]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Location {
    /// 0 = none, else index of the mapping + 1.
    pub mapping_plus_1: u32,
    /// Zero unless the location has no lines.
    pub address: u64,
    /// Index of its first line.
    pub first_line: u32,
    /// Number of its lines.
    pub line_count: u32,
}

/// A sample that belongs to a span; its values are also part of the stack's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanRow {
    /// Index of the stack.
    pub stack: u32,
    /// Span.
    pub span: SpanId,
    /// Trace, if known.
    pub trace: Option<TraceId>,
}

/// A whole record in flat arrays: what the distributor encodes, and what the ingester decodes into (reused from record to
/// record, so decoding allocates nothing once warm). Strings borrow from the record's bytes.
///
/// Invariants that `decode` checks: all indices in range; `strings[0] == ""`; labels sorted, names unique; each stack once;
/// values ≥ 0 and for each stack not all zero; lengths bounded.
#[derive(Debug, Default)]
pub struct Record<'a> {
    /// Label set as sent after relabelling: sorted, with `__name__` and `service_name`, without derived labels.
    pub labels: Vec<(&'a str, &'a str)>,
    /// (type, unit) of each value column.
    pub sample_types: Vec<(&'a str, &'a str)>,
    /// Type and unit of the period; empty when absent.
    pub period_type: (&'a str, &'a str),
    /// Period.
    pub period: i64,
    /// Duration in nanoseconds.
    pub duration_ns: i64,
    /// Annotations.
    pub annotations: Vec<(&'a str, &'a str)>,
    /// Strings of the symbols.
    pub strings: Vec<&'a str>,
    /// Mappings.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Lines of all locations.
    pub lines: Vec<Line>,
    /// Locations.
    pub locations: Vec<Location>,
    /// End of each stack in `frames`; stack i is `frames[ends[i-1]..ends[i]]`.
    pub stack_ends: Vec<u32>,
    /// Location indices of all stacks, **root first**.
    pub frames: Vec<u32>,
    /// `values[stack * sample_types.len() + type]`.
    pub values: Vec<i64>,
    /// Rows by span.
    pub spans: Vec<SpanRow>,
    /// `span_values[row * sample_types.len() + type]`.
    pub span_values: Vec<i64>,
}
