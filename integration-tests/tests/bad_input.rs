//! Whatever comes in, the answer is a clear 4xx, the process lives, and memory stays bounded.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::Options;
use hearth_integration_tests::{Hearth, profile};
use hearth_testkit::wire;

const LABELS: [(&str, &str); 2] = [("__name__", "process_cpu"), ("service_name", "bad")];

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

#[test]
fn bombs_are_refused_with_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let api = hearth.api("t");
    let before_kib = hearth.proc_status_kib("VmHWM:");
    // The profile alone: 10 MB that inflate to 10 GB.
    let bomb = profile::bomb(10 << 30);
    let answer = api.push(&LABELS, &bomb).expect("an answer");
    assert_eq!(answer.status, 400, "{}", answer.text());
    // The message gzipped as a whole: some KB on the wire.
    let nested = profile::gzip(&profile::push_request(&LABELS, &bomb));
    assert!(nested.len() < 200_000, "{} bytes", nested.len());
    let answer =
        api.post_gzipped("/push.v1.PusherService/Push", "application/proto", &nested).expect("an answer");
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    // The body itself a bomb, in both kinds of routes.
    for path in ["/push.v1.PusherService/Push", "/querier.v1.QuerierService/SelectSeries"] {
        let answer = api.post_gzipped(path, "application/proto", &bomb).expect("an answer");
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    }
    let answer =
        api.post("/ingest?name=bomb&format=pprof", "application/octet-stream", &bomb).expect("an answer");
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    let grown_mib = (hearth.proc_status_kib("VmHWM:") - before_kib) / 1024;
    assert!(grown_mib < 600, "the peak grew by {grown_mib} MiB");
    hearth.stop();
}

/// A profile of nearly 4 MB that gzip to some KB: one string of 2 MiB, number 1, and as many of a field of 4 bytes as there is
/// room for, each of which means that string.
fn sharing(field: u64, member: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let message = |out: &mut Vec<u8>, field, members: &[(u64, u64)]| {
        let mut inner = Vec::new();
        members.iter().for_each(|(member, value)| wire::number(&mut inner, *member, *value));
        wire::bytes(out, field, &inner);
    };
    let long = vec![b'a'; 2 << 20];
    for string in [&b""[..], &long, b"samples", b"count", b"main"] {
        wire::bytes(&mut out, 6, string);
    }
    message(&mut out, 1, &[(1, 2), (2, 3)]);
    message(&mut out, 2, &[(1, 1), (2, 1)]);
    message(&mut out, 5, &[(1, 1), (2, 4)]);
    let mut line = Vec::new();
    wire::number(&mut line, 1, 1);
    let mut location = Vec::new();
    wire::number(&mut location, 1, 1);
    wire::bytes(&mut location, 4, &line);
    wire::bytes(&mut out, 4, &location);
    while out.len() < 4_000_000 {
        message(&mut out, field, &[(member, 1)]);
    }
    out
}

#[test]
fn texts_that_many_share_are_not_made_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let api = hearth.api("t");
    let before_kib = hearth.proc_status_kib("VmHWM:");
    let (types, functions, mappings) = (sharing(1, 1), sharing(5, 4), sharing(3, 6));
    for (query, profile, why) in [
        ("", &types, "sample types, more than"),
        ("&spyName=pyspy", &functions, "names of functions with their files"),
        ("&spyName=rbspy", &functions, "names of functions with their files"),
        ("&spyName=dotnetspy", &types, "sample types, more than"),
    ] {
        let profile = profile::gzip(profile);
        assert!(profile.len() < 50_000, "{} bytes", profile.len());
        let path = format!("/ingest?name=a&format=pprof{query}");
        let answer = api.post(&path, "application/octet-stream", &profile).expect("an answer");
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
    }
    // Of two bytes each, which would be fifty in memory.
    let mut series = Vec::new();
    (0..8 << 20).for_each(|_| wire::bytes(&mut series, 2, b""));
    let mut push = Vec::new();
    wire::bytes(&mut push, 1, &series);
    let push = profile::gzip(&push);
    let answer =
        api.post_gzipped("/push.v1.PusherService/Push", "application/proto", &push).expect("an answer");
    assert!(answer.status == 400 && answer.text().contains("send it in several"), "{}", answer.text());
    let labels = [LABELS[0], LABELS[1], ("service_repository", "https://example.com/a")];
    // One text for one build id, which is then too long, or cut.
    let answer = api.push(&labels, &profile::gzip(&mappings)).expect("an answer");
    assert!(answer.status == 200 || answer.status == 400, "{} {}", answer.status, answer.text());
    let grown_mib = (hearth.proc_status_kib("VmHWM:") - before_kib) / 1024;
    assert!(grown_mib < 400, "the peak grew by {grown_mib} MiB");
    hearth.stop();
}

#[test]
fn damaged_profiles_are_refused_and_good_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let api = hearth.api("t");
    let now_ns = now_ns();
    let (start_ms, end_ms) = (now_ns / 1_000_000 - 10_000, now_ns / 1_000_000 + 10_000);
    let good = profile::cpu(now_ns, &[(&["main", "a"], 100), (&["main", "b"], 23)]);
    let mut want = 0;
    // Each truncation and a bit flipped in each byte: accepted as another profile, or refused by a 4xx.
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        for body in [&good[..at], &flipped, &profile::gzip(&good)[..at.min(60)]] {
            let answer = api
                .push(&[("__name__", "process_cpu"), ("service_name", "mangled")], body)
                .expect("an answer");
            assert!(
                answer.status == 200 || (400..500).contains(&answer.status),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
    }
    let answer = api.push(&LABELS, &good).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    want += 123;
    assert_eq!(api.total("{service_name=\"bad\"}", start_ms, end_ms).expect("a total"), want);
    for body in ["", "{", "[]", "{\"start\":\"x\"}", "{\"label_selector\":5}"] {
        for method in
            ["SelectMergeStacktraces", "SelectSeries", "Series", "LabelValues", "Diff", "AnalyzeQuery"]
        {
            let path = format!("/querier.v1.QuerierService/{method}");
            let answer = api.post(&path, "application/json", body.as_bytes()).expect("an answer");
            assert!(answer.status < 500, "{method} {body}: {} {}", answer.status, answer.text());
        }
    }
    hearth.stop();
}
