//! The rules of the catalog one by one.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bed, block, catalog, journal, range, tenant, upload};
use futures::future::BoxFuture;
use hearth_catalog::{
    BlockRef, CatalogError, CatalogOptions, Commit, Edit, Publication, Tombstone, Version, block_path,
    expired_versions, root_key,
};
use hearth_common::{Position, TimestampNs};
use hearth_objstore::{Fault, Faults, Operation};

/// Answers the creations of roots with a script, then with nothing.
#[derive(Debug, Default)]
struct Script(Mutex<VecDeque<Fault>>, Mutex<Vec<(Operation, String)>>);

impl Faults for Script {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        self.1.lock().unwrap().push((operation, key.to_owned()));
        let scripted = operation == Operation::Create && key.contains("/root/");
        let fault = if scripted { self.0.lock().unwrap().pop_front() } else { None };
        Box::pin(std::future::ready(fault.unwrap_or(Fault::None)))
    }
}

#[tokio::test(start_paused = true)]
async fn coverage_decides_what_is_published() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    assert!(catalog.newest(&tenant(), Duration::ZERO).await.unwrap().is_none());
    let first = bed.commit(1, 0, 10).await;
    let Publication::Published(view) = catalog.publish(&tenant(), &first).await.unwrap() else { panic!() };
    assert_eq!((view.version(), view.blocks.len(), view.coverage(&journal(1, 1))), (1, 1, Position(10)));
    let again = catalog.publish(&tenant(), &first).await.unwrap();
    assert!(matches!(&again, Publication::AlreadyCovered(view) if view.version() == 1));
    // Another process with another cut of the same entries.
    let other = bed.catalog();
    let wider = bed.commit(1, 0, 15).await;
    let ahead = other.publish(&tenant(), &wider).await.unwrap();
    assert!(
        matches!(&ahead, Publication::CoverageAhead(view) if view.coverage(&journal(1, 1)) == Position(10))
    );
    let rest = bed.commit(1, 10, 15).await;
    assert!(matches!(other.publish(&tenant(), &rest).await.unwrap(), Publication::Published(_)));
    let gap = bed.commit(1, 20, 25).await;
    let error = catalog.publish(&tenant(), &gap).await.unwrap_err();
    assert!(matches!(error, CatalogError::Gap { covered: Position(15), .. }), "looked again: {error}");
    // The first catalog's cache is old, its next commit is not refused for that.
    let next = bed.commit(1, 15, 16).await;
    assert!(matches!(catalog.publish(&tenant(), &next).await.unwrap(), Publication::Published(_)));
    assert_eq!(catalog.tenants().await.unwrap(), [tenant()]);
}

#[tokio::test(start_paused = true)]
async fn commits_that_contradict_themselves_are_refused() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    let good = bed.commit(1, 0, 10).await;
    let with = |change: &dyn Fn(&mut Commit)| {
        let mut commit = good.clone();
        change(&mut commit);
        commit
    };
    for (why, commit) in [
        ("no range", with(&|c| c.ranges.clear())),
        ("not behind", with(&|c| c.ranges[0].upto = Position(0))),
        ("comes twice", with(&|c| c.ranges.push(range(&journal(1, 1), 10, 11)))),
        ("holds entries", with(&|c| c.add[0].sources[0].upto = Position(11))),
        ("names no source", with(&|c| c.add[0].sources.clear())),
    ] {
        let error = catalog.publish(&tenant(), &commit).await.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut never_uploaded = good.clone();
    never_uploaded.add[0].attempt = "other".to_owned();
    let error = catalog.publish(&tenant(), &never_uploaded).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectMissing { .. }), "{error}");
    assert!(catalog.newest(&tenant(), Duration::ZERO).await.unwrap().is_none(), "nothing was committed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_looked_up() {
    for (script, version) in [
        (vec![Fault::FailAfter], 1),
        (vec![Fault::ReportExists], 1),
        (vec![Fault::FailBefore, Fault::FailBefore, Fault::FailAfter], 1),
        (vec![Fault::FailThenApply { turns: 3 }], 1),
    ] {
        let bed = Bed::new();
        let faults = Arc::new(Script(Mutex::new(script.clone().into()), Mutex::default()));
        let catalog =
            catalog(bed.store.with_faults(faults), &bed.random, &bed.clock, CatalogOptions::default());
        let commit = bed.commit(1, 0, 10).await;
        let done = catalog.publish(&tenant(), &commit).await.unwrap();
        assert!(matches!(&done, Publication::Published(v) if v.version() == version), "{script:?}");
        let seen = bed.catalog().newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
        assert_eq!((seen.version(), seen.blocks.len()), (version, 1), "once: {script:?}");
    }
    // A store that never answers: the fate is unknown, and the same commit later finds out.
    let bed = Bed::new();
    let faults = Arc::new(Script(Mutex::new(vec![Fault::FailBefore; 50].into()), Mutex::default()));
    let cut_off = catalog(bed.store.with_faults(faults), &bed.random, &bed.clock, CatalogOptions::default());
    let commit = bed.commit(1, 0, 10).await;
    let error = cut_off.publish(&tenant(), &commit).await.unwrap_err();
    assert!(matches!(error, CatalogError::OutcomeUnknown { version: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_slept_through_collection_is_not_believed() {
    for versions_before in [0u64, 1, 5] {
        let bed = Bed::new();
        let (sleeper, awake) = (bed.catalog(), bed.catalog());
        for n in 0..versions_before {
            sleeper.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
        }
        assert_eq!(sleeper.newest(&tenant(), Duration::ZERO).await.unwrap().is_some(), versions_before > 0);
        for n in versions_before..20 {
            awake.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
        }
        // Everything that the sleeper knows is collected, its next version too.
        let expired: Vec<u64> = (1..=versions_before + 3).collect();
        awake.delete_versions(&tenant(), &expired).await.unwrap();
        let done = sleeper.publish(&tenant(), &bed.commit(2, 0, 1).await).await.unwrap();
        assert!(matches!(&done, Publication::Published(v) if v.version() == 21), "{done:?}");
        let seen = awake.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
        assert_eq!((seen.version(), seen.coverage(&journal(2, 1))), (21, Position(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_slept_lists_instead_of_following_a_void_root() {
    let bed = Bed::new();
    let (reader, writer) = (bed.catalog(), bed.catalog());
    for n in 0..3 {
        writer.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
    }
    assert_eq!(reader.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap().version(), 3);
    let void = bed.store.get(&root_key(&tenant(), 3), 1 << 20).await.unwrap();
    let sleeper_base = writer.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
    drop((void, sleeper_base));
    let sleeper = bed.catalog();
    sleeper.newest(&tenant(), Duration::ZERO).await.unwrap();
    for n in 3..20 {
        writer.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
    }
    writer.delete_versions(&tenant(), &[1, 2, 3, 4]).await.unwrap();
    sleeper.publish(&tenant(), &bed.commit(2, 0, 1).await).await.unwrap();
    assert!(bed.store.exists(&root_key(&tenant(), 4)).await.unwrap(), "the void root");
    tokio::time::advance(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(reader.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap().version(), 21);
}

#[tokio::test(start_paused = true)]
async fn voids_go_with_coverage_and_stop_cuts_that_hold_them() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    let mut first = bed.commit(1, 0, 10).await;
    first.voids = vec![(journal(2, 1), Position(3)), (journal(2, 1), Position(8))];
    catalog.publish(&tenant(), &first).await.unwrap();
    let mut cut = bed.commit(2, 0, 5).await;
    let stale = catalog.publish(&tenant(), &cut).await.unwrap();
    assert!(matches!(&stale, Publication::CoverageAhead(v) if v.root.is_void(&journal(2, 1), Position(3))));
    cut.without = vec![(journal(2, 1), Position(3))];
    let Publication::Published(view) = catalog.publish(&tenant(), &cut).await.unwrap() else { panic!() };
    assert_eq!(view.root.voids[&journal(2, 1)].iter().map(|p| p.0).collect::<Vec<_>>(), [8]);
}

#[tokio::test(start_paused = true)]
async fn drained_journals_are_covered_as_a_whole() {
    let bed = Bed::new();
    let catalog = bed.catalog();
    catalog.publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    let second_life = range(&journal(1, 2), 0, 4);
    let add = vec![block(0, 20_001, vec![second_life.clone()], 1)];
    upload(&bed.store, &add[0]).await;
    let commit = Commit { ranges: vec![second_life], add, drained: vec![journal(1, 1)], ..Commit::default() };
    let done = catalog.publish(&tenant(), &commit).await.unwrap();
    let view = done.view();
    assert_eq!(view.coverage(&journal(1, 1)), Position(u64::MAX));
    assert_eq!((view.coverage(&journal(1, 2)), view.coverage(&journal(1, 3))), (Position(4), Position(0)));
    assert_eq!(view.root.coverage.positions().count(), 1, "its position is not kept");
    let late = catalog.publish(&tenant(), &bed.commit(1, 10, 12).await).await.unwrap();
    assert!(matches!(late, Publication::AlreadyCovered(_)));
}

#[tokio::test(start_paused = true)]
async fn edits_are_decided_on_the_newest_root() {
    let bed = Bed::new();
    let (one, two) = (bed.catalog(), bed.catalog());
    assert!(one.edit(&tenant(), |_| panic!("there is no root")).await.unwrap().is_none());
    let first = bed.commit(1, 0, 10).await;
    one.publish(&tenant(), &first).await.unwrap();
    two.publish(&tenant(), &bed.commit(1, 10, 20).await).await.unwrap();
    let removed = first.add[0].clone();
    let edit = Edit { remove: vec![BlockRef::of(&removed)], ..Edit::default() };
    let view = one.edit(&tenant(), |_| Ok(edit.clone())).await.unwrap().unwrap();
    assert_eq!((view.version(), view.blocks.len(), view.coverage(&journal(1, 1))), (3, 1, Position(20)));
    let path = block_path(&tenant(), &removed);
    assert!(view.root.condemned.contains_key(&path) && !view.names(&tenant(), &path));
    let gone = two.edit(&tenant(), |_| Ok(edit.clone())).await.unwrap_err();
    assert!(matches!(gone, CatalogError::InputGone { .. }), "{gone}");
    // Condemned cannot come back; what is in use cannot be condemned; other paths cannot be deleted.
    let back = Edit { add: vec![removed.clone()], ..Edit::default() };
    assert!(matches!(two.edit(&tenant(), |_| Ok(back.clone())).await, Err(CatalogError::Condemned { .. })));
    let used = block_path(&tenant(), &view.blocks[0]);
    let condemn = Edit { condemn: vec![used.clone()], ..Edit::default() };
    assert!(matches!(two.edit(&tenant(), |_| Ok(condemn.clone())).await, Err(CatalogError::Invalid(_))));
    assert!(two.delete_condemned(&tenant(), &view, &used).await.is_err());
    assert_eq!(two.delete_condemned(&tenant(), &view, &path).await.unwrap(), 1);
    let tombstone = Tombstone {
        id: 5,
        selector: "{}".to_owned(),
        start: TimestampNs(0),
        end: TimestampNs(1),
        upto: [(journal(1, 1), Position(20))].into(),
        blocks: Default::default(),
    };
    let bury = Edit { forget: vec![path], bury: vec![tombstone.clone()], ..Edit::default() };
    let view = two.edit(&tenant(), |_| Ok(bury.clone())).await.unwrap().unwrap();
    assert_eq!((view.root.condemned.len(), view.root.tombstones.as_slice()), (0, &[tombstone][..]));
    let cold = bed.catalog().newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(cold.root, view.root);
    assert_eq!(cold.blocks, view.blocks);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_costs_nothing_and_an_old_one_two_requests() {
    let bed = Bed::new();
    bed.catalog().publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    let log = Arc::new(Script::default());
    let counted: Arc<dyn Faults> = Arc::<Script>::clone(&log);
    let store = bed.store.with_faults(counted);
    let reader = catalog(store.clone(), &bed.random, &bed.clock, CatalogOptions::default());
    reader.newest(&tenant(), Duration::ZERO).await.unwrap();
    let calls = || std::mem::take(&mut *log.1.lock().unwrap()).len();
    calls();
    tokio::time::advance(Duration::from_secs(3)).await;
    reader.newest(&tenant(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(calls(), 0);
    reader.newest(&tenant(), Duration::from_secs(2)).await.unwrap();
    assert_eq!(calls(), 2);
    // The only publisher knows.
    let options = CatalogOptions { only_publisher: true, ..CatalogOptions::default() };
    let alone = catalog(store, &bed.random, &bed.clock, options);
    alone.newest(&tenant(), Duration::ZERO).await.unwrap();
    alone.publish(&tenant(), &bed.commit(1, 10, 20).await).await.unwrap();
    calls();
    tokio::time::advance(Duration::from_secs(86_400)).await;
    let view = alone.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((view.version(), calls()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn damage_is_named() {
    let bed = Bed::new();
    bed.catalog().publish(&tenant(), &bed.commit(1, 0, 10).await).await.unwrap();
    let key = root_key(&tenant(), 1);
    let mut bytes = bed.store.get(&key, 1 << 20).await.unwrap().to_vec();
    bytes[30] ^= 1;
    bed.store.put(&key, bytes.clone()).await.unwrap();
    let error = bed.catalog().newest(&tenant(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Damaged { key: named, .. } if *named == key), "{error}");
    bytes[30] ^= 1;
    bed.store.put(&key, bytes).await.unwrap();
    let page = bed.store.list("t/acme/pages").await.unwrap()[0].key.clone();
    bed.store.put(&page, vec![0; 100]).await.unwrap();
    let error = bed.catalog().newest(&tenant(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Damaged { key: named, .. } if *named == page), "{error}");
}

#[test]
fn versions_expire_in_order_by_age_and_number() {
    let at = |version: u64, hours: i64| Version { version, written: TimestampNs(hours * 3_600_000_000_000) };
    let now = TimestampNs(100 * 3_600_000_000_000);
    let day = Duration::from_secs(86_400);
    let all: Vec<Version> = [at(3, 50), at(1, 10), at(2, 20), at(4, 60), at(5, 99)].into();
    assert_eq!(expired_versions(&all, now, day, 2), [1, 2, 3]);
    assert_eq!(expired_versions(&all, now, day, 100), Vec::<u64>::new());
    assert_eq!(expired_versions(&all, now, Duration::from_secs(79 * 3600), 1), [1, 2]);
    // A younger one in between stops it, or there would be a hole.
    let mixed = [at(1, 10), at(2, 99), at(3, 10), at(4, 10)];
    assert_eq!(expired_versions(&mixed, now, day, 1), [1]);
}

/// The first leaves a void root at the place where the second has its base. Both woke in the moment between the look at the
/// base and the put, which the age of what is known does not cover.
#[tokio::test(start_paused = true)]
async fn a_second_sleeper_does_not_take_a_void_root_for_its_base() {
    let bed = Bed::new();
    let (first, second, awake) = (bed.catalog(), bed.catalog(), bed.catalog());
    for n in 0..5 {
        awake.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
    }
    first.newest(&tenant(), Duration::ZERO).await.unwrap();
    awake.publish(&tenant(), &bed.commit(1, 5, 6).await).await.unwrap();
    second.newest(&tenant(), Duration::ZERO).await.unwrap();
    for n in 6..20 {
        awake.publish(&tenant(), &bed.commit(1, n, n + 1).await).await.unwrap();
    }
    awake.delete_versions(&tenant(), &(1..=10).collect::<Vec<u64>>()).await.unwrap();
    first.publish(&tenant(), &bed.commit(2, 0, 1).await).await.unwrap();
    assert!(bed.store.exists(&root_key(&tenant(), 6)).await.unwrap(), "a void root");
    let done = second.publish(&tenant(), &bed.commit(3, 0, 1).await).await.unwrap();
    assert!(matches!(&done, Publication::Published(v) if v.version() == 22), "{done:?}");
    let seen = awake.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((seen.coverage(&journal(2, 1)), seen.coverage(&journal(3, 1))), (Position(1), Position(1)));
}
