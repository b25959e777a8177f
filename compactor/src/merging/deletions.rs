//! What of a root's deletions a merge carries out. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use hearth_block::merge::{RowFilter, Tombstone as RowTombstone};
use hearth_catalog::{BlockEntry, RootView, Tombstone};
use hearth_common::{BlockId, TimeRange};
use hearth_model::Selector;

/// The rows that a merge leaves out, and the deletions that are carried out by it.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    pub(super) filter: RowFilter,
    pub(super) applied: BTreeSet<u128>,
}

/// The deletions that inputs have to apply, as far as they can be understood. One that cannot stays with the blocks.
pub(super) fn deletions(view: &RootView, inputs: &[Arc<BlockEntry>]) -> Deletions {
    let mut found = Deletions::default();
    for tombstone in &view.root.tombstones {
        let Ok(selector) = Selector::parse(&tombstone.selector) else { continue };
        if !inputs.iter().any(|block| tombstone.blocks.contains(&block.id)) {
            continue;
        }
        let mut upto = tombstone.upto.clone();
        // Blocks that are named have it to apply, also if nobody asked for the ends of their journals any more. What was
        // published before them of the same journals was there as well.
        let named = inputs.iter().filter(|block| tombstone.blocks.contains(&block.id));
        for source in named.flat_map(|block| &block.sources) {
            let end = upto.entry(source.journal.clone()).or_default();
            *end = (*end).max(source.upto);
        }
        let (range, upto) = (range_of(tombstone), upto.into_iter().collect());
        found.filter.tombstones.push(RowTombstone { selector, range, upto });
        found.applied.insert(tombstone.id);
    }
    found
}

/// Blocks that have a deletion to apply that can be understood.
pub(crate) fn waiting(view: &RootView) -> BTreeSet<BlockId> {
    let understood = |tombstone: &&Tombstone| Selector::parse(&tombstone.selector).is_ok();
    view.root.tombstones.iter().filter(understood).flat_map(|t| t.blocks.iter().copied()).collect()
}

/// Blocks whose profiles all lie outside of the times of a deletion: they have nothing to apply.
pub(crate) fn out_of_reach(view: &RootView) -> Vec<(u128, BlockId)> {
    let mut found = Vec::new();
    for tombstone in &view.root.tombstones {
        let outside = view.blocks.iter().filter(|block| {
            let times = TimeRange { start: block.min_time, end: block.max_time };
            tombstone.blocks.contains(&block.id) && !range_of(tombstone).overlaps(times)
        });
        found.extend(outside.map(|block| (tombstone.id, block.id)));
    }
    found
}

fn range_of(tombstone: &Tombstone) -> TimeRange {
    TimeRange { start: tombstone.start, end: tombstone.end }
}
