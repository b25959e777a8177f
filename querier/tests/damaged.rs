//! A damaged block: a query of it fails and names it, or is answered without it where the client allows that. Others are read.

#[path = "support/peers.rs"]
mod peers;
mod support;

use std::time::Duration;

use hearth_block::BlockError;
use hearth_common::{Classify, ErrorKind, TimeRange};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use hearth_querier::{DiskCache, Querier, QuerierOptions, QueryError, Terms};
use peers::{BLOCKS, options, sum};
use support::{BASE_MS, CPU, Profile, World, tenant};

const LONG: Duration = Duration::from_secs(20);
const PARTIAL: Terms = Terms { timeout: LONG, allow_partial: true };

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

/// Folder of the n-th block.
async fn folder(world: &World, n: usize) -> String {
    let view = world.catalog.newest(&tenant(), Duration::ZERO).await.expect("reads").expect("published");
    let mut blocks = view.blocks.clone();
    blocks.sort_by_key(|block| block.min_time);
    blocks[n].folder(&tenant())
}

/// Damages an object all over.
async fn damage(world: &World, key: &str) {
    let mut bytes = world.store.get(key, 1 << 20).await.expect("is there").to_vec();
    bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x10);
    world.store.delete(&[key.to_owned()]).await.expect("deletes");
    world.store.put(key, bytes::Bytes::from(bytes)).await.expect("puts");
}

async fn ask(world: &World, terms: Terms) -> Result<(i64, hearth_querier::Marks), QueryError> {
    ask_for(world, &Question::Tree(query()), terms).await
}

async fn ask_for(
    world: &World,
    question: &Question,
    terms: Terms,
) -> Result<(i64, hearth_querier::Marks), QueryError> {
    ask_of(&world.querier, question, terms).await
}

async fn ask_of(
    querier: &Querier,
    question: &Question,
    terms: Terms,
) -> Result<(i64, hearth_querier::Marks), QueryError> {
    let (answer, marks) = querier.ask(&[tenant()], question, terms).await?;
    let total = match answer {
        Answer::Tree(tree) => tree.checked_total()?,
        Answer::Points(points) => {
            let buckets = points.groups.values().flat_map(|buckets| buckets.iter());
            buckets.map(|(_, bucket)| bucket.sum).sum::<i128>() as i64
        }
        answer => panic!("{answer:?}"),
    };
    Ok((total, marks))
}

/// Three blocks of 1, 2 and 4.
async fn three() -> World {
    let world = World::new();
    for (at, value) in [1, 2, 4].into_iter().enumerate() {
        world.push(Profile::new("shop", BASE_MS + at as i64 * 1000, &[("main;work", value)]));
        world.publish().await;
    }
    world
}

#[tokio::test]
async fn a_query_fails_and_names_the_block_or_leaves_it_out() {
    let grid = StepGrid::new(BASE_MS, BASE_MS + 60_000, 5000);
    let points = Question::Points { query: query(), group_by: Vec::new(), grid };
    let tree = Question::Tree(query());
    for (object, question) in [("index", &tree), ("profiles.parquet", &points), ("samples.parquet", &tree)] {
        let world = three().await;
        let folder = folder(&world, 1).await;
        damage(&world, &format!("{folder}/{object}")).await;
        let error = ask_for(&world, question, LONG.into()).await.expect_err("damaged");
        let QueryError::Block { block, source: BlockError::Damaged { object: named, .. } } = &error else {
            panic!("{object}: {error}")
        };
        assert_eq!((block, named.as_str(), error.kind()), (&folder, object, ErrorKind::DataLoss));
        let (total, marks) = ask_for(&world, question, PARTIAL).await.expect("the others");
        assert_eq!((total, marks.partial, marks.inexact.len()), (5, true, 1), "{object}: {marks:?}");
        assert!(marks.inexact[0].starts_with(&format!("block {folder} is left out: ")), "{marks:?}");
        assert!(world.metrics().contains("hearth_querier_skipped_blocks_total 1\n"), "{}", world.metrics());
    }
}

/// The store gave wrong bytes once, and they were kept on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_cache_has_wrong_is_read_of_the_store() {
    let grid = StepGrid::new(BASE_MS, BASE_MS + 60_000, 5000);
    let points = Question::Points { query: query(), group_by: Vec::new(), grid };
    let tree = Question::Tree(query());
    for (object, question) in [("index", &tree), ("profiles.parquet", &points), ("samples.parquet", &tree)] {
        for terms in [Terms::from(LONG), PARTIAL] {
            let world = three().await;
            let disk = tempfile::tempdir().expect("a folder");
            let cache = DiskCache::take(disk.path(), 0).expect("free");
            let querier = world.another_with_disk(QuerierOptions::default(), Some(cache));
            let key = format!("{}/{object}", folder(&world, 1).await);
            let right = world.store.get(&key, 1 << 20).await.expect("is there");
            damage(&world, &key).await;
            ask_of(&querier, question, LONG.into()).await.expect_err("damaged");
            world.store.put(&key, right).await.expect("puts");
            for _ in 0..2 {
                let (total, marks) = ask_of(&querier, question, terms).await.expect("all are right");
                assert_eq!((total, marks.partial), (7, false), "{object}: {marks:?}");
            }
            // Of a block that is damaged in the store every query says so.
            damage(&world, &key).await;
            let querier = world.another(QuerierOptions::default());
            ask_of(&querier, question, LONG.into()).await.expect_err("damaged");
        }
    }
}

/// Reading it again and again is of no use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_in_the_store_stays_so_with_a_disk_cache() {
    let world = three().await;
    let disk = tempfile::tempdir().expect("a folder");
    let cache = DiskCache::take(disk.path(), 0).expect("free");
    let querier = world.another_with_disk(QuerierOptions::default(), Some(cache));
    damage(&world, &format!("{}/samples.parquet", folder(&world, 1).await)).await;
    for _ in 0..8 {
        let error = ask_of(&querier, &Question::Tree(query()), LONG.into()).await.expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
        let (total, marks) = ask_of(&querier, &Question::Tree(query()), PARTIAL).await.expect("the others");
        assert_eq!((total, marks.partial), (5, true), "{marks:?}");
    }
}

#[tokio::test]
async fn a_block_that_is_gone_is_looked_for_in_the_newest_root_first() {
    let world = three().await;
    let folder = folder(&world, 2).await;
    world.store.delete(&[format!("{folder}/samples.parquet")]).await.expect("deletes");
    let error = ask(&world, LONG.into()).await.expect_err("gone");
    assert!(error.to_string().contains(&folder), "{error}");
    let (total, marks) = ask(&world, PARTIAL).await.expect("the others");
    assert_eq!((total, marks.partial, marks.inexact.len()), (3, true, 1), "{marks:?}");
}

#[tokio::test]
async fn what_others_read_is_kept_and_marks_are_those_of_the_answer() {
    let all = QuerierOptions { allow_partial: true, ..QuerierOptions::default() };
    let (world, _others) = peers::world(options(), all).await;
    for (damaged, left) in
        [(3, sum() - 4), (20, sum() - 4 - 21), (BLOCKS - 1, sum() - 4 - 21 - BLOCKS as i64)]
    {
        let object = format!("{}/samples.parquet", folder(&world, damaged).await);
        damage(&world, &object).await;
        // The setting allows what no client has to ask for.
        let (total, marks) = ask(&world, LONG.into()).await.expect("the others");
        assert_eq!((total, marks.partial), (left, true), "{marks:?}");
    }
    let (_, marks) = ask(&world, LONG.into()).await.expect("the others");
    assert_eq!(marks.inexact.len(), 3, "each once: {marks:?}");
}
