//! Rows that a user has deleted and that still lie in blocks or heads: which rows, and where they must be left out.
//!
//! Must not know: who deletes, roots, how rows are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_common::{BlockId, JournalId, Position, TimeRange};
use hearth_model::Selector;

use crate::entry::BlockEntry;
use crate::merge::Tombstone;

/// Rows that are not there for whoever asks: of these series, at these times.
#[derive(Debug, Clone, PartialEq)]
pub struct Hidden {
    /// Matchers on the labels of series, derived ones included.
    pub selector: Selector,
    /// Times of profiles, both ends inclusive.
    pub range: TimeRange,
}

/// A deletion, as readers and mergers need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// Random; names it.
    pub id: u128,
    /// Which rows.
    pub hidden: Arc<Hidden>,
    /// Of these journals rows up to these positions; later ones stay.
    pub upto: BTreeMap<JournalId, Position>,
    /// Blocks that still hold such rows. In all others either no such row ever was, or it is gone.
    pub blocks: BTreeSet<BlockId>,
}

impl Deletion {
    /// Whether rows of a block have to be left out.
    pub fn hides_in(&self, block: &BlockEntry) -> bool {
        let span = TimeRange { start: block.min_time, end: block.max_time };
        self.blocks.contains(&block.id) && self.hidden.range.overlaps(span)
    }

    /// Up to where rows of a journal are deleted; 0 = none.
    pub fn upto(&self, journal: &JournalId) -> Position {
        self.upto.get(journal).copied().unwrap_or_default()
    }

    /// The same as a filter of a merge.
    pub fn tombstone(&self) -> Tombstone {
        Tombstone {
            selector: self.hidden.selector.clone(),
            range: self.hidden.range,
            upto: self.upto.iter().map(|(journal, upto)| (journal.clone(), *upto)).collect(),
        }
    }
}

/// What of some deletions has to be left out of a block.
pub fn hidden_in(deletions: &[Deletion], block: &BlockEntry) -> Vec<Arc<Hidden>> {
    deletions.iter().filter(|d| d.hides_in(block)).map(|d| Arc::clone(&d.hidden)).collect()
}
