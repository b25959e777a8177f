//! Name trees: the names in order of first use, then the nodes.

use super::codec::{Reader, Writer};
use super::{EncodeError, InvalidAnswer, preorder};
use crate::name_tree::{NameId, NameTree, NodeId};

pub(super) fn encode(tree: &NameTree, out: &mut Writer) -> Result<(), EncodeError> {
    tree.checked_total()?;
    let ids = tree.name_ids();
    let mut places = vec![u32::MAX; tree.name_count()];
    let mut used: Vec<u32> = Vec::new();
    let mut nodes = Writer::default();
    let number = |node: usize| {
        let place = &mut places[ids[node] as usize];
        if *place == u32::MAX {
            *place = used.len() as u32;
            used.push(ids[node]);
        }
        u64::from(*place)
    };
    preorder::encode(tree.parents(), tree.selfs(), number, &mut nodes)?;
    out.texts(used.iter().map(|id| tree.name_text(*id)));
    out.bytes.append(&mut nodes.bytes);
    Ok(())
}

pub(super) fn decode(from: &mut Reader<'_>) -> Result<NameTree, InvalidAnswer> {
    let mut tree = NameTree::new();
    let names: Vec<NameId> = from.texts()?.iter().map(|name| tree.intern(name)).collect();
    preorder::decode(from, names.len(), NameTree::ROOT.0, |parent, name, own| {
        let node = tree.child(NodeId(parent), names[name]);
        tree.add_self(node, own);
        node.0
    })?;
    Ok(tree)
}
