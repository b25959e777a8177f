use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::name_tree::NodeId;
use crate::pprof_merge::MappingKey;

fn frame() -> impl Strategy<Value = (String, String, [u64; 4])> {
    ("\\PC{0,12}", "\\PC{0,12}", any::<[u64; 4]>())
}

fn native<'a>((build_id, file, numbers): &'a (String, String, [u64; 4])) -> NativeFrame<'a> {
    let [start, limit, offset, address] = *numbers;
    NativeFrame { build_id, file, start, limit, offset, address }
}

fn named(name: &str) -> NamedFrame {
    NamedFrame { function: name.into(), ..NamedFrame::default() }
}

/// A frame at a small address of one program.
fn at(address: u64) -> NativeFrame<'static> {
    NativeFrame { build_id: "abcd", file: "/usr/lib/libx.so.1", address, ..NativeFrame::default() }
}

/// Addresses 0-2 are known: 0 as `a`, 1 as `b` inlined into `a`, 2 as `a`, too.
fn find<'f>(known: &'f BTreeMap<u64, Vec<NamedFrame>>, frame: &NativeFrame<'_>) -> Option<&'f [NamedFrame]> {
    known.get(&frame.address).map(Vec::as_slice)
}

fn known() -> BTreeMap<u64, Vec<NamedFrame>> {
    [(0, vec![named("a")]), (1, vec![named("b"), named("a")]), (2, vec![named("a")]), (3, Vec::new())].into()
}

/// A stack of names: small numbers are native frames, the rest functions.
fn stack(frames: &[u64]) -> Vec<String> {
    frames.iter().map(|n| if *n < 6 { at(*n).encode() } else { format!("f{n}") }).collect()
}

/// What a stack is to become.
fn expected(frames: &[u64]) -> Vec<String> {
    let place = |n: &u64| match n {
        0 | 2 => vec!["a".to_owned()],
        1 => vec!["a".to_owned(), "b".to_owned()],
        3..6 => vec![format!("libx.so.1!0x{n:x}")],
        _ => vec![format!("f{n}")],
    };
    frames.iter().flat_map(place).collect()
}

fn stacks_of(tree: &NameTree) -> BTreeMap<Vec<String>, i64> {
    let mut found = BTreeMap::new();
    for (at, value) in tree.selfs().iter().enumerate().filter(|(_, value)| **value != 0) {
        let mut path = Vec::new();
        let mut node = NodeId(at as u32);
        while node != NameTree::ROOT {
            path.push(tree.name(node).to_owned());
            node = tree.parent(node);
        }
        path.reverse();
        *found.entry(path).or_default() += value;
    }
    found
}

proptest! {
    #[test]
    fn every_frame_is_read_back(frame in frame()) {
        let frame = native(&frame);
        let name = frame.encode();
        prop_assert_eq!(NativeFrame::decode(&name), Some(frame));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}", bytes in 0usize..60) {
        let _ = NativeFrame::decode(&text);
        let _ = NativeFrame::decode(&format!("{PREFIX}{text}"));
        let plain = text.trim_start_matches('\u{1}');
        prop_assert!(NativeFrame::decode(plain).is_none());
        let whole = NativeFrame { build_id: &text, file: "ä", ..at(7) }.encode();
        let cut: String = whole.chars().take(bytes).collect();
        let _ = NativeFrame::decode(&cut);
    }

    /// Whatever the stacks, and in whatever order they came: each value is where its names are, and the sum is the same.
    #[test]
    fn names_move_values_and_lose_none(
        stacks in prop::collection::vec((prop::collection::vec(0u64..9, 1..6), 1i64..1000), 0..20),
    ) {
        let known = known();
        let (mut one, mut other) = (NameTree::new(), NameTree::new());
        stacks.iter().for_each(|(frames, value)| one.add_stack(&stack(frames), *value));
        stacks.iter().rev().for_each(|(frames, value)| other.add_stack(&stack(frames), *value));
        let (done, reversed) = (name_tree(&one, |f| find(&known, f)), name_tree(&other, |f| find(&known, f)));
        let mut want: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        stacks.iter().for_each(|(frames, value)| *want.entry(expected(frames)).or_default() += value);
        prop_assert_eq!(done.checked_total(), one.checked_total());
        prop_assert_eq!(&stacks_of(&done), &want);
        prop_assert_eq!(&stacks_of(&reversed), &want);
        // Named before or after they are merged: the same.
        let half = stacks.len() / 2;
        let (mut first, mut rest) = (NameTree::new(), NameTree::new());
        stacks[..half].iter().for_each(|(frames, value)| first.add_stack(&stack(frames), *value));
        stacks[half..].iter().for_each(|(frames, value)| rest.add_stack(&stack(frames), *value));
        let mut joined = name_tree(&first, |f| find(&known, f));
        joined.merge(&name_tree(&rest, |f| find(&known, f))).expect("small");
        prop_assert_eq!(&stacks_of(&joined), &want);
    }
}

#[test]
fn a_tree_without_native_frames_stays_as_it_is() {
    let mut tree = NameTree::new();
    tree.add_stack(&["main", "work"], 3);
    assert_eq!(frames_of_tree(&tree).count(), 0);
    assert_eq!(stacks_of(&name_tree(&tree, |_| None)), stacks_of(&tree));
}

#[test]
fn stand_ins_have_the_base_name() {
    let name = |file: &'static str| NativeFrame { file, ..at(0x1a) }.stand_in();
    assert_eq!(name("/usr/bin/shop"), "shop!0x1a");
    assert_eq!(name("shop"), "shop!0x1a");
    assert_eq!(name("C:\\bin\\shop.exe"), "shop.exe!0x1a");
    assert_eq!(name(""), "unknown!0x1a");
    assert_eq!(name("/"), "unknown!0x1a");
}

/// Three stacks: main→native 1, main→native 3, native 2 alone.
fn merge() -> PprofMerge {
    let mut merge = PprofMerge::new();
    let (file, build_id) = (merge.string("/usr/lib/libx.so.1"), merge.string("abcd"));
    let mapping = merge.mapping(MappingKey { file, build_id, start: 0x1000, limit: 0x2000, offset: 0 });
    let name = merge.string("main");
    let function = merge.function(FunctionKey { name, ..FunctionKey::default() });
    let main = merge.location(None, 0, &[LineKey { function, line: 7 }]);
    let native = [1, 3, 2].map(|address| merge.location(Some(mapping), address, &[]));
    let root = merge.child(PprofMerge::ROOT, main);
    for (parent, location, value) in
        [(root, native[0], 10), (root, native[1], 20), (PprofMerge::ROOT, native[2], 40)]
    {
        let node = merge.child(parent, location);
        merge.add(node, value);
    }
    merge
}

/// Names of each stack with a value, root first, with the line of each.
fn lines_of(merge: &PprofMerge) -> BTreeMap<Vec<(String, i64)>, i64> {
    let mut found = BTreeMap::new();
    for (at, value) in merge.values.iter().enumerate().filter(|(_, value)| **value != 0) {
        let mut path = Vec::new();
        let mut node = at;
        while node != 0 {
            let (parent, location) = merge.nodes[node];
            for line in &merge.locations.rows[location as usize].lines {
                let function = merge.functions.rows[line.function as usize];
                path.push((merge.text(function.name).to_owned(), line.line));
            }
            node = parent as usize;
        }
        path.reverse();
        *found.entry(path).or_default() += value;
    }
    found
}

#[test]
fn locations_of_a_merge_get_lines_and_keep_the_rest() {
    let merge = merge();
    assert_eq!(frames_of_pprof(&merge).map(|frame| frame.address).collect::<Vec<_>>(), [1, 3, 2]);
    let mut known = known();
    known.insert(1, vec![NamedFrame { line: 5, ..named("b") }, NamedFrame { line: 6, ..named("a") }]);
    let done = name_pprof(&merge, &[], |frame| find(&known, frame)).expect("small");
    let line = |name: &str, line| (name.to_owned(), line);
    let want: BTreeMap<_, _> = [
        (vec![line("main", 7), line("a", 6), line("b", 5)], 10),
        (vec![line("main", 7), line("libx.so.1!0x3", 0)], 20),
        (vec![line("a", 0)], 40),
    ]
    .into();
    assert_eq!(lines_of(&done), want);
    assert_eq!(done.checked_total(), Ok(70));
    assert_eq!(frames_of_pprof(&done).count(), 0);
    let addresses: Vec<u64> = done.locations.rows.iter().map(|location| location.address).collect();
    assert_eq!(addresses, [0, 1, 3, 2]);
}

#[test]
fn a_call_site_may_go_through_native_frames() {
    let (merge, known) = (merge(), known());
    let under = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        name_pprof(&merge, &names, |frame| find(&known, frame)).expect("small").checked_total()
    };
    assert_eq!(under(&["main"]), Ok(30));
    assert_eq!(under(&["main", "a"]), Ok(10));
    assert_eq!(under(&["main", "a", "b"]), Ok(10));
    assert_eq!(under(&["a"]), Ok(40));
    assert_eq!(under(&["b"]), Ok(0));
}
