//! The `trie` format of `/ingest`: a prefix tree over stacks as text, `;` between frames (api-semantics §3.12).
//!
//! Nodes are those of [`tree`](crate::tree), but names are fragments of text: a key is all fragments from the root on, and a
//! node with a value is a stack. The names of frames in all keys can be far longer than the bytes that say them (a path of
//! n fragments within one name says n names, of n² / 2 bytes): what is written out counts against
//! [`StackLimits::size_bytes_max`], so that time and memory stay linear in the bytes and that limit.

use crate::nodes::{Node, Nodes, NodesError};
use crate::stacks::{StackId, StackLimits, StackTree, StacksError};

/// A node whose children are read.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Children still to come.
    left: u64,
    place: Place,
}

/// Where in the key a node ends.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Bytes of the key.
    key_bytes: usize,
    /// Where the frame that is not closed by `;` yet begins.
    frame_start: usize,
    /// The stack of the frames before it.
    stack: StackId,
}

/// Reads a trie; no bytes are no stacks. Bytes after the last node are passed over.
pub fn parse(bytes: &[u8], limits: StackLimits) -> Result<StackTree, NodesError> {
    let mut keys = Keys {
        out: StackTree::new(limits),
        key: Vec::new(),
        left_bytes: limits.size_bytes_max,
        limit_bytes: limits.size_bytes_max,
    };
    if bytes.is_empty() {
        return Ok(keys.out);
    }
    // Fragments and their children are bounded by the bytes alone.
    let mut nodes = Nodes::new(bytes, StackLimits { name_bytes_max: 0, children_max: 0, ..limits });
    let start = Place { key_bytes: 0, frame_start: 0, stack: StackId::ROOT };
    let root = nodes.next()?;
    let mut open = vec![Open { left: root.children, place: keys.node(&root, start)? }];
    while let Some(top) = open.last_mut() {
        let Some(left) = top.left.checked_sub(1) else {
            open.pop();
            continue;
        };
        top.left = left;
        let from = top.place;
        let node = nodes.next()?;
        let place = keys.node(&node, from)?;
        if node.children > 0 {
            open.push(Open { left: node.children, place });
        }
    }
    Ok(keys.out)
}

struct Keys {
    out: StackTree,
    /// The key of the node in work.
    key: Vec<u8>,
    left_bytes: usize,
    limit_bytes: usize,
}

impl Keys {
    /// Takes a node below `from`; returns where it ends.
    fn node(&mut self, node: &Node<'_>, from: Place) -> Result<Place, NodesError> {
        self.key.truncate(from.key_bytes);
        self.key.extend_from_slice(node.name);
        let mut place = Place { key_bytes: self.key.len(), ..from };
        for separator in memchr::memchr_iter(b';', node.name) {
            let end = from.key_bytes + separator;
            place.stack = self.frame(node, place, end)?;
            place.frame_start = end + 1;
        }
        if node.value > 0 {
            let stack = self.frame(node, place, place.key_bytes)?;
            self.out.add(stack, node.value);
        }
        Ok(place)
    }

    /// The stack with the frame that begins at `place` and ends at `end`.
    fn frame(&mut self, node: &Node<'_>, place: Place, end: usize) -> Result<StackId, NodesError> {
        let at = node.at;
        let name = &self.key[place.frame_start..end];
        let too_much = NodesError::Stacks { at, error: StacksError::Names(self.limit_bytes) };
        self.left_bytes = self.left_bytes.checked_sub(name.len()).ok_or(too_much)?;
        let name = std::str::from_utf8(name).map_err(|_| NodesError::Utf8 { at })?;
        self.out.child(place.stack, name).map_err(|error| NodesError::Stacks { at, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::node;
    use crate::stacks::tests::LIMITS;

    fn sample() -> Vec<u8> {
        let nodes = [
            node("", 0, 2),
            node("main;", 0, 2),
            node("work", 7, 2),
            node(";inner", 3, 0),
            node("er;x;", 1, 0),
            node("idle", 2, 0),
            node("gc", 5, 0),
        ];
        nodes.concat()
    }

    #[test]
    fn fragments_make_stacks() {
        let mut got = parse(&sample(), LIMITS).expect("valid").folded();
        got.sort();
        let want =
            [("gc", 5), ("main;idle", 2), ("main;work", 7), ("main;work;inner", 3), ("main;worker;x;", 1)];
        assert_eq!(got, want.map(|(stack, value)| (stack.to_owned(), value)));
        assert_eq!(parse(b"", LIMITS).expect("empty").folded(), []);
        // A character may be split between fragments.
        let mut split = [node("", 0, 1), node("a", 0, 1), node("b", 4, 0)].concat();
        (split[4], split[8]) = (0xc3, 0xb6);
        assert_eq!(parse(&split, LIMITS).expect("valid").folded(), [("ö".to_owned(), 4)]);
        split[8] = b'x';
        assert_eq!(parse(&split, LIMITS).map(drop), Err(NodesError::Utf8 { at: 7 }));
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = sample();
        for at in 1..bytes.len() {
            let got = parse(&bytes[..at], LIMITS).map(drop);
            assert!(matches!(got, Err(NodesError::Truncated { at: end, .. }) if end == at), "{at}: {got:?}");
        }
    }

    /// Keys of which each is the one before and a byte more: a quadratic sum that the limit ends.
    #[test]
    fn keys_that_grow_without_end_are_refused() {
        let mut bytes = node("", 0, 1);
        (0..100_000).for_each(|_| bytes.extend(node("a", 1, 1)));
        bytes.extend(node("z", 1, 0));
        let error = parse(&bytes, LIMITS).map(drop).expect_err("too long").to_string();
        assert!(error.contains("longer than 1048576 bytes in all"), "{error}");
        // The same long name again and again: nothing new to keep, and still no end of work.
        let mut bytes = [node("", 0, 1), node(&"n".repeat(10_000), 0, 200)].concat();
        (0..200).for_each(|_| bytes.extend(node(";x", 1, 0)));
        assert!(parse(&bytes, LIMITS).is_err());
        let wide = StackLimits { size_bytes_max: 4 << 20, ..LIMITS };
        assert_eq!(parse(&bytes, wide).map(|tree| tree.frame_count()), Ok(2));
    }
}
