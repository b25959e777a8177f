//! A cluster of real processes loses machines, zones and its object store, and no acknowledged profile: while it happens,
//! answers are exact or clear errors; afterwards every sum is exact.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hearth_integration_tests::cluster::{Plan, Role};
use hearth_integration_tests::{Checker, Cluster, shared};

/// Clients that push, and that ask.
const PUSHERS: usize = 3;
const ASKERS: usize = 2;
/// How long a cluster may take until answers are exact again after the last fault.
const SETTLE: Duration = Duration::from_secs(30);

/// One cluster at a time: each has all the processes that the machine can run well.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a fault lasts; the environment makes it longer.
fn fault_time() -> Duration {
    let seconds = std::env::var("HEARTH_FAULT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// Does something to a cluster while a checker pushes and asks; then everything must be there once.
fn under_load(cluster: &mut Cluster, name: &str, fault: impl FnOnce(&mut Cluster)) -> Checker {
    let checker = Checker::default();
    let (push_to, ask) = (cluster.apis(Role::Distributor, "t"), cluster.apis(Role::Querier, "t"));
    std::thread::scope(|scope| {
        for _ in 0..PUSHERS {
            scope.spawn(|| checker.push(&push_to, Duration::from_millis(5)));
        }
        for _ in 0..ASKERS {
            scope.spawn(|| checker.ask(&ask, Duration::from_millis(20)));
        }
        let faulted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::thread::sleep(Duration::from_millis(500));
            fault(cluster);
            std::thread::sleep(Duration::from_millis(500));
        }));
        checker.stop();
        if let Err(panic) = faulted {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(checker.pushed() > 50, "hardly anything was pushed: {}", checker.report());
    for querier in &ask {
        let settled = checker.settle(querier, SETTLE);
        eprintln!("{name}: {}; exact after {settled:?}", checker.report());
    }
    shared::report("cluster", &format!("{name}: {}", checker.report()));
    checker
}

#[test]
fn any_process_may_be_killed() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let names = ["ingester-0", "distributor-0", "ingester-1", "querier-0", "compactor-0", "ingester-2"];
    let checker = under_load(&mut cluster, "kill -9", |cluster| {
        for name in names {
            cluster.kill(name);
            std::thread::sleep(fault_time());
            cluster.restart(name);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    assert!(checker.tries_max() <= 3, "{}", checker.report());
    // What was in memory comes from the store now.
    cluster.flush();
    checker.settle(&cluster.api("querier-1", "t"), SETTLE);
}

#[test]
fn a_zone_may_be_lost() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    under_load(&mut cluster, "zone lost", |cluster| {
        let lost = cluster.in_zone("zone-1");
        lost.iter().for_each(|name| cluster.kill(name));
        std::thread::sleep(fault_time());
        lost.iter().for_each(|name| _ = cluster.restart(name));
    });
}

#[test]
fn everything_may_be_killed_at_once() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    under_load(&mut cluster, "all killed", |cluster| {
        let all: Vec<String> = [Role::Ingester, Role::Querier, Role::Distributor]
            .iter()
            .flat_map(|role| cluster.names(*role))
            .collect();
        all.iter().for_each(|name| cluster.kill(name));
        all.iter().for_each(|name| cluster.launch(name));
        all.iter().for_each(|name| _ = cluster.wait_ready(name));
    });
}

#[test]
fn a_paused_ingester_does_no_harm_when_it_goes_on() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    under_load(&mut cluster, "paused", |cluster| {
        for name in cluster.names(Role::Ingester) {
            cluster.pause(&name);
            std::thread::sleep(fault_time() * 2);
            cluster.resume(&name);
            std::thread::sleep(Duration::from_secs(2));
        }
    });
}

#[test]
fn all_roles_roll_without_a_failed_push() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let checker = under_load(&mut cluster, "rolled", |cluster| {
        for role in [Role::Ingester, Role::Distributor, Role::Querier, Role::Compactor] {
            for name in cluster.names(role) {
                cluster.stop(&name);
                cluster.restart(&name);
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });
    assert!(checker.tries_max() <= 2, "{}", checker.report());
}

#[test]
fn pushes_go_on_while_the_object_store_is_away() {
    let _turn = turn();
    let mut cluster = Cluster::start(Plan::default());
    let away = cluster.store().with_extension("away");
    let checker = under_load(&mut cluster, "store away", |cluster| {
        let store = cluster.store();
        std::fs::rename(&store, &away).unwrap();
        // A file in its place: nothing can be made below it.
        std::fs::write(&store, "").unwrap();
        std::thread::sleep(fault_time() * 2);
        std::fs::remove_file(&store).unwrap();
        std::fs::rename(&away, &store).unwrap();
    });
    assert_eq!(checker.tries_max(), 1, "{}", checker.report());
    cluster.flush();
    checker.settle(&cluster.api("querier-0", "t"), SETTLE);
}
