//! Blocks that other queriers read: each counts once, whatever they do.

#[path = "support/peers.rs"]
mod peers;
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use hearth_common::{Classify, ErrorKind, TimeRange};
use hearth_internode::{BlocksRequest, RefusalWhy};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector, StepGrid, answer_bytes};
use hearth_querier::{QuerierOptions, QueryError, SharingOptions};
use hearth_query::share::Threshold;
use peers::{BLOCKS, Does, Others, failures, options, refuse, sum, world};
use support::{BASE_MS, CPU, World, tenant};

const LONG: Duration = Duration::from_secs(20);

fn query() -> ProfileQuery {
    ProfileQuery {
        profile_type: ProfileType::parse(CPU).expect("valid"),
        selector: Selector::default(),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    }
}

fn questions() -> Vec<Question> {
    let grid = StepGrid::new(BASE_MS, BASE_MS + 60_000, 5000);
    let (range, matchers) = (None, Vec::new());
    vec![
        Question::Tree(query()),
        Question::Pprof(query()),
        Question::Points { query: query(), group_by: vec!["service_name".to_owned()], grid },
        Question::LabelNames { range, matchers: matchers.clone() },
        Question::LabelValues { name: "service_name".to_owned(), range, matchers: matchers.clone() },
        Question::Series { range, matchers, label_names: Vec::new() },
        Question::Estimate { range: TimeRange::ALL, selector: Selector::default() },
    ]
}

async fn total_within(world: &World, timeout: Duration) -> Result<i64, QueryError> {
    let (answer, marks) = world.querier.ask(&[tenant()], &Question::Tree(query()), timeout).await?;
    assert!(marks.inexact.is_empty() && !marks.partial);
    let Answer::Tree(tree) = answer else { panic!("{answer:?}") };
    Ok(tree.checked_total()?)
}

async fn total(world: &World) -> Result<i64, QueryError> {
    total_within(world, LONG).await
}

/// The value of a metric; 0 if it is not there.
fn metric(world: &World, name: &str) -> u64 {
    let text = world.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a number"))
}

fn calls(world: &World, outcome: &str) -> u64 {
    metric(world, &format!("hearth_querier_share_calls_total{{outcome=\"{outcome}\"}}"))
}

async fn usual() -> (Arc<World>, Arc<Others>) {
    world(options(), QuerierOptions::default()).await
}

#[tokio::test]
async fn every_answer_is_that_of_one_querier_alone() {
    let (world, others) = usual().await;
    let alone = world.another(QuerierOptions::default());
    for question in questions() {
        let (shared, _) = world.querier.ask(&[tenant()], &question, LONG).await.expect("answers");
        let (one, _) = alone.ask(&[tenant()], &question, LONG).await.expect("answers");
        let bytes = |answer: &Answer| answer_bytes::encode(answer).expect("encodes");
        assert_eq!(bytes(&shared), bytes(&one), "{question:?}");
        let asked = others.take_asked();
        assert_eq!(asked.keys().collect::<Vec<_>>(), ["b", "c"], "{question:?}");
    }
    // Each block was read by one of them.
    let questions = questions().len() as u64;
    let (own, theirs) = (
        metric(&world, "hearth_querier_blocks_read_total"),
        metric(&world, "hearth_querier_share_blocks_total"),
    );
    assert_eq!(own + theirs, BLOCKS as u64 * questions);
    assert!(own > 0 && theirs > own, "{own} and {theirs}");
    assert_eq!(metric(&world, "hearth_querier_block_opens_total"), own / questions, "only its own are kept");
}

#[tokio::test]
async fn whatever_a_peer_fails_with_each_block_counts_once() {
    for (word, failure) in failures() {
        let (world, others) = usual().await;
        others.set("b", failure);
        assert_eq!(total(&world).await.expect("exact"), sum(), "{word}");
        assert!(calls(&world, word) >= 1, "{word}: {}", world.metrics());
        others.set("c", others_failure(word));
        assert_eq!(total(&world).await.expect("exact"), sum(), "both fail: {word}");
        assert!(metric(&world, "hearth_querier_share_local_parts_total") >= 1, "{word}");
    }
}

fn others_failure(word: &str) -> Does {
    failures().into_iter().find(|(name, _)| *name == word).expect("one of them").1
}

#[tokio::test]
async fn who_failed_is_left_alone_for_a_while_and_who_is_busy_is_not() {
    for (word, failure) in failures() {
        let (world, others) = usual().await;
        others.set("b", failure);
        total(&world).await.expect("exact");
        others.take_asked();
        total(&world).await.expect("exact");
        let asked = others.take_asked();
        let spared = !["busy", "failed", "unreadable"].contains(&word);
        assert_eq!(!asked.contains_key("b"), spared, "{word}: {asked:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_overtaken_and_then_left_alone() {
    let (world, others) = usual().await;
    others.set("b", Does::Never);
    let began = tokio::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(total(&world).await.expect("exact"), sum());
    }
    assert!(began.elapsed() >= Duration::from_millis(200), "nothing was known of usual times");
    let hedges = metric(&world, "hearth_querier_share_hedges_total");
    assert!(hedges >= 2 && calls(&world, "late") >= 2, "{}", world.metrics());
    assert_eq!(others.given_up.load(Ordering::SeqCst), calls(&world, "late"), "its work ends");
    others.take_asked();
    for _ in 0..5 {
        assert_eq!(total(&world).await.expect("exact"), sum());
    }
    assert!(!others.take_asked().contains_key("b"));
    // Well again, it gets its blocks back.
    others.set("b", Does::Answer);
    others.pass(Duration::from_millis(1100));
    assert_eq!(total(&world).await.expect("exact"), sum());
    assert!(others.take_asked().contains_key("b"));
}

#[tokio::test]
async fn an_answer_that_comes_with_its_hedge_counts_once() {
    let (world, others) = usual().await;
    // From before the first delay to behind the second.
    for at in 0..30_u64 {
        others.set("b", Does::Late(Duration::from_millis(90 + at)));
        others.set("c", Does::Late(Duration::from_millis(at % 5 * 25)));
        // Nobody rests for having been late before.
        others.pass(LONG * 3);
        assert_eq!(total(&world).await.expect("exact"), sum(), "{at}");
    }
    assert!(metric(&world, "hearth_querier_share_hedges_total") > 0, "{}", world.metrics());
    assert!(calls(&world, "answered") > 0 && calls(&world, "late") > 0, "{}", world.metrics());
}

#[tokio::test]
async fn the_budget_of_bytes_holds_over_all_queriers() {
    let (world, others) = usual().await;
    total(&world).await.expect("exact");
    let spent = |world: &World| {
        metric(world, "hearth_querier_block_bytes_fetched_total")
            + metric(world, "hearth_querier_share_block_bytes_fetched_total")
    };
    let needed = spent(&world);
    assert!(others.calls.lock().iter().all(|(_, _, bytes, _)| *bytes <= 4 << 30 && *bytes > needed / 2));
    // Enough; then one byte too little.
    let querier = |query_bytes_max| QuerierOptions { query_bytes_max, ..QuerierOptions::default() };
    let (enough, _) = peers::world(options(), querier(needed)).await;
    assert_eq!(total(&enough).await.expect("exact"), sum());
    let (less, _) = peers::world(options(), querier(needed - 1)).await;
    let error = total(&less).await.expect_err("too much");
    let QueryError::Bytes { limit, planned: Some(planned) } = error else { panic!("{error}") };
    assert_eq!((limit, planned.bytes), (needed - 1, needed), "it knew before it read");
    assert_eq!(spent(&less), 0);
    // Who asks what the query would read is told the same.
    let question = Question::Estimate { range: TimeRange::ALL, selector: Selector::default() };
    let (answer, _) = less.querier.ask(&[tenant()], &question, LONG).await.expect("reads nothing");
    let Answer::Estimate(estimate) = answer else { panic!("{answer:?}") };
    assert_eq!(estimate.profile_bytes + estimate.symbol_bytes, needed);
    assert_eq!(estimate.blocks, BLOCKS as u64);
    // A peer that would need more than is left refuses; the query is over then.
    others.set("b", Does::Within(10));
    let error = total(&world).await.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert_eq!(calls(&world, "bytes"), 1);
}

#[tokio::test]
async fn a_smaller_limit_of_a_peer_is_no_limit_of_the_query() {
    let (world, _) = usual().await;
    let small = world.another(QuerierOptions { query_bytes_max: 10, ..QuerierOptions::default() });
    let view = world.catalog.newest(&tenant(), Duration::ZERO).await.expect("reads").expect("published");
    let request = |bytes_max| BlocksRequest {
        tenant: tenant(),
        question: Question::Tree(query()),
        blocks: view.blocks.iter().take(3).cloned().collect(),
        deletions: Vec::new(),
        bytes_max,
        timeout: LONG,
    };
    let why = async |bytes_max| small.serving().blocks(request(bytes_max)).await.expect_err("refused").why;
    assert_eq!(why(1 << 30).await, RefusalWhy::Failed, "the asker may read more itself");
    assert_eq!(why(5).await, RefusalWhy::Bytes);
}

#[tokio::test]
async fn time_passes_through_and_all_ends_with_the_query() {
    let slow = SharingOptions { hedge_min: LONG, hedge_max: LONG, ..options() };
    let (world, others) = world(slow, QuerierOptions::default()).await;
    ["b", "c"].iter().for_each(|peer| others.set(peer, Does::Never));
    let timeout = Duration::from_millis(300);
    let error = total_within(&world, timeout).await.expect_err("nobody answers");
    assert!(matches!(error, QueryError::Deadline(_)), "{error}");
    let told: Vec<Duration> = others.calls.lock().iter().map(|call| call.3).collect();
    assert!(told.len() >= 2 && told.iter().all(|time| *time <= timeout), "{told:?}");
    assert_eq!(others.given_up.load(Ordering::SeqCst), told.len() as u64);
    // The asker goes away.
    others.calls.lock().clear();
    let asking = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { total(&world).await })
    };
    while others.calls.lock().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asking.abort();
    assert!(asking.await.expect_err("gone").is_cancelled());
    assert_eq!(others.given_up.load(Ordering::SeqCst), 2 * told.len() as u64);
}

#[tokio::test]
async fn small_questions_stay_here() {
    let threshold = Threshold { blocks: BLOCKS + 1, bytes: 0 };
    let (world, others) = world(SharingOptions { threshold, ..options() }, QuerierOptions::default()).await;
    assert_eq!(total(&world).await.expect("exact"), sum());
    assert_eq!((others.calls.lock().len(), metric(&world, "hearth_querier_share_queries_total")), (0, 0));
}

#[tokio::test]
async fn calls_and_what_is_served_are_bounded() {
    let (world, others) =
        world(SharingOptions { calls_max: 0, ..options() }, QuerierOptions::default()).await;
    assert_eq!(total(&world).await.expect("exact"), sum());
    assert!(others.calls.lock().is_empty() && calls(&world, "crowded") >= 2, "{}", world.metrics());
    let view = world.catalog.newest(&tenant(), Duration::ZERO).await.expect("reads").expect("published");
    let (serving, blocks) = (world.querier.serving(), view.blocks.clone());
    let request = || BlocksRequest {
        tenant: tenant(),
        question: Question::Tree(query()),
        blocks: blocks.clone(),
        deletions: Vec::new(),
        bytes_max: u64::MAX,
        timeout: LONG,
    };
    // None is done by the time that it was looked at once.
    world.work_takes_ms.store(100, Ordering::Relaxed);
    let mut served: Vec<_> = (0..33).map(|_| serving.blocks(request())).collect();
    let mut busy = 0;
    for call in &mut served {
        match call.now_or_never() {
            None => {}
            Some(answered) => {
                assert_eq!(answered.expect_err("at once only this").why, RefusalWhy::Busy);
                busy += 1;
            }
        }
    }
    assert_eq!(busy, 1);
    let line = |outcome| format!("hearth_querier_served_calls_total{{outcome=\"{outcome}\"}}");
    assert_eq!(metric(&world, &line("busy")), 1);
    drop(served);
    assert_eq!(metric(&world, &line("given_up")), 32);
    assert!(serving.blocks(request()).await.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_block_that_nobody_can_read_is_an_error_and_an_overflow_too() {
    let (world, others) = usual().await;
    others.set("b", refuse(RefusalWhy::Overflow));
    let error = total(&world).await.expect_err("no sum");
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    others.set("b", Does::Answer);
    let listed = world.store.list("t/t1/blocks").await.expect("lists");
    let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    world.store.delete(&keys).await.expect("deletes");
    // What is open in memory does not help: samples are read for each question.
    let error = total(&world).await.expect_err("no answer");
    assert!(matches!(error, QueryError::Block { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
