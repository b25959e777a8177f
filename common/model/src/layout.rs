//! What all renderings share: truncation to a number of nodes, siblings in order, the table of names.

use crate::name_tree::NameTree;

/// The name of the node that stands for siblings left out.
pub(crate) const OTHER: &str = "other";
/// A node that is left out.
const DROPPED: u32 = u32::MAX;

/// The least total that a node must have to stay, so that about `max_nodes` stay (ties may make more); 0 = all stay.
/// Source: api-semantics §2.7.
pub(crate) fn threshold(totals: impl ExactSizeIterator<Item = i64>, max_nodes: i64) -> i64 {
    let Ok(keep) = usize::try_from(max_nodes) else { return 0 };
    if keep == 0 || totals.len() <= keep {
        return 0;
    }
    let mut totals: Vec<i64> = totals.collect();
    let (_, least, _) = totals.select_nth_unstable_by(keep - 1, |a, b| b.cmp(a));
    *least
}

/// The nodes that are to be drawn, in flat arrays; a child's place is always behind its parent's.
pub(crate) struct Shape<'a> {
    tree: &'a NameTree,
    other: u32,
    pub(crate) parents: Vec<u32>,
    name_ids: Vec<u32>,
    pub(crate) selfs: Vec<i64>,
    pub(crate) totals: Vec<i64>,
}

impl<'a> Shape<'a> {
    /// All nodes of a tree.
    pub(crate) fn of(tree: &'a NameTree) -> Self {
        Self {
            tree,
            other: tree.name_lookup(OTHER).unwrap_or(tree.name_count() as u32),
            parents: tree.parents().to_vec(),
            name_ids: tree.name_ids().to_vec(),
            selfs: tree.selfs().to_vec(),
            totals: tree.totals(),
        }
    }

    /// A tree cut to about `max_nodes`, `passes` times over: each pass counts the stand-ins of the one before as nodes, so
    /// that they take part in the number asked for. The reference cuts in its ingester, its querier and its frontend;
    /// its answers can only be met by cutting as often, here always on exact sums.
    pub(crate) fn cut(tree: &'a NameTree, max_nodes: i64, passes: u32) -> Self {
        (0..passes).fold(Self::of(tree), |shape, _| shape.pass(max_nodes))
    }

    fn pass(self, max_nodes: i64) -> Self {
        let least = threshold(self.totals[1..].iter().copied(), max_nodes);
        if least <= 0 {
            return self;
        }
        let mut next = Self {
            parents: vec![0],
            name_ids: vec![0],
            selfs: vec![self.selfs[0]],
            totals: Vec::new(),
            ..self
        };
        let mut place = vec![DROPPED; self.parents.len()];
        place[0] = 0;
        // By node of the next shape: what its left-out children sum to, and its child that stands for such already.
        let (mut left_out, mut stand_in) = (vec![0i64], vec![DROPPED]);
        for at in 1..self.parents.len() {
            let parent = place[self.parents[at] as usize];
            if parent == DROPPED {
                continue;
            }
            let is_other = self.name_ids[at] == self.other;
            if self.totals[at] < least && !(is_other && self.totals[at] > 0) {
                left_out[parent as usize] += self.totals[at];
                continue;
            }
            place[at] = next.push(parent, self.name_ids[at], self.selfs[at]);
            left_out.push(0);
            stand_in.push(DROPPED);
            if is_other {
                stand_in[parent as usize] = place[at];
            }
        }
        for (parent, sum) in left_out.iter().enumerate().filter(|(_, sum)| **sum > 0) {
            match stand_in[parent] {
                DROPPED => drop(next.push(parent as u32, self.other, *sum)),
                stand_in => next.selfs[stand_in as usize] += sum,
            }
        }
        next.totals = sums(&next.parents, &next.selfs);
        next
    }

    fn push(&mut self, parent: u32, name: u32, own: i64) -> u32 {
        self.parents.push(parent);
        self.name_ids.push(name);
        self.selfs.push(own);
        self.parents.len() as u32 - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    pub(crate) fn is_other(&self, at: usize) -> bool {
        self.name_ids[at] == self.other
    }

    pub(crate) fn name(&self, at: usize) -> &str {
        self.text(self.name_ids[at])
    }

    fn text(&self, id: u32) -> &str {
        if (id as usize) < self.tree.name_count() { self.tree.name_text(id) } else { OTHER }
    }
}

/// Totals from own values: children come behind their parents.
pub(crate) fn sums(parents: &[u32], selfs: &[i64]) -> Vec<i64> {
    let mut totals = selfs.to_vec();
    for at in (1..totals.len()).rev() {
        let total = totals[at];
        totals[parents[at] as usize] += total;
    }
    totals
}

/// Children by parent, in order of name bytes; only nodes that `keep` selects.
pub(crate) struct Children {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Children {
    pub(crate) fn new(shape: &Shape<'_>, keep: impl Fn(usize) -> bool) -> Self {
        let parents = &shape.parents;
        let mut starts = vec![0u32; parents.len() + 1];
        let kept = |at: &usize| keep(*at);
        for at in (1..parents.len()).filter(kept) {
            starts[parents[at] as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut fill = starts.clone();
        let mut nodes = vec![0u32; starts[parents.len()] as usize];
        for at in (1..parents.len()).filter(kept) {
            let slot = &mut fill[parents[at] as usize];
            nodes[*slot as usize] = at as u32;
            *slot += 1;
        }
        for pair in starts.windows(2) {
            let siblings = &mut nodes[pair[0] as usize..pair[1] as usize];
            if siblings.len() > 1 {
                siblings.sort_unstable_by(|a, b| shape.name(*a as usize).cmp(shape.name(*b as usize)));
            }
        }
        Self { starts, nodes }
    }

    pub(crate) fn of(&self, node: usize) -> &[u32] {
        &self.nodes[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// The answer's table of names, and each drawn node's place in it.
pub(crate) struct NameTable {
    pub(crate) names: Vec<String>,
    /// By node; only those of drawn nodes mean anything.
    pub(crate) of_node: Vec<u32>,
    by_id: Vec<u32>,
    other: Option<u32>,
}

impl NameTable {
    /// Numbers names in the order of a walk that takes the right-most child first, as the reference does; the first name is
    /// `total`, which a function of that name shares. `leaves_out`: a stand-in is drawn below the node.
    pub(crate) fn new(shape: &Shape<'_>, children: &Children, leaves_out: impl Fn(usize) -> bool) -> Self {
        let mut table = Self {
            names: vec!["total".to_owned()],
            of_node: vec![0; shape.len()],
            by_id: vec![u32::MAX; shape.tree.name_count() + 1],
            other: None,
        };
        let mut stack = vec![0u32];
        while let Some(node) = stack.pop() {
            let at = node as usize;
            if at > 0 {
                table.of_node[at] = table.index(shape, at);
            }
            stack.extend_from_slice(children.of(at));
            if leaves_out(at) {
                table.other();
            }
        }
        table
    }

    fn index(&mut self, shape: &Shape<'_>, node: usize) -> u32 {
        let id = shape.name_ids[node];
        if self.by_id[id as usize] == u32::MAX {
            self.by_id[id as usize] = match shape.text(id) {
                "total" => 0,
                OTHER => self.other(),
                text => self.push(text),
            };
        }
        self.by_id[id as usize]
    }

    /// The place of the stand-ins' name.
    pub(crate) fn other(&mut self) -> u32 {
        match self.other {
            Some(at) => at,
            None => {
                let at = self.push(OTHER);
                self.other = Some(at);
                at
            }
        }
    }

    fn push(&mut self, text: &str) -> u32 {
        self.names.push(text.to_owned());
        self.names.len() as u32 - 1
    }
}
