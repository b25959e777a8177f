//! A root with its pages loaded: what readers and planners work on.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_block::BlockEntry;
use hearth_common::{JournalId, Position};

use crate::deletion::Parsed;
use crate::plan::BlockRef;
use crate::root::Root;

/// One version of a root with all blocks that it names. Immutable; later versions share the pages that did not change.
#[derive(Debug, Clone)]
pub struct RootView {
    /// The root.
    pub root: Root,
    /// All blocks, by day and, within a day, in the order of their publication.
    pub blocks: Vec<Arc<BlockEntry>>,
    pub(crate) pages: BTreeMap<i32, Arc<Page>>,
    /// Bytes as encoded.
    pub(crate) bytes: u64,
    /// The deletions with their selectors parsed, once somebody asked for them.
    pub(crate) deletions: Parsed,
}

/// The blocks of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) day: i32,
    pub(crate) unique: u128,
    pub(crate) blocks: Vec<Arc<BlockEntry>>,
}

impl RootView {
    pub(crate) fn new(root: Root, pages: BTreeMap<i32, Arc<Page>>, root_bytes: u64) -> Self {
        let blocks = pages.values().flat_map(|page| page.blocks.iter().map(Arc::clone)).collect();
        let bytes = root_bytes + root.pages.values().map(|page| page.bytes).sum::<u64>();
        Self { root, blocks, pages, bytes, deletions: Parsed::default() }
    }

    /// The view before the first commit.
    pub fn empty() -> Self {
        Self::new(Root::empty(), BTreeMap::new(), 0)
    }

    /// The root's version.
    pub fn version(&self) -> u64 {
        self.root.version
    }

    /// How far a journal is published; 0 if nothing is, `Position(u64::MAX)` if it is drained.
    pub fn coverage(&self, journal: &JournalId) -> Position {
        self.root.coverage.of(journal)
    }

    /// The block of that id and attempt.
    pub fn find(&self, block: &BlockRef) -> Option<&Arc<BlockEntry>> {
        self.blocks.iter().find(|b| block.is(b))
    }
}
