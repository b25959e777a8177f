//! Deletions in a root: what one says, how far it is carried out, how one comes in and goes (design: replication B10).
//!
//! A deletion names all blocks of its root that may hold its rows, and the position of each journal up to which rows are
//! deleted. No row escapes: it lies in one of these blocks, or beyond the coverage of its journal, where heads and cuts leave
//! it out, and a cut that did not is refused ([`RootView::deletions_beyond`]). Must not know: who asks heads, how rows are
//! hidden, how blocks are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use hearth_block::{BlockEntry, Deletion, Hidden, SourceRange};
use hearth_common::{BlockId, JournalId, Position, TenantId, TimeRange};
use hearth_model::Selector;

use crate::error::CatalogError;
use crate::plan::Edit;
use crate::root::Tombstone;
use crate::view::RootView;
use crate::{Catalog, root_key};

/// Most deletions of a tenant that wait to be carried out, whatever its limits say: each query compares with all of them.
pub const PENDING_MAX: usize = 1000;
/// Most blocks that the waiting deletions of a tenant may name, all together: each version of the root repeats them.
pub const BLOCKS_MAX: usize = 100_000;

/// The deletions of a root, parsed when they are first asked for; the error says which is wrong and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parsed(OnceLock<Result<Arc<[Deletion]>, String>>);

/// A deletion that is to come into the root.
#[derive(Debug, Clone)]
pub struct Burial {
    /// Random.
    pub id: u128,
    /// What is deleted, as it was written.
    pub selector: String,
    /// Times, both ends inclusive.
    pub range: TimeRange,
    /// Up to where rows of the tenant stand, by journal, as heads said after the deletion was asked for.
    pub rows_end: BTreeMap<JournalId, Position>,
}

/// How far a deletion is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks that still hold such rows.
    pub blocks_left: usize,
    /// Journals with such rows that are not published yet.
    pub journals_left: usize,
}

impl Progress {
    /// Whether no such row is anywhere.
    pub fn is_done(self) -> bool {
        self.blocks_left == 0 && self.journals_left == 0
    }
}

impl Burial {
    /// The tombstone on a root. `may_hold` says whether a block can hold such rows, by its entry.
    fn tombstone(&self, view: &RootView, may_hold: impl Fn(&BlockEntry) -> bool) -> Tombstone {
        let mut upto = self.rows_end.clone();
        let mut raise = |journal: &JournalId, to: Position| {
            let at = upto.entry(journal.clone()).or_default();
            *at = (*at).max(to);
        };
        // What was published since heads were asked lies in blocks that are named here.
        view.root.coverage.positions().for_each(|(journal, covered)| raise(journal, covered));
        let sources = view.blocks.iter().flat_map(|block| &block.sources);
        sources.for_each(|source| raise(&source.journal, source.upto));
        upto.retain(|_, position| *position > Position(0));
        let near = |block: &&Arc<BlockEntry>| {
            let span = TimeRange { start: block.min_time, end: block.max_time };
            self.range.overlaps(span) && may_hold(block)
        };
        let blocks: BTreeSet<BlockId> = view.blocks.iter().filter(near).map(|block| block.id).collect();
        let TimeRange { start, end } = self.range;
        Tombstone { id: self.id, selector: self.selector.clone(), start, end, upto, blocks }
    }
}

impl RootView {
    /// All deletions that are not carried out. An error: one of them cannot be read, and nothing may be answered.
    pub fn deletions(&self, tenant: &TenantId) -> Result<Arc<[Deletion]>, CatalogError> {
        let parsed = self.deletions.0.get_or_init(|| self.root.tombstones.iter().map(parse).collect());
        let damaged =
            |why: &String| CatalogError::Damaged { key: root_key(tenant, self.version()), why: why.clone() };
        parsed.as_ref().map(Arc::clone).map_err(damaged)
    }

    /// The deletions that reach into these ranges: a cut of them leaves their rows out.
    pub fn deletions_beyond(&self, ranges: &[SourceRange]) -> BTreeSet<u128> {
        let reaches = |tombstone: &&Tombstone| {
            ranges.iter().any(|range| tombstone.upto.get(&range.journal).is_some_and(|at| *at > range.after))
        };
        self.root.tombstones.iter().filter(reaches).map(|tombstone| tombstone.id).collect()
    }

    /// How far a deletion of this root is carried out.
    pub fn progress(&self, tombstone: &Tombstone) -> Progress {
        let is_left = |block: &&Arc<BlockEntry>| tombstone.blocks.contains(&block.id);
        let waits = |(journal, upto): &(&JournalId, &Position)| self.coverage(journal) < **upto;
        Progress {
            blocks_left: self.blocks.iter().filter(is_left).count(),
            journals_left: tombstone.upto.iter().filter(waits).count(),
        }
    }

    /// Deletions that are carried out: an edit may take them out of the root.
    pub fn spent_deletions(&self) -> Vec<u128> {
        let spent = self.root.tombstones.iter().filter(|tombstone| self.progress(tombstone).is_done());
        spent.map(|tombstone| tombstone.id).collect()
    }
}

fn parse(tombstone: &Tombstone) -> Result<Deletion, String> {
    let selector = Selector::parse(&tombstone.selector).map_err(|error| {
        format!("selector '{}' of deletion {:032x}: {error}", tombstone.selector, tombstone.id)
    })?;
    let range = TimeRange { start: tombstone.start, end: tombstone.end };
    Ok(Deletion {
        id: tombstone.id,
        hidden: Arc::new(Hidden { selector, range }),
        upto: tombstone.upto.clone(),
        blocks: tombstone.blocks.clone(),
    })
}

impl Catalog {
    /// Commits a deletion: whoever reads the root from now on does not answer its rows. `limit`: most that may wait.
    /// Returns the root that has it. Those that are carried out leave the root.
    pub async fn bury(
        &self,
        tenant: &TenantId,
        burial: &Burial,
        limit: usize,
        may_hold: impl Fn(&BlockEntry) -> bool,
    ) -> Result<Arc<RootView>, CatalogError> {
        let limit = limit.min(PENDING_MAX);
        let edited = self.edit_on(tenant, true, |view| {
            // An earlier attempt whose answer was lost.
            if view.root.tombstones.iter().any(|tombstone| tombstone.id == burial.id) {
                return Ok(Edit::default());
            }
            let unbury = view.spent_deletions();
            let waiting = || view.root.tombstones.iter().filter(|tombstone| !unbury.contains(&tombstone.id));
            let pending = waiting().count();
            if pending >= limit {
                return Err(CatalogError::TooManyDeletions { pending, limit });
            }
            let tombstone = burial.tombstone(view, &may_hold);
            let blocks = waiting().map(|t| t.blocks.len()).sum::<usize>() + tombstone.blocks.len();
            if blocks > BLOCKS_MAX {
                return Err(CatalogError::TooManyBlocks { blocks, limit: BLOCKS_MAX });
            }
            Ok(Edit { bury: vec![tombstone], unbury, ..Edit::default() })
        });
        match edited.await? {
            Some(view) => Ok(view),
            None => {
                let view = self.newest(tenant, std::time::Duration::ZERO).await?;
                view.ok_or_else(|| CatalogError::Invalid("the root is gone".to_owned()))
            }
        }
    }

    /// Takes a deletion back; its rows are answered again. `untouched` says whether nothing of it is carried out.
    pub async fn exhume(
        &self,
        tenant: &TenantId,
        id: u128,
        untouched: impl Fn(&RootView, &Tombstone) -> bool,
    ) -> Result<Arc<RootView>, CatalogError> {
        let edited = self.edit(tenant, |view| {
            let found = view.root.tombstones.iter().find(|tombstone| tombstone.id == id);
            let tombstone = found.ok_or(CatalogError::NotPending { id })?;
            if view.progress(tombstone).is_done() {
                return Err(CatalogError::NotPending { id });
            }
            if !untouched(view, tombstone) {
                return Err(CatalogError::CarriedOutInPart { id });
            }
            Ok(Edit { unbury: vec![id], ..Edit::default() })
        });
        edited.await?.ok_or(CatalogError::NotPending { id })
    }

    /// A random number from where nonces come from.
    pub fn random(&self) -> u128 {
        (self.rng)()
    }

    /// Whether what this process commits is at once what everybody reads.
    pub fn is_only_publisher(&self) -> bool {
        self.options.only_publisher
    }
}
