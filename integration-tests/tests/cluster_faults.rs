//! A cluster of real processes on bad disks, bad networks and among strangers: no acknowledged profile is lost or counted
//! twice, and who cannot work says so.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::time::{Duration, Instant};

use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::faults::{self, FailingCalls, SmallDisk};
use hearth_integration_tests::load::{Sending, fault_time, go_on, settle, turn, under_load, until};
use hearth_integration_tests::process::OPEN_LIMITS;
use hearth_integration_tests::zones::{self, Zones};
use hearth_integration_tests::{Cluster, profile};

fn ready(cluster: &Cluster, name: &str) -> String {
    cluster.api(name, "").get("/ready").map_or_else(|error| error.to_string(), |answer| answer.text())
}

fn now_ns() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap().as_nanos() as i64
}

/// No process has panicked.
fn no_panics(cluster: &Cluster) {
    for role in [Role::Distributor, Role::Ingester, Role::Querier, Role::Compactor] {
        for name in cluster.names(role) {
            let log = cluster.log(&name);
            let panicked = log.lines().find(|line| line.to_lowercase().contains("panic"));
            assert_eq!(panicked, None, "{name}");
        }
    }
}

/// Pushes profiles of some hundred KB each, of a tenant that nobody asks for, until a condition holds.
fn fill(cluster: &Cluster, full: impl Fn() -> bool) {
    let distributors = cluster.apis(Role::Distributor, "filler");
    let started = Instant::now();
    for n in 0_usize.. {
        if full() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "it is not full after {n} profiles: {}",
            cluster.api("ingester-1", "").get("/metrics").unwrap().text()
        );
        let names: Vec<String> = (0..2000).map(|at| format!("function_{at}_of_profile_{n}")).collect();
        let frames: Vec<[&str; 2]> = names.iter().map(|name| ["main", name.as_str()]).collect();
        let stacks: Vec<(&[&str], i64)> = frames.iter().map(|frames| (&frames[..], 1)).collect();
        let body = profile::gzip(&profile::cpu(now_ns() + n as i64, &stacks));
        let service = format!("filler-{}", n % 20);
        let labels = [("__name__", "process_cpu"), ("service_name", service.as_str())];
        let answer = distributors[n % distributors.len()].push(&labels, &body).unwrap();
        // Refused when the disk of a leader is full.
        assert!(answer.status == 200 || answer.status >= 429, "{} {}", answer.status, answer.text());
    }
}

#[test]
fn a_full_disk_of_one_ingester_stops_nobody() {
    let _turn = turn();
    let mut cluster = Cluster::prepare(Plan::default());
    let Some(disk) = SmallDisk::mount(&cluster.data_dir("ingester-1"), 6) else { return };
    cluster.set_args("ingester-1", &["--set", "wal.reserve_bytes=2MiB", "--set", "wal.segment_bytes=1MiB"]);
    cluster.launch_all();
    let checker = under_load(&mut cluster, "disk full", Sending::Retrying, |cluster, checker| {
        let refused = || {
            cluster.metric("ingester-1", "hearth_cell_appends_without_room_total")
                + cluster.metric("ingester-1", "hearth_ingester_wal_refused_total")
        };
        fill(cluster, || refused() > 0.0);
        let seen = checker.pushed();
        go_on(checker, 50);
        std::thread::sleep(fault_time());
        eprintln!("disk full: {} pushed while it was, {} refusals", checker.pushed() - seen, refused());
        disk.enlarge(200);
    });
    // It has everything again: without another one, a quorum needs it.
    cluster.kill("ingester-0");
    settle(&cluster, "disk enlarged, another ingester gone", &checker);
    no_panics(&cluster);
    drop(cluster);
}
