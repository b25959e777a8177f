//! OTLP profiles: what an export means (api-semantics §3.13). Pure: the flat arrays of an export to pprofs and labels, one for
//! each profile and service.
//!
//! Work is linear in the export: symbols are renumbered for each pprof by what it uses, a stack is written out once a pprof,
//! and labels are made once a scope. Must not know: HTTP, gRPC, protobuf, records.

mod convert;
mod frames;
mod labels;
mod siblings;
mod symbols;
#[cfg(test)]
mod tests;
mod texts;
mod types;

pub(crate) use convert::{Converter, Filled};
pub(crate) use labels::ScopeLabels;
pub(crate) use siblings::{Siblings, siblings};
use texts::KnownServices;
pub(crate) use texts::Texts;

use std::fmt::Display;

use hashbrown::HashMap;
use hearth_formats::otlp::{Otlp, Profile, Span, Tables, Text};

use crate::reject::{Reason, Rejected};

/// Profiles of one export, each counted once for each of its services.
pub(crate) const PARTS_MAX: usize = 1 << 16;

/// The service of a profile whose resource names none.
const UNKNOWN_SERVICE: &str = crate::labels::UNKNOWN_SERVICE;
/// The attribute that names the service.
const SERVICE: &str = "service.name";
/// The attribute that stands in for it.
const EXECUTABLE: &str = "process.executable.name";

/// Samples of one profile that become one pprof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<'o> {
    /// The service.
    pub(crate) service: Service<'o>,
    /// Which samples, by their place in the profile; `None` = all.
    pub(crate) samples: Option<Vec<u32>>,
}

/// Where the name of a service is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service<'o> {
    /// The resource, which may not name any.
    Resource,
    /// An attribute `service.name` of samples.
    Sample(&'o str),
    /// An attribute `process.executable.name` of samples.
    Executable(&'o str),
}

impl Service<'_> {
    /// Where its text lies; of one place there is one service.
    fn place(self) -> (u8, usize, usize) {
        match self {
            Self::Resource => (0, 0, 0),
            Self::Sample(name) => (1, name.as_ptr() as usize, name.len()),
            Self::Executable(name) => (2, name.as_ptr() as usize, name.len()),
        }
    }
}

/// The entry that an index means, as a position in the flat array; an error names the table and its size.
fn entry(index: i32, table: Span, what: impl Display) -> Result<usize, String> {
    match u32::try_from(index) {
        Ok(index) if index < table.count => Ok(table.first as usize + index as usize),
        _ => Err(format!("{what} {index} is outside of its table, which has {} entries", table.count)),
    }
}

/// A text; index 0 is the empty one even where there is no table.
fn text<'o>(
    otlp: &Otlp<'o>,
    tables: &Tables,
    text: Text<'o>,
    what: impl Display,
) -> Result<&'o [u8], String> {
    match text {
        Text::Bytes(bytes) => Ok(bytes),
        Text::Index(0) if tables.strings.count == 0 => Ok(&[]),
        Text::Index(index) => Ok(otlp.strings[entry(index, tables.strings, what)?]),
    }
}

/// Bytes of a text that an error shows.
const SHOWN_BYTES_MAX: usize = 128;

fn utf8<'o>(bytes: &'o [u8], what: &str) -> Result<&'o str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]);
        format!("{what} is not UTF-8 at byte {} of {}: '{shown}'", error.valid_up_to(), bytes.len())
    })
}

/// What is wrong with the types of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongTypes {
    /// For metrics.
    pub(crate) reason: Reason,
    /// For people.
    pub(crate) what: String,
}

impl From<String> for WrongTypes {
    fn from(what: String) -> Self {
        Self { reason: Reason::MalformedProfile, what }
    }
}

impl From<WrongTypes> for String {
    fn from(wrong: WrongTypes) -> Self {
        wrong.what
    }
}

/// Says which profile of an export something is wrong with.
pub(crate) fn refused(otlp: &Otlp<'_>, siblings: Siblings, what: impl Display) -> Rejected {
    let number = siblings.first;
    let profile = otlp.profiles.get(number as usize).copied().unwrap_or_default();
    let resource = otlp.scopes.get(profile.scope as usize).map_or(0, |scope| scope.resource);
    Rejected::malformed(format!("profile {number} of the export (resource {resource}): {what}"))
}

/// Samples by the service that they name, in the order of their first; one part when none names any.
pub(crate) fn parts<'o>(
    otlp: &'o Otlp<'o>,
    texts: &'o Texts,
    profile: &Profile,
    resource_is_named: bool,
) -> Result<Vec<Part<'o>>, String> {
    if !texts.name_services() {
        return Ok(vec![Part { service: Service::Resource, samples: None }]);
    }
    let tables = &otlp.tables[profile.tables as usize];
    let (mut places, mut places_of_texts) = (HashMap::new(), HashMap::new());
    let mut known = KnownServices::default();
    let mut parts: Vec<(Service<'o>, Vec<u32>)> = Vec::new();
    for (number, sample) in (0..).zip(&otlp.samples[profile.samples.range()]) {
        let mut service = Service::Resource;
        for index in &otlp.attribute_indices[sample.attributes.range()] {
            let what = format_args!("sample {number}: attribute index");
            let at = entry(*index, tables.attributes, what)?;
            match texts.service(otlp, tables, at, &mut known)? {
                Some(Service::Sample(name)) => {
                    service = Service::Sample(name);
                    break;
                }
                Some(found) if !resource_is_named && service == Service::Resource => service = found,
                _ => {}
            }
        }
        let next = parts.len();
        // A text is hashed once, not for each sample that has it.
        let place = places_of_texts.entry(service.place());
        let at = *place.or_insert_with(|| *places.entry(service).or_insert(next));
        if at == next {
            parts.push((service, Vec::new()));
        }
        parts[at].1.push(number);
    }
    if let [(service, _)] = parts[..] {
        return Ok(vec![Part { service, samples: None }]);
    }
    Ok(parts.into_iter().map(|(service, samples)| Part { service, samples: Some(samples) }).collect())
}
