//! A writer of pprof, for formats that become one: strings once, messages as they come, never more bytes than allowed.

use hashbrown::HashMap;

/// A pprof in work. Messages may be added in any order; ids and indices are given out from 1.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    limit_bytes: usize,
    strings: HashMap<Box<str>, i64>,
    functions: u64,
    locations: u64,
    message: Vec<u8>,
    inner: Vec<u8>,
}

/// The profile does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile is larger than {limit_bytes} bytes")]
pub struct TooLarge {
    /// What was allowed.
    pub limit_bytes: usize,
}

impl Writer {
    /// An empty profile that may grow to `limit_bytes`. Beyond that nothing more is added, and [`Self::finish`] says so.
    pub fn new(limit_bytes: usize) -> Self {
        let mut writer = Self {
            out: Vec::new(),
            limit_bytes,
            strings: HashMap::new(),
            functions: 0,
            locations: 0,
            message: Vec::new(),
            inner: Vec::new(),
        };
        writer.string("");
        writer
    }

    /// Whether there is no room left.
    pub fn is_full(&self) -> bool {
        self.out.len() > self.limit_bytes
    }

    /// The index of a string.
    pub fn string(&mut self, text: &str) -> i64 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = self.strings.len() as i64;
        if !self.is_full() {
            self.strings.insert(text.into(), index);
            bytes(&mut self.out, 6, text.as_bytes());
        }
        index
    }

    /// Adds a type of values.
    pub fn sample_type(&mut self, ty: &str, unit: &str) {
        self.value_type(1, ty, unit);
    }

    /// Says what one unit of the values stands for.
    pub fn period(&mut self, ty: &str, unit: &str, period: i64) {
        self.value_type(11, ty, unit);
        number(&mut self.out, 12, period as u64);
    }

    /// Says when it begins and how long it took, in nanoseconds.
    pub fn times(&mut self, time_ns: i64, duration_ns: i64) {
        number(&mut self.out, 9, time_ns as u64);
        number(&mut self.out, 10, duration_ns as u64);
    }

    fn value_type(&mut self, field: u64, ty: &str, unit: &str) {
        let (ty, unit) = (self.string(ty), self.string(unit));
        self.message.clear();
        number(&mut self.message, 1, ty as u64);
        number(&mut self.message, 2, unit as u64);
        self.push(field);
    }

    /// Adds a function, whose name is the string of this index; its id.
    pub fn function(&mut self, name: i64) -> u64 {
        self.functions += 1;
        self.message.clear();
        number(&mut self.message, 1, self.functions);
        number(&mut self.message, 2, name as u64);
        self.push(5);
        self.functions
    }

    /// Adds a location of one line; its id.
    pub fn location(&mut self, function: u64, line: i64) -> u64 {
        self.locations += 1;
        self.inner.clear();
        number(&mut self.inner, 1, function);
        number(&mut self.inner, 2, line as u64);
        self.message.clear();
        number(&mut self.message, 1, self.locations);
        bytes(&mut self.message, 4, &self.inner);
        self.push(4);
        self.locations
    }

    /// Adds a sample: ids of locations, leaf first, values, and labels as pairs of strings.
    pub fn sample(&mut self, locations: impl Iterator<Item = u64>, values: &[i64], labels: &[(i64, i64)]) {
        if self.is_full() {
            return;
        }
        self.message.clear();
        self.inner.clear();
        locations.for_each(|id| varint(&mut self.inner, id));
        bytes(&mut self.message, 1, &self.inner);
        self.inner.clear();
        values.iter().for_each(|value| varint(&mut self.inner, *value as u64));
        bytes(&mut self.message, 2, &self.inner);
        for (key, value) in labels {
            self.inner.clear();
            number(&mut self.inner, 1, *key as u64);
            number(&mut self.inner, 2, *value as u64);
            bytes(&mut self.message, 3, &self.inner);
        }
        self.push(2);
    }

    /// Adds the message in work.
    fn push(&mut self, field: u64) {
        if !self.is_full() {
            bytes(&mut self.out, field, &self.message);
        }
    }

    /// The bytes.
    pub fn finish(self) -> Result<Vec<u8>, TooLarge> {
        if self.is_full() { Err(TooLarge { limit_bytes: self.limit_bytes }) } else { Ok(self.out) }
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        varint(out, field << 3);
        varint(out, value);
    }
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pprof::{Function, Label, Line, Location, Pprof, ValueType};

    fn small(limit_bytes: usize) -> Result<Vec<u8>, TooLarge> {
        let mut writer = Writer::new(limit_bytes);
        writer.times(5, 7);
        writer.sample_type("cpu", "nanoseconds");
        writer.period("cpu", "nanoseconds", 100);
        let name = writer.string("main");
        let function = writer.function(name);
        let location = writer.location(function, -3);
        let labels = [(writer.string("thread"), writer.string("cpu"))];
        writer.sample([location, location].into_iter(), &[-1], &labels);
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = small(1000).expect("fits");
        let mut pprof = Pprof::default();
        pprof.parse(&bytes).expect("valid");
        assert_eq!(pprof.strings, [b"".as_slice(), b"cpu", b"nanoseconds", b"main", b"thread"]);
        let ty = ValueType { ty: 1, unit: 2 };
        assert_eq!((pprof.sample_types.as_slice(), pprof.period_type), ([ty].as_slice(), Some(ty)));
        assert_eq!((pprof.time_ns, pprof.duration_ns, pprof.period), (5, 7, 100));
        assert_eq!(pprof.functions, [Function { id: 1, name: 3, ..Function::default() }]);
        assert_eq!(pprof.lines, [Line { function_id: 1, line: -3 }]);
        assert_eq!(pprof.locations, [Location { id: 1, line_count: 1, ..Location::default() }]);
        assert_eq!(
            (pprof.location_ids.as_slice(), pprof.values.as_slice()),
            ([1, 1].as_slice(), [-1].as_slice())
        );
        assert_eq!(pprof.labels, [Label { key: 4, str: 1, ..Label::default() }]);
    }

    #[test]
    fn the_limit_holds() {
        let size = small(1000).expect("fits").len();
        assert!(small(size).is_ok());
        for limit_bytes in 0..size {
            assert_eq!(small(limit_bytes), Err(TooLarge { limit_bytes }));
        }
    }
}
