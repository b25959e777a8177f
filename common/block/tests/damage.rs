//! Damaged objects: an error or the right answer, never a panic; and what verification finds.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use hearth_block::{EncodedBlock, verify};
use hearth_common::TimeRange;
use hearth_model::spans::SpanFilter;
use hearth_model::{ProfileQuery, ProfileType, Question, Selector, StepGrid};
use proptest::prelude::*;
use support::{DAY_START_NS, Head, ask, made_up, naive, open, open_parts};

fn questions() -> Vec<Question> {
    let query = |call_site: &[&str], spans, range| ProfileQuery {
        profile_type: ProfileType::new("cpu", "cpu", "nanoseconds", "cpu", "nanoseconds"),
        selector: Selector::default(),
        range,
        call_site: call_site.iter().map(|s| (*s).to_owned()).collect(),
        spans,
        profile_ids: Vec::new(),
        native: false,
    };
    let start = DAY_START_NS / 1_000_000;
    let part = TimeRange::from_ms(start + 1_000, start + 6_000);
    let grid = StepGrid::new(start, start + 10_000, 1_000);
    let group_by = vec!["pod".to_owned()];
    vec![
        Question::Tree(query(&[], None, TimeRange::ALL)),
        Question::Tree(query(&[], None, part)),
        Question::Tree(query(&[], Some(SpanFilter::Spans(vec![0, 1])), part)),
        Question::Pprof(query(&["main"], None, part)),
        Question::Points { query: query(&[], None, part), group_by: group_by.clone(), grid },
        Question::Points { query: query(&["main"], None, TimeRange::ALL), group_by, grid },
        Question::LabelNames { range: Some(part), matchers: Vec::new() },
        Question::Series { range: None, matchers: Vec::new(), label_names: Vec::new() },
    ]
}

/// Whatever is done to the objects, each answer is an error or equal to `expected`.
fn survives(
    block: &EncodedBlock,
    objects: &[(String, Bytes)],
    expected: &[naive::Plain],
) -> Result<(), TestCaseError> {
    let _ = verify(&block.entry, objects);
    let Ok(reader) = open_parts(Arc::new(block.entry.clone()), objects) else { return Ok(()) };
    for (question, expected) in questions().iter().zip(expected) {
        if let Ok(answer) = ask(&reader, question) {
            prop_assert_eq!(&naive::plain(&answer), expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damage_is_found_or_harmless(
        object in 0usize..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let profiles = made_up(11, 120);
        let block = Head::of(&profiles).write().expect("writes");
        let expected: Vec<_> = questions().iter().map(|q| naive::answer(&profiles, q)).collect();
        let mut objects = block.objects.clone();
        let mut bytes = objects[object].1.to_vec();
        match keep {
            Some(keep) => bytes.truncate(keep.index(bytes.len())),
            None => {
                for (at, flip) in flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= flip;
                }
            }
        }
        let changed = bytes[..] != objects[object].1[..];
        objects[object].1 = bytes.into();
        survives(&block, &objects, &expected)?;
        prop_assert_eq!(verify(&block.entry, &objects).is_err(), changed);
    }
}

#[test]
fn every_byte_of_the_index_counts() {
    let profiles = made_up(12, 6);
    let block = Head::of(&profiles).write().expect("writes");
    let expected: Vec<_> = questions().iter().map(|q| naive::answer(&profiles, q)).collect();
    let index = block.objects.len() - 1;
    for at in 0..block.objects[index].1.len() {
        let mut objects = block.objects.clone();
        let mut bytes = objects[index].1.to_vec();
        bytes[at] ^= 1 << (at % 8);
        objects[index].1 = bytes.into();
        survives(&block, &objects, &expected).expect("an error or the right answer");
    }
}

#[test]
fn a_good_block_verifies() {
    for seed in 0..20 {
        let block = Head::of(&made_up(seed, 200)).write().expect("writes");
        let verified = verify(&block.entry, &block.objects).expect("a good block");
        assert_eq!(verified.samples, block.entry.samples);
        assert!(verified.spans > 0);
        assert!(open(&block).expect("opens").cached_bytes() > 0);
    }
}
