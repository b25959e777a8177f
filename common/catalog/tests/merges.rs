//! Merges in the catalog: parts of one merge, deletions that blocks have still to apply, and roots that are made again at
//! every instant of a compaction.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Random, TokioClock, block, journal, part, range, tenant, upload};
use hearth_catalog::{
    BlockEntry, BlockRef, Catalog, CatalogOptions, Commit, Edit, RootView, Tombstone, block_path, root_key,
};
use hearth_common::{BlockId, Position, TimestampNs};
use hearth_objstore::{Store, StoreOptions};

const DAY: i32 = 100;

struct World {
    store: Store,
    random: Random,
    clock: Arc<TokioClock>,
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Store::open("memory:", StoreOptions::default()).unwrap();
        Self { store, random: Random::new(seed), clock: Arc::new(TokioClock(tokio::time::Instant::now())) }
    }

    fn catalog(&self) -> Catalog {
        common::catalog(self.store.clone(), &self.random, &self.clock, CatalogOptions::default())
    }

    async fn view(&self) -> Arc<RootView> {
        self.catalog().newest(&tenant(), Duration::ZERO).await.unwrap().unwrap()
    }

    /// Publishes the next `entries` of a journal as a fresh block, which holds as many profiles.
    async fn publish(&self, n: u64, entries: u64) -> BlockEntry {
        let view = self.catalog().newest(&tenant(), Duration::ZERO).await.unwrap();
        let after = view.map_or(0, |view| view.coverage(&journal(n, 1)).0);
        let range = range(&journal(n, 1), after, after + entries);
        let mut fresh = block(0, DAY, vec![range.clone()], self.random.next());
        fresh.profiles = entries;
        upload(&self.store, &fresh).await;
        let commit = Commit { ranges: vec![range], add: vec![fresh.clone()], ..Commit::default() };
        assert!(self.catalog().publish(&tenant(), &commit).await.unwrap().is_covered());
        fresh
    }

    /// What a merge of these makes, in so many parts, none of them uploaded.
    fn merged(&self, inputs: &[BlockEntry], parts: u64) -> Vec<BlockEntry> {
        let mut sources: Vec<_> = inputs.iter().flat_map(|b| b.sources.clone()).collect();
        sources.sort();
        sources.dedup();
        let mut joined: Vec<hearth_catalog::SourceRange> = Vec::new();
        for source in sources {
            match joined.last_mut() {
                Some(last) if last.journal == source.journal && source.after <= last.upto => {
                    last.upto = last.upto.max(source.upto);
                }
                _ => joined.push(source),
            }
        }
        let level = inputs.iter().map(|b| b.level).max().unwrap() + 1;
        let mut left: u64 = inputs.iter().map(|b| b.profiles).sum();
        let attempt = self.random.next();
        (0..parts)
            .map(|number| {
                let mut output = part(level, DAY, joined.clone(), attempt, number as u32);
                output.profiles = if number + 1 == parts { left } else { self.random.below(left) };
                left -= output.profiles;
                output
            })
            .collect()
    }

    async fn replace(&self, inputs: &[BlockEntry], outputs: &[BlockEntry]) -> Result<Arc<RootView>, String> {
        let remove: Vec<BlockRef> = inputs.iter().map(BlockRef::of).collect();
        let edit =
            |_: &RootView| Ok(Edit { remove: remove.clone(), add: outputs.to_vec(), ..Edit::default() });
        let done = self.catalog().edit(&tenant(), edit).await.map_err(|error| error.to_string())?;
        Ok(done.unwrap())
    }

    async fn delete_object(&self, block: &BlockEntry) {
        self.store.delete(&[format!("{}/index", block.folder(&tenant()))]).await.unwrap();
    }

    async fn findings(&self) -> Vec<String> {
        let audit = self.catalog().audit(&tenant()).await.unwrap();
        audit.findings.into_iter().map(|finding| format!("{}: {}", finding.path, finding.what)).collect()
    }
}

fn profiles(view: &RootView) -> u64 {
    view.blocks.iter().map(|b| b.profiles).sum()
}

#[tokio::test]
async fn parts_of_one_merge_are_no_finding_and_others_with_the_same_entries_are() {
    let world = World::new(1);
    let inputs = [world.publish(1, 5).await, world.publish(1, 4).await, world.publish(2, 3).await];
    let outputs = world.merged(&inputs, 3);
    for output in &outputs {
        upload(&world.store, output).await;
    }
    let view = world.replace(&inputs, &outputs).await.unwrap();
    assert_eq!((view.blocks.len(), profiles(&view)), (3, 12));
    assert_eq!(world.findings().await, Vec::<String>::new());

    // A block of the same level and entries whose id is no part's.
    let mut stranger = outputs[0].clone();
    (stranger.id, stranger.attempt) = (BlockId(77), "other".to_owned());
    upload(&world.store, &stranger).await;
    let add = |_: &RootView| Ok(Edit { add: vec![stranger.clone()], ..Edit::default() });
    world.catalog().edit(&tenant(), add).await.unwrap();
    let found = world.findings().await;
    assert!(found.len() == 1 && found[0].contains("no part of one merge"), "{found:?}");
}

#[tokio::test]
async fn what_replaces_blocks_holds_what_they_held_and_nothing_else() {
    let world = World::new(2);
    let inputs = [world.publish(1, 5).await, world.publish(1, 4).await, world.publish(1, 3).await];
    let of_all = world.merged(&inputs, 1);
    upload(&world.store, &of_all[0]).await;
    let refused = world.replace(&inputs[..2], &of_all).await.unwrap_err();
    assert!(refused.contains("which no block that it replaces holds"), "{refused}");
    // One part of a merge leaves, the other stays: their entries cannot be told apart.
    let parts = world.merged(&inputs, 2);
    for output in &parts {
        upload(&world.store, output).await;
    }
    world.replace(&inputs, &parts).await.unwrap();
    let again = world.merged(&parts[..1], 1);
    upload(&world.store, &again[0]).await;
    let refused = world.replace(&parts[..1], &again).await.unwrap_err();
    assert!(refused.contains("hold the same entries"), "{refused}");
}

fn tombstone(id: u128, blocks: &[&BlockEntry]) -> Tombstone {
    Tombstone {
        id,
        selector: "{}".to_owned(),
        start: TimestampNs(0),
        end: TimestampNs(i64::MAX),
        upto: BTreeMap::from([(journal(1, 1), Position(9))]),
        blocks: blocks.iter().map(|b| b.id).collect(),
    }
}

#[tokio::test]
async fn deletions_pass_to_what_replaces_a_block_unless_they_were_applied() {
    let world = World::new(3);
    let inputs = [world.publish(1, 5).await, world.publish(1, 4).await, world.publish(2, 3).await];
    let bury = vec![tombstone(1, &[&inputs[0], &inputs[2]]), tombstone(2, &[&inputs[0], &inputs[1]])];
    let edit = |_: &RootView| Ok(Edit { bury: bury.clone(), ..Edit::default() });
    world.catalog().edit(&tenant(), edit).await.unwrap();
    let outputs = world.merged(&inputs[..2], 2);
    for output in &outputs {
        upload(&world.store, output).await;
    }
    let remove: Vec<BlockRef> = inputs[..2].iter().map(BlockRef::of).collect();
    let edit = |_: &RootView| {
        let (remove, add) = (remove.clone(), outputs.clone());
        Ok(Edit { remove, add, applied: BTreeSet::from([1]), ..Edit::default() })
    };
    let view = world.catalog().edit(&tenant(), edit).await.unwrap().unwrap();
    let blocks = |id| &view.root.tombstones.iter().find(|t| t.id == id).unwrap().blocks;
    assert_eq!(
        *blocks(1),
        BTreeSet::from([inputs[2].id]),
        "applied to one, still to be applied to the other"
    );
    assert_eq!(*blocks(2), outputs.iter().map(|b| b.id).collect(), "not applied: it passes on");
    // A block that leaves for good has nothing to apply, and one may be found to be out of reach.
    let edit = |_: &RootView| {
        let remove = vec![BlockRef::of(&inputs[2])];
        Ok(Edit { remove, released: vec![(2, outputs[0].id)], ..Edit::default() })
    };
    let view = world.catalog().edit(&tenant(), edit).await.unwrap().unwrap();
    let left: Vec<usize> = view.root.tombstones.iter().map(|t| t.blocks.len()).collect();
    assert_eq!(left, [0, 1]);
}

/// How far a compaction has come when the newest root is lost.
async fn compact_until(world: &World, instant: u64, inputs: &[BlockEntry], outputs: &[BlockEntry]) {
    let uploaded = if instant == 0 { world.random.below(outputs.len() as u64) } else { u64::MAX };
    for output in outputs.iter().take(uploaded as usize) {
        upload(&world.store, output).await;
    }
    if instant < 2 {
        return;
    }
    world.replace(inputs, outputs).await.unwrap();
    if instant < 4 {
        return;
    }
    let catalog = world.catalog();
    let view = world.view().await;
    let some = if instant == 4 { world.random.below(inputs.len() as u64) as usize } else { inputs.len() };
    let deleted: Vec<String> = inputs.iter().take(some).map(|b| block_path(&tenant(), b)).collect();
    for path in &deleted {
        catalog.delete_condemned(&tenant(), &view, path).await.unwrap();
    }
    if instant == 6 {
        let edit = |_: &RootView| Ok(Edit { forget: deleted.clone(), ..Edit::default() });
        catalog.edit(&tenant(), edit).await.unwrap();
    }
}

/// At every instant of a compaction the newest root gets lost, and of inputs or outputs some that are not needed. The root
/// that is made again holds each profile once.
#[tokio::test]
async fn a_root_is_made_again_at_every_instant_of_a_compaction() {
    for seed in 0..400 {
        let (world, instant) = (World::new(seed), seed % 7);
        let mut inputs = Vec::new();
        let mut total = 0;
        for _ in 0..2 + world.random.below(4) {
            let entries = 1 + world.random.below(9);
            inputs.push(world.publish(1 + world.random.below(2), entries).await);
            total += entries;
        }
        if world.random.chance(40) {
            let first = world.merged(&inputs[..2], 1 + world.random.below(2));
            for output in &first {
                upload(&world.store, output).await;
            }
            world.replace(&inputs[..2], &first).await.unwrap();
            inputs.splice(..2, first);
        }
        let outputs = world.merged(&inputs, 1 + world.random.below(3));
        compact_until(&world, instant, &inputs, &outputs).await;
        // Before inputs are deleted either side is enough.
        if matches!(instant, 2 | 3) && world.random.chance(60) {
            let side = if instant == 2 { &outputs } else { &inputs };
            world.delete_object(&side[world.random.below(side.len() as u64) as usize]).await;
        }
        let newest = world.view().await.version();
        // The root that condemned the inputs is the one that is lost, or one that came after.
        if instant == 3 && world.random.chance(50) {
            world.publish(3, 2).await;
            total += 2;
        }
        let lost = if world.random.chance(20) { 1 } else { newest };
        for version in lost..=world.view().await.version() {
            world.store.put(&root_key(&tenant(), version), Bytes::from_static(b"spoiled")).await.unwrap();
        }
        let rebuilt = world.catalog().rebuild(&tenant(), true).await.unwrap();
        let view = world.view().await;
        assert_eq!(profiles(&view), total, "SEED {seed}, instant {instant}: {rebuilt:?}");
        assert_eq!(view.blocks.iter().map(|b| b.id).collect::<BTreeSet<_>>().len(), view.blocks.len());
        let held_twice: Vec<String> =
            world.findings().await.into_iter().filter(|what| what.contains("hold")).collect();
        assert!(held_twice.is_empty(), "SEED {seed}, instant {instant}: {held_twice:?}");
    }
}
