//! A flight recording as profiles: which events become which (api-semantics §3.12, the table of JFR).
//!
//! Each profile is written as a pprof, so that it is limited, identified and read like one that a client sent.

mod frame;

use hashbrown::HashMap;
use hearth_common::TimestampNs;
use hearth_formats::jfr::snapshot::LabelsSnapshot;
use hearth_formats::jfr::{Context, EventKind, Recording, Row, State};
use hearth_formats::pprof::writer::{TooLarge, Writer};

const NS_PER_SECOND: i64 = 1_000_000_000;
/// What the profiler's setting `event` is when it samples all threads, whatever they do.
const WALL: &str = "wall";
const CPU: (&str, &str) = ("cpu", "nanoseconds");
const SPACE: (&str, &str) = ("space", "bytes");

/// What is known beside the recording.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Begin and end.
    pub(crate) times: (TimestampNs, TimestampNs),
    /// Samples a second; 0 = samples are worth nothing.
    pub(crate) sample_rate: u32,
}

/// One profile of a recording.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Its `__name__`.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) pprof: Vec<u8>,
}

/// A profile that recordings may hold.
struct Output {
    name: &'static str,
    /// Types and units of its values.
    types: &'static [(&'static str, &'static str)],
    period: Option<(&'static str, &'static str)>,
    takes: Takes,
}

/// What its values are.
enum Takes {
    /// Samples of threads that run, in time.
    Cpu,
    /// Samples of all threads, in time.
    Wall,
    /// How many events there are, and the sum of their values.
    CountAndValue(EventKind),
    /// How many events there are.
    Count(EventKind),
}

/// All of them, in the order in which they are made: it must not change, the identity of profiles of one name depends on it.
const OUTPUTS: [Output; 9] = [
    Output { name: "process_cpu", types: &[CPU], period: Some(CPU), takes: Takes::Cpu },
    Output {
        name: "wall",
        types: &[("wall", "nanoseconds")],
        period: Some(("wall", "nanoseconds")),
        takes: Takes::Wall,
    },
    Output {
        name: "memory",
        types: &[("alloc_in_new_tlab_objects", "count"), ("alloc_in_new_tlab_bytes", "bytes")],
        period: Some(SPACE),
        takes: Takes::CountAndValue(EventKind::AllocationInNewTlab),
    },
    Output {
        name: "memory",
        types: &[("alloc_outside_tlab_objects", "count"), ("alloc_outside_tlab_bytes", "bytes")],
        period: Some(SPACE),
        takes: Takes::CountAndValue(EventKind::AllocationOutsideTlab),
    },
    Output {
        name: "memory",
        types: &[("alloc_sample_objects", "count"), ("alloc_sample_bytes", "bytes")],
        period: Some(SPACE),
        takes: Takes::CountAndValue(EventKind::AllocationSample),
    },
    // Durations are handed on in the recording's ticks, as in the reference, whose answers are the measure here. Most
    // recordings count in nanoseconds; those of async-profiler 2 on x86 count cycles.
    Output {
        name: "mutex",
        types: &[("contentions", "count"), ("delay", "nanoseconds")],
        period: Some(("mutex", "count")),
        takes: Takes::CountAndValue(EventKind::MonitorEnter),
    },
    Output {
        name: "block",
        types: &[("contentions", "count"), ("delay", "nanoseconds")],
        period: Some(("block", "count")),
        takes: Takes::CountAndValue(EventKind::ThreadPark),
    },
    Output {
        name: "memory",
        types: &[("live", "count")],
        period: Some(("objects", "count")),
        takes: Takes::Count(EventKind::LiveObject),
    },
    Output {
        name: "memory",
        types: &[("malloc_objects", "count"), ("malloc_bytes", "bytes")],
        period: None,
        takes: Takes::CountAndValue(EventKind::Malloc),
    },
];

impl Takes {
    /// What a row is worth; `None` when it is not of this profile.
    fn worth(&self, row: &Row, wall: bool, period_ns: i64) -> Option<[i64; 2]> {
        let time = |samples: i64| Some([samples.saturating_mul(period_ns), 0]);
        match (self, row.kind) {
            (Self::Cpu, EventKind::ExecutionSample)
                if !matches!(row.state, State::Unknown | State::Sleeping) =>
            {
                time(row.count)
            }
            (Self::Cpu, EventKind::WallClockSample) if wall && row.state == State::Runnable => {
                time(row.value)
            }
            (Self::Wall, EventKind::ExecutionSample) if wall => time(row.count),
            (Self::Wall, EventKind::WallClockSample) => time(row.value),
            (Self::CountAndValue(of), kind) if *of == kind => Some([row.count, row.value]),
            (Self::Count(of), kind) if *of == kind => Some([row.count, 0]),
            _ => None,
        }
    }
}

/// The profiles that a recording holds, each of at most `limit_bytes`.
pub(crate) fn profiles(
    recording: &Recording,
    snapshot: &LabelsSnapshot<'_>,
    timing: Timing,
    limit_bytes: usize,
) -> Result<Vec<Profile>, (&'static str, TooLarge)> {
    let mut out = Vec::new();
    for output in &OUTPUTS {
        let maker = Maker::new(recording, snapshot, limit_bytes);
        if let Some(writer) = maker.make(output, timing) {
            out.push(Profile {
                name: output.name,
                pprof: writer.finish().map_err(|error| (output.name, error))?,
            });
        }
    }
    Ok(out)
}

/// Makes one profile: only what its rows use is written.
struct Maker<'r> {
    recording: &'r Recording,
    snapshot: &'r LabelsSnapshot<'r>,
    writer: Writer,
    /// Ids by function, location and context of the recording; 0 = not written yet.
    functions: Vec<u64>,
    locations: Vec<u64>,
    /// Indices of names by class and method: many functions may share long ones.
    names: HashMap<(u32, u32), i64>,
    name: String,
    /// Labels by the id of their context: many rows may have one of many labels.
    contexts: HashMap<i64, Vec<(i64, i64)>>,
    labels: Vec<(i64, i64)>,
}

impl<'r> Maker<'r> {
    fn new(recording: &'r Recording, snapshot: &'r LabelsSnapshot<'r>, limit_bytes: usize) -> Self {
        Self {
            recording,
            snapshot,
            writer: Writer::new(limit_bytes),
            functions: Vec::new(),
            locations: Vec::new(),
            names: HashMap::new(),
            name: String::new(),
            contexts: HashMap::new(),
            labels: Vec::new(),
        }
    }

    /// The profile; `None` when the recording has no rows of it.
    fn make(mut self, output: &Output, timing: Timing) -> Option<Writer> {
        let recording = self.recording;
        let wall = recording.event() == WALL;
        let Timing { times: (from, until), sample_rate } = timing;
        let period_ns = NS_PER_SECOND.checked_div(i64::from(sample_rate)).unwrap_or(0);
        let mut rows =
            recording.rows.iter().filter_map(|row| Some((row, output.takes.worth(row, wall, period_ns)?)));
        let first = rows.next()?;
        self.functions.resize(recording.functions.len(), 0);
        self.locations.resize(recording.locations.len(), 0);
        self.writer.times(from.0, until.0.saturating_sub(from.0).max(0));
        output.types.iter().for_each(|(ty, unit)| self.writer.sample_type(ty, unit));
        if let Some((ty, unit)) = output.period {
            let timed = matches!(output.takes, Takes::Cpu | Takes::Wall);
            self.writer.period(ty, unit, if timed { period_ns } else { 0 });
        }
        for (row, values) in std::iter::once(first).chain(rows) {
            if self.writer.is_full() {
                break;
            }
            let stack = recording.stack(row.stack);
            for location in stack {
                if self.writer.is_full() {
                    return Some(self.writer);
                }
                self.location(*location);
            }
            self.labels(&recording.contexts[row.context as usize]);
            let ids = stack.iter().map(|location| self.locations[*location as usize]);
            self.writer.sample(ids, &values[..output.types.len()], &self.labels);
        }
        Some(self.writer)
    }

    fn location(&mut self, index: u32) {
        if self.locations[index as usize] != 0 {
            return;
        }
        let location = self.recording.locations[index as usize];
        let id = &mut self.functions[location.function as usize];
        if *id == 0 {
            let function = self.recording.functions[location.function as usize];
            let name = *self.names.entry((function.class, function.method)).or_insert_with(|| {
                let (class, method) =
                    (self.recording.text(function.class), self.recording.text(function.method));
                frame::name(class, method, &mut self.name);
                self.writer.string(&self.name)
            });
            *id = self.writer.function(name);
        }
        self.locations[index as usize] = self.writer.location(*id, i64::from(location.line));
    }

    /// The labels of a context, then those of its span.
    fn labels(&mut self, context: &Context) {
        self.labels.clear();
        let mut pair = |(name, value): (&str, &str)| (self.writer.string(name), self.writer.string(value));
        if context.id != 0 {
            let known = self.contexts.entry(context.id);
            let of_context =
                known.or_insert_with(|| self.snapshot.labels(context.id).map(&mut pair).collect());
            self.labels.extend_from_slice(of_context);
        }
        let mut label = |name: &str, value: &str| self.labels.push(pair((name, value)));
        if context.span != 0 {
            label("profile_id", &format!("{:016x}", context.span));
        }
        if let Some(name) = self.snapshot.string(context.span_name).filter(|_| context.span_name != 0) {
            label("span_name", name);
        }
        if context.trace != 0 {
            label("trace_id", &format!("{:032x}", context.trace));
        }
    }
}

#[cfg(test)]
mod tests;
