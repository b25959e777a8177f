//! The canonical stack tree: siblings in order of their locations, nodes in preorder, stacks ranked among the nodes.

use hashbrown::HashMap;

use super::canon::UNUSED;
use crate::error::BlockError;
use crate::input::UnitSymbols;

/// A tree in preorder.
#[derive(Debug, Clone, Default)]
pub(crate) struct CanonTree {
    /// Depth of each node; 0 only for the root, which is node 0.
    pub(crate) depths: Vec<u16>,
    /// Location of each node; of the root: 0, without a meaning.
    pub(crate) locations: Vec<u32>,
    /// Whether a stack ends at the node.
    pub(crate) ends: Vec<bool>,
    /// How many stacks there are.
    pub(crate) stacks: u32,
}

/// The nodes that lie on used stacks, still in the head's numbers.
pub(crate) struct UsedNodes {
    used: Vec<bool>,
    ends: Vec<bool>,
    parents: Vec<u32>,
    locations: Vec<u32>,
    /// The node that stands for a node after siblings of equal location were merged.
    merged_into: Vec<u32>,
}

/// Finds the ends of used stacks and all their ancestors.
pub(crate) fn used_nodes(symbols: &dyn UnitSymbols, used_stacks: &[bool]) -> Result<UsedNodes, BlockError> {
    let count = symbols.node_count() as usize;
    let mut ends = vec![false; count];
    for stack in (0..used_stacks.len()).filter(|&at| used_stacks[at]) {
        let node = symbols.stack_node(stack as u32);
        let outside = || BlockError::Input(format!("stack {stack} ends at node {node} of {count}"));
        *ends.get_mut(node as usize).ok_or_else(outside)? = true;
    }
    let mut used = ends.clone();
    let (mut parents, mut locations) = (vec![0; count], vec![0; count]);
    for node in (1..count).rev().filter(|_| count > 1) {
        if !used[node] {
            continue;
        }
        (parents[node], locations[node]) = symbols.node(node as u32);
        if parents[node] as usize >= node {
            return Err(BlockError::Input(format!("node {node} has the parent {}", parents[node])));
        }
        used[parents[node] as usize] = true;
    }
    Ok(UsedNodes { used, ends, parents, locations, merged_into: (0..count as u32).collect() })
}

impl UsedNodes {
    /// Locations of the nodes.
    pub(crate) fn locations(&self) -> impl Iterator<Item = u32> + '_ {
        (1..self.used.len()).filter(|&at| self.used[at]).map(|at| self.locations[at])
    }

    /// Replaces the head's locations by their ranks.
    pub(crate) fn rename_locations(&mut self, ranks: &[u32]) {
        for at in 1..self.used.len() {
            if self.used[at] {
                self.locations[at] = ranks[self.locations[at] as usize];
            }
        }
    }

    /// Numbers the nodes; the second part gives for each of the head's nodes the rank of the stack that ends there.
    pub(crate) fn into_canonical(mut self) -> Result<(CanonTree, Vec<u32>), BlockError> {
        let mut children = self.children();
        if self.has_equal_siblings(&children) {
            self.merge_equal_siblings();
            children = self.children();
        }
        let (starts, order) = children;
        let mut tree = CanonTree::default();
        let mut ranks = vec![UNUSED; self.used.len()];
        let mut open: Vec<(u32, u32)> = vec![(0, 0)];
        while let Some((node, depth)) = open.pop() {
            let at = node as usize;
            let limit = u64::from(u16::MAX - 1);
            let too_deep = BlockError::Limit { what: "frames of a stack", value: u64::from(depth), limit };
            tree.depths.push(u16::try_from(depth).ok().filter(|&d| u64::from(d) <= limit).ok_or(too_deep)?);
            tree.locations.push(self.locations[at]);
            tree.ends.push(self.ends[at]);
            if self.ends[at] {
                ranks[at] = tree.stacks;
                tree.stacks += 1;
            }
            let (from, to) = (starts[at] as usize, starts[at + 1] as usize);
            open.extend(order[from..to].iter().rev().map(|&child| (child, depth + 1)));
        }
        for at in 0..ranks.len() {
            ranks[at] = ranks[self.merged_into[at] as usize];
        }
        Ok((tree, ranks))
    }

    /// Children by parent, each list in order of locations: two counting sorts.
    fn children(&self) -> (Vec<u32>, Vec<u32>) {
        let nodes = || (1..self.used.len()).filter(|&at| self.used[at]);
        let by_location = counting_sort(nodes().map(|at| at as u32), |at| self.locations[at as usize]).1;
        let (mut starts, order) = counting_sort(by_location.into_iter(), |at| self.parents[at as usize]);
        starts.resize(self.used.len() + 1, order.len() as u32);
        (starts, order)
    }

    fn has_equal_siblings(&self, (_, order): &(Vec<u32>, Vec<u32>)) -> bool {
        let key = |node: u32| (self.parents[node as usize], self.locations[node as usize]);
        order.windows(2).any(|pair| key(pair[0]) == key(pair[1]))
    }

    /// Only a head that interned equal locations twice has such siblings.
    fn merge_equal_siblings(&mut self) {
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        for at in 1..self.used.len() {
            if !self.used[at] {
                continue;
            }
            let parent = self.merged_into[self.parents[at] as usize];
            self.parents[at] = parent;
            let first = *known.entry((parent, self.locations[at])).or_insert(at as u32);
            if first != at as u32 {
                self.merged_into[at] = first;
                self.used[at] = false;
                self.ends[first as usize] |= self.ends[at];
            }
        }
    }
}

/// Stable sort by a small key; gives where each key starts, too.
fn counting_sort(items: impl Iterator<Item = u32> + Clone, key: impl Fn(u32) -> u32) -> (Vec<u32>, Vec<u32>) {
    let keys = items.clone().map(&key).max().map_or(0, |most| most as usize + 1);
    let mut starts = vec![0u32; keys + 1];
    for item in items.clone() {
        starts[key(item) as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; starts.last().copied().unwrap_or_default() as usize];
    for item in items {
        let to = &mut next[key(item) as usize];
        order[*to as usize] = item;
        *to += 1;
    }
    (starts, order)
}
