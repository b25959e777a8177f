//! The normalised record: one profile of one series, self-contained, as distributors send it and the WAL keeps it.
//!
//! Written down in `docs/formats/record.md`. A header that backups can read alone, then labels, symbols and rows.

mod decode;
mod encode;

use hearth_common::{Rid, TimestampNs};
use hearth_model::spans::{SpanId, TraceId};

pub use decode::{decode, peek};
pub use encode::encode;

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
/// Invariants that `decode` checks: all indices in range; `strings[0] == ""`; labels sorted, names unique; values ≥ 0;
/// lengths bounded. That each stack stands once and has a value is the encoder's duty; readers must not rely on it.
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

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"HREC";
/// Version of the format that is written.
pub const VERSION: u8 = 1;
/// Bytes of the header before the tenant.
pub(crate) const HEADER_BYTES: usize = 56;
/// Offset from which the checksum counts.
pub(crate) const CRC_FROM: usize = 16;
/// Largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
/// Most frames of all stacks together: stacks share prefixes, so they are not bounded by the record's bytes.
pub const FRAMES_MAX: usize = 64 << 20;
/// Most value columns.
pub const SAMPLE_TYPES_MAX: usize = 64;

/// The bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the magic of a record.
    #[error("no record begins here")]
    Magic,
    /// Written by a later version.
    #[error("record has version {0}, this is version {VERSION}")]
    Version(u8),
    /// Shorter than it says.
    #[error("record is cut off: {have} of {want} bytes")]
    Truncated {
        /// Bytes given.
        have: usize,
        /// Bytes needed.
        want: usize,
    },
    /// The checksum does not fit.
    #[error("checksum of the record does not fit")]
    Checksum,
    /// A count, an index or a text is wrong, although the checksum fits.
    #[error("record is malformed: {0}")]
    Malformed(&'static str),
    /// More than the format can hold.
    #[error("profile does not fit in a record: {0}")]
    TooLarge(&'static str),
}

impl hearth_common::Classify for RecordError {
    fn kind(&self) -> hearth_common::ErrorKind {
        match self {
            Self::TooLarge(_) => hearth_common::ErrorKind::InvalidArgument,
            _ => hearth_common::ErrorKind::DataLoss,
        }
    }
}

impl<'a> Record<'a> {
    /// Empties all arrays; keeps their capacity.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.sample_types.clear();
        self.period_type = ("", "");
        self.period = 0;
        self.duration_ns = 0;
        self.annotations.clear();
        self.strings.clear();
        self.mappings.clear();
        self.functions.clear();
        self.lines.clear();
        self.locations.clear();
        self.stack_ends.clear();
        self.frames.clear();
        self.values.clear();
        self.spans.clear();
        self.span_values.clear();
    }

    /// The same arrays, emptied, for bytes of another lifetime: nothing is allocated again.
    pub fn recycle<'b>(mut self) -> Record<'b> {
        self.clear();
        // Collecting an emptied vector into one of the same layout reuses its allocation.
        let pairs =
            |v: Vec<(&'a str, &'a str)>| v.into_iter().map(|_| -> (&'b str, &'b str) { ("", "") }).collect();
        Record {
            labels: pairs(self.labels),
            sample_types: pairs(self.sample_types),
            annotations: pairs(self.annotations),
            strings: self.strings.into_iter().map(|_| -> &'b str { "" }).collect(),
            mappings: self.mappings,
            functions: self.functions,
            lines: self.lines,
            locations: self.locations,
            stack_ends: self.stack_ends,
            frames: self.frames,
            values: self.values,
            spans: self.spans,
            span_values: self.span_values,
            ..Record::default()
        }
    }

    /// The frames of a stack, root first.
    pub fn stack(&self, at: usize) -> &[u32] {
        let start = if at == 0 { 0 } else { self.stack_ends[at - 1] as usize };
        &self.frames[start..self.stack_ends[at] as usize]
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests;
