//! Deletions, as they go with questions.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_block::{Deletion, Hidden};
use hearth_common::{BlockId, Position};

use super::question::{one_selector, range, range_to, selector_to};
use super::{Malformed, id, id_bytes, ids, ids_bytes, journal, malformed, must, pb, short};

/// Most deletions of one message; a tenant has no more pending ones (hearth-catalog `PENDING_MAX`).
pub(crate) const DELETIONS_MAX: usize = 1024;

pub(crate) fn encode(deletions: &[Deletion]) -> Vec<pb::Deletion> {
    deletions.iter().map(one_to).collect()
}

fn one_to(deletion: &Deletion) -> pb::Deletion {
    let upto = deletion
        .upto
        .iter()
        .map(|(journal, position)| pb::deletion::Upto { journal: journal.to_string(), position: position.0 });
    pb::Deletion {
        id: id_bytes(deletion.id),
        selector: Some(selector_to(&deletion.hidden.selector)),
        range: Some(range_to(deletion.hidden.range)),
        upto: upto.collect(),
        blocks: ids_bytes(deletion.blocks.iter().map(|block| block.0)),
    }
}

pub(crate) fn decode(deletions: Vec<pb::Deletion>) -> Result<Vec<Deletion>, Malformed> {
    if deletions.len() > DELETIONS_MAX {
        return malformed(format!("{} deletions, limit {DELETIONS_MAX}", deletions.len()));
    }
    deletions.into_iter().map(one).collect()
}

fn one(deletion: pb::Deletion) -> Result<Deletion, Malformed> {
    short(deletion.upto.len(), "journals of a deletion")?;
    let mut upto = BTreeMap::new();
    for of_journal in &deletion.upto {
        upto.insert(journal(&of_journal.journal)?, Position(of_journal.position));
    }
    let hidden = Hidden {
        selector: one_selector(must(deletion.selector, "selector")?)?,
        range: range(must(deletion.range, "range")?),
    };
    Ok(Deletion {
        id: id(&deletion.id)?,
        hidden: Arc::new(hidden),
        upto,
        blocks: ids(&deletion.blocks)?.into_iter().map(BlockId).collect(),
    })
}
