//! Writes pprofs for tests, from names.

use std::collections::HashMap;

/// A profile in the making. Stacks are given root first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builder {
    strings: Vec<String>,
    index: HashMap<String, u64>,
    types: Vec<(u64, u64)>,
    samples: Vec<Vec<u8>>,
    names: Vec<String>,
    missing: Vec<String>,
    mapping: Option<(u64, u64)>,
    time_ns: i64,
}

impl Builder {
    pub(crate) fn new(types: &[(&str, &str)]) -> Self {
        let mut builder = Self::default();
        builder.text("");
        builder.types = types.iter().map(|(ty, unit)| (builder.text(ty), builder.text(unit))).collect();
        builder
    }

    pub(crate) fn at(mut self, time_ns: i64) -> Self {
        self.time_ns = time_ns;
        self
    }

    pub(crate) fn mapping(mut self, file: &str, build_id: &str) -> Self {
        self.mapping = Some((self.text(file), self.text(build_id)));
        self
    }

    pub(crate) fn without_function(mut self, name: &str) -> Self {
        self.missing.push(name.to_owned());
        self
    }

    pub(crate) fn sample(mut self, stack: &[&str], values: &[i64], labels: &[(&str, &str)]) -> Self {
        let mut sample = Vec::new();
        let ids: Vec<u64> = stack.iter().rev().map(|name| self.location(name)).collect();
        let packed: Vec<u8> = ids.into_iter().flat_map(varint).collect();
        field(&mut sample, 1, &packed);
        let packed: Vec<u8> = values.iter().flat_map(|value| varint(*value as u64)).collect();
        field(&mut sample, 2, &packed);
        for (key, value) in labels {
            let (key, value) = (self.text(key), self.text(value));
            let label = numbers(&[(1, key), (2, value)]);
            field(&mut sample, 3, &label);
        }
        self.samples.push(sample);
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (ty, unit) in &self.types {
            field(&mut out, 1, &numbers(&[(1, *ty), (2, *unit)]));
        }
        self.samples.iter().for_each(|sample| field(&mut out, 2, sample));
        if let Some((file, build_id)) = self.mapping {
            field(&mut out, 3, &numbers(&[(1, 1), (5, file), (6, build_id)]));
        }
        for (id, name) in (1..).zip(&self.names) {
            let mut location = numbers(&[(1, id), (2, u64::from(self.mapping.is_some())), (3, 4096 + id)]);
            field(&mut location, 4, &numbers(&[(1, id), (2, 7)]));
            field(&mut out, 4, &location);
            if !self.missing.contains(name) {
                field(&mut out, 5, &numbers(&[(1, id), (2, self.index[name])]));
            }
        }
        self.strings.iter().for_each(|text| field(&mut out, 6, text.as_bytes()));
        out.extend(numbers(&[(9, self.time_ns as u64)]));
        out
    }

    fn text(&mut self, text: &str) -> u64 {
        if let Some(at) = self.index.get(text) {
            return *at;
        }
        let at = self.strings.len() as u64;
        self.strings.push(text.to_owned());
        self.index.insert(text.to_owned(), at);
        at
    }

    fn location(&mut self, name: &str) -> u64 {
        self.text(name);
        match self.names.iter().position(|n| n == name) {
            Some(at) => at as u64 + 1,
            None => {
                self.names.push(name.to_owned());
                self.names.len() as u64
            }
        }
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    out.extend(varint(number << 3 | 2));
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
}

fn numbers(pairs: &[(u64, u64)]) -> Vec<u8> {
    pairs.iter().flat_map(|(number, value)| [varint(number << 3), varint(*value)].concat()).collect()
}
