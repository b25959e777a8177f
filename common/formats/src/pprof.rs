//! pprof (`profile.proto`): bytes to flat arrays that borrow from them.
//!
//! Hand-written walk over varints; source of the format: the public `profile.proto` of the pprof project. Ids, missing
//! references and odd indices are passed on as they are: validation belongs to the distributor.

/// `ValueType`: indices into the string table, as sent (may be negative or out of range).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValueType {
    /// Index of the type.
    pub ty: i64,
    /// Index of the unit.
    pub unit: i64,
}

/// A sample: ranges into the flat arrays of [`Pprof`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// First of its ids in `location_ids`, leaf first.
    pub first_location: u32,
    /// Depth.
    pub location_count: u32,
    /// First of its values in `values`.
    pub first_value: u32,
    /// Number of values.
    pub value_count: u32,
    /// First of its labels in `labels`.
    pub first_label: u32,
    /// Number of labels.
    pub label_count: u32,
}

/// A sample label, indices as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    /// Index of the key.
    pub key: i64,
    /// Index of the string value; 0 = the label is numeric.
    pub str: i64,
    /// Number.
    pub num: i64,
    /// Index of the number's unit.
    pub num_unit: i64,
}

/// A mapping as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct Mapping {
    pub id: u64,
    pub memory_start: u64,
    pub memory_limit: u64,
    pub file_offset: u64,
    pub filename: i64,
    pub build_id: i64,
    pub has_functions: bool,
    pub has_filenames: bool,
    pub has_line_numbers: bool,
    pub has_inline_frames: bool,
}

/// A location as sent; its lines are `lines[first_line .. first_line + line_count]`, leaf first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct Location {
    pub id: u64,
    pub mapping_id: u64,
    pub address: u64,
    pub first_line: u32,
    pub line_count: u32,
    pub is_folded: bool,
}

/// A line as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct Line {
    pub function_id: u64,
    pub line: i64,
}

/// A function as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct Function {
    pub id: u64,
    pub name: i64,
    pub system_name: i64,
    pub filename: i64,
    pub start_line: i64,
}

/// A whole pprof in flat arrays. Reused from profile to profile (`clear` keeps the capacity). Strings are bytes: not
/// checked for UTF-8 here.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct Pprof<'a> {
    pub strings: Vec<&'a [u8]>,
    pub sample_types: Vec<ValueType>,
    pub samples: Vec<Sample>,
    pub location_ids: Vec<u64>,
    pub values: Vec<i64>,
    pub labels: Vec<Label>,
    pub mappings: Vec<Mapping>,
    pub locations: Vec<Location>,
    pub lines: Vec<Line>,
    pub functions: Vec<Function>,
    pub period_type: Option<ValueType>,
    pub period: i64,
    pub time_ns: i64,
    pub duration_ns: i64,
    pub default_sample_type: i64,
    pub comments: Vec<i64>,
}
