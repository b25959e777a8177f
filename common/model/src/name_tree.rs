//! A tree of stacks by function name: what flame graphs are made of. Identity of a node is its path of names.
//!
//! Owns interning and summing; rendering is in `flamegraph`, `diff` and `tree_bytes`.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::{HashMap, HashTable};
use xxhash_rust::xxh3::xxh3_64;

use crate::question::AnswerError;

/// An interned name within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

/// A node of one tree; [`NameTree::ROOT`] is the invisible root. A child's id is always greater than its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Spreads a (parent, name) pair: one multiplication, folded.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, pair: u64) {
        let wide = u128::from(pair ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }
}

/// A table keyed by a pair of u32 packed into a u64.
pub(crate) type PairMap = HashMap<u64, u32, BuildHasherDefault<PairHasher>>;

/// Packs a pair into a key of [`PairMap`].
pub(crate) fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

/// Interned strings: bytes in one blob, compared on every hit, so that equal hashes never join different names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interner {
    blob: String,
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Interner {
    pub(crate) fn get(&self, id: u32) -> &str {
        let at = id as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.blob[start..self.ends[at] as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn lookup(&self, text: &str) -> Option<u32> {
        self.table.find(xxh3_64(text.as_bytes()), |id| self.get(*id) == text).copied()
    }

    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        let Self { blob, ends, table } = self;
        let slice = |id: u32| {
            let at = id as usize;
            let start = if at == 0 { 0 } else { ends[at - 1] as usize };
            &blob[start..ends[at] as usize]
        };
        if let Some(id) = table.find(hash, |id| slice(*id) == text) {
            return *id;
        }
        let id = u32::try_from(ends.len()).expect("a query touches fewer than 2^32 names");
        table.insert_unique(hash, id, |id| xxh3_64(slice(*id).as_bytes()));
        blob.push_str(text);
        ends.push(u32::try_from(blob.len()).expect("the names of a query are smaller than 4 GiB"));
        id
    }
}

/// Stacks summed by function name. Built by heads and blocks by [`NameTree::intern`], [`NameTree::child`] and
/// [`NameTree::add_self`]; merged by names. Nothing is truncated before rendering.
#[derive(Debug, Clone)]
pub struct NameTree {
    names: Interner,
    children: PairMap,
    parents: Vec<u32>,
    node_names: Vec<u32>,
    selfs: Vec<i64>,
    total: i128,
}

impl Default for NameTree {
    fn default() -> Self {
        Self::new()
    }
}

impl NameTree {
    /// The invisible root.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree without nodes.
    pub fn new() -> Self {
        let mut names = Interner::default();
        names.intern("");
        Self {
            names,
            children: PairMap::default(),
            parents: vec![0],
            node_names: vec![0],
            selfs: vec![0],
            total: 0,
        }
    }

    /// The id of a name (bytes compared on a hit).
    pub fn intern(&mut self, name: &str) -> NameId {
        NameId(self.names.intern(name))
    }

    /// The child of a node by name, made when missing: one table on (parent, name). The hottest call of a query.
    pub fn child(&mut self, parent: NodeId, name: NameId) -> NodeId {
        let next = self.parents.len() as u32;
        let node = *self.children.entry(pair(parent.0, name.0)).or_insert(next);
        if node == next {
            self.parents.push(parent.0);
            self.node_names.push(name.0);
            self.selfs.push(0);
        }
        NodeId(node)
    }

    /// Adds to a node's own value (self). Values are ≥ 0. What belongs to the invisible root is left out: a sample without
    /// a stack has no place in a tree, and graphs' totals are the sums of what they draw (series count such samples).
    pub fn add_self(&mut self, node: NodeId, value: i64) {
        if node == Self::ROOT {
            return;
        }
        let own = &mut self.selfs[node.0 as usize];
        *own = own.wrapping_add(value);
        self.total += i128::from(value);
    }

    /// Adds a stack of names, root first: for tests and small inputs.
    pub fn add_stack<S: AsRef<str>>(&mut self, stack: &[S], value: i64) {
        let mut node = Self::ROOT;
        for name in stack {
            let name = self.intern(name.as_ref());
            node = self.child(node, name);
        }
        self.add_self(node, value);
    }

    /// Adds another tree by names.
    pub fn merge(&mut self, other: &Self) -> Result<(), AnswerError> {
        let names: Vec<NameId> =
            (0..other.names.len() as u32).map(|id| self.intern(other.names.get(id))).collect();
        let mut nodes = vec![Self::ROOT; other.parents.len()];
        for at in 0..other.parents.len() {
            if at > 0 {
                let parent = nodes[other.parents[at] as usize];
                nodes[at] = self.child(parent, names[other.node_names[at] as usize]);
            }
            if other.selfs[at] != 0 {
                let own = &mut self.selfs[nodes[at].0 as usize];
                *own = own.wrapping_add(other.selfs[at]);
            }
        }
        self.total += other.total;
        self.checked_total().map(drop)
    }

    /// The sum of all values, or an error when it does not fit in 63 bits (then no node's value can be trusted either).
    pub fn checked_total(&self) -> Result<i64, AnswerError> {
        i64::try_from(self.total).map_err(|_| AnswerError::Overflow)
    }

    /// Nodes, the invisible root included; ids run from 0.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.parents.len() == 1 && self.total == 0
    }

    /// The parent of a node (the root is its own).
    pub fn parent(&self, node: NodeId) -> NodeId {
        NodeId(self.parents[node.0 as usize])
    }

    /// The name of a node; empty for the root.
    pub fn name(&self, node: NodeId) -> &str {
        self.names.get(self.node_names[node.0 as usize])
    }

    pub(crate) fn name_ids(&self) -> &[u32] {
        &self.node_names
    }

    pub(crate) fn name_lookup(&self, name: &str) -> Option<u32> {
        self.names.lookup(name)
    }

    pub(crate) fn name_text(&self, id: u32) -> &str {
        self.names.get(id)
    }

    pub(crate) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// Own values by node id.
    pub fn selfs(&self) -> &[i64] {
        &self.selfs
    }

    /// Totals by node id: own value and all below.
    pub fn totals(&self) -> Vec<i64> {
        crate::layout::sums(&self.parents, &self.selfs)
    }

    /// Only the stacks whose root side equals `path` (outermost name first).
    pub fn under(&self, path: &[String]) -> Self {
        let mut tree = Self::new();
        // depth[n] = how many names of the path the way to n has matched; a node past the path keeps its length.
        let mut depth: Vec<Option<usize>> = vec![None; self.len()];
        let mut nodes = vec![Self::ROOT; self.len()];
        depth[0] = Some(0);
        for at in 0..self.len() {
            if at > 0 {
                let parent = self.parents[at] as usize;
                depth[at] = match depth[parent] {
                    Some(d) if d == path.len() => Some(d),
                    Some(d) if path[d] == self.name(NodeId(at as u32)) => Some(d + 1),
                    _ => None,
                };
                if depth[at].is_some() {
                    let name = tree.intern(self.names.get(self.node_names[at]));
                    nodes[at] = tree.child(nodes[parent], name);
                }
            }
            if depth[at] == Some(path.len()) && self.selfs[at] != 0 {
                tree.add_self(nodes[at], self.selfs[at]);
            }
        }
        tree
    }
}
