//! The events that profiles are made of: which fields of each count, and how they add up.

use hashbrown::HashMap;

use super::chunk::Chunk;
use super::layout::{Form, Layouts, Picks};
use super::metadata::Metadata;
use super::pools::Pools;
use super::resolve::{NONE, Resolver};
use super::{Broken, Context, EventKind, Recording, Row, State};

/// Type of the events that hold constants.
const CHECKPOINT: i64 = 1;
const ACTIVE_SETTING: &str = "jdk.ActiveSetting";
/// The setting that says what the profiler samples by.
const SETTING_EVENT: &str = "event";

/// (event, what it is, the field that is its value; none: every event counts 1 and nothing else).
const EVENTS: [(&str, EventKind, &str); 9] = [
    ("jdk.ExecutionSample", EventKind::ExecutionSample, ""),
    ("profiler.WallClockSample", EventKind::WallClockSample, "samples"),
    ("jdk.ObjectAllocationInNewTLAB", EventKind::AllocationInNewTlab, "tlabSize"),
    ("jdk.ObjectAllocationOutsideTLAB", EventKind::AllocationOutsideTlab, "allocationSize"),
    ("jdk.ObjectAllocationSample", EventKind::AllocationSample, "weight"),
    ("jdk.JavaMonitorEnter", EventKind::MonitorEnter, "duration"),
    ("jdk.ThreadPark", EventKind::ThreadPark, "duration"),
    ("profiler.LiveObject", EventKind::LiveObject, ""),
    ("profiler.Malloc", EventKind::Malloc, "size"),
];

const STACK: usize = 0;
const STATE: usize = 1;
const VALUE: usize = 7;

/// The fields of an event: its stack, its state, where it belongs, its value.
fn fields(value: &str) -> [&str; 8] {
    ["stackTrace", "state", "contextId", "spanId", "spanName", "traceIdHi", "traceIdLo", value]
}

/// An event of a chunk that counts.
struct Shape {
    id: i64,
    kind: EventKind,
    picks: Picks<8>,
}

/// What rows are found by, over all chunks.
#[derive(Default)]
pub(super) struct Known {
    rows: HashMap<(EventKind, State, u32, u32), u32>,
    contexts: HashMap<Context, u32>,
}

/// Adds one chunk to a recording.
pub(super) fn read(chunk: &Chunk<'_>, known: &mut Known, out: &mut Recording) -> Result<(), Broken> {
    let metadata = Metadata::new(chunk)?;
    let mut layouts = Layouts::new(&metadata);
    let start = chunk.cursor(chunk.metadata);
    let mut pools = Pools::new(start, &layouts);
    chunk.events(|ty, body| if ty == CHECKPOINT { pools.checkpoint(body, &mut layouts) } else { Ok(()) })?;
    let mut shapes = Vec::new();
    for (name, kind, value) in EVENTS {
        let Some(id) = metadata.id_of(name) else { continue };
        let Some(class) = metadata.class(id) else { continue };
        let picks = layouts.picks(class, fields(value)).map_err(|fault| start.broken(fault))?;
        shapes.push(Shape { id, kind, picks });
    }
    let setting = match metadata.id_of(ACTIVE_SETTING) {
        Some(id) => metadata.class(id).map(|class| (id, class)),
        None => None,
    };
    let setting = setting
        .map(|(id, class)| layouts.picks(class, ["name", "value"]).map(|picks| (id, picks)))
        .transpose()
        .map_err(|fault| start.broken(fault))?;
    let mut resolver = Resolver::new(&pools, &mut layouts, out).map_err(|fault| start.broken(fault))?;
    chunk.events(|ty, mut body| {
        if let Some(shape) = shapes.iter().find(|shape| shape.id == ty) {
            let values = resolver.layouts.pick(&mut body, &shape.picks)?;
            return row(&mut resolver, known, shape, values);
        }
        match &setting {
            Some((id, picks)) if *id == ty => {
                let [name, value] = resolver.layouts.pick(&mut body, picks)?;
                active_setting(&mut resolver, picks.forms, name, value)
            }
            _ => Ok(()),
        }
    })
}

/// Adds one event. Those without a stack show nothing and are left out.
fn row(
    resolver: &mut Resolver<'_, '_, '_>,
    known: &mut Known,
    shape: &Shape,
    values: [i64; 8],
) -> Result<(), Broken> {
    let forms = &shape.picks.forms;
    if !resolver.is_stack(forms[STACK]) {
        return Ok(());
    }
    let stack = resolver.stack(values[STACK])?;
    if stack == NONE {
        return Ok(());
    }
    let state = resolver.state(forms[STATE], values[STATE])?;
    let number = |slot: usize| if forms[slot] == Form::Number { values[slot] } else { 0 };
    let context = Context {
        id: number(2),
        span: number(3) as u64,
        span_name: number(4),
        trace: u128::from(number(5) as u64) << 64 | u128::from(number(6) as u64),
    };
    let out = &mut *resolver.out;
    let next = known.contexts.len() as u32;
    let context = *known.contexts.entry(context).or_insert_with_key(|context| {
        out.contexts.push(*context);
        next
    });
    let next = known.rows.len() as u32;
    let at = *known.rows.entry((shape.kind, state, stack, context)).or_insert_with(|| {
        out.rows.push(Row { kind: shape.kind, state, stack, context, count: 0, value: 0 });
        next
    });
    let row = &mut out.rows[at as usize];
    row.count += 1;
    // A profiler that does not join samples writes no number of them.
    let joined = shape.kind != EventKind::WallClockSample || forms[VALUE] == Form::Number;
    row.value = row.value.saturating_add(if joined { number(VALUE) } else { 1 });
    Ok(())
}

fn active_setting(
    resolver: &mut Resolver<'_, '_, '_>,
    forms: [Form; 2],
    name: i64,
    value: i64,
) -> Result<(), Broken> {
    let name = resolver.text(forms[0], name)?;
    if resolver.out.text(name) == SETTING_EVENT {
        let value = resolver.text(forms[1], value)?;
        resolver.out.event = value;
    }
    Ok(())
}
