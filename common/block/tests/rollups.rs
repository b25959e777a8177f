//! A block of a whole day answers as its profiles do, whether its sums stand for rows or not.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use hearth_block::input::BlockSpec;
use hearth_block::merge::{MemorySink, RowFilter};
use hearth_block::{
    BlockReader, EncodedBlock, Hidden, MergeOptions, ROLLUP_LEVEL_MIN, ROLLUP_OBJECTS, STACKS_1D, TOTALS_1H,
    TOTALS_5M, merge, verify,
};
use hearth_common::{TenantId, TimeRange};
use hearth_model::{Answer, Labels, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use proptest::prelude::*;
use support::{DAY_START_NS, Head, Location, Profile, Random, ask, ask_without, made_up, naive, open, spec};

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_MS: i64 = DAY_START_NS / 1_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Profiles all over a day, many at the edges of bins, with few stacks; some services have many pods.
fn of_a_day(seed: u64, count: usize) -> Vec<Profile> {
    let mut random = Random(seed);
    let mut profiles = made_up(seed, count);
    let pool: Vec<Vec<Location>> =
        profiles.iter().flat_map(|p| &p.samples).map(|(stack, _)| stack.clone()).take(3).collect();
    for profile in &mut profiles {
        let step = *random.pick(&[60 * MINUTE_NS, 5 * MINUTE_NS, 7 * MINUTE_NS]);
        let near = *random.pick(&[0, 0, 1, 300_000, 999_999, 1_000_000, -1, -1_000_000]);
        let at = random.below(24 * 60 * MINUTE_NS as u64 / step as u64) as i64 * step + near;
        profile.time_ns = DAY_START_NS + at.clamp(0, 24 * 60 * MINUTE_NS - 1);
        if seed.is_multiple_of(2) && profile.service != "a" {
            let mut labels: Vec<(String, String)> =
                profile.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            labels.retain(|(name, _)| name != "pod");
            labels.push(("pod".to_owned(), format!("p{}", random.below(90))));
            profile.labels = Labels::from_pairs(labels);
        }
        let mut samples: BTreeMap<Vec<Location>, i64> = BTreeMap::new();
        for (_, value) in profile.samples.drain(..) {
            *samples.entry(random.pick(&pool).clone()).or_default() += value;
        }
        profile.samples = samples.into_iter().collect();
        let stacks: Vec<_> = profile.samples.iter().filter(|(_, value)| *value > 0).collect();
        match stacks.first() {
            Some((stack, _)) => profile.spans.iter_mut().for_each(|span| span.2.clone_from(stack)),
            None => profile.spans.clear(),
        }
    }
    profiles
}

fn has_values(profile: &Profile) -> bool {
    profile.samples.iter().any(|(_, value)| *value > 0)
}

fn written(profiles: &[Profile], level: u8) -> EncodedBlock {
    let block = Head::of(profiles).write_as(&BlockSpec { level, ..spec() }).expect("writes");
    verify(&block.entry, &block.objects).expect("a good block");
    block
}

fn selector(random: &mut Random) -> Selector {
    let text = *random.pick(&[
        "{}",
        "{}",
        r#"{service_name="a"}"#,
        r#"{service_name=~"b|web"}"#,
        r#"{pod!="p1"}"#,
        r#"{pod="p2",service_name="web"}"#,
        r#"{__delta__="false"}"#,
        r#"{Zone="",service_name!="b"}"#,
        r#"{__unit__="bytes"}"#,
    ]);
    Selector::parse(text).expect("valid")
}

fn range(random: &mut Random) -> TimeRange {
    let day = TimeRange::from_ms(DAY_MS, DAY_MS + 24 * HOUR_MS);
    let hour = |random: &mut Random| DAY_MS + random.below(25) as i64 * HOUR_MS;
    let (a, b) = (hour(random), hour(random));
    match random.below(5) {
        0 => TimeRange::ALL,
        1 | 2 => day,
        3 => TimeRange::from_ms(a.min(b), a.max(b)),
        _ => TimeRange::from_ms(a.min(b) - 7, a.max(b) + random.below(3) as i64),
    }
}

fn query(random: &mut Random) -> ProfileQuery {
    let ty = *random.pick(&[["cpu", "nanoseconds", "cpu", "nanoseconds"], ["space", "bytes", "", ""]]);
    let name = *random.pick(&["cpu", "memory"]);
    let call_site: &[&[&str]] = &[&[], &[], &["main"], &[""]];
    ProfileQuery {
        profile_type: ProfileType::new(name, ty[0], ty[1], ty[2], ty[3]),
        selector: selector(random),
        range: range(random),
        call_site: random.pick(call_site).iter().map(|name| (*name).to_owned()).collect(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    }
}

fn questions(random: &mut Random) -> Vec<Question> {
    let names = ["Zone", "__type__", "pod", "service_name"];
    let group_by = names.into_iter().filter(|_| random.below(3) == 0).map(str::to_owned).collect();
    let step_ms = *random.pick(&[300_000, HOUR_MS, 2 * HOUR_MS, 24 * HOUR_MS, 60_000, 450_000]);
    let start_ms = DAY_MS + *random.pick(&[0, 0, HOUR_MS, -HOUR_MS, 300_000, 1]);
    let end_ms = DAY_MS + *random.pick(&[24 * HOUR_MS, 24 * HOUR_MS, 13 * HOUR_MS, 13 * HOUR_MS + 5]);
    let mut points = query(random);
    if random.below(3) > 0 {
        points.range = TimeRange::from_ms(start_ms - step_ms, end_ms);
    }
    let grid = StepGrid::new(start_ms, end_ms, step_ms);
    vec![
        Question::Tree(query(random)),
        Question::Pprof(query(random)),
        Question::Points { query: points, group_by, grid },
    ]
}

/// Bytes that a flame graph of what a question selects would fetch, as estimated, and as it does.
fn estimated_and_fetched(reader: &BlockReader, question: &Question, hidden: &[Arc<Hidden>]) -> (u64, u64) {
    let query = question.profile_query().expect("about profiles");
    let of_type = format!(r#"{{__profile_type__="{}"}}"#, query.profile_type.id());
    let mut selector = Selector::parse(&of_type).expect("valid");
    selector.matchers.extend(query.selector.matchers.iter().cloned());
    let question = Question::Estimate { range: query.range, selector };
    let answer = ask_without(reader, &question, hidden).expect("answers");
    let Answer::Estimate(estimate) = answer else { panic!("{answer:?}") };
    let tree = Question::Tree(ProfileQuery { call_site: Vec::new(), ..query.clone() });
    let prepared = block_on(reader.prepare_without(&tree, hidden)).expect("prepares");
    (estimate.profile_bytes + estimate.symbol_bytes, prepared.fetched_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sums_answer_as_rows_do(seed in any::<u64>(), count in 1usize..250) {
        let mut random = Random(seed ^ 5);
        let profiles = of_a_day(seed, count);
        prop_assume!(profiles.iter().any(has_values));
        let rolled = open(&written(&profiles, ROLLUP_LEVEL_MIN)).expect("opens");
        let plain = open(&written(&profiles, ROLLUP_LEVEL_MIN - 1)).expect("opens");
        for _ in 0..6 {
            for question in questions(&mut random) {
                let answer = naive::plain(&ask(&rolled, &question).expect("answers"));
                prop_assert_eq!(&answer, &naive::answer(&profiles, &question), "{:?}", question);
                let hidden: Vec<Arc<Hidden>> = (0..1 + random.below(2))
                    .map(|_| Arc::new(Hidden { selector: selector(&mut random), range: range(&mut random) }))
                    .collect();
                let of = |reader| naive::plain(&ask_without(reader, &question, &hidden).expect("answers"));
                prop_assert_eq!(of(&rolled), of(&plain), "{:?} without {:?}", question, hidden);
                for reader in [&rolled, &plain] {
                    let (estimated, fetched) = estimated_and_fetched(reader, &question, &hidden);
                    prop_assert_eq!(estimated, fetched, "{:?} without {:?}", question, hidden);
                }
            }
        }
    }

    #[test]
    fn a_merge_sums_as_the_writer_does(seed in any::<u64>(), count in 2usize..250, blocks in 1usize..5) {
        let mut random = Random(seed ^ 6);
        let profiles = of_a_day(seed, count);
        let mut parts: Vec<Vec<&Profile>> = vec![Vec::new(); blocks];
        for profile in &profiles {
            for _ in 0..1 + random.below(2) {
                parts[random.below(blocks as u64) as usize].push(profile);
            }
        }
        let parts = parts.into_iter().filter(|part| part.iter().any(|profile| has_values(profile)));
        let level = |random: &mut Random| random.below(2) as u8 * (ROLLUP_LEVEL_MIN + 1);
        let inputs: Vec<BlockReader> = parts
            .map(|part| Head::of(part).write_as(&BlockSpec { level: level(&mut random), ..spec() }))
            .map(|block| open(&block.expect("writes")).expect("opens"))
            .collect();
        prop_assume!(!inputs.is_empty());
        let inputs: Vec<&BlockReader> = inputs.iter().collect();
        let (mut sink, options) = (MemorySink::default(), MergeOptions::new(TenantId::anonymous(), 32));
        let merged = block_on(merge(&inputs, &RowFilter::default(), &options, &mut sink)).expect("merges");
        let expected = written(&profiles, 32);
        prop_assert_eq!(&merged.blocks[0], &expected.entry);
        prop_assert!(sink.blocks[0].objects == expected.objects);
    }
}

/// A service with four pods and another with two hundred, a profile each minute.
fn regular() -> Vec<Profile> {
    let mut profiles = Vec::new();
    let base = made_up(2, 60);
    let base = base.iter().find(|profile| profile.samples.len() > 2 && has_values(profile)).expect("some");
    for minute in 0..24i64 * 60 {
        for (service, pods) in [("few", 4), ("many", 200)] {
            let pod = format!("{service}-{}", minute % pods);
            let own = [("__name__", "cpu"), ("service_name", service), ("pod", &*pod), ("zone", "z")];
            profiles.push(Profile {
                name: "cpu".to_owned(),
                service: service.to_owned(),
                labels: Labels::from_pairs(own),
                sample_type: ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned),
                time_ns: DAY_START_NS + minute * MINUTE_NS + 1_500_000,
                rid: 1 + profiles.len() as u128,
                spans: Vec::new(),
                annotations: Vec::new(),
                ..base.clone()
            });
        }
    }
    profiles
}

fn tree(selector: &str, range: TimeRange) -> Question {
    Question::Tree(ProfileQuery {
        profile_type: ProfileType::new("cpu", "cpu", "nanoseconds", "cpu", "nanoseconds"),
        selector: Selector::parse(selector).expect("valid"),
        range,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    })
}

fn points(selector: &str, group_by: &[&str], step_ms: i64) -> Question {
    let Question::Tree(query) = tree(selector, TimeRange::from_ms(DAY_MS - step_ms, DAY_MS + 24 * HOUR_MS))
    else {
        panic!("a tree")
    };
    let group_by = group_by.iter().map(|name| (*name).to_owned()).collect();
    Question::Points { query, group_by, grid: StepGrid::new(DAY_MS, DAY_MS + 24 * HOUR_MS, step_ms) }
}

#[test]
fn sums_are_used_where_they_are_exact() {
    let profiles = regular();
    let block = written(&profiles, ROLLUP_LEVEL_MIN);
    let names: Vec<&str> = block.objects.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[2..], [TOTALS_5M, TOTALS_1H, STACKS_1D, "index"]);
    let reader = open(&block).expect("opens");
    // How many runs are read as sums, and how many rows are decoded.
    let used = |question: &Question| {
        let prepared = block_on(reader.prepare(question)).expect("prepares");
        let found = (prepared.rolled_runs(), prepared.rows());
        let answer = prepared.run().expect("answers");
        assert_eq!(naive::plain(&answer), naive::answer(&profiles, question), "{question:?}");
        found
    };
    let day = TimeRange::from_ms(DAY_MS, DAY_MS + 24 * HOUR_MS);
    let whole = |selector: &str| used(&tree(selector, day));
    let stacks = whole("{}").1;
    assert_eq!(whole("{}"), (2, stacks));
    assert_eq!(whole(r#"{service_name="few"}"#).0, 1);
    assert_eq!(whole(r#"{service_name="few",pod="few-1"}"#).0, 1, "four pods are kept");
    assert_eq!(whole(r#"{service_name="many",zone="z"}"#).0, 1);
    assert_eq!(whole(r#"{service_name="many",pod="many-1"}"#).0, 0, "two hundred are not");
    assert_eq!(used(&tree("{}", TimeRange::from_ms(DAY_MS + HOUR_MS, DAY_MS + 24 * HOUR_MS))).0, 0);
    let by_hour = |selector: &str, group_by: &[&str]| used(&points(selector, group_by, HOUR_MS));
    assert_eq!(by_hour("{}", &["service_name"]), (2, 5 * 24));
    assert_eq!(by_hour(r#"{service_name="few"}"#, &["pod", "__type__"]), (1, 4 * 24));
    assert_eq!(by_hour(r#"{service_name="many"}"#, &["pod"]).0, 0);
    assert_eq!(by_hour(r#"{pod!="many-7"}"#, &[]).0, 1, "one of both");
    assert_eq!(used(&points(r#"{service_name="many"}"#, &[], 300_000)), (1, 24 * 12));
    assert_eq!(used(&points("{}", &[], 90_000)).0, 0, "no width divides the step");
}

#[test]
fn sums_that_do_not_fit_are_not_there() {
    let mut profiles = regular();
    profiles.truncate(100);
    let big = profiles.iter_mut().find(|profile| profile.service == "many").expect("some");
    big.samples.iter_mut().for_each(|(_, value)| *value = i64::MAX);
    let reader = open(&written(&profiles, ROLLUP_LEVEL_MIN)).expect("opens");
    let rolled = |question: &Question| block_on(reader.prepare(question)).expect("prepares").rolled_runs();
    for question in [tree("{}", TimeRange::ALL), points("{}", &[], HOUR_MS)] {
        assert_eq!(rolled(&question), 1);
        let error = ask(&reader, &question).expect_err("too large");
        assert!(error.to_string().contains("63 bits"), "{error}");
    }
}

#[test]
fn damage_of_sums_is_found() {
    let block = written(&regular(), ROLLUP_LEVEL_MIN);
    let mut random = Random(11);
    for name in ROLLUP_OBJECTS {
        let at = block.objects.iter().position(|(object, _)| object == name).expect("there");
        for _ in 0..200 {
            let mut damaged = block.clone();
            let mut bytes = damaged.objects[at].1.to_vec();
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 + random.below(255) as u8;
            damaged.entry.objects[at].crc32c = crc32c::crc32c(&bytes);
            damaged.objects[at].1 = bytes.into();
            let reader = open(&damaged).expect("the index is whole");
            for question in
                [tree("{}", TimeRange::ALL), points("{}", &[], HOUR_MS), points("{}", &[], 300_000)]
            {
                if let (Ok(answer), Ok(right)) =
                    (ask(&reader, &question), ask(&open(&block).expect("opens"), &question))
                {
                    assert_eq!(naive::plain(&answer), naive::plain(&right), "{name} at {place}");
                }
            }
        }
    }
}
