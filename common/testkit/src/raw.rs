//! A pprof message with public fields and its bytes: for tests that need odd ids, indices, orders or encodings.

use hearth_formats::pprof::{Function, Label, Line, Mapping, Pprof, ValueType};

use crate::wire;

/// A sample.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct RawSample {
    pub location_ids: Vec<u64>,
    pub values: Vec<i64>,
    pub labels: Vec<Label>,
}

/// A location with its own lines.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct RawLocation {
    pub id: u64,
    pub mapping_id: u64,
    pub address: u64,
    pub lines: Vec<Line>,
    pub is_folded: bool,
}

/// A profile: whatever the fields say, nothing is checked.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are those of profile.proto")]
pub struct RawProfile {
    pub sample_types: Vec<ValueType>,
    pub samples: Vec<RawSample>,
    pub mappings: Vec<Mapping>,
    pub locations: Vec<RawLocation>,
    pub functions: Vec<Function>,
    pub strings: Vec<Vec<u8>>,
    pub drop_frames: i64,
    pub keep_frames: i64,
    pub time_ns: i64,
    pub duration_ns: i64,
    pub period_type: Option<ValueType>,
    pub period: i64,
    pub comments: Vec<i64>,
    pub default_sample_type: i64,
}

/// How a profile is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Whether repeated numbers are packed.
    pub packed: bool,
    /// Whether the string table stands first instead of after the functions.
    pub strings_first: bool,
    /// Whether fields that profile.proto does not have stand in between.
    pub unknown_fields: bool,
}

impl Default for Encoding {
    fn default() -> Self {
        Self { packed: true, strings_first: false, unknown_fields: false }
    }
}

impl RawProfile {
    /// The bytes as an ordinary encoder writes them.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(Encoding::default())
    }

    /// The bytes in an encoding that a decoder must understand, too.
    pub fn encode_as(&self, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::new();
        let strings =
            |out: &mut Vec<u8>| self.strings.iter().for_each(|text| wire::bytes(out, 6, text.as_slice()));
        if encoding.strings_first {
            strings(&mut out);
        }
        let mut message = |field: u64, content: Vec<u8>| {
            if encoding.unknown_fields {
                unknown(&mut out);
            }
            wire::bytes(&mut out, field, &content);
        };
        self.sample_types.iter().for_each(|each| message(1, value_type(each)));
        self.samples.iter().for_each(|each| message(2, sample(each, encoding)));
        self.mappings.iter().for_each(|each| message(3, mapping(each)));
        self.locations.iter().for_each(|each| message(4, location(each, encoding)));
        self.functions.iter().for_each(|each| message(5, function(each)));
        if !encoding.strings_first {
            strings(&mut out);
        }
        for (field, value) in [
            (7, self.drop_frames),
            (8, self.keep_frames),
            (9, self.time_ns),
            (10, self.duration_ns),
            (12, self.period),
            (14, self.default_sample_type),
        ] {
            wire::number_unless_zero(&mut out, field, value as u64);
        }
        if let Some(period_type) = &self.period_type {
            wire::bytes(&mut out, 11, &value_type(period_type));
        }
        wire::numbers(&mut out, 13, &unsigned(&self.comments), encoding.packed);
        out
    }

    /// What a parser made of some bytes, in the shape of this type.
    pub fn of(parsed: &Pprof<'_>) -> Self {
        let range = |first: u32, count: u32| first as usize..(first + count) as usize;
        Self {
            sample_types: parsed.sample_types.clone(),
            samples: parsed
                .samples
                .iter()
                .map(|s| RawSample {
                    location_ids: parsed.location_ids[range(s.first_location, s.location_count)].to_vec(),
                    values: parsed.values[range(s.first_value, s.value_count)].to_vec(),
                    labels: parsed.labels[range(s.first_label, s.label_count)].to_vec(),
                })
                .collect(),
            mappings: parsed.mappings.clone(),
            locations: parsed
                .locations
                .iter()
                .map(|l| RawLocation {
                    id: l.id,
                    mapping_id: l.mapping_id,
                    address: l.address,
                    lines: parsed.lines[range(l.first_line, l.line_count)].to_vec(),
                    is_folded: l.is_folded,
                })
                .collect(),
            functions: parsed.functions.clone(),
            strings: parsed.strings.iter().map(|text| text.to_vec()).collect(),
            drop_frames: 0,
            keep_frames: 0,
            time_ns: parsed.time_ns,
            duration_ns: parsed.duration_ns,
            period_type: parsed.period_type,
            period: parsed.period,
            comments: parsed.comments.clone(),
            default_sample_type: parsed.default_sample_type,
        }
    }
}

fn unsigned(values: &[i64]) -> Vec<u64> {
    values.iter().map(|value| *value as u64).collect()
}

/// One unknown field of each wire type that a decoder must skip.
fn unknown(out: &mut Vec<u8>) {
    wire::number(out, 100, u64::MAX);
    wire::bytes(out, 1000, b"unknown");
    wire::key(out, 101, 1);
    out.extend_from_slice(&[0xff; 8]);
    wire::key(out, 102, 5);
    out.extend_from_slice(&[0xff; 4]);
}

fn numbers_of(fields: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(field, value)| wire::number_unless_zero(&mut out, *field, *value));
    out
}

fn value_type(v: &ValueType) -> Vec<u8> {
    numbers_of(&[(1, v.ty as u64), (2, v.unit as u64)])
}

fn sample(sample: &RawSample, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    wire::numbers(&mut out, 1, &sample.location_ids, encoding.packed);
    if encoding.unknown_fields {
        unknown(&mut out);
    }
    wire::numbers(&mut out, 2, &unsigned(&sample.values), encoding.packed);
    for l in &sample.labels {
        let fields = [(1, l.key as u64), (2, l.str as u64), (3, l.num as u64), (4, l.num_unit as u64)];
        wire::bytes(&mut out, 3, &numbers_of(&fields));
    }
    out
}

fn mapping(m: &Mapping) -> Vec<u8> {
    numbers_of(&[
        (1, m.id),
        (2, m.memory_start),
        (3, m.memory_limit),
        (4, m.file_offset),
        (5, m.filename as u64),
        (6, m.build_id as u64),
        (7, m.has_functions.into()),
        (8, m.has_filenames.into()),
        (9, m.has_line_numbers.into()),
        (10, m.has_inline_frames.into()),
    ])
}

fn location(l: &RawLocation, encoding: Encoding) -> Vec<u8> {
    let mut out = numbers_of(&[(1, l.id), (2, l.mapping_id), (3, l.address)]);
    for line in &l.lines {
        let mut inner = numbers_of(&[(1, line.function_id), (2, line.line as u64)]);
        if encoding.unknown_fields {
            unknown(&mut inner);
        }
        wire::bytes(&mut out, 4, &inner);
    }
    wire::number_unless_zero(&mut out, 5, l.is_folded.into());
    out
}

fn function(f: &Function) -> Vec<u8> {
    let start_line = f.start_line as u64;
    let (name, system_name, filename) = (f.name as u64, f.system_name as u64, f.filename as u64);
    numbers_of(&[(1, f.id), (2, name), (3, system_name), (4, filename), (5, start_line)])
}
