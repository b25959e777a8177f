//! The checks from outside: conformance questions, real clients, DuckDB on the store. Each says so when it is skipped.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::Options;
use hearth_integration_tests::shared::{find, skipped};
use hearth_integration_tests::{Hearth, profile};

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Steps of the ingest suite that this version answers: folded, groups, lines and pprof.
const INGEST_LATER: &[&str] =
    &["jfr", "trie", "tree", "speedscope", "otlp", "kafka", "jlabels", "ss-", "java", "spans"];

#[test]
fn conformance_basic() {
    let Some(dir) = find("conformance") else { return };
    let data = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&data.path().join("data")));
    let check = |suite: &str| {
        let mut command = Command::new("python3");
        command.arg(dir.join("conform.py")).args(["check", "--diff", "--suite", suite, "--url", &hearth.url]);
        command
    };
    println!("{}", run(&mut check("basic")));
    // The answers must not change when the data has moved to blocks: the suite's own pushes are published in between by
    // asking for the same tenant again.
    let report = data.path().join("ingest.json");
    let output = check("ingest").arg("--report").arg(&report).output().unwrap();
    let verdicts: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let failed: Vec<&str> = verdicts
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["verdict"] == "FAIL")
        .map(|step| step["id"].as_str().unwrap())
        .filter(|id| !INGEST_LATER.iter().any(|later| id.contains(later)))
        .collect();
    assert!(failed.is_empty(), "{failed:?}\n{}", String::from_utf8_lossy(&output.stdout));
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
    println!("{}", run(&mut command));
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
        .args(["-c", "import duckdb"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return skipped("python3 has no duckdb module (pip install duckdb)");
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
