//! Any profiles, in any split over blocks and any order of arrival, answer as the profiles themselves do.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::executor::block_on;
use hearth_block::merge::{MemorySink, RowFilter};
use hearth_block::{Hidden, MergeOptions, merge};
use hearth_common::{TenantId, TimeRange, TimestampNs};
use hearth_model::spans::SpanFilter;
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use proptest::prelude::*;
use support::{DAY_START_NS, Head, Profile, Random, ask, ask_without, made_up, naive, open};

fn types() -> Vec<ProfileType> {
    let mut all = Vec::new();
    for name in ["cpu", "memory", "cpu-x", "absent"] {
        all.push(ProfileType::new(name, "cpu", "nanoseconds", "cpu", "nanoseconds"));
        all.push(ProfileType::new(name, "space", "bytes", "", ""));
    }
    all
}

fn selector(random: &mut Random) -> Selector {
    let text = *random.pick(&[
        "{}",
        r#"{service_name="a"}"#,
        r#"{pod!="p1"}"#,
        r#"{pod=~"p[12]",service_name!="b"}"#,
        r#"{__profile_type__=~".*space.*"}"#,
        r#"{__delta__="false"}"#,
        r#"{__service_name__="web",Zone=""}"#,
        r#"{__unit__="bytes"}"#,
        r#"{pod="none"}"#,
    ]);
    Selector::parse(text).expect("valid selector")
}

fn range(random: &mut Random) -> TimeRange {
    let (a, b) = (random.below(22) as i64, random.below(22) as i64);
    let at = |half_seconds: i64| TimestampNs(DAY_START_NS + half_seconds * 500_000_000);
    match random.below(3) {
        0 => TimeRange::ALL,
        _ => TimeRange { start: at(a.min(b)), end: at(a.max(b)) },
    }
}

fn query(random: &mut Random, profiles: &[Profile]) -> ProfileQuery {
    let call_site: &[&[&str]] = &[&[], &[], &["main"], &["main", "run"], &["none"], &["alloc", ""]];
    let spans = match random.below(5) {
        0 => Some(SpanFilter::Spans(vec![0, 2])),
        1 => Some(SpanFilter::Traces(vec![[1; 16], [3; 16]])),
        _ => None,
    };
    let profile_ids = match random.below(4) {
        0 => profiles.iter().filter(|p| p.rid % 3 == 0).map(|p| p.rid).chain([7]).collect(),
        _ => Vec::new(),
    };
    ProfileQuery {
        profile_type: random.pick(&types()).clone(),
        selector: selector(random),
        range: range(random),
        call_site: random.pick(call_site).iter().map(|name| (*name).to_owned()).collect(),
        spans,
        profile_ids,
        native: random.below(2) == 0,
    }
}

fn questions(random: &mut Random, profiles: &[Profile]) -> Vec<Question> {
    let maybe = |random: &mut Random| (random.below(2) == 0).then(|| range(random));
    let matchers = |random: &mut Random| (0..random.below(3)).map(|_| selector(random)).collect::<Vec<_>>();
    let group_by = ["Zone", "__type__", "pod", "service_name"].into_iter().filter(|_| random.below(2) == 0);
    let group_by: Vec<String> = group_by.map(str::to_owned).collect();
    let start = DAY_START_NS / 1_000_000 + random.below(3) as i64 * 250;
    let grid = StepGrid::new(start, start + 9_000, 1 + random.below(3_000) as i64);
    vec![
        Question::Tree(query(random, profiles)),
        Question::Pprof(query(random, profiles)),
        Question::Points { query: query(random, profiles), group_by: group_by.clone(), grid },
        Question::ProfileTypes { range: maybe(random) },
        Question::LabelNames { range: maybe(random), matchers: matchers(random) },
        Question::LabelValues { name: "pod".to_owned(), range: maybe(random), matchers: matchers(random) },
        Question::LabelValues {
            name: "__type__".to_owned(),
            range: maybe(random),
            matchers: matchers(random),
        },
        Question::Series { range: maybe(random), matchers: matchers(random), label_names: group_by },
        Question::Series { range: maybe(random), matchers: matchers(random), label_names: Vec::new() },
        Question::Stats,
        Question::Tally { range: range(random), selector: selector(random) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_answer_as_profiles_do(seed in any::<u64>(), count in 1usize..60, blocks in 1usize..4) {
        let mut random = Random(seed ^ 1);
        let profiles = made_up(seed, count);
        let mut parts: Vec<Vec<&Profile>> = vec![Vec::new(); blocks];
        for profile in &profiles {
            parts[random.below(blocks as u64) as usize].push(profile);
        }
        let has_values = |part: &Vec<&Profile>| part.iter().any(|p| p.samples.iter().any(|(_, v)| *v > 0));
        let blocks = parts.into_iter().filter(has_values).map(|part| Head::of(part).write().expect("writes"));
        let readers: Vec<_> = blocks.map(|block| open(&block).expect("opens")).collect();
        for _ in 0..4 {
            for question in questions(&mut random, &profiles) {
                let mut whole = Answer::empty(&question);
                for reader in &readers {
                    whole.merge(ask(reader, &question).expect("answers")).expect("merges");
                }
                prop_assert_eq!(naive::plain(&whole), naive::answer(&profiles, &question), "{:?}", question);
            }
        }
    }

    /// As [`blocks_answer_as_profiles_do`], with profiles that lie in two blocks: once merged, they count once.
    #[test]
    fn merged_blocks_answer_as_profiles_do(seed in any::<u64>(), count in 1usize..60, blocks in 2usize..5) {
        let mut random = Random(seed ^ 2);
        let profiles = made_up(seed, count);
        let mut parts: Vec<Vec<&Profile>> = vec![Vec::new(); blocks];
        for profile in &profiles {
            for _ in 0..1 + random.below(2) {
                parts[random.below(blocks as u64) as usize].push(profile);
            }
        }
        let has_values = |part: &Vec<&Profile>| part.iter().any(|p| p.samples.iter().any(|(_, v)| *v > 0));
        let blocks = parts.into_iter().filter(has_values).map(|part| Head::of(part).write().expect("writes"));
        let readers: Vec<_> = blocks.map(|block| open(&block).expect("opens")).collect();
        prop_assume!(!readers.is_empty());
        let (mut sink, options) = (MemorySink::default(), MergeOptions::new(TenantId::anonymous(), 1));
        let readers: Vec<_> = readers.iter().collect();
        let merged = block_on(merge(&readers, &RowFilter::default(), &options, &mut sink)).expect("merges");
        sink.blocks[0].entry = merged.blocks[0].clone();
        let reader = open(&sink.blocks[0]).expect("opens");
        for _ in 0..4 {
            for question in questions(&mut random, &profiles) {
                let answer = ask(&reader, &question).expect("answers");
                prop_assert_eq!(naive::plain(&answer), naive::answer(&profiles, &question), "{:?}", question);
            }
        }
    }

    #[test]
    fn hidden_rows_are_in_no_answer(seed in any::<u64>(), count in 1usize..60, deletions in 1usize..4) {
        let mut random = Random(seed ^ 3);
        let profiles = made_up(seed, count);
        prop_assume!(profiles.iter().any(|p| p.samples.iter().any(|(_, v)| *v > 0)));
        let reader = open(&Head::of(&profiles).write().expect("writes")).expect("opens");
        let hidden: Vec<Arc<Hidden>> = (0..deletions)
            .map(|_| Arc::new(Hidden { selector: selector(&mut random), range: range(&mut random) }))
            .collect();
        let is_left = |p: &&Profile| {
            let [a, b, c, d] = &p.sample_type;
            let labels = p.labels.with_type(&ProfileType::new(&p.name, a, b, c, d));
            let hits = |h: &Arc<Hidden>| h.range.contains(TimestampNs(p.time_ns)) && h.selector.matches(&labels);
            !hidden.iter().any(hits)
        };
        let left: Vec<Profile> = profiles.iter().filter(is_left).cloned().collect();
        for _ in 0..4 {
            for question in questions(&mut random, &profiles) {
                let answer = ask_without(&reader, &question, &hidden).expect("answers");
                prop_assert_eq!(naive::plain(&answer), naive::answer(&left, &question), "{:?}", question);
            }
        }
    }

    #[test]
    fn arrival_does_not_change_a_byte(seed in any::<u64>(), count in 1usize..60) {
        let mut profiles = made_up(seed, count);
        profiles.push(profiles[0].clone());
        if profiles.iter().all(|p| p.samples.iter().all(|(_, v)| *v == 0)) {
            return Ok(());
        }
        let first = Head::of(&profiles).write().expect("writes");
        let mut random = Random(seed);
        for at in (1..profiles.len()).rev() {
            profiles.swap(at, random.below(at as u64 + 1) as usize);
        }
        for profile in &mut profiles {
            profile.samples.reverse();
            profile.annotations.reverse();
        }
        let mut other = Head::default();
        for profile in &profiles {
            let unit = other.unit(&profile.name, &profile.service);
            // Symbols that no profile of the day uses leave no trace.
            let mut unused = made_up(seed ^ 7, 1).remove(0);
            unused.time_ns -= 86_400_000_000_000;
            unused.labels = profile.labels.clone();
            unit.push(&unused);
            unit.push(profile);
        }
        let second = other.write().expect("writes");
        prop_assert_eq!(first.entry, second.entry);
        prop_assert!(first.objects == second.objects);
    }
}

#[test]
fn stats_and_counts_are_in_the_entry() {
    let profiles = made_up(3, 200);
    let block = Head::of(&profiles).write().expect("writes");
    let with_values = || profiles.iter().filter(|p| p.samples.iter().any(|(_, v)| *v > 0));
    assert_eq!(block.entry.profiles, with_values().count() as u64);
    assert_eq!(block.entry.min_time.0, with_values().map(|p| p.time_ns).min().expect("some"));
    let services: BTreeSet<&str> = with_values().map(|p| p.service.as_str()).collect();
    assert_eq!(Some(block.entry.first_service.as_str()), services.first().copied());
    assert_eq!(Some(block.entry.last_service.as_str()), services.last().copied());
    let samples: usize = profiles.iter().map(|p| p.samples.iter().filter(|(_, v)| *v > 0).count()).sum();
    assert_eq!(block.entry.samples, samples as u64);
}

#[test]
fn a_sum_beyond_63_bits_is_a_clear_error() {
    let mut profiles = made_up(5, 40);
    let question = |p: &Profile| {
        let [a, b, c, d] = &p.sample_type;
        let selector = Selector::default();
        Question::Tree(ProfileQuery {
            profile_type: ProfileType::new(&p.name, a, b, c, d),
            selector,
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        })
    };
    let big = profiles.iter_mut().find(|p| p.samples.len() > 2).expect("some");
    big.samples.iter_mut().for_each(|(_, value)| *value = i64::MAX);
    big.spans.clear();
    let question = question(big);
    let reader = open(&Head::of(&profiles).write().expect("writes")).expect("opens");
    let error = ask(&reader, &question).expect_err("too large");
    assert!(error.to_string().contains("63 bits"), "{error}");
}
