//! Flame graphs as Grafana reads them: rows of 4-tuples with delta-coded offsets (api-semantics §2.7, §2.8).

use crate::layout::{Children, NameTable, Shape, threshold};
use crate::name_tree::NameTree;
use crate::question::AnswerError;

/// A rendered flame graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlameGraph {
    /// Names by index; 0 is `total`.
    pub names: Vec<String>,
    /// For each depth a flat list of `[offset − end of the previous bar, total, self, name]`.
    pub levels: Vec<Vec<i64>>,
    /// Sum of all values.
    pub total: i64,
    /// Largest own value of a bar.
    pub max_self: i64,
}

/// A bar to be drawn: a node, or the stand-in for siblings left out.
#[derive(Debug, Clone, Copy)]
struct Bar {
    node: Option<u32>,
    x: i64,
    total: i64,
    own: i64,
    name: u32,
}

/// How often a tree is cut before it is drawn, which cuts once more.
const CUTS_BEFORE: u32 = 3;

/// Renders a tree; at most about `max_nodes` bars (≤ 0: all), the rest summed into siblings named `other`.
pub fn render(tree: &NameTree, max_nodes: i64) -> Result<FlameGraph, AnswerError> {
    let total = tree.checked_total()?;
    let shape = Shape::cut(tree, max_nodes, CUTS_BEFORE);
    let totals = &shape.totals;
    let least = threshold(totals[1..].iter().copied(), max_nodes).max(1);
    // Siblings named `other` come from an earlier cut: they are folded into the stand-in.
    let children = Children::new(&shape, |at| totals[at] >= least && !shape.is_other(at));
    let rest = left_out(&shape, &children);
    let mut names = NameTable::new(&shape, &children, |at| rest[at] > 0);
    let mut levels = vec![vec![0, total, 0, 0]];
    let mut max_self = 0;
    let mut row = vec![Bar { node: Some(0), x: 0, total, own: shape.selfs[0], name: 0 }];
    while !row.is_empty() {
        let mut next = Vec::with_capacity(row.len() * 2);
        for bar in &row {
            let Some(node) = bar.node else { continue };
            let mut x = bar.x + bar.own;
            for &child in children.of(node as usize) {
                let at = child as usize;
                let (total, own, name) = (totals[at], shape.selfs[at], names.of_node[at]);
                next.push(Bar { node: Some(child), x, total, own, name });
                x += total;
            }
            let left = rest[node as usize];
            if left > 0 {
                next.push(Bar { node: None, x, total: left, own: left, name: names.other() });
            }
        }
        if !next.is_empty() {
            levels.push(encode(&next));
            max_self = next.iter().map(|bar| bar.own).fold(max_self, i64::max);
        }
        row = next;
    }
    Ok(FlameGraph { names: names.names, levels, total, max_self })
}

/// By node: the sum of its children that are not drawn.
fn left_out(shape: &Shape<'_>, children: &Children) -> Vec<i64> {
    let shown = |at: usize| children.of(at).iter().map(|child| shape.totals[*child as usize]).sum::<i64>();
    (0..shape.len()).map(|at| shape.totals[at] - shape.selfs[at] - shown(at)).collect()
}

fn encode(row: &[Bar]) -> Vec<i64> {
    let mut values = Vec::with_capacity(row.len() * 4);
    let mut end = 0;
    for bar in row {
        values.extend([bar.x - end, bar.total, bar.own, i64::from(bar.name)]);
        end = bar.x + bar.total;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> NameTree {
        let mut tree = NameTree::new();
        tree.add_stack(&["main", "a"], 3);
        tree.add_stack(&["main", "b", "c"], 5);
        tree.add_stack(&["main", "b"], 1);
        tree.add_stack(&["zeta"], 1);
        tree
    }

    #[test]
    fn the_worked_example_of_the_reference() {
        let graph = render(&example(), 0).expect("small");
        assert_eq!(graph.names, ["total", "zeta", "main", "b", "c", "a"]);
        assert_eq!(
            graph.levels,
            [vec![0, 10, 0, 0], vec![0, 9, 0, 2, 0, 1, 1, 1], vec![0, 3, 3, 5, 0, 6, 1, 3], vec![4, 5, 5, 4],]
        );
        assert_eq!((graph.total, graph.max_self), (10, 5));
    }

    #[test]
    fn nothing_is_one_row_named_total() {
        let graph = render(&NameTree::new(), 8192).expect("empty");
        assert_eq!((graph.names, graph.levels), (vec!["total".to_owned()], vec![vec![0, 0, 0, 0]]));
    }

    #[test]
    fn ties_at_the_threshold_stay() {
        let mut tree = NameTree::new();
        for (name, value) in [("a", 60), ("b", 40), ("c", 40), ("d", 5), ("e", 5)] {
            tree.add_stack(&[name], value);
        }
        for max_nodes in [2, 3] {
            let graph = render(&tree, max_nodes).expect("small");
            let shown: Vec<&str> =
                graph.levels[1].chunks(4).map(|t| graph.names[t[3] as usize].as_str()).collect();
            assert_eq!(shown, ["a", "b", "c", "other"]);
            assert_eq!(graph.levels[1][12..15], [0, 10, 10]);
        }
    }

    #[test]
    fn sums_beyond_63_bits_are_an_error() {
        let mut tree = NameTree::new();
        tree.add_stack(&["a"], i64::MAX);
        tree.add_stack(&["a"], 1);
        assert_eq!(render(&tree, 0), Err(AnswerError::Overflow));
    }
}
