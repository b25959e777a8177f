//! Text stacks as a pprof: a function and a location for each distinct frame.

use hashbrown::HashMap;
use hearth_common::TimestampNs;
use hearth_formats::folded::TextStacks;
use hearth_formats::pprof::{Function, Line, Location, Pprof, Sample, ValueType};

use super::profile_type::TextType;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// What is known of a text profile beside its stacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextProfile {
    /// Type of its values.
    pub(crate) ty: TextType,
    /// Samples a second; 0 = values stay as they are.
    pub(crate) sample_rate: u32,
    /// Begin and end.
    pub(crate) times: (TimestampNs, TimestampNs),
}

/// The pprof of text stacks.
pub(crate) fn to_pprof<'a>(stacks: &TextStacks<'a>, profile: TextProfile) -> Pprof<'a> {
    let TextProfile { ty, sample_rate, times: (from, until) } = profile;
    let timed = ty.timed && sample_rate > 0;
    // Counts of samples that nobody can turn into time are shown as what they are.
    let (ty_name, unit) = if ty.timed && !timed { ("samples", "count") } else { (ty.ty, ty.unit) };
    let scale = if timed { NS_PER_SECOND / i64::from(sample_rate) } else { 1 };
    let strings: Vec<&'a [u8]> =
        [&b""[..], ty_name.as_bytes(), unit.as_bytes(), b"cpu", b"nanoseconds"].into();
    let mut pprof = Pprof {
        strings,
        sample_types: vec![ValueType { ty: 1, unit: 2 }],
        period_type: timed.then_some(ValueType { ty: 3, unit: 4 }),
        period: if timed { scale } else { 0 },
        time_ns: from.0,
        duration_ns: until.0.saturating_sub(from.0).max(0),
        ..Pprof::default()
    };
    let mut ids: HashMap<&'a str, u64> = HashMap::new();
    for (frames, value) in stacks.iter() {
        let sample = Sample {
            first_location: pprof.location_ids.len() as u32,
            location_count: frames.len() as u32,
            first_value: pprof.values.len() as u32,
            value_count: 1,
            ..Sample::default()
        };
        for frame in frames.iter().rev() {
            let next = ids.len() as u64 + 1;
            let id = *ids.entry(frame).or_insert(next);
            if id == next {
                push_frame(&mut pprof, frame, id);
            }
            pprof.location_ids.push(id);
        }
        pprof.values.push(value.saturating_mul(scale));
        pprof.samples.push(sample);
    }
    pprof
}

fn push_frame<'a>(pprof: &mut Pprof<'a>, frame: &'a str, id: u64) {
    let name = pprof.strings.len() as i64;
    pprof.strings.push(frame.as_bytes());
    pprof.functions.push(Function { id, name, ..Function::default() });
    let first_line = pprof.lines.len() as u32;
    pprof.lines.push(Line { function_id: id, line: 0 });
    pprof.locations.push(Location { id, first_line, line_count: 1, ..Location::default() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::profile_type;

    fn of(app: &str, sample_rate: u32) -> Pprof<'static> {
        let stacks = TextStacks::parse_groups(b"main;work 3\nmain 2\n").expect("valid");
        let (_, ty) = profile_type::of_app(app).expect("known");
        let times = (TimestampNs(5), TimestampNs(25));
        to_pprof(&stacks, TextProfile { ty, sample_rate, times })
    }

    #[test]
    fn stacks_become_samples() {
        let pprof = of("app", 49);
        assert_eq!(pprof.values, [3 * 20_408_163, 2 * 20_408_163]);
        assert_eq!(pprof.location_ids, [1, 2, 2], "leaf first");
        assert_eq!(pprof.strings[5..], [b"work".as_slice(), b"main"]);
        assert_eq!((pprof.time_ns, pprof.duration_ns, pprof.period), (5, 20, 20_408_163));
        assert_eq!(pprof.period_type, Some(ValueType { ty: 3, unit: 4 }));
    }

    #[test]
    fn values_without_a_rate_stay() {
        let pprof = of("app", 0);
        assert_eq!((pprof.values.as_slice(), pprof.period_type), ([3, 2].as_slice(), None));
        assert_eq!(pprof.strings[1..3], [b"samples".as_slice(), b"count"]);
        let pprof = of("app.inuse_space", 100);
        assert_eq!((pprof.values.as_slice(), pprof.period_type), ([3, 2].as_slice(), None));
        assert_eq!(pprof.strings[1..3], [b"inuse_space".as_slice(), b"bytes"]);
    }
}
