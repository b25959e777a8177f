//! What blocks hold of journals: overlap, cover, and which blocks are parts of one merge. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_block::{BlockEntry, BlockSpec, SourceRange};
use hearth_common::{JournalId, Position, TenantId};

/// Most parts of one merge whose ids are told from others.
const PARTS_MAX: u32 = 4096;

/// Whether both hold some entry of some journal.
pub(crate) fn overlap(one: &[SourceRange], other: &[SourceRange]) -> bool {
    let meets =
        |a: &SourceRange, b: &SourceRange| a.journal == b.journal && a.after < b.upto && b.after < a.upto;
    one.iter().any(|a| other.iter().any(|b| meets(a, b)))
}

/// Entries of journals, joined where they touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held<'a>(BTreeMap<&'a JournalId, Vec<(Position, Position)>>);

impl<'a> Held<'a> {
    /// All entries of these ranges.
    pub(crate) fn of(ranges: impl IntoIterator<Item = &'a SourceRange>) -> Self {
        let mut sorted: Vec<&SourceRange> = ranges.into_iter().collect();
        sorted.sort();
        let mut held: BTreeMap<&JournalId, Vec<(Position, Position)>> = BTreeMap::new();
        for range in sorted {
            let of_journal = held.entry(&range.journal).or_default();
            match of_journal.last_mut() {
                Some((_, upto)) if range.after <= *upto => *upto = (*upto).max(range.upto),
                _ => of_journal.push((range.after, range.upto)),
            }
        }
        Self(held)
    }

    /// Whether all entries of a range are among these.
    pub(crate) fn holds(&self, range: &SourceRange) -> bool {
        let of_journal = self.0.get(&range.journal).map(Vec::as_slice).unwrap_or_default();
        of_journal.iter().any(|(after, upto)| *after <= range.after && range.upto <= *upto)
    }
}

/// Whether two blocks can be parts of one merge that was cut: all parts name what all of them hold together.
pub(crate) fn same_merge(one: &BlockEntry, other: &BlockEntry) -> bool {
    one.day == other.day && one.level == other.level && one.sources == other.sources
}

/// Which part of its merge a block is, by its id. `None`: it is no part of any.
pub(crate) fn part_of(tenant: &TenantId, block: &BlockEntry) -> Option<u32> {
    let BlockEntry { id, day, level, sources, .. } = block;
    let spec = BlockSpec { tenant: tenant.clone(), day: *day, level: *level, sources: sources.clone() };
    (0..PARTS_MAX).find(|part| spec.id_of_part(*part) == *id)
}

/// Blocks of one day by the merge that they come from, in the order of their first.
pub(crate) fn by_merge(blocks: &[Arc<BlockEntry>]) -> Vec<Vec<Arc<BlockEntry>>> {
    let mut merges: Vec<Vec<Arc<BlockEntry>>> = Vec::new();
    let mut known: BTreeMap<(u8, &[SourceRange]), usize> = BTreeMap::new();
    for block in blocks {
        let at = *known.entry((block.level, &block.sources)).or_insert(merges.len());
        if at == merges.len() {
            merges.push(Vec::new());
        }
        merges[at].push(Arc::clone(block));
    }
    merges
}
