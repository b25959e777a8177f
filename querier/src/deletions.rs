//! Deletions: what one would take, making one, how far those are that were made, taking one back (design: replication B10).
//!
//! Heads are asked first, so that everything that was acknowledged before the call falls under the deletion; then the root
//! says it. Must not know: wire formats, how rows are left out, how blocks are written anew.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::{
    BlockEntry, Burial, CatalogError, DeletionRecord, Progress, RECORDS_MAX, RootView, Taken, Tombstone,
};
use hearth_common::error::chain;
use hearth_common::{Classify, ErrorKind, JournalId, Position, Retry, TenantId, TimeRange, TimestampNs};
use hearth_model::{Answer, AnswerError, Question, Selector, Tally};
use hearth_query::ask::{AskError, parse_selector};
use hearth_query::plan::may_hold;

use crate::{Querier, QueryError, Terms};
pub use report::{Report, last_of_ms};

/// Most services and types that a record keeps; what is beyond stands together under [`OTHERS`].
const TAKES_MAX: usize = 1000;
/// Stands for all services and types that a record does not name.
const OTHERS: &str = "(others)";

/// What is to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletionAsk {
    /// PromQL selector.
    pub selector: String,
    /// Times of profiles, both ends inclusive.
    pub range: TimeRange,
    /// A selector that selects every series is meant so.
    pub everything: bool,
}

/// What a deletion takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Takes {
    /// By service and type.
    pub tally: Tally,
    /// Of it, what lies in blocks; the rest is not published yet.
    pub in_blocks: Tally,
}

/// Where a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its rows are not answered any more; some are still stored.
    Pending(Progress),
    /// Its rows are gone.
    Done,
    /// It was taken back.
    Cancelled,
}

/// A deletion that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletionInfo {
    /// What is remembered of it.
    pub record: DeletionRecord,
    /// Where it is.
    pub state: State,
}

/// Why a deletion was not made, shown or taken back.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// What is to be deleted is not said well.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The start is behind the end.
    #[error("the range ends before it starts: from {from_ms} ms, until {until_ms} ms")]
    Range {
        /// Milliseconds.
        from_ms: i64,
        /// Milliseconds.
        until_ms: i64,
    },
    /// Every series would go.
    #[error(
        "selector '{selector}' has no matcher that narrows it, so it would delete every series of the tenant: say \
         \"everything\": true if that is meant"
    )]
    Everything {
        /// As given.
        selector: String,
    },
    /// Some cells could not be asked.
    #[error("not all unpublished profiles could be looked at, so nothing was deleted: {why}; try again")]
    Partial {
        /// Which.
        why: String,
    },
    /// The question failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The root could not be read or changed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Classify for DeletionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Ask(error) => error.kind(),
            Self::Range { .. } | Self::Everything { .. } => ErrorKind::InvalidArgument,
            Self::Partial { .. } => ErrorKind::Unavailable,
            Self::Query(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Query(error) => error.retry(),
            Self::Catalog(error) => error.retry(),
            Self::Partial { .. } => Retry::After(Duration::from_secs(1)),
            _ => Retry::Never,
        }
    }
}

impl DeletionAsk {
    fn check(&self) -> Result<Selector, DeletionError> {
        let selector = parse_selector(&self.selector)?;
        let TimeRange { start, end } = self.range;
        if start > end {
            return Err(DeletionError::Range { from_ms: start.as_ms(), until_ms: end.as_ms() });
        }
        // A matcher that the empty text satisfies holds for series without the label, too.
        let narrows = |m: &hearth_model::Matcher| !m.matches("");
        if !self.everything && !selector.matchers.iter().any(narrows) {
            return Err(DeletionError::Everything { selector: self.selector.clone() });
        }
        Ok(selector)
    }
}

impl Querier {
    /// What a deletion would take now, exactly.
    pub async fn preview_deletion(
        &self,
        tenant: &TenantId,
        ask: &DeletionAsk,
        terms: impl Into<Terms>,
    ) -> Result<Takes, DeletionError> {
        let selector = ask.check()?;
        Ok(self.count(tenant, ask.range, selector, terms.into()).await?.0)
    }

    /// Deletes. When it returns, no query that begins afterwards, here or at another querier, is answered with a row that was
    /// acknowledged before the call.
    pub async fn delete(
        &self,
        tenant: &TenantId,
        ask: &DeletionAsk,
        terms: impl Into<Terms>,
    ) -> Result<(DeletionInfo, Takes), DeletionError> {
        let selector = ask.check()?;
        let inner = &self.0;
        let (takes, rows_end) = self.count(tenant, ask.range, selector.clone(), terms.into()).await?;
        let id = inner.engine.catalog.random();
        let burial = Burial { id, selector: ask.selector.clone(), range: ask.range, rows_end };
        let limit = inner.limits.limits(tenant).max_pending_deletions;
        let may = |block: &BlockEntry| may_hold(&selector, block);
        let catalog = &inner.engine.catalog;
        let view = catalog.bury(tenant, &burial, limit, may).await.inspect_err(|error| {
            inner.engine.metrics.deletion(match error {
                CatalogError::TooManyDeletions { .. } | CatalogError::TooManyBlocks { .. } => "refused",
                _ => "failed",
            });
        })?;
        inner.engine.metrics.deletion("created");
        let tombstone = view.root.tombstones.iter().find(|tombstone| tombstone.id == id);
        let positions = view.root.coverage.positions();
        let record = DeletionRecord {
            id,
            selector: ask.selector.clone(),
            range: ask.range,
            created: inner.clock.now(),
            cancelled: None,
            blocks: tombstone.map_or(0, |tombstone| tombstone.blocks.len() as u64),
            blocks_crc32c: tombstone.map(Tombstone::blocks_crc32c),
            coverage: positions.map(|(journal, at)| (journal.clone(), at)).collect(),
            takes: taken(&takes.tally),
        };
        tracing::info!(%tenant, id = format!("{id:032x}"), selector = ask.selector, "profiles are deleted");
        self.remember(tenant, &record, &view).await;
        if !catalog.is_only_publisher() {
            // Others may plan on the root that they know for so long (design: replication B10).
            tokio::time::sleep(inner.engine.root_age).await;
        }
        let state = tombstone.map_or(State::Done, |tombstone| State::Pending(view.progress(tombstone)));
        Ok((DeletionInfo { record, state }, takes))
    }

    /// All deletions that are remembered, newest first.
    pub async fn deletions(&self, tenant: &TenantId) -> Result<Vec<DeletionInfo>, DeletionError> {
        let catalog = &self.0.engine.catalog;
        let records = catalog.deletion_records(tenant).await?;
        // Read after the records: what is not in it any more is over.
        let view = catalog.newest(tenant, Duration::ZERO).await?;
        let view = view.unwrap_or_else(|| Arc::new(RootView::empty()));
        let mut pending: BTreeMap<u128, &Tombstone> =
            view.root.tombstones.iter().map(|tombstone| (tombstone.id, tombstone)).collect();
        let mut all: Vec<DeletionInfo> = Vec::new();
        for record in records {
            let state = match pending.remove(&record.id).map(|tombstone| view.progress(tombstone)) {
                Some(progress) if !progress.is_done() => State::Pending(progress),
                None if record.cancelled.is_some() => State::Cancelled,
                _ => State::Done,
            };
            all.push(DeletionInfo { record, state });
        }
        // Of some nothing is remembered but what the root says.
        let unknown = pending.into_values().filter(|tombstone| !view.progress(tombstone).is_done());
        all.extend(unknown.map(|tombstone| DeletionInfo {
            record: record_of(tombstone),
            state: State::Pending(view.progress(tombstone)),
        }));
        Ok(all)
    }

    /// Takes a deletion back. With `force` also one that is carried out in part: that part is gone.
    pub async fn cancel_deletion(
        &self,
        tenant: &TenantId,
        id: u128,
        force: bool,
    ) -> Result<(), DeletionError> {
        let catalog = &self.0.engine.catalog;
        let records = catalog.deletion_records(tenant).await?;
        let record = records.into_iter().find(|record| record.id == id);
        let untouched = |view: &RootView, tombstone: &Tombstone| {
            force || record.as_ref().is_some_and(|record| is_untouched(view, tombstone, record))
        };
        let view = catalog.exhume(tenant, id, untouched).await?;
        self.0.engine.metrics.deletion("cancelled");
        tracing::info!(%tenant, id = format!("{id:032x}"), force, "a deletion is taken back");
        if let Some(record) = record {
            let cancelled = Some(self.0.clock.now());
            self.remember(tenant, &DeletionRecord { cancelled, ..record }, &view).await;
        }
        Ok(())
    }

    async fn count(
        &self,
        tenant: &TenantId,
        range: TimeRange,
        selector: Selector,
        terms: Terms,
    ) -> Result<(Takes, BTreeMap<JournalId, Position>), DeletionError> {
        let question = Question::Tally { range, selector };
        let terms = Terms { allow_partial: false, ..terms };
        let answered = self.ask_one(tenant, &question, terms).await?;
        if answered.marks.partial {
            return Err(DeletionError::Partial { why: answered.marks.inexact.join("; ") });
        }
        let (Answer::Tally(in_blocks), Answer::Tally(in_heads)) = (answered.blocks, answered.heads) else {
            return Err(QueryError::from(AnswerError::Kind).into());
        };
        let mut tally = in_blocks.clone();
        tally.merge(in_heads);
        Ok((Takes { tally, in_blocks }, answered.rows_end))
    }

    /// Writes a record; the oldest that are over go when there are too many. The deletion holds without it.
    async fn remember(&self, tenant: &TenantId, record: &DeletionRecord, view: &RootView) {
        let catalog = &self.0.engine.catalog;
        let remembered = async {
            catalog.put_deletion_record(tenant, record).await?;
            let pending: BTreeSet<u128> = view.root.tombstones.iter().map(|t| t.id).collect();
            let records = catalog.deletion_records(tenant).await?;
            let over = records.iter().skip(RECORDS_MAX).map(|record| record.id);
            let over: Vec<u128> = over.filter(|id| !pending.contains(id)).collect();
            catalog.forget_deletion_records(tenant, &over).await
        };
        if let Err(error) = remembered.await {
            tracing::warn!(%tenant, error = %chain(&error), "the record of a deletion is not written");
        }
    }
}

/// Whether nothing of a deletion is carried out: all its blocks are there, and nothing was cut that it reaches into. They are the
/// same blocks, not as many: a merge may have taken its rows out of some, and another one have cut others in several.
fn is_untouched(view: &RootView, tombstone: &Tombstone, record: &DeletionRecord) -> bool {
    let then = |journal: &JournalId| record.coverage.get(journal).copied().unwrap_or_default();
    let cut = |(journal, upto): (&JournalId, &Position)| {
        *upto > then(journal) && view.coverage(journal) != then(journal)
    };
    let left = view.progress(tombstone).blocks_left as u64;
    let same = left == record.blocks && record.blocks_crc32c == Some(tombstone.blocks_crc32c());
    same && !tombstone.upto.iter().any(cut)
}

fn record_of(tombstone: &Tombstone) -> DeletionRecord {
    DeletionRecord {
        id: tombstone.id,
        selector: tombstone.selector.clone(),
        range: TimeRange { start: tombstone.start, end: tombstone.end },
        created: TimestampNs(0),
        cancelled: None,
        blocks: tombstone.blocks.len() as u64,
        blocks_crc32c: None,
        coverage: BTreeMap::new(),
        takes: Vec::new(),
    }
}

/// The largest, then the rest together.
fn taken(tally: &Tally) -> Vec<Taken> {
    let mut all: Vec<Taken> = tally.counted.iter().map(report::taken).collect();
    if all.len() > TAKES_MAX {
        all.sort_by_key(|taken| std::cmp::Reverse(taken.profiles));
        let rest = all.split_off(TAKES_MAX);
        let sum = |of: fn(&Taken) -> u64| rest.iter().map(of).sum();
        all.push(Taken {
            service: OTHERS.to_owned(),
            profile_type: String::new(),
            profiles: sum(|taken| taken.profiles),
            samples: sum(|taken| taken.samples),
            bytes: sum(|taken| taken.bytes),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use hearth_common::BlockId;

    use super::*;

    fn block(id: u128) -> Arc<BlockEntry> {
        Arc::new(BlockEntry { id: BlockId(id), ..BlockEntry::default() })
    }

    /// A root with these blocks, all of which a deletion names.
    fn buried(ids: &[u128]) -> (RootView, Tombstone) {
        let mut view = RootView::empty();
        view.blocks = ids.iter().map(|id| block(*id)).collect();
        let tombstone = Tombstone {
            id: 7,
            selector: "{}".to_owned(),
            start: TimestampNs(0),
            end: TimestampNs(1),
            upto: BTreeMap::new(),
            blocks: ids.iter().map(|id| BlockId(*id)).collect(),
        };
        (view, tombstone)
    }

    #[test]
    fn a_deletion_is_untouched_while_its_blocks_are_the_same() {
        let (_, tombstone) = buried(&[1, 2]);
        let blocks_crc32c = Some(tombstone.blocks_crc32c());
        let record = DeletionRecord { blocks_crc32c, ..record_of(&tombstone) };
        let untouched = |ids: &[u128], record: &DeletionRecord| {
            let (view, tombstone) = buried(ids);
            is_untouched(&view, &tombstone, record)
        };
        assert!(untouched(&[1, 2], &record) && untouched(&[2, 1], &record));
        // 1 has carried it out, and a merge that had begun before has cut 2 in two.
        assert!(!untouched(&[3, 4], &record));
        assert!(!untouched(&[2], &record) && !untouched(&[1, 2, 3], &record));
        let first_version = DeletionRecord { blocks_crc32c: None, ..record };
        assert!(!untouched(&[1, 2], &first_version), "it does not say which blocks there were");
    }
}
