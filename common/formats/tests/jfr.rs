//! Flight recordings: what is read of them, in every encoding, and what becomes of broken ones.

use hearth_formats::jfr::{Context, EventKind, Fault, NESTING_MAX, Recording, State};
use hearth_testkit::jfr::{Belongs, Chunk, Recorder, Value, array, field, pooled};
use proptest::prelude::*;

/// Rows as text: event, state, stack root first, count, value.
fn rows(recording: &Recording) -> Vec<String> {
    let stack = |at| {
        let frames = recording.stack(at).iter().rev().map(|location| {
            let location = recording.locations[*location as usize];
            let function = recording.functions[location.function as usize];
            format!(
                "{}.{}:{}",
                recording.text(function.class),
                recording.text(function.method),
                location.line
            )
        });
        frames.collect::<Vec<_>>().join(";")
    };
    let row = |row: &hearth_formats::jfr::Row| {
        let Context { id, span, span_name, trace } = recording.contexts[row.context as usize];
        let context = if id == 0 && span == 0 {
            String::new()
        } else {
            format!(" {id} {span:x} {span_name} {trace:x}")
        };
        format!("{:?} {:?} {} {} {}{context}", row.kind, row.state, stack(row.stack), row.count, row.value)
    };
    recording.rows.iter().map(row).collect()
}

fn recorder(compressed: bool) -> Recorder {
    let none = Belongs::default();
    let here = Belongs { context: 3, span: 0x1234, span_name: 5, trace: (1, -1) };
    Recorder::new(compressed)
        .setting("interval", "10ms")
        .setting("event", "itimer")
        .event("jdk.ExecutionSample", "java/lang/Thread.run:10;App.work:20", "STATE_DEFAULT", 0, none)
        .event("jdk.ExecutionSample", "java/lang/Thread.run:10;App.work:20", "STATE_DEFAULT", 0, none)
        .event("jdk.ExecutionSample", "java/lang/Thread.run:10;App.work:21", "STATE_SLEEPING", 0, here)
        .event("jdk.ExecutionSample", "", "STATE_DEFAULT", 0, none)
        .event("jdk.ObjectAllocationInNewTLAB", ".main:0;App.work:-1", "", 1 << 40, none)
        .event("jdk.ObjectAllocationInNewTLAB", ".main:0;App.work:-1", "", 300, none)
        .event("jdk.JavaMonitorEnter", "App.work:7", "", 12_345, none)
        .event("profiler.WallClockSample", "App.work:7", "STATE_RUNNABLE", 9, none)
}

const ROWS: [&str; 5] = [
    "ExecutionSample Other java/lang/Thread.run:10;App.work:20 2 0",
    "ExecutionSample Sleeping java/lang/Thread.run:10;App.work:21 1 0 3 1234 5 1ffffffffffffffff",
    "AllocationInNewTlab Unknown .main:0;App.work:-1 2 1099511628076",
    "MonitorEnter Unknown App.work:7 1 12345",
    "WallClockSample Runnable App.work:7 1 9",
];

#[test]
fn events_of_both_encodings_and_of_several_chunks() {
    for compressed in [false, true] {
        let bytes = recorder(compressed).encode();
        let recording = Recording::parse(&bytes).expect("valid");
        assert_eq!(rows(&recording), ROWS, "compressed: {compressed}");
        assert_eq!((recording.event(), recording.chunks), ("itimer", 1));
        let recording = Recording::parse(&[bytes, recorder(!compressed).encode()].concat()).expect("valid");
        assert_eq!(recording.chunks, 2);
        assert_eq!(recording.rows.iter().map(|row| row.count).sum::<i64>(), 14);
    }
    let empty = Recording::parse(b"").expect("nothing");
    assert_eq!((empty.rows.len(), empty.event(), empty.chunks), (0, "", 0));
}

#[test]
fn strings_of_all_encodings() {
    for strings in [3, 4, 5] {
        for compressed in [false, true] {
            let mut chunk = recorder(compressed).chunk();
            chunk.strings = strings;
            // Constants are written twice: the first of a key counts. Texts may be constants themselves.
            chunk.checkpoint(&[
                (32, vec![(1, Value::text("other"))]),
                (20, vec![(77, Value::Text(strings, "wall".into()))]),
            ]);
            chunk.event(
                100,
                vec![Value::Long(1), Value::Text(strings, "event".into()), Value::PooledText(77)],
            );
            let recording = Recording::parse(&chunk.encode()).expect("valid");
            assert_eq!((rows(&recording), recording.event()), (ROWS.map(str::to_owned).to_vec(), "wall"));
        }
    }
}

#[test]
fn what_is_not_known_is_passed_by() {
    for compressed in [false, true] {
        let mut chunk = recorder(compressed).chunk();
        chunk.class(
            60,
            "x.Inner",
            &[field("f", 6), field("d", 7), field("s", 20), array("a", 9), array("b", 8)],
        );
        chunk.class(61, "x.Empty", &[]);
        chunk.class(
            62,
            "x.Outer",
            &[array("i", 60), field("e", 61), array("ee", 61), pooled("p", 60), array("c", 20)],
        );
        let inner = Value::Struct(vec![
            Value::Raw(vec![0xff; 12]),
            Value::Text(4, "ä".into()),
            Value::Array(vec![Value::Short(-1); 3]),
            Value::Array(vec![Value::Byte(0xff); 2]),
        ]);
        let outer = Value::Struct(vec![
            Value::Array(vec![inner.clone(); 2]),
            Value::Int(1000),
            Value::Long(-1),
            Value::Array(vec![
                Value::Text(0, String::new()),
                Value::Text(1, String::new()),
                Value::PooledText(9),
            ]),
        ]);
        chunk.checkpoint(&[
            (62, vec![(1, outer.clone()), (2, outer)]),
            (60, vec![(1, inner)]),
            (32, vec![(99, Value::text("z"))]),
        ]);
        chunk.event(4711, vec![Value::Raw(vec![0xff; 40])]);
        let recording = Recording::parse(&chunk.encode()).expect("valid");
        assert_eq!(rows(&recording), ROWS, "compressed: {compressed}");
    }
}

fn fault(chunk: &Chunk) -> Fault {
    Recording::parse(&chunk.encode()).expect_err("broken").fault
}

#[test]
fn classes_in_classes_have_an_end() {
    // A class that holds itself, and a chain that is one too long.
    let mut chunk = recorder(true).chunk();
    chunk.class(60, "x.Self", &[field("again", 60)]);
    assert!(Recording::parse(&chunk.encode()).is_ok(), "nobody uses it");
    chunk.checkpoint(&[(60, vec![(1, Value::Raw(Vec::new()))])]);
    assert_eq!(fault(&chunk), Fault::Nesting { limit: NESTING_MAX });
    let chain = |length: i64| {
        let mut chunk = recorder(true).chunk();
        for at in 0..length {
            chunk.class(
                1000 + at,
                "x.Chain",
                &[field("next", if at + 1 == length { 10 } else { 1001 + at })],
            );
        }
        chunk.checkpoint(&[(1000, vec![(1, Value::Int(5))])]);
        Recording::parse(&chunk.encode()).map(|recording| recording.rows.len())
    };
    assert_eq!(chain(i64::from(NESTING_MAX)).ok(), Some(ROWS.len()));
    assert!(chain(i64::from(NESTING_MAX) + 1).is_err());
    // Each level holds the next a hundred times, and the last holds nothing: 100^16 values without a byte.
    let mut chunk = recorder(true).chunk();
    for at in 0..16 {
        let fields: Vec<_> = (0..100).map(|_| field("next", 1001 + at)).collect();
        chunk.class(1000 + at, "x.Wide", &fields);
    }
    chunk.class(1016, "x.Empty", &[]);
    chunk.checkpoint(&[(1001, vec![(1, Value::Raw(Vec::new()))])]);
    assert_eq!(
        Recording::parse(&chunk.encode()).map(|recording| recording.rows.len()).ok(),
        Some(ROWS.len())
    );
}

#[test]
fn giant_counts_are_refused_at_once() {
    for count in [i32::MAX, -1, 1 << 20] {
        let mut chunk = recorder(true).chunk();
        chunk.class(60, "x.Array", &[array("a", 10)]);
        chunk.checkpoint(&[(60, vec![(1, Value::Int(count))])]);
        assert!(matches!(fault(&chunk), Fault::Count { count: c, .. } if c == i64::from(count)), "{count}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let good = recorder(true).encode();
    let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let both = [&good[..], &bytes].concat();
        let error = Recording::parse(&both).expect_err("broken").to_string();
        assert!(error.starts_with("chunk 2, byte "), "{error}");
        assert!(error.contains(want), "{error}");
    };
    check(&|bytes| bytes[0] = 0x1f, "must begin with 'FLR' and a zero byte, here are the bytes 1f4c5200");
    check(&|bytes| bytes[5] = 1, "version 1.1 of the format is not supported");
    check(&|bytes| bytes[8..16].fill(0), "the chunk says that it has 0 bytes");
    check(&|bytes| bytes.truncate(bytes.len() - 1), "it is cut off, or was not finished");
    check(&|bytes| bytes.truncate(50), "it is cut off here");
    check(&|bytes| bytes[24..32].fill(0xff), "the metadata cannot be at byte -1");
    check(
        &|bytes| bytes[24..32].copy_from_slice(&68u64.to_be_bytes()),
        "an event of type 100 is where the metadata should be",
    );
    check(
        &|bytes| bytes[68..72].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]),
        "says that it has 268435455 bytes",
    );
    check(&|bytes| bytes[68] = 0x80, "an event of type 100 says that it has 0 bytes");
    let start = good.len();
    let error = Recording::parse(&[&good[..], b"FLX"].concat()).expect_err("broken");
    assert_eq!((error.chunk, error.at), (2, start));
    let mut chunk = recorder(true).chunk();
    chunk.class(60, "x.Odd", &[field("odd", 4711)]);
    chunk.checkpoint(&[(60, vec![(1, Value::Int(1))])]);
    let want = Fault::FieldClass { class: "x.Odd".into(), field: "odd".into(), id: 4711 };
    assert_eq!(fault(&chunk), want);
    let mut chunk = recorder(true).chunk();
    chunk.checkpoint(&[(4712, vec![(1, Value::Int(1))])]);
    assert_eq!(fault(&chunk), Fault::PoolClass { id: 4712 });
}

#[test]
fn what_is_cut_off_is_refused() {
    for compressed in [false, true] {
        let good = recorder(compressed).encode();
        for at in 1..good.len() {
            assert!(Recording::parse(&good[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn one_giant_name_in_many_methods_is_kept_once() {
    let mut chunk = recorder(true).chunk();
    let name = "n".repeat(1 << 20);
    let method = |_| Value::Struct(vec![Value::Long(900), Value::Long(900), Value::Long(0), Value::Byte(0)]);
    let frames = (0..20_000)
        .map(|at| Value::Struct(vec![Value::Long(1000 + at), Value::Int(0), Value::Int(0), Value::Long(0)]));
    let stack = Value::Struct(vec![Value::Byte(0), Value::Array(frames.collect())]);
    chunk.checkpoint(&[
        (32, vec![(900, Value::Text(4, name))]),
        (28, (1000..21_000).map(|key| (key, method(key))).collect()),
        (26, vec![(900, stack)]),
    ]);
    chunk.event(101, [1, 0, 0, 900, 1, 0, 0, 0, 0, 0].map(Value::Long).to_vec());
    let recording = Recording::parse(&chunk.encode()).expect("valid");
    let last = recording.rows.last().expect("a row");
    assert_eq!(recording.stack(last.stack).len(), 20_000);
    assert_eq!(recording.functions.last().map(|f| recording.text(f.method).len()), Some(1 << 20));
}

/// What the real recordings that lie beside the project hold, by the JDK's own `jfr summary` and `jfr print`.
#[test]
fn real_recordings() {
    let files = hearth_testkit::files::corpus_recordings();
    for file in &files {
        let recording = Recording::parse(&file.raw).expect("a real recording");
        let mut sums = std::collections::BTreeMap::<EventKind, (i64, i64)>::new();
        for row in &recording.rows {
            let sum = sums.entry(row.kind).or_default();
            sum.0 += row.count;
            sum.1 += row.value;
        }
        type Sums = [(EventKind, (i64, i64))];
        let (event, want): (&str, &Sums) = match file.name.as_str() {
            "dump2.jfr.gz" => (
                "wall",
                &[
                    (EventKind::ExecutionSample, (14_723, 0)),
                    (EventKind::AllocationInNewTlab, (4, 2_097_148)),
                    (EventKind::LiveObject, (4, 0)),
                ],
            ),
            _ => (
                "cpu",
                &[
                    (EventKind::ExecutionSample, (582, 0)),
                    (EventKind::AllocationInNewTlab, (7972, 1_598_335_640)),
                    (EventKind::AllocationOutsideTlab, (2238, 43_715_768)),
                    // In ticks, of which there are 2.8 a nanosecond.
                    (EventKind::MonitorEnter, (1773, 3_908_034_578)),
                    (EventKind::ThreadPark, (435, 100_900_692)),
                ],
            ),
        };
        assert_eq!(recording.event(), event, "{}", file.name);
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), want, "{}", file.name);
    }
}

const NAMES: [(&str, EventKind); 3] = [
    ("jdk.ExecutionSample", EventKind::ExecutionSample),
    ("jdk.ThreadPark", EventKind::ThreadPark),
    ("profiler.Malloc", EventKind::Malloc),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is recorded is found: counts and sums by event, state, context and stack.
    #[test]
    fn all_events_are_found(
        events in proptest::collection::vec((0usize..3, 0usize..4, 1i64..4, any::<i32>(), any::<bool>()), 0..60),
        compressed: bool,
    ) {
        let mut recorder = Recorder::new(compressed);
        let mut want = std::collections::BTreeMap::<(EventKind, State, String, i64), (i64, i64)>::new();
        for (event, depth, context, value, sleeping) in events {
            let frames: Vec<String> = (0..depth).map(|at| format!("p/C{at}.m:{}", at * 7)).collect();
            let (name, kind) = NAMES[event];
            let (state, of) =
                if sleeping { ("STATE_SLEEPING", State::Sleeping) } else { ("STATE_RUNNABLE", State::Runnable) };
            let (stack, value) = (frames.join(";"), i64::from(value));
            let belongs = Belongs { context, ..Belongs::default() };
            recorder = recorder.event(name, &stack, state, value, belongs);
            if depth > 0 {
                let entry = want.entry((kind, of, stack, context)).or_default();
                entry.0 += 1;
                entry.1 += if kind == EventKind::ExecutionSample { 0 } else { value };
            }
        }
        let recording = Recording::parse(&recorder.encode()).expect("valid");
        let got: std::collections::BTreeMap<_, _> = recording.rows.iter().zip(rows(&recording)).map(|(row, text)| {
            let stack = text.split(' ').nth(2).expect("a stack").to_owned();
            let context = recording.contexts[row.context as usize].id;
            ((row.kind, row.state, stack, context), (row.count, row.value))
        }).collect();
        prop_assert_eq!(got, want);
    }
}
