//! The `tree` format of `/ingest`: a node for each frame, depth first, from a root without a name (api-semantics §3.12).
//!
//! A node is the length of its name, its name, its own value, the number of its children; numbers are unsigned varints.

use crate::nodes::{Nodes, NodesError};
use crate::stacks::{StackId, StackLimits, StackTree};

/// Reads a tree; no bytes are no stacks. The root's name, and bytes after the last node, are passed over.
pub fn parse(bytes: &[u8], limits: StackLimits) -> Result<StackTree, NodesError> {
    let mut out = StackTree::new(limits);
    if bytes.is_empty() {
        return Ok(out);
    }
    let mut nodes = Nodes::new(bytes, limits);
    let root = nodes.next()?;
    out.add(StackId::ROOT, root.value);
    // Whose children are read, and how many are still to come.
    let mut open = vec![(StackId::ROOT, root.children)];
    while let Some((parent, left)) = open.last_mut() {
        let Some(rest) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = rest;
        let node = nodes.next()?;
        let name = std::str::from_utf8(node.name).map_err(|_| NodesError::Utf8 { at: node.at })?;
        let stack = out.child(*parent, name).map_err(|error| NodesError::Stacks { at: node.at, error })?;
        out.add(stack, node.value);
        if node.children > 0 {
            open.push((stack, node.children));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::node;
    use crate::stacks::tests::LIMITS;

    fn sample() -> Vec<u8> {
        let nodes = [
            node("", 0, 2),
            node("main", 1, 2),
            node("work", 7, 1),
            node("inner", 3, 0),
            node("idle", 2, 0),
            node("main", 5, 0),
        ];
        nodes.concat()
    }

    #[test]
    fn nodes_are_frames() {
        let tree = parse(&sample(), LIMITS).expect("valid");
        let want = [("main", 6), ("main;work", 7), ("main;work;inner", 3), ("main;idle", 2)];
        assert_eq!(tree.folded(), want.map(|(stack, value)| (stack.to_owned(), value)));
        assert_eq!(parse(b"", LIMITS).expect("empty").folded(), []);
        let more = [node("root", 4, 0), b"trailing".to_vec()].concat();
        assert_eq!(parse(&more, LIMITS).expect("valid").folded(), [(String::new(), 4)]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = sample();
        for at in 1..bytes.len() {
            let got = parse(&bytes[..at], LIMITS).map(drop);
            assert!(matches!(got, Err(NodesError::Truncated { at: end, .. }) if end == at), "{at}: {got:?}");
        }
    }

    #[test]
    fn a_deep_tree_takes_no_stack() {
        let mut bytes = node("", 0, 1);
        (0..200_000).for_each(|_| bytes.extend(node("f", 1, 1)));
        bytes.extend(node("leaf", 1, 0));
        let tree = parse(&bytes, LIMITS).expect("valid");
        assert_eq!(tree.frame_count(), 200_001);
        let narrow = StackLimits { size_bytes_max: 1000, ..LIMITS };
        let error = parse(&bytes, narrow).map(drop).expect_err("too deep").to_string();
        let want =
            "the node at byte 4003: the stacks have more than 1000 different frames (max_profile_size_bytes)";
        assert_eq!(error, want);
    }

    #[test]
    fn names_are_text() {
        let mut bytes = [node("", 0, 1), node("ab", 1, 0)].concat();
        bytes[4] = 0xff;
        assert_eq!(parse(&bytes, LIMITS).map(drop), Err(NodesError::Utf8 { at: 3 }));
    }
}
