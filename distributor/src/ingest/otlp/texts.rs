//! Texts that an export does not have as such: numbers of attributes in decimals, ids of links in hex. One arena for all.

use std::fmt::Write;
use std::ops::Range;

use hashbrown::HashMap;
use hearth_formats::otlp::{Attribute, Otlp, Tables, Text, Value};

use super::{EXECUTABLE, SERVICE, Service, text, utf8};

/// Name and value of a label.
type Label<'o> = (&'o [u8], &'o [u8]);

/// Longest name of a service: each profile checks those of its samples.
const SERVICE_BYTES_MAX: usize = 64 << 10;
const SPAN_ID_BYTES: usize = 8;
const TRACE_ID_BYTES: usize = 16;

/// The ids of a link, where they are valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LinkTexts {
    span: Option<Range<usize>>,
    trace: Option<Range<usize>>,
}

/// What an attribute of the table says of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Names {
    Nothing,
    Service,
    Executable,
}

/// Services that samples name, by where their text lies: what is in an export once is checked once a profile, however many
/// attributes and samples share it.
#[derive(Debug, Default)]
pub(super) struct KnownServices<'o>(HashMap<(usize, usize, Names), Service<'o>>);

/// The texts of an export.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    arena: String,
    links: Vec<LinkTexts>,
    /// Of attributes of the table: their number, or nothing.
    table: Vec<Range<usize>>,
    /// Of attributes of resources and scopes.
    own: Vec<Range<usize>>,
    names: Vec<Names>,
    name_services: bool,
}

impl Texts {
    /// Writes all texts; linear in the export.
    pub(crate) fn new(otlp: &Otlp<'_>) -> Self {
        let mut out = Self::default();
        for link in &otlp.links {
            let span = out.id(link.span_id, SPAN_ID_BYTES);
            let trace = out.id(link.trace_id, TRACE_ID_BYTES);
            out.links.push(LinkTexts { span, trace });
        }
        for attribute in &otlp.table_attributes {
            let number = out.number(attribute);
            out.table.push(number);
            let names = out.names_of(otlp, attribute);
            out.name_services |= names != Names::Nothing;
            out.names.push(names);
        }
        for attribute in &otlp.attributes {
            let number = out.number(attribute);
            out.own.push(number);
        }
        out
    }

    /// Nothing when it is not of that many bytes, or all of them are 0.
    fn id(&mut self, bytes: &[u8], size: usize) -> Option<Range<usize>> {
        if bytes.len() != size || bytes.iter().all(|byte| *byte == 0) {
            return None;
        }
        let start = self.arena.len();
        // Writing to a string cannot fail.
        bytes.iter().for_each(|byte| _ = write!(self.arena, "{byte:02x}"));
        Some(start..self.arena.len())
    }

    fn number(&mut self, attribute: &Attribute<'_>) -> Range<usize> {
        let start = self.arena.len();
        if let Value::Int(number) = attribute.value {
            let _ = write!(self.arena, "{number}");
        }
        start..self.arena.len()
    }

    fn names_of(&self, otlp: &Otlp<'_>, attribute: &Attribute<'_>) -> Names {
        let key = match attribute.key {
            Text::Bytes(bytes) => bytes,
            Text::Index(index) => {
                usize::try_from(index).ok().and_then(|at| otlp.strings.get(at)).copied().unwrap_or_default()
            }
        };
        if key == SERVICE.as_bytes() {
            Names::Service
        } else if key == EXECUTABLE.as_bytes() {
            Names::Executable
        } else {
            Names::Nothing
        }
    }

    /// Whether any attribute of the table can name a service.
    pub(super) fn name_services(&self) -> bool {
        self.name_services
    }

    /// The service that an attribute of the table names; `known` has those that were asked for before.
    pub(super) fn service<'o>(
        &'o self,
        otlp: &'o Otlp<'o>,
        tables: &Tables,
        at: usize,
        known: &mut KnownServices<'o>,
    ) -> Result<Option<Service<'o>>, String> {
        let names = self.names[at];
        if names == Names::Nothing {
            return Ok(None);
        }
        let Some((_, value)) = self.of_table(otlp, tables, at)? else { return Ok(None) };
        let place = (value.as_ptr() as usize, value.len(), names);
        if let Some(service) = known.0.get(&place) {
            return Ok(Some(*service));
        }
        if value.len() > SERVICE_BYTES_MAX {
            let length = value.len();
            return Err(format!("{SERVICE} has {length} bytes, more than {SERVICE_BYTES_MAX}: shorten it"));
        }
        let value = utf8(value, SERVICE)?;
        let service = match names {
            _ if value.is_empty() => return Ok(None),
            Names::Service => Service::Sample(value),
            _ => Service::Executable(value),
        };
        known.0.insert(place, service);
        Ok(Some(service))
    }

    /// The label that an attribute of the table is; `None` for what is no label.
    pub(super) fn of_table<'o>(
        &'o self,
        otlp: &'o Otlp<'o>,
        tables: &Tables,
        at: usize,
    ) -> Result<Option<Label<'o>>, String> {
        self.label(otlp, tables, &otlp.table_attributes[at], &self.table[at])
    }

    /// The label that an attribute of a resource or scope is.
    pub(super) fn of_own<'o>(
        &'o self,
        otlp: &'o Otlp<'o>,
        tables: &Tables,
        at: usize,
    ) -> Result<Option<Label<'o>>, String> {
        self.label(otlp, tables, &otlp.attributes[at], &self.own[at])
    }

    fn label<'o>(
        &'o self,
        otlp: &'o Otlp<'o>,
        tables: &Tables,
        attribute: &Attribute<'o>,
        number: &Range<usize>,
    ) -> Result<Option<Label<'o>>, String> {
        let value = match attribute.value {
            Value::Text(value) => text(otlp, tables, value, "string index of an attribute's value")?,
            Value::Int(_) => &self.arena.as_bytes()[number.clone()],
            Value::Other => return Ok(None),
        };
        let key = text(otlp, tables, attribute.key, "string index of an attribute's key")?;
        Ok((!key.is_empty()).then_some((key, value)))
    }

    /// The ids of a link in hex: span and trace.
    pub(super) fn link(&self, at: usize) -> [Option<&[u8]>; 2] {
        let link = &self.links[at];
        [&link.span, &link.trace].map(|range| Some(&self.arena.as_bytes()[range.clone()?]))
    }
}
