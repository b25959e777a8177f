use std::collections::BTreeMap;

use hearth_formats::pprof::Pprof;
use hearth_testkit::jfr::{Belongs, Recorder};
use hearth_testkit::wire;

use super::*;

fn timing(sample_rate: u32) -> Timing {
    Timing { times: (TimestampNs(1_000), TimestampNs(3_500)), sample_rate }
}

fn made(recorder: Recorder, snapshot: &[u8], sample_rate: u32) -> Vec<Profile> {
    let recording = Recording::parse(&recorder.encode()).expect("valid");
    let snapshot = LabelsSnapshot::parse(snapshot).expect("valid");
    profiles(&recording, &snapshot, timing(sample_rate), 1 << 20).expect("fits")
}

/// Name and types of a profile with its period, then each stack (root first) with its labels and values.
fn text(profile: &Profile) -> (String, BTreeMap<String, Vec<i64>>) {
    let mut pprof = Pprof::default();
    pprof.parse(&profile.pprof).expect("valid");
    let string = |at: i64| String::from_utf8_lossy(pprof.strings[at as usize]).into_owned();
    let ty = |ty: &hearth_formats::pprof::ValueType| format!("{}:{}", string(ty.ty), string(ty.unit));
    let types: Vec<String> = pprof.sample_types.iter().map(ty).collect();
    let period = pprof.period_type.as_ref().map(ty).unwrap_or_default();
    assert_eq!((pprof.time_ns, pprof.duration_ns), (1_000, 2_500));
    let mut out = BTreeMap::<String, Vec<i64>>::new();
    for sample in &pprof.samples {
        let at = sample.first_location as usize;
        let ids = &pprof.location_ids[at..at + sample.location_count as usize];
        let names = ids.iter().rev().map(|id| {
            let line = pprof.lines[pprof.locations[*id as usize - 1].first_line as usize];
            format!("{}:{}", string(pprof.functions[line.function_id as usize - 1].name), line.line)
        });
        let at = sample.first_label as usize;
        let labels = pprof.labels[at..at + sample.label_count as usize].iter();
        let labels = labels.map(|label| format!(" {}={}", string(label.key), string(label.str)));
        let key = names.collect::<Vec<_>>().join(";") + &labels.collect::<String>();
        let at = sample.first_value as usize;
        let values = &pprof.values[at..at + sample.value_count as usize];
        let sums = out.entry(key).or_insert_with(|| vec![0; values.len()]);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    (format!("{} {} {period} {}", profile.name, types.join(","), pprof.period), out)
}

/// A stack and its values.
type Row<'a> = (&'a str, &'a [i64]);

fn check(profiles: &[Profile], want: &[(&str, &[Row<'_>])]) {
    let got: Vec<_> = profiles.iter().map(text).collect();
    let want: Vec<_> = want
        .iter()
        .map(|(head, stacks)| {
            let stacks = stacks.iter().map(|(stack, values)| ((*stack).to_owned(), values.to_vec()));
            ((*head).to_owned(), stacks.collect::<BTreeMap<_, _>>())
        })
        .collect();
    assert_eq!(got, want);
}

const NONE: Belongs = Belongs { context: 0, span: 0, span_name: 0, trace: (0, 0) };

#[test]
fn samples_in_time() {
    let samples = |event: &str| {
        Recorder::new(true)
            .setting("event", event)
            .event("jdk.ExecutionSample", "a/B.run:3;a/B.work:4", "STATE_RUNNABLE", 0, NONE)
            .event("jdk.ExecutionSample", "a/B.run:3;a/B.work:4", "STATE_DEFAULT", 0, NONE)
            .event("jdk.ExecutionSample", "a/B.run:3;a/B.wait:5", "STATE_SLEEPING", 0, NONE)
            .event("jdk.ExecutionSample", "a/B.run:3;a/B.odd:6", "", 0, NONE)
            .event("profiler.WallClockSample", "a/B.run:3;a/B.work:4", "STATE_RUNNABLE", 5, NONE)
            .event("profiler.WallClockSample", "a/B.run:3;a/B.wait:5", "STATE_SLEEPING", 7, NONE)
    };
    let cpu = "process_cpu cpu:nanoseconds cpu:nanoseconds 10000000";
    let wall = "wall wall:nanoseconds wall:nanoseconds 10000000";
    check(
        &made(samples("itimer"), b"", 100),
        &[
            (cpu, &[("a/B.run:3;a/B.work:4", &[20_000_000])]),
            (wall, &[("a/B.run:3;a/B.wait:5", &[70_000_000]), ("a/B.run:3;a/B.work:4", &[50_000_000])]),
        ],
    );
    check(
        &made(samples("wall"), b"", 100),
        &[
            (cpu, &[("a/B.run:3;a/B.work:4", &[70_000_000])]),
            (
                wall,
                &[
                    ("a/B.run:3;a/B.odd:6", &[10_000_000]),
                    ("a/B.run:3;a/B.wait:5", &[80_000_000]),
                    ("a/B.run:3;a/B.work:4", &[70_000_000]),
                ],
            ),
        ],
    );
    let [profile, _] = &made(samples("itimer"), b"", 0)[..] else { panic!("two") };
    assert_eq!(text(profile).1["a/B.run:3;a/B.work:4"], [0], "no rate, no time");
}

#[test]
fn counts_and_values() {
    let event = |recorder: Recorder, name, value| recorder.event(name, "X.f:1", "", value, NONE);
    let mut recorder = Recorder::new(false);
    for (name, value) in [
        ("jdk.ObjectAllocationInNewTLAB", 1000),
        ("jdk.ObjectAllocationInNewTLAB", 24),
        ("jdk.ObjectAllocationOutsideTLAB", 5000),
        ("jdk.ObjectAllocationSample", 600),
        ("jdk.JavaMonitorEnter", 70),
        ("jdk.ThreadPark", 80),
        ("profiler.LiveObject", 9),
        ("profiler.Malloc", 64),
    ] {
        recorder = event(recorder, name, value);
    }
    let space = "space:bytes 0";
    check(
        &made(recorder, b"", 100),
        &[
            (
                &format!("memory alloc_in_new_tlab_objects:count,alloc_in_new_tlab_bytes:bytes {space}"),
                &[("X.f:1", &[2, 1024])],
            ),
            (
                &format!("memory alloc_outside_tlab_objects:count,alloc_outside_tlab_bytes:bytes {space}"),
                &[("X.f:1", &[1, 5000])],
            ),
            (
                &format!("memory alloc_sample_objects:count,alloc_sample_bytes:bytes {space}"),
                &[("X.f:1", &[1, 600])],
            ),
            ("mutex contentions:count,delay:nanoseconds mutex:count 0", &[("X.f:1", &[1, 70])]),
            ("block contentions:count,delay:nanoseconds block:count 0", &[("X.f:1", &[1, 80])]),
            ("memory live:count objects:count 0", &[("X.f:1", &[1])]),
            ("memory malloc_objects:count,malloc_bytes:bytes  0", &[("X.f:1", &[1, 64])]),
        ],
    );
}

#[test]
fn contexts_and_spans_are_labels() {
    let mut snapshot = Vec::new();
    let mut entry = |field: u64, key: u64, value: &[u8]| {
        let mut inner = Vec::new();
        wire::number(&mut inner, 1, key);
        wire::bytes(&mut inner, 2, value);
        wire::bytes(&mut snapshot, field, &inner);
    };
    let mut labels = Vec::new();
    wire::bytes(&mut labels, 1, &[8, 1, 16, 2]);
    entry(1, 3, &labels);
    entry(2, 1, b"path");
    entry(2, 2, b"slow");
    entry(2, 5, b"GET /");
    let span = Belongs { context: 3, span: -2, span_name: 5, trace: (0x10, 0xff) };
    let recorder = Recorder::new(true)
        .event("jdk.ExecutionSample", "X.f:1", "STATE_DEFAULT", 0, span)
        .event("jdk.ExecutionSample", "X.f:1", "STATE_DEFAULT", 0, Belongs { context: 3, ..NONE })
        .event(
            "jdk.ExecutionSample",
            "X.f:1",
            "STATE_DEFAULT",
            0,
            Belongs { context: 4, span_name: 6, ..NONE },
        )
        .event("jdk.ExecutionSample", "X.f:1", "STATE_DEFAULT", 0, NONE);
    let head = "process_cpu cpu:nanoseconds cpu:nanoseconds 20000000";
    let labels = "X.f:1 path=slow profile_id=fffffffffffffffe span_name=GET / trace_id=000000000000001000000000000000ff";
    check(
        &made(recorder, &snapshot, 50),
        &[(head, &[("X.f:1", &[40_000_000]), ("X.f:1 path=slow", &[20_000_000]), (labels, &[20_000_000])])],
    );
}

#[test]
fn each_profile_is_limited() {
    let recorder = Recorder::new(true).event("jdk.ThreadPark", "X.f:1", "", 5, NONE);
    let recording = Recording::parse(&recorder.encode()).expect("valid");
    let refused = profiles(&recording, &LabelsSnapshot::default(), timing(100), 60);
    assert_eq!(refused.map(|made| made.len()), Err(("block", TooLarge { limit_bytes: 60 })));
    assert!(made(Recorder::new(true), b"", 100).is_empty(), "nothing recorded, no profile");
}
