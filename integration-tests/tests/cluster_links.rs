//! How the processes of a cluster reach each other: over IPv6, and with certificates, which strangers lack.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::{Answer, CPU};
use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::load::{Sending, go_on, turn, under_load, until};
use hearth_integration_tests::{Cluster, profile};
use hearth_testkit::certificates::{Authority, Files};

const NAME: &str = "hearth-cluster";

fn all(cluster: &Cluster) -> Vec<String> {
    let roles = [Role::Ingester, Role::Distributor, Role::Querier, Role::Compactor];
    roles.into_iter().flat_map(|role| cluster.names(role)).collect()
}

fn with_certificate(cluster: &mut Cluster, name: &str, files: &Files) {
    let path = |path: &Path| path.display().to_string();
    let (cert, key, ca) = (path(&files.cert), path(&files.key), path(&files.ca));
    let args = [
        "--cluster.tls.enabled",
        "--cluster.tls.cert-file",
        &cert,
        "--cluster.tls.key-file",
        &key,
        "--cluster.tls.ca-file",
        &ca,
    ];
    cluster.set_args(name, &args);
}

fn refused(cluster: &Cluster, name: &str, reason: &str) -> f64 {
    cluster.metric(name, &format!("hearth_internode_strangers_total{{reason=\"{reason}\"}}"))
}

fn expires(cluster: &Cluster, name: &str) -> f64 {
    cluster.metric(name, "hearth_internode_tls_certificate_expires_timestamp_seconds")
}

#[test]
fn a_cluster_works_with_certificates_and_renews_them() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut cluster = Cluster::prepare(Plan::default());
    for name in all(&cluster) {
        let files = authority.issue(&dir.path().join(&name), NAME);
        with_certificate(&mut cluster, &name, &files);
    }
    cluster.launch_all();
    let checker = under_load(&mut cluster, "certificates", Sending::Retrying, |cluster, checker| {
        let before = expires(cluster, "ingester-0");
        assert!(before > 0.0);
        for name in all(cluster) {
            authority.issue_with(&dir.path().join(&name), NAME, |params| {
                params.not_after = hearth_testkit::certificates::rcgen::date_time_ymd(2100, 1, 1);
            });
        }
        until(
            "renewed certificates are in use",
            || all(cluster).iter().all(|name| expires(cluster, name) == 4_102_444_800.0),
            || format!("{before} before"),
        );
        go_on(checker, 20);
        cluster.kill("ingester-1");
        go_on(checker, 20);
        cluster.restart("ingester-1");
    });
    assert!(checker.pushed() > 0);
    strangers_are_kept_out(&mut cluster, dir.path());
}

/// A querier without certificates, and one with those of another authority: their questions fail, and say why.
fn strangers_are_kept_out(cluster: &mut Cluster, dir: &Path) {
    let plain = cluster.add(Role::Querier, 7);
    let foreign = cluster.add(Role::Querier, 8);
    let files = Authority::new().issue(&dir.join(&foreign), NAME);
    with_certificate(cluster, &foreign, &files);
    for (name, reason) in [(plain, "no_tls"), (foreign, "")] {
        cluster.launch(&name);
        let api = cluster.api(&name, "t");
        let path =
            "/pyroscope/render?query=process_cpu:cpu:nanoseconds:cpu:nanoseconds{}&from=now-1h&format=json";
        // Once it knows the roster, it cannot ask anybody.
        until(
            "a stranger's questions fail because nobody speaks to it",
            || api.get(path).is_ok_and(|answer| answer.status >= 500 && answer.text().contains("cell")),
            || api.get(path).map_or_else(|error| error.to_string(), |answer| answer.text()),
        );
        if !reason.is_empty() {
            let ingesters = cluster.names(Role::Ingester);
            assert!(ingesters.iter().any(|ingester| refused(cluster, ingester, reason) > 0.0), "{reason}");
            let logged = ingesters.iter().flat_map(|ingester| {
                let log = cluster.log(ingester);
                log.lines().filter(|line| line.contains("it speaks without TLS")).count().checked_sub(1)
            });
            // Each ingester says it once.
            assert_eq!(logged.max(), Some(0));
        }
        cluster.kill(&name);
    }
}

#[test]
fn a_process_with_a_useless_certificate_does_not_start_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let files = Authority::new().issue(dir.path(), "payroll");
    let mut cluster = Cluster::prepare(Plan { ingesters: 1, factor: 1, ..Plan::default() });
    with_certificate(&mut cluster, "ingester-0", &files);
    cluster.launch("ingester-0");
    until(
        "it says what is wrong",
        || cluster.log("ingester-0").contains("of a cluster named 'hearth-cluster'"),
        || cluster.log("ingester-0"),
    );
}

#[test]
fn a_cluster_works_over_ipv6() {
    let _turn = turn();
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no ::1");
        return;
    }
    let mut cluster = Cluster::prepare(Plan::default());
    for name in all(&cluster) {
        cluster.place(&name, "[::1]", &[]);
    }
    cluster.launch_all();
    under_load(&mut cluster, "IPv6", Sending::Retrying, |cluster, checker| {
        cluster.kill("ingester-2");
        go_on(checker, 20);
        std::thread::sleep(Duration::from_secs(1));
        cluster.restart("ingester-2");
    });
    let ring = cluster.ring("distributor-0");
    assert!(ring.to_string().contains("[::1]:"), "{ring:#}");
}

#[test]
fn a_query_fails_without_a_cell_unless_it_allows_what_is_missing() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan { factor: 1, queriers: 1, ..Plan::default() });
    let lenient = cluster.add(Role::Querier, 7);
    cluster.set_args(&lenient, &["--querier.allow-partial"]);
    cluster.launch(&lenient);
    cluster.wait_ready(&lenient);
    let base_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    for n in 0..30 {
        let service = format!("service-{n}");
        let labels = [("__name__", "process_cpu"), ("service_name", service.as_str())];
        let body = profile::cpu(base_ns + n, &[(&["main"], 1)]);
        assert_eq!(cluster.api("distributor-0", "t").push(&labels, &body).unwrap().status, 200);
    }
    let path = format!("/pyroscope/render?query={CPU}%7B%7D&from=now-1h&until=now&format=json");
    let total = |answer: &Answer| answer.json()["flamebearer"]["numTicks"].as_i64().unwrap();
    let (strict, lenient) = (cluster.api("querier-0", "t"), cluster.api(&lenient, "t"));
    let whole = strict.get(&path).unwrap();
    assert_eq!((total(&whole), whole.partial, whole.inexact), (30, false, None));

    cluster.kill("ingester-1");
    let refused = strict.get(&path).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("cell ingester-1"), "{}", refused.text());
    for part in [strict.get_partial(&path).unwrap(), lenient.get(&path).unwrap()] {
        assert_eq!((part.status, part.partial), (200, true), "{}", part.text());
        assert!((1..30).contains(&total(&part)), "{}", part.text());
        let mark = part.inexact.unwrap();
        assert!(mark.contains("cell ingester-1 was left out"), "{mark}");
    }
    cluster.restart("ingester-1");
    until(
        "it is whole again",
        || strict.get_partial(&path).is_ok_and(|answer| answer.status == 200 && !answer.partial),
        || "still partial".to_owned(),
    );
    assert_eq!(total(&strict.get(&path).unwrap()), 30);
}

/// The newest roster, as it lies in the store.
fn roster(cluster: &Cluster) -> String {
    let folder = cluster.store().join("cluster/roster");
    let mut versions: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    String::from_utf8_lossy(&std::fs::read(versions.last().unwrap()).unwrap()).into_owned()
}

#[test]
fn a_loud_service_is_spread_over_cells_without_losing_or_doubling() {
    let _turn = turn();
    let mut cluster = Cluster::prepare(Plan::default());
    for name in cluster.names(Role::Ingester) {
        let sets = ["--set", "cluster.shard_bytes_per_second=1KiB", "--set", "cluster.shards_every=1s"];
        cluster.set_args(&name, &sets);
    }
    cluster.launch_all();
    under_load(&mut cluster, "spread over shards", Sending::Retrying, |cluster, checker| {
        let since = Instant::now();
        while !roster(cluster).contains("\"shards\":{\"t\":{") {
            assert!(since.elapsed() < Duration::from_secs(90), "no shards: {}", roster(cluster));
            std::thread::sleep(Duration::from_millis(500));
        }
        // Until the entry holds, and beyond.
        std::thread::sleep(Duration::from_secs(65));
        go_on(checker, 200);
        cluster.kill("ingester-1");
        go_on(checker, 50);
        cluster.restart("ingester-1");
    });
}
