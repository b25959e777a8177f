//! Answers are exact while data moves from heads to blocks, and an error where they cannot be.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_common::{Classify, ErrorKind, Position, TenantLimits, TimeRange};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use hearth_querier::{QuerierOptions, QueryError};
use hearth_query::{FetchAnswer, FetchError};
use support::{BASE_MS, CPU, Profile, World, journal, publish, tenant};

const SECOND: Duration = Duration::from_secs(1);

fn tree() -> Question {
    Question::Tree(ProfileQuery {
        profile_type: ProfileType::parse(CPU).expect("valid"),
        selector: Selector::default(),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    })
}

async fn total(world: &World) -> Result<i64, QueryError> {
    let (answer, marks) = world.querier.ask(&[tenant()], &tree(), 5 * SECOND).await?;
    assert!(marks.inexact.is_empty() && !marks.partial);
    let Answer::Tree(tree) = answer else { panic!("{answer:?}") };
    Ok(tree.checked_total()?)
}

fn profile(at: i64) -> Profile {
    Profile::new("shop", BASE_MS + at * 1000, &[("main;work", 1 << at.min(40)), ("main", 1)])
}

#[tokio::test]
async fn every_row_counts_once_at_every_moment() {
    let world = World::new();
    let mut want = 0;
    for at in 0..12 {
        world.push(profile(at));
        want += (1 << at) + 1;
        assert_eq!(total(&world).await.expect("answers"), want);
        if at % 3 == 2 {
            world.publish().await;
            assert_eq!(total(&world).await.expect("answers"), want);
        }
    }
    assert!(world.metrics().contains("hearth_querier_blocks_read_total"), "{}", world.metrics());
}

#[tokio::test]
async fn a_root_that_fell_behind_is_loaded_anew() {
    let world = World::new();
    world.push(profile(0));
    world.push(profile(1));
    let (catalog, store) = (Arc::clone(&world.catalog), world.store.clone());
    // The head is cut between the querier's look at the root and its question; the rows are gone from memory.
    *world.head.script.lock() = Some(Box::new(move |head, request| {
        if request.coverage.contains_key(&journal()) {
            return None;
        }
        let (catalog, store) = (Arc::clone(&catalog), store.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
                runtime.block_on(publish(&catalog, &store, head, Position(2), 0));
            });
        });
        Some(Ok(FetchAnswer::NeedFresh { journal: journal(), retained_after: Position(2) }))
    }));
    assert_eq!(total(&world).await.expect("answers"), 5);
    assert_eq!(world.head.asked.load(Ordering::Relaxed), 2);
    assert!(world.metrics().contains("hearth_querier_replans_total 1"), "{}", world.metrics());
}

#[tokio::test]
async fn a_head_that_is_never_satisfied_ends_in_an_error() {
    let world = World::new();
    *world.head.script.lock() = Some(Box::new(|_, _| {
        Some(Ok(FetchAnswer::NeedFresh { journal: journal(), retained_after: Position(9) }))
    }));
    let error = total(&world).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(world.head.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn no_answer_of_a_head_is_no_answer_at_all() {
    let world = World::new();
    world.push(profile(0));
    world.publish().await;
    *world.head.script.lock() =
        Some(Box::new(|_, _| Some(Ok(FetchAnswer::NotReady("replaying".to_owned())))));
    assert_eq!(total(&world).await.expect_err("no answer").kind(), ErrorKind::Unavailable);
    *world.head.script.lock() =
        Some(Box::new(|_, _| Some(Err(FetchError::Unavailable("stopping".to_owned())))));
    assert_eq!(total(&world).await.expect_err("no answer").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_block_without_its_objects_is_an_error_and_not_a_smaller_sum() {
    let world = World::new();
    world.push(profile(0));
    world.publish().await;
    let keys: Vec<String> =
        world.store.list("t/t1/blocks").await.expect("lists").into_iter().map(|o| o.key).collect();
    world.store.delete(&keys).await.expect("deletes");
    let error = total(&world).await.expect_err("no answer");
    assert!(matches!(error, QueryError::Block { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn limits_of_time_and_bytes_are_named() {
    let options = QuerierOptions { query_bytes_max: 10, ..QuerierOptions::default() };
    let world = World::with(options, TenantLimits::default());
    world.push(profile(0));
    world.publish().await;
    let error = total(&world).await.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let said = error.to_string();
    assert!(said.contains("query_bytes_max") && said.contains(" of 1 blocks"), "{said}");

    let world = World::new();
    *world.head.delay.lock() = 60 * SECOND;
    let asked = world.querier.ask(&[tenant()], &tree(), Duration::from_millis(20)).await;
    let error = asked.expect_err("too slow");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().starts_with("request timed out"), "{error}");
}

#[tokio::test]
async fn many_blocks_and_many_questions_at_once() {
    let world = Arc::new(World::new());
    for at in 0..30 {
        world.push(profile(at % 10));
        world.publish().await;
    }
    let want = 3 * (0..10).map(|at| (1 << at) + 1).sum::<i64>();
    let asks = (0..16).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { total(&world).await.expect("answers") })
    });
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer.expect("no panic"), want);
    }
}
