//! Stacks that share their beginnings: what all text-like formats are read into.
//!
//! A stack is a path from the root; equal stacks are one node, whose values are summed. Memory is bounded by
//! [`StackLimits::size_bytes_max`], whatever the stacks are. Must not know: how stacks were written, what values mean.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

/// Bounds of what one profile may be read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackLimits {
    /// Nodes, and bytes of names. A node is a frame of some stack, and a frame of a stack is a byte of a pprof at least: who
    /// allows a pprof of so many bytes loses nothing by this limit.
    pub size_bytes_max: usize,
    /// Bytes of one name in formats that state its length; 0 = any.
    pub name_bytes_max: usize,
    /// Children of one node in formats that state their number; 0 = any.
    pub children_max: usize,
}

/// The stacks are more than may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StacksError {
    /// Too many different frames.
    #[error("the stacks have more than {0} different frames (max_profile_size_bytes)")]
    Frames(usize),
    /// Names that are too long in all.
    #[error("the names of the frames are longer than {0} bytes in all (max_profile_size_bytes)")]
    Names(usize),
}

/// A node: the position of a stack's last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StackId(u32);

impl StackId {
    /// The empty stack.
    pub const ROOT: Self = Self(0);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    parent: u32,
    /// Index of the frame's name.
    name: u32,
    value: i64,
}

/// Stacks with a value each.
#[derive(Debug, Clone)]
pub struct StackTree {
    size_max: usize,
    /// All names, one after the other.
    text: String,
    /// End of each name in `text`.
    name_ends: Vec<u32>,
    /// Parents stand before their children; the first is the root.
    nodes: Vec<Node>,
    names: HashTable<u32>,
    children: HashMap<(u32, u32), u32>,
    hasher: DefaultHashBuilder,
}

impl StackTree {
    /// No stacks.
    pub fn new(limits: StackLimits) -> Self {
        Self {
            // Positions are 32 bits.
            size_max: limits.size_bytes_max.min(u32::MAX as usize / 2),
            text: String::new(),
            name_ends: Vec::new(),
            nodes: vec![Node { parent: 0, name: 0, value: 0 }],
            names: HashTable::new(),
            children: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The stack that has one frame more.
    pub fn child(&mut self, parent: StackId, name: &str) -> Result<StackId, StacksError> {
        let name = self.name_of(name)?;
        self.named_child(parent, name)
    }

    /// The index of a name, for [`Self::named_child`].
    pub fn name_of(&mut self, name: &str) -> Result<u32, StacksError> {
        // Before it is hashed: that takes as long as the name is.
        if name.len() > self.size_max {
            return Err(StacksError::Names(self.size_max));
        }
        let hash = self.hasher.hash_one(name);
        let (text, ends) = (&self.text, &self.name_ends);
        if let Some(at) = self.names.find(hash, |at| name_at(text, ends, *at) == name) {
            return Ok(*at);
        }
        if self.text.len() + name.len() > self.size_max || ends.len() >= self.size_max {
            return Err(StacksError::Names(self.size_max));
        }
        let at = ends.len() as u32;
        self.text.push_str(name);
        self.name_ends.push(self.text.len() as u32);
        let (text, ends, hasher) = (&self.text, &self.name_ends, &self.hasher);
        self.names.insert_unique(hash, at, |at| hasher.hash_one(name_at(text, ends, *at)));
        Ok(at)
    }

    /// [`Self::child`] by the index of its name.
    pub fn named_child(&mut self, parent: StackId, name: u32) -> Result<StackId, StacksError> {
        let next = self.nodes.len() as u32;
        let at = match self.children.entry((parent.0, name)) {
            hashbrown::hash_map::Entry::Occupied(entry) => return Ok(StackId(*entry.get())),
            hashbrown::hash_map::Entry::Vacant(_) if self.nodes.len() > self.size_max => {
                return Err(StacksError::Frames(self.size_max));
            }
            hashbrown::hash_map::Entry::Vacant(entry) => *entry.insert(next),
        };
        self.nodes.push(Node { parent: parent.0, name, value: 0 });
        Ok(StackId(at))
    }

    /// The stack of a text, frames root first with `;` between them.
    pub fn stack(&mut self, text: &str) -> Result<StackId, StacksError> {
        text.split(';').try_fold(StackId::ROOT, |at, frame| self.child(at, frame))
    }

    /// Adds to the value of a stack.
    pub fn add(&mut self, stack: StackId, value: i64) {
        let sum = &mut self.nodes[stack.0 as usize].value;
        *sum = sum.saturating_add(value);
    }

    /// Stacks with values above 0, in the order in which they first came.
    pub fn stacks(&self) -> impl Iterator<Item = (StackId, i64)> {
        (0..).map(StackId).zip(self.nodes.iter().map(|node| node.value)).filter(|(_, value)| *value > 0)
    }

    /// Indices of the names of a stack's frames, leaf first.
    pub fn frames(&self, stack: StackId) -> impl Iterator<Item = u32> {
        let step = |at: &u32| Some(self.nodes[*at as usize].parent);
        std::iter::successors(Some(stack.0), step)
            .take_while(|at| *at != 0)
            .map(|at| self.nodes[at as usize].name)
    }

    /// All names by index.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.name_ends.len() as u32).map(|at| name_at(&self.text, &self.name_ends, at))
    }

    /// All names, one after the other.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Frames of all stacks together: nodes without the root.
    pub fn frame_count(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Each stack as `a;b;c` with its value: for tests.
    pub fn folded(&self) -> Vec<(String, i64)> {
        let names: Vec<&str> = self.names().collect();
        let line = |(stack, value): (StackId, i64)| {
            let mut frames: Vec<&str> = self.frames(stack).map(|name| names[name as usize]).collect();
            frames.reverse();
            (frames.join(";"), value)
        };
        self.stacks().map(line).collect()
    }
}

fn name_at<'t>(text: &'t str, ends: &[u32], at: u32) -> &'t str {
    let at = at as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] as usize };
    &text[start..ends[at] as usize]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const LIMITS: StackLimits =
        StackLimits { size_bytes_max: 1 << 20, name_bytes_max: 100, children_max: 16 };

    #[test]
    fn equal_stacks_are_one() {
        let mut tree = StackTree::new(LIMITS);
        for (stack, value) in [("a;b", 3), ("c", 1), ("a", 2), ("a;b", 4), ("a;b;c", 0)] {
            let stack = tree.stack(stack).expect("small");
            tree.add(stack, value);
        }
        tree.add(StackId::ROOT, 9);
        let want = [("", 9), ("a", 2), ("a;b", 7), ("c", 1)].map(|(s, v)| (s.to_owned(), v));
        assert_eq!(tree.folded(), want);
        assert_eq!(tree.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((tree.text(), tree.frame_count()), ("abc", 4));
    }

    #[test]
    fn the_size_is_bounded() {
        let limits = StackLimits { size_bytes_max: 4, ..LIMITS };
        let mut tree = StackTree::new(limits);
        assert!(tree.stack("a;a;a;a").is_ok());
        assert!(tree.stack("a;a;a;a").is_ok(), "nothing new");
        assert_eq!(tree.stack("a;a;a;a;a"), Err(StacksError::Frames(4)));
        assert_eq!(tree.name_of("bcde"), Err(StacksError::Names(4)));
        let mut sums = StackTree::new(LIMITS);
        sums.add(StackId::ROOT, i64::MAX);
        sums.add(StackId::ROOT, 1);
        assert_eq!(sums.folded(), [(String::new(), i64::MAX)]);
    }
}
