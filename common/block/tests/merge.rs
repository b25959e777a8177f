//! Merged blocks are, byte for byte, what the writer makes of the same profiles; and what is left out is what was asked.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::executor::block_on;
use hearth_block::input::{BlockSpec, SourceRange};
use hearth_block::merge::{BlockSink, Counts, Expiry, MemorySink, RowFilter, Tombstone};
use hearth_block::{
    BlockEntry, BlockError, BlockReader, EncodedBlock, INDEX, MergeError, MergeOptions, Merged, PROFILES,
    SAMPLES, SPANS, merge, recover_entry, verify,
};
use hearth_common::range_read::InMemory;
use hearth_common::{JournalId, Position, RangeRead, TenantId, TimeRange, TimestampNs};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use proptest::prelude::*;
use support::{DAY, DAY_START_NS, Head, Profile, Random, ask, made_up, naive, open, open_parts};

fn journal() -> JournalId {
    JournalId::parse("cell/1/one/000000000000000000000000000000aa/1").expect("a journal")
}

fn sources(after: u64, upto: u64) -> Vec<SourceRange> {
    vec![SourceRange { journal: journal(), after: Position(after), upto: Position(upto) }]
}

fn spec(level: u8, after: u64, upto: u64) -> BlockSpec {
    BlockSpec { tenant: TenantId::anonymous(), day: DAY, level, sources: sources(after, upto) }
}

fn options(level: u8) -> MergeOptions {
    MergeOptions::new(TenantId::anonymous(), level)
}

fn has_values(profile: &Profile) -> bool {
    profile.samples.iter().any(|(_, value)| *value > 0)
}

/// Merges readers; the blocks that the sink got, with the entries that the merge gave.
fn merge_readers(
    readers: &[BlockReader],
    filter: &RowFilter,
    options: &MergeOptions,
) -> Result<(Vec<EncodedBlock>, Merged), MergeError> {
    let readers: Vec<&BlockReader> = readers.iter().collect();
    let mut sink = MemorySink::default();
    let merged = block_on(merge(&readers, filter, options, &mut sink))?;
    for (block, entry) in sink.blocks.iter_mut().zip(&merged.blocks) {
        assert_eq!(block.entry.folder(&options.tenant), entry.folder(&options.tenant), "known at the start");
        assert_eq!(block.entry.objects, entry.objects);
        block.entry = entry.clone();
        verify(entry, &block.objects).expect("a good block");
    }
    assert_eq!(sink.blocks.len(), merged.blocks.len());
    Ok((sink.blocks, merged))
}

fn readers(blocks: &[EncodedBlock]) -> Vec<BlockReader> {
    blocks.iter().map(|block| open(block).expect("opens")).collect()
}

fn merge_all(blocks: &[EncodedBlock], level: u8) -> (Vec<EncodedBlock>, Merged) {
    merge_readers(&readers(blocks), &RowFilter::default(), &options(level)).expect("merges")
}

fn same(a: &EncodedBlock, b: &EncodedBlock) {
    assert_eq!(a.entry, b.entry);
    for ((name, a), (other, b)) in a.objects.iter().zip(&b.objects) {
        assert_eq!(name, other);
        assert!(a == b, "{name} differs");
    }
}

/// Blocks of a split of profiles; block `n` has the positions after `n`, up to and with `n + 1`.
fn split(parts: &[Vec<&Profile>]) -> Vec<EncodedBlock> {
    let block = |(at, part): (usize, &Vec<&Profile>)| {
        let spec = spec(0, at as u64, at as u64 + 1);
        part.iter()
            .any(|p| has_values(p))
            .then(|| Head::of(part.iter().copied()).write_as(&spec).expect("writes"))
    };
    parts.iter().enumerate().filter_map(block).collect()
}

fn joined(blocks: &[EncodedBlock]) -> Vec<SourceRange> {
    let mut all: Vec<SourceRange> = Vec::new();
    for source in blocks.iter().flat_map(|block| &block.entry.sources) {
        match all.last_mut() {
            Some(last) if last.upto == source.after => last.upto = source.upto,
            _ => all.push(source.clone()),
        }
    }
    all
}

fn written(profiles: &[Profile], level: u8, sources: Vec<SourceRange>) -> EncodedBlock {
    Head::of(profiles).write_as(&BlockSpec { sources, ..spec(level, 0, 0) }).expect("writes")
}

/// Deals profiles out to blocks; some go to two or three.
fn deal<'p>(random: &mut Random, profiles: &'p [Profile], blocks: usize) -> (Vec<Vec<&'p Profile>>, u64) {
    let mut parts: Vec<Vec<&Profile>> = vec![Vec::new(); blocks];
    let mut double = 0;
    for profile in profiles {
        let copies = 1 + random.below(5).saturating_sub(2);
        for _ in 0..copies {
            parts[random.below(blocks as u64) as usize].push(profile);
        }
        double += if has_values(profile) { copies - 1 } else { 0 };
    }
    (parts, double)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_split_with_duplicates_gives_the_profiles_once(
        seed in any::<u64>(),
        count in 1usize..80,
        blocks in 1usize..6,
    ) {
        let mut random = Random(seed ^ 3);
        let profiles = made_up(seed, count);
        let (parts, double) = deal(&mut random, &profiles, blocks);
        let blocks = split(&parts);
        if blocks.is_empty() {
            return Ok(());
        }
        let (merged, summary) = merge_all(&blocks, 1);
        prop_assert_eq!(merged.len(), 1);
        same(&merged[0], &written(&profiles, 1, joined(&blocks)));
        prop_assert_eq!(summary.counts.duplicates, double);
        prop_assert_eq!(summary.counts.unequal_duplicates, 0);
        prop_assert_eq!(summary.counts.rows_out, profiles.iter().filter(|p| has_values(p)).count() as u64);
    }

    #[test]
    fn grouping_and_order_do_not_change_a_byte(seed in any::<u64>(), count in 3usize..60) {
        let mut random = Random(seed ^ 4);
        let profiles = made_up(seed, count);
        let (parts, _) = deal(&mut random, &profiles, 3);
        let mut blocks = split(&parts);
        prop_assume!(blocks.len() == 3);
        let (at_once, _) = merge_all(&blocks, 2);
        let (first, _) = merge_all(&blocks[..2], 1);
        let (in_steps, _) = merge_all(&[first, vec![blocks[2].clone()]].concat(), 2);
        same(&at_once[0], &in_steps[0]);
        blocks.reverse();
        let (backwards, _) = merge_all(&blocks, 2);
        same(&at_once[0], &backwards[0]);
    }

    #[test]
    fn what_is_filtered_was_never_there(seed in any::<u64>(), count in 1usize..80, blocks in 1usize..4) {
        let mut random = Random(seed ^ 5);
        let profiles = made_up(seed, count);
        let (parts, _) = deal(&mut random, &profiles, blocks);
        let blocks = split(&parts);
        if blocks.is_empty() {
            return Ok(());
        }
        let filter = made_up_filter(&mut random);
        let stays = |profile: &&Profile| !hidden(&filter, profile);
        let left: Vec<Profile> = profiles.iter().filter(stays).cloned().collect();
        let (merged, summary) = merge_readers(&readers(&blocks), &filter, &options(1)).expect("merges");
        if left.iter().any(has_values) {
            prop_assert_eq!(merged.len(), 1);
            same(&merged[0], &written(&left, 1, joined(&blocks)));
        } else {
            prop_assert!(merged.is_empty());
            let Counts { rows_in, deleted, expired, .. } = summary.counts;
            prop_assert_eq!(rows_in, deleted + expired);
        }
    }

    #[test]
    fn several_outputs_answer_as_one(seed in any::<u64>(), count in 20usize..80, target in 1u64..20_000) {
        let mut random = Random(seed ^ 6);
        let profiles = made_up(seed, count);
        let (parts, _) = deal(&mut random, &profiles, 2);
        let blocks = split(&parts);
        let options = MergeOptions { target_output_bytes: target, ..options(1) };
        let (merged, summary) =
            merge_readers(&readers(&blocks), &RowFilter::default(), &options).expect("merges");
        let ids: BTreeSet<_> = merged.iter().map(|block| block.entry.id.0).collect();
        prop_assert_eq!(ids.len(), merged.len());
        if target < 100 {
            prop_assert!(merged.len() > 1);
        }
        prop_assert_eq!(summary.counts.rows_out, profiles.iter().filter(|p| has_values(p)).count() as u64);
        for block in &merged {
            prop_assert_eq!(&recovered(block).expect("recovers"), &block.entry);
        }
        let readers = readers(&merged);
        for question in questions() {
            let mut whole = Answer::empty(&question);
            for reader in &readers {
                whole.merge(ask(reader, &question).expect("answers")).expect("merges");
            }
            prop_assert_eq!(naive::plain(&whole), naive::answer(&profiles, &question));
        }
    }
}

/// The entry of a block, from its objects alone.
fn recovered(block: &EncodedBlock) -> Result<BlockEntry, BlockError> {
    let lengths: Vec<(String, u64)> =
        block.objects.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
    let object = |name: &str| -> Arc<dyn RangeRead> {
        let found = block.objects.iter().find(|(object, _)| object == name);
        Arc::new(InMemory(found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()))
    };
    block_on(recover_entry(&TenantId::anonymous(), &block.entry.attempt, &lengths, object))
}

#[test]
fn a_block_of_an_older_writer_cannot_say_where_it_comes_from() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/split");
    let mut block = written(&made_up(27, 5), 0, sources(0, 1));
    block.objects = [PROFILES, SAMPLES, SPANS, INDEX]
        .map(|name| (name.to_owned(), std::fs::read(folder.join(name)).expect("a golden object").into()))
        .into();
    let error = recovered(&block).expect_err("no origin");
    assert!(error.to_string().contains("older writer"), "{error}");
}

fn questions() -> Vec<Question> {
    let query = |name: &str| ProfileQuery {
        profile_type: ProfileType::new(name, "cpu", "nanoseconds", "cpu", "nanoseconds"),
        selector: Selector::default(),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    };
    let names = ["cpu", "memory", "cpu-x"];
    let mut all: Vec<Question> = names.map(|name| Question::Pprof(query(name))).into();
    all.extend(names.map(|name| Question::Tree(query(name))));
    all.push(Question::Series { range: None, matchers: Vec::new(), label_names: Vec::new() });
    all
}

fn made_up_filter(random: &mut Random) -> RowFilter {
    let selectors = [
        "{}",
        r#"{service_name="a"}"#,
        r#"{pod="p1"}"#,
        r#"{__delta__="false"}"#,
        r#"{__profile_type__=~".*space.*"}"#,
        r#"{Zone="",service_name!="b"}"#,
        r#"{pod="none"}"#,
    ];
    let selector = |random: &mut Random| Selector::parse(random.pick::<&str>(&selectors)).expect("valid");
    let at = |half_seconds: u64| TimestampNs(DAY_START_NS + half_seconds as i64 * 500_000_000);
    let mut filter = RowFilter::default();
    for _ in 0..random.below(3) {
        let (a, b) = (random.below(22), random.below(22));
        let range = TimeRange { start: at(a.min(b)), end: at(a.max(b)) };
        // One that does not cover the last block must not touch it; the property cannot say which profile lies where.
        let upto = vec![(journal(), Position(10))];
        filter.tombstones.push(Tombstone { selector: selector(random), range, upto });
    }
    for _ in 0..random.below(2) {
        filter.expiries.push(Expiry { selector: selector(random), before: at(random.below(22)) });
    }
    filter
}

fn hidden(filter: &RowFilter, profile: &Profile) -> bool {
    let [a, b, c, d] = &profile.sample_type;
    let labels = profile.labels.with_type(&ProfileType::new(&profile.name, a, b, c, d));
    let time = TimestampNs(profile.time_ns);
    filter.tombstones.iter().any(|t| t.range.contains(time) && t.selector.matches(&labels))
        || filter.expiries.iter().any(|e| time < e.before && e.selector.matches(&labels))
}

#[test]
fn a_tombstone_leaves_later_records_alone() {
    let profiles = made_up(21, 60);
    let (early, late) = profiles.split_at(30);
    let blocks = split(&[early.iter().collect(), late.iter().collect()]);
    let selector = Selector::default();
    let upto = vec![(journal(), Position(1))];
    let tombstone = Tombstone { selector, range: TimeRange::ALL, upto };
    let filter = RowFilter { tombstones: vec![tombstone], expiries: Vec::new() };
    let (merged, summary) = merge_readers(&readers(&blocks), &filter, &options(1)).expect("merges");
    same(&merged[0], &written(late, 1, joined(&blocks)));
    assert_eq!(summary.counts.deleted, early.iter().filter(|p| has_values(p)).count() as u64);
}

#[test]
fn inputs_that_do_not_belong_together_are_refused() {
    let profiles = made_up(22, 20);
    let block = written(&profiles, 0, sources(0, 1));
    let mut other = block.clone();
    other.entry.day += 1;
    let error = merge_readers(&readers(&[block, other]), &RowFilter::default(), &options(1));
    assert!(matches!(error, Err(MergeError::Plan(_))), "{error:?}");
    let error = merge_readers(&[], &RowFilter::default(), &options(1));
    assert!(matches!(error, Err(MergeError::Plan(_))), "{error:?}");
}

#[test]
fn a_budget_that_does_not_suffice_is_an_error_before_anything_is_written() {
    let block = written(&made_up(23, 20), 0, sources(0, 1));
    let reader = open(&block).expect("opens");
    let options = MergeOptions { memory_budget_bytes: 1 << 20, ..options(1) };
    let mut sink = MemorySink::default();
    let error = block_on(merge(&[&reader], &RowFilter::default(), &options, &mut sink));
    assert!(matches!(error, Err(MergeError::Memory { budget_bytes: 1_048_576, .. })), "{error:?}");
    assert!(sink.blocks.is_empty());
    assert!(merge::estimate_memory_bytes(&[&reader], &options) > 1 << 20);
}

#[test]
fn copies_that_differ_are_counted_and_one_stays_whatever_the_order() {
    let mut profiles = made_up(24, 1);
    while !has_values(&profiles[0]) || profiles[0].samples.len() < 2 {
        profiles = made_up(profiles[0].rid as u64, 1);
    }
    let mut other = profiles[0].clone();
    other.spans.clear();
    other.samples.truncate(1);
    other.samples[0].1 = i64::MAX / 2;
    let blocks = split(&[vec![&profiles[0]], vec![&other]]);
    let backwards: Vec<EncodedBlock> = blocks.iter().rev().cloned().collect();
    for blocks in [blocks, backwards] {
        let (merged, summary) = merge_all(&blocks, 1);
        assert_eq!((summary.counts.duplicates, summary.counts.unequal_duplicates), (1, 1));
        assert_eq!((merged[0].entry.samples, summary.counts.rows_out), (1, 1));
    }
}

#[test]
fn where_a_block_comes_from_stands_in_its_index() {
    let block = written(&made_up(25, 40), 1, sources(3, 9));
    let reader = open(&block).expect("opens");
    let origin = reader.origin().expect("this writer says it");
    assert_eq!((origin.day, origin.level, origin.part), (DAY, 1, 0));
    assert_eq!((&origin.sources, origin.records), (&block.entry.sources, block.entry.profiles));
    assert_eq!(recovered(&block).expect("recovers"), block.entry);
}

#[test]
fn the_future_can_move_between_threads() {
    fn movable(_: impl Send) {}
    let block = written(&made_up(26, 5), 0, sources(0, 1));
    let reader = open(&block).expect("opens");
    let (filter, options, mut sink) = (RowFilter::default(), options(1), MemorySink::default());
    let sink: &mut dyn BlockSink = &mut sink;
    movable(merge(&[&reader], &filter, &options, sink));
}

/// Opens a damaged block, if it can be opened at all.
fn damaged(block: &EncodedBlock, object: usize, bytes: Vec<u8>) -> Option<BlockReader> {
    let mut objects = block.objects.clone();
    objects[object].1 = bytes.into();
    open_parts(Arc::new(block.entry.clone()), &objects).ok()
}

fn merges_right_or_names_it(
    block: &EncodedBlock,
    reader: BlockReader,
    other: &EncodedBlock,
    expected: &EncodedBlock,
) {
    let readers = [reader, open(other).expect("opens")];
    match merge_readers(&readers, &RowFilter::default(), &options(1)) {
        Ok((merged, _)) => same(&merged[0], expected),
        Err(MergeError::Input { block: named, .. }) => assert_eq!(named, block.entry.id),
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_names_the_block_and_never_a_wrong_output(
        object in 0usize..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let profiles = made_up(31, 90);
        let (one, two) = profiles.split_at(45);
        let blocks = split(&[one.iter().collect(), two.iter().collect()]);
        let expected = written(&profiles, 1, joined(&blocks));
        let mut bytes = blocks[0].objects[object].1.to_vec();
        match keep {
            Some(keep) => bytes.truncate(keep.index(bytes.len())),
            None => flips.iter().for_each(|(at, flip)| {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }),
        }
        if let Some(reader) = damaged(&blocks[0], object, bytes) {
            merges_right_or_names_it(&blocks[0], reader, &blocks[1], &expected);
        }
    }
}

#[test]
fn every_byte_of_the_tables_counts() {
    let profiles = made_up(32, 12);
    let (one, two) = profiles.split_at(6);
    let blocks = split(&[one.iter().collect(), two.iter().collect()]);
    let expected = written(&profiles, 1, joined(&blocks));
    for object in 0..blocks[0].objects.len() {
        for at in 0..blocks[0].objects[object].1.len() {
            let mut bytes = blocks[0].objects[object].1.to_vec();
            bytes[at] ^= 1 << (at % 8);
            if let Some(reader) = damaged(&blocks[0], object, bytes) {
                merges_right_or_names_it(&blocks[0], reader, &blocks[1], &expected);
            }
        }
    }
}
