//! Plans as text, and what holds for all of them: they come to an end, and rewrite each row a bounded number of times.

use std::collections::BTreeMap;
use std::fmt::Write;

use hearth_catalog::{ObjectEntry, SourceRange};
use hearth_common::{
    BlockId, CellId, DiskId, Incarnation, InstanceId, JournalId, MemberId, Position, TimestampNs,
};
use proptest::prelude::*;

use super::*;

const MINUTE_NS: i64 = 60_000_000_000;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const DAY: i32 = 100;
const START_NS: i64 = DAY as i64 * DAY_NS;

fn source(after: u64, upto: u64) -> SourceRange {
    let instance = InstanceId("one".into());
    let owner = MemberId { instance: instance.clone(), disk: DiskId(7) };
    let journal = JournalId { cell: CellId(instance), epoch: 1, owner, incarnation: Incarnation(1) };
    SourceRange { journal, after: Position(after), upto: Position(upto) }
}

/// Blocks with their rewrites: the greatest number of any row, by what they hold.
#[derive(Default)]
struct World {
    blocks: Vec<Arc<BlockEntry>>,
    next: u64,
    rewrites: BTreeMap<BlockId, u32>,
    aside: Vec<BlockId>,
    deletes: Vec<BlockId>,
}

impl World {
    fn add(&mut self, level: u8, at_ns: i64, kib: u64, sources: Vec<SourceRange>) -> BlockId {
        self.next += 1;
        let id = BlockId(u128::from(self.next));
        let time = TimestampNs(at_ns);
        let objects = vec![ObjectEntry { name: "index".to_owned(), bytes: kib << 10, crc32c: 0 }];
        self.blocks.push(Arc::new(BlockEntry {
            id,
            attempt: "a".to_owned(),
            format: 1,
            day: time.day(),
            level,
            min_time: time,
            max_time: time,
            first_service: "s".to_owned(),
            last_service: "s".to_owned(),
            types: vec![],
            objects,
            index_directory_offset: 0,
            profiles: 1,
            samples: 1,
            series: 1,
            units: 1,
            sources,
        }));
        id
    }

    /// Fresh blocks of so many KiB at a time of the day.
    fn fresh(&mut self, at_ns: i64, sizes_kib: &[u64]) {
        for kib in sizes_kib {
            let after = self.next;
            self.add(0, START_NS + at_ns, *kib, vec![source(after, after + 1)]);
        }
    }

    fn plan(&self, now_ns: i64, options: &PlanOptions) -> Vec<Job> {
        let aside = |block: &BlockEntry| self.aside.contains(&block.id);
        let deletes = |block: &BlockEntry| self.deletes.contains(&block.id);
        plan(&self.blocks, TimestampNs(START_NS + now_ns), options, &aside, &deletes)
    }

    /// Replaces the inputs of a job by so many parts.
    fn carry_out(&mut self, job: &Job, parts: u64) {
        let inputs: Vec<Arc<BlockEntry>> = job.inputs().cloned().collect();
        let rewrites = inputs.iter().map(|b| self.rewrites.get(&b.id).copied().unwrap_or(0)).max();
        let mut sources: Vec<SourceRange> = inputs.iter().flat_map(|b| b.sources.clone()).collect();
        sources.sort();
        sources.dedup();
        let bytes: u64 = inputs.iter().map(|b| b.bytes()).sum();
        self.blocks.retain(|block| !inputs.iter().any(|input| input.id == block.id));
        for _ in 0..parts {
            let kib = (bytes >> 10) * 9 / 10 / parts;
            let id = self.add(job.level(), inputs[0].min_time.0, kib, sources.clone());
            let rewritten = u32::from(job.why != Why::Rewrite);
            self.rewrites.insert(id, rewrites.unwrap_or(0) + rewritten);
        }
    }

    /// Carries out all that is planned until nothing is; returns how many jobs that took.
    fn settle(&mut self, now_ns: i64, options: &PlanOptions, parts: u64) -> usize {
        let mut jobs = 0;
        loop {
            let planned = self.plan(now_ns, options);
            if planned.is_empty() {
                return jobs;
            }
            for job in planned {
                self.carry_out(&job, parts);
                jobs += 1;
                assert!(jobs < 10_000, "it does not come to an end");
            }
        }
    }
}

fn show(jobs: &[Job]) -> String {
    let mut text = String::new();
    for job in jobs {
        let sets: Vec<String> = job
            .sets
            .iter()
            .map(|set| format!("{}x{}K/L{}", set.blocks.len(), set.bytes >> 10, set.level))
            .collect();
        writeln!(text, "{} day {} -> L{}: {}", job.why.as_str(), job.day, job.level(), sets.join(" "))
            .expect("a text takes everything");
    }
    text
}

fn check(world: &World, now_ns: i64, expected: &str) {
    assert_eq!(show(&world.plan(now_ns, &PlanOptions::default())), expected);
}

#[test]
fn fresh_blocks_are_merged_when_there_are_enough_or_they_are_old() {
    let mut world = World::default();
    world.fresh(0, &[10; 7]);
    check(&world, 29 * MINUTE_NS, "");
    world.fresh(25 * MINUTE_NS, &[20]);
    let of_eight =
        "fresh day 100 -> L1: 1x10K/L0 1x10K/L0 1x10K/L0 1x10K/L0 1x10K/L0 1x10K/L0 1x10K/L0 1x20K/L0\n";
    check(&world, 29 * MINUTE_NS, of_eight);
    let mut world = World::default();
    world.fresh(0, &[10]);
    check(&world, HOUR_NS, "");
    world.fresh(5 * MINUTE_NS, &[5]);
    world.fresh(HOUR_NS, &[7]);
    check(&world, HOUR_NS, "fresh day 100 -> L1: 1x5K/L0 1x10K/L0\n");
}

#[test]
fn a_level_is_merged_when_there_are_enough_of_it() {
    let mut world = World::default();
    for at in 0..7 {
        world.add(1, START_NS + at, 100, vec![source(at as u64, at as u64 + 1)]);
    }
    check(&world, HOUR_NS, "");
    // Two parts of one merge count as one, and go together.
    for _ in 0..2 {
        world.add(1, START_NS + 7, 30, vec![source(7, 8)]);
    }
    let expected = "level day 100 -> L2: 2x60K/L1 1x100K/L1 1x100K/L1 1x100K/L1 1x100K/L1 1x100K/L1 1x100K/L1 1x100K/L1\n";
    check(&world, HOUR_NS, expected);
}

#[test]
fn a_day_that_is_over_becomes_one_and_late_blocks_wait_until_they_are_worth_it() {
    let mut world = World::default();
    world.fresh(0, &[10]);
    check(&world, 27 * HOUR_NS, "");
    world.add(2, START_NS, 900, vec![source(10, 20)]);
    check(&world, 25 * HOUR_NS, "");
    check(&world, 27 * HOUR_NS, "day day 100 -> L16: 1x10K/L0 1x900K/L2\n");
    world.settle(27 * HOUR_NS, &PlanOptions::default(), 2);
    check(&world, 27 * HOUR_NS, "");
    // The day has 818 KiB in two parts.
    world.fresh(5, &[50]);
    check(&world, 27 * HOUR_NS, "");
    world.fresh(6, &[50]);
    check(&world, 27 * HOUR_NS, "fresh day 100 -> L1: 1x50K/L0 1x50K/L0\n");
    world.fresh(7, &[10]);
    check(&world, 27 * HOUR_NS, "late day 100 -> L17: 1x10K/L0 1x50K/L0 1x50K/L0 2x818K/L16\n");
    check(&world, 73 * HOUR_NS, "settle day 100 -> L32: 1x10K/L0 1x50K/L0 1x50K/L0 2x818K/L16\n");
}

#[test]
fn a_day_of_many_blocks_is_merged_in_steps_from_small_to_large() {
    let mut world = World::default();
    world.fresh(0, &(1..=40).collect::<Vec<u64>>());
    let first = world.plan(27 * HOUR_NS, &PlanOptions::default());
    assert_eq!((first.len(), first[0].inputs().count(), first[0].level()), (1, 16, 1));
    assert!(first[0].sets.iter().all(|set| set.bytes <= 16 << 10));
    assert_eq!(world.settle(27 * HOUR_NS, &PlanOptions::default(), 1), 3);
    assert_eq!((world.blocks.len(), world.blocks[0].level), (1, DAY_LEVEL));
}

#[test]
fn deletions_are_carried_out_on_the_way_or_alone_and_come_first() {
    let mut world = World::default();
    let first = world.add(DAY_LEVEL, START_NS, 900, vec![source(0, 9)]);
    let second = world.add(DAY_LEVEL, START_NS, 300, vec![source(0, 9)]);
    world.deletes = vec![second];
    check(&world, 27 * HOUR_NS, "rewrite day 100 -> L16: 2x1200K/L16\n");
    world.fresh(0, &[10, 10]);
    world.next = 50;
    world.add(0, START_NS + DAY_NS, 5, vec![source(60, 61)]);
    world.add(0, START_NS + DAY_NS, 5, vec![source(61, 62)]);
    // The other day's fresh blocks come later, and this day's are merged when the deletion is done.
    let both = "rewrite day 100 -> L16: 2x1200K/L16\nfresh day 101 -> L1: 1x5K/L0 1x5K/L0\n";
    check(&world, 27 * HOUR_NS, both);
    world.fresh(0, &[500]);
    check(
        &world,
        27 * HOUR_NS,
        "late day 100 -> L17: 1x10K/L0 1x10K/L0 1x500K/L0 2x1200K/L16\nfresh day 101 -> L1: 1x5K/L0 1x5K/L0\n",
    );
    // Of a merge of which a part is damaged nothing is touched.
    world.aside = vec![first];
    let rest = "fresh day 101 -> L1: 1x5K/L0 1x5K/L0\nday day 100 -> L16: 1x10K/L0 1x10K/L0 1x500K/L0\n";
    check(&world, 27 * HOUR_NS, rest);
}

/// The parts of a merge only go together, so that their number must not keep a deletion from being carried out.
#[test]
fn a_merge_of_more_blocks_than_are_merged_at_a_time_is_rewritten_as_far_as_can_be() {
    let mut world = World::default();
    for _ in 0..REWRITE_INPUTS_MAX {
        world.add(DAY_LEVEL, START_NS, 10, vec![source(0, 9)]);
    }
    check(&world, 27 * HOUR_NS, "");
    world.deletes = vec![BlockId(3)];
    check(&world, 27 * HOUR_NS, "rewrite day 100 -> L16: 64x640K/L16\n");
    let stuck = |world: &World| {
        let deletes = |block: &BlockEntry| world.deletes.contains(&block.id);
        stuck(&world.blocks, &deletes).iter().map(|set| set.blocks.len()).collect::<Vec<_>>()
    };
    assert!(stuck(&world).is_empty());
    world.add(DAY_LEVEL, START_NS, 10, vec![source(0, 9)]);
    check(&world, 27 * HOUR_NS, "");
    assert_eq!(stuck(&world), [REWRITE_INPUTS_MAX + 1]);
    world.deletes.clear();
    assert!(stuck(&world).is_empty());
}

#[test]
fn a_merge_without_its_largest_input_stays_below_the_whole_day() {
    let mut world = World::default();
    world.fresh(0, &[1, 2, 3]);
    let job = world.plan(27 * HOUR_NS, &PlanOptions::default()).remove(0);
    assert_eq!((job.why, job.level()), (Why::Day, DAY_LEVEL));
    let smaller = job.smaller().expect("two are left");
    assert_eq!((smaller.sets.len(), smaller.level()), (2, 1));
    assert_eq!(smaller.smaller(), None);
}

#[test]
fn what_leaves_no_room_for_another_input_stays_as_it_is() {
    let mut world = World::default();
    for _ in 0..16 {
        world.add(DAY_LEVEL, START_NS, 4 << 20, vec![source(0, 9)]);
    }
    world.next = 100;
    world.fresh(0, &[10, 20]);
    check(&world, 27 * HOUR_NS, "fresh day 100 -> L1: 1x10K/L0 1x20K/L0\n");
    world.settle(80 * HOUR_NS, &PlanOptions::default(), 1);
    assert_eq!(world.blocks.len(), 17, "the large ones, and the rest in one");
}

/// Blocks come at any time, to a day that runs or is over.
#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Fresh(Vec<u64>),
    Delete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..240i64).prop_map(|minutes| Step::Pass(minutes * MINUTE_NS)),
        4 => prop::collection::vec(1..100_000u64, 1..12).prop_map(Step::Fresh),
        1 => (0..100usize).prop_map(Step::Delete),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever comes, whenever: jobs come to an end, no row is rewritten more often than promised, nothing is lost, and in
    /// the end few blocks are left.
    #[test]
    fn it_comes_to_an_end_and_rewrites_are_bounded(steps in steps(), parts in 1..4u64, merge_blocks in 2..9usize) {
        let options = PlanOptions { merge_blocks, ..PlanOptions::default() };
        let (mut world, mut now_ns, mut published) = (World::default(), 0, 0);
        for step in steps {
            match step {
                Step::Pass(ns) => now_ns += ns,
                Step::Fresh(sizes) => {
                    world.fresh(now_ns.min(DAY_NS - 1), &sizes);
                    published += sizes.len();
                }
                Step::Delete(at) => {
                    let id = world.blocks.get(at % world.blocks.len().max(1)).map(|block| block.id);
                    world.deletes.extend(id);
                }
            }
            world.settle(now_ns, &options, parts);
        }
        world.settle(now_ns + 100 * HOUR_NS, &options, parts);
        let most = world.rewrites.values().max().copied().unwrap_or(0);
        prop_assert!(most <= PlanOptions::rewrites_max(), "{most} rewrites");
        let sets = sets_of(&world.blocks);
        let mut held: Vec<SourceRange> = sets.iter().flat_map(|set| set.blocks[0].sources.clone()).collect();
        let all = held.len();
        held.sort();
        held.dedup();
        prop_assert_eq!((held.len(), all), (published, published), "each fresh block is in exactly one merge");
        prop_assert!(sets.len() <= 2 + 16 * merge_blocks, "{} sets are left", sets.len());
    }
}
