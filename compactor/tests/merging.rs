//! Merges of real blocks in a store: each profile counts once, whatever the order, the size, the faults, and however many
//! compactors there are.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bucket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bucket::support::{DAY_START_NS, Profile, Random, made_up};
use bucket::{Bucket, DAY_END_NS, HOUR, distinct, options};
use hearth_catalog::{BlockRef, Edit, RootView, Tombstone, root_key};
use hearth_common::{Position, TimestampNs};
use hearth_compactor::plan::sets_of;
use hearth_compactor::{Alone, CompactorOptions, MergingOptions, PlanOptions};
use prometheus_client::registry::Registry;

fn with_values(profiles: Vec<Profile>) -> Vec<Profile> {
    profiles.into_iter().filter(|p| p.samples.iter().any(|(_, value)| *value > 0)).collect()
}

/// Publishes profiles in a random split; some are in several blocks, as retries can be.
async fn publish_split(bucket: &Bucket, random: &mut Random, profiles: &[Profile], doubles: bool) {
    let mut parts: Vec<Vec<Profile>> = vec![Vec::new(); 1 + random.below(14) as usize];
    for profile in profiles {
        let copies = if doubles { 1 + random.below(3) } else { 1 };
        for _ in 0..copies {
            let at = random.below(parts.len() as u64) as usize;
            if !parts[at].iter().any(|known| known.rid == profile.rid) {
                parts[at].push(profile.clone());
            }
        }
    }
    for part in parts.iter().filter(|part| !part.is_empty()) {
        bucket.publish(part).await;
    }
}

fn seeds(most: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..std::env::var("SEEDS").map_or(most, |n| n.parse().unwrap())).collect(),
    }
}

/// Any split of profiles in blocks, with copies, merged by compactors of any settings at any time, gives each profile once;
/// without copies it does at every step.
#[tokio::test]
async fn any_split_merged_in_any_order_counts_each_profile_once() {
    for seed in seeds(40) {
        let (bucket, mut random) = (Bucket::new(), Random(seed));
        let doubles = random.below(2) == 0;
        let mut profiles = Vec::new();
        for round in 0..1 + random.below(4) {
            let more = with_values(made_up(seed * 100 + round, 1 + random.below(40) as usize));
            publish_split(&bucket, &mut random, &more, doubles).await;
            profiles.extend(more);
            bucket.pass(HOUR * random.below(3) as u32);
            let mut of_round = options();
            of_round.plan.merge_blocks = 2 + random.below(3) as usize;
            of_round.plan.inputs_max = of_round.plan.merge_blocks + random.below(12) as usize;
            of_round.merging.target_output_bytes = 200 << random.below(8);
            let compactor = bucket.compactor(of_round);
            for _ in 0..random.below(4) {
                compactor.merge_once(&bucket.tenant).await.unwrap();
                if !doubles {
                    let same = bucket.answers_as(&profiles).await;
                    assert_eq!(same, Ok(()), "SEED={seed}");
                }
            }
        }
        bucket.set_time(DAY_END_NS + HOUR.as_nanos() as i64 * 3);
        let one = CompactorOptions { merging: MergingOptions::default(), ..options() };
        bucket.compactor(one).merge_all().await;
        let profiles = distinct(&profiles);
        assert_eq!(bucket.answers_as(&profiles).await, Ok(()), "SEED={seed}");
        assert_eq!(sets_of(&bucket.view().await.blocks).len(), 1, "SEED={seed}: the day is one merge");
        bucket.audit().await;
        bucket.collect_all().await;
        assert_eq!(bucket.answers_as(&profiles).await, Ok(()), "SEED={seed}");
    }
}

/// The store fails for ever from the n-th call of a compactor on, as it does for one that is killed: another one goes on. At
/// each such instant the newest root may be lost, too: the one that is made again counts each profile once.
#[tokio::test]
async fn a_compactor_that_dies_at_any_call_loses_nothing() {
    for seed in seeds(2) {
        let mut calls = 0;
        loop {
            let (bucket, mut random) = (Bucket::new(), Random(seed));
            let profiles = with_values(made_up(seed, 30));
            publish_split(&bucket, &mut random, &profiles, false).await;
            bucket.pass(2 * HOUR);
            let (broken, store) = bucket.broken(calls, 100, seed);
            let dies = bucket.compactor_over(store, options(), Arc::new(Alone));
            dies.merge_all().await;
            let lived = broken.left.load(Ordering::Relaxed) > 0;
            tokio::task::yield_now().await;
            assert_eq!(bucket.answers_as(&profiles).await, Ok(()), "SEED={seed}, died at call {calls}");
            if calls % 3 == 0 {
                let newest = bucket.view().await.version();
                bucket.spoil(&root_key(&bucket.tenant, newest)).await;
                bucket.catalog().rebuild(&bucket.tenant, true).await.unwrap();
                let same = bucket.answers_as(&profiles).await;
                assert_eq!(same, Ok(()), "SEED={seed}, died at call {calls}, then the root was lost");
            }
            bucket.compactor(options()).merge_all().await;
            assert_eq!(bucket.answers_as(&profiles).await, Ok(()), "SEED={seed}, died at call {calls}");
            bucket.collect_all().await;
            if lived {
                break;
            }
            // Each instant near the start, then in growing steps.
            calls += 1 + calls / 12;
        }
        assert!(calls > 30, "it did something: {calls} calls");
    }
}

/// The page of a compacted day is lost, and nothing else: its blocks say what they are. What lies beside them because a
/// compactor died is told apart.
#[tokio::test]
async fn a_lost_page_is_made_again_from_the_blocks() {
    for seed in seeds(40) {
        let (bucket, mut random) = (Bucket::new(), Random(seed));
        let mut profiles = with_values(made_up(seed, 30));
        publish_split(&bucket, &mut random, &profiles, false).await;
        for round in 0..random.below(4) {
            bucket.pass(2 * HOUR);
            let (_, store) = bucket.broken(random.below(150) as i64, 100, seed * 10 + round);
            let whole = CompactorOptions { merging: MergingOptions::default(), ..options() };
            let of_round = if random.below(2) == 0 { options() } else { whole };
            bucket
                .compactor_over(store, of_round.clone(), Arc::new(Alone))
                .merge_once(&bucket.tenant)
                .await
                .ok();
            if random.below(2) == 0 {
                bucket.compactor(of_round).merge_once(&bucket.tenant).await.unwrap();
            }
            if random.below(3) == 0 {
                bucket.compactor(options()).run_once(&bucket.tenant).await.unwrap();
            }
            let late = with_values(made_up(seed * 100 + round + 1, 5));
            if !late.is_empty() {
                bucket.publish(&late).await;
            }
            profiles.extend(late);
        }
        let view = bucket.view().await;
        let (day, page) = view.root.pages.first_key_value().unwrap();
        let page = hearth_catalog::page_key(&bucket.tenant, *day, page.unique);
        bucket.store.delete(&[page]).await.unwrap();
        let rebuilt = bucket.catalog().rebuild(&bucket.tenant, true).await.unwrap();
        assert_eq!(bucket.answers_as(&profiles).await, Ok(()), "SEED={seed}: {rebuilt:?}");
        let names = |view: &RootView| view.blocks.iter().map(|b| b.id).collect::<BTreeSet<_>>();
        assert_eq!(names(&view), names(&*bucket.view().await), "SEED={seed}");
        bucket.audit().await;
    }
}

/// A store of which one call in ten fails, written or not.
#[tokio::test]
async fn a_store_that_fails_now_and_then_only_costs_time() {
    for seed in seeds(15) {
        let (bucket, mut random) = (Bucket::new(), Random(seed));
        let profiles = with_values(made_up(seed, 60));
        publish_split(&bucket, &mut random, &profiles, true).await;
        bucket.set_time(DAY_END_NS + HOUR.as_nanos() as i64 * 3);
        let (_, store) = bucket.broken(0, 10, seed);
        let whole = CompactorOptions { merging: MergingOptions::default(), ..options() };
        let compactor = bucket.compactor_over(store, whole, Arc::new(Alone));
        let (mut rounds, mut sets) = (0, usize::MAX);
        while sets > 1 {
            compactor.merge_all().await;
            sets = sets_of(&bucket.view().await.blocks).len();
            rounds += 1;
            assert!(rounds < 1000, "SEED={seed}: {sets} merges are left");
        }
        assert_eq!(bucket.answers_as(&distinct(&profiles)).await, Ok(()), "SEED={seed}");
        bucket.audit().await;
        bucket.collect_all().await;
    }
}

/// Blocks that cannot be read for a while are not taken for damaged: the same compactor merges them later.
#[tokio::test]
async fn what_could_not_be_read_for_a_while_is_merged_later() {
    let bucket = Bucket::new();
    let profiles = with_values(made_up(7, 60));
    for part in profiles.chunks(10) {
        bucket.publish(part).await;
    }
    bucket.pass(2 * HOUR);
    let (broken, store) = bucket.broken(5, 100, 1);
    broken.only_ranges.store(true, Ordering::Relaxed);
    let whole = CompactorOptions { merging: MergingOptions::default(), ..options() };
    let compactor = bucket.compactor_over(store, whole, Arc::new(Alone));
    compactor.merge_all().await;
    assert!(bucket.view().await.blocks.iter().all(|b| b.level == 0), "nothing could be merged");
    broken.left.store(i64::MAX, Ordering::Relaxed);
    compactor.merge_all().await;
    assert_eq!(bucket.view().await.blocks.len(), 1);
    assert_eq!(bucket.answers_as(&profiles).await, Ok(()));
}

/// Two compactors that both think that they own everything: the root decides, and what was done twice is collected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_compactors_at_once_are_one_too_many_and_no_harm() {
    for seed in seeds(10) {
        let (bucket, mut random) = (Bucket::new(), Random(seed));
        let profiles = with_values(made_up(seed, 60));
        publish_split(&bucket, &mut random, &profiles, false).await;
        bucket.pass(2 * HOUR);
        let (one, two) = (bucket.compactor(options()), bucket.compactor(options()));
        tokio::join!(one.merge_all(), two.merge_all(), async {
            let late = with_values(made_up(seed + 1000, 10));
            bucket.publish(&late).await;
        });
        let mut all = profiles.clone();
        all.extend(with_values(made_up(seed + 1000, 10)));
        assert_eq!(bucket.answers_as(&all).await, Ok(()), "SEED={seed}");
        bucket.audit().await;
        bucket.collect_all().await;
    }
}

fn metric(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::test]
async fn a_damaged_block_is_set_aside_and_the_others_are_merged() {
    for object in ["index", "profiles.parquet", "samples.parquet"] {
        for missing in [false, true] {
            let bucket = Bucket::new();
            let mut blocks = Vec::new();
            for part in with_values(made_up(7, 60)).chunks(10) {
                blocks.push(bucket.publish(part).await);
            }
            let key = format!("{}/{object}", blocks[2].folder(&bucket.tenant));
            match missing {
                true => bucket.store.delete(std::slice::from_ref(&key)).await.unwrap(),
                false => bucket.spoil(&key).await,
            }
            bucket.pass(2 * HOUR);
            let compactor =
                bucket.compactor(CompactorOptions { merging: MergingOptions::default(), ..options() });
            let mut registry = Registry::default();
            compactor.register_metrics(&mut registry);
            compactor.merge_all().await;
            let left: Vec<(u8, bool)> = {
                let view = bucket.view().await;
                view.blocks.iter().map(|b| (b.level, b.id == blocks[2].id)).collect()
            };
            assert!(left.contains(&(0, true)), "{object}: {left:?}");
            assert_eq!(left.iter().filter(|(level, _)| *level == 0).count(), 1, "{object}: {left:?}");
            assert_eq!(metric(&registry, "hearth_compactor_set_aside_blocks_total"), 1.0);
            assert_eq!(metric(&registry, "hearth_compactor_blocks_aside"), 1.0);
            let version = bucket.view().await.version();
            compactor.merge_all().await;
            assert_eq!(bucket.view().await.version(), version, "it is not tried again");
            assert_eq!(metric(&registry, "hearth_compactor_set_aside_blocks_total"), 1.0);
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_in_memory_stays_as_it_is() {
    let bucket = Bucket::new();
    let profiles = with_values(made_up(3, 60));
    for part in profiles.chunks(10) {
        bucket.publish(part).await;
    }
    bucket.pass(2 * HOUR);
    let merging = |mib: u64| MergingOptions { memory_budget_bytes: mib << 20, ..MergingOptions::default() };
    let tiny = bucket.compactor(CompactorOptions { merging: merging(70), ..options() });
    let mut registry = Registry::default();
    tiny.register_metrics(&mut registry);
    tiny.merge_all().await;
    assert_eq!(bucket.view().await.blocks.len(), profiles.chunks(10).count());
    assert!(metric(&registry, "hearth_compactor_set_aside_blocks_total") >= 1.0);
    // Enough for some, not for all at once: it takes more steps.
    let plan = PlanOptions { merge_blocks: 6, ..PlanOptions::default() };
    let small = bucket.compactor(CompactorOptions { merging: merging(200), plan, ..options() });
    assert_eq!(small.merge_once(&bucket.tenant).await.unwrap(), 1);
    let levels: Vec<u8> = bucket.view().await.blocks.iter().map(|b| b.level).collect();
    assert!(levels.len() > 1 && levels.len() < 6 && levels.contains(&1), "{levels:?}");
    assert_eq!(bucket.answers_as(&profiles).await, Ok(()));
}

fn tombstone(view: &RootView, selector: &str) -> Tombstone {
    Tombstone {
        id: 5,
        selector: selector.to_owned(),
        start: TimestampNs(DAY_START_NS),
        end: TimestampNs(DAY_END_NS),
        upto: BTreeMap::from([(bucket::journal(), view.coverage(&bucket::journal()))]),
        blocks: view.blocks.iter().map(|b| b.id).collect(),
    }
}

#[tokio::test]
async fn deletions_are_carried_out_and_then_forgotten() {
    for after_the_day in [false, true] {
        let (bucket, profiles) = published_day().await;
        let compactor = bucket.compactor(options());
        if after_the_day {
            bucket.set_time(DAY_END_NS + HOUR.as_nanos() as i64 * 3);
            compactor.merge_all().await;
            assert!(bucket.view().await.blocks.len() > 1, "parts of one merge");
        }
        let view = bucket.view().await;
        let bury = vec![tombstone(&view, r#"{service_name="web"}"#)];
        let edit = |_: &RootView| Ok(Edit { bury: bury.clone(), ..Edit::default() });
        bucket.catalog().edit(&bucket.tenant, edit).await.unwrap();
        // What is pushed after the deletion stays, whatever it is of.
        let later: Vec<Profile> = with_values(made_up(12, 30));
        bucket.publish(&later).await;
        compactor.merge_all().await;
        let is_web = |p: &&Profile| p.service == "web";
        assert!(profiles.iter().any(|p| is_web(&p)) && later.iter().any(|p| is_web(&p)));
        let mut left: Vec<Profile> = profiles.iter().filter(|p| !is_web(p)).cloned().collect();
        left.extend(later);
        assert_eq!(bucket.answers_as(&left).await, Ok(()), "after the day: {after_the_day}");
        let view = bucket.view().await;
        assert_eq!(view.root.tombstones.iter().map(|t| t.blocks.len()).sum::<usize>(), 0);
        let collected = compactor.run_once(&bucket.tenant).await.unwrap();
        assert_eq!(collected.finished_deletions, 1);
        assert!(bucket.view().await.root.tombstones.is_empty());
        bucket.audit().await;
        bucket.collect_all().await;
    }
}

/// Profiles of a day, published in four blocks.
async fn published_day() -> (Bucket, Vec<Profile>) {
    let bucket = Bucket::new();
    let profiles = with_values(made_up(11, 80));
    for part in profiles.chunks(20) {
        bucket.publish(part).await;
    }
    (bucket, profiles)
}

/// The same, merged after the end of the day.
async fn merged_day() -> (Bucket, Vec<Profile>) {
    let (bucket, profiles) = published_day().await;
    bucket.set_time(DAY_END_NS + HOUR.as_nanos() as i64 * 3);
    bucket.compactor(options()).merge_all().await;
    (bucket, profiles)
}

/// The parts of a merge are rewritten together, also if they are more than are merged at a time.
#[tokio::test]
async fn deletions_are_carried_out_in_merges_of_many_parts() {
    let (bucket, profiles) = merged_day().await;
    let view = bucket.view().await;
    assert!(view.blocks.len() > 1, "parts of one merge");
    let bury = vec![tombstone(&view, r#"{service_name="web"}"#)];
    let edit = |_: &RootView| Ok(Edit { bury: bury.clone(), ..Edit::default() });
    bucket.catalog().edit(&bucket.tenant, edit).await.unwrap();
    let plan = PlanOptions { inputs_max: 1, ..options().plan };
    let compactor = bucket.compactor(CompactorOptions { plan, ..options() });
    compactor.merge_all().await;
    let left: Vec<Profile> = profiles.iter().filter(|p| p.service != "web").cloned().collect();
    assert_eq!(bucket.answers_as(&left).await, Ok(()));
    assert_eq!(compactor.run_once(&bucket.tenant).await.unwrap().finished_deletions, 1);
    bucket.audit().await;
}

#[tokio::test]
async fn a_deletion_waits_for_what_is_not_published() {
    let bucket = Bucket::new();
    bucket.publish(&with_values(made_up(11, 20))).await;
    let view = bucket.view().await;
    let mut tombstone = tombstone(&view, "{}");
    tombstone.blocks.clear();
    tombstone.upto.insert(bucket::journal(), Position(2));
    let edit = |_: &RootView| Ok(Edit { bury: vec![tombstone.clone()], ..Edit::default() });
    bucket.catalog().edit(&bucket.tenant, edit).await.unwrap();
    let compactor = bucket.compactor(options());
    assert_eq!(compactor.run_once(&bucket.tenant).await.unwrap().finished_deletions, 0);
    bucket.publish(&with_values(made_up(12, 20))).await;
    assert_eq!(compactor.run_once(&bucket.tenant).await.unwrap().finished_deletions, 1);
}

/// A deletion that comes while a merge is under way passes to its output, and is carried out by the next.
#[tokio::test]
async fn a_deletion_that_comes_during_a_merge_is_not_lost() {
    let (bucket, profiles) = published_day().await;
    bucket.pass(2 * HOUR);
    let before = bucket.view().await;
    let (compactor, catalog) = (bucket.compactor(options()), bucket.catalog());
    let buried = async {
        let bury = vec![tombstone(&before, r#"{service_name="a"}"#)];
        let edit = |_: &RootView| Ok(Edit { bury: bury.clone(), ..Edit::default() });
        catalog.edit(&bucket.tenant, edit).await.unwrap();
    };
    // The merge plans first, and cannot be done before the deletion is: both share this thread.
    let (merged, ()) = tokio::join!(compactor.merge_once(&bucket.tenant), buried);
    assert!(merged.unwrap() > 0);
    let view = bucket.view().await;
    assert!(before.blocks.iter().all(|block| view.find(&BlockRef::of(block)).is_none()), "merged");
    compactor.merge_all().await;
    let left: Vec<Profile> = profiles.iter().filter(|p| p.service != "a").cloned().collect();
    assert_eq!(bucket.answers_as(&left).await, Ok(()));
}

/// One selector is kept until a time.
#[tokio::test]
async fn what_is_kept_for_a_shorter_time_goes_once_all_of_it_in_a_block_is_too_old() {
    let (bucket, profiles) = merged_day().await;
    let version = bucket.view().await.version();
    let selector = r#"{service_name="web"}"#;
    // Some are too old: the block is not rewritten for them yet.
    let middle = TimestampNs(DAY_START_NS + 1);
    bucket.keep_from(selector, middle);
    bucket.compactor(options()).merge_all().await;
    assert_eq!((bucket.view().await.version(), bucket.answers_as(&profiles).await), (version, Ok(())));
    bucket.keep_from(selector, TimestampNs(DAY_END_NS));
    let compactor = bucket.compactor(options());
    compactor.merge_all().await;
    let left: Vec<Profile> = profiles.iter().filter(|p| p.service != "web").cloned().collect();
    assert!(left.len() < profiles.len());
    assert_eq!(bucket.answers_as(&left).await, Ok(()));
    let version = bucket.view().await.version();
    compactor.merge_all().await;
    assert_eq!(bucket.view().await.version(), version, "once");
    bucket.audit().await;
}
