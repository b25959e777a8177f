//! Owners of blocks, and what is worth sharing.

use std::collections::BTreeMap;

use hearth_block::ObjectEntry;
use hearth_common::{TimeRange, TimestampNs};
use hearth_model::{ProfileQuery, ProfileType, Selector, StepGrid};
use proptest::prelude::*;

use super::*;

fn querier(n: usize) -> InstanceId {
    InstanceId(Arc::from(format!("querier-{n}")))
}

fn ring(numbers: impl IntoIterator<Item = usize>) -> Ring {
    Ring::new(&numbers.into_iter().map(querier).collect::<Vec<_>>())
}

fn block(id: u128) -> Arc<BlockEntry> {
    let object = |name: &str, bytes| ObjectEntry { name: name.to_owned(), bytes, crc32c: 0 };
    Arc::new(BlockEntry {
        id: BlockId(id),
        attempt: "a".to_owned(),
        format: 1,
        day: 0,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(1),
        first_service: "a".to_owned(),
        last_service: "z".to_owned(),
        types: vec!["cpu:cpu:ns:cpu:ns".to_owned(), "memory:space:bytes:space:bytes".to_owned()],
        objects: vec![
            object("index", 1_000),
            object("profiles.parquet", 3_000),
            object("samples.parquet", 36_000),
        ],
        index_directory_offset: 0,
        profiles: 1,
        samples: 1,
        series: 1,
        units: 20,
        sources: Vec::new(),
    })
}

fn blocks(count: u128) -> Vec<Arc<BlockEntry>> {
    (0..count).map(block).collect()
}

/// The owner of each block.
fn owners(ring: &Ring, count: u128) -> Vec<InstanceId> {
    let owner = |id| heirs(ring, BlockId(id)).next().expect("somebody").clone();
    (0..count).map(owner).collect()
}

proptest! {
    #[test]
    fn the_same_set_gives_the_same_owners(numbers in proptest::sample::subsequence((0..12usize).collect::<Vec<_>>(), 1..12), seed: u64) {
        let mut seen_otherwise = numbers.clone();
        seen_otherwise.rotate_left(seed as usize % numbers.len());
        seen_otherwise.push(numbers[0]);
        prop_assert_eq!(owners(&ring(numbers), 300), owners(&ring(seen_otherwise), 300));
    }

    #[test]
    fn one_that_comes_or_goes_moves_only_its_share(count in 2..12usize, changed in 0..12usize) {
        let changed = changed % count;
        let with = owners(&ring(0..count), 1000);
        let without = owners(&ring((0..count).filter(|n| *n != changed)), 1000);
        let mut moved = 0;
        for (with, without) in with.iter().zip(&without) {
            if *with == querier(changed) {
                moved += 1;
                prop_assert_ne!(without, &querier(changed));
            } else {
                prop_assert_eq!(with, without);
            }
        }
        // Its share, give or take a half.
        prop_assert!(moved > 500 / count && moved < 1500 / count, "{} of {}", moved, count);
    }

    #[test]
    fn a_split_has_each_block_once_at_whom_it_belongs(
        count in 0..200u128, queriers in 0..6usize, avoided in 0..8usize, part_max in 0..40usize,
    ) {
        let (ring, me) = (ring(0..queriers), querier(1));
        let split = split(&blocks(count), &ring, &me, |other| *other == querier(avoided), part_max);
        let mut found: BTreeMap<u128, InstanceId> = BTreeMap::new();
        for block in &split.own {
            prop_assert_eq!(found.insert(block.id.0, me.clone()), None);
        }
        for part in &split.parts {
            prop_assert!(part.owner != me && part.owner != querier(avoided));
            prop_assert!(!part.blocks.is_empty() && part.blocks.len() <= part_max.max(1));
            for block in &part.blocks {
                prop_assert_eq!(found.insert(block.id.0, part.owner.clone()), None);
            }
        }
        prop_assert_eq!(found.len() as u128, count);
        // Without those avoided, and with the asker even if it is the one.
        let left = (0..queriers).filter(|n| *n != avoided || *n == 1);
        let left = Ring::new(&left.map(querier).collect::<Vec<_>>());
        for (id, owner) in found {
            prop_assert_eq!(heirs(&left, BlockId(id)).next().unwrap_or(&me), &owner);
        }
    }
}

#[test]
fn owners_take_turns() {
    let split = split(&blocks(400), &ring(0..4), &querier(0), |_| false, 10);
    let owners: Vec<&InstanceId> = split.parts.iter().map(|part| &part.owner).collect();
    assert!(owners.len() > 15);
    for turn in owners[..12].chunks(3) {
        assert_eq!(turn, [&querier(1), &querier(2), &querier(3)]);
    }
}

fn query(selector: &str) -> ProfileQuery {
    ProfileQuery {
        profile_type: ProfileType::parse("cpu:cpu:ns:cpu:ns").expect("valid"),
        selector: Selector::parse(selector).expect("valid"),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    }
}

#[test]
fn what_a_question_reads_is_guessed_from_the_entry() {
    let bytes = |question: &Question| expected_bytes(question, &block(1));
    let one = r#"{service_name="a"}"#;
    assert_eq!(bytes(&Question::Tree(query(one))), 2_000, "one unit of twenty");
    assert_eq!(bytes(&Question::Tree(query("{}"))), 20_000, "half of the units have the type");
    let points = |query| Question::Points { query, group_by: Vec::new(), grid: StepGrid::new(0, 10, 1) };
    assert_eq!(bytes(&points(query("{}"))), 1_500, "no samples");
    let call_site = ProfileQuery { call_site: vec!["main".to_owned()], ..query("{}") };
    assert_eq!(bytes(&points(call_site)), 20_000);
    assert_eq!(bytes(&Question::LabelNames { range: None, matchers: Vec::new() }), 1_000, "the index");
}

#[test]
fn a_question_is_large_by_blocks_and_by_bytes() {
    let threshold = Threshold { blocks: 10, bytes: 100_000 };
    let reached =
        |count, selector: &str| threshold.is_reached(&Question::Tree(query(selector)), &blocks(count));
    assert!(!reached(9, "{}"), "too few blocks");
    assert!(reached(10, "{}"));
    assert!(!reached(10, r#"{service_name="a"}"#), "too few bytes");
    assert!(reached(50, r#"{service_name="a"}"#));
    let none = Threshold { blocks: 0, bytes: 0 };
    assert!(!none.is_reached(&Question::Tree(query("{}")), &[]), "there is nothing to share");
}
