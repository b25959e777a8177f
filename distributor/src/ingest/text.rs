//! Stacks of text-like formats as a pprof: a function and a location for each distinct frame.

use hearth_common::TimestampNs;
use hearth_formats::pprof::{Function, Line, Location, Pprof, Sample, ValueType};
use hearth_formats::stacks::StackTree;

use super::profile_type::TextType;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// What the values of stacks are, where their type is a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    /// Samples, so many a second; 0 = nobody knows how many, they are shown as what they are.
    Samples(u32),
    /// Nanoseconds already.
    Ns,
}

impl Values {
    /// Nanoseconds in one; `None` = it is no time.
    pub(crate) fn ns(self) -> Option<i64> {
        match self {
            Self::Samples(0) => None,
            // A rate above that of the clock may not make values vanish.
            Self::Samples(rate) => Some((NS_PER_SECOND / i64::from(rate)).max(1)),
            Self::Ns => Some(1),
        }
    }
}

/// What is known of a text profile beside its stacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextProfile {
    /// Type of its values.
    pub(crate) ty: TextType,
    /// What they are.
    pub(crate) values: Values,
    /// Begin and end.
    pub(crate) times: (TimestampNs, TimestampNs),
}

/// The pprof would be larger than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// The pprof of stacks and its size in bytes, encoded. Ends as soon as the size is beyond `size_bytes_max`: a tree says many
/// stacks with few bytes.
pub(crate) fn to_pprof(
    stacks: &StackTree,
    profile: TextProfile,
    size_bytes_max: usize,
) -> Result<(Pprof<'_>, usize), TooLarge> {
    let TextProfile { ty, values, times: (from, until) } = profile;
    let scale = if ty.timed { values.ns() } else { None };
    // Counts of samples that nobody can turn into time are shown as what they are.
    let (ty_name, unit) = if ty.timed && scale.is_none() { ("samples", "count") } else { (ty.ty, ty.unit) };
    let pprof = Pprof {
        strings: [&b""[..], ty_name.as_bytes(), unit.as_bytes(), b"cpu", b"nanoseconds"].into(),
        sample_types: vec![ValueType { ty: 1, unit: 2 }],
        period_type: scale.map(|_| ValueType { ty: 3, unit: 4 }),
        period: scale.unwrap_or(0),
        time_ns: from.0,
        duration_ns: until.0.saturating_sub(from.0).max(0),
        ..Pprof::default()
    };
    let names: Vec<&str> = stacks.names().collect();
    let mut building = Building { pprof, locations: vec![0; names.len()], names, size_bytes: 0 };
    for (stack, value) in stacks.stacks() {
        let first_location = building.pprof.location_ids.len();
        for name in stacks.frames(stack) {
            building.frame(name);
            if building.size_bytes > size_bytes_max {
                return Err(TooLarge);
            }
        }
        building.sample(first_location, value.saturating_mul(scale.unwrap_or(1)));
    }
    let Building { pprof, size_bytes, .. } = building;
    if size_bytes > size_bytes_max { Err(TooLarge) } else { Ok((pprof, size_bytes)) }
}

struct Building<'a> {
    pprof: Pprof<'a>,
    names: Vec<&'a str>,
    /// The location of each name; 0 = it has none yet.
    locations: Vec<u64>,
    size_bytes: usize,
}

impl Building<'_> {
    fn frame(&mut self, name: u32) {
        let mut id = self.locations[name as usize];
        if id == 0 {
            id = self.pprof.locations.len() as u64 + 1;
            self.locations[name as usize] = id;
            self.location(name, id);
        }
        self.pprof.location_ids.push(id);
        self.size_bytes += varint_bytes(id);
    }

    /// A function and a location of one line.
    fn location(&mut self, name: u32, id: u64) {
        let text = self.names[name as usize].as_bytes();
        let at = self.pprof.strings.len() as i64;
        self.pprof.strings.push(text);
        self.pprof.functions.push(Function { id, name: at, ..Function::default() });
        let first_line = self.pprof.lines.len() as u32;
        self.pprof.lines.push(Line { function_id: id, line: 0 });
        self.pprof.locations.push(Location { id, first_line, line_count: 1, ..Location::default() });
        let function = 3 + varint_bytes(id) + varint_bytes(at as u64);
        let location = 5 + 2 * varint_bytes(id);
        self.size_bytes += field_bytes(text.len()) + field_bytes(function) + field_bytes(location);
    }

    fn sample(&mut self, first_location: usize, value: i64) {
        let location_count = self.pprof.location_ids.len() - first_location;
        self.pprof.samples.push(Sample {
            first_location: first_location as u32,
            location_count: location_count as u32,
            first_value: self.pprof.values.len() as u32,
            value_count: 1,
            ..Sample::default()
        });
        self.pprof.values.push(value);
        // Its ids are counted already.
        self.size_bytes += 4 + varint_bytes(location_count as u64) + varint_bytes(value as u64);
    }
}

/// Bytes of a field with so many bytes in it.
fn field_bytes(bytes: usize) -> usize {
    1 + varint_bytes(bytes as u64) + bytes
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use hearth_formats::folded;
    use hearth_formats::stacks::StackLimits;

    use super::*;
    use crate::ingest::profile_type;

    const LIMITS: StackLimits = StackLimits { size_bytes_max: 1 << 20, name_bytes_max: 0, children_max: 0 };

    fn profile(app: &str, values: Values) -> TextProfile {
        let (_, ty) = profile_type::of_app(app).expect("known");
        TextProfile { ty, values, times: (TimestampNs(5), TimestampNs(25)) }
    }

    fn stacks() -> StackTree {
        folded::parse_groups(b"main;work 3\nmain 2\nother 0\n", LIMITS).expect("valid")
    }

    #[test]
    fn stacks_become_samples() {
        let stacks = stacks();
        let (pprof, _) = to_pprof(&stacks, profile("app", Values::Samples(49)), 1000).expect("small");
        assert_eq!(pprof.values, [2 * 20_408_163, 3 * 20_408_163]);
        assert_eq!(pprof.location_ids, [1, 2, 1], "leaf first");
        assert_eq!(pprof.strings[5..], [b"main".as_slice(), b"work"]);
        assert_eq!((pprof.time_ns, pprof.duration_ns, pprof.period), (5, 20, 20_408_163));
        assert_eq!(pprof.period_type, Some(ValueType { ty: 3, unit: 4 }));
        for (values, want) in [(Values::Ns, [2, 3]), (Values::Samples(u32::MAX), [2, 3])] {
            let (pprof, _) = to_pprof(&stacks, profile("app.wall", values), 1000).expect("small");
            assert_eq!(pprof.values, want, "{values:?}");
        }
    }

    #[test]
    fn values_without_a_rate_stay() {
        let stacks = stacks();
        let (pprof, _) = to_pprof(&stacks, profile("app", Values::Samples(0)), 1000).expect("small");
        assert_eq!((pprof.values.as_slice(), pprof.period_type), ([2, 3].as_slice(), None));
        assert_eq!(pprof.strings[1..3], [b"samples".as_slice(), b"count"]);
        let inuse = profile("app.inuse_space", Values::Samples(100));
        let (pprof, _) = to_pprof(&stacks, inuse, 1000).expect("small");
        assert_eq!((pprof.values.as_slice(), pprof.period_type), ([2, 3].as_slice(), None));
        assert_eq!(pprof.strings[1..3], [b"inuse_space".as_slice(), b"bytes"]);
    }

    /// A tree of n nodes in one line says n²/2 frames.
    #[test]
    fn few_bytes_do_not_become_many() {
        let mut stacks = StackTree::new(LIMITS);
        let mut at = hearth_formats::stacks::StackId::ROOT;
        for _ in 0..100_000 {
            at = stacks.child(at, "f").expect("fits");
            stacks.add(at, 1);
        }
        let got = to_pprof(&stacks, profile("app", Values::Ns), 4 << 20).map(drop);
        assert_eq!(got, Err(TooLarge));
    }

    #[test]
    fn sizes_are_those_of_pprof() {
        let stacks = stacks();
        let (_, size) = to_pprof(&stacks, profile("app.bytes", Values::Ns), 1000).expect("small");
        // Two names, two functions (2 + 4 bytes), two locations (2 + 7... of one line each), two samples.
        let (names, functions, locations, samples) = (2 * 6, 2 * (2 + 5), 2 * (2 + 7), (7 + 8 - 1) + 1);
        assert_eq!(size, names + functions + locations + samples);
        for (value, want) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            assert_eq!(varint_bytes(value), want, "{value}");
        }
    }
}
