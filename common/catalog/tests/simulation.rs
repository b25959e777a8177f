//! Publishers that compete for the same journals, a merger and a collector over a store that fails and forgets to answer,
//! with pauses of days: coverage never falls, each entry is in the root exactly once, nothing acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Chaos, Random, TokioClock, block, catalog, journal, range, tenant, upload};
use hearth_catalog::{
    BlockRef, Catalog, CatalogError, CatalogOptions, Commit, Coverage, Edit, Publication, RootView,
};
use hearth_common::{JournalId, Position};
use hearth_objstore::{Store, StoreOptions};

const JOURNALS: u64 = 3;
const DAY: i32 = 20_000;

struct World {
    /// Without faults, of the same content.
    store: Store,
    random: Random,
    clock: Arc<TokioClock>,
    /// What publishers were told is published.
    acknowledged: Mutex<BTreeMap<JournalId, Position>>,
}

impl World {
    fn catalog(&self, percent: u64) -> Catalog {
        let faults = Arc::new(Chaos { random: self.random.clone(), percent });
        // Small: tenants are evicted now and then. There is one only, so it stays.
        let options = CatalogOptions { cache_bytes: 1, ..CatalogOptions::default() };
        catalog(self.store.with_faults(faults), &self.random, &self.clock, options)
    }
}

/// Owner or coverer of journals: publishes what lies beyond the coverage it knows.
async fn publisher(world: Arc<World>, rounds: u64) {
    let catalog = world.catalog(8);
    let random = world.random.clone();
    let mut known: BTreeMap<JournalId, Position> = BTreeMap::new();
    for _ in 0..rounds {
        let journal_id = journal(random.below(JOURNALS), 1);
        let after = known.get(&journal_id).copied().unwrap_or_default();
        let upto = after.0 + 1 + random.below(5);
        let source = range(&journal_id, after.0, upto);
        let add: Vec<_> = (0..=random.below(2) as i32)
            .map(|day| block(0, DAY + day, vec![source.clone()], random.next()))
            .collect();
        for block in &add {
            upload(&world.store, block).await;
        }
        if random.chance(3) {
            tokio::time::sleep(Duration::from_secs(random.below(300_000))).await;
        }
        let commit = Commit { ranges: vec![source], add, ..Commit::default() };
        let mut known_now = Position(0);
        for _ in 0..3 {
            match catalog.publish(&tenant(), &commit).await {
                Ok(done) => {
                    known_now = done.view().coverage(&journal_id);
                    if done.is_covered() {
                        let mut acknowledged = world.acknowledged.lock().unwrap();
                        let at = acknowledged.entry(journal_id.clone()).or_default();
                        *at = (*at).max(Position(upto));
                    }
                    if let Publication::Published(view) = &done {
                        check_sources(view);
                    }
                    break;
                }
                // The blocks are lost: written anew in the next round.
                Err(CatalogError::Condemned { .. } | CatalogError::ObjectMissing { .. }) => break,
                Err(CatalogError::Gap { covered, .. }) => panic!("the root fell behind to {covered:?}"),
                // A block of the same sources got in under another attempt only if the ranges are covered.
                Err(CatalogError::Invalid(why)) => panic!("{why}"),
                Err(_) => {}
            }
        }
        let at = known.entry(journal_id).or_default();
        *at = (*at).max(known_now);
    }
}

/// Merges two blocks of a day now and then.
async fn merger(world: Arc<World>, rounds: u64) {
    let catalog = world.catalog(8);
    let random = world.random.clone();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(random.below(20_000))).await;
        let Ok(Some(view)) = catalog.newest(&tenant(), Duration::ZERO).await else { continue };
        let day = DAY + random.below(2) as i32;
        let inputs: Vec<_> = view.blocks.iter().filter(|b| b.day == day).take(2).cloned().collect();
        if inputs.len() < 2 {
            continue;
        }
        let mut sources: Vec<_> = inputs.iter().flat_map(|b| b.sources.clone()).collect();
        sources.sort();
        let output = block(1 + inputs[0].level.max(inputs[1].level) % 200, day, sources, random.next());
        upload(&world.store, &output).await;
        let done = catalog
            .edit(&tenant(), |view| {
                let remove: Vec<BlockRef> = inputs.iter().map(|b| BlockRef::of(b)).collect();
                if remove.iter().any(|r| view.find(r).is_none()) {
                    return Ok(Edit::default());
                }
                Ok(Edit { remove, add: vec![output.clone()], ..Edit::default() })
            })
            .await;
        if let Ok(Some(view)) = done {
            check_sources(&view);
        }
    }
}

/// Condemns what no root names without any grace, deletes it, drops the entries; deletes versions a day after they were
/// superseded, but the newest three.
async fn collector(world: Arc<World>, rounds: u64) {
    let catalog = world.catalog(4);
    let mut seen: BTreeMap<u64, tokio::time::Instant> = BTreeMap::new();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(3_000 + world.random.below(30_000))).await;
        if let Err(error) = collect(&catalog, &mut seen).await {
            assert!(!matches!(error, CatalogError::Invalid(_) | CatalogError::Damaged { .. }), "{error:?}");
        }
    }
}

async fn collect(
    catalog: &Catalog,
    seen: &mut BTreeMap<u64, tokio::time::Instant>,
) -> Result<(), CatalogError> {
    let stored = catalog.stored_paths(&tenant()).await?;
    catalog
        .edit(&tenant(), |view| {
            let orphan =
                |path: &&String| !view.names(&tenant(), path) && !view.root.condemned.contains_key(*path);
            let condemn = stored.iter().map(|s| &s.path).filter(orphan).cloned().collect();
            Ok(Edit { condemn, ..Edit::default() })
        })
        .await?;
    if let Some(view) = catalog.newest(&tenant(), Duration::ZERO).await? {
        let condemned: Vec<String> = view.root.condemned.keys().cloned().collect();
        for path in &condemned {
            catalog.delete_condemned(&tenant(), &view, path).await?;
        }
        catalog
            .edit(&tenant(), |view| {
                let there = condemned.iter().filter(|p| view.root.condemned.contains_key(*p));
                Ok(Edit { forget: there.cloned().collect(), ..Edit::default() })
            })
            .await?;
    }
    let versions: Vec<u64> = catalog.versions(&tenant()).await?.iter().map(|v| v.version).collect();
    let now = tokio::time::Instant::now();
    for version in &versions {
        seen.entry(*version).or_insert(now);
    }
    let spare = versions.len().saturating_sub(3);
    let old = |v: &&u64| now - seen[*v] > Duration::from_secs(86_400);
    let expired: Vec<u64> = versions[..spare].iter().take_while(old).copied().collect();
    catalog.delete_versions(&tenant(), &expired).await
}

/// A querier with a cache of its own: what it sees never goes back.
async fn reader(world: Arc<World>, rounds: u64) {
    let catalog = world.catalog(5);
    let (mut version, mut coverage) = (0, Coverage::default());
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(world.random.below(30_000))).await;
        let acknowledged = world.acknowledged.lock().unwrap().clone();
        let Ok(Some(view)) = catalog.newest(&tenant(), Duration::ZERO).await else { continue };
        assert!(view.version() >= version && view.root.coverage.contains(&coverage), "time goes forward");
        for (journal, at) in acknowledged {
            assert!(view.coverage(&journal) >= at, "{journal} {at:?} was acknowledged before the read");
        }
        check_sources(&view);
        (version, coverage) = (view.version(), view.root.coverage.clone());
    }
}

/// On each day every journal's blocks are disjoint, and nothing is in a block that is not covered. The first day has all.
fn check_sources(view: &RootView) {
    let mut taken: BTreeMap<(i32, JournalId), Vec<(u64, u64)>> = BTreeMap::new();
    for block in &view.blocks {
        for source in &block.sources {
            taken
                .entry((block.day, source.journal.clone()))
                .or_default()
                .push((source.after.0, source.upto.0));
        }
    }
    for ((day, journal), mut ranges) in taken {
        ranges.sort_unstable();
        assert!(
            ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "twice on day {day}: {journal} {ranges:?}"
        );
        let end = ranges.last().map_or(0, |r| r.1);
        assert!(end <= view.coverage(&journal).0);
        if day == DAY {
            let sum: u64 = ranges.iter().map(|(after, upto)| upto - after).sum();
            assert_eq!(sum, view.coverage(&journal).0, "{journal}: {ranges:?}");
        }
    }
}

async fn history(seed: u64) -> (u64, u64) {
    let clock = Arc::new(TokioClock(tokio::time::Instant::now()));
    let store = Store::open("memory:", StoreOptions::default()).unwrap();
    let world = Arc::new(World { store, random: Random::new(seed), clock, acknowledged: Mutex::default() });
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(tokio::spawn(publisher(Arc::clone(&world), 25)));
    }
    tasks.push(tokio::spawn(merger(Arc::clone(&world), 15)));
    tasks.push(tokio::spawn(collector(Arc::clone(&world), 15)));
    tasks.push(tokio::spawn(reader(Arc::clone(&world), 15)));
    for task in tasks {
        if let Err(error) = task.await {
            panic!("SEED={seed}: {error}");
        }
    }
    let view =
        world.catalog(0).newest(&tenant(), Duration::ZERO).await.unwrap().expect("something was published");
    check_sources(&view);
    for (journal, at) in &*world.acknowledged.lock().unwrap() {
        assert!(view.coverage(journal) >= *at, "SEED={seed}: {journal} {at:?} was acknowledged");
    }
    for block in &view.blocks {
        let key = format!("{}/index", block.folder(&tenant()));
        assert!(world.store.exists(&key).await.unwrap(), "SEED={seed}: {key} is named and gone");
    }
    let oldest = world.catalog(0).versions(&tenant()).await.unwrap()[0].version;
    (view.version(), oldest)
}

/// `SEED=n` runs one history.
#[test]
fn nothing_is_lost_or_counted_twice() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=std::env::var("SEEDS").map_or(150, |n| n.parse().unwrap())).collect(),
    };
    let (mut versions, mut collected) = (0, 0);
    for seed in seeds {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (newest, oldest) = runtime.block_on(history(seed));
        versions += newest;
        collected += oldest - 1;
    }
    println!("{versions} versions, {collected} collected");
    assert!(versions > 0 && (collected > 0 || std::env::var("SEED").is_ok()));
}
