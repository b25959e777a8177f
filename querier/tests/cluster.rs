//! Asking the cells of a cluster over real sockets: each cell exactly once, through elections and changes of the roster.

#[path = "support/cluster.rs"]
mod cluster;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster::{Cluster, cell, instance, journal, options, roster};
use hearth_common::{Classify, ErrorKind, Position};
use hearth_internode::FetchOutcome;
use hearth_internode::api::NotReady;
use hearth_querier::ClusterHeadsOptions;
use hearth_query::FetchError;
use hearth_query::heads::{Heads, HeadsError};

const MEMBERS: [&str; 3] = ["a", "b", "c"];
const ALL: &str = "a=10 b=10 c=10";

async fn three(down: &[&str], options: ClusterHeadsOptions) -> Cluster {
    Cluster::new(&MEMBERS, &MEMBERS, down, options).await
}

#[tokio::test]
async fn each_leader_is_asked_once_for_what_is_not_covered() {
    let cluster = three(&[], options()).await;
    assert_eq!(cluster.rows(None).await, ALL);
    assert_eq!(cluster.world.take_calls(), "a:a b:b c:c");
    assert_eq!(cluster.rows(Some(("b", 4))).await, "a=10 b=6 c=10");
    assert_eq!((cluster.heads.count(), cluster.metric("hearth_querier_cells_election_waits_total")), (3, 0));
}

#[tokio::test]
async fn cells_of_one_leader_go_in_one_request() {
    let cluster = three(&["c"], options()).await;
    cluster.world.lead("c", Some("a"));
    assert_eq!(cluster.rows(None).await, ALL);
    // The home of c refuses, and a is the next of its members.
    assert_eq!(cluster.world.take_calls(), "a:a a:c b:b");
    assert_eq!(cluster.rows(None).await, ALL);
    assert_eq!(cluster.world.take_calls(), "a:a+c b:b");
}

#[tokio::test]
async fn a_leader_that_moved_is_found_where_it_is_named() {
    let cluster = three(&[], options()).await;
    assert_eq!(cluster.rows(None).await, ALL);
    cluster.world.take_calls();
    cluster.world.lead("a", Some("c"));
    assert_eq!(cluster.rows(None).await, ALL);
    assert_eq!(cluster.world.take_calls(), "a:a b:b c:a c:c");
    assert_eq!(cluster.rows(None).await, ALL);
    assert_eq!(cluster.world.take_calls(), "b:b c:a+c");
}

#[tokio::test]
async fn an_election_is_waited_for() {
    let cluster = three(&["a"], options()).await;
    cluster.world.lead("a", None);
    let election = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cluster.world.lead("a", Some("c"));
    };
    let (rows, ()) = tokio::join!(cluster.rows(None), election);
    assert_eq!(rows, ALL);
    assert!(cluster.metric("hearth_querier_cells_election_waits_total") > 3);
    let answered = cluster.metric("hearth_querier_cells_fetches_total{outcome=\"answered\"}");
    assert_eq!(answered, 3, "the others were not asked again");
}

#[tokio::test]
async fn a_cell_that_nobody_leads_is_named_or_left_out() {
    for allow_partial in [false, true] {
        let election_max = Duration::from_millis(500);
        let cluster = three(&["b"], ClusterHeadsOptions { election_max, allow_partial, ..options() }).await;
        cluster.world.lead("a", None);
        cluster.world.lead("b", Some("c"));
        if allow_partial {
            let rows = cluster.rows(None).await;
            assert!(
                rows.starts_with("b=10 c=10 (cell a was left out: a: does not lead; b: connection refused"),
                "{rows}"
            );
            assert_eq!(cluster.metric("hearth_querier_cells_left_out_total"), 1);
        } else {
            let error = cluster.ask(None).await.expect_err("nobody leads a");
            assert!(matches!(&error, HeadsError::Cell { cell, .. } if *cell == cluster::cell("a")));
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            let text = error.to_string();
            for part in ["cell a: ", "a: does not lead", "b: connection refused", "c: does not lead"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn beside_a_silent_member_the_next_one_is_asked() {
    let silence = Duration::from_millis(300);
    let cluster = three(&[], ClusterHeadsOptions { silence, ..options() }).await;
    cluster.world.held.lock().insert("a".to_owned());
    cluster.world.lead("a", Some("b"));
    assert_eq!(cluster.rows(None).await, ALL);
    assert!(cluster.metric("hearth_querier_cells_silences_total") > 0);
}

#[tokio::test]
async fn a_member_is_silent_when_it_is_later_than_the_last_answers_were() {
    // By itself far too long for this test.
    let cluster = three(&[], options()).await;
    for _ in 0..20 {
        assert_eq!(cluster.rows(None).await, ALL);
    }
    cluster.world.held.lock().insert("a".to_owned());
    cluster.world.lead("a", Some("b"));
    let began = tokio::time::Instant::now();
    assert_eq!(cluster.rows(None).await, ALL);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(25), "{took:?}");
    assert_eq!(cluster.metric("hearth_querier_cells_silences_total"), 1);
}

#[tokio::test]
async fn a_slow_leader_is_not_asked_twice_and_not_given_up() {
    let (silence, election_max) = (Duration::from_millis(100), Duration::from_millis(200));
    let cluster = three(&[], ClusterHeadsOptions { silence, election_max, ..options() }).await;
    cluster.world.held.lock().insert("a".to_owned());
    let asked = |call: &str| cluster.world.calls.lock().iter().any(|made| made == call);
    let release = async {
        let began = tokio::time::Instant::now();
        while !asked("b:a") || !asked("c:a") || began.elapsed() < 3 * election_max {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.world.held.lock().clear();
    };
    let (rows, ()) = tokio::join!(cluster.rows(None), release);
    assert_eq!(rows, ALL);
    let calls = cluster.world.take_calls();
    assert_eq!(calls.matches("a:a").count(), 1, "{calls}");
}

#[tokio::test]
async fn of_two_answers_for_one_cell_one_counts() {
    let silence = Duration::from_millis(300);
    let cluster = three(&[], ClusterHeadsOptions { silence, ..options() }).await;
    for name in ["b", "c"] {
        cluster.world.lead(name, Some("a"));
    }
    assert_eq!(cluster.rows(None).await, ALL);
    // It answers late for all three; meanwhile another one answers for one of them.
    cluster.world.take_calls();
    cluster.world.held.lock().insert("a".to_owned());
    let answered = || cluster.metric("hearth_querier_cells_fetches_total{outcome=\"answered\"}");
    let before = answered();
    let release = async {
        while answered() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.world.held.lock().clear();
    };
    cluster.world.lead("b", Some("b"));
    *cluster.world.script.lock() = Some(Box::new(|world, name, fetch| {
        let first = name == "a" && fetch.cells.len() == 3;
        first.then(|| Ok(world.answer(&fetch.request, &["a", "b", "c"], Vec::new())))
    }));
    let (rows, ()) = tokio::join!(cluster.rows(None), release);
    assert_eq!(rows, ALL);
    let calls = cluster.world.take_calls();
    assert!(calls.contains("a:a+b+c") && calls.contains("b:a+b") && calls.contains("a:a+c "), "{calls}");
    assert_eq!(cluster.metric("hearth_querier_cells_fetches_total{outcome=\"dropped\"}"), 1);
}

#[tokio::test]
async fn a_newer_roster_brings_its_cells_in() {
    let cluster = Cluster::new(&["a", "b", "c", "d"], &MEMBERS, &[], options()).await;
    cluster.world.roster_version.store(2, Ordering::Relaxed);
    let change = async {
        while cluster.world.calls.lock().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.roster.send_replace(Some(roster(2, &["a", "b", "c", "d"], &[])));
    };
    let (rows, ()) = tokio::join!(cluster.rows(None), change);
    assert_eq!(rows, "a=10 b=10 c=10 d=10");
    assert_eq!(cluster.world.take_calls(), "a:a b:b c:c d:d");
}

#[tokio::test]
async fn a_newer_roster_that_does_not_come_fails_the_query() {
    let roster_max = Duration::from_millis(200);
    let cluster = three(&[], ClusterHeadsOptions { roster_max, ..options() }).await;
    cluster.world.roster_version.store(7, Ordering::Relaxed);
    let error = cluster.ask(None).await.expect_err("cells may be missing");
    assert!(matches!(error, HeadsError::OldRoster { known: 1, heard: 7 }), "{error}");
    cluster.roster.send_replace(None);
    let error = cluster.ask(None).await.expect_err("no roster");
    assert!(matches!(error, HeadsError::NoCells(_)) && error.kind() == ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_cell_that_is_drained_meanwhile_needs_a_newer_root() {
    let cluster = three(&[], options()).await;
    cluster.world.lead("b", None);
    let change = async {
        while !cluster.world.calls.lock().iter().any(|call| call == "b:b") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.roster.send_replace(Some(roster(2, &MEMBERS, &["b"])));
    };
    let (rows, ()) = tokio::join!(cluster.rows(None), change);
    assert_eq!(rows, "stale b");
    assert_eq!(cluster.rows(None).await, "a=10 c=10");
}

#[tokio::test]
async fn a_root_that_is_too_old_is_said_so() {
    let cluster = three(&[], options()).await;
    *cluster.world.script.lock() = Some(Box::new(|world, name, _| {
        let fresh = FetchOutcome::NeedFresh { journal: journal("b"), retained_after: Position(5) };
        (name == "b").then(|| Ok(world.fetched(fresh)))
    }));
    assert_eq!(cluster.rows(None).await, "stale b");
}

#[tokio::test]
async fn a_leader_that_catches_up_is_asked_again() {
    let cluster = three(&[], options()).await;
    let times = parking_lot::Mutex::new(0);
    *cluster.world.script.lock() = Some(Box::new(move |world, name, _| {
        let mut times = times.lock();
        *times += u32::from(name == "a");
        let (cell, leader) = (Some(cell("a")), Some(instance("a")));
        let reading = NotReady { cell, why: "it reads its log".to_owned(), leader };
        (name == "a" && *times < 3).then(|| Ok(world.fetched(FetchOutcome::NotReady(reading))))
    }));
    assert_eq!(cluster.rows(None).await, ALL);
    assert_eq!(cluster.world.take_calls(), "a:a a:a a:a b:b c:c");
}

#[tokio::test]
async fn an_answer_for_other_cells_and_one_that_fails_are_no_answers() {
    let election_max = Duration::from_millis(300);
    let cluster = three(&[], ClusterHeadsOptions { election_max, ..options() }).await;
    *cluster.world.script.lock() = Some(Box::new(|world, name, fetch| {
        (name == "b").then(|| Ok(world.answer(&fetch.request, &["c"], Vec::new())))
    }));
    let text = cluster.rows(None).await;
    assert!(text.starts_with("error: nobody answered for cell b"), "{text}");
    *cluster.world.script.lock() = Some(Box::new(|_, name, _| {
        let broken = std::io::Error::other("damaged");
        (name == "c").then(|| Err(FetchError::Read(Box::new(broken))))
    }));
    let error = cluster.ask(None).await.expect_err("it cannot read");
    assert!(matches!(error, HeadsError::Fetch(FetchError::Read(_))), "{error}");
}
