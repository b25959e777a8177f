//! Checks of a tenant's part of a store, and roots that are made again.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Random, TokioClock, block, journal, range, tenant, upload};
use hearth_catalog::{
    BlockEntry, BlockRef, Catalog, CatalogOptions, Commit, Edit, RootView, page_key, root_key,
};
use hearth_common::Position;
use hearth_objstore::{Store, StoreOptions};

struct World {
    store: Store,
    random: Random,
    clock: Arc<TokioClock>,
    catalog: Catalog,
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Store::open("memory:", StoreOptions::default()).unwrap();
        let (random, clock) = (Random::new(seed), Arc::new(TokioClock(tokio::time::Instant::now())));
        let catalog = common::catalog(store.clone(), &random, &clock, CatalogOptions::default());
        Self { store, random, clock, catalog }
    }

    /// A process that was started just now.
    fn fresh(&self) -> Catalog {
        common::catalog(self.store.clone(), &self.random, &self.clock, CatalogOptions::default())
    }

    async fn publish(&self, catalog: &Catalog, after: u64, upto: u64, days: &[i32]) -> Vec<BlockEntry> {
        let range = range(&journal(1, 1), after, upto);
        let mut add = Vec::new();
        for day in days {
            add.push(block(0, *day, vec![range.clone()], self.random.next()));
            upload(&self.store, &add[add.len() - 1]).await;
        }
        let commit = Commit { ranges: vec![range], add: add.clone(), ..Commit::default() };
        assert!(catalog.publish(&tenant(), &commit).await.unwrap().is_covered());
        add
    }

    /// Replaces two blocks of a day by one, if there are two of equal level.
    async fn merge(&self, day: i32) {
        let view = self.newest(&self.catalog).await;
        let inputs: Vec<_> = view.blocks.iter().filter(|b| b.day == day).take(2).cloned().collect();
        if inputs.len() < 2 {
            return;
        }
        let sources = inputs.iter().flat_map(|b| b.sources.clone()).collect();
        let merged = block(1, day, sources, self.random.next());
        upload(&self.store, &merged).await;
        let remove: Vec<BlockRef> = inputs.iter().map(|b| BlockRef::of(b)).collect();
        let edit =
            |_: &RootView| Ok(Edit { remove: remove.clone(), add: vec![merged.clone()], ..Edit::default() });
        self.catalog.edit(&tenant(), edit).await.unwrap().unwrap();
    }

    async fn newest(&self, catalog: &Catalog) -> Arc<RootView> {
        catalog.newest(&tenant(), Duration::ZERO).await.unwrap().unwrap()
    }

    async fn spoil(&self, key: &str) {
        let mut bytes = self.store.get(key, 1 << 30).await.unwrap().to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x40;
        self.store.put(key, Bytes::from(bytes)).await.unwrap();
    }

    async fn findings(&self) -> Vec<(String, String)> {
        let audit = self.fresh().audit(&tenant()).await.unwrap();
        audit.findings.into_iter().map(|finding| (finding.path, finding.what)).collect()
    }
}

fn names(view: &RootView) -> BTreeSet<(String, u8)> {
    view.blocks.iter().map(|b| (format!("{}.{}", b.id, b.attempt), b.level)).collect()
}

#[tokio::test]
async fn a_sound_store_has_no_findings_and_each_damage_is_one() {
    let world = World::new(1);
    assert_eq!(world.fresh().audit(&tenant()).await.unwrap().version, 0);
    let first = world.publish(&world.catalog, 0, 5, &[100]).await.remove(0);
    world.publish(&world.catalog, 5, 9, &[100, 101]).await;
    let audit = world.fresh().audit(&tenant()).await.unwrap();
    assert_eq!((audit.version, audit.versions, audit.pages, audit.blocks.len()), (2, 2, 2, 3));
    assert_eq!((audit.findings, audit.unnamed), (Vec::new(), 1), "the replaced page is not damage");

    let lost = format!("{}/index", first.folder(&tenant()));
    world.store.delete(std::slice::from_ref(&lost)).await.unwrap();
    let stray = "t/acme/blocks/stray".to_owned();
    world.store.put(&stray, Bytes::from_static(b"x")).await.unwrap();
    let found = world.findings().await;
    assert_eq!(found.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&lost, &stray], "{found:?}");

    world.store.put(&lost, Bytes::from_static(b"longer")).await.unwrap();
    let found = world.findings().await;
    assert!(found[0].0 == lost && found[0].1.contains("6 bytes"), "{found:?}");

    let view = world.newest(&world.catalog).await;
    let page = page_key(&tenant(), 100, view.root.pages[&100].unique);
    world.spoil(&page).await;
    assert_eq!(world.findings().await[0].0, page);
    world.store.delete(std::slice::from_ref(&page)).await.unwrap();
    assert!(world.findings().await[0].1.contains("not in the store"));
    world.spoil(&root_key(&tenant(), 1)).await;
    assert_eq!(world.findings().await[0].0, root_key(&tenant(), 1));
    world.spoil(&root_key(&tenant(), 2)).await;
    let found = world.findings().await;
    assert!(found.len() == 1 && found[0].0 == root_key(&tenant(), 2), "{found:?}");
}

#[tokio::test]
async fn two_blocks_of_the_same_entries_are_found() {
    let world = World::new(2);
    world.publish(&world.catalog, 0, 5, &[100]).await;
    let mut twice = block(0, 100, vec![range(&journal(1, 1), 3, 5)], 9);
    twice.day = 100;
    upload(&world.store, &twice).await;
    let edit = |_: &RootView| Ok(Edit { add: vec![twice.clone()], ..Edit::default() });
    world.catalog.edit(&tenant(), edit).await.unwrap().unwrap();
    let found = world.findings().await;
    assert!(found.len() == 1 && found[0].1.contains("both hold the same entries"), "{found:?}");
}

#[tokio::test]
async fn a_sound_root_is_not_made_again() {
    let world = World::new(3);
    world.publish(&world.catalog, 0, 5, &[100]).await;
    let refused = world.fresh().rebuild(&tenant(), true).await.unwrap_err();
    assert!(refused.to_string().contains("nothing to rebuild"), "{refused}");
    assert_eq!(world.newest(&world.fresh()).await.version(), 1);
}

/// Whatever was published and merged: without the newest root, or without any, the same blocks come back, and publishing
/// goes on from where it was.
#[tokio::test]
async fn a_lost_root_is_made_again_from_pages() {
    for seed in 0..60 {
        let world = World::new(seed);
        let mut at = 5;
        world.publish(&world.catalog, 0, at, &[100]).await;
        for _ in 0..world.random.below(12) {
            let day = 100 + world.random.below(3) as i32;
            if world.random.chance(40) {
                world.merge(day).await;
            } else {
                let days = if world.random.chance(30) { vec![day, day + 1] } else { vec![day] };
                world.publish(&world.catalog, at, at + 5, &days).await;
                at += 5;
            }
        }
        let before = world.newest(&world.catalog).await;
        let lost_all = world.random.chance(30);
        let oldest = if lost_all { 1 } else { before.version() };
        for version in oldest..=before.version() {
            world.spoil(&root_key(&tenant(), version)).await;
        }
        assert!(world.fresh().newest(&tenant(), Duration::ZERO).await.is_err());
        let shown = world.fresh().rebuild(&tenant(), false).await.unwrap();
        assert!(!shown.written && shown.version == before.version() + 1, "seed {seed}");
        assert!(world.fresh().newest(&tenant(), Duration::ZERO).await.is_err(), "nothing is written");
        let rebuilt = world.fresh().rebuild(&tenant(), true).await.unwrap();
        assert_eq!((rebuilt.blocks, rebuilt.written), (shown.blocks, true));
        let catalog = world.fresh();
        let after = world.newest(&catalog).await;
        assert_eq!(names(&after), names(&before), "seed {seed}");
        assert_eq!(after.coverage(&journal(1, 1)), Position(at), "seed {seed}");
        world.publish(&catalog, at, at + 1, &[100]).await;
        let found = world.findings().await;
        // The damaged version is the parent only of the rebuilt one, which is not the newest any more.
        assert_eq!(found, [], "seed {seed}");
    }
}

#[tokio::test]
async fn what_only_a_lost_page_named_is_reported() {
    let world = World::new(4);
    world.publish(&world.catalog, 0, 5, &[100]).await;
    let late = world.publish(&world.catalog, 5, 9, &[100]).await.remove(0);
    let view = world.newest(&world.catalog).await;
    let page = page_key(&tenant(), 100, view.root.pages[&100].unique);
    world.store.delete(std::slice::from_ref(&page)).await.unwrap();
    let rebuilt = world.fresh().rebuild(&tenant(), true).await.unwrap();
    assert_eq!((rebuilt.base, rebuilt.blocks), (Some(2), 1));
    let lost: Vec<&str> = rebuilt.lost.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(lost, [page, format!("{}/", late.folder(&tenant()))]);
    let after = world.newest(&world.fresh()).await;
    assert_eq!(after.coverage(&journal(1, 1)), Position(9), "coverage never falls");
}
