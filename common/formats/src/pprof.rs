//! pprof (`profile.proto`): bytes to flat arrays that borrow from them.
//!
//! Hand-written walk over varints; source of the format: the public `profile.proto` of the pprof project. Ids, missing
//! references and odd indices are passed on as they are: validation belongs to the distributor.

pub mod writer;

use crate::wire::{LEN, Reader, VARINT};

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

/// The bytes are no pprof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PprofError {
    /// A field goes past the end of its message.
    #[error("profile is cut off at byte {0}")]
    Truncated(usize),
    /// A number is longer than 64 bits.
    #[error("number at byte {0} is longer than 64 bits")]
    Number(usize),
    /// A wire type that protobuf does not have, or that the field cannot have.
    #[error("wire type {wire} of field {field} at byte {at} is not that of a profile")]
    WireType {
        /// The field's number.
        field: u64,
        /// The wire type.
        wire: u8,
        /// Where.
        at: usize,
    },
    /// More than 4 GiB of bytes or entries.
    #[error("profile is larger than 4 GiB")]
    TooLarge,
}

pub(crate) type Result<T> = std::result::Result<T, PprofError>;

impl<'a> Pprof<'a> {
    /// Parses a profile; what was held before is gone. On an error the content is unspecified. Linear in the input; no
    /// array grows beyond the number of input bytes.
    pub fn parse(&mut self, bytes: &'a [u8]) -> Result<()> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PprofError::TooLarge);
        }
        self.clear();
        let mut reader = Reader::new(bytes);
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => {
                    let value_type = value_type(reader.message()?, ValueType::default())?;
                    self.sample_types.push(value_type);
                }
                (2, LEN) => self.sample(reader.message()?)?,
                (3, LEN) => self.mappings.push(mapping(reader.message()?)?),
                (4, LEN) => self.location(reader.message()?)?,
                (5, LEN) => self.functions.push(function(reader.message()?)?),
                (6, LEN) => {
                    let text = reader.message()?.rest();
                    self.strings.push(text);
                }
                (9, VARINT) => self.time_ns = reader.varint()? as i64,
                (10, VARINT) => self.duration_ns = reader.varint()? as i64,
                (11, LEN) => {
                    let before = self.period_type.unwrap_or_default();
                    self.period_type = Some(value_type(reader.message()?, before)?);
                }
                (12, VARINT) => self.period = reader.varint()? as i64,
                (13, LEN) => reader.message()?.packed(&mut self.comments, |n| n as i64)?,
                (13, VARINT) => self.comments.push(reader.varint()? as i64),
                (14, VARINT) => self.default_sample_type = reader.varint()? as i64,
                (7 | 8, VARINT) => drop(reader.varint()?),
                (1..=14, wire) => return Err(reader.wire_type(field, wire)),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    /// Empties all arrays; keeps their capacity.
    pub fn clear(&mut self) {
        self.strings.clear();
        self.sample_types.clear();
        self.samples.clear();
        self.location_ids.clear();
        self.values.clear();
        self.labels.clear();
        self.mappings.clear();
        self.locations.clear();
        self.lines.clear();
        self.functions.clear();
        self.comments.clear();
        self.period_type = None;
        self.period = 0;
        self.time_ns = 0;
        self.duration_ns = 0;
        self.default_sample_type = 0;
    }

    /// The same arrays, emptied, for bytes of another lifetime: nothing is allocated again.
    pub fn recycle<'b>(mut self) -> Pprof<'b> {
        self.clear();
        Pprof {
            // Collecting an emptied vector into one of the same layout reuses its allocation.
            strings: self.strings.into_iter().map(|_| -> &'b [u8] { &[] }).collect(),
            sample_types: self.sample_types,
            samples: self.samples,
            location_ids: self.location_ids,
            values: self.values,
            labels: self.labels,
            mappings: self.mappings,
            locations: self.locations,
            lines: self.lines,
            functions: self.functions,
            comments: self.comments,
            ..Pprof::default()
        }
    }

    /// Bytes of the allocations of its arrays.
    pub fn capacity_bytes(&self) -> usize {
        fn of<T>(array: &Vec<T>) -> usize {
            array.capacity() * size_of::<T>()
        }
        of(&self.strings)
            + of(&self.sample_types)
            + of(&self.samples)
            + of(&self.location_ids)
            + of(&self.values)
            + of(&self.labels)
            + of(&self.mappings)
            + of(&self.locations)
            + of(&self.lines)
            + of(&self.functions)
            + of(&self.comments)
    }

    fn sample(&mut self, mut reader: Reader<'_>) -> Result<()> {
        let mut sample = Sample {
            first_location: self.location_ids.len() as u32,
            first_value: self.values.len() as u32,
            first_label: self.labels.len() as u32,
            ..Sample::default()
        };
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => reader.message()?.packed(&mut self.location_ids, |n| n)?,
                (1, VARINT) => self.location_ids.push(reader.varint()?),
                (2, LEN) => reader.message()?.packed(&mut self.values, |n| n as i64)?,
                (2, VARINT) => self.values.push(reader.varint()? as i64),
                (3, LEN) => self.labels.push(label(reader.message()?)?),
                (1..=3, wire) => return Err(reader.wire_type(field, wire)),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        sample.location_count = self.location_ids.len() as u32 - sample.first_location;
        sample.value_count = self.values.len() as u32 - sample.first_value;
        sample.label_count = self.labels.len() as u32 - sample.first_label;
        self.samples.push(sample);
        Ok(())
    }

    fn location(&mut self, mut reader: Reader<'_>) -> Result<()> {
        let mut location = Location { first_line: self.lines.len() as u32, ..Location::default() };
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, VARINT) => location.id = reader.varint()?,
                (2, VARINT) => location.mapping_id = reader.varint()?,
                (3, VARINT) => location.address = reader.varint()?,
                (4, LEN) => self.lines.push(line(reader.message()?)?),
                (5, VARINT) => location.is_folded = reader.varint()? != 0,
                (1..=5, wire) => return Err(reader.wire_type(field, wire)),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        location.line_count = self.lines.len() as u32 - location.first_line;
        self.locations.push(location);
        Ok(())
    }
}

/// A message that comes twice is merged, says protobuf: `out` is what came before.
fn value_type(mut reader: Reader<'_>, mut out: ValueType) -> Result<ValueType> {
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.ty = reader.varint()? as i64,
            (2, VARINT) => out.unit = reader.varint()? as i64,
            (1..=2, wire) => return Err(reader.wire_type(field, wire)),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn label(mut reader: Reader<'_>) -> Result<Label> {
    let mut out = Label::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.key = reader.varint()? as i64,
            (2, VARINT) => out.str = reader.varint()? as i64,
            (3, VARINT) => out.num = reader.varint()? as i64,
            (4, VARINT) => out.num_unit = reader.varint()? as i64,
            (1..=4, wire) => return Err(reader.wire_type(field, wire)),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn mapping(mut reader: Reader<'_>) -> Result<Mapping> {
    let mut out = Mapping::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.id = reader.varint()?,
            (2, VARINT) => out.memory_start = reader.varint()?,
            (3, VARINT) => out.memory_limit = reader.varint()?,
            (4, VARINT) => out.file_offset = reader.varint()?,
            (5, VARINT) => out.filename = reader.varint()? as i64,
            (6, VARINT) => out.build_id = reader.varint()? as i64,
            (7, VARINT) => out.has_functions = reader.varint()? != 0,
            (8, VARINT) => out.has_filenames = reader.varint()? != 0,
            (9, VARINT) => out.has_line_numbers = reader.varint()? != 0,
            (10, VARINT) => out.has_inline_frames = reader.varint()? != 0,
            (1..=10, wire) => return Err(reader.wire_type(field, wire)),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn line(mut reader: Reader<'_>) -> Result<Line> {
    let mut out = Line::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.function_id = reader.varint()?,
            (2, VARINT) => out.line = reader.varint()? as i64,
            (1..=2, wire) => return Err(reader.wire_type(field, wire)),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn function(mut reader: Reader<'_>) -> Result<Function> {
    let mut out = Function::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.id = reader.varint()?,
            (2, VARINT) => out.name = reader.varint()? as i64,
            (3, VARINT) => out.system_name = reader.varint()? as i64,
            (4, VARINT) => out.filename = reader.varint()? as i64,
            (5, VARINT) => out.start_line = reader.varint()? as i64,
            (1..=5, wire) => return Err(reader.wire_type(field, wire)),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}
