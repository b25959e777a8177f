//! A checker's load on a cluster while something goes wrong, and the exact sums afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Role};
use crate::{Api, Checker, shared};

/// Clients that push, and that ask.
const PUSHERS: usize = 3;
const ASKERS: usize = 2;
const PUSH_PAUSE: Duration = Duration::from_millis(5);
/// How long a cluster may take until pushes go on, and answers are exact, after the last fault.
pub const SETTLE: Duration = Duration::from_secs(30);

/// One cluster at a time in a test program: each has all the processes that the machine can run well.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a fault lasts; `HEARTH_FAULT_SECONDS` makes it longer.
pub fn fault_time() -> Duration {
    let seconds = std::env::var("HEARTH_FAULT_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// How pushes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Each by one client at a time, the next one after a failure.
    Retrying,
    /// Each by all clients at once.
    Hedged,
}

/// Does something to a cluster while a checker pushes and asks; then everything must be there once.
pub fn under_load(
    cluster: &mut Cluster,
    name: &str,
    sending: Sending,
    fault: impl FnOnce(&mut Cluster, &Checker),
) -> Checker {
    let checker = Checker::default();
    let (push_to, ask) = (running(cluster, Role::Distributor), running(cluster, Role::Querier));
    std::thread::scope(|scope| {
        for _ in 0..PUSHERS {
            scope.spawn(|| match sending {
                Sending::Retrying => checker.push(&push_to, PUSH_PAUSE),
                Sending::Hedged => checker.push_hedged(&push_to, PUSH_PAUSE),
            });
        }
        for _ in 0..ASKERS {
            scope.spawn(|| checker.ask(&ask, Duration::from_millis(20)));
        }
        let faulted = catch_unwind(AssertUnwindSafe(|| {
            go_on(&checker, 20);
            fault(cluster, &checker);
            go_on(&checker, 50);
        }));
        checker.stop();
        if let Err(panic) = faulted {
            resume_unwind(panic);
        }
    });
    settle(cluster, name, &checker);
    checker
}

fn running(cluster: &Cluster, role: Role) -> Vec<Api> {
    let names = cluster.names(role).into_iter().filter(|name| cluster.pid(name).is_some());
    names.map(|name| cluster.api(&name, "t")).collect()
}

/// Every querier that runs must give exact sums; says how long that took.
#[allow(clippy::print_stderr, reason = "figures of a test")]
pub fn settle(cluster: &Cluster, name: &str, checker: &Checker) {
    let ask = running(cluster, Role::Querier);
    let settled: Vec<Duration> = ask.iter().map(|querier| checker.settle(querier, SETTLE)).collect();
    eprintln!("{name}: {}; exact after {settled:?}", checker.report());
    shared::report("cluster", &format!("{name}: {}", checker.report()));
}

/// Waits until so many more are pushed.
pub fn go_on(checker: &Checker, more: u64) {
    let seen = checker.pushed();
    until("pushes go on", || checker.pushed() >= seen + more, || checker.report());
}

/// Waits for a condition, for [`SETTLE`] at most; `state` tells what is the case instead.
pub fn until(what: &str, holds: impl Fn() -> bool, state: impl Fn() -> String) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SETTLE, "not within {SETTLE:?}: {what}: {}", state());
        std::thread::sleep(Duration::from_millis(20));
    }
}
