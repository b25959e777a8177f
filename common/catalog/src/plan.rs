//! Decides what the next root says. Pure: a base and a wish in, the next root's content or a verdict out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_block::{BlockEntry, SourceRange};
use hearth_common::{BlockId, JournalId, Position, TenantId, TimestampNs};

use crate::error::CatalogError;
use crate::keys::block_path;
use crate::ranges::{Held, overlap};
use crate::root::{Condemned, Root, Tombstone};
use crate::view::RootView;

/// A cut that is to be published: all rows of the ranges that are not void lie in the blocks.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Per journal the run of positions; `after` is the coverage that the cut started from. One range a journal.
    pub ranges: Vec<SourceRange>,
    /// The blocks, uploaded and durable; none when the ranges hold no rows.
    pub add: Vec<BlockEntry>,
    /// Entries inside the ranges whose rows the blocks leave out because the root declares them void.
    pub without: Vec<(JournalId, Position)>,
    /// Entries of other journals that are not to be published because the rows of this cut count instead.
    pub voids: Vec<(JournalId, Position)>,
    /// Deletions whose rows the blocks leave out: exactly those of the root that reach into the ranges, or the cut is built
    /// again ([`RootView::deletions_beyond`]).
    pub deletions: BTreeSet<u128>,
    /// Journals that end with this commit: they and all earlier lives of their owner are covered as a whole from here on.
    pub drained: Vec<JournalId>,
}

/// What became of a commit.
#[derive(Debug, Clone)]
pub enum Publication {
    /// It is in the root since this version.
    Published(Arc<RootView>),
    /// The ranges were published before (by an earlier attempt, or by somebody else): this commit's blocks are not in the
    /// root, unless the earlier attempt was the same.
    AlreadyCovered(Arc<RootView>),
    /// Part of the ranges is published already, a row of the cut was declared void meanwhile, or deletions came or went.
    /// Nothing was written: trim the cut to what lies beyond the view's coverage, leave the view's voids and deletions out,
    /// and build it again.
    CoverageAhead(Arc<RootView>),
}

impl Publication {
    /// The newest root, whatever became of the commit.
    pub fn view(&self) -> &Arc<RootView> {
        match self {
            Self::Published(view) | Self::AlreadyCovered(view) | Self::CoverageAhead(view) => view,
        }
    }

    /// Whether all ranges of the commit are covered now.
    pub fn is_covered(&self) -> bool {
        !matches!(self, Self::CoverageAhead(_))
    }
}

/// Names one attempt of a block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// The block.
    pub id: BlockId,
    /// Which attempt.
    pub attempt: String,
}

impl BlockRef {
    /// The name of a block.
    pub fn of(block: &BlockEntry) -> Self {
        Self { id: block.id, attempt: block.attempt.clone() }
    }

    pub(crate) fn is(&self, block: &BlockEntry) -> bool {
        self.id == block.id && self.attempt == block.attempt
    }
}

/// A change of the root that publishes no journal: by compaction, retention, deletion or collection.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Blocks that leave the root, and are condemned by the same commit. All must be in the newest root.
    pub remove: Vec<BlockRef>,
    /// Blocks that come in, uploaded and durable.
    pub add: Vec<BlockEntry>,
    /// Paths to condemn: folders of blocks with a slash at the end, or keys of pages.
    pub condemn: Vec<String>,
    /// Condemned paths whose objects are deleted: their entries leave the root.
    pub forget: Vec<String>,
    /// Deletions to add.
    pub bury: Vec<Tombstone>,
    /// Deletions that every block has applied, by id.
    pub unbury: Vec<u128>,
    /// Deletions, by id, whose rows the blocks that come in leave out. All others that a removed block had still to apply
    /// pass to every block that comes in.
    pub applied: BTreeSet<u128>,
    /// Deletion and block: the block has nothing to apply, though it stays.
    pub released: Vec<(u128, BlockId)>,
}

impl Edit {
    /// Whether the edit changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.add.is_empty()
            && self.condemn.is_empty()
            && self.forget.is_empty()
            && self.bury.is_empty()
            && self.unbury.is_empty()
            && self.released.is_empty()
    }
}

/// What the next root will hold; pages are named later, when they are written.
#[derive(Debug)]
pub(crate) struct NextRoot {
    /// As the base, with everything changed except version, nonces and pages.
    pub(crate) root: Root,
    /// The days whose pages change, with all their blocks (none: the page goes).
    pub(crate) days: BTreeMap<i32, Vec<Arc<BlockEntry>>>,
    /// Blocks that are new in the root.
    pub(crate) added: Vec<Arc<BlockEntry>>,
}

#[derive(Debug)]
pub(crate) enum Planned {
    Write(Box<NextRoot>),
    AlreadyCovered,
    CoverageAhead,
    /// The cut leaves out other rows than the base's deletions say.
    OtherDeletions,
}

/// Plans a publication on a base.
pub(crate) fn plan_commit(
    tenant: &TenantId,
    base: &RootView,
    commit: &Commit,
) -> Result<Planned, CatalogError> {
    check_sources(commit)?;
    let coverage = &base.root.coverage;
    let (mut covered, mut ahead) = (0, false);
    for range in &commit.ranges {
        let at = coverage.of(&range.journal);
        if at >= range.upto {
            covered += 1;
        } else if at > range.after {
            ahead = true;
        } else if at < range.after {
            let journal = range.journal.clone();
            return Err(CatalogError::Gap { journal, covered: at, after: range.after });
        }
    }
    if covered == commit.ranges.len() && !commit.ranges.is_empty() {
        return Ok(Planned::AlreadyCovered);
    }
    // An own row that became void meanwhile must not be published either.
    let voided = |range: &SourceRange| {
        let voids = base.root.voids.get(&range.journal);
        let left_out = |p: &Position| commit.without.iter().any(|(j, at)| *j == range.journal && at == p);
        voids.is_some_and(|at| at.range(range.after.next()..=range.upto).any(|p| !left_out(p)))
    };
    if covered > 0 || ahead || commit.ranges.iter().any(voided) {
        return Ok(Planned::CoverageAhead);
    }
    if base.deletions_beyond(&commit.ranges) != commit.deletions {
        return Ok(Planned::OtherDeletions);
    }
    let mut next = NextRoot { root: base.root.clone(), days: BTreeMap::new(), added: Vec::new() };
    add_blocks(tenant, base, &mut next, &commit.add)?;
    let root = &mut next.root;
    for (journal, position) in &commit.voids {
        root.voids.entry(journal.clone()).or_default().insert(*position);
    }
    for range in &commit.ranges {
        root.coverage.raise(&range.journal, range.upto);
    }
    for journal in &commit.drained {
        root.coverage.drain(journal);
    }
    let coverage = &root.coverage;
    root.voids.retain(|journal, positions| {
        let upto = coverage.of(journal);
        positions.retain(|position| *position > upto);
        !positions.is_empty()
    });
    Ok(Planned::Write(Box::new(next)))
}

/// Every source of every block must lie in a range of the commit, and no journal may come twice.
fn check_sources(commit: &Commit) -> Result<(), CatalogError> {
    let mut ranges = BTreeMap::new();
    for range in &commit.ranges {
        if range.upto <= range.after {
            return Err(CatalogError::Invalid(format!(
                "the range of journal {} ends at {}, which is not behind its start {}",
                range.journal, range.upto.0, range.after.0
            )));
        }
        if ranges.insert(&range.journal, range).is_some() {
            return Err(CatalogError::Invalid(format!("journal {} comes twice", range.journal)));
        }
    }
    if ranges.is_empty() && commit.drained.is_empty() {
        return Err(CatalogError::Invalid("it has no range".to_owned()));
    }
    for block in &commit.add {
        if block.sources.is_empty() {
            return Err(CatalogError::Invalid(format!("block {} names no source", block.id)));
        }
        for source in &block.sources {
            let inside =
                ranges.get(&source.journal).is_some_and(|r| r.after <= source.after && source.upto <= r.upto);
            if !inside {
                return Err(CatalogError::Invalid(format!(
                    "block {} holds entries {} to {} of journal {}, which the commit does not",
                    block.id,
                    source.after.0 + 1,
                    source.upto.0,
                    source.journal
                )));
            }
        }
    }
    Ok(())
}

/// Plans an edit on a base.
pub(crate) fn plan_edit(
    tenant: &TenantId,
    base: &RootView,
    edit: &Edit,
    now: TimestampNs,
) -> Result<NextRoot, CatalogError> {
    let mut next = NextRoot { root: base.root.clone(), days: BTreeMap::new(), added: Vec::new() };
    let mut removed_blocks = Vec::new();
    for removed in &edit.remove {
        let gone = || CatalogError::InputGone { block: format!("{}.{}", removed.id, removed.attempt) };
        let block = base.find(removed).ok_or_else(gone)?;
        removed_blocks.push(Arc::clone(block));
        day_blocks(base, &mut next.days, block.day).retain(|b| !removed.is(b));
        next.root.condemned.insert(block_path(tenant, block), Condemned { since: now });
    }
    if !removed_blocks.is_empty() {
        for block in &edit.add {
            let stay = day_blocks(base, &mut next.days, block.day);
            check_replacement(block, &removed_blocks, stay)?;
        }
    }
    add_blocks(tenant, base, &mut next, &edit.add)?;
    pass_tombstones_on(&mut next.root.tombstones, &removed_blocks, edit);
    let named: BTreeSet<String> = base
        .blocks
        .iter()
        .filter(|block| !edit.remove.iter().any(|removed| removed.is(block)))
        .map(|block| block_path(tenant, block))
        .chain(next.added.iter().map(|block| block_path(tenant, block)))
        .chain(base.root.pages.iter().map(|(day, page)| crate::page_key(tenant, *day, page.unique)))
        .collect();
    for path in &edit.condemn {
        if named.contains(path) {
            return Err(CatalogError::Invalid(format!("'{path}' is in use and cannot be condemned")));
        }
        next.root.condemned.entry(path.clone()).or_insert(Condemned { since: now });
    }
    for path in &edit.forget {
        next.root.condemned.remove(path);
    }
    next.root.tombstones.extend(edit.bury.iter().cloned());
    next.root.tombstones.retain(|tombstone| !edit.unbury.contains(&tombstone.id));
    Ok(next)
}

/// What replaces blocks holds nothing else than they did, and nothing that a block which stays holds: else its rows would
/// count twice, or journal entries would be published past their coverage.
fn check_replacement(
    block: &BlockEntry,
    removed: &[Arc<BlockEntry>],
    stay: &[Arc<BlockEntry>],
) -> Result<(), CatalogError> {
    let of_day = removed.iter().filter(|removed| removed.day == block.day);
    let held = Held::of(of_day.flat_map(|removed| &removed.sources));
    if let Some(source) = block.sources.iter().find(|source| !held.holds(source)) {
        return Err(CatalogError::Invalid(format!(
            "block {} holds entries {} to {} of journal {}, which no block that it replaces holds",
            block.id,
            source.after.0 + 1,
            source.upto.0,
            source.journal
        )));
    }
    if let Some(other) = stay.iter().find(|other| overlap(&other.sources, &block.sources)) {
        return Err(CatalogError::Invalid(format!(
            "block {} and block {}, which stays, hold the same entries",
            block.id, other.id
        )));
    }
    Ok(())
}

/// Blocks that leave have nothing to apply any more; what replaces them has what it does not leave out by itself.
fn pass_tombstones_on(tombstones: &mut [Tombstone], removed: &[Arc<BlockEntry>], edit: &Edit) {
    for tombstone in tombstones {
        let mut passes_on = false;
        for block in removed {
            passes_on |= tombstone.blocks.remove(&block.id);
        }
        if passes_on && !edit.applied.contains(&tombstone.id) {
            tombstone.blocks.extend(edit.add.iter().map(|block| block.id));
        }
        let released = edit.released.iter().filter(|(id, _)| *id == tombstone.id);
        released.for_each(|(_, block)| _ = tombstone.blocks.remove(block));
    }
}

fn add_blocks(
    tenant: &TenantId,
    base: &RootView,
    next: &mut NextRoot,
    add: &[BlockEntry],
) -> Result<(), CatalogError> {
    for block in add {
        let path = block_path(tenant, block);
        if next.root.condemned.contains_key(&path) {
            return Err(CatalogError::Condemned { path });
        }
        let day = day_blocks(base, &mut next.days, block.day);
        if day.iter().any(|present| present.id == block.id) {
            return Err(CatalogError::Invalid(format!("block {} is in the root already", block.id)));
        }
        let block = Arc::new(block.clone());
        day.push(Arc::clone(&block));
        next.added.push(block);
    }
    Ok(())
}

/// The blocks of a day as they will be.
fn day_blocks<'a>(
    base: &RootView,
    days: &'a mut BTreeMap<i32, Vec<Arc<BlockEntry>>>,
    day: i32,
) -> &'a mut Vec<Arc<BlockEntry>> {
    days.entry(day)
        .or_insert_with(|| base.pages.get(&day).map(|page| page.blocks.clone()).unwrap_or_default())
}
