//! The compact tree encoding of the wire (api-semantics §2.8): pre-order, name, self, number of children.

use crate::layout::{Children, Shape};
use crate::name_tree::{NameTree, NodeId};
use crate::question::AnswerError;

/// Deepest tree that is read.
const DEPTH_MAX: usize = 1 << 16;

/// The bytes are no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged tree bytes at offset {0}")]
pub struct InvalidTree(pub usize);

/// How often a tree is cut (see `Shape::cut`).
const CUTS: u32 = 3;

/// Encodes a tree, truncated as flame graphs are; the empty tree is no bytes.
pub fn encode(tree: &NameTree, max_nodes: i64) -> Result<Vec<u8>, AnswerError> {
    tree.checked_total()?;
    if tree.is_empty() {
        return Ok(Vec::new());
    }
    let shape = Shape::cut(tree, max_nodes, CUTS);
    let children = Children::new(&shape, |at| shape.totals[at] > 0);
    let mut out = Vec::new();
    let mut stack = vec![0u32];
    while let Some(node) = stack.pop() {
        let at = node as usize;
        put(&mut out, shape.name(at), shape.selfs[at], children.of(at).len());
        // The greatest name is taken from the stack first: children are written in reverse order of names.
        stack.extend_from_slice(children.of(at));
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, name: &str, own: i64, children: usize) {
    uvarint(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    uvarint(out, own as u64);
    uvarint(out, children as u64);
}

fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Decodes; fewer than two bytes are the empty tree. Memory is bounded by the input's length.
pub fn decode(bytes: &[u8]) -> Result<NameTree, InvalidTree> {
    let mut tree = NameTree::new();
    if bytes.len() < 2 {
        return Ok(tree);
    }
    let mut at = 0;
    // (node, children still to come); the super-root is the tree's root.
    let mut open: Vec<(NodeId, u64)> = Vec::new();
    while at < bytes.len() {
        let start = at;
        let length = usize::try_from(read(bytes, &mut at)?).map_err(|_| InvalidTree(start))?;
        let name = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or(InvalidTree(start))?;
        at += length;
        let own = i64::try_from(read(bytes, &mut at)?).map_err(|_| InvalidTree(start))?;
        let children = read(bytes, &mut at)?;
        let node = match open.last_mut() {
            None => NameTree::ROOT,
            Some((parent, left)) => {
                *left -= 1;
                let name = std::str::from_utf8(name).map_err(|_| InvalidTree(start))?;
                let (parent, name) = (*parent, tree.intern(name));
                tree.child(parent, name)
            }
        };
        tree.add_self(node, own);
        open.push((node, children));
        if open.len() > DEPTH_MAX {
            return Err(InvalidTree(start));
        }
        while open.last().is_some_and(|(_, left)| *left == 0) {
            open.pop();
        }
        if open.is_empty() {
            break;
        }
    }
    if open.is_empty() && at == bytes.len() { Ok(tree) } else { Err(InvalidTree(at)) }
}

fn read(bytes: &[u8], at: &mut usize) -> Result<u64, InvalidTree> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(InvalidTree(*at))?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(InvalidTree(*at))
}
