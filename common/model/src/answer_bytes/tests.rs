//! Properties of the bytes of answers.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::labels::Labels;
use crate::name_tree::{NameTree, NodeId};
use crate::points::PointSet;
use crate::pprof_merge::{FunctionKey, LineKey, MappingKey, PprofMerge};
use crate::profile_type::ProfileType;
use crate::tally::{Counted, Tally};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-d]{0,2}", "\\PC{0,6}"]
}

fn value() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), 1..100i64, 0..i64::MAX / 64]
}

fn tree() -> impl Strategy<Value = NameTree> {
    vec((vec(text(), 0..6), value()), 0..24).prop_map(|stacks| {
        let mut tree = NameTree::new();
        stacks.iter().for_each(|(stack, value)| tree.add_stack(stack, *value));
        tree
    })
}

prop_compose! {
    fn merge()(
        strings in vec(text(), 1..8),
        mappings in vec((0..8usize, 0..8usize, any::<u64>()), 1..4),
        functions in vec((0..8usize, 0..8usize, 0..8usize, any::<i64>()), 1..6),
        locations in vec((0..5usize, any::<u64>(), vec((0..6usize, any::<i64>()), 0..3)), 1..8),
        stacks in vec((vec(0..8usize, 0..6), value()), 0..24),
    ) -> PprofMerge {
        let mut merge = PprofMerge::new();
        let strings: Vec<u32> = strings.iter().map(|text| merge.string(text)).collect();
        let text = |at: usize| strings[at % strings.len()];
        let mappings: Vec<u32> = mappings.into_iter().map(|(file, build_id, start)| {
            let key = MappingKey { file: text(file), build_id: text(build_id), start, limit: !start, offset: start / 3 };
            merge.mapping(key)
        }).collect();
        let functions: Vec<u32> = functions.into_iter().map(|(name, system, file, start_line)| {
            let key = FunctionKey { name: text(name), system_name: text(system), file: text(file), start_line };
            merge.function(key)
        }).collect();
        let locations: Vec<u32> = locations.into_iter().map(|(mapping, address, lines)| {
            let lines: Vec<LineKey> = lines.into_iter()
                .map(|(function, line)| LineKey { function: functions[function % functions.len()], line })
                .collect();
            merge.location(mapping.checked_sub(1).map(|at| mappings[at % mappings.len()]), address, &lines)
        }).collect();
        for (stack, value) in stacks {
            let node = stack.into_iter()
                .fold(PprofMerge::ROOT, |node, at| merge.child(node, locations[at % locations.len()]));
            merge.add(node, value);
        }
        merge
    }
}

fn labels() -> impl Strategy<Value = Labels> {
    vec((text(), text()), 0..4).prop_map(Labels::from_pairs)
}

fn points() -> impl Strategy<Value = PointSet> {
    let annotations = vec((text(), text()), 0..2);
    vec((labels(), any::<u32>(), any::<i64>(), annotations), 0..12).prop_map(|points| {
        let mut set = PointSet::default();
        for (group, index, total, annotations) in points {
            set.add(&group, index, total);
            let bucket = set.group(&group).bucket(index);
            bucket.annotations.extend(annotations);
            bucket.sum *= 1 << 40;
        }
        set
    })
}

fn profile_type() -> impl Strategy<Value = ProfileType> {
    (text(), text(), text(), text(), text()).prop_map(|(a, b, c, d, e)| ProfileType::new(&a, &b, &c, &d, &e))
}

fn stats() -> impl Strategy<Value = Stats> {
    proptest::option::of((any::<i64>(), any::<i64>()))
        .prop_map(|times| Stats { oldest_newest: times.map(|(a, b)| (TimestampNs(a), TimestampNs(b))) })
}

fn estimates() -> impl Strategy<Value = Estimate> {
    any::<[u32; 7]>().prop_map(|[a, b, c, d, e, f, g]| Estimate {
        blocks: a.into(),
        series: b.into(),
        profiles: c.into(),
        samples: d.into(),
        index_bytes: e.into(),
        profile_bytes: f.into(),
        symbol_bytes: g.into(),
    })
}

fn tally() -> impl Strategy<Value = Tally> {
    let counted = (any::<[u32; 3]>(), stats()).prop_map(|([a, b, c], Stats { oldest_newest })| Counted {
        profiles: a.into(),
        samples: b.into(),
        bytes: c.into(),
        oldest_newest,
    });
    let counted = proptest::collection::btree_map((text(), profile_type()), counted, 0..6);
    (any::<u32>(), counted).prop_map(|(blocks, counted)| Tally { blocks: blocks.into(), counted })
}

/// Two answers to one question.
fn pair() -> impl Strategy<Value = (Answer, Answer)> {
    prop_oneof![
        (tree(), tree()).prop_map(|(a, b)| (Answer::Tree(a), Answer::Tree(b))),
        (merge(), merge()).prop_map(|(a, b)| (Answer::Pprof(a), Answer::Pprof(b))),
        (points(), points()).prop_map(|(a, b)| (Answer::Points(a), Answer::Points(b))),
        (btree_set(profile_type(), 0..5), btree_set(profile_type(), 0..5))
            .prop_map(|(a, b)| (Answer::ProfileTypes(a), Answer::ProfileTypes(b))),
        (btree_set(text(), 0..9), btree_set(text(), 0..9))
            .prop_map(|(a, b)| (Answer::Names(a), Answer::Names(b))),
        (btree_set(labels(), 0..9), btree_set(labels(), 0..9))
            .prop_map(|(a, b)| (Answer::Series(a), Answer::Series(b))),
        (stats(), stats()).prop_map(|(a, b)| (Answer::Stats(a), Answer::Stats(b))),
        (estimates(), estimates()).prop_map(|(a, b)| (Answer::Estimate(a), Answer::Estimate(b))),
        (tally(), tally()).prop_map(|(a, b)| (Answer::Tally(a), Answer::Tally(b))),
    ]
}

/// Everything in an answer, whatever the order of nodes and tables.
fn content(answer: &Answer) -> String {
    match answer {
        Answer::Tree(tree) => {
            let path = |node: usize| {
                let mut names = Vec::new();
                let mut at = NodeId(node as u32);
                while at != NameTree::ROOT {
                    names.push(tree.name(at));
                    at = tree.parent(at);
                }
                names
            };
            let mut nodes: Vec<_> = (0..tree.len()).map(|node| (path(node), tree.selfs()[node])).collect();
            nodes.sort();
            format!("{nodes:?} {:?}", tree.checked_total())
        }
        Answer::Pprof(merge) => {
            let location = |id: u32| {
                let location = &merge.locations.rows[id as usize];
                let mapping = location.mapping.map(|id| {
                    let m = merge.mappings.rows[id as usize];
                    (merge.text(m.file), merge.text(m.build_id), m.start, m.limit, m.offset)
                });
                let lines = location.lines.iter().map(|line| {
                    let f = merge.functions.rows[line.function as usize];
                    (
                        merge.text(f.name),
                        merge.text(f.system_name),
                        merge.text(f.file),
                        f.start_line,
                        line.line,
                    )
                });
                (mapping, location.address, lines.collect::<Vec<_>>())
            };
            let path = |mut node: u32| {
                let mut locations = Vec::new();
                while node != PprofMerge::ROOT {
                    let (parent, at) = merge.nodes[node as usize];
                    locations.push(location(at));
                    node = parent;
                }
                locations
            };
            let mut nodes: Vec<_> =
                (0..merge.len()).map(|node| (path(node as u32), merge.values[node])).collect();
            nodes.sort();
            format!("{nodes:?} {:?}", merge.checked_total())
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_was_encoded((one, two) in pair()) {
        let bytes = encode(&one).expect("sums fit");
        let again = decode(&bytes).expect("valid");
        prop_assert_eq!(content(&one), content(&again));
        // Merging what came over the wire gives what merging at home would give.
        let mut home = one;
        home.merge(two.clone()).expect("one kind");
        let mut wire = again;
        wire.merge(decode(&encode(&two).expect("sums fit")).expect("valid")).expect("one kind");
        prop_assert_eq!(content(&home), content(&wire));
    }

    #[test]
    fn damaged_bytes_give_an_error_or_an_answer_no_larger_than_they_are(
        (answer, _) in pair(),
        cut in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = encode(&answer).expect("sums fit");
        let whole = bytes.len();
        let cut = cut.index(whole);
        prop_assert!(decode(&bytes[..cut]).is_err(), "cut at {} of {}", cut, whole);
        for (at, mask) in flips {
            let at = at.index(whole);
            bytes[at] ^= mask;
        }
        if let Ok(answer) = decode(&bytes) {
            let things = match &answer {
                Answer::Tree(tree) => tree.len() - 1,
                Answer::Pprof(merge) => merge.len() - 1 + merge.locations.rows.len(),
                Answer::Points(points) => points.groups.len(),
                Answer::ProfileTypes(types) => types.len(),
                Answer::Names(names) => names.len(),
                Answer::Series(series) => series.len(),
                Answer::Tally(tally) => tally.counted.len(),
                Answer::Stats(_) | Answer::Estimate(_) => 0,
            };
            prop_assert!(things <= whole);
        }
    }

    #[test]
    fn any_bytes_are_survived(kind in 0..10u8, mut bytes in vec(any::<u8>(), 0..200)) {
        bytes.splice(0..0, [VERSION, kind]);
        if let Ok(answer) = decode(&bytes) {
            prop_assert!(encode(&answer).is_ok() || matches!(answer, Answer::Tree(_) | Answer::Pprof(_)));
        }
    }
}

#[test]
fn claimed_counts_make_no_room_without_bytes_behind_them() {
    for kind in [TREE, PPROF, POINTS, PROFILE_TYPES, NAMES, SERIES, TALLY] {
        let mut out = Writer::default();
        out.byte(VERSION);
        out.byte(kind);
        out.uint(u64::from(u32::MAX));
        assert!(decode(&out.bytes).is_err(), "kind {kind}");
    }
}

#[test]
fn stacks_are_as_deep_as_the_limit_and_no_deeper() {
    let deep = |depth: usize| {
        let mut tree = NameTree::new();
        let name = tree.intern("f");
        let leaf = (0..depth).fold(NameTree::ROOT, |node, _| tree.child(node, name));
        tree.add_self(leaf, 1);
        encode(&Answer::Tree(tree))
    };
    let bytes = deep(DEPTH_MAX).expect("allowed");
    assert!(matches!(decode(&bytes), Ok(Answer::Tree(tree)) if tree.len() == DEPTH_MAX + 1));
    assert_eq!(deep(DEPTH_MAX + 1), Err(EncodeError::Depth));
}

#[test]
fn a_sum_that_does_not_fit_is_not_sent() {
    let mut tree = NameTree::new();
    tree.add_stack(&["a"], i64::MAX);
    tree.add_stack(&["b"], i64::MAX);
    assert_eq!(encode(&Answer::Tree(tree)), Err(EncodeError::Answer(AnswerError::Overflow)));
}
