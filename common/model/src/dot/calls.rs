//! Stacks summed by function and by call: each counts once in a stack, however often it is in it.

use std::hash::BuildHasherDefault;

use hashbrown::HashMap;

use super::scale::Scale;
use crate::layout::{Children, Shape};
use crate::name_tree::{NameTree, PairHasher, pair};

/// A tree as it is walked through.
pub(super) struct Stacks<'t> {
    tree: &'t NameTree,
    shape: Shape<'t>,
    children: Children,
}

impl<'t> Stacks<'t> {
    pub(super) fn new(tree: &'t NameTree) -> Self {
        let shape = Shape::of(tree);
        let children = Children::new(&shape, |at| shape.totals[at] > 0);
        Self { tree, shape, children }
    }

    /// The children of a node, to be entered from the last to the first.
    fn below(&self, node: u32, caller: Option<u32>, skips: bool) -> impl Iterator<Item = Step> {
        let children = self.children.of(node as usize).iter().rev();
        children.map(move |child| Step::Enter { node: *child, caller, skips })
    }
}

enum Step {
    /// A node comes to the stack.
    Enter {
        node: u32,
        /// The next function above that is kept.
        caller: Option<u32>,
        /// Others are between them.
        skips: bool,
    },
    /// It leaves the stack again, and so does its call.
    Leave { function: u32, call: Option<u64> },
}

/// What is known of a call.
#[derive(Default)]
struct Call {
    weight: i64,
    skips: bool,
    /// How often it is in the stack at hand.
    active: u32,
}

/// A call that may be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) caller: u32,
    pub(super) callee: u32,
    pub(super) weight: i64,
    /// It goes through functions that are not drawn.
    pub(super) skips: bool,
}

/// Functions by the ids of their names, and calls.
pub(super) struct CallGraph {
    flats: Vec<i64>,
    cums: Vec<i64>,
    calls: HashMap<u64, Call, BuildHasherDefault<PairHasher>>,
}

impl CallGraph {
    /// Sums stacks. What is not kept is left out of them: its callers call what it calls.
    pub(super) fn sum(stacks: &Stacks<'_>, kept: Option<&[u32]>) -> Self {
        let names = stacks.tree.name_count();
        let mut is_kept = vec![kept.is_none(); names];
        for name in kept.unwrap_or_default() {
            is_kept[*name as usize] = true;
        }
        let mut graph = Self { flats: vec![0; names], cums: vec![0; names], calls: HashMap::default() };
        let mut active = vec![0u32; names];
        let mut steps: Vec<Step> = stacks.below(0, None, false).collect();
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter { node, caller, skips } => {
                    let at = node as usize;
                    let function = stacks.tree.name_ids()[at];
                    if !is_kept[function as usize] {
                        steps.extend(stacks.below(node, caller, true));
                        continue;
                    }
                    let total = stacks.shape.totals[at];
                    if active[function as usize] == 0 {
                        graph.cums[function as usize] += total;
                    }
                    active[function as usize] += 1;
                    graph.flats[function as usize] += stacks.shape.selfs[at];
                    let call =
                        caller.filter(|caller| *caller != function).map(|caller| pair(caller, function));
                    if let Some(call) = call {
                        graph.calls.entry(call).or_default().enter(total, skips);
                    }
                    steps.push(Step::Leave { function, call });
                    steps.extend(stacks.below(node, Some(function), false));
                }
                Step::Leave { function, call } => {
                    active[function as usize] -= 1;
                    if let Some(call) = call
                        && let Some(call) = graph.calls.get_mut(&call)
                    {
                        call.active -= 1;
                    }
                }
            }
        }
        graph
    }

    /// What was sampled in a function.
    pub(super) fn flat(&self, function: u32) -> i64 {
        self.flats[function as usize]
    }

    /// What was sampled in a function and in what it calls.
    pub(super) fn cum(&self, function: u32) -> i64 {
        self.cums[function as usize]
    }

    /// Calls, the heaviest first.
    pub(super) fn edges(&self, tree: &NameTree) -> Vec<Edge> {
        let edge = |(call, of): (&u64, &Call)| Edge {
            caller: (*call >> 32) as u32,
            callee: *call as u32,
            weight: of.weight,
            skips: of.skips,
        };
        let mut edges: Vec<Edge> = self.calls.iter().map(edge).collect();
        let names = |edge: &Edge| (tree.name_text(edge.caller), tree.name_text(edge.callee));
        edges.sort_unstable_by(|a, b| b.weight.cmp(&a.weight).then_with(|| names(a).cmp(&names(b))));
        edges
    }

    /// Functions, those first that tell most: where much is sampled, and where ways part or meet. One that only passes on what
    /// it gets from its only caller tells little. As pprof ranks them: by the entropy of calls.
    pub(super) fn ranked(&self, tree: &NameTree) -> Vec<u32> {
        let edges = self.edges(tree);
        let mut came = vec![0.0; self.flats.len()];
        let mut went: Vec<f64> = vec![0.0; self.flats.len()];
        for edge in &edges {
            came[edge.callee as usize] += edge.weight as f64;
            went[edge.caller as usize] += edge.weight as f64;
        }
        let entropy = |weight: i64, of: f64| {
            let part = weight as f64 / of;
            -part * part.log2()
        };
        let leaves = |function: usize| went[function] + self.flats[function] as f64;
        let mut scores = vec![0.0; self.flats.len()];
        for edge in &edges {
            scores[edge.caller as usize] += entropy(edge.weight, leaves(edge.caller as usize));
            scores[edge.callee as usize] += entropy(edge.weight, came[edge.callee as usize]);
        }
        for (function, score) in scores.iter_mut().enumerate() {
            let flat = self.flats[function];
            if came[function] == 0.0 {
                *score += 1.0;
            }
            match went[function] == 0.0 {
                true => *score += 1.0,
                false if flat > 0 => *score += entropy(flat, leaves(function)),
                false => {}
            }
            *score = *score * self.cums[function] as f64 + flat as f64;
        }
        let mut ranked: Vec<u32> =
            (0..self.cums.len() as u32).filter(|function| self.cum(*function) > 0).collect();
        ranked.sort_unstable_by(|a, b| {
            let by_score = scores[*b as usize].total_cmp(&scores[*a as usize]);
            by_score.then_with(|| tree.name_text(*a).cmp(tree.name_text(*b)))
        });
        ranked
    }

    /// The unit in which the values of these functions are written.
    pub(super) fn scale(&self, unit: &str, functions: &[u32], total: i64) -> Scale {
        let value = |function: &u32| match self.flat(*function) {
            0 => self.cum(*function),
            flat => flat,
        };
        let least = functions.iter().map(value).filter(|value| *value > 0).min().unwrap_or(total);
        Scale::of(unit, least, total)
    }
}

impl Call {
    fn enter(&mut self, total: i64, skips: bool) {
        if self.active == 0 {
            self.weight += total;
            self.skips |= skips;
        }
        self.active += 1;
    }
}
