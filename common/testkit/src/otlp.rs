//! Exports of OTLP profiles in the layout of any release of opentelemetry-proto, from the same description.

use std::collections::HashMap;

use hearth_formats::pprof::Pprof;

use crate::wire;

/// The release whose field numbers an export has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the releases")]
pub enum Release {
    V1_5,
    V1_7,
    V1_8,
    V1_9,
    V1_10,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::V1_5, Self::V1_7, Self::V1_8, Self::V1_9, Self::V1_10];

    fn has_stacks(self) -> bool {
        self >= Self::V1_8
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of AnyValue")]
pub enum AttributeValue {
    Text(String),
    Int(i64),
    Bool(bool),
    Double(f64),
    List(Vec<AttributeValue>),
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for AttributeValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Attributes with their keys.
pub type Attributes = Vec<(String, AttributeValue)>;

/// Attributes from texts.
pub fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

/// A sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Frames, root first, with `;` between them. A frame `0x…` is an address that nobody has symbolised.
    pub stack: String,
    /// Values.
    pub values: Vec<i64>,
    /// Timestamps.
    pub timestamps: Vec<u64>,
    /// Attributes.
    pub attributes: Attributes,
    /// Trace and span.
    pub link: Option<(Vec<u8>, Vec<u8>)>,
}

impl Sample {
    /// A sample with values.
    pub fn new(stack: &str, values: &[i64]) -> Self {
        Self { stack: stack.to_owned(), values: values.to_vec(), ..Self::default() }
    }

    /// With timestamps.
    #[must_use]
    pub fn at(self, timestamps: &[u64]) -> Self {
        Self { timestamps: timestamps.to_vec(), ..self }
    }

    /// With text attributes.
    #[must_use]
    pub fn with(self, pairs: &[(&str, &str)]) -> Self {
        Self { attributes: attributes(pairs), ..self }
    }

    /// With a link.
    #[must_use]
    pub fn linked(self, trace: &[u8], span: &[u8]) -> Self {
        Self { link: Some((trace.to_vec(), span.to_vec())), ..self }
    }
}

/// A profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Types and units; one, or several before v1.8.
    pub sample_types: Vec<(String, String)>,
    /// What happens between samples.
    pub period_type: Option<(String, String)>,
    /// How much of it.
    pub period: i64,
    /// Begin.
    pub time_ns: u64,
    /// Duration.
    pub duration_ns: u64,
    /// Samples.
    pub samples: Vec<Sample>,
}

impl Profile {
    /// A profile of this sample type and period type.
    pub fn new(sample_type: (&str, &str), period_type: Option<(&str, &str)>, period: i64) -> Self {
        let owned = |(ty, unit): (&str, &str)| (ty.to_owned(), unit.to_owned());
        Self {
            sample_types: vec![owned(sample_type)],
            period_type: period_type.map(owned),
            period,
            ..Self::default()
        }
    }

    /// CPU samples at 100 Hz.
    pub fn cpu() -> Self {
        Self::new(("samples", "count"), Some(("cpu", "nanoseconds")), 10_000_000)
    }

    /// With a sample more.
    #[must_use]
    pub fn sample(mut self, sample: Sample) -> Self {
        self.samples.push(sample);
        self
    }
}

/// Profiles of one resource and scope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource {
    /// Of the resource.
    pub attributes: Attributes,
    /// Of the scope.
    pub scope_attributes: Attributes,
    /// Profiles.
    pub profiles: Vec<Profile>,
}

/// An export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// Resources.
    pub resources: Vec<Resource>,
}

impl Export {
    /// An export of profiles of one resource with these text attributes.
    pub fn of(pairs: &[(&str, &str)], profiles: Vec<Profile>) -> Self {
        Self { resources: vec![Resource { attributes: attributes(pairs), profiles, ..Resource::default() }] }
    }

    /// The bytes as a release writes them.
    pub fn encode(&self, release: Release) -> Vec<u8> {
        let mut shared = Tables::new(release);
        let mut out = Vec::new();
        for resource in &self.resources {
            let mut scope_profiles = Vec::new();
            let scope = key_values(&resource.scope_attributes, 3);
            wire::bytes(&mut scope_profiles, 1, &scope);
            for profile in &resource.profiles {
                let bytes = match release {
                    Release::V1_5 => {
                        let mut own = Tables::new(release);
                        own.profile(profile)
                    }
                    _ => shared.profile(profile),
                };
                wire::bytes(&mut scope_profiles, 2, &bytes);
            }
            let mut message = Vec::new();
            wire::bytes(&mut message, 1, &key_values(&resource.attributes, 1));
            wire::bytes(&mut message, 2, &scope_profiles);
            wire::bytes(&mut out, 1, &message);
        }
        if release != Release::V1_5 {
            wire::bytes(&mut out, 2, &shared.dictionary());
        }
        out
    }
}

/// An export of a pprof in the layout of v1.10: one profile for each sample type, labels as attributes.
pub fn from_pprof(pprof: &Pprof<'_>, service: &str) -> Vec<u8> {
    let text = |index: i64| String::from_utf8_lossy(pprof.strings[index as usize]).into_owned();
    let mut tables = Tables::new(Release::V1_10);
    for mapping in &pprof.mappings {
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, mapping.memory_start);
        wire::number_unless_zero(&mut out, 2, mapping.memory_limit);
        wire::number_unless_zero(&mut out, 3, mapping.file_offset);
        let filename = tables.string(&text(mapping.filename));
        wire::number_unless_zero(&mut out, 4, filename);
        tables.mappings.push(out);
    }
    for function in &pprof.functions {
        let mut out = Vec::new();
        for (field, index) in [(1, function.name), (2, function.system_name), (3, function.filename)] {
            let string = tables.string(&text(index));
            wire::number_unless_zero(&mut out, field, string);
        }
        wire::number_unless_zero(&mut out, 4, function.start_line as u64);
        tables.functions.push(out);
    }
    let places = |ids: Vec<u64>| -> HashMap<u64, u64> { (1..).zip(ids).map(|(at, id)| (id, at)).collect() };
    let functions = places(pprof.functions.iter().map(|f| f.id).collect());
    let mappings = places(pprof.mappings.iter().map(|m| m.id).collect());
    let locations = places(pprof.locations.iter().map(|l| l.id).collect());
    for location in &pprof.locations {
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, mappings.get(&location.mapping_id).copied().unwrap_or(0));
        wire::number_unless_zero(&mut out, 2, location.address);
        for line in &pprof.lines[location.first_line as usize..][..location.line_count as usize] {
            let mut message = Vec::new();
            wire::number_unless_zero(&mut message, 1, functions[&line.function_id]);
            wire::number_unless_zero(&mut message, 2, line.line as u64);
            wire::bytes(&mut out, 3, &message);
        }
        tables.locations.push(out);
    }
    let mut profiles = Vec::new();
    for (column, ty) in pprof.sample_types.iter().enumerate() {
        let mut out = Vec::new();
        let value_type = tables.value_type(&(text(ty.ty), text(ty.unit)));
        wire::bytes(&mut out, 1, &value_type);
        for sample in &pprof.samples {
            let value = pprof.values[sample.first_value as usize + column];
            if value == 0 {
                continue;
            }
            let ids = &pprof.location_ids[sample.first_location as usize..][..sample.location_count as usize];
            let stack = tables.stack(ids.iter().map(|id| locations[id]).collect());
            let labels = &pprof.labels[sample.first_label as usize..][..sample.label_count as usize];
            let labels = labels.iter().filter(|label| label.str != 0);
            let attributes: Vec<u64> =
                labels.map(|label| tables.attribute(&text(label.key), &AttributeValue::Text(text(label.str)))).collect();
            let mut message = Vec::new();
            wire::number_unless_zero(&mut message, 1, stack);
            wire::numbers(&mut message, 2, &attributes, true);
            wire::numbers(&mut message, 4, &[value as u64], true);
            wire::bytes(&mut out, 2, &message);
        }
        let period = pprof.period_type.map(|ty| (text(ty.ty), text(ty.unit)));
        let period = tables.value_type(&period.unwrap_or_else(|| (text(ty.ty), text(ty.unit))));
        wire::key(&mut out, 3, 1);
        out.extend_from_slice(&(pprof.time_ns as u64).to_le_bytes());
        wire::number_unless_zero(&mut out, 4, pprof.duration_ns as u64);
        wire::bytes(&mut out, 5, &period);
        wire::number_unless_zero(&mut out, 6, pprof.period as u64);
        profiles.push(out);
    }
    let mut scope = Vec::new();
    profiles.iter().for_each(|profile| wire::bytes(&mut scope, 2, profile));
    let mut resource = Vec::new();
    wire::bytes(&mut resource, 1, &key_values(&attributes(&[("service.name", service)]), 1));
    wire::bytes(&mut resource, 2, &scope);
    let mut out = Vec::new();
    wire::bytes(&mut out, 1, &resource);
    wire::bytes(&mut out, 2, &tables.dictionary());
    out
}

/// `AnyValue`.
fn any_value(value: &AttributeValue) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        AttributeValue::Text(text) => wire::bytes(&mut out, 1, text.as_bytes()),
        AttributeValue::Bool(truth) => wire::number(&mut out, 2, u64::from(*truth)),
        AttributeValue::Int(number) => wire::number(&mut out, 3, *number as u64),
        AttributeValue::Double(number) => {
            wire::key(&mut out, 4, 1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        AttributeValue::List(values) => {
            let mut list = Vec::new();
            values.iter().for_each(|value| wire::bytes(&mut list, 1, &any_value(value)));
            wire::bytes(&mut out, 5, &list);
        }
    }
    out
}

fn key_value(key: &str, value: &AttributeValue) -> Vec<u8> {
    let mut out = Vec::new();
    wire::bytes(&mut out, 1, key.as_bytes());
    wire::bytes(&mut out, 2, &any_value(value));
    out
}

/// A message whose field `number` are these attributes.
fn key_values(attributes: &Attributes, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    attributes.iter().for_each(|(key, value)| wire::bytes(&mut out, number, &key_value(key, value)));
    out
}

/// The tables of a dictionary, entries encoded. From v1.8 on entry 0 of each is the null entry.
struct Tables {
    release: Release,
    strings: Vec<String>,
    string_places: HashMap<String, u64>,
    mappings: Vec<Vec<u8>>,
    locations: Vec<Vec<u8>>,
    functions: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
    attributes: Vec<Vec<u8>>,
    attribute_places: HashMap<Vec<u8>, u64>,
    stacks: Vec<Vec<u64>>,
    stack_places: HashMap<Vec<u64>, u64>,
    frames: HashMap<String, u64>,
    /// The mapping of all frames, once there is one.
    mapping: Option<u64>,
}

impl Tables {
    fn new(release: Release) -> Self {
        let null = || if release.has_stacks() { vec![Vec::new()] } else { Vec::new() };
        Self {
            release,
            strings: vec![String::new()],
            string_places: HashMap::from([(String::new(), 0)]),
            mappings: null(),
            locations: null(),
            functions: null(),
            links: null(),
            attributes: null(),
            attribute_places: HashMap::new(),
            stacks: if release.has_stacks() { vec![Vec::new()] } else { Vec::new() },
            stack_places: HashMap::from([(Vec::new(), 0)]),
            frames: HashMap::new(),
            mapping: None,
        }
    }

    fn string(&mut self, text: &str) -> u64 {
        let next = self.strings.len() as u64;
        let at = *self.string_places.entry(text.to_owned()).or_insert(next);
        if at == next {
            self.strings.push(text.to_owned());
        }
        at
    }

    fn attribute(&mut self, key: &str, value: &AttributeValue) -> u64 {
        let entry = if self.release.has_stacks() {
            let mut out = Vec::new();
            let key = self.string(key);
            wire::number_unless_zero(&mut out, 1, key);
            wire::bytes(&mut out, 2, &any_value(value));
            out
        } else {
            key_value(key, value)
        };
        let next = self.attributes.len() as u64;
        let at = *self.attribute_places.entry(entry.clone()).or_insert(next);
        if at == next {
            self.attributes.push(entry);
        }
        at
    }

    fn stack(&mut self, locations: Vec<u64>) -> u64 {
        let next = self.stacks.len() as u64;
        let at = *self.stack_places.entry(locations.clone()).or_insert(next);
        if at == next {
            self.stacks.push(locations);
        }
        at
    }

    /// The mapping that every frame is in: a binary with a build id.
    fn mapping(&mut self) -> u64 {
        if let Some(known) = self.mapping {
            return known;
        }
        let build_id = self.attribute("process.executable.build_id.gnu", &"abcd".into());
        let filename = self.string("/app/bin");
        let mut out = Vec::new();
        wire::number(&mut out, 1, 0x1000);
        wire::number(&mut out, 2, 0x9000);
        wire::number(&mut out, 4, filename);
        wire::numbers(&mut out, 5, &[build_id], true);
        self.mappings.push(out);
        *self.mapping.insert(self.mappings.len() as u64 - 1)
    }

    fn frame(&mut self, frame: &str) -> u64 {
        if let Some(known) = self.frames.get(frame) {
            return *known;
        }
        let mapping = self.mapping();
        let mut out = Vec::new();
        wire::number(&mut out, 1, mapping);
        match frame.strip_prefix("0x") {
            Some(digits) => {
                wire::number(&mut out, 2, u64::from_str_radix(digits, 16).expect("an address in hex"));
            }
            None => {
                let (name, file) = (self.string(frame), self.string("main.x"));
                let mut function = Vec::new();
                wire::number(&mut function, 1, name);
                wire::number(&mut function, 3, file);
                self.functions.push(function);
                let mut line = Vec::new();
                wire::number(&mut line, 1, self.functions.len() as u64 - 1);
                wire::number(&mut line, 2, 7);
                wire::number(&mut out, 2, 0x2000 + self.functions.len() as u64);
                wire::bytes(&mut out, 3, &line);
            }
        }
        self.locations.push(out);
        let at = self.locations.len() as u64 - 1;
        self.frames.insert(frame.to_owned(), at);
        at
    }

    fn value_type(&mut self, (ty, unit): &(String, String)) -> Vec<u8> {
        let (ty, unit) = (self.string(ty), self.string(unit));
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, ty);
        wire::number_unless_zero(&mut out, 2, unit);
        out
    }

    /// The profile; with its own tables, where the release has them there.
    fn profile(&mut self, profile: &Profile) -> Vec<u8> {
        let mut out = Vec::new();
        for value_type in &profile.sample_types {
            let value_type = self.value_type(value_type);
            wire::bytes(&mut out, 1, &value_type);
        }
        let mut indices = Vec::new();
        for sample in &profile.samples {
            let sample = self.sample(sample, &mut indices);
            wire::bytes(&mut out, 2, &sample);
        }
        let period_type = profile.period_type.as_ref().map(|ty| self.value_type(ty));
        let mut put = |time: u64, duration: u64, period_ty: u64, period: u64| {
            if self.release.has_stacks() {
                wire::key(&mut out, time, 1);
                out.extend_from_slice(&profile.time_ns.to_le_bytes());
            } else {
                wire::number(&mut out, time, profile.time_ns);
            }
            wire::number_unless_zero(&mut out, duration, profile.duration_ns);
            if let Some(ty) = &period_type {
                wire::bytes(&mut out, period_ty, ty);
            }
            wire::number_unless_zero(&mut out, period, profile.period as u64);
        };
        match self.release {
            Release::V1_5 => {
                put(11, 12, 13, 14);
                wire::numbers(&mut out, 5, &indices, true);
                self.tables(&mut out, [3, 4, 6, 9, 10, 7]);
            }
            Release::V1_7 => {
                put(4, 5, 6, 7);
                wire::numbers(&mut out, 3, &indices, true);
            }
            _ => put(3, 4, 5, 6),
        }
        out
    }

    fn sample(&mut self, sample: &Sample, indices: &mut Vec<u64>) -> Vec<u8> {
        let frames = sample.stack.split(';').filter(|frame| !frame.is_empty()).rev();
        let locations: Vec<u64> = frames.map(|frame| self.frame(frame)).collect();
        let attributes: Vec<u64> =
            sample.attributes.iter().map(|(key, value)| self.attribute(key, value)).collect();
        let link = sample.link.as_ref().map(|(trace, span)| {
            let mut out = Vec::new();
            wire::bytes(&mut out, 1, trace);
            wire::bytes(&mut out, 2, span);
            self.links.push(out);
            self.links.len() as u64 - 1
        });
        let values: Vec<u64> = sample.values.iter().map(|value| *value as u64).collect();
        let mut out = Vec::new();
        if !self.release.has_stacks() {
            wire::number_unless_zero(&mut out, 1, indices.len() as u64);
            wire::number_unless_zero(&mut out, 2, locations.len() as u64);
            indices.extend(locations);
            wire::numbers(&mut out, 3, &values, true);
            wire::numbers(&mut out, 4, &attributes, true);
            if let Some(link) = link {
                wire::number(&mut out, 5, link);
            }
            wire::numbers(&mut out, 6, &sample.timestamps, true);
            return out;
        }
        let stack = self.stack(locations);
        wire::number_unless_zero(&mut out, 1, stack);
        if self.release < Release::V1_10 {
            wire::numbers(&mut out, 2, &values, true);
            wire::numbers(&mut out, 3, &attributes, true);
            wire::number_unless_zero(&mut out, 4, link.unwrap_or(0));
        } else {
            wire::numbers(&mut out, 2, &attributes, true);
            wire::number_unless_zero(&mut out, 3, link.unwrap_or(0));
            wire::numbers(&mut out, 4, &values, true);
        }
        if !sample.timestamps.is_empty() {
            let packed: Vec<u8> = sample.timestamps.iter().flat_map(|time| time.to_le_bytes()).collect();
            wire::bytes(&mut out, 5, &packed);
        }
        out
    }

    /// Mappings, locations, functions, links, strings, attributes: under these field numbers.
    fn tables(&self, out: &mut Vec<u8>, fields: [u64; 6]) {
        let tables = [&self.mappings, &self.locations, &self.functions, &self.links];
        for (field, table) in fields.into_iter().zip(tables) {
            table.iter().for_each(|entry| wire::bytes(out, field, entry));
        }
        self.strings.iter().for_each(|text| wire::bytes(out, fields[4], text.as_bytes()));
        self.attributes.iter().for_each(|entry| wire::bytes(out, fields[5], entry));
    }

    fn dictionary(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.tables(&mut out, [1, 2, 3, 4, 5, 6]);
        for stack in &self.stacks {
            let mut entry = Vec::new();
            wire::numbers(&mut entry, 1, stack, true);
            wire::bytes(&mut out, 7, &entry);
        }
        out
    }
}
