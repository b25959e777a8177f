//! `hearth canary` against a real server: what is exact, what is missing, what is refused.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use hearth_integration_tests::process::{OPEN_LIMITS, Options, binary};
use hearth_integration_tests::{Api, Hearth};

/// Starts a canary; its address is in what it says first.
fn canary(args: &[&str]) -> (std::process::Child, Api, BufReader<std::process::ChildStderr>) {
    let mut command = Command::new(binary());
    command.args(["canary", "--listen", "127.0.0.1:0", "--interval", "100ms"]).args(args);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let url = line.trim().rsplit_once("figures at ").unwrap().1.trim_end_matches("/metrics").to_owned();
    (child, Api::new(&url, ""), said)
}

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).parse().unwrap()
}

#[test]
fn what_is_pushed_is_read_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let server = Hearth::start(&Options::new(&dir.path().join("data")));
    let url = server.url.clone();
    let (mut child, port, _said) = canary(&["--url", &url, "--tenant", "c"]);
    hearth_integration_tests::load::until(
        "ten rounds are exact",
        || {
            let metrics = port.get("/metrics").unwrap().text();
            value(&metrics, "hearth_canary_reads_total{age=\"fresh\",outcome=\"exact\"}") >= 10.0
        },
        || port.get("/metrics").unwrap().text(),
    );
    let metrics = port.get("/metrics").unwrap().text();
    for outcome in ["missing", "wrong", "failed"] {
        let series = format!("hearth_canary_reads_total{{age=\"fresh\",outcome=\"{outcome}\"}}");
        assert_eq!(value(&metrics, &series), 0.0, "{metrics}");
    }
    assert!(value(&metrics, "hearth_canary_freshness_seconds_count") >= 10.0, "{metrics}");
    assert!(value(&metrics, "hearth_canary_last_exact_timestamp_seconds") > 1.7e9, "{metrics}");
    assert_eq!(port.get("/healthz").unwrap().status, 200);
    // As the first process of a container, which a signal ends only if it is listened for.
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());

    let (mut child, _, mut said) = canary(&["--url", &url, "--tenant", "c", "--rounds", "3"]);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert_eq!(rest, "");
}

#[test]
fn what_is_missing_or_refused_is_said_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Takes profiles of this tenant, and keeps none.
    let overrides = dir.path().join("overrides.yaml");
    let all = "overrides:\n  forgetful:\n    distributor_sampling:\n      usage_groups:\n        all: {probability: 0}\n    \
               distributor_usage_groups:\n      all: '{}'\n";
    std::fs::write(&overrides, all).unwrap();
    let config = format!("{OPEN_LIMITS}overrides_file: {}\n", overrides.display());
    let server = Hearth::start(&Options { config, ..Options::new(&dir.path().join("data")) });
    let ended = |args: &[&str]| {
        let (mut child, _, mut said) =
            canary(&[&["--url", &server.url, "--patience", "200ms"], args].concat());
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(!child.wait().unwrap().success(), "{rest}");
        rest
    };
    let said = ended(&["--tenant", "forgetful", "--rounds", "2"]);
    assert_eq!(said.matches("(fresh) is not there: it was acknowledged").count(), 2, "{said}");
    assert!(said.contains("2 of 4 steps did not end as they should"), "{said}");
    let said = ended(&["--rounds", "1"]);
    assert!(said.contains("did not succeed: the server refuses with 401"), "{said}");
    assert!(said.contains("1 of 1 steps"), "{said}");
}
