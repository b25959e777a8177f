//! The tables of a dictionary, or of a profile, on their way to bytes.

use std::collections::HashMap;

use super::{AttributeValue, Attributes, Binary, Profile, Release, Sample};
use crate::wire;

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
pub(super) fn key_values(attributes: &Attributes, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    attributes.iter().for_each(|(key, value)| wire::bytes(&mut out, number, &key_value(key, value)));
    out
}

/// The tables of a dictionary, entries encoded. From v1.8 on entry 0 of each is the null entry.
pub(super) struct Tables {
    release: Release,
    strings: Vec<String>,
    string_places: HashMap<String, u64>,
    pub(super) mappings: Vec<Vec<u8>>,
    pub(super) locations: Vec<Vec<u8>>,
    pub(super) functions: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
    attributes: Vec<Vec<u8>>,
    attribute_places: HashMap<Vec<u8>, u64>,
    stacks: Vec<Vec<u64>>,
    stack_places: HashMap<Vec<u64>, u64>,
    frames: HashMap<String, u64>,
    binary: Binary,
    /// The mapping of all frames, once there is one.
    mapping: Option<u64>,
}

impl Tables {
    pub(super) fn new(release: Release, binary: &Binary) -> Self {
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
            binary: binary.clone(),
            mapping: None,
        }
    }

    pub(super) fn string(&mut self, text: &str) -> u64 {
        let next = self.strings.len() as u64;
        let at = *self.string_places.entry(text.to_owned()).or_insert(next);
        if at == next {
            self.strings.push(text.to_owned());
        }
        at
    }

    pub(super) fn attribute(&mut self, key: &str, value: &AttributeValue) -> u64 {
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

    pub(super) fn stack(&mut self, locations: Vec<u64>) -> u64 {
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
        let Binary { file, build_id, start, limit, offset } = self.binary.clone();
        let build_id = self.attribute("process.executable.build_id.gnu", &build_id.as_str().into());
        let filename = self.string(&file);
        let mut out = Vec::new();
        wire::number(&mut out, 1, start);
        wire::number(&mut out, 2, limit);
        wire::number_unless_zero(&mut out, 3, offset);
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

    pub(super) fn value_type(&mut self, (ty, unit): &(String, String)) -> Vec<u8> {
        let (ty, unit) = (self.string(ty), self.string(unit));
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, ty);
        wire::number_unless_zero(&mut out, 2, unit);
        out
    }

    /// The profile; with its own tables, where the release has them there.
    pub(super) fn profile(&mut self, profile: &Profile) -> Vec<u8> {
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

    pub(super) fn dictionary(&self) -> Vec<u8> {
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
