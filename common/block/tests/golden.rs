//! A block that was written once is read for ever: the folders below `tests/golden/` are never written again for this
//! major version. Each is named after what its writer had learned.

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::executor::block_on;
use hearth_block::input::{BlockSpec, SourceRange};
use hearth_block::{
    BlockEntry, EncodedBlock, FORMAT_MAJOR, INDEX, OBJECTS, ObjectEntry, ROLLUP_LEVEL_MIN, verify,
};
use hearth_common::{JournalId, Position, TimeRange, TimestampNs};
use hearth_model::{ProfileQuery, ProfileType, Question, Selector};
use support::{DAY, Head, Profile, Random, ask, made_up, naive, open, spec};

/// Dictionaries and deltas only.
const FIRST: &str = "first";
/// Values of split bytes where that is smaller.
const SPLIT: &str = "split";
/// The index says where the block comes from.
const ORIGIN: &str = "origin";
/// A whole day, with sums beside its rows.
const ROLLUPS: &str = "rollups";

fn folder(writer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(writer)
}

/// What the newer blocks were written with.
fn spec_of(writer: &str) -> BlockSpec {
    let journal = JournalId::parse("cell/1/one/000000000000000000000000000000aa/1").expect("a journal");
    let source = SourceRange { journal, after: Position(41), upto: Position(341) };
    let level = if writer == ROLLUPS { ROLLUP_LEVEL_MIN } else { 0 };
    BlockSpec { level, sources: vec![source], ..spec() }
}

/// What lies in the block of a writer.
fn profiles_of(writer: &str) -> Vec<Profile> {
    let mut profiles = made_up(2026, 300);
    if writer != FIRST {
        let mut random = Random(7);
        for (_, value) in profiles.iter_mut().flat_map(|profile| &mut profile.samples) {
            *value = (5 << 16) + random.below(1 << 16) as i64;
        }
    }
    if writer == ROLLUPS {
        // All day long: few stacks, many profiles.
        let later = |profile: &Profile, round: i64| Profile {
            time_ns: profile.time_ns + round * 97 * 60_000_000_000,
            rid: profile.rid + round as u128,
            ..profile.clone()
        };
        profiles = profiles.iter().flat_map(|profile| (0..12).map(|round| later(profile, round))).collect();
    }
    profiles
}

/// The entry as the root would say it: all of it follows from the objects and the profiles.
fn golden(writer: &str) -> EncodedBlock {
    let read = |name: &str| std::fs::read(folder(writer).join(name)).ok().map(Bytes::from);
    let objects: Vec<(String, Bytes)> =
        OBJECTS.into_iter().filter_map(|name| Some((name.to_owned(), read(name)?))).collect();
    assert_eq!(objects.len(), if writer == ROLLUPS { 7 } else { 4 }, "golden objects");
    let index = &objects[objects.len() - 1].1;
    assert_eq!(objects[objects.len() - 1].0, INDEX);
    let mut directory = [0u8; 8];
    directory.copy_from_slice(&index[index.len() - 40..index.len() - 32]);
    let entry = BlockEntry {
        id: spec().id(),
        attempt: "0".to_owned(),
        format: FORMAT_MAJOR,
        day: DAY,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(i64::MAX),
        first_service: String::new(),
        last_service: String::new(),
        types: Vec::new(),
        objects: objects
            .iter()
            .map(|(name, bytes)| ObjectEntry {
                name: name.clone(),
                bytes: bytes.len() as u64,
                crc32c: crc32c::crc32c(bytes),
            })
            .collect(),
        index_directory_offset: u64::from_le_bytes(directory),
        profiles: 0,
        samples: 0,
        series: 0,
        units: 0,
        sources: Vec::new(),
    };
    EncodedBlock { entry, objects }
}

#[test]
fn golden_blocks_answer_as_ever() {
    for writer in [FIRST, SPLIT, ORIGIN, ROLLUPS] {
        answers_as_ever(writer);
    }
}

fn answers_as_ever(writer: &str) {
    let profiles = profiles_of(writer);
    let block = golden(writer);
    let verified = verify(&block.entry, &block.objects).expect("a good block");
    let origin = open(&block).expect("opens").origin().cloned();
    assert_eq!(
        origin.map(|origin| origin.sources),
        [ORIGIN, ROLLUPS].contains(&writer).then(|| spec_of(writer).sources)
    );
    let samples = profiles.iter().flat_map(|p| &p.samples).filter(|(_, value)| *value > 0).count();
    assert_eq!(verified.samples, samples as u64);
    let reader = open(&block).expect("opens");
    for name in ["cpu", "memory", "cpu-x"] {
        let query = ProfileQuery {
            profile_type: ProfileType::new(name, "cpu", "nanoseconds", "cpu", "nanoseconds"),
            selector: Selector::default(),
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        for question in [Question::Tree(query.clone()), Question::Pprof(query)] {
            let answer = ask(&reader, &question).expect("answers");
            assert_eq!(naive::plain(&answer), naive::answer(&profiles, &question));
            let prepared = block_on(reader.prepare(&question)).expect("prepares");
            assert_eq!(prepared.rolled_runs() > 0, writer == ROLLUPS, "{question:?}");
        }
    }
    let series = Question::Series { range: None, matchers: Vec::new(), label_names: Vec::new() };
    assert_eq!(naive::plain(&ask(&reader, &series).expect("answers")), naive::answer(&profiles, &series));
}

#[test]
#[ignore = "writes the newest golden block: only when the format has learned something, under a new name"]
fn write_the_newest_golden_block() {
    let block = Head::of(&profiles_of(ROLLUPS)).write_as(&spec_of(ROLLUPS)).expect("writes");
    for (name, bytes) in &block.objects {
        std::fs::write(folder(ROLLUPS).join(name), bytes).expect("written");
    }
}
