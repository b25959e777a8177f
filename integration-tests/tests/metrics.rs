//! `/metrics` of every role: the page about it has all of it, dashboards and alerts ask for nothing else, and Prometheus reads
//! it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::load::until;
use hearth_integration_tests::metrics::{
    asked_for, families, family_of, files, page, read, registered, root,
};
use hearth_integration_tests::process::{OPEN_LIMITS, Options, free_port};
use hearth_integration_tests::shared::skipped;
use hearth_integration_tests::{Api, Cluster, Hearth, profile};
use serde_json::{Value, json};

const ALERTS: &str = "deploy/grafana/alerts";
/// The reference has named a histogram as a counter, and a level as a part of a histogram; the names stay.
const KNOWN_FINDINGS: [&str; 2] = [
    "pyroscope_distributor_received_decompressed_bytes_total non-counter metrics",
    "pyroscope_bucket_blocks_count non-histogram",
];

#[test]
fn the_page_has_what_the_code_registers() {
    let page: BTreeSet<String> = page()
        .into_iter()
        .map(|(name, row)| match name.strip_suffix("_total").filter(|_| row.kind == "counter") {
            Some(name) => name.to_owned(),
            None => name,
        })
        .collect();
    let code = registered();
    assert!(code.len() > 100, "{code:?}");
    let missing: Vec<&String> = code.difference(&page).collect();
    assert!(missing.is_empty(), "registered and not in docs/operations/metrics.md: {missing:?}");
    let gone: Vec<&String> = page.difference(&code).collect();
    assert!(gone.is_empty(), "in docs/operations/metrics.md and not registered: {gone:?}");
}

#[test]
fn dashboards_and_alerts_ask_for_what_there_is() {
    let page = page();
    let rules = read(&format!("{ALERTS}/hearth-rules.yaml"));
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let mut paths = files("deploy/grafana/dashboards", ".json");
    assert!(paths.len() >= 7, "{paths:?}");
    paths.extend(files(ALERTS, ".yaml"));
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for name in asked_for(&text) {
            let known = page.contains_key(family_of(&name, &page)) || recorded.contains(name.as_str());
            assert!(
                known,
                "{}: {name} is neither in docs/operations/metrics.md nor recorded",
                path.display()
            );
        }
    }
}

#[test]
fn each_alert_has_a_page_and_each_page_an_alert() {
    let folder = "docs/operations/alerts";
    let (text, index) = (read(&format!("{ALERTS}/hearth-alerts.yaml")), read(&format!("{folder}/README.md")));
    let mut alerts = BTreeSet::new();
    let mut alert = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alert = name;
            assert!(
                index.contains(&format!("[{alert}]({alert}.md)")),
                "{alert} is not in {folder}/README.md"
            );
            alerts.insert(format!("{alert}.md"));
        } else if let Some(url) = line.strip_prefix("runbook_url: ") {
            assert_eq!(url, format!("{folder}/{alert}.md"));
        }
    }
    assert!(alerts.len() > 20, "{alerts:?}");
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let pages: BTreeSet<String> =
        files(folder, ".md").into_iter().map(name).filter(|name| name != "README.md").collect();
    assert_eq!(pages, alerts);
    let metrics = read("docs/operations/metrics.md");
    let linked = metrics.split("](alerts/").skip(1).filter_map(|rest| rest.split(')').next());
    let wrong: Vec<&str> = linked.filter(|page| !pages.contains(*page) && *page != "README.md").collect();
    assert!(wrong.is_empty(), "docs/operations/metrics.md names pages that are not there: {wrong:?}");
}

#[test]
fn dashboards_are_those_of_their_program() {
    if !there("python3") {
        return skipped("python3 is not there: dashboards were not built anew");
    }
    let built =
        Command::new("python3").arg(root().join("deploy/grafana/build.py")).arg("--check").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[test]
fn rules_are_right() {
    if !there("promtool") {
        return skipped("promtool is not there: rules of alerts were not checked");
    }
    for (what, paths) in [("check", files(ALERTS, "s.yaml")), ("test", files(ALERTS, ".test.yaml"))] {
        assert!(!paths.is_empty());
        let done = Command::new("promtool").args([what, "rules"]).args(&paths).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn every_role_exposes_what_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("{OPEN_LIMITS}compactor:\n  interval: 1s\n");
    let plan =
        Plan { factor: 2, ingesters: 2, distributors: 1, queriers: 1, compactors: 1, config: config.clone() };
    let cluster = Cluster::start(plan);
    let alone = Hearth::start(&Options { config, ..Options::new(&dir.path().join("alone")) });
    let (push, ask) = (cluster.api("distributor-0", "a"), cluster.api("querier-0", "a"));
    use_it(&push, &ask, &|| cluster.flush());
    let one = alone.api("a");
    use_it(&one, &one, &|| one.flush());

    let processes: Vec<(String, &str, Api)> =
        [("D", Role::Distributor), ("I", Role::Ingester), ("Q", Role::Querier), ("C", Role::Compactor)]
            .into_iter()
            .flat_map(|(letter, role)| cluster.names(role).into_iter().map(move |name| (name, letter)))
            .map(|(name, letter)| (name.clone(), letter, cluster.api(&name, "")))
            .chain([("hearth".to_owned(), "H", alone.api(""))])
            .collect();
    for (name, letter, api) in processes.iter().filter(|(_, letter, _)| matches!(*letter, "C" | "H")) {
        let stored = || scrape(api).contains("hearth_compactor_stored_bytes{tenant=\"a\"}");
        until("what is stored is counted", stored, || format!("{name}, {letter}"));
    }
    let exposed: Vec<(&str, &str, String)> =
        processes.iter().map(|(name, letter, api)| (name.as_str(), *letter, scrape(api))).collect();
    compare(&exposed);
    lint(&exposed);

    let mut targets: Vec<String> = Vec::new();
    for (name, ..) in processes.iter().filter(|(_, letter, _)| *letter != "H") {
        let (ip, [port, ..]) = cluster.ports(name);
        targets.push(format!("{ip}:{port}"));
    }
    targets.push(alone.url.trim_start_matches("http://").to_owned());
    prometheus_reads(dir.path(), &targets);
}

/// Pushes, also what is refused; publishes; asks.
fn use_it(push: &Api, ask: &Api, flush: &dyn Fn()) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let labels = [("__name__", "process_cpu"), ("service_name", "shop")];
    let body = profile::gzip(&profile::cpu(now.as_nanos() as i64, &[(&["main", "pay"], 7)]));
    assert_eq!(push.push(&labels, &body).unwrap().status, 200);
    assert_eq!(push.push(&labels, b"no profile").unwrap().status, 400);
    let (start, end) = (now.as_millis() as i64 - 60_000, now.as_millis() as i64 + 60_000);
    assert_eq!(ask.total("{}", start, end), Ok(7));
    flush();
    assert_eq!(ask.total("{}", start, end), Ok(7));
    let answer = ask.query("ProfileTypes", &json!({"start": start, "end": end}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn scrape(api: &Api) -> String {
    let answer = api.get("/metrics").unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

/// What processes expose against the page.
fn compare(exposed: &[(&str, &str, String)]) {
    let page = page();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (name, letter, text) in exposed {
        let families = families(text);
        assert!(families.len() > 50, "{name}: {text}");
        for (metric, family) in &families {
            let Some(row) = page.get(metric) else {
                wrong.push(format!("{name} exposes {metric}, which is not on the page"));
                continue;
            };
            if row.kind != family.kind {
                wrong.push(format!("{metric} is a {} at {name}, a {} on the page", family.kind, row.kind));
            }
            if !row.roles.contains(*letter) {
                wrong.push(format!("{metric} is exposed by {name}; the page does not name {letter}"));
            }
            seen.entry(metric.clone()).or_default().extend(family.labels.iter().cloned());
        }
        for (metric, row) in page.iter().filter(|(_, row)| row.roles.contains(*letter) && !row.sometimes) {
            if !families.contains_key(metric) {
                wrong.push(format!(
                    "{metric} is not exposed by {name}, and the page names {:?} without *",
                    row.roles
                ));
            }
        }
    }
    for (metric, labels) in seen.iter().filter(|(metric, _)| page.contains_key(*metric)) {
        if page[metric].labels != *labels {
            wrong.push(format!("{metric} has labels {labels:?}, on the page {:?}", page[metric].labels));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<&String> = page.keys().filter(|metric| !seen.contains_key(*metric)).collect();
    eprintln!("{} families; not seen, as nothing had happened: {unseen:?}", seen.len());
}

/// What `promtool` says of each answer.
fn lint(exposed: &[(&str, &str, String)]) {
    if !there("promtool") {
        return skipped("promtool is not there: metrics were not checked by it");
    }
    for (name, _, text) in exposed {
        let mut check = Command::new("promtool");
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().unwrap();
        check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = check.wait_with_output().unwrap();
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let findings: Vec<&str> = said
            .lines()
            .filter(|line| !line.is_empty() && !KNOWN_FINDINGS.iter().any(|known| line.contains(known)))
            .collect();
        assert!(findings.is_empty(), "{name}: {findings:?}");
    }
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A real Prometheus scrapes all of them, and evaluates the rules.
fn prometheus_reads(dir: &Path, targets: &[String]) {
    if !there("prometheus") {
        return skipped("prometheus is not there: no server scraped the roles");
    }
    let rules: Vec<PathBuf> =
        files(ALERTS, "s.yaml").iter().map(|path| path.canonicalize().unwrap()).collect();
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": rules,
        "scrape_configs": [{"job_name": "hearth", "static_configs": [{"targets": targets}]}],
    });
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={}", file.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
    prometheus.arg(format!("--web.listen-address={address}"));
    let log = std::fs::File::create(dir.join("prometheus.log")).unwrap();
    prometheus.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let _running = Running(prometheus.spawn().unwrap());
    let log = || std::fs::read_to_string(dir.join("prometheus.log")).unwrap_or_default();

    let api = Api::new(&format!("http://{address}"), "");
    let get =
        |path: &str| api.get(path).ok().filter(|answer| answer.status == 200).map(|answer| answer.json());
    let up = || -> Vec<Value> {
        let answer = get("/api/v1/query?query=up").unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    };
    let all_up = || {
        let up = up();
        up.len() == targets.len() && up.iter().all(|one| one["value"][1] == "1")
    };
    until("every process is scraped", all_up, || format!("{:?}\n{}", up(), log()));
    // Names, types and helps as it has understood them.
    let known = get("/api/v1/metadata").unwrap();
    assert_eq!(known["data"]["hearth_cell_leads"][0]["type"], "gauge", "{known:#}");
    let evaluated = || {
        let rules = get("/api/v1/rules").unwrap_or_default();
        let groups = rules["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        let failed = rules.iter().find(|rule| rule["health"] == "err");
        assert_eq!(failed, None);
        rules.len() > 20
            && rules.iter().filter(|rule| rule["type"] == "alerting").all(|rule| rule["health"] == "ok")
    };
    until("every rule is evaluated", evaluated, log);
    // Each question of each dashboard: vectors that do not match are found by evaluation only.
    for (panel, question) in questions() {
        let answer = api.get(&format!("/api/v1/query?query={}", percent_encoded(&question))).unwrap();
        assert_eq!(answer.status, 200, "{panel}: {question}: {}", answer.text());
    }
}

/// The expressions of all dashboards, of everything that the variables can select.
fn questions() -> Vec<(String, String)> {
    let mut questions = Vec::new();
    for path in files("deploy/grafana/dashboards", ".json") {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let name = format!("{} / {}", board["title"], panel["title"]);
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{name}");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
                let words = ["namespace", "job", "instance", "tenant"];
                let question =
                    words.iter().fold(expression, |text, word| text.replace(&format!("${word}"), ".*"));
                assert!(!question.contains('$'), "{name}: {question}");
                questions.push((name.clone(), question));
            }
        }
    }
    questions
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
