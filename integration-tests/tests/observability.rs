//! What a process tells of itself: whether it lives.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::faults::{self, FailingCalls};
use hearth_integration_tests::process::Options;
use hearth_integration_tests::{Api, Hearth, profile};

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn push(api: &Api, service: &str) -> u16 {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let body = profile::gzip(&profile::cpu(now_ns, &[(&["main", "work"], 17)]));
    api.push(&[("__name__", "process_cpu"), ("service_name", service)], &body).unwrap().status
}

fn alive(api: &Api) -> (u16, String) {
    let answer = api.get("/healthz").unwrap();
    (answer.status, answer.text())
}

#[test]
fn an_fsync_that_does_not_come_back_is_not_alive_until_it_does() {
    if !faults::can("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("liveness:\n  stalled_after: 2s\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    assert_eq!(push(&api, "before"), 200);
    assert_eq!(alive(&api), (200, "alive".to_owned()));
    let slow = FailingCalls::inject(hearth.pid(), "fsync,fdatasync", "delay_exit=8000000");
    let pushing = {
        let api = hearth.api("t");
        std::thread::spawn(move || {
            let answers = (0..100).map(|n| push(&api, &format!("during-{n}")));
            // Until one of them waits for the disk.
            let waited = answers.scan(Instant::now(), |since, status| {
                let took = since.elapsed();
                *since = Instant::now();
                Some((status, took))
            });
            waited.into_iter().find(|(_, took)| *took > Duration::from_secs(1)).map(|(status, _)| status)
        })
    };
    until("the log is stuck", || {
        let (status, text) = alive(&api);
        status == 503 && text.starts_with("stuck: wal: no progress for ")
    });
    let metrics = api.get("/metrics").unwrap().text();
    assert!(metrics.contains("hearth_loop_stalled{loop=\"wal\"} 1"), "{metrics}");
    assert!(metrics.contains("hearth_loop_stalled{loop=\"runtime\"} 0"), "{metrics}");
    drop(slow);
    assert_eq!(pushing.join().unwrap(), Some(200), "a slow disk loses nothing");
    until("the log goes on", || alive(&api) == (200, "alive".to_owned()));
    let log = hearth.log_text();
    assert!(log.contains("a part of the process is stuck: wal"), "{log}");
    hearth.stop();
}
