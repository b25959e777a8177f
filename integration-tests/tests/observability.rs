//! What a process tells of itself: whether it lives, and how requests go through it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::cluster::Plan;
use hearth_integration_tests::collector::{Collector, Span};
use hearth_integration_tests::faults::{self, FailingCalls};
use hearth_integration_tests::process::{OPEN_LIMITS, Options};
use hearth_integration_tests::{Api, Cluster, Hearth, profile};

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

/// What queries count of a service that was pushed lately.
fn pushed(api: &Api, service: &str) -> i64 {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let selector = format!("{{service_name=\"{service}\"}}");
    api.series_total(&selector, now_ms - 600_000, now_ms + 60_000).unwrap()
}

/// A process that is not alive when a loop stands still for two seconds.
fn watched(dir: &Path) -> Options {
    let mut options = Options::new(&dir.join("data"));
    options.config.push_str("liveness:\n  stalled_after: 2s\n");
    options
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
    let options = watched(dir.path());
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
    until("the log says so", || hearth.log_text().contains("a part of the process is stuck: wal"));
    drop(slow);
    assert_eq!(pushing.join().unwrap(), Some(200), "a slow disk loses nothing");
    until("the log goes on", || alive(&api) == (200, "alive".to_owned()));
    hearth.stop();
}

#[test]
fn a_log_that_has_failed_is_not_alive_until_the_process_starts_again() {
    if !faults::can("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = watched(dir.path());
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    assert_eq!(push(&api, "before"), 200);
    let failing = FailingCalls::inject(hearth.pid(), "fsync,fdatasync", "error=EIO");
    until("a push is refused", || push(&api, "during") != 200);
    // The disk is well again, and the log does not believe it.
    drop(failing);
    until("the process is to be restarted", || alive(&api).0 == 503);
    let text = alive(&api).1;
    assert!(text.starts_with("stuck: wal: no progress for "), "{text}");
    assert!(api.get("/ready").unwrap().text().contains("the write-ahead log has failed"));
    assert_ne!(push(&api, "after"), 200);
    hearth.kill();
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    assert_eq!(pushed(&api, "before"), 17, "what was acknowledged is on the disk");
    assert_eq!((alive(&api).0, push(&api, "again")), (200, 200));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(alive(&api), (200, "alive".to_owned()));
    hearth.stop();
}

/// Status of the health service over Connect.
fn health(api: &Api) -> String {
    let answer = api.post("/grpc.health.v1.Health/Check", "application/json", b"{}").unwrap();
    answer.json()["status"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn requests_are_served_while_a_process_says_that_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("shutdown_delay: 4s\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    assert_eq!((health(&api).as_str(), api.get("/ready").unwrap().status), ("SERVING", 200));
    let stopping = Instant::now();
    faults::run(&["kill", "-TERM", &hearth.pid().to_string()]);
    until("it says that it stops", || health(&api) == "NOT_SERVING");
    let ready = api.get("/ready").unwrap();
    assert!(ready.status == 503 && ready.text().contains("stopping"), "{}", ready.text());
    // On a new connection, too: load balancers may not know yet.
    assert_eq!(push(&hearth.api("t"), "late"), 200);
    assert_eq!(alive(&hearth.api("")), (200, "alive".to_owned()));
    assert!(stopping.elapsed() < Duration::from_secs(4), "the test was too slow to see anything");
    let took = hearth.ended();
    assert!(stopping.elapsed() >= Duration::from_secs(4) && took < Duration::from_secs(20), "{took:?}");
    // A second signal ends the pause, and what was acknowledged in it is there.
    let hearth = Hearth::start(&options);
    assert_eq!(pushed(&hearth.api("t"), "late"), 17);
    let stopping = Instant::now();
    faults::run(&["kill", "-TERM", &hearth.pid().to_string()]);
    until("it says that it stops", || health(&hearth.api("")) == "NOT_SERVING");
    faults::run(&["kill", "-TERM", &hearth.pid().to_string()]);
    hearth.gone();
    assert!(stopping.elapsed() < Duration::from_secs(4), "{:?}", stopping.elapsed());
}

/// A request that carries a trace and a secret.
fn send(url: &str, traceparent: &str, content_type: &str, body: &[u8]) -> u16 {
    let mut request = ureq::post(url).header("content-type", content_type).header("X-Scope-OrgID", "t");
    if !traceparent.is_empty() {
        request = request.header("traceparent", traceparent);
    }
    request.header("authorization", &format!("Bearer {SECRET}")).send(body).unwrap().status().as_u16()
}

const SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0";

/// The spans of a trace as a chain, each the child of the one before; the first is a child of `parent`.
fn chain(collector: &Collector, trace_id: &str, parent: &str, len: usize) -> Vec<Span> {
    until("the spans of a trace", || collector.spans(trace_id).len() >= len);
    let spans = collector.spans(trace_id);
    let mut chain: Vec<Span> = Vec::new();
    let mut parent = parent.to_owned();
    while let Some(next) = spans.iter().find(|span| span.parent_id == parent) {
        parent = next.span_id.clone();
        chain.push(next.clone());
    }
    assert_eq!(chain.len(), spans.len(), "{spans:#?}");
    chain
}

#[test]
fn a_push_and_a_query_through_a_cluster_are_a_trace_each() {
    let collector = Collector::start();
    let config = format!(
        "{OPEN_LIMITS}tracing:\n  otlp_endpoint: {}\n  sample_ratio: 0\nlog:\n  format: json\n  level: info,hearth_rpc=debug\n",
        collector.url
    );
    let one = Plan { factor: 1, ingesters: 1, distributors: 1, queriers: 1, compactors: 0, config };
    let mut cluster = Cluster::prepare(one);
    cluster.set_args("distributor-0", &["--log-level", "trace"]);
    cluster.launch_all();
    let url = |name: &str| {
        let (ip, [port, ..]) = cluster.ports(name);
        format!("http://{ip}:{port}")
    };
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let pprof = profile::gzip(&profile::cpu(now_ns, &[(&["main", "work"], 17)]));
    let labels = [("__name__", "process_cpu"), ("service_name", "shop")];
    let body = profile::push_request(&labels, &pprof);
    let push = format!("{}/push.v1.PusherService/Push", url("distributor-0"));
    // Nobody samples this one.
    assert_eq!(send(&push, "", "application/proto", &body), 200);
    let (pushed, asked) = ("4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737");
    assert_eq!(send(&push, &format!("00-{pushed}-00f067aa0ba902b7-01"), "application/proto", &body), 200);
    let spans = chain(&collector, pushed, "00f067aa0ba902b7", 3);
    let seen: Vec<_> = spans.iter().map(|s| (s.service.as_str(), s.name.as_str(), s.kind)).collect();
    let expect = [
        ("hearth-distributor", "POST /push.v1.PusherService/Push", 2),
        ("hearth-distributor", "push", 3),
        ("hearth-ingester", "push", 2),
    ];
    assert_eq!(seen, expect);
    let attributes = &spans[0].attributes;
    assert_eq!(attributes["hearth.tenant"], "t");
    assert_eq!(attributes["http.response.status_code"], "200");
    let question = format!(
        "{{\"profile_typeID\":\"process_cpu:cpu:nanoseconds:cpu:nanoseconds\",\"label_selector\":\"{{}}\",\"start\":{},\"end\":{}}}",
        now_ns / 1_000_000 - 60_000,
        now_ns / 1_000_000 + 60_000
    );
    let query = format!("{}/querier.v1.QuerierService/SelectMergeStacktraces", url("querier-0"));
    let status =
        send(&query, &format!("00-{asked}-00f067aa0ba902b7-01"), "application/json", question.as_bytes());
    assert_eq!(status, 200);
    let spans = chain(&collector, asked, "00f067aa0ba902b7", 3);
    let seen: Vec<_> = spans.iter().map(|s| (s.service.as_str(), s.name.as_str(), s.kind)).collect();
    let expect = [
        ("hearth-querier", "POST /querier.v1.QuerierService/SelectMergeStacktraces", 2),
        ("hearth-querier", "fetch", 3),
        ("hearth-ingester", "fetch", 2),
    ];
    assert_eq!(seen, expect);
    assert_eq!(collector.trace_ids(), [pushed, asked]);
    // The log has the trace of each request, and no secrets however much it says.
    let log = cluster.log("distributor-0");
    let answered = log.lines().find(|line| line.contains("\"answered\"") && line.contains(pushed)).unwrap();
    let answered: serde_json::Value = serde_json::from_str(answered).unwrap();
    assert_eq!(
        (&answered["spans"][0]["tenant"], &answered["spans"][0]["trace_id"]),
        (&"t".into(), &pushed.into())
    );
    assert!(!log.contains(SECRET) && log.lines().any(|line| line.contains("\"level\":\"TRACE\"")), "{log}");
    assert!(cluster.metric("distributor-0", "hearth_trace_spans_total{outcome=\"exported\"}") >= 2.0);
}

#[test]
fn spans_go_over_grpc_with_the_headers_of_the_environment() {
    let collector = Collector::start_grpc();
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str(&format!(
        "tracing:\n  otlp_endpoint: {}\n  protocol: grpc\n  sample_ratio: 0\n",
        collector.url
    ));
    options
        .environment
        .push(("OTEL_EXPORTER_OTLP_HEADERS", format!("x-scope-orgid=traces,authorization=Basic%20{SECRET}")));
    let hearth = Hearth::start(&options);
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let pprof = profile::gzip(&profile::cpu(now_ns, &[(&["main", "work"], 17)]));
    let body = profile::push_request(&[("__name__", "process_cpu"), ("service_name", "shop")], &pprof);
    let push = format!("{}/push.v1.PusherService/Push", hearth.url);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(send(&push, &format!("00-{trace}-00f067aa0ba902b7-01"), "application/proto", &body), 200);
    let spans = chain(&collector, trace, "00f067aa0ba902b7", 1);
    let seen = (spans[0].service.as_str(), spans[0].name.as_str(), spans[0].kind);
    assert_eq!(seen, ("hearth-standalone", "POST /push.v1.PusherService/Push", 2));
    assert_eq!(spans[0].attributes["http.response.status_code"], "200");
    let headers = collector.headers();
    for header in ["x-scope-orgid: traces".to_owned(), format!("authorization: Basic {SECRET}")] {
        assert!(headers.contains(&header), "{header}: {headers:?}");
    }
    let exported = "hearth_trace_spans_total{outcome=\"exported\"} 1";
    until("the export is counted", || hearth.api("").get("/metrics").unwrap().text().contains(exported));
    hearth.stop();
}

/// Whether a flame graph of the type has a function whose name holds `function`.
fn has_function(api: &Api, kind: &str, service: &str, function: &str) -> bool {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let question = serde_json::json!({"profile_typeID": kind, "label_selector": format!("{{service_name=\"{service}\"}}"),
        "start": now_ms - 600_000, "end": now_ms + 60_000});
    let answer = api.query("SelectMergeStacktraces", &question);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let names = answer.json()["flamegraph"]["names"].as_array().cloned().unwrap_or_default();
    names.iter().any(|name| name.as_str().is_some_and(|name| name.contains(function)))
}

/// Pushes until told to stop: something to be seen in profiles.
fn busy<T>(api: &Api, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(push(api, "load"), 200);
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn profiles_of_the_process_are_read_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("profiling:\n  heap: true\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    let index = api.get("/debug/pprof/").unwrap();
    assert!(index.status == 200 && index.text().contains("profile?seconds="), "{}", index.text());
    for bad in ["0", "61", "-1", "many"] {
        let answer = api.get(&format!("/debug/pprof/profile?seconds={bad}")).unwrap();
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.text().contains("1 to 60"), "{}", answer.text());
    }
    let take = |name: &str, page: &str| {
        let taken = busy(&api, || api.get(page).unwrap());
        assert_eq!(taken.status, 200, "{name}: {}", taken.text());
        let answer = api.push(&[("__name__", name), ("service_name", "itself")], &taken.body).unwrap();
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    };
    // A function that every push runs through, by the name that it has in the source. On a machine that is busy with other
    // things, few samples meet the process.
    let kind = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
    let seen = (0..10).any(|_| {
        take("process_cpu", "/debug/pprof/profile?seconds=3");
        has_function(&api, kind, "itself", "hearth_")
    });
    assert!(seen, "no function of Hearth");
    take("memory", "/debug/pprof/heap");
    let heap_kinds =
        api.query("ProfileTypes", &serde_json::json!({"start": 0, "end": i64::from(u32::MAX) * 1000}));
    assert!(heap_kinds.text().contains("memory:inuse_space:bytes:space:bytes"), "{}", heap_kinds.text());
    assert!(
        has_function(&api, "memory:inuse_space:bytes:space:bytes", "itself", "hearth_"),
        "nothing on the heap"
    );
    let admin = api.get("/admin").unwrap();
    assert!(admin.status == 200 && admin.text().contains("/debug/pprof/"), "{}", admin.text());
}

#[test]
fn a_process_pushes_profiles_of_itself_and_stops_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config.push_str("self_profiling:\n  push: true\n  interval: 1s\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    let own = hearth.api("hearth");
    let kind = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
    busy(&api, || until("a profile of itself", || has_function(&own, kind, "hearth-standalone", "hearth_")));
    let metrics = api.get("/metrics").unwrap().text();
    assert!(metrics.contains("hearth_self_profiles_total{profile=\"cpu\",outcome=\"pushed\"}"), "{metrics}");
    assert!(metrics.contains("hearth_self_profiles_total{profile=\"heap\",outcome=\"pushed\"}"), "{metrics}");
    // Nobody waits for what is being taken.
    assert!(hearth.stop() < Duration::from_secs(10));
}
