//! The checks from outside: conformance questions, real clients, DuckDB on the store. Each says so when it is skipped.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::Options;
use hearth_integration_tests::shared::{find, report, skipped};
use hearth_integration_tests::{Hearth, profile};

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Steps that the reference answers with 500, and Hearth with 400: the sender's mistake.
const MISTAKES: &[&str] = &["otlp/no-dictionary"];

/// Steps of the basic suite where only an inexact answer passes: the reference's second engine cuts each of four profiles to
/// 100 nodes before it adds them up (its first engine does not keep these types), and so counts some values at other nodes.
/// Hearth adds up first and cuts once, on exact numbers.
const EXACT_HERE: &[&str] =
    &["flame/type-memory-alloc_space-bytes-space-bytes", "flame/type-memory-alloc_objects-count-space-bytes"];

/// Runs a suite; the steps that fail, and the suite's own summary.
fn conformance(suite: &str, server: &Hearth) -> Option<(Vec<String>, String)> {
    let dir = find("conformance")?;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("python3");
    command.arg(dir.join("conform.py")).args(["check", "--diff", "--suite", suite, "--url", &server.url]);
    let output = command.arg("--report").arg(file.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts = std::fs::read(file.path()).unwrap();
    let verdicts: serde_json::Value = serde_json::from_slice(&verdicts)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let failed = verdicts.as_array().unwrap().iter().filter(|step| step["verdict"] == "FAIL");
    Some((failed.map(|step| step["id"].as_str().unwrap().to_owned()).collect(), text))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn conformance_basic() {
    let data = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::plain(&data.path().join("data")));
    let Some((mut failed, text)) = conformance("basic", &hearth) else { return };
    report("conformance", last_line(&text));
    failed.retain(|id| !EXACT_HERE.contains(&&**id));
    assert!(failed.is_empty(), "{failed:?}\n{text}");
    hearth.stop();
}

#[test]
fn conformance_ingest() {
    let data = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::plain(&data.path().join("data")));
    let Some((mut failed, text)) = conformance("ingest", &hearth) else { return };
    report("conformance", last_line(&text));
    failed.retain(|id| !MISTAKES.contains(&&**id));
    assert!(failed.is_empty(), "{failed:?}\n{text}");
    hearth.stop();
}

#[test]
fn real_clients() {
    let Some(dir) = find("clients") else { return };
    let wanted = std::env::var("HEARTH_CLIENTS").unwrap_or_else(|_| "python".to_owned());
    let data = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&data.path().join("data")));
    let mut command = Command::new("python3");
    command.arg(dir.join("run.py")).args(["--url", &hearth.url, "--tenant", "kit", "--only", &wanted]);
    let text = run(&mut command);
    report("clients", &format!("{wanted}: {}", last_line(&text)));
    hearth.stop();
}

const SUMS: &str = r#"
import duckdb, glob, sys
store = sys.argv[1]
db = duckdb.connect()
total, profiles = db.execute(f"select sum(total)::bigint, count(*) from '{store}/t/*/blocks/*/*/profiles.parquet'").fetchone()
samples, = db.execute(f"select sum(value)::bigint from '{store}/t/*/blocks/*/*/samples.parquet'").fetchone()
by_pod = db.execute(f"""select labels['pod'], sum(total)::bigint from '{store}/t/*/blocks/*/*/profiles.parquet'
    where service = 'ducks' and type like 'process_cpu:cpu:%' group by 1 order by 1""").fetchall()
print(total, profiles, samples, by_pod)
"#;

#[test]
fn duckdb_reads_the_store() {
    let python = Path::new("python3");
    if !Command::new(python)
        .args(["-c", "import duckdb; assert int(duckdb.__version__.split('.')[0]) >= 2"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skipped("python3 has no duckdb module of version 2 or later (pip install 'duckdb>=2')");
    }
    let data = tempfile::tempdir().unwrap();
    let options = Options::new(&data.path().join("data"));
    let hearth = Hearth::start(&options);
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    // All profiles of one UTC day, so that there is one block.
    let base_ns = now_ns - now_ns % 1_000_000;
    for n in 0..6i64 {
        let pod = format!("pod-{}", n % 2);
        let labels = [("__name__", "process_cpu"), ("service_name", "ducks"), ("pod", &*pod)];
        let body = profile::cpu(base_ns + n, &[(&["main", "quack"], 10 + n), (&["main", "swim"], 1)]);
        assert_eq!(hearth.api("t").push(&labels, &body).unwrap().status, 200);
    }
    hearth.api("t").flush();
    let text = run(Command::new(python).arg("-c").arg(SUMS).arg(options.data_dir.join("store")));
    assert_eq!(text.trim(), "81 6 81 [('pod-0', 39), ('pod-1', 42)]");
    hearth.stop();
}
