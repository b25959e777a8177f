//! The questions of `docs/operations/open-data.md`, asked with DuckDB as they stand there.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::{OPEN_LIMITS, Options, binary};
use hearth_integration_tests::shared::skipped;
use hearth_integration_tests::{Api, Hearth, profile};
use serde_json::{Value, json};

const DAY_NS: i64 = 86_400_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// Runs each question of a file after the script, and prints the rows as JSON.
const ASK: &str = r#"
import duckdb, json, sys
db = duckdb.connect()
db.execute(open(sys.argv[1]).read())
for question in json.load(open(sys.argv[2])):
    rows = db.execute(question).fetchall()
    print(json.dumps([[str(v) if type(v).__name__ == "date" else v for v in row] for row in rows]))
"#;

fn has_duckdb() -> bool {
    let module = "import duckdb; assert int(duckdb.__version__.split('.')[0]) >= 2";
    Command::new("python3").args(["-c", module]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The questions of the page, in order.
fn questions() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/open-data.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn open(store: &Path, to: &Path) -> String {
    let url = format!("file://{}", store.display());
    let mut command = Command::new(binary());
    run(command.args(["admin", "bucket", "open", "--object-store", &url, "--tenant", "t", "--to"]).arg(to))
}

fn ask(to: &Path, questions: &[String]) -> Vec<Value> {
    let file = to.join("questions.json");
    std::fs::write(&file, json!(questions).to_string()).unwrap();
    let text = run(Command::new("python3").args(["-c", ASK]).arg(to.join("open.sql")).arg(&file));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Noon of a day some days ago.
fn noon_ns(days_ago: i64) -> i64 {
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    (now_ns / DAY_NS - days_ago) * DAY_NS + DAY_NS / 2
}

fn date(days_ago: i64) -> String {
    let seconds = format!("@{}", noon_ns(days_ago) / SECOND);
    run(Command::new("date").args(["-u", "-d", &seconds, "+%Y-%m-%d"])).trim().to_owned()
}

fn push(api: &Api, service: &str, pod: &str, time_ns: i64, stacks: profile::Stacks<'_>) {
    let namespace = if service == "cart" { "shop" } else { "infra" };
    let labels =
        [("__name__", "process_cpu"), ("service_name", service), ("namespace", namespace), ("pod", pod)];
    let answer = api.push(&labels, &profile::cpu(time_ns, stacks)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Two days, and of the second one two blocks: numbers of stacks differ from block to block.
fn push_all(api: &Api) {
    let stacks: profile::Stacks<'_> = &[
        (&["main", "pay", "hash"], 3 * SECOND),
        (&["main", "pay"], SECOND),
        (&["main", "again", "main"], 2 * SECOND),
    ];
    for days_ago in [2, 3] {
        push(api, "checkout", "a", noon_ns(days_ago), stacks);
        push(api, "cart", "b", noon_ns(days_ago), &[(&["run"], SECOND)]);
    }
    api.flush();
    let stacks: profile::Stacks<'_> = &[(&["main", "early"], 4 * SECOND), (&["main", "pay", "hash"], SECOND)];
    push(api, "checkout", "c", noon_ns(2) + 1, stacks);
    api.flush();
}

/// The answers, in the order of the page, but for the last.
fn expected() -> [Value; 5] {
    let (before, after) = (date(3), date(2));
    [
        json!([
            ["cart", before, "run", 1.0],
            ["cart", after, "run", 1.0],
            ["checkout", before, "hash", 3.0],
            ["checkout", before, "main", 2.0],
            ["checkout", before, "pay", 1.0],
            ["checkout", after, "early", 4.0],
            ["checkout", after, "hash", 4.0],
            ["checkout", after, "main", 2.0],
            ["checkout", after, "pay", 1.0],
        ]),
        json!([
            ["cart", before, "run", 1.0],
            ["cart", after, "run", 1.0],
            ["checkout", before, "main", 6.0],
            ["checkout", before, "pay", 4.0],
            ["checkout", before, "hash", 3.0],
            ["checkout", before, "again", 2.0],
            ["checkout", after, "main", 11.0],
            ["checkout", after, "pay", 5.0],
            ["checkout", after, "early", 4.0],
            ["checkout", after, "hash", 4.0],
            ["checkout", after, "again", 2.0],
        ]),
        json!([
            ["main;again;main 4000000000"],
            ["main;early 4000000000"],
            ["main;pay 2000000000"],
            ["main;pay;hash 7000000000"],
        ]),
        json!([
            [1, "main", ["main"], 17 * SECOND],
            [2, "again", ["main", "again"], 4 * SECOND],
            [3, "main", ["main", "again", "main"], 4 * SECOND],
            [2, "early", ["main", "early"], 4 * SECOND],
            [2, "pay", ["main", "pay"], 9 * SECOND],
            [3, "hash", ["main", "pay", "hash"], 7 * SECOND],
        ]),
        json!([
            ["infra", before, 1, 3, 1, null],
            ["infra", after, 2, 5, 2, 2],
            ["shop", before, 1, 1, 1, null],
            ["shop", after, 1, 1, 1, 0],
        ]),
    ]
}

fn wait_merged(hearth: &Hearth) {
    let since = Instant::now();
    let done = "hearth_compactor_jobs_total{why=\"day\",outcome=\"done\"} 1\n";
    while !hearth.api("").get("/metrics").unwrap().text().contains(done) {
        assert!(since.elapsed().as_secs() < 120, "nothing is merged: {}", hearth.log_text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_question_of_the_page_has_its_answer() {
    if !has_duckdb() {
        return skipped(
            "open data: python3 has no duckdb module of version 2 or later (pip install 'duckdb>=2')",
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config = format!("{OPEN_LIMITS}compactor: {{interval: 0}}\n");
    let hearth = Hearth::start(&options);
    push_all(&hearth.api("t"));
    hearth.stop();
    let (store, to) = (options.data_dir.join("store"), dir.path().join("opened"));
    let said = open(&store, &to);
    assert!(said.starts_with("3 blocks of tenant t, 10 new stacks"), "{said}");
    let questions = questions();
    let answers = ask(&to, &questions);
    assert_eq!(answers.len(), questions.len());
    for ((question, expected), answer) in questions.iter().zip(&expected()).zip(&answers) {
        assert_eq!(expected, answer, "{question}");
    }
    assert_eq!(answers[5][0], json!(["pod", 3]), "{}", answers[5]);
    // Merged to a block a day, the answers are the same; tables are written for the new block only, then for none.
    options.config = format!("{OPEN_LIMITS}compactor: {{interval: 100ms}}\n");
    let hearth = Hearth::start(&options);
    wait_merged(&hearth);
    hearth.stop();
    let said = open(&store, &to);
    assert!(said.starts_with("2 blocks of tenant t, 5 new stacks"), "{said}");
    assert!(open(&store, &to).starts_with("2 blocks of tenant t, 0 new stacks"));
    assert_eq!(ask(&to, &questions), answers, "after a merge");
}
