//! Heads answer as the profiles themselves do, and as the block that is written from them does.

use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use hearth_block::input::UnitSource;
use hearth_block::{BlockReader, BlockSpec, Hidden, SourceRange, WriteOptions, write_block};
use hearth_common::range_read::InMemory;
use hearth_common::{
    CellId, DiskId, Incarnation, InstanceId, JournalId, MemberId, Position, TenantId, TimestampNs,
};
use hearth_model::native::NativeFrame;
use hearth_model::pprof_export::{ExportOptions, export};
use hearth_model::spans::SpanFilter;
use hearth_model::{Counted, Labels, ProfileType, Selector, StepGrid, Tally};
use proptest::prelude::*;

use super::*;
use crate::head::tests::{DAY_NS, NAMES, NATIVE_ADDRESS, Profile, Random, head_of, lines_of, made_up};
use crate::head::{Deleted, SealedUnit};

/// An answer in a form in which equal answers are equal.
#[derive(Debug, PartialEq)]
enum Plain {
    Stacks(BTreeMap<Vec<String>, i64>),
    Other(String),
}

fn plain(answer: &Answer) -> Plain {
    match answer {
        Answer::Tree(tree) => {
            let mut stacks = BTreeMap::new();
            for (at, own) in tree.selfs().iter().enumerate().filter(|(_, own)| **own != 0) {
                let mut node = NodeIdOf(at as u32);
                let mut path = Vec::new();
                while node.0 != 0 {
                    path.push(tree.name(hearth_model::name_tree::NodeId(node.0)).to_owned());
                    node = NodeIdOf(tree.parent(hearth_model::name_tree::NodeId(node.0)).0);
                }
                path.reverse();
                *stacks.entry(path).or_insert(0) += own;
            }
            Plain::Stacks(stacks)
        }
        Answer::Pprof(merge) => {
            let file = export(merge, ExportOptions { go_pgo: None, max_nodes: 0 }).expect("fits");
            let text = |at: u32| file.strings[at as usize].clone();
            let mut stacks = BTreeMap::new();
            for (locations, value) in &file.samples {
                let frame = |at: &u32| {
                    let location = &file.locations[*at as usize];
                    let function = |at: u32| file.functions[at as usize];
                    let lines = location.lines.iter().map(|line| {
                        let f = function(line.function);
                        format!("{}@{}:{}:{}", text(f.name), text(f.file), f.start_line, line.line)
                    });
                    format!("{:?} {}", location.mapping, lines.collect::<Vec<_>>().join(","))
                };
                *stacks.entry(locations.iter().map(frame).collect()).or_insert(0) += value;
            }
            Plain::Stacks(stacks)
        }
        Answer::Tally(tally) => {
            // How many bytes rows take and what they lie in differs.
            let mut tally = tally.clone();
            tally.blocks = 0;
            tally.counted.values_mut().for_each(|counted| counted.bytes = 0);
            Plain::Other(format!("{tally:?}"))
        }
        other => Plain::Other(format!("{other:?}")),
    }
}

struct NodeIdOf(u32);

fn type_of(profile: &Profile, column: usize) -> ProfileType {
    let (ty, unit) = profile.types[column];
    ProfileType::new(profile.name, ty, unit, "cpu", "ns")
}

fn labels_of(profile: &Profile) -> Labels {
    let pairs = [("__name__", profile.name), ("pod", profile.pod), ("service_name", profile.service)];
    Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
}

/// Profile rows that have a value: profile, column, labels as users see them.
fn rows(profiles: &[Profile]) -> Vec<(&Profile, usize, Labels)> {
    let mut rows = Vec::new();
    for profile in profiles {
        for column in 0..profile.types.len() {
            if profile.stacks.iter().any(|(_, values)| values[column] > 0) {
                rows.push((profile, column, labels_of(profile).with_type(&type_of(profile, column))));
            }
        }
    }
    rows
}

/// The stacks of a row that a query selects, with their names.
fn selected_stacks(query: &ProfileQuery, profile: &Profile, column: usize) -> Vec<(Vec<String>, i64)> {
    let names = |stack: usize, native: bool| -> Vec<String> {
        let of_frame = |frame: &usize| match lines_of(*frame)[..] {
            [] if native => {
                vec![NativeFrame { file: "bin", address: NATIVE_ADDRESS, ..NativeFrame::default() }.encode()]
            }
            ref lines => lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        profile.stacks[stack].0.iter().flat_map(of_frame).collect()
    };
    let all: Vec<(usize, i64)> = match &query.spans {
        None => profile.stacks.iter().enumerate().map(|(at, (_, values))| (at, values[column])).collect(),
        Some(filter) => {
            let chosen = profile.spans.iter().filter(|span| filter.selects(span.1, span.2.as_ref()));
            chosen.map(|span| (span.0, span.3[column])).collect()
        }
    };
    let all = all.into_iter().filter(|(stack, value)| {
        // Locations without lines are no part of a call site.
        *value > 0 && names(*stack, false).starts_with(&query.call_site)
    });
    all.map(|(stack, value)| (names(stack, query.native), value)).collect()
}

fn naive(question: &Question, profiles: &[Profile]) -> Answer {
    let range = question.range().unwrap_or(TimeRange::ALL);
    let all = rows(profiles);
    let in_range: Vec<_> =
        all.iter().filter(|(profile, _, _)| range.contains(TimestampNs(profile.time))).collect();
    let any = |matchers: &[Selector], labels: &Labels| {
        matchers.is_empty() || matchers.iter().any(|selector| selector.matches(labels))
    };
    if let Some(query) = question.profile_query() {
        let chosen = in_range.iter().filter(|(profile, column, labels)| {
            type_of(profile, *column) == query.profile_type
                && query.selector.matches(labels)
                && (query.profile_ids.is_empty() || query.profile_ids.contains(&profile.rid))
        });
        let mut tree = NameTree::new();
        let mut points = hearth_model::PointSet::default();
        for (profile, column, labels) in chosen {
            let stacks = selected_stacks(query, profile, *column);
            stacks.iter().for_each(|(path, value)| tree.add_stack(path, *value));
            if let Question::Points { group_by, grid, .. } = question
                && let Some(step) = grid.index_of(TimestampNs(profile.time))
            {
                let group = labels.project(group_by);
                points.add(&group, step, stacks.iter().map(|(_, value)| value).sum());
                let notes = profile.note.iter().map(|note| ("note".to_owned(), (*note).to_owned()));
                points.group(&group).bucket(step).annotations.extend(notes);
            }
        }
        return match question {
            Question::Points { .. } => Answer::Points(points),
            _ => Answer::Tree(tree),
        };
    }
    let labels = in_range.iter().map(|(_, _, labels)| labels);
    match question {
        Question::ProfileTypes { .. } => {
            Answer::ProfileTypes(in_range.iter().map(|(p, column, _)| type_of(p, *column)).collect())
        }
        Question::LabelNames { matchers, .. } => {
            let names = labels.filter(|l| any(matchers, l)).flat_map(|l| l.iter().map(|(n, _)| n.to_owned()));
            Answer::Names(names.collect())
        }
        Question::LabelValues { name, matchers, .. } => {
            let values = labels.filter(|l| any(matchers, l)).filter_map(|l| l.get(name).map(str::to_owned));
            Answer::Names(values.filter(|value| !value.is_empty()).collect())
        }
        Question::Series { matchers, label_names, .. } => {
            let chosen = labels.filter(|l| any(matchers, l));
            let show = |l: &Labels| if label_names.is_empty() { l.clone() } else { l.project(label_names) };
            Answer::Series(chosen.map(show).collect())
        }
        Question::Tally { selector, .. } => {
            let mut tally = Tally::default();
            for (profile, column, _) in in_range.iter().filter(|(_, _, labels)| selector.matches(labels)) {
                let with_values = profile.stacks.iter().filter(|(_, values)| values[*column] > 0);
                let stacks: BTreeSet<_> = with_values.map(|(frames, _)| frames).collect();
                let mut counted = Counted::default();
                counted.add_rows(1, stacks.len() as u64);
                counted.see(TimestampNs(profile.time), TimestampNs(profile.time));
                tally.add(profile.service, &type_of(profile, *column), counted);
            }
            Answer::Tally(tally)
        }
        _ => {
            let times: BTreeSet<i64> = all.iter().map(|(profile, _, _)| profile.time).collect();
            let ends = times.first().zip(times.last());
            let oldest_newest = ends.map(|(a, b)| (TimestampNs(*a), TimestampNs(*b)));
            Answer::Stats(hearth_model::question::Stats { oldest_newest })
        }
    }
}

fn selector(random: &mut Random) -> Selector {
    let texts = [
        "{}",
        r#"{service_name="a"}"#,
        r#"{service_name=""}"#,
        r#"{pod=~"p[12]",service_name!="a"}"#,
        r#"{__profile_type__=~".*cpu.*"}"#,
        r#"{__service_name__="web"}"#,
        r#"{pod="none"}"#,
    ];
    Selector::parse(texts[random.below(texts.len() as u64) as usize]).expect("valid")
}

fn range(random: &mut Random) -> TimeRange {
    let at = |half: u64| TimestampNs(DAY_NS + (half as i64 - 11) * 500_000_000);
    match random.below(2) {
        0 => TimeRange::ALL,
        _ => {
            let (a, b) = (random.below(22), random.below(22));
            TimeRange { start: at(a.min(b)), end: at(a.max(b)) }
        }
    }
}

fn query(random: &mut Random) -> ProfileQuery {
    let types = [("cpu", "ns"), ("samples", "count"), ("space", "bytes")];
    let (ty, unit) = types[random.below(3) as usize];
    let name = NAMES[random.below(2) as usize];
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ProfileQuery {
        profile_type: ProfileType::new(name, ty, unit, "cpu", "ns"),
        selector: selector(random),
        range: range(random),
        call_site: match random.below(4) {
            0 => text(&["main"]),
            1 => text(&["io", "inlined"]),
            _ => Vec::new(),
        },
        spans: match random.below(4) {
            0 => Some(SpanFilter::Spans(vec![1, 3])),
            1 => Some(SpanFilter::Traces(vec![[2; 16]])),
            _ => None,
        },
        profile_ids: if random.below(5) == 0 { vec![3 << 64 | 5, 8 << 64 | 5] } else { Vec::new() },
        native: random.below(2) == 0,
    }
}

fn question(random: &mut Random) -> Question {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let some_range = |random: &mut Random| (random.below(2) == 0).then(|| range(random));
    match random.below(9) {
        0 | 1 => Question::Tree(query(random)),
        2 => {
            let start_ms = DAY_NS / 1_000_000 - 4000;
            let grid = StepGrid::new(start_ms, start_ms + 7000, 1500);
            Question::Points { query: query(random), group_by: names(&["__type__", "pod"]), grid }
        }
        3 => Question::ProfileTypes { range: some_range(random) },
        4 => Question::LabelNames { range: some_range(random), matchers: vec![selector(random)] },
        5 => {
            let name = ["pod", "__type__", "service_name"][random.below(3) as usize].to_owned();
            Question::LabelValues { name, range: some_range(random), matchers: Vec::new() }
        }
        6 => {
            let label_names = if random.below(2) == 0 { Vec::new() } else { names(&["pod", "__unit__"]) };
            Question::Series { range: some_range(random), matchers: vec![selector(random)], label_names }
        }
        7 => Question::Tally { range: range(random), selector: selector(random) },
        _ => Question::Stats,
    }
}

fn journal() -> JournalId {
    let instance = InstanceId(Arc::from("i"));
    let owner = MemberId { instance: instance.clone(), disk: DiskId(1) };
    JournalId { cell: CellId(instance), epoch: 1, owner, incarnation: Incarnation(1) }
}

/// What blocks of the head's admitted rows answer.
fn answer_of_blocks(question: &Question, head: &Arc<Head>, filter: &Filter) -> Answer {
    let views: Vec<UnitView> = head.units().iter().map(|unit| unit.view(true, |_| true)).collect();
    let days = crate::head::days(&views, filter);
    let units: Vec<SealedUnit<'_>> = views.into_iter().map(|view| SealedUnit { view, filter }).collect();
    let sources: Vec<&dyn UnitSource> = units.iter().map(|unit| unit as &dyn UnitSource).collect();
    let mut whole = Answer::empty(question);
    for day in days {
        let range = SourceRange { journal: journal(), after: Position(0), upto: Position(1000) };
        let spec = BlockSpec { tenant: TenantId::anonymous(), day, level: 0, sources: vec![range] };
        let block = write_block(&spec, &sources, &WriteOptions { attempt: "a".to_owned() }).expect("encodes");
        let objects: BTreeMap<String, bytes::Bytes> = block.objects.into_iter().collect();
        let open =
            |name: &str| -> Arc<dyn hearth_common::RangeRead> { Arc::new(InMemory(objects[name].clone())) };
        let reader = block_on(BlockReader::open(Arc::new(block.entry), open)).expect("opens");
        let part = block_on(reader.prepare(question)).expect("reads").run().expect("answers");
        whole.merge(part).expect("same kind");
    }
    whole
}

fn deletion(random: &mut Random) -> Deleted {
    let hidden = Arc::new(Hidden { selector: selector(random), range: range(random) });
    Deleted { hidden, upto: vec![random.below(40), random.below(40)] }
}

/// The profile without values of the types that are deleted of it.
fn without_deleted(profile: &Profile, deleted: &[Deleted]) -> Profile {
    let mut left = profile.clone();
    for column in 0..profile.types.len() {
        let labels = labels_of(profile).with_type(&type_of(profile, column));
        let is_deleted = deleted.iter().any(|Deleted { hidden, upto }| {
            profile.position <= upto[profile.journal as usize]
                && hidden.range.contains(TimestampNs(profile.time))
                && hidden.selector.matches(&labels)
        });
        if is_deleted {
            left.stacks.iter_mut().for_each(|(_, values)| values[column] = 0);
            left.spans.iter_mut().for_each(|(.., values)| values[column] = 0);
        }
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn heads_answer_as_the_profiles_and_as_blocks_do(seed: u64, after in 0u64..12, upto in 0u64..40) {
        let mut random = Random(seed);
        let count = random.below(40) + 1;
        let profiles: Vec<Profile> = (1..=count).map(|position| made_up(&mut random, position)).collect();
        // Two heads one after the other, as around a cut; journal 1 counts as a whole.
        let (one, two) = profiles.split_at(random.below(count) as usize);
        let heads = [head_of(one), head_of(two)];
        let deleted: Vec<Deleted> = (0..random.below(3)).map(|_| deletion(&mut random)).collect();
        let filter = Filter::new(vec![(after, upto), (0, 1000)]).without(deleted.clone());
        let admitted: Vec<Profile> = profiles
            .iter()
            .filter(|p| filter.admits(p.journal, p.position))
            .map(|p| without_deleted(p, &deleted))
            .collect();
        for _ in 0..6 {
            let question = question(&mut random);
            let got = answer(&question, &heads, &filter).expect("fits");
            prop_assert_eq!(plain(&got), plain(&naive(&question, &admitted)), "{:?}", &question);
        }
        let whole = head_of(&profiles);
        whole.seal();
        for question in [question(&mut random), Question::Pprof(query(&mut random))] {
            let got = answer(&question, std::slice::from_ref(&whole), &filter).expect("fits");
            let blocks = answer_of_blocks(&question, &whole, &filter);
            prop_assert_eq!(plain(&got), plain(&blocks), "{:?}", &question);
        }
    }
}

#[test]
fn sums_that_do_not_fit_are_refused() {
    let mut random = Random(3);
    let mut profile = made_up(&mut random, 1);
    profile.types = crate::head::tests::TYPE_SETS[0];
    profile.spans.clear();
    profile.stacks = vec![(vec![0], vec![i64::MAX - 1]), (vec![1], vec![5])];
    let head = head_of(std::slice::from_ref(&profile));
    let query = ProfileQuery {
        profile_type: type_of(&profile, 0),
        selector: Selector::default(),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    };
    let filter = Filter::new(vec![(0, 10), (0, 10)]);
    let grid = StepGrid::new(DAY_NS / 1_000_000 - 10_000, DAY_NS / 1_000_000 + 10_000, 1000);
    for question in [
        Question::Tree(query.clone()),
        Question::Pprof(query.clone()),
        Question::Points { query, group_by: Vec::new(), grid },
    ] {
        let got = answer(&question, std::slice::from_ref(&head), &filter);
        assert_eq!(got.map(drop), Err(AnswerError::Overflow));
    }
}
