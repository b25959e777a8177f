//! Runs, pages and row groups beyond one of each: what small made-up profiles never reach.

mod support;

use std::collections::BTreeMap;

use hearth_block::verify;
use hearth_common::TimeRange;
use hearth_model::{Answer, Labels, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use support::naive::{Plain, plain};
use support::{DAY_START_NS, Head, Location, Random, ask, open};

const STACKS: usize = 500;

/// Profiles as (service, pod, second, value of each stack).
type Rows = Vec<(&'static str, String, i64, Vec<i64>)>;

fn location(name: String) -> Location {
    Location { mapping: None, address: 0, lines: vec![(name, String::new(), String::new(), 0, 0)] }
}

fn fill(
    head: &mut Head,
    random: &mut Random,
    service: &'static str,
    pod: &str,
    profiles: i64,
    rows: &mut Rows,
) {
    let unit = head.unit("cpu", service);
    let stacks: Vec<u32> = (0..STACKS)
        .map(|at| unit.stack(&[location(format!("f{}", at % 7)), location(format!("g{at}"))]))
        .collect();
    let labels = Labels::from_pairs([("__name__", "cpu"), ("service_name", service), ("pod", pod)]);
    let ty = ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned);
    for second in 0..profiles {
        let values: Vec<i64> = (0..STACKS).map(|_| random.below(3_000_000) as i64).collect();
        let mut samples: Vec<(u32, i64)> = stacks.iter().copied().zip(values.iter().copied()).collect();
        samples.sort_unstable();
        let rid = u128::from(random.next());
        let time = DAY_START_NS + second * 1_000_000_000;
        unit.push_row(&labels, (ty.clone(), time, rid, 0, 0, samples, Vec::new(), Vec::new()));
        rows.push((service, pod.to_owned(), second, values));
    }
}

#[test]
fn long_series_and_many_small_ones_answer_exactly() {
    let (mut head, mut random, mut rows) = (Head::default(), Random(9), Rows::new());
    fill(&mut head, &mut random, "a", "long", 2_300, &mut rows);
    for pod in 0..9 {
        fill(&mut head, &mut random, "a", &format!("p{pod}"), 100, &mut rows);
    }
    fill(&mut head, &mut random, "b", "x", 1_300, &mut rows);
    let block = head.write().expect("writes");
    assert_eq!(verify(&block.entry, &block.objects).expect("a good block").profile_rows, rows.len() as u64);
    let reader = open(&block).expect("opens");
    let start = DAY_START_NS / 1_000_000;
    for (text, from, to) in [
        ("{}", 0, 5_000),
        (r#"{service_name="a"}"#, 10, 99),
        (r#"{pod="p3"}"#, 0, 5_000),
        (r#"{pod!="p3"}"#, 0, 5_000),
        (r#"{pod="long"}"#, 1_000, 1_700),
    ] {
        let query = ProfileQuery {
            profile_type: ProfileType::new("cpu", "cpu", "nanoseconds", "cpu", "nanoseconds"),
            selector: Selector::parse(text).expect("valid"),
            range: TimeRange::from_ms(start + from * 1_000, start + to * 1_000),
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        let matches = |(service, pod, second, _): &&(&str, String, i64, Vec<i64>)| {
            let labels = Labels::from_pairs([("service_name", *service), ("pod", pod.as_str())]);
            query.selector.matches(&labels) && (from..=to).contains(second)
        };
        let mut sums: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        let mut total = 0i128;
        for (.., values) in rows.iter().filter(matches) {
            for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
                *sums.entry(vec![format!("f{}", at % 7), format!("g{at}")]).or_default() += value;
                total += i128::from(*value);
            }
        }
        let tree = ask(&reader, &Question::Tree(query.clone())).expect("answers");
        assert_eq!(plain(&tree), Plain::Tree(sums), "{text}");
        let grid = StepGrid::new(start, start + 6_000_000, 6_000_000);
        let points = ask(&reader, &Question::Points { query, group_by: Vec::new(), grid }).expect("answers");
        let Answer::Points(points) = points else { panic!("not points") };
        let all = points
            .groups
            .values()
            .flat_map(|buckets| buckets.iter().map(|(_, bucket)| bucket))
            .map(|bucket| bucket.sum)
            .sum::<i128>();
        assert_eq!(all, total, "{text}");
    }
}
