//! Which querier reads which block: by a ring of the queriers and the hash of the block's id, so that each keeps a part of
//! all blocks in memory, and one that comes or goes moves only its share. And from when on it is worth asking others.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_block::BlockEntry;
use hearth_common::{BlockId, InstanceId};
use hearth_model::{Question, labels};
use hearth_ring::{Ring, token_of};

/// From when on a question is shared: both must be reached. A small one is answered sooner by one querier alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Blocks to be read.
    pub blocks: usize,
    /// About how many bytes they are expected to give.
    pub bytes: u64,
}

impl Threshold {
    /// Whether a question that needs these blocks is large enough.
    pub fn is_reached(&self, question: &Question, blocks: &[Arc<BlockEntry>]) -> bool {
        let bytes = || {
            let each = blocks.iter().map(|block| expected_bytes(question, block));
            each.fold(0, u64::saturating_add)
        };
        blocks.len() >= self.blocks.max(1) && bytes() >= self.bytes
    }
}

/// About how many bytes a question reads of a block, by what the block's entry says. A guess: services differ in size.
pub fn expected_bytes(question: &Question, block: &BlockEntry) -> u64 {
    let object = |name| block.object(name).map_or(0, |object| object.bytes);
    let Some(query) = question.profile_query() else { return object(hearth_block::INDEX) };
    let by_row = matches!(question, Question::Points { .. });
    let reads_stacks = !by_row || query.spans.is_some() || !query.call_site.is_empty();
    let bytes = if reads_stacks { block.bytes() } else { object(hearth_block::PROFILES) };
    // A unit is one service's profiles of one name.
    let units = block.units.max(1);
    let names = [labels::SERVICE_NAME, labels::SERVICE_NAME_COPY];
    let one_service = names.iter().any(|name| query.selector.equal_to(name).is_some());
    let wanted = if one_service { 1 } else { (units / (block.types.len() as u64).max(1)).max(1) };
    (bytes / units).saturating_mul(wanted)
}

/// Blocks that one querier is asked for in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose they are.
    pub owner: InstanceId,
    /// At least one.
    pub blocks: Vec<Arc<BlockEntry>>,
}

/// Who reads what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// What the asker reads itself.
    pub own: Vec<Arc<BlockEntry>>,
    /// What it asks others for.
    pub parts: Vec<Part>,
}

/// Gives each block to its owner: the first member of the ring from the block's point on that is not to be avoided. `me`
/// never is. Parts have at most `part_max` blocks.
pub fn split(
    blocks: &[Arc<BlockEntry>],
    ring: &Ring,
    me: &InstanceId,
    avoid: impl Fn(&InstanceId) -> bool,
    part_max: usize,
) -> Split {
    let mut by_owner: BTreeMap<&InstanceId, Vec<Arc<BlockEntry>>> = BTreeMap::new();
    let mut split = Split::default();
    for block in blocks {
        let mut members = heirs(ring, block.id).filter(|member| *member == me || !avoid(member));
        match members.next() {
            Some(owner) if owner != me => by_owner.entry(owner).or_default().push(Arc::clone(block)),
            _ => split.own.push(Arc::clone(block)),
        }
    }
    let mut parts: Vec<(usize, Part)> = Vec::new();
    for (owner, blocks) in by_owner {
        let of_owner = blocks.chunks(part_max.max(1)).enumerate();
        parts.extend(of_owner.map(|(at, part)| (at, Part { owner: owner.clone(), blocks: part.to_vec() })));
    }
    // In turns: whoever asks for some at a time keeps all owners busy.
    parts.sort_by_key(|(at, _)| *at);
    split.parts = parts.into_iter().map(|(_, part)| part).collect();
    split
}

/// The members in the order in which they take a block over, its owner first.
pub fn heirs(ring: &Ring, block: BlockId) -> impl Iterator<Item = &InstanceId> {
    ring.successors(token_of(block.0))
}

#[cfg(test)]
#[path = "share/tests.rs"]
mod tests;
