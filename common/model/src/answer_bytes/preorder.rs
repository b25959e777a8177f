//! A tree's nodes in preorder, as three columns. Knows neither names nor locations: a node is a number.

use super::codec::{Reader, Writer};
use super::{DEPTH_MAX, EncodeError, InvalidAnswer};

/// Writes all nodes but the root (node 0): count, then the columns. A child's place in `parents` is behind its parent's.
pub(super) fn encode(
    parents: &[u32],
    values: &[i64],
    mut number_of: impl FnMut(usize) -> u64,
    out: &mut Writer,
) -> Result<(), EncodeError> {
    let (starts, children) = children(parents);
    let mut columns = [Writer::default(), Writer::default(), Writer::default()];
    let [ups, numbers, own] = &mut columns;
    // (node, depth); the root has depth 0.
    let mut open: Vec<(u32, usize)> = Vec::new();
    let push_children = |open: &mut Vec<(u32, usize)>, node: usize, depth: usize| {
        let range = starts[node] as usize..starts[node + 1] as usize;
        open.extend(children[range].iter().rev().map(|child| (*child, depth)));
    };
    push_children(&mut open, 0, 1);
    let mut last_depth = 0;
    while let Some((node, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(EncodeError::Depth);
        }
        let node = node as usize;
        ups.len(last_depth + 1 - depth);
        numbers.uint(number_of(node));
        own.int(values[node]);
        last_depth = depth;
        push_children(&mut open, node, depth + 1);
    }
    out.len(parents.len() - 1);
    columns.iter().for_each(|column| out.section(column));
    Ok(())
}

/// Children by parent, in the order of their ids.
fn children(parents: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; parents.len() + 1];
    parents.iter().skip(1).for_each(|parent| starts[*parent as usize + 1] += 1);
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut fill = starts.clone();
    let mut children = vec![0u32; parents.len().saturating_sub(1)];
    for (at, parent) in parents.iter().enumerate().skip(1) {
        let slot = &mut fill[*parent as usize];
        children[*slot as usize] = at as u32;
        *slot += 1;
    }
    (starts, children)
}

/// Reads nodes: `add` gets a node's parent (as `add` named it; `root` for the first level), number and value, and names it.
pub(super) fn decode(
    from: &mut Reader<'_>,
    numbers_end: usize,
    root: u32,
    mut add: impl FnMut(u32, usize, i64) -> u32,
) -> Result<(), InvalidAnswer> {
    // A node has a byte in each column.
    let count = from.count(3)?;
    let (mut ups, mut numbers, mut own) = (from.section()?, from.section()?, from.section()?);
    let mut path = vec![root];
    for _ in 0..count {
        let up = ups.uint()?;
        let keep = usize::try_from(up).ok().and_then(|up| path.len().checked_sub(up));
        let keep = keep.filter(|keep| *keep > 0).ok_or_else(|| ups.error("above the root"))?;
        path.truncate(keep);
        if path.len() > DEPTH_MAX {
            return Err(ups.error("too deep"));
        }
        let node = add(path[keep - 1], numbers.index(numbers_end)?, own.int()?);
        path.push(node);
    }
    for column in [ups, numbers, own] {
        if column.left() > 0 {
            return Err(column.error("more values than nodes"));
        }
    }
    Ok(())
}
