//! What a person does first: start, push a file, look at it, stop, and find it again.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::gateway::TlsGateway;
use hearth_integration_tests::process::{Options, binary};
use hearth_integration_tests::{Hearth, profile};
use hearth_testkit::certificates::Authority;

fn hearth(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = hearth(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out.into_owned()
}

fn failure(args: &[&str]) -> String {
    let output = hearth(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// One tenant, default limits.
fn plain(dir: &Path) -> Options {
    Options { config: String::new(), multitenancy: false, ..Options::new(&dir.join("data")) }
}

#[test]
fn files_are_pushed_shown_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = plain(dir.path());
    let server = Hearth::start(&options);
    let url = server.url.clone();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pprof =
        profile::cpu(now_ns(), &[(&["main", "work"], 3_000_000_000), (&["main", "idle"], 1_000_000_000)]);
    let old = profile::cpu(now_ns() - 86_400_000_000_000, &[(&["main", "old"], 500_000_000)]);
    let shop = file("shop.pb.gz", &profile::gzip(&pprof));
    let old = file("old.pprof", &old);
    let folded = file("lines.folded", b"main;text 3\nmain;other 4\n");
    text(&["push", "--url", &url, &shop, "--label", "env=prod"]);
    text(&["push", "--url", &url, &folded, "--service", "lines"]);
    let error = failure(&["push", "--url", &url, &old]);
    assert!(error.contains("--now"), "{error}");
    text(&["push", "--url", &url, &old, "--now", "--service", "shop"]);

    let tree = text(&["query", "flamegraph", "shop", "--url", &url]);
    for part in ["4.50 s", "100.0%", "main", " 66.7%", "work", "idle", "old"] {
        assert!(tree.contains(part), "{part}:\n{tree}");
    }
    let bars = text(&["query", "flamegraph", "{env=\"prod\"}", "--view", "bars", "--url", &url]);
    assert!(bars.contains("▏work") && !bars.contains("old"), "{bars}");
    let svg = dir.path().join("shop.svg");
    text(&["query", "flamegraph", "shop", "--url", &url, "--output", svg.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<title>work\n3.00 s"));
    let merged = dir.path().join("merged.pprof");
    text(&["query", "pprof", "shop", "--url", &url, "--output", merged.to_str().unwrap()]);
    text(&["push", "--url", &url, merged.to_str().unwrap(), "--now", "--service", "again"]);
    assert!(text(&["query", "flamegraph", "again", "--url", &url]).contains("4.50 s"));
    assert!(text(&["query", "series", "--url", &url]).contains("service_name=\"lines\""));
    assert!(
        text(&["query", "series", "--by", "service_name", "--url", &url]).contains("{service_name=\"shop\"}")
    );
    assert!(text(&["query", "labels", "service_name", "--url", &url]).starts_with("again\nlines\nshop\n"));
    assert_eq!(
        text(&["query", "types", "--url", &url]).trim(),
        "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
    );

    let wall = server.stop();
    assert!(wall < Duration::from_secs(20), "the stop took {wall:?}");
    let server = Hearth::launch(&options);
    let ready = server.wait_ready(Duration::from_secs(30));
    assert!(text(&["query", "flamegraph", "shop", "--url", &server.url]).contains("4.50 s"));
    assert!(ready < Duration::from_secs(2), "ready only after {ready:?}");
    server.stop();
}

#[test]
fn the_operational_routes_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = plain(dir.path());
    options.config = "object_store: ''\nlimits:\n  ingestion_rate_mb: 17\n".to_owned();
    let server = Hearth::start(&options);
    let api = server.api("");
    let get = |path: &str| {
        let answer = api.get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    };
    assert_eq!(get("/ready").trim(), "ready");
    assert!(get("/").contains("<title>Hearth</title>"));
    let metrics = get("/metrics");
    for name in ["pyroscope_build_info", "process_resident_memory_bytes", "process_cpu_seconds_total"] {
        assert!(metrics.contains(name), "{name}:\n{metrics}");
    }
    assert!(get("/api/v1/status/config").contains("ingestion_rate_mb: 17"));
    assert!(get("/api/v1/status/config/default").contains("ingestion_rate_mb: 4"));
    let diff = get("/api/v1/status/config/diff");
    assert!(diff.contains("ingestion_rate_mb: 17") && !diff.contains("ingestion_burst_size_mb"), "{diff}");
    let build: serde_json::Value = serde_json::from_str(&get("/api/v1/status/buildinfo")).unwrap();
    assert_eq!(build["status"], "success");
    assert_eq!(build["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(api.get("/nothing/here").unwrap().status, 404);
    server.stop();
}

#[test]
fn mistakes_are_said_in_plain_words() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("bad.yaml");
    std::fs::write(&config, "limits:\n  ingestion_rate: 5\n").unwrap();
    let error = failure(&["serve", "--config", config.to_str().unwrap()]);
    assert!(
        error.contains("bad.yaml:2: unknown key 'ingestion_rate'; did you mean 'ingestion_rate_mb'?"),
        "{error}"
    );
    let error = failure(&["query", "series", "--url", "http://127.0.0.1:1"]);
    assert!(error.contains("nobody listens at http://127.0.0.1:1"), "{error}");
    let server = Hearth::start(&plain(dir.path()));
    let error = failure(&["query", "flamegraph", "{broken", "--type", "a:b:c:d:e", "--url", &server.url]);
    assert!(error.contains("refuses with 400"), "{error}");
    let data = dir.path().join("data");
    let port = server.url.rsplit(':').next().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let other = dir.path().join("other");
    let error = failure(&["serve", "--listen", &listen, "--data-dir", other.to_str().unwrap()]);
    assert!(error.contains("in use") || error.contains(port), "{error}");
    let error = failure(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    assert!(error.contains("data"), "{error}");
    server.stop();
}

#[test]
fn a_gateway_is_trusted_and_logged_in_at() {
    let dir = tempfile::tempdir().unwrap();
    let server = Hearth::start(&Options { multitenancy: true, ..plain(dir.path()) });
    let files = Authority::new().issue(&dir.path().join("tls"), "127.0.0.1");
    let Some(gateway) = TlsGateway::start(&files, &server.url, ("alice", "wonder")) else { return };
    let shop = dir.path().join("shop.pprof");
    std::fs::write(&shop, profile::cpu(now_ns(), &[(&["main", "work"], 3_000_000_000)])).unwrap();
    let (shop, ca) = (shop.to_str().unwrap(), files.ca.to_str().unwrap());
    let run = |args: &[&str], password: Option<&str>| {
        let mut command = Command::new(binary());
        command.args(args).env_remove("HEARTH_PASSWORD").env_remove("HEARTH_TOKEN");
        let output = command.envs(password.map(|text| ("HEARTH_PASSWORD", text))).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(!said.contains("wonder"), "{said}");
        (output.status.success(), said)
    };
    let push = ["push", shop, "--url", &gateway.url];
    let refused = |args: &[&str], password: Option<&str>, why: &str| {
        let (done, said) = run(&[&push, args].concat(), password);
        assert!(!done && said.contains(why), "{args:?}: {said}");
    };
    refused(&[], None, "name the authority with --ca-file");
    refused(&["--ca-file", shop], None, "has no certificate");
    refused(&["--ca-file", ca], None, "refuses with 401");
    refused(&["--ca-file", ca, "--user", "alice"], None, "HEARTH_PASSWORD");
    refused(&["--ca-file", ca, "--user", "alice"], Some("Wonder"), "refuses with 401");
    let login = ["--ca-file", ca, "--user", "alice"];
    let (done, said) = run(&[&push[..], &login].concat(), Some("wonder"));
    assert!(done, "{said}");
    let ask = ["query", "flamegraph", "shop", "--url", &gateway.url];
    let (done, said) = run(&[&ask[..], &login].concat(), Some("wonder"));
    assert!(done && said.contains("3.00 s"), "{said}");
    let list = ["admin", "deletions", "--url", &gateway.url];
    let (done, said) = run(&[&list[..], &login].concat(), Some("wonder"));
    assert!(done && said.contains("no deletions"), "{said}");
    // As whom the gateway let it in.
    assert!(
        text(&["query", "labels", "service_name", "--url", &server.url, "--tenant", "alice"])
            .contains("shop")
    );
    let plain = format!("https{}", server.url.trim_start_matches("http"));
    let (done, said) = run(&["query", "types", "--url", &plain], None);
    assert!(!done && said.contains("try http://"), "{said}");
    server.stop();
}
