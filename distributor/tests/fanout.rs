//! Sending records to cells over real sockets: leaders that move, refuse, are silent, or are not there.

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, TIME_NS, id_of, instance, options, record, roster};
use hearth_cluster::roster::Homes;
use hearth_cluster::{PushError, PushOutcome, PushTarget};
use hearth_common::{Classify, ErrorKind, TenantId, TimestampNs};
use hearth_distributor::ClusterPushOptions;
use hearth_distributor::fanout::place;
use hearth_internode::Outcome;
use hearth_internode::api::{Retry, RetryWhy};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const MEMBERS: [&str; 3] = ["a", "b", "c"];

fn home(names: &[&str], record: &Bytes) -> String {
    let (header, _) = hearth_formats::record::peek(record).expect("valid");
    let tenant = TenantId::parse(header.tenant).expect("valid");
    let homes = Homes::new(&roster(1, names)).expect("valid");
    place(&homes, &tenant, &header, TimestampNs(TIME_NS)).cell.0.0.to_string()
}

/// Records of services whose home is this cell.
fn records_of(names: &[&str], cell: &str, count: usize) -> Vec<Bytes> {
    let all = (0u128..).map(|n| record(&format!("service{n}"), n, 0));
    all.filter(|record| home(names, record) == cell).take(count).collect()
}

async fn acked(cluster: &Cluster, records: &[Bytes]) {
    let outcomes = cluster.push.push(records.to_vec()).await.expect("taken");
    assert_eq!(outcomes, vec![PushOutcome::Acked; records.len()]);
}

fn ids(records: &[Bytes]) -> Vec<u128> {
    records.iter().map(id_of).collect()
}

#[tokio::test]
async fn each_cell_gets_its_records_in_one_message() {
    let cluster = Cluster::new(&MEMBERS, &[], options()).await;
    let records: Vec<Bytes> = (0..60).map(|n| record(&format!("service{n}"), n, 0)).collect();
    acked(&cluster, &records).await;
    for name in MEMBERS {
        let expect: Vec<Bytes> = records.iter().filter(|r| home(&MEMBERS, r) == name).cloned().collect();
        assert!(!expect.is_empty());
        assert_eq!(cluster.log(name), ids(&expect), "{name}");
        let labels = format!("hearth_distributor_cells_pushes_total{{cell=\"{name}\",outcome=\"ok\"}}");
        assert_eq!(cluster.metric(&labels), 1);
    }
    assert_eq!(cluster.world.calls.lock().len(), 3);
    assert_eq!(cluster.metric("hearth_distributor_cells_in_flight_bytes"), 0);
}

#[tokio::test]
async fn a_named_leader_is_asked_at_once_and_remembered() {
    let cluster = Cluster::new(&MEMBERS, &[], options()).await;
    let records = records_of(&MEMBERS, "a", 2);
    cluster.world.lead("a", Some("c"));
    acked(&cluster, &records[..1]).await;
    assert_eq!(cluster.world.take_calls(), "a:a:1 c:a:1");
    acked(&cluster, &records[1..]).await;
    assert_eq!(cluster.world.take_calls(), "c:a:1");
    cluster.world.lead("a", Some("b"));
    acked(&cluster, &records).await;
    assert_eq!(cluster.world.take_calls(), "c:a:2 b:a:2");
    assert_eq!(cluster.log("a"), ids(&records));
    assert_eq!(cluster.metric("hearth_distributor_cells_retries_total{reason=\"not_leader\"}"), 2);
    assert_eq!(cluster.metric("hearth_distributor_cells_election_waits_total"), 0);
}

#[tokio::test]
async fn a_refused_connection_leads_to_the_next_member() {
    let cluster = Cluster::new(&MEMBERS, &["a"], options()).await;
    let records = records_of(&MEMBERS, "a", 1);
    cluster.world.lead("a", Some("b"));
    acked(&cluster, &records).await;
    assert_eq!(cluster.world.take_calls(), "b:a:1");
    assert_eq!(cluster.metric("hearth_distributor_cells_retries_total{reason=\"refused\"}"), 1);
    acked(&cluster, &records).await;
    assert_eq!(cluster.metric("hearth_distributor_cells_retries_total{reason=\"refused\"}"), 1);
}

#[tokio::test]
async fn a_silent_member_is_left_and_what_it_took_counts_once() {
    let silence = Duration::from_millis(300);
    let cluster = Cluster::new(&MEMBERS, &[], ClusterPushOptions { silence, ..options() }).await;
    let records = records_of(&MEMBERS, "a", 3);
    cluster.world.silent.lock().push("a".to_owned());
    cluster.world.lead("a", Some("b"));
    acked(&cluster, &records).await;
    let calls = cluster.world.take_calls();
    assert!(calls.starts_with("a:a:3 b:a:3"), "{calls}");
    assert_eq!(cluster.log("a"), ids(&records));
}

#[tokio::test]
async fn nobody_notices_an_election() {
    let cluster = Cluster::new(&MEMBERS, &["a"], options()).await;
    let records = records_of(&MEMBERS, "a", 2);
    cluster.world.lead("a", None);
    let election = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.log("a"), [], "nobody leads");
        cluster.world.lead("a", Some("c"));
    };
    tokio::join!(acked(&cluster, &records), election);
    assert_eq!(cluster.log("a"), ids(&records));
    assert!(cluster.metric("hearth_distributor_cells_election_waits_total") > 3);
}

#[tokio::test]
async fn a_full_leader_is_asked_again_and_nobody_else() {
    let cluster = Cluster::new(&MEMBERS, &[], options()).await;
    let records = records_of(&MEMBERS, "a", 1);
    let times = Mutex::new(0);
    *cluster.world.script.lock() = Some(Box::new(move |world, _, push| {
        *times.lock() += 1;
        (*times.lock() <= 2).then(|| Ok(world.retry(RetryWhy::Full, None, push.records.len())))
    }));
    acked(&cluster, &records).await;
    assert_eq!(cluster.world.take_calls(), "a:a:1 a:a:1 a:a:1");
}

#[tokio::test]
async fn a_cell_that_nobody_leads_fails_in_time_with_all_that_was_said() {
    let deadline = Duration::from_millis(1500);
    let cluster = Cluster::new(&MEMBERS, &["b"], ClusterPushOptions { deadline, ..options() }).await;
    cluster.world.lead("a", None);
    let mut records = records_of(&MEMBERS, "c", 1);
    records.extend(records_of(&MEMBERS, "a", 1));
    let error = cluster.push.push(records.clone()).await.expect_err("nobody leads a");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    for part in ["cell a", "within 1.5 s", "a: said NotLeader", "b: connection refused", "c: said NotLeader"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(cluster.log("c"), ids(&records[..1]), "what can be stored is stored");
}

#[tokio::test]
async fn a_member_with_a_newer_roster_makes_records_be_placed_anew() {
    let cluster = Cluster::new(&["a", "b", "c", "d"], &[], options()).await;
    cluster.roster.send_replace(Some(roster(2, &["a"])));
    let old = records_of(&["a", "b", "c", "d"], "d", 2);
    *cluster.world.script.lock() = Some(Box::new(|world, name, push| {
        (push.roster_version == 2).then(|| {
            world.roster_version.store(3, Ordering::Relaxed);
            assert_eq!(name, "a");
            Ok(world.retry(RetryWhy::OldRoster, None, push.records.len()))
        })
    }));
    let change = async {
        while cluster.world.calls.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.roster.send_replace(Some(roster(3, &["a", "b", "c", "d"])));
    };
    tokio::join!(acked(&cluster, &old), change);
    assert_eq!((cluster.world.take_calls().as_str(), cluster.log("d")), ("a:a:2 d:d:2", ids(&old)));
}

#[tokio::test]
async fn without_a_roster_it_says_so() {
    let cluster = Cluster::new(&MEMBERS, &[], options()).await;
    cluster.roster.send_replace(None);
    let error = cluster.push.push(vec![record("s", 1, 0)]).await.expect_err("no roster");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no roster of the cluster is known yet"), "{error}");
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_and_room_comes_back() {
    let small = ClusterPushOptions { in_flight_bytes_max: 1000, ..options() };
    let cluster = Cluster::new(&MEMBERS, &[], small).await;
    cluster.world.lead("a", None);
    let large = vec![record("s", 1, 2000)];
    let records = records_of(&MEMBERS, "a", 1);
    let push = Arc::clone(&cluster.push);
    let waiting = tokio::spawn(async move { push.push(records).await });
    while cluster.world.calls.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = cluster.push.push(large.clone()).await.expect_err("too much");
    assert!(error.to_string().contains("limit 1000"), "{error}");
    assert_eq!(
        (error.kind(), cluster.metric("hearth_distributor_cells_refused_in_flight_total")),
        (ErrorKind::Unavailable, 1)
    );
    waiting.abort();
    assert!(waiting.await.expect_err("aborted").is_cancelled());
    cluster.world.lead("a", Some("a"));
    acked(&cluster, &large).await;
}

#[tokio::test]
async fn messages_are_bounded() {
    let small = ClusterPushOptions { batch_bytes_max: 2500, ..options() };
    let cluster = Cluster::new(&["a"], &[], small).await;
    let records: Vec<Bytes> =
        [1000, 1000, 1000, 9000, 10].iter().zip(0..).map(|(size, id)| record("s", id, *size)).collect();
    acked(&cluster, &records).await;
    let mut calls: Vec<String> = cluster.world.take_calls().split(' ').map(str::to_owned).collect();
    calls.sort();
    assert_eq!(calls, ["a:a:1", "a:a:1", "a:a:1", "a:a:2"]);
    let stored: BTreeSet<u128> = cluster.log("a").into_iter().collect();
    assert_eq!(stored, (0..5).collect());
}

#[tokio::test]
async fn a_defect_is_not_tried_again() {
    let cluster = Cluster::new(&MEMBERS, &[], options()).await;
    let garbage = cluster.push.push(vec![Bytes::from_static(b"garbage")]).await.expect_err("no record");
    assert!(matches!(garbage, PushError::Malformed(_)), "{garbage}");
    assert_eq!(cluster.world.take_calls(), "");
    *cluster.world.script.lock() =
        Some(Box::new(|_, _, _| Some(Err(PushError::Malformed("bad checksum".to_owned())))));
    let refused = cluster.push.push(records_of(&MEMBERS, "b", 1)).await.expect_err("refused");
    assert!(matches!(&refused, PushError::Malformed(text) if text.contains("bad checksum")), "{refused}");
    assert_eq!(cluster.world.take_calls(), "b:b:1");
}

/// What a record's member says of it, by its id: some are refused, some are told to try again once.
fn outcome(id: u128, seen: &mut BTreeSet<u128>) -> Outcome {
    match id % 5 {
        0 if seen.insert(id) => Outcome::Retry(Retry {
            why: RetryWhy::NotLeader,
            message: "once".to_owned(),
            leader: id.is_multiple_of(2).then(|| instance("b")),
        }),
        1 => Outcome::Done(expected(id)),
        _ => Outcome::Done(PushOutcome::Acked),
    }
}

fn expected(id: u128) -> PushOutcome {
    match id % 5 {
        1 => {
            let (kind, reason) = (ErrorKind::ResourceExhausted, "series_limit");
            PushOutcome::Refused { kind, reason, message: id.to_string() }
        }
        _ => PushOutcome::Acked,
    }
}

#[test]
fn outcomes_stand_in_the_order_of_the_records_however_they_are_split() {
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let small = ClusterPushOptions { batch_bytes_max: 1500, ..options() };
    let cluster = runtime.block_on(Cluster::new(&["a", "b", "c", "d"], &[], small));
    let seen = Mutex::new(BTreeSet::new());
    *cluster.world.script.lock() = Some(Box::new(move |world, _, push| {
        let mut seen = seen.lock();
        let outcomes = push.records.iter().map(|record| outcome(id_of(record), &mut seen));
        Some(Ok(world.pushed(outcomes.collect())))
    }));
    let pushes = proptest::collection::vec((0..12u32, 0..1000u128, 0..400usize), 0..60);
    let cases = AtomicU64::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let checked = runner.run(&pushes, |push| {
        let case = u128::from(cases.fetch_add(1, Ordering::Relaxed)) * 1000;
        let records: Vec<Bytes> =
            push.iter().map(|(service, id, size)| record(&format!("s{service}"), case + id, *size)).collect();
        let outcomes = runtime.block_on(cluster.push.push(records.clone())).expect("taken");
        let expect: Vec<PushOutcome> = ids(&records).into_iter().map(expected).collect();
        prop_assert_eq!(outcomes, expect);
        Ok(())
    });
    checked.expect("in order");
    assert!(cluster.metric("hearth_distributor_cells_retries_total{reason=\"not_leader\"}") > 0);
}
