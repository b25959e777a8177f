//! Two trees side by side: rows of 7-tuples (api-semantics §2.13).

use crate::layout::{Children, NameTable, Shape, threshold};
use crate::name_tree::NameTree;
use crate::question::AnswerError;

/// A rendered comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlameGraphDiff {
    /// Names by index; 0 is `total`.
    pub names: Vec<String>,
    /// For each depth `[left offset, left total, left self, right offset, right total, right self, name]`.
    pub levels: Vec<Vec<i64>>,
    /// Both sums together.
    pub total: i64,
    /// Largest own value on either side.
    pub max_self: i64,
    /// Sum of the left side.
    pub left_ticks: i64,
    /// Sum of the right side.
    pub right_ticks: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Side {
    x: i64,
    total: i64,
    own: i64,
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    node: Option<u32>,
    sides: [Side; 2],
    name: u32,
}

/// The union of two trees by names, with each side's values by node.
struct Union {
    tree: NameTree,
    selfs: [Vec<i64>; 2],
    totals: [Vec<i64>; 2],
}

impl Union {
    fn new(sides: [&Shape<'_>; 2]) -> Self {
        let mut tree = NameTree::new();
        let places = sides.map(|side| {
            let mut places = vec![NameTree::ROOT; side.len()];
            for at in 1..side.len() {
                let name = tree.intern(side.name(at));
                places[at] = tree.child(places[side.parents[at] as usize], name);
            }
            places
        });
        let spread = |which: usize, values: &[i64]| {
            let mut spread = vec![0; tree.len()];
            for (place, value) in places[which].iter().zip(values) {
                spread[place.0 as usize] = *value;
            }
            spread
        };
        let selfs = [0, 1].map(|which| spread(which, &sides[which].selfs));
        let totals = [0, 1].map(|which| spread(which, &sides[which].totals));
        Self { tree, selfs, totals }
    }

    fn largest(&self, at: usize) -> i64 {
        self.totals[0][at].max(self.totals[1][at])
    }

    /// What is not drawn of a node's children, by side.
    fn left_out(&self, at: usize, children: &Children) -> [i64; 2] {
        [0, 1].map(|which| {
            let shown: i64 = children.of(at).iter().map(|c| self.totals[which][*c as usize]).sum();
            self.totals[which][at] - self.selfs[which][at] - shown
        })
    }
}

/// How often each side is cut (see `Shape::cut`) before both are cut together.
const CUTS_BEFORE: u32 = 3;

/// Renders a comparison; a node stays when either side reaches the threshold.
pub fn render(left: &NameTree, right: &NameTree, max_nodes: i64) -> Result<FlameGraphDiff, AnswerError> {
    let (left_ticks, right_ticks) = (left.checked_total()?, right.checked_total()?);
    let total = left_ticks.checked_add(right_ticks).ok_or(AnswerError::Overflow)?;
    let [left, right] = [left, right].map(|side| Shape::cut(side, max_nodes, CUTS_BEFORE));
    let union = Union::new([&left, &right]);
    // Here, unlike in a flame graph, the reference counts the root as a node.
    let totals: Vec<i64> = (0..union.tree.len()).map(|at| union.largest(at)).collect();
    let least = threshold(totals.into_iter(), max_nodes).max(1);
    let shape = Shape::of(&union.tree);
    let children = Children::new(&shape, |at| union.largest(at) >= least);
    let leaves_out = |at: usize| union.left_out(at, &children).iter().any(|value| *value > 0);
    let mut names = NameTable::new(&shape, &children, leaves_out);
    let side = |which: usize, total| Side { x: 0, total, own: union.selfs[which][0] };
    let mut levels = vec![vec![0, left_ticks, 0, 0, right_ticks, 0, 0]];
    let mut max_self = 0;
    let mut row = vec![Bar { node: Some(0), sides: [side(0, left_ticks), side(1, right_ticks)], name: 0 }];
    while !row.is_empty() {
        let next: Vec<Bar> = row.iter().flat_map(|bar| below(bar, &union, &children, &mut names)).collect();
        if !next.is_empty() {
            levels.push(encode(&next));
            max_self = next.iter().flat_map(|bar| bar.sides).map(|side| side.own).fold(max_self, i64::max);
        }
        row = next;
    }
    Ok(FlameGraphDiff { names: names.names, levels, total, max_self, left_ticks, right_ticks })
}

fn below(bar: &Bar, union: &Union, children: &Children, names: &mut NameTable) -> Vec<Bar> {
    let Some(node) = bar.node else { return Vec::new() };
    let mut x = bar.sides.map(|side| side.x + side.own);
    let mut bars = Vec::new();
    for &child in children.of(node as usize) {
        let at = child as usize;
        let mut sides = [Side::default(); 2];
        for (which, side) in sides.iter_mut().enumerate() {
            *side = Side { x: x[which], total: union.totals[which][at], own: union.selfs[which][at] };
            x[which] += side.total;
        }
        bars.push(Bar { node: Some(child), sides, name: names.of_node[at] });
    }
    let left_out = union.left_out(node as usize, children);
    if left_out.iter().any(|value| *value > 0) {
        let sides = [0, 1].map(|w: usize| Side { x: x[w], total: left_out[w], own: left_out[w] });
        bars.push(Bar { node: None, sides, name: names.other() });
    }
    bars
}

fn encode(row: &[Bar]) -> Vec<i64> {
    let mut values = Vec::with_capacity(row.len() * 7);
    let mut ends = [0; 2];
    for bar in row {
        for (side, end) in bar.sides.iter().zip(&mut ends) {
            values.extend([side.x - *end, side.total, side.own]);
            *end = side.x + side.total;
        }
        values.push(i64::from(bar.name));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_zipped_by_names_and_missing_sides_are_zero() {
        let (mut left, mut right) = (NameTree::new(), NameTree::new());
        left.add_stack(&["main", "a"], 3);
        left.add_stack(&["main"], 1);
        right.add_stack(&["main", "b"], 5);
        right.add_stack(&["main", "a"], 2);
        let diff = render(&left, &right, 0).expect("small");
        assert_eq!(diff.names, ["total", "main", "b", "a"]);
        assert_eq!(
            diff.levels,
            [
                vec![0, 4, 0, 0, 7, 0, 0],
                vec![0, 4, 1, 0, 7, 0, 1],
                vec![1, 3, 3, 0, 2, 2, 3, 0, 0, 0, 0, 5, 5, 2],
            ]
        );
        assert_eq!((diff.total, diff.left_ticks, diff.right_ticks, diff.max_self), (11, 4, 7, 5));
    }

    #[test]
    fn what_is_small_on_both_sides_is_summed_in_other() {
        let (mut left, mut right) = (NameTree::new(), NameTree::new());
        for (name, l, r) in [("big", 90, 1), ("one", 2, 3), ("two", 1, 4)] {
            left.add_stack(&[name], l);
            right.add_stack(&[name], r);
        }
        let diff = render(&left, &right, 2).expect("small");
        assert_eq!(diff.names, ["total", "other", "big"]);
        // On the right `big` was among the small ones.
        assert_eq!(diff.levels[1], [0, 90, 90, 0, 0, 0, 2, 0, 3, 3, 0, 8, 8, 1]);
    }
}
