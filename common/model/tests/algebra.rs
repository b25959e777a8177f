//! Merging is a commutative monoid, and no rendering loses or makes up a value.

use hearth_model::pprof_export::{ExportOptions, export};
use hearth_model::{NameTree, PprofMerge, diff, flamegraph, tree_bytes};
use proptest::prelude::*;

type Stacks = Vec<(Vec<u8>, i64)>;

fn stacks() -> impl Strategy<Value = Stacks> {
    prop::collection::vec((prop::collection::vec(0u8..6, 0..7), 1i64..1000), 0..60)
}

fn tree(stacks: &Stacks) -> NameTree {
    let mut tree = NameTree::new();
    for (stack, value) in stacks {
        let names: Vec<String> = stack.iter().map(|n| format!("f{n}")).collect();
        tree.add_stack(&names, *value);
    }
    tree
}

fn merged(parts: &[&NameTree]) -> NameTree {
    let mut all = NameTree::new();
    for part in parts {
        all.merge(part).expect("small");
    }
    all
}

fn drawn(tree: &NameTree) -> flamegraph::FlameGraph {
    flamegraph::render(tree, 0).expect("small")
}

fn pprof(stacks: &Stacks) -> PprofMerge {
    let mut merge = PprofMerge::new();
    for (stack, value) in stacks {
        let mut node = PprofMerge::ROOT;
        for frame in stack {
            let name = merge.string(&format!("f{frame}"));
            let function =
                merge.function(hearth_model::pprof_merge::FunctionKey { name, ..Default::default() });
            let line = hearth_model::pprof_merge::LineKey { function, line: i64::from(*frame) };
            let location = merge.location(None, 0, &[line]);
            node = merge.child(node, location);
        }
        merge.add(node, *value);
    }
    merge
}

fn selfs(levels: &[Vec<i64>]) -> i64 {
    levels.iter().flat_map(|level| level.chunks(4)).map(|bar| bar[2]).sum()
}

proptest! {
    #[test]
    fn trees_merge_in_any_order_and_grouping(a in stacks(), b in stacks(), c in stacks()) {
        let (a, b, c) = (tree(&a), tree(&b), tree(&c));
        let want = drawn(&merged(&[&a, &b, &c]));
        prop_assert_eq!(&want, &drawn(&merged(&[&c, &merged(&[&b, &a])])));
        prop_assert_eq!(&drawn(&a), &drawn(&merged(&[&NameTree::new(), &a, &NameTree::new()])));
    }

    #[test]
    fn any_truncation_keeps_the_total(stacks in stacks(), max_nodes in 0i64..40) {
        let tree = tree(&stacks);
        // The value of the empty stack is nowhere in a tree.
        let total: i64 = stacks.iter().filter(|(stack, _)| !stack.is_empty()).map(|(_, value)| value).sum();
        let graph = flamegraph::render(&tree, max_nodes).expect("small");
        prop_assert_eq!(graph.total, total);
        prop_assert_eq!(selfs(&graph.levels), total);
        let bytes = tree_bytes::encode(&tree, max_nodes).expect("small");
        let back = tree_bytes::decode(&bytes).expect("what was encoded");
        prop_assert_eq!(back.checked_total(), Ok(total));
    }

    #[test]
    fn tree_bytes_come_back(stacks in stacks()) {
        let tree = tree(&stacks);
        let back = tree_bytes::decode(&tree_bytes::encode(&tree, 0).expect("small")).expect("what was encoded");
        prop_assert_eq!(drawn(&tree), drawn(&back));
    }

    #[test]
    fn damaged_tree_bytes_are_refused_or_read(stacks in stacks(), at in 0usize..400, flip in 1u8..255) {
        let mut bytes = tree_bytes::encode(&tree(&stacks), 0).expect("small");
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= flip;
        }
        let _ = tree_bytes::decode(&bytes);
    }

    #[test]
    fn a_diff_has_each_side_as_it_is_alone(a in stacks(), b in stacks()) {
        let (left, right) = (tree(&a), tree(&b));
        let both = diff::render(&left, &right, 0).expect("small");
        let mirrored = diff::render(&right, &left, 0).expect("small");
        prop_assert_eq!(both.left_ticks, drawn(&left).total);
        prop_assert_eq!((both.left_ticks, both.right_ticks), (mirrored.right_ticks, mirrored.left_ticks));
        let bars = |levels: &[Vec<i64>]| levels.iter().map(Vec::len).collect::<Vec<_>>();
        prop_assert_eq!(bars(&both.levels), bars(&mirrored.levels));
    }

    #[test]
    fn pprofs_merge_in_any_order_and_keep_their_total(a in stacks(), b in stacks(), max_nodes in 0i64..20) {
        let sum = |x: &Stacks, y: &Stacks| {
            let mut merge = pprof(x);
            merge.merge(&pprof(y)).expect("small");
            merge
        };
        let options = ExportOptions { go_pgo: None, max_nodes };
        let file = export(&sum(&a, &b), options).expect("small");
        let other = export(&sum(&b, &a), options).expect("small");
        let total: i64 = a.iter().chain(&b).map(|(_, value)| value).sum();
        prop_assert_eq!(file.samples.iter().map(|(_, value)| value).sum::<i64>(), total);
        prop_assert_eq!(other.samples.len(), file.samples.len());
    }

    #[test]
    fn a_call_site_keeps_the_way_and_only_its_subtree(stacks in stacks(), path in prop::collection::vec(0u8..6, 0..4)) {
        let names: Vec<String> = path.iter().map(|n| format!("f{n}")).collect();
        let want: Stacks = stacks.iter().filter(|(stack, _)| stack.starts_with(&path)).cloned().collect();
        prop_assert_eq!(drawn(&tree(&stacks).under(&names)), drawn(&tree(&want)));
    }
}
