//! Nothing acknowledged is lost and nothing counts twice: kill −9 under load, restarts, retries, flushes under queries.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::Options;
use hearth_integration_tests::{Api, Hearth, profile};

const PUSHERS: u64 = 4;

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// One push: its own series value and time, so that no two are equal; the value is a power-free odd number so that sums
/// of different sets rarely agree by chance.
fn push_one(api: &Api, service: &str, base_ns: i64, n: u64) -> Option<i64> {
    let value = 1_000_003 + (n as i64 * 7919) % 1_000_000;
    let leaf = format!("leaf-{}", n % 97);
    let stacks: &[(&[&str], i64)] = &[(&["main", "work", &leaf], value), (&["main", "idle"], 17)];
    let body = profile::gzip(&profile::cpu(base_ns + n as i64 * 1_000, stacks));
    let pod = format!("pod-{}", n % 5);
    let labels = [("__name__", "process_cpu"), ("service_name", service), ("pod", &pod)];
    match api.push(&labels, &body) {
        Ok(answer) if answer.status == 200 => Some(value + 17),
        Ok(answer) => panic!("push refused: {} {}", answer.status, answer.text()),
        Err(_) => None,
    }
}

struct Load {
    acked: Mutex<Vec<(u64, i64)>>,
    unsure: Mutex<Vec<u64>>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// Pushes until told to stop or the server is gone.
fn load(api: &Api, base_ns: i64, state: &Load) {
    while !state.stop.load(Ordering::Relaxed) {
        let n = state.next.fetch_add(1, Ordering::Relaxed);
        match push_one(api, "load", base_ns, n) {
            Some(value) => state.acked.lock().unwrap().push((n, value)),
            None => {
                state.unsure.lock().unwrap().push(n);
                return;
            }
        }
    }
}

fn kill_rounds() -> u64 {
    std::env::var("HEARTH_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

#[test]
fn every_acknowledged_profile_survives_kill_9_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(&dir.path().join("data"));
    let base_ns = now_ns() / 1_000_000 * 1_000_000 - 60_000_000_000;
    let (start_ms, end_ms) = (base_ns / 1_000_000 - 1000, base_ns / 1_000_000 + 600_000);
    let state = Load {
        acked: Mutex::default(),
        unsure: Mutex::default(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    for round in 0..kill_rounds() {
        let hearth = Hearth::start(&options);
        let api = hearth.api("t");
        // What the last life acknowledged must be there at once, and what was in flight is sent again: it counts once.
        for n in std::mem::take(&mut *state.unsure.lock().unwrap()) {
            let value = push_one(&api, "load", base_ns, n).expect("the server is up");
            state.acked.lock().unwrap().push((n, value));
        }
        check_total(&api, &state, start_ms, end_ms);
        std::thread::scope(|scope| {
            for _ in 0..PUSHERS {
                scope.spawn(|| load(&api, base_ns, &state));
            }
            if round % 2 == 1 {
                scope.spawn(|| api.post("/flush", "application/json", b"").ok());
            }
            std::thread::sleep(Duration::from_millis(150 + 90 * (round % 7)));
            hearth.kill();
        });
    }
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    for n in std::mem::take(&mut *state.unsure.lock().unwrap()) {
        let value = push_one(&api, "load", base_ns, n).expect("the server is up");
        state.acked.lock().unwrap().push((n, value));
    }
    check_total(&api, &state, start_ms, end_ms);
    api.flush();
    check_total(&api, &state, start_ms, end_ms);
    hearth.stop();
    let hearth = Hearth::start(&options);
    check_total(&hearth.api("t"), &state, start_ms, end_ms);
    hearth.stop();
}

fn check_total(api: &Api, state: &Load, start_ms: i64, end_ms: i64) {
    let acked = state.acked.lock().unwrap();
    let want: i64 = acked.iter().map(|(_, value)| value).sum();
    let got = api.total("{service_name=\"load\"}", start_ms, end_ms).expect("a total");
    assert_eq!(got, want, "{} profiles were acknowledged", acked.len());
    for pod in 0..5u64 {
        let want: i64 = acked.iter().filter(|(n, _)| n % 5 == pod).map(|(_, value)| value).sum();
        let selector = format!("{{service_name=\"load\",pod=\"pod-{pod}\"}}");
        assert_eq!(api.total(&selector, start_ms, end_ms).expect("a total"), want, "pod {pod}");
    }
}

#[test]
fn a_retried_push_counts_once_before_and_after_flush_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(&dir.path().join("data"));
    let base_ns = now_ns() / 1_000_000 * 1_000_000;
    let (start_ms, end_ms) = (base_ns / 1_000_000 - 1000, base_ns / 1_000_000 + 1000);
    let hearth = Hearth::start(&options);
    let mut want = 0;
    let push = |hearth: &Hearth| push_one(&hearth.api("t"), "retry", base_ns, 1).expect("up");
    want += push(&hearth);
    push(&hearth);
    let total = |hearth: &Hearth| {
        hearth.api("t").total("{service_name=\"retry\"}", start_ms, end_ms).expect("a total")
    };
    assert_eq!(total(&hearth), want, "in the head");
    hearth.api("t").flush();
    push(&hearth);
    assert_eq!(total(&hearth), want, "after a flush");
    hearth.kill();
    let hearth = Hearth::start(&options);
    push(&hearth);
    assert_eq!(total(&hearth), want, "after kill and restart");
    hearth.stop();
    let hearth = Hearth::start(&options);
    push(&hearth);
    assert_eq!(total(&hearth), want, "after stop and restart");
    assert_eq!(
        hearth.api("other").total("{}", start_ms, end_ms).expect("a total"),
        0,
        "another tenant has nothing"
    );
    hearth.stop();
}

#[test]
fn queries_are_exact_while_data_moves_from_head_to_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let api = hearth.api("t");
    let base_ns = now_ns() / 1_000_000 * 1_000_000;
    let (start_ms, end_ms) = (base_ns / 1_000_000 - 1000, base_ns / 1_000_000 + 1000);
    let done = AtomicBool::new(false);
    let acked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            for n in 0..300 {
                acked.fetch_add(push_one(&api, "move", base_ns, n).expect("up") as u64, Ordering::SeqCst);
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                api.flush();
            }
        });
        while !done.load(Ordering::SeqCst) && !pusher.is_finished() {
            let before = acked.load(Ordering::SeqCst) as i64;
            let got = api.series_total("{service_name=\"move\"}", start_ms, end_ms).expect("an answer");
            // One push may be visible before its pusher has counted it; a push is at most 2,000,020.
            let after = acked.load(Ordering::SeqCst) as i64 + 2_000_020;
            assert!((before..=after).contains(&got), "{before} ≤ {got} ≤ {after}");
        }
    });
    let want = acked.load(Ordering::SeqCst) as i64;
    assert_eq!(api.total("{service_name=\"move\"}", start_ms, end_ms).expect("a total"), want);
    hearth.stop();
}

#[test]
fn a_full_log_refuses_pushes_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("wal:\n  segment_bytes: 65536\n  quota_bytes: 262144\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    let base_ns = now_ns() / 1_000_000 * 1_000_000;
    let (start_ms, end_ms) = (base_ns / 1_000_000 - 1000, base_ns / 1_000_000 + 1000);
    let labels = [("__name__", "process_cpu"), ("service_name", "full")];
    let mut want = 0;
    let mut refused = 0;
    for n in 0..400i64 {
        let frames: Vec<String> = (0..60).map(|f| format!("function-{n}-{f}-{}", "x".repeat(40))).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let body = profile::cpu(base_ns + n, &[(&frames, 1000 + n)]);
        let answer = api.push(&labels, &body).expect("an answer");
        match answer.status {
            200 => want += 1000 + n,
            429 | 503 => refused += 1,
            other => panic!("{other} {}", answer.text()),
        }
    }
    assert_eq!(api.total("{service_name=\"full\"}", start_ms, end_ms).expect("a total"), want);
    let hearth = {
        hearth.kill();
        Hearth::start(&options)
    };
    assert_eq!(hearth.api("t").total("{service_name=\"full\"}", start_ms, end_ms).expect("a total"), want);
    // The quota makes room by publishing; either way nothing may be lost, and a refusal must be a clear one.
    assert!(want > 0, "refused {refused} of 400");
    hearth.stop();
}
