//! Measures trees and their rendering on made-up stacks: `cargo run --release -p hearth-model --example model_bench`.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and reads the clock"
)]

use std::time::{Duration, Instant};

use hearth_model::name_tree::NameId;
use hearth_model::{NameTree, diff, flamegraph, tree_bytes};

/// Nodes that the tree gets.
const NODES: u32 = 36_000;
/// Different names.
const NAMES: u32 = 6000;
const ROUNDS: u32 = 50;

/// A tree whose nodes hang anywhere, more often near the ones made last: deep and bushy.
fn tree(seed: u64) -> NameTree {
    let mut tree = NameTree::new();
    let name = |id: u32| format!("github.com/some/package/path/of.(*Type{}).Method{id}", id % 97);
    let names: Vec<NameId> = (0..NAMES).map(|id| tree.intern(&name(id))).collect();
    let mut nodes = vec![NameTree::ROOT];
    let mut random = seed;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    while (tree.len() as u32) < NODES {
        let near = nodes.len() - 1 - next() % nodes.len().min(400);
        let node = tree.child(nodes[near], names[next() % names.len()]);
        tree.add_self(node, 1 + (next() % 1000) as i64 * (next() % 1000) as i64);
        nodes.push(node);
    }
    tree
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let (one, two) = (tree(1), tree(2));
    println!("{} nodes, median of {ROUNDS} rounds", one.len());
    for max_nodes in [0, 8192, 1024] {
        let took = median(|| drop(flamegraph::render(&one, max_nodes)));
        let graph = flamegraph::render(&one, max_nodes).expect("small");
        let bars: usize = graph.levels.iter().map(|level| level.len() / 4).sum();
        println!("flame graph of {max_nodes:>5} nodes: {took:?} ({bars} bars)");
    }
    println!("comparison of 8192 nodes:  {:?}", median(|| drop(diff::render(&one, &two, 8192))));
    println!("tree bytes of 8192 nodes:  {:?}", median(|| drop(tree_bytes::encode(&one, 8192))));
    let merged = median(|| one.clone().merge(&two).expect("small"));
    let cloned = median(|| drop(one.clone()));
    println!("merge:                     {:?}", merged.saturating_sub(cloned));
    let mut warm = one.clone();
    let again = median(|| warm.merge(&one).expect("small"));
    println!("merge into the same:       {again:?} ({:?} a node)", again / NODES);
}
