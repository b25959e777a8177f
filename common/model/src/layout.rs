//! What all renderings share: totals, which nodes stay, and siblings in order.

use crate::name_tree::{NameTree, NodeId};

/// The name of the node that stands for siblings left out.
pub(crate) const OTHER: &str = "other";

/// The least total that a node must have to stay, so that about `max_nodes` stay (ties may make more); 0 = all stay.
/// Source: api-semantics §2.7.
pub(crate) fn threshold(totals_without_root: impl ExactSizeIterator<Item = i64>, max_nodes: i64) -> i64 {
    let Ok(keep) = usize::try_from(max_nodes) else { return 0 };
    if keep == 0 || totals_without_root.len() <= keep {
        return 0;
    }
    let mut totals: Vec<i64> = totals_without_root.collect();
    let (_, least, _) = totals.select_nth_unstable_by(keep - 1, |a, b| b.cmp(a));
    *least
}

/// Children by parent, in order of name bytes; only nodes that `keep` selects.
pub(crate) struct Children {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Children {
    pub(crate) fn new(tree: &NameTree, keep: impl Fn(usize) -> bool) -> Self {
        let parents = tree.parents();
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
                siblings.sort_unstable_by(|a, b| tree.name(NodeId(*a)).cmp(tree.name(NodeId(*b))));
            }
        }
        Self { starts, nodes }
    }

    pub(crate) fn of(&self, node: usize) -> &[u32] {
        &self.nodes[self.starts[node] as usize..self.starts[node + 1] as usize]
    }
}

/// Gives names their places in the answer's table.
pub(crate) struct NameTable {
    pub(crate) names: Vec<String>,
    by_id: Vec<u32>,
    other: Option<u32>,
}

impl NameTable {
    /// The first name is `total`, which a function of that name shares.
    pub(crate) fn new(tree: &NameTree) -> Self {
        Self { names: vec!["total".to_owned()], by_id: vec![u32::MAX; tree.name_count()], other: None }
    }

    pub(crate) fn index(&mut self, tree: &NameTree, node: usize) -> u32 {
        let id = tree.name_id(node) as usize;
        if self.by_id[id] == u32::MAX {
            let text = tree.name_text(id as u32);
            self.by_id[id] = match text {
                "total" => 0,
                OTHER => self.other(),
                _ => self.push(text),
            };
        }
        self.by_id[id]
    }

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
