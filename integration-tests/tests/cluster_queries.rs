//! Queriers that read blocks for each other, as real processes: answers are those of one querier alone, each keeps its part
//! of the blocks in memory, and one that dies or stands still makes no answer wrong.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hearth_integration_tests::api::{Answer, CPU};
use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::load::{fault_time, turn, until};
use hearth_integration_tests::process::OPEN_LIMITS;
use hearth_integration_tests::{Api, Cluster, profile, shared};
use hearth_testkit::certificates::{Authority, Files};
use serde_json::{Value, json};

/// Blocks of each tenant.
const BLOCKS: usize = 40;
const SERVICES: usize = 5;
const SHARING: [&str; 3] = ["querier-0", "querier-1", "querier-2"];
/// Does not share.
const ALONE: &str = "querier-3";

/// What was pushed of one tenant.
struct Data {
    start_ms: i64,
    end_ms: i64,
    sum: i64,
}

fn start() -> Cluster {
    start_with("")
}

/// Settings of certificates, one for all processes.
fn certificates(dir: &std::path::Path) -> String {
    let Files { cert, key, ca } = Authority::new().issue(dir, "hearth-cluster");
    let (cert, key, ca) = (cert.display(), key.display(), ca.display());
    format!(
        "cluster:\n  tls:\n    enabled: true\n    cert_file: {cert}\n    key_file: {key}\n    ca_file: {ca}\n"
    )
}

/// `more`: lines of settings, of queriers first.
fn start_with(more: &str) -> Cluster {
    let config = format!("{OPEN_LIMITS}querier:\n  share_blocks_min: 8\n  share_bytes_min: 0\n{more}");
    let plan = Plan { factor: 1, ingesters: 1, distributors: 1, queriers: 4, compactors: 0, config };
    let mut cluster = Cluster::prepare(plan);
    cluster.set_args(ALONE, &["--querier.share-blocks=false"]);
    cluster.launch_all();
    cluster
}

/// Publishes many blocks of a tenant.
fn publish(cluster: &Cluster, tenant: &str) -> Data {
    let distributor = cluster.api("distributor-0", tenant);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start_ms = now.as_millis() as i64 - 3_000_000;
    let mut sum = 0;
    for block in 0..BLOCKS {
        for service in 0..SERVICES {
            let names: Vec<String> =
                (0..40).map(|at| format!("f{}", (at * 7 + block * service) % 90)).collect();
            let frames: Vec<[&str; 3]> = names.iter().map(|name| ["main", "handle", name.as_str()]).collect();
            let stacks: Vec<(&[&str], i64)> =
                frames.iter().zip(1..).map(|(frames, value)| (&frames[..], value + block as i64)).collect();
            sum += stacks.iter().map(|(_, value)| value).sum::<i64>();
            let time_ms = start_ms + (block * SERVICES + service) as i64 * 1000;
            let name = format!("service-{service}");
            let labels = [("__name__", "process_cpu"), ("service_name", name.as_str())];
            let body = profile::gzip(&profile::cpu(time_ms * 1_000_000, &stacks));
            let answer = distributor.push(&labels, &body).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        cluster.flush();
    }
    Data { start_ms, end_ms: start_ms + 3_600_000, sum }
}

fn questions(data: &Data) -> Vec<(&'static str, Value)> {
    let Data { start_ms, end_ms, .. } = data;
    let profiles = |selector: &str| json!({"profile_typeID": CPU, "label_selector": selector, "start": start_ms, "end": end_ms});
    let mut series = profiles("{}");
    (series["step"], series["group_by"]) = (json!(60.0), json!(["service_name"]));
    let range = json!({"start": start_ms, "end": end_ms});
    let mut values = range.clone();
    values["name"] = json!("service_name");
    vec![
        ("SelectMergeStacktraces", profiles("{}")),
        ("SelectMergeStacktraces", profiles(r#"{service_name="service-3"}"#)),
        ("SelectMergeProfile", profiles("{}")),
        ("SelectSeries", series),
        ("LabelNames", range.clone()),
        ("LabelValues", values),
        ("Series", range.clone()),
        ("ProfileTypes", range),
    ]
}

/// What an answer says; the order of stacks in a pprof says nothing.
fn said(method: &str, answer: &Answer) -> Value {
    let json = answer.json();
    if method != "SelectMergeProfile" {
        return json;
    }
    let text = |at: &Value| json["stringTable"][at.as_str().unwrap().parse::<usize>().unwrap()].clone();
    let by_id = |list: &str, id: &Value| {
        json[list].as_array().unwrap().iter().find(|thing| thing["id"] == *id).cloned().unwrap()
    };
    let name = |location: &Value| {
        let function = by_id("function", &by_id("location", location)["line"][0]["functionId"]);
        text(&function["name"])
    };
    let samples = json["sample"].as_array().unwrap().iter().map(|sample| {
        let frames: Vec<Value> = sample["locationId"].as_array().unwrap().iter().map(name).collect();
        json!([frames, sample["value"]])
    });
    let mut samples: Vec<Value> = samples.collect();
    samples.sort_by_key(Value::to_string);
    assert!(samples.len() > 50);
    json!({"samples": samples, "type": text(&json["sampleType"][0]["type"])})
}

fn metric(cluster: &Cluster, name: &str, metric: &str) -> u64 {
    cluster.metric(name, metric) as u64
}

fn answered(cluster: &Cluster, name: &str) -> u64 {
    metric(cluster, name, "hearth_querier_share_calls_total{outcome=\"answered\"}")
}

/// Waits until each querier of some asks all the others of them for their parts.
fn acquainted(cluster: &Cluster, names: &[&str], tenant: &str, data: &Data) {
    for name in names {
        let api = cluster.api(name, tenant);
        let all_asked = || {
            let before = answered(cluster, name);
            assert_eq!(api.total("{}", data.start_ms, data.end_ms), Ok(data.sum), "{name}");
            // A flame graph and a series.
            answered(cluster, name) - before == 2 * (names.len() as u64 - 1)
        };
        until("they know each other", all_asked, || format!("{name}: {:#}", cluster.ring(name)));
    }
}

fn opens(cluster: &Cluster) -> BTreeMap<&'static str, u64> {
    SHARING.iter().map(|name| (*name, metric(cluster, name, "hearth_querier_block_opens_total"))).collect()
}

#[test]
fn answers_are_those_of_one_alone_and_caches_are_parted() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let cluster = start_with(&certificates(dir.path()));
    let first = publish(&cluster, "first");
    acquainted(&cluster, &SHARING, "first", &first);
    let second = publish(&cluster, "second");
    let before = opens(&cluster);
    for (method, question) in questions(&second) {
        let ask = |name: &str| -> Answer { cluster.api(name, "second").query(method, &question) };
        let alone = ask(ALONE);
        assert_eq!(alone.status, 200, "{method}: {}", alone.text());
        for name in SHARING {
            let answer = ask(name);
            assert_eq!(
                (answer.status, said(method, &answer)),
                (200, said(method, &alone)),
                "{method} at {name}"
            );
            assert_eq!(answer.inexact, None);
        }
    }
    // Whoever was asked, each block is in the memory of one querier.
    let after = opens(&cluster);
    let opened: BTreeMap<&str, u64> =
        SHARING.iter().map(|name| (*name, after[name] - before[name])).collect();
    eprintln!(
        "blocks opened: {opened:?} of {BLOCKS}; alone {}",
        cluster.metric(ALONE, "hearth_querier_block_opens_total")
    );
    assert_eq!(opened.values().sum::<u64>(), BLOCKS as u64, "{opened:?}");
    assert!(opened.values().all(|opened| *opened > 0), "{opened:?}");
    assert_eq!(metric(&cluster, ALONE, "hearth_querier_block_opens_total"), BLOCKS as u64);
    for name in SHARING {
        assert!(metric(&cluster, name, "hearth_querier_share_answer_bytes_total") > 0);
        let served = metric(&cluster, name, "hearth_querier_served_calls_total{outcome=\"answered\"}");
        assert!(served > 0, "{name}");
    }
    assert_eq!(
        (answered(&cluster, ALONE), metric(&cluster, ALONE, "hearth_querier_served_blocks_total")),
        (0, 0)
    );
}

/// What came of asking while something was wrong.
#[derive(Default)]
struct Seen {
    exact: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds.
    slowest: AtomicU64,
}

impl Seen {
    /// Asks until told to stop: no answer is wrong.
    fn ask(&self, api: &Api, data: &Data, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let total = api.series_total_marked("{}", data.start_ms, data.end_ms);
            self.slowest.fetch_max(began.elapsed().as_millis() as u64, Ordering::SeqCst);
            match total {
                Ok((total, inexact)) => {
                    assert_eq!((total, inexact), (data.sum, None), "a wrong answer");
                    self.exact.fetch_add(1, Ordering::SeqCst);
                }
                Err(why) => {
                    assert!(!why.is_empty());
                    eprintln!("no answer: {why}");
                    self.failed.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Asks queriers while `fault` does something to another one; gives answers, failures, and the slowest in ms.
fn ask_during(
    cluster: &mut Cluster,
    data: &Data,
    asked: &[&str],
    fault: impl FnOnce(&mut Cluster),
) -> (u64, u64, u64) {
    let apis: Vec<Api> = asked.iter().map(|name| cluster.api(name, "t")).collect();
    let (seen, stop) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for api in apis.iter().cycle().take(4) {
            scope.spawn(|| seen.ask(api, data, &stop));
        }
        let more = |count| {
            let enough = seen.exact.load(Ordering::SeqCst) + count;
            until(
                "answers go on",
                || seen.exact.load(Ordering::SeqCst) >= enough,
                || "they do not".to_owned(),
            );
        };
        let faulted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // Enough to know how long answers take.
            more(100);
            fault(cluster);
            std::thread::sleep(fault_time());
            more(20);
        }));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = faulted {
            std::panic::resume_unwind(panic);
        }
    });
    (seen.exact.into_inner(), seen.failed.into_inner(), seen.slowest.into_inner())
}

fn report(name: &str, seen: (u64, u64, u64)) {
    let line = format!("{name}: {} exact answers, {} failed, slowest {} ms", seen.0, seen.1, seen.2);
    eprintln!("{line}");
    shared::report("cluster", &line);
}

#[test]
fn one_that_dies_or_stands_still_makes_no_answer_wrong() {
    let _turn = turn();
    let mut cluster = start();
    let data = publish(&cluster, "t");
    acquainted(&cluster, &SHARING, "t", &data);
    let others = [SHARING[0], SHARING[1]];

    let paused = ask_during(&mut cluster, &data, &others, |cluster| cluster.pause(SHARING[2]));
    report("querier paused", paused);
    assert_eq!(paused.1, 0, "the others answer");
    let local = |cluster: &Cluster, what: &str| -> u64 {
        others.iter().map(|name| metric(cluster, name, &format!("hearth_querier_share_{what}"))).sum()
    };
    assert!(local(&cluster, "hedges_total") > 0);

    // Asked itself, it answers late what was asked before.
    let resumed = ask_during(&mut cluster, &data, &SHARING, |cluster| cluster.resume(SHARING[2]));
    report("querier resumed", resumed);
    assert_eq!(resumed.1, 0);
    acquainted(&cluster, &SHARING, "t", &data);

    let killed = ask_during(&mut cluster, &data, &others, |cluster| cluster.kill(SHARING[2]));
    report("querier killed", killed);
    assert_eq!(killed.1, 0, "the others answer");
    acquainted(&cluster, &others, "t", &data);

    cluster.restart(SHARING[2]);
    acquainted(&cluster, &SHARING, "t", &data);
    for role in [Role::Ingester, Role::Distributor, Role::Querier] {
        for name in cluster.names(role) {
            assert!(!cluster.log(&name).contains("panic"), "{name}");
        }
    }
}

/// Half of the answers came within this, and 95 of 100, in ms.
fn times(mut ask: impl FnMut()) -> (f64, f64) {
    let mut took: Vec<f64> = (0..60)
        .map(|_| {
            let began = Instant::now();
            ask();
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    (took[30], took[57])
}

#[test]
#[ignore = "figures for people: what sharing costs when all blocks are in memory and all queriers have the same cores"]
fn figures() {
    let _turn = turn();
    let cluster = start();
    let data = publish(&cluster, "t");
    acquainted(&cluster, &SHARING, "t", &data);
    for (method, question) in questions(&data) {
        let ask = |name: &str| {
            let api = cluster.api(name, "t");
            times(|| assert_eq!(api.query(method, &question).status, 200))
        };
        eprintln!(
            "{method} {}: p50, p95 shared {:.1?} ms, alone {:.1?} ms",
            question["label_selector"],
            ask("querier-0"),
            ask(ALONE)
        );
    }
}

#[test]
#[ignore = "figures for people: blocks opened again when no querier has memory for all"]
fn figures_of_memory() {
    let _turn = turn();
    let cluster = start();
    let data = publish(&cluster, "t");
    acquainted(&cluster, &SHARING, "t", &data);
    let tree = questions(&data)[0].1.clone();
    _ = cluster.api(ALONE, "t").query("SelectMergeStacktraces", &tree);
    let all = metric(&cluster, ALONE, "hearth_querier_open_block_bytes");
    drop(cluster);
    let cluster = start_with(&format!("  cache_bytes: {}\n", all * 6 / 10));
    let data = publish(&cluster, "t");
    acquainted(&cluster, &SHARING, "t", &data);
    let tree = questions(&data)[0].1.clone();
    let opened = || -> u64 {
        let opens = |name: &str| metric(&cluster, name, "hearth_querier_block_opens_total");
        opens(ALONE) + SHARING.iter().map(|name| opens(name)).sum::<u64>()
    };
    for name in ["querier-0", ALONE] {
        let (api, before) = (cluster.api(name, "t"), opened());
        let (half, most) = times(|| assert_eq!(api.query("SelectMergeStacktraces", &tree).status, 200));
        let opens = (opened() - before) as f64 / 60.0;
        eprintln!(
            "{name}, memory for 60 % of {all} bytes: {opens:.1} blocks opened a question, p50, p95 {half:.1}, {most:.1} ms"
        );
    }
}

#[test]
#[ignore = "figures for people: how long questions take while the leader of a cell stands still"]
fn figures_of_a_paused_leader() {
    let _turn = turn();
    let cluster = Cluster::start(Plan { distributors: 1, queriers: 1, compactors: 0, ..Plan::default() });
    let data = publish(&cluster, "t");
    let api = cluster.api("querier-0", "t");
    let ask = || {
        let began = Instant::now();
        let exact =
            || api.series_total("{}", data.start_ms, data.end_ms).map(|sum| assert_eq!(sum, data.sum));
        while let Err(why) = exact() {
            eprintln!("no answer after {:?}: {why}", began.elapsed());
        }
        began.elapsed().as_millis()
    };
    (0..200).for_each(|_| _ = ask());
    for paused in ["ingester-0", "ingester-1", "ingester-2"] {
        cluster.pause(paused);
        let took: Vec<u128> = (0..60).map(|_| ask()).collect();
        eprintln!(
            "{paused} paused: the first questions took {:?} ms, all {} ms",
            &took[..5],
            took.iter().sum::<u128>()
        );
        cluster.resume(paused);
        std::thread::sleep(Duration::from_secs(4));
        (0..100).for_each(|_| _ = ask());
    }
}
