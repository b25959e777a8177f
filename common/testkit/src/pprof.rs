//! A small valid pprof from stacks, labels and values.

use std::collections::HashMap;
use std::io::Write;

use hearth_formats::pprof::{Function, Label, Line, Mapping, ValueType};

use crate::raw::{RawLocation, RawProfile, RawSample};

/// Gzip, as clients send it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// Builds a pprof: one mapping, and for each frame name one function with one location.
///
/// ```
/// let bytes = hearth_testkit::PprofBuilder::cpu().stack("main;work", &[1, 10]).encode();
/// # assert!(!bytes.is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct PprofBuilder {
    profile: RawProfile,
    strings: HashMap<String, i64>,
    locations: HashMap<String, u64>,
}

impl PprofBuilder {
    /// A profile with these (type, unit) columns and no samples yet.
    pub fn new(sample_types: &[(&str, &str)]) -> Self {
        let mut new =
            Self { profile: RawProfile::default(), strings: HashMap::new(), locations: HashMap::new() };
        new.string("");
        for (ty, unit) in sample_types {
            let value_type = new.value_type(ty, unit);
            new.profile.sample_types.push(value_type);
        }
        let filename = new.string("/bin/app");
        new.profile.mappings.push(Mapping {
            id: 1,
            memory_start: 0x1000,
            memory_limit: 0x9000_0000,
            filename,
            has_functions: true,
            ..Mapping::default()
        });
        new
    }

    /// `samples:count`, `cpu:nanoseconds`; a period of 10 ms, a duration of 15 s.
    pub fn cpu() -> Self {
        Self::new(&[("samples", "count"), ("cpu", "nanoseconds")])
            .period("cpu", "nanoseconds", 10_000_000)
            .duration_ns(15_000_000_000)
    }

    /// The four columns of a Go heap profile; period `space:bytes` of 512 KiB.
    pub fn heap() -> Self {
        Self::new(&[
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ])
        .period("space", "bytes", 512 << 10)
    }

    /// Sets the period.
    pub fn period(mut self, ty: &str, unit: &str, period: i64) -> Self {
        self.profile.period_type = Some(self.value_type(ty, unit));
        self.profile.period = period;
        self
    }

    /// Sets the time, in nanoseconds since the epoch.
    pub fn time_ns(mut self, time_ns: i64) -> Self {
        self.profile.time_ns = time_ns;
        self
    }

    /// Sets the duration.
    pub fn duration_ns(mut self, duration_ns: i64) -> Self {
        self.profile.duration_ns = duration_ns;
        self
    }

    /// Adds a sample: frames root first, separated by `;`.
    pub fn stack(self, frames: &str, values: &[i64]) -> Self {
        self.labelled(frames, values, &[])
    }

    /// Adds a sample with string labels.
    pub fn labelled(mut self, frames: &str, values: &[i64], labels: &[(&str, &str)]) -> Self {
        let frames = frames.split(';').filter(|frame| !frame.is_empty()).rev();
        let location_ids = frames.map(|frame| self.location(frame)).collect();
        let label = |builder: &mut Self, key: &str, value: &str| Label {
            key: builder.string(key),
            str: builder.string(value),
            ..Label::default()
        };
        let labels = labels.iter().map(|(key, value)| label(&mut self, key, value)).collect();
        self.profile.samples.push(RawSample { location_ids, values: values.to_vec(), labels });
        self
    }

    /// Adds a numeric label to the sample that was added last.
    pub fn number_label(mut self, key: &str, num: i64, unit: &str) -> Self {
        let label = Label { key: self.string(key), str: 0, num, num_unit: self.string(unit) };
        self.profile.samples.last_mut().expect("a sample was added before").labels.push(label);
        self
    }

    /// The index of a string, which is added if new: for tests that change the message.
    pub fn string(&mut self, text: &str) -> i64 {
        let strings = &mut self.profile.strings;
        *self.strings.entry(text.to_owned()).or_insert_with(|| {
            strings.push(text.as_bytes().to_vec());
            strings.len() as i64 - 1
        })
    }

    /// The message, to change what a test wants wrong.
    pub fn raw(self) -> RawProfile {
        self.profile
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.profile.encode()
    }

    /// The bytes, gzipped.
    pub fn encode_gzip(&self) -> Vec<u8> {
        gzip(&self.encode())
    }

    fn value_type(&mut self, ty: &str, unit: &str) -> ValueType {
        ValueType { ty: self.string(ty), unit: self.string(unit) }
    }

    fn location(&mut self, frame: &str) -> u64 {
        if let Some(id) = self.locations.get(frame) {
            return *id;
        }
        let id = self.profile.locations.len() as u64 + 1;
        let (name, filename) = (self.string(frame), self.string("app.go"));
        self.profile.functions.push(Function { id, name, system_name: name, filename, start_line: 1 });
        let lines = vec![Line { function_id: id, line: id as i64 + 10 }];
        let address = 0x1000 + 16 * id;
        self.profile.locations.push(RawLocation { id, mapping_id: 1, address, lines, is_folded: false });
        self.locations.insert(frame.to_owned(), id);
        id
    }
}
