//! A cluster over a real S3 server behind a proxy that fails: pushes, flushes, merges and questions go on, sums are exact, and
//! in the end there is no object that no root names.
//!
//! `HEARTH_STORE_FAULT_SECONDS` makes it longer than half a minute.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hearth_integration_tests::cluster::{Cluster, Plan, Role};
use hearth_integration_tests::process::{OPEN_LIMITS, binary};
use hearth_integration_tests::shared::{report, skipped};
use hearth_integration_tests::{Api, Checker};
use hearth_testkit::FaultProxy;
use hearth_testkit::fault_proxy::{Asked, Fault};
use hearth_testkit::s3::{BUCKET, S3Server};

/// How long an exact answer, and a clean bucket, may take after the last fault.
const SETTLE: Duration = Duration::from_secs(180);
const STALL: Fault = Fault::Stall(Duration::from_secs(2));

fn fault_time() -> Duration {
    let seconds = std::env::var("HEARTH_STORE_FAULT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// One request in ten fails, some of them after they were carried out; of the others one in twenty stands still for two
/// seconds, and the bodies of one in twenty end early.
fn ill() -> impl Fn(&Asked<'_>) -> Fault + Send + Sync {
    let count = AtomicU64::new(1);
    move |asked| {
        let mut random = count.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        random = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        match (random ^ random >> 31) % 100 {
            0..5 => Fault::Refuse,
            5..8 => Fault::RefuseAfter,
            8..10 => Fault::LoseAnswer,
            10..15 => STALL,
            15..18 if asked.method == "GET" => Fault::CutBody,
            18..20 if asked.method == "GET" => Fault::ShortBody,
            _ => Fault::None,
        }
    }
}

fn admin(port: u16, args: &[&str]) -> (bool, String) {
    let url = format!("s3://{BUCKET}/hearth");
    let mut command = Command::new(binary());
    command.args(["admin", "bucket"]).args(args).args(["--object-store", &url]);
    let output = command.envs(S3Server::environment(port)).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), text)
}

/// Every process that can publishes all that it has, again and again; whatever the answer.
fn flush(clients: &[Api], stop: &AtomicBool) -> u64 {
    let mut flushed = 0;
    for client in clients.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = client.post("/flush", "application/json", b"");
        flushed += u64::from(answer.is_ok_and(|answer| answer.status / 100 == 2));
        std::thread::sleep(Duration::from_millis(500));
    }
    flushed
}

fn sum(cluster: &Cluster, metrics: &[&str]) -> f64 {
    let all =
        [Role::Ingester, Role::Querier, Role::Compactor].into_iter().flat_map(|role| cluster.names(role));
    all.map(|name| metrics.iter().map(|metric| cluster.metric(&name, metric)).sum::<f64>()).sum()
}

fn merges(cluster: &Cluster) -> f64 {
    let done = ["fresh", "level", "day", "settle", "late"]
        .map(|why| format!("hearth_compactor_jobs_total{{why=\"{why}\",outcome=\"done\"}}"));
    sum(cluster, &done.each_ref().map(String::as_str))
}

/// Starts what works on the bucket, with quick merges.
fn start(bucket: u16) -> Cluster {
    let compactor = "compactor: {interval: 300ms, merge_blocks: 2, deletion_delay: 60s, orphan_grace: 120s}";
    let mut cluster = Cluster::prepare(Plan {
        factor: 2,
        ingesters: 2,
        distributors: 1,
        queriers: 1,
        compactors: 1,
        config: format!("{OPEN_LIMITS}{compactor}\n"),
    });
    cluster.set_bucket(&format!("s3://{BUCKET}/hearth"), S3Server::environment(bucket));
    cluster.launch_all();
    cluster
}

/// Whether there is nothing but what the newest root names: what `verify` says of it, else what is left.
fn left(server: &S3Server) -> Result<String, String> {
    let (sound, text) = admin(server.port(), &["verify", "--quick"]);
    if !sound || text.contains("named by no root") {
        return Err(text);
    }
    let (_, root) = admin(server.port(), &["inspect", "--tenant", "t"]);
    // As the server itself sees it.
    let listing = format!("/{BUCKET}?list-type=2&prefix=hearth/t/t/blocks/");
    let listed = server.ask("GET", &listing).map_err(|error| error.to_string())?;
    let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    let folders: BTreeSet<&str> =
        keys.filter_map(|key| key.rsplit_once('/')).map(|(folder, _)| folder).collect();
    let named = text.contains(&format!(" {} blocks ", folders.len()));
    match named && root.contains("\n0 paths are condemned") {
        true => Ok(text),
        false => Err(format!("{text}{root}{folders:?}")),
    }
}

#[test]
fn an_ill_object_store_costs_time_and_nothing_else() {
    let server = match S3Server::start() {
        Ok(server) => server,
        Err(why) => return skipped(&format!("a cluster on a failing object store: {why}")),
    };
    let proxy = FaultProxy::start(server.port());
    let mut cluster = start(proxy.port());
    let (checker, stop) = (Checker::default(), AtomicBool::new(false));
    let (push_to, ask) = (cluster.apis(Role::Distributor, "t"), cluster.apis(Role::Querier, "t"));
    let flush_at = cluster.apis(Role::Ingester, "");
    let flushed = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| checker.push(&push_to, Duration::from_millis(20)));
        }
        scope.spawn(|| checker.ask(&ask, Duration::from_millis(50)));
        let flushes = scope.spawn(|| flush(&flush_at, &stop));
        let held = catch_unwind(AssertUnwindSafe(|| {
            proxy.set(ill());
            std::thread::sleep(fault_time());
            // What is under way ends, with some faults still.
            assert!(merges(&cluster) >= 1.0, "nothing was merged");
        }));
        checker.stop();
        stop.store(true, Ordering::Relaxed);
        let flushed = flushes.join().unwrap();
        held.unwrap_or_else(|panic| resume_unwind(panic));
        flushed
    });
    let counts = proxy.counts();
    proxy.set(|_| Fault::None);
    let settled = checker.settle(&ask[0], SETTLE);
    cluster.flush();
    checker.settle(&ask[0], SETTLE);
    let retries: Vec<String> = ["get", "get_range", "upload", "create", "iter", "delete", "attributes"]
        .iter()
        .flat_map(|op| {
            ["publish", "query", "compaction"]
                .map(|class| format!("hearth_objstore_retries_total{{operation=\"{op}\",class=\"{class}\"}}"))
        })
        .collect();
    let retries = sum(&cluster, &retries.iter().map(String::as_str).collect::<Vec<_>>());
    let merged = merges(&cluster);
    assert!(flushed >= 1 && retries >= 1.0, "{flushed} flushes, {retries} retries");
    assert_eq!(
        sum(&cluster, &["hearth_compactor_unequal_duplicate_rows_total", "hearth_compactor_blocks_aside"]),
        0.0
    );
    // From here on nobody uploads: what no root names goes at once.
    cluster.stop("compactor-0");
    let now = ["compactor.deletion_delay=1s", "compactor.orphan_grace=1s"];
    cluster.set_args("compactor-0", &["--set", now[0], "--set", now[1]]);
    cluster.restart("compactor-0");
    let since = Instant::now();
    let verified = loop {
        let idle = cluster.metric("compactor-0", "hearth_compactor_backlog") == 0.0;
        let why = match left(&server) {
            Ok(text) if idle => break text,
            Ok(text) | Err(text) => text,
        };
        assert!(since.elapsed() < SETTLE, "not clean within {SETTLE:?}: {why}");
        std::thread::sleep(Duration::from_millis(500));
    };
    checker.settle(&ask[0], SETTLE);
    let (sound, text) = admin(server.port(), &["verify"]);
    assert!(sound, "{text}");
    let line = format!(
        "{:?} of faults: {}; {flushed} flushes, {merged} merges, {retries} retries, exact after {settled:?}; {counts:?}; {}",
        fault_time(),
        checker.report(),
        verified.lines().last().unwrap_or_default()
    );
    println!("{line}");
    report("object store", &line);
}
