//! OTLP profiles: an export request, as protobuf or JSON, to flat arrays that borrow from it.
//!
//! Source of the format: the public `opentelemetry/proto/{collector/profiles,profiles,common,resource}` of
//! opentelemetry-proto. The signal is young and its messages were renumbered several times under one package name, so an
//! export does not say what it is: [`Layout`] is found out from its shape (`shape`), `decode` reads that layout strictly, and
//! what fits none is refused with a reason. All layouts become the same arrays. Indices are passed on as sent. Must not know:
//! labels, profile types, pprof.

mod attributes;
mod decode;
pub mod json;
mod names;
mod room;
mod shape;

use crate::pprof::PprofError;
use room::Room;

/// How a release of opentelemetry-proto lays profiles out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// v1.4 and v1.5: every profile carries its own tables; samples are ranges of its location indices.
    ProfileTables,
    /// v1.7: one dictionary for the export; samples are ranges of their profile's location indices.
    Ranges,
    /// v1.8 and v1.9: a stack table; values are field 2 of a sample.
    StacksValuesSecond,
    /// v1.10 and later: a stack table; values are field 4 of a sample.
    #[default]
    Stacks,
}

impl Layout {
    /// Whether samples name a stack of the stack table.
    pub fn has_stacks(self) -> bool {
        matches!(self, Self::StacksValuesSecond | Self::Stacks)
    }
}

/// An index that is not there at all, where the layout tells that from 0.
pub const ABSENT: i32 = -1;

/// A part of a flat array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First entry.
    pub first: u32,
    /// Entries.
    pub count: u32,
}

impl Span {
    /// As a range of positions.
    pub fn range(self) -> std::ops::Range<usize> {
        self.first as usize..self.first as usize + self.count as usize
    }
}

/// The tables that the indices of a profile mean; positions in the flat arrays of [`Otlp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of ProfilesDictionary")]
pub struct Tables {
    pub strings: Span,
    pub mappings: Span,
    pub locations: Span,
    pub functions: Span,
    pub links: Span,
    pub attributes: Span,
    pub stacks: Span,
}

/// A mapping as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profiles.proto")]
pub struct Mapping {
    pub memory_start: u64,
    pub memory_limit: u64,
    pub file_offset: u64,
    pub filename: i32,
    /// In `attribute_indices`.
    pub attributes: Span,
}

/// A location as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Location {
    /// Index of the mapping, or [`ABSENT`].
    pub mapping: i32,
    /// Address.
    pub address: u64,
    /// In `lines`, leaf first.
    pub lines: Span,
    /// In `attribute_indices`.
    pub attributes: Span,
}

/// A line as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profiles.proto")]
pub struct Line {
    pub function: i32,
    pub line: i64,
}

/// A function as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profiles.proto")]
pub struct Function {
    pub name: i32,
    pub system_name: i32,
    pub filename: i32,
    pub start_line: i64,
}

/// A link to a span: bytes as sent, of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of profiles.proto")]
pub struct Link<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
}

/// A text, in place or in the string table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// In place.
    Bytes(&'a [u8]),
    /// Index into the string table.
    Index(i32),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::Bytes(&[])
    }
}

/// The value of an attribute, as far as labels can be made of it. A list of one text or number is that text or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Value<'a> {
    /// Text.
    Text(Text<'a>),
    /// Whole number.
    Int(i64),
    /// Truth values, fractions, bytes, lists, maps, nothing.
    #[default]
    Other,
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "what the words say")]
pub struct Attribute<'a> {
    pub key: Text<'a>,
    pub value: Value<'a>,
}

/// A scope and the resource that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scope {
    /// Attributes of the resource, in `attributes`.
    pub resource_attributes: Span,
    /// Attributes of the scope, in `attributes`.
    pub attributes: Span,
    /// Number of the resource in the export.
    pub resource: u32,
}

/// Type and unit: indices into the string table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "what the words say")]
pub struct ValueType {
    pub ty: i32,
    pub unit: i32,
}

/// A profile as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Profile {
    /// Its scope, in `scopes`.
    pub scope: u32,
    /// Its tables, in `tables`.
    pub tables: u32,
    /// In `sample_types`: one, or several before v1.8.
    pub sample_types: Span,
    /// In `samples`.
    pub samples: Span,
    /// In `stack_locations`: what samples are ranges of before v1.8.
    pub location_indices: Span,
    /// Begin, ns since 1970; 0 = not said.
    pub time_unix_ns: u64,
    /// Duration, ns.
    pub duration_ns: u64,
    /// What happens between samples.
    pub period_type: Option<ValueType>,
    /// How much of it.
    pub period: i64,
}

/// A sample as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Index of its stack, or the first of its profile's location indices.
    pub stack: i32,
    /// How many of them; 0 where there is a stack table.
    pub length: i32,
    /// Index of its link, or [`ABSENT`].
    pub link: i32,
    /// How many timestamps it has.
    pub timestamps: u32,
    /// In `values`.
    pub values: Span,
    /// In `attribute_indices`.
    pub attributes: Span,
}

/// A whole export in flat arrays. Strings are bytes: not checked for UTF-8 here.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are those of profiles.proto")]
pub struct Otlp<'a> {
    pub layout: Layout,
    /// Whether there was a dictionary, be it an empty one.
    pub has_dictionary: bool,
    /// One; or one for each profile of [`Layout::ProfileTables`].
    pub tables: Vec<Tables>,
    pub strings: Vec<&'a [u8]>,
    pub mappings: Vec<Mapping>,
    pub locations: Vec<Location>,
    pub lines: Vec<Line>,
    pub functions: Vec<Function>,
    pub links: Vec<Link<'a>>,
    /// Those of the attribute table.
    pub table_attributes: Vec<Attribute<'a>>,
    /// Those of resources and scopes.
    pub attributes: Vec<Attribute<'a>>,
    /// Parts of `stack_locations`.
    pub stacks: Vec<Span>,
    pub stack_locations: Vec<i32>,
    pub attribute_indices: Vec<i32>,
    pub scopes: Vec<Scope>,
    pub profiles: Vec<Profile>,
    pub sample_types: Vec<ValueType>,
    pub samples: Vec<Sample>,
    pub values: Vec<i64>,
    /// For what is read next.
    room: Room,
}

/// Why bytes are no export that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// The bytes are no protobuf, or a field has a wire type that the layout does not have.
    #[error("the export cannot be read: {0}")]
    Wire(#[from] PprofError),
    /// There is nothing that indices could point into.
    #[error(
        "the export has no dictionary (field 2): profiles of opentelemetry-proto v1.7 and later need one, and profiles of \
         v1.4 and v1.5 carry tables of their own, which these do not"
    )]
    NoDictionary,
    /// A layout that is known and not taken.
    #[error(
        "the export has the layout of opentelemetry-proto {version}, {why}: update the sender to v1.10 or later"
    )]
    Refused {
        /// The release.
        version: &'static str,
        /// What cannot be done.
        why: &'static str,
    },
    /// Fields of several layouts in one export, or of one that is not known.
    #[error(
        "field {field} of a {message} at byte {at} has wire type {wire}: with what stands before it that fits no layout of \
         opentelemetry-proto v1.4 to v1.11"
    )]
    NoLayout {
        /// The message's name.
        message: &'static str,
        /// The field's number.
        field: u64,
        /// The wire type.
        wire: u8,
        /// Where.
        at: usize,
    },
    /// Two layouts give the same bytes different meanings, and nothing tells which is meant.
    #[error(
        "field 2 of the samples may be values (opentelemetry-proto v1.9) or attribute indices (v1.10), and neither fits: \
         values and timestamps differ in number, and not all are attributes of the dictionary"
    )]
    Ambiguous,
    /// Many entries that say next to nothing.
    #[error(
        "the lists and tables of the export, which has {bytes} bytes, would take more than {limit} bytes of memory: send fewer \
         profiles at once"
    )]
    Arrays {
        /// Of the export.
        bytes: usize,
        /// Of memory.
        limit: usize,
    },
}

/// Result of reading.
pub(crate) type Result<T> = std::result::Result<T, OtlpError>;

impl<'a> Otlp<'a> {
    /// Parses an export; the layout is found out. Linear in the input; no array has more entries than the input has bytes, and all
    /// of them together take at most eight times its size, or 64 MiB where that is more, and never more than 1 GiB.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PprofError::TooLarge.into());
        }
        let found = shape::of(bytes)?;
        let mut otlp = Self::parse_as(bytes, found.layout)?;
        if found.tie {
            otlp.settle()?;
        }
        Ok(otlp)
    }

    /// Parses an export whose layout is known.
    pub fn parse_as(bytes: &'a [u8], layout: Layout) -> Result<Self> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PprofError::TooLarge.into());
        }
        let mut otlp = Self { layout, room: Room::of(bytes.len()), ..Self::default() };
        otlp.request(bytes)?;
        Ok(otlp)
    }

    /// Decides what field 2 of all samples is, after they were read as values and none had a field that tells: values have
    /// the number of the timestamps beside them; attribute indices are of attributes that nothing else refers to.
    fn settle(&mut self) -> Result<()> {
        let own = |sample: &&Sample| sample.values.count > 0;
        let as_values = self
            .samples
            .iter()
            .filter(own)
            .all(|sample| sample.timestamps == 0 || sample.timestamps == sample.values.count);
        let table = self.table_attributes.len();
        let is_attribute = |value: &i64| usize::try_from(*value).is_ok_and(|at| at > 0 && at < table);
        let as_attributes = self.samples.iter().filter(own).all(|sample| sample.timestamps > 0)
            && self.values.iter().all(is_attribute);
        let attributes = match (as_values, as_attributes) {
            (true, false) => false,
            (false, true) => true,
            (false, false) => return Err(OtlpError::Ambiguous),
            (true, true) => {
                let mut referred = vec![false; table];
                // Nothing but mappings and locations has put indices there.
                for index in &self.attribute_indices {
                    if let Some(seen) = usize::try_from(*index).ok().and_then(|at| referred.get_mut(at)) {
                        *seen = true;
                    }
                }
                self.values.iter().any(|value| !referred[*value as usize])
            }
        };
        if !attributes {
            return Ok(());
        }
        self.layout = Layout::Stacks;
        let first = self.attribute_indices.len() as u32;
        self.attribute_indices.extend(self.values.drain(..).map(|value| value as i32));
        for sample in &mut self.samples {
            sample.attributes = Span { first: first + sample.values.first, count: sample.values.count };
            sample.values = Span::default();
        }
        Ok(())
    }
}
