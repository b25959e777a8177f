//! Made-up profiles, records of them, and what is checked of rows alone.

use hearth_common::{Rid, TimestampNs};
use hearth_formats::record::{Function, Line, Location, Mapping, Record, RecordHeader, SpanRow};
use hearth_model::spans::{SpanId, TraceId};

use super::*;

/// The start of a UTC day.
pub(crate) const DAY_NS: i64 = 19_676 * 86_400_000_000_000;
pub(crate) const NAMES: [&str; 2] = ["cpu", "memory"];
pub(crate) const SERVICES: [&str; 3] = ["web", "a", ""];
pub(crate) const TYPE_SETS: [&[(&str, &str)]; 3] = [
    &[("cpu", "ns")],
    &[("cpu", "ns"), ("samples", "count")],
    &[("objects", "count"), ("cpu", "ns"), ("space", "bytes")],
];
const FRAMES: [&str; 6] = ["main", "work", "leaf", "io", "main", "(no lines)"];
/// The address of frame 5, in the file `bin`.
pub(crate) const NATIVE_ADDRESS: u64 = 0x50;

/// A small generator of numbers: what it gives depends on the seed alone.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A profile as a test sees it.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) journal: u32,
    pub(crate) position: u64,
    pub(crate) rid: u128,
    pub(crate) time: i64,
    pub(crate) name: &'static str,
    pub(crate) service: &'static str,
    pub(crate) pod: &'static str,
    pub(crate) types: &'static [(&'static str, &'static str)],
    /// Frames root first, by number; the values by type. May repeat stacks and be all zero.
    pub(crate) stacks: Vec<(Vec<usize>, Vec<i64>)>,
    /// Stack, span, trace, values.
    pub(crate) spans: Vec<(usize, SpanId, Option<TraceId>, Vec<i64>)>,
    pub(crate) note: Option<&'static str>,
}

pub(crate) fn made_up(random: &mut Random, position: u64) -> Profile {
    let pick = |random: &mut Random, all: &[&'static str]| all[random.below(all.len() as u64) as usize];
    let types = TYPE_SETS[random.below(3) as usize];
    let values = |random: &mut Random| types.iter().map(|_| random.below(4) as i64 * 300).collect::<Vec<_>>();
    let stacks: Vec<(Vec<usize>, Vec<i64>)> = (0..random.below(7))
        .map(|_| {
            let frames = (0..random.below(5)).map(|_| random.below(FRAMES.len() as u64) as usize).collect();
            (frames, values(random))
        })
        .collect();
    let spans = (0..if stacks.is_empty() { 0 } else { random.below(3) })
        .map(|_| {
            let trace = (random.below(2) == 0).then_some([random.below(3) as u8 + 1; 16]);
            let stack = random.below(stacks.len() as u64) as usize;
            let values = stacks[stack].1.iter().map(|v| v / 2).collect();
            (stack, random.below(3) + 1, trace, values)
        })
        .collect();
    Profile {
        journal: random.below(2) as u32,
        position,
        rid: u128::from(position) << 64 | 5,
        // Around the end of a day.
        time: DAY_NS + (random.below(20) as i64 - 10) * 500_000_000,
        name: pick(random, &NAMES),
        service: pick(random, &SERVICES),
        pod: pick(random, &["p1", "p2", "p3"]),
        types,
        stacks,
        spans,
        note: (random.below(4) == 0).then(|| pick(random, &["x", "y"])),
    }
}

/// The names of a frame's lines, outermost first. Frame 3 has an inlined line, frame 4 another file than frame 0, frame 5 an
/// address only.
pub(crate) fn lines_of(frame: usize) -> Vec<&'static str> {
    match frame {
        3 => vec!["io", "inlined"],
        5 => Vec::new(),
        _ => vec![FRAMES[frame]],
    }
}

/// The record of a profile.
pub(crate) fn record_of(profile: &Profile) -> (RecordHeader<'static>, Record<'static>) {
    let mut record = Record { period_type: ("cpu", "ns"), period: 10, duration_ns: 77, ..Record::default() };
    let labels = [("__name__", profile.name), ("pod", profile.pod), ("service_name", profile.service)];
    record.labels = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    record.sample_types = profile.types.to_vec();
    record.strings = vec!["", "main", "work", "leaf", "io", "inlined", "a.rs", "b.rs", "bin"];
    record.mappings = vec![Mapping { file: 8, ..Mapping::default() }];
    let function = |name, file| Function { name, system_name: name, file, start_line: 1 };
    record.functions =
        vec![function(1, 6), function(2, 6), function(3, 6), function(4, 6), function(1, 7), function(5, 6)];
    // Leaf first within a location.
    let lines = [&[0u32][..], &[1], &[2], &[5, 3], &[4], &[]];
    for functions in lines {
        let first_line = record.lines.len() as u32;
        record.lines.extend(functions.iter().map(|function| Line { function: *function, line: 3 }));
        let line_count = functions.len() as u32;
        let address = if functions.is_empty() { NATIVE_ADDRESS } else { 0 };
        record.locations.push(Location { mapping_plus_1: 1, address, first_line, line_count });
    }
    for (frames, values) in &profile.stacks {
        record.frames.extend(frames.iter().map(|frame| *frame as u32));
        record.stack_ends.push(record.frames.len() as u32);
        record.values.extend(values);
    }
    for (stack, span, trace, values) in &profile.spans {
        record.spans.push(SpanRow { stack: *stack as u32, span: *span, trace: *trace });
        record.span_values.extend(values);
    }
    record.annotations = profile.note.iter().map(|note| ("note", *note)).collect();
    let header = RecordHeader {
        tenant: "t",
        rid: Rid(profile.rid),
        service_hash: 0,
        series_hash: 0,
        time: TimestampNs(profile.time),
    };
    (header, record)
}

pub(crate) fn head_of(profiles: &[Profile]) -> Arc<Head> {
    let head = Head::new(HashKey::new(0x1234_5678_9abc_def0_1122_3344_5566_7788));
    let mut scratch = Scratch::default();
    for profile in profiles {
        let (header, record) = record_of(profile);
        let place = Place { journal: profile.journal, position: profile.position };
        head.add(place, &header, &record, &mut scratch);
    }
    Arc::new(head)
}

#[test]
fn a_chunk_of_rows_reads_back() {
    let mut random = Random(11);
    let mut scratch = rows::RowScratch::default();
    let (mut bytes, mut kept) = (Vec::new(), Vec::new());
    for position in 1..400 {
        let profile = made_up(&mut random, position);
        let (header, record) = record_of(&profile);
        let head = rows::RowHead {
            journal: 3,
            position,
            time: header.time,
            rid: header.rid,
            duration_ns: -5,
            period: 9,
            type_set: 2,
        };
        // One stack number for two stacks now and then: their values add up.
        let stacks: Vec<u32> = (0..profile.stacks.len() as u32).map(|at| 1000 - at / 2 * 300).collect();
        let encoded = rows::encode(&head, &record, &stacks, &mut scratch, &mut bytes);
        if encoded.values > 0 {
            kept.push((head, profile, stacks));
        }
    }
    let read: Vec<Row<'_>> = Rows::new(&bytes).collect();
    assert_eq!(read.len(), kept.len());
    for (row, (head, profile, stacks)) in read.iter().zip(&kept) {
        assert_eq!(row.head, *head);
        for column in 0..profile.types.len() {
            let mut want = std::collections::BTreeMap::new();
            for (stack, (_, values)) in stacks.iter().zip(&profile.stacks) {
                *want.entry(*stack).or_insert(0) += values[column];
            }
            let want: Vec<(u32, i64)> = want.into_iter().filter(|(_, value)| *value > 0).collect();
            let mut got = Vec::new();
            row.sorted_samples(column, &mut got);
            assert_eq!(got, want);
            let total = want.iter().map(|(_, value)| value).sum::<i64>();
            assert_eq!(row.total(column), (total, want.len() as u64));
            let mut spans = 0;
            row.spans(column, |span| spans += span.value);
            assert_eq!(spans, profile.spans.iter().map(|span| span.3[column]).sum::<i64>());
        }
        assert_eq!(row.annotations().len(), usize::from(profile.note.is_some()));
    }
}

#[test]
fn a_snapshot_does_not_change_while_the_head_grows() {
    let mut random = Random(5);
    let profiles: Vec<Profile> = (1..60).map(|position| made_up(&mut random, position)).collect();
    let head = head_of(&profiles[..30]);
    let before: Vec<UnitView> = head.units().iter().map(|unit| unit.view(true, |_| true)).collect();
    let rows = |views: &[UnitView]| {
        let chunks = views.iter().flat_map(|view| &view.series).flat_map(|series| &series.chunks);
        chunks.map(|chunk| Rows::new(&chunk.bytes).count()).sum::<usize>()
    };
    let count = rows(&before);
    let mut scratch = Scratch::default();
    for profile in &profiles[30..] {
        let (header, record) = record_of(profile);
        let place = Place { journal: profile.journal, position: profile.position };
        head.add(place, &header, &record, &mut scratch);
    }
    assert_eq!(rows(&before), count);
    head.seal();
    let after: Vec<UnitView> = head.units().iter().map(|unit| unit.view(true, |_| true)).collect();
    assert!(rows(&after) > count);
    assert!(head.sizes().bytes > 0);
}
