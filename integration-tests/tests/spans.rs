//! Samples of spans and traces are found in memory, in fresh blocks and in merged ones.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::CPU;
use hearth_integration_tests::process::{OPEN_LIMITS, Options};
use hearth_integration_tests::{Api, Hearth, profile};
use serde_json::{Value, json};

const DAY_MS: i64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(120);
const SPANS: [&str; 2] = ["00000000000000aa", "00000000000000bb"];
const TRACES: [&str; 2] = ["000102030405060708090a0b0c0d0e0f", "ffffffffffffffffffffffffffffffff"];

/// Profiles of one service, in both protocols; 1,000,000 n tells them apart.
fn push(api: &Api, at_ms: i64, n: i64) {
    let (one, two) = (n * 1_000_000 + 1, n * 1_000_000 + 20);
    let (first, second) = ([("span_id", SPANS[0]), ("trace_id", TRACES[0])], [("profile_id", SPANS[1])]);
    let samples: [profile::Labelled<'_>; 4] = [
        (&["main", "work"], one, &first),
        (&["main", "work"], two, &second),
        (&["main", "idle"], 300, &[]),
        (&["main", "work"], 4000, &[("trace_id", TRACES[1])]),
    ];
    let body = profile::labelled_cpu((at_ms + n) * 1_000_000, &samples);
    let answer = if n % 2 == 0 {
        api.push(&[("__name__", "process_cpu"), ("service_name", "spans")], &body)
    } else {
        api.post("/ingest?name=spans&format=pprof", "application/octet-stream", &body)
    };
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What a question selects in all.
fn total(api: &Api, method: &str, at_ms: i64, selector: Value) -> i64 {
    let mut question = json!({"profile_typeID": CPU, "label_selector": "{service_name=\"spans\"}",
        "start": at_ms - 1000, "end": at_ms + 1000});
    question.as_object_mut().unwrap().extend(selector.as_object().unwrap().clone());
    let answer = api.query(method, &question);
    assert_eq!(answer.status, 200, "{method} {question}: {}", answer.text());
    let total = &answer.json()["flamegraph"]["total"];
    total.as_str().map_or(0, |text| text.parse().unwrap())
}

fn check(api: &Api, at_ms: i64, pushed: i64, stage: &str) {
    let sum: i64 = (0..pushed).map(|n| n * 1_000_000).sum();
    let (first, second) = (sum + pushed, sum + 20 * pushed);
    let merge = "SelectMergeStacktraces";
    for (method, selector, want) in [
        (merge, json!({}), first + second + 4300 * pushed),
        (merge, json!({"span_selector": [SPANS[0]]}), first),
        (merge, json!({"span_selector": SPANS}), first + second),
        ("SelectMergeSpanProfile", json!({"span_selector": [SPANS[1]]}), second),
        ("SelectMergeSpanProfile", json!({"span_selector": ["00000000000000cc"]}), 0),
        ("SelectMergeSpanProfile", json!({}), 0),
        (merge, json!({"trace_id_selector": [TRACES[0]]}), first),
        (merge, json!({"trace_id_selector": [TRACES[1]]}), 4000 * pushed),
        (merge, json!({"trace_id_selector": TRACES}), first + 4000 * pushed),
    ] {
        assert_eq!(total(api, method, at_ms, selector.clone()), want, "{stage}: {method} {selector}");
    }
}

#[test]
fn spans_and_traces_are_found_at_each_level() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    let config = |compactor: &str| {
        format!("{OPEN_LIMITS}  max_query_lookback: 0\n  max_query_length: 0\ncompactor: {{{compactor}}}\n")
    };
    options.config = config("interval: 0");
    let hearth = Hearth::start(&options);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    // Noon, three days ago: a day that is merged.
    let at_ms = now_ms / DAY_MS * DAY_MS - 3 * DAY_MS + DAY_MS / 2;
    let api = hearth.api("t");
    for n in 0..6 {
        push(&api, at_ms, n);
        check(&api, at_ms, n + 1, "in memory");
        api.flush();
        check(&api, at_ms, n + 1, "flushed");
    }
    hearth.stop();
    options.config = config("interval: 100ms, merge_blocks: 4, settle_age: 100000h");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    let done = r#"hearth_compactor_jobs_total{why="day",outcome="done"}"#;
    let merged = |api: &Api| {
        let metrics = api.get("/metrics").unwrap().text();
        metrics.lines().any(|line| line.starts_with(done) && !line.ends_with(" 0"))
    };
    let started = Instant::now();
    while !merged(&api) {
        assert!(started.elapsed() < PATIENCE, "not merged within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    check(&api, at_ms, 6, "merged");
    hearth.stop();
}
