//! Merges beyond one run, page and row group: long series that lie in several inputs, and many small ones.

mod support;

use futures::executor::block_on;
use hearth_block::input::BlockSpec;
use hearth_block::merge::{Expiry, MemorySink, RowFilter};
use hearth_block::{BlockReader, EncodedBlock, MergeOptions, merge, verify};
use hearth_common::{TenantId, TimestampNs};
use hearth_model::{Labels, Selector};
use support::{DAY_START_NS, Head, Location, Random, open, spec};

const STACKS: u64 = 600;
const PROFILES: i64 = 3_000;

fn location(name: String) -> Location {
    Location { mapping: None, address: 0, lines: vec![(name, String::new(), String::new(), 0, 0)] }
}

/// Adds the profiles of a series that `chosen` chooses by their second; the same second always gives the same profile.
fn fill(head: &mut Head, service: &str, pod: &str, profiles: i64, chosen: impl Fn(i64) -> bool) {
    for name in ["cpu", "memory"] {
        let unit = head.unit(name, service);
        let labels = Labels::from_pairs([("__name__", name), ("service_name", service), ("pod", pod)]);
        let stacks: Vec<u32> = (0..STACKS)
            .map(|at| unit.stack(&[location(format!("f{}", at % 7)), location(format!("g{at}"))]))
            .collect();
        let ty = ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned);
        for second in (0..profiles).filter(|&second| chosen(second)) {
            let seed = pod.bytes().chain(service.bytes()).map(u64::from).sum::<u64>();
            let mut random = Random(seed << 32 | second as u64);
            let mut samples: Vec<(u32, i64)> = Vec::new();
            for at in 0..STACKS {
                if random.below(if name == "cpu" { 2 } else { 9 }) == 0 {
                    samples.push((stacks[at as usize], 1 + random.below(1_000_000) as i64));
                }
            }
            samples.sort_unstable();
            let rid = u128::from(seed) << 64 | second as u128;
            let time = DAY_START_NS + second * 1_000_000_000;
            unit.push_row(&labels, (ty.clone(), time, rid, 0, 0, samples, Vec::new(), Vec::new()));
        }
    }
}

/// Stacks whose names do not compress, so that the index is not read at once.
fn fill_names(head: &mut Head, chosen: impl Fn(i64) -> bool) {
    let unit = head.unit("cpu", "names");
    let labels = Labels::from_pairs([("__name__", "cpu"), ("service_name", "names")]);
    let ty = ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned);
    for second in (0..24).filter(|&second| chosen(second)) {
        let mut random = Random(second as u64 / 2);
        let name = |random: &mut Random| format!("{:016x}{:016x}", random.next(), random.next());
        let mut samples: Vec<(u32, i64)> = (0..10_000)
            .map(|at| (unit.stack(&[location(name(&mut random)), location("f".to_owned())]), at + 1))
            .collect();
        samples.sort_unstable();
        let time = DAY_START_NS + second * 1_000_000_000;
        unit.push_row(&labels, (ty.clone(), time, second as u128, 0, 0, samples, Vec::new(), Vec::new()));
    }
}

/// More profiles than a row group of `profiles.parquet` may have, in one run.
fn fill_tiny(head: &mut Head, chosen: impl Fn(i64) -> bool) {
    let unit = head.unit("cpu", "tiny");
    let stack = unit.stack(&[location("f".to_owned())]);
    let labels = Labels::from_pairs([("__name__", "cpu"), ("service_name", "tiny")]);
    let ty = ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned);
    for second in (0..70_000).filter(|&second| chosen(second)) {
        let (time, samples) = (DAY_START_NS + second * 1_000_000_000, vec![(stack, 1 + second % 5)]);
        unit.push_row(&labels, (ty.clone(), time, second as u128, 0, 0, samples, Vec::new(), Vec::new()));
    }
}

/// A tenant of which a block has what `chosen` chooses.
fn head(chosen: impl Fn(i64) -> bool) -> Head {
    let mut head = Head::default();
    fill(&mut head, "a", "long", PROFILES, &chosen);
    for pod in 0..30 {
        fill(&mut head, "a", &format!("p{pod:02}"), 120, &chosen);
    }
    fill(&mut head, "a", "q-long", PROFILES / 2, &chosen);
    fill(&mut head, "b", "x", 700, &chosen);
    fill_names(&mut head, &chosen);
    fill_tiny(&mut head, &chosen);
    head
}

fn merged(heads: &[Head], filter: &RowFilter) -> EncodedBlock {
    let blocks: Vec<EncodedBlock> = heads.iter().map(|head| head.write().expect("writes")).collect();
    let index_bytes = |block: &EncodedBlock| block.objects.last().map_or(0, |(_, index)| index.len());
    let largest = blocks.iter().map(index_bytes).max().unwrap_or_default();
    assert!(largest > 3 << 19, "{largest} bytes: an index must be read in parts");
    let readers: Vec<BlockReader> = blocks.iter().map(|block| open(block).expect("opens")).collect();
    let readers: Vec<&BlockReader> = readers.iter().collect();
    let mut sink = MemorySink::default();
    let mut options = MergeOptions::new(TenantId::anonymous(), 1);
    // Small windows: reads must go on where they ended.
    options.memory_budget_bytes = 200 << 20;
    let done = block_on(merge(&readers, filter, &options, &mut sink)).expect("merges");
    let mut block = sink.blocks.remove(0);
    block.entry = done.blocks[0].clone();
    verify(&block.entry, &block.objects).expect("a good block");
    block
}

#[test]
fn long_series_and_many_small_ones_merge_to_what_the_writer_writes() {
    let expected = head(|_| true).write_as(&BlockSpec { level: 1, ..spec() }).expect("writes");
    assert!(expected.entry.samples > 2 << 20, "more than two row groups: {}", expected.entry.samples);
    let by_time = [head(|s| s < 1_000), head(|s| (1_000..2_400).contains(&s)), head(|s| s >= 2_400)];
    let mixed = [head(|s| s % 3 != 0), head(|s| s % 2 == 0), head(|s| s % 6 == 3 || s == 6)];
    for heads in [by_time, mixed] {
        let found = merged(&heads, &RowFilter::default());
        assert_eq!(found.entry, expected.entry);
        for ((name, found), (_, expected)) in found.objects.iter().zip(&expected.objects) {
            assert!(found == expected, "{name} differs");
        }
    }
}

#[test]
fn what_is_older_than_is_kept_leaves_nothing_behind_at_any_size() {
    let from = 13;
    let expected = head(|s| s >= from).write_as(&BlockSpec { level: 1, ..spec() }).expect("writes");
    let before = TimestampNs(DAY_START_NS + from * 1_000_000_000);
    let filter = RowFilter {
        tombstones: Vec::new(),
        expiries: vec![Expiry { selector: Selector::default(), before }],
    };
    let found = merged(&[head(|s| s < 900), head(|s| s >= 900)], &filter);
    assert_eq!(found.entry, expected.entry);
    for ((name, found), (_, expected)) in found.objects.iter().zip(&expected.objects) {
        assert!(found == expected, "{name} differs");
    }
}
