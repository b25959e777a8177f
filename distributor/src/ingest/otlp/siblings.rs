//! Which profiles of an export are one profile: since v1.8 a profile has one sample type, so that a pprof of several types is
//! sent as several profiles of the same samples.
//!
//! Joined again they are what their sender measured: one profile whose samples have a value of each type, with stacks and
//! symbols once. Apart, a count of CPU samples beside their CPU time would be taken for CPU time once more.

use hearth_formats::otlp::{Link, Otlp, Profile, Sample, Tables, Text, ValueType};

use super::types::{CPU, TYPE_BYTES_MAX};
use super::{entry, text};

/// Profiles that are compared with one another; bounds the work that each of them can cause.
const RUN_MAX: usize = 16;

/// Consecutive profiles of an export that become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Siblings {
    /// The number of the first.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
    /// Whether CPU time of the same samples or times is in the export, be it in another profile.
    pub(super) has_cpu: bool,
}

impl Siblings {
    /// Their numbers.
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.first as usize..self.first as usize + self.count as usize
    }
}

/// All profiles that have samples, in their order. Linear in the export.
pub(crate) fn siblings(otlp: &Otlp<'_>) -> Vec<Siblings> {
    let mut out = Vec::with_capacity(otlp.profiles.len());
    let mut first = 0;
    while first < otlp.profiles.len() {
        let run = run(otlp, first);
        let has_cpu = run.types.contains(&Some(CPU));
        let begun = out.len();
        for number in first..first + run.types.len() {
            let profile = &otlp.profiles[number];
            if profile.samples.count == 0 {
                continue;
            }
            match out[begun..].last_mut() {
                Some(Siblings { first, count, .. })
                    if *first + *count == number as u32
                        && alike(otlp, &otlp.profiles[*first as usize], profile) =>
                {
                    *count += 1;
                }
                _ => out.push(Siblings { first: number as u32, count: 1, has_cpu }),
            }
        }
        first += run.types.len();
    }
    out
}

/// Type and unit.
type Type<'o> = (&'o str, &'o str);

/// Profiles from a first one on, about the same time and of different types.
struct Run<'o> {
    /// Of each profile of the run; `None` where it has no single readable one, or no samples.
    types: Vec<Option<Type<'o>>>,
}

fn run<'o>(otlp: &Otlp<'o>, first: usize) -> Run<'o> {
    let begin = &otlp.profiles[first];
    let mut types = vec![single(otlp, begin)];
    if !otlp.layout.has_stacks() {
        return Run { types };
    }
    for profile in otlp.profiles[first + 1..].iter().take(RUN_MAX - 1) {
        let ty = single(otlp, profile);
        if ty.is_none() || types.contains(&ty) || !same_times(otlp, begin, profile) {
            break;
        }
        types.push(ty);
    }
    Run { types }
}

fn single<'o>(otlp: &Otlp<'o>, profile: &Profile) -> Option<Type<'o>> {
    match &otlp.sample_types[profile.sample_types.range()] {
        [ty] if profile.samples.count > 0 => words(otlp, profile, *ty),
        _ => None,
    }
}

fn words<'o>(otlp: &Otlp<'o>, profile: &Profile, ty: ValueType) -> Option<Type<'o>> {
    let tables = &otlp.tables[profile.tables as usize];
    let bytes = |index| text(otlp, tables, Text::Index(index), "").ok();
    let word = |index| std::str::from_utf8(bytes(index).filter(|text| text.len() <= TYPE_BYTES_MAX)?).ok();
    Some((word(ty.ty)?, word(ty.unit)?))
}

fn same_times(otlp: &Otlp<'_>, one: &Profile, other: &Profile) -> bool {
    let times = |profile: &Profile| {
        (profile.scope, profile.tables, profile.time_unix_ns, profile.duration_ns, profile.period)
    };
    let period = |profile: &Profile| profile.period_type.map(|ty| words(otlp, profile, ty));
    times(one) == times(other) && period(one) == period(other)
}

/// Whether the samples of two profiles are the same but for their values.
fn alike(otlp: &Otlp<'_>, one: &Profile, other: &Profile) -> bool {
    let tables = &otlp.tables[one.tables as usize];
    let attributes = |sample: &Sample| &otlp.attribute_indices[sample.attributes.range()];
    let samples = |profile: &Profile| &otlp.samples[profile.samples.range()];
    one.samples.count == other.samples.count
        && samples(one).iter().zip(samples(other)).all(|(one, other)| {
            one.stack == other.stack
                // Two empty slices of an array that was never allocated take 50 ns to compare as such.
                && ((one.attributes.count, other.attributes.count) == (0, 0)
                    || attributes(one) == attributes(other))
                && (one.link == other.link || same_span(otlp, tables, one, other))
        })
}

/// Whether two samples are linked to one span by two entries of the table, as senders write that add one for each sample.
fn same_span(otlp: &Otlp<'_>, tables: &Tables, one: &Sample, other: &Sample) -> bool {
    let link = |sample: &Sample| entry(sample.link, tables.links, "").ok().map(|at| otlp.links[at]);
    // Ids have 8 and 16 bytes; longer ones, which are none, would cost more than the sample that refers to them.
    let is_short = |link: &Link<'_>| link.trace_id.len() <= 16 && link.span_id.len() <= 16;
    match (link(one), link(other)) {
        (Some(one), Some(other)) => {
            is_short(&one) && (one.trace_id, one.span_id) == (other.trace_id, other.span_id)
        }
        _ => false,
    }
}
