//! Blocks that only go together: the parts of one merge that was cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_catalog::{BlockEntry, SourceRange};
use hearth_common::TimestampNs;

/// A block, or all parts of one merge. All name what they hold together, so that no part can be merged without the others:
/// nobody could tell from the entries which rows are where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSet {
    /// Their day.
    pub day: i32,
    /// Their level.
    pub level: u8,
    /// The blocks, in the order of the root.
    pub blocks: Vec<Arc<BlockEntry>>,
    /// Bytes of all.
    pub bytes: u64,
    /// Earliest profile.
    pub min_time: TimestampNs,
    /// Latest profile.
    pub max_time: TimestampNs,
}

/// The sets of blocks, in the order of their first.
pub fn sets_of(blocks: &[Arc<BlockEntry>]) -> Vec<BlockSet> {
    let mut sets: Vec<BlockSet> = Vec::new();
    let mut known: BTreeMap<(i32, u8, &[SourceRange]), usize> = BTreeMap::new();
    for block in blocks {
        let key = (block.day, block.level, block.sources.as_slice());
        let at = *known.entry(key).or_insert(sets.len());
        if at == sets.len() {
            let BlockEntry { day, level, min_time, max_time, .. } = **block;
            sets.push(BlockSet { day, level, blocks: Vec::new(), bytes: 0, min_time, max_time });
        }
        let set = &mut sets[at];
        set.bytes += block.bytes();
        set.min_time = set.min_time.min(block.min_time);
        set.max_time = set.max_time.max(block.max_time);
        set.blocks.push(Arc::clone(block));
    }
    sets
}
