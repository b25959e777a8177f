//! Which rows of heads count: by their places in journals, and by deletions that they fall under.

use std::sync::Arc;

use hearth_block::Hidden;
use hearth_common::TimeRange;

use super::rows::RowHead;
use super::series::ChunkMeta;
use hearth_model::View;

/// Which rows count: by journal, positions after the first and up to the second; and of these not the deleted ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Filter {
    ranges: Vec<(u64, u64)>,
    deleted: Vec<Deleted>,
}

/// Rows that were deleted: up to a position of each journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Deleted {
    pub(crate) hidden: Arc<Hidden>,
    pub(crate) upto: Vec<u64>,
}

/// How much of a chunk a filter lets through, by positions alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    None,
    Some,
    All,
}

/// The deletions that a series falls under, seen as one of its types.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hides<'f>(Vec<&'f Deleted>);

impl Filter {
    pub(crate) fn new(ranges: Vec<(u64, u64)>) -> Self {
        Self { ranges, deleted: Vec::new() }
    }

    /// The same without these rows.
    pub(crate) fn without(self, deleted: Vec<Deleted>) -> Self {
        Self { deleted, ..self }
    }

    /// Whether a row's place counts.
    #[inline]
    pub(crate) fn admits(&self, journal: u32, position: u64) -> bool {
        self.ranges.get(journal as usize).is_some_and(|(after, upto)| *after < position && position <= *upto)
    }

    /// What is known of a chunk without walking it.
    pub(crate) fn share(&self, meta: &ChunkMeta) -> Share {
        let Some((journal, least, greatest)) = meta.positions else { return Share::Some };
        let Some((after, upto)) = self.ranges.get(journal as usize) else { return Share::None };
        match (*after < least && greatest <= *upto, greatest <= *after || least > *upto) {
            (true, _) => Share::All,
            (_, true) => Share::None,
            _ => Share::Some,
        }
    }

    /// What is deleted of a series and type.
    pub(crate) fn hides(&self, view: View<'_>) -> Hides<'_> {
        Hides(self.deleted.iter().filter(|deleted| view.matches(&deleted.hidden.selector)).collect())
    }

    /// Whether there is any deletion.
    pub(crate) fn deletes(&self) -> bool {
        !self.deleted.is_empty()
    }
}

impl Hides<'_> {
    /// Whether a row is deleted.
    #[inline]
    pub(crate) fn has(&self, head: &RowHead) -> bool {
        let is_deleted = |deleted: &&Deleted| {
            let upto = deleted.upto.get(head.journal as usize).copied().unwrap_or_default();
            head.position <= upto && deleted.hidden.range.contains(head.time)
        };
        self.0.iter().any(is_deleted)
    }

    /// Whether some row of a chunk may be deleted.
    pub(crate) fn touches(&self, meta: &ChunkMeta) -> bool {
        let span = TimeRange { start: meta.min_time, end: meta.max_time };
        let may = |deleted: &&Deleted| {
            let is_near = meta.positions.is_none_or(|(journal, least, _)| {
                deleted.upto.get(journal as usize).is_some_and(|upto| least <= *upto)
            });
            is_near && deleted.hidden.range.overlaps(span)
        };
        self.0.iter().any(may)
    }
}
