//! A profile in pprof's format, from stacks with names.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hearth_common::TimestampNs;
use hearth_proto::google::v1 as pb;
use prost::Message;

use super::Gzipped;

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// A profile that is being put together: each text, function and place is in it once.
pub(super) struct Table {
    profile: pb::Profile,
    texts: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<Line>, u64>,
}

impl Table {
    /// With types of values, and what is counted every `period`.
    pub(super) fn new<const N: usize>(
        types: [(&str, &str); N],
        period_type: (&str, &str),
        period: i64,
    ) -> Self {
        let mut table = Self {
            profile: pb::Profile { period, ..pb::Profile::default() },
            texts: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        table.text("");
        for kind in types {
            let kind = table.value_type(kind);
            table.profile.sample_type.push(kind);
        }
        table.profile.period_type = Some(table.value_type(period_type));
        table
    }

    fn value_type(&mut self, (kind, unit): (&str, &str)) -> pb::ValueType {
        pb::ValueType { r#type: self.text(kind), unit: self.text(unit) }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        at
    }

    /// A place on a stack: the function there, and those that it is inlined into, innermost first.
    pub(super) fn location(&mut self, lines: Vec<Line>) -> u64 {
        if let Some(id) = self.locations.get(&lines) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let line = lines
            .iter()
            .map(|line| pb::Line { function_id: self.function(line), line: i64::from(line.line) });
        let line = line.collect();
        self.profile.location.push(pb::Location { id, line, ..pb::Location::default() });
        self.locations.insert(lines, id);
        id
    }

    fn function(&mut self, line: &Line) -> u64 {
        let (name, filename) = (self.text(&line.function), self.text(&line.file));
        let next = self.functions.len() as u64 + 1;
        let id = *self.functions.entry((name, filename)).or_insert(next);
        if id == next {
            let function = pb::Function { id, name, system_name: name, filename, ..pb::Function::default() };
            self.profile.function.push(function);
        }
        id
    }

    /// A stack, leaf first, with a value of each type.
    pub(super) fn sample(&mut self, location_id: Vec<u64>, value: Vec<i64>, labels: &[(&str, &str)]) {
        let label = labels.iter().map(|(key, text)| pb::Label {
            key: self.text(key),
            str: self.text(text),
            ..pb::Label::default()
        });
        let label = label.collect();
        self.profile.sample.push(pb::Sample { location_id, value, label });
    }

    pub(super) fn gzip(mut self, started: TimestampNs, took: Duration) -> Gzipped {
        self.profile.time_nanos = started.0;
        self.profile.duration_nanos = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let written = gzip.write_all(&self.profile.encode_to_vec());
        written.and_then(|()| gzip.finish()).expect("memory takes what is written")
    }
}
