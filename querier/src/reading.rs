//! Reads blocks for one question in this process, within a budget of bytes. The same for a query that came here and for one
//! that came to a peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use hearth_block::deletion::hidden_in;
use hearth_block::{BlockEntry, BlockError, Deletion};
use hearth_common::work::away;
use hearth_common::{TenantId, Turns, Workers};
use hearth_model::{Answer, Question};
use tokio::sync::Semaphore;

use crate::blocks::{Blocks, Open};
use crate::error::{PlannedRead, QueryError};
use crate::gather::Gather;
use crate::metrics::Metrics;
use crate::skipped::Skipped;

/// Blocks of one query that are fetched at once.
pub(crate) const FETCHES_AT_ONCE: usize = 8;

/// Blocks of all queries that are fetched at once, of tenants that keep to their share, and as many of the others.
pub(crate) const FETCHES_OF_ROW: usize = 48;

/// Bytes that one query may fetch from blocks.
#[derive(Debug)]
pub(crate) struct Budget {
    /// As the error names it.
    limit: u64,
    /// Less than the limit when others have used a part.
    max: u64,
    used: AtomicU64,
}

impl Budget {
    /// All of the limit.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, max: limit, used: AtomicU64::new(0) }
    }

    /// For work that may count or not: what is left now.
    pub(crate) fn rest(&self) -> Self {
        Self { limit: self.limit, max: self.left(), used: AtomicU64::new(0) }
    }

    pub(crate) fn take(&self, bytes: u64) -> Result<(), QueryError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.max { Err(self.exceeded()) } else { Ok(()) }
    }

    pub(crate) fn exceeded(&self) -> QueryError {
        QueryError::Bytes { limit: self.limit, planned: None }
    }

    pub(crate) fn left(&self) -> u64 {
        self.max.saturating_sub(self.used())
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What is read, and what for.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) question: &'a Question,
    /// Of the root that has the blocks.
    pub(crate) deletions: &'a [Deletion],
    pub(crate) budget: &'a Budget,
    /// Blocks that the answer may lack.
    pub(crate) skipped: &'a Skipped,
    /// One permit a block that is fetched: [`FETCHES_AT_ONCE`] for the whole query.
    pub(crate) fetches: &'a Semaphore,
}

/// Why blocks gave no answer.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// A block could not be read; a newer root may not have it any more.
    Unreadable(QueryError),
    /// The local disk had a block wrong, and is not asked for it any more.
    Again(QueryError),
    /// For good.
    Failed(QueryError),
}

impl<E: Into<QueryError>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A block that was not read: left out, or the end of the query.
fn unread(reading: &Reading<'_>, folder: &str, source: BlockError) -> Result<(), ReadError> {
    if reading.skipped.skip(folder, &source) { Ok(()) } else { Err(failed(folder, source)) }
}

fn failed(folder: &str, source: BlockError) -> ReadError {
    let is_read = matches!(source, BlockError::Read { .. });
    let error = QueryError::Block { block: folder.to_owned(), source };
    if is_read { ReadError::Unreadable(error) } else { ReadError::Failed(error) }
}

/// Reads blocks. One for a process.
pub(crate) struct Reader {
    pub(crate) blocks: Blocks,
    /// Blocks that are fetched, and held until they are computed.
    pub(crate) fetching: Turns,
    /// Threads that compute.
    pub(crate) threads: Turns,
    pub(crate) workers: Workers,
    pub(crate) metrics: Metrics,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl Reader {
    /// Adds the answers of blocks to `gather`, each once, or fails.
    pub(crate) async fn read(
        &self,
        reading: &Reading<'_>,
        blocks: Vec<Arc<BlockEntry>>,
        gather: &Arc<Gather>,
    ) -> Result<(), ReadError> {
        let tasks = blocks.into_iter().map(|entry| self.read_one(reading, entry, Arc::clone(gather)));
        futures::stream::iter(tasks).buffer_unordered(FETCHES_AT_ONCE).try_collect::<()>().await
    }

    /// Refuses what would read more than its budget, before it reads anything but indexes. They are opened only if the blocks
    /// are large enough for it.
    pub(crate) async fn refuse_too_much(
        &self,
        reading: &Reading<'_>,
        blocks: &[Arc<BlockEntry>],
    ) -> Result<(), ReadError> {
        let limit = reading.budget.left();
        if blocks.iter().map(|block| block.bytes()).sum::<u64>() <= limit {
            return Ok(());
        }
        let planned = blocks.iter().cloned().map(|entry| self.planned(reading, entry));
        let planned: Vec<u64> =
            futures::stream::iter(planned).buffer_unordered(FETCHES_AT_ONCE).try_collect().await?;
        let bytes = planned.iter().sum();
        if bytes <= limit {
            return Ok(());
        }
        self.metrics.refused.inc();
        let planned = PlannedRead { bytes, blocks: planned.iter().filter(|bytes| **bytes > 0).count() };
        Err(QueryError::Bytes { limit: reading.budget.limit, planned: Some(planned) }.into())
    }

    /// Bytes that a block would be read of.
    async fn planned(&self, reading: &Reading<'_>, entry: Arc<BlockEntry>) -> Result<u64, ReadError> {
        let folder = entry.folder(reading.tenant);
        let _fetch = reading.fetches.acquire().await.map_err(|_| QueryError::Worker)?;
        match self.blocks.open(reading.tenant, &entry, &self.metrics).await {
            Ok(open) => Ok(open.reader.fetch_bytes(reading.question, &hidden_in(reading.deletions, &entry))),
            // It is opened again when it is to be read, and left out then.
            Err(source) if reading.skipped.may_skip() => {
                tracing::debug!(block = folder, error = %source, "a block that cannot be opened is not counted");
                Ok(0)
            }
            Err(source) => Err(failed(&folder, source)),
        }
    }

    async fn read_one(
        &self,
        reading: &Reading<'_>,
        entry: Arc<BlockEntry>,
        gather: Arc<Gather>,
    ) -> Result<(), ReadError> {
        let folder = entry.folder(reading.tenant);
        let _fetch = reading.fetches.acquire().await.map_err(|_| QueryError::Worker)?;
        let _turn = self.fetching.take(reading.tenant).await;
        let open = match self.blocks.open(reading.tenant, &entry, &self.metrics).await {
            Ok(open) => open,
            Err(source) => return unread(reading, &folder, source),
        };
        let hidden = hidden_in(reading.deletions, &entry);
        let prepared = match open.reader.prepare_without(reading.question, &hidden).await {
            Ok(prepared) => prepared,
            Err(source) => return self.unread(reading, &folder, &open, source),
        };
        let bytes = prepared.fetched_bytes();
        self.metrics.blocks.inc();
        self.metrics.bytes.inc_by(bytes);
        self.metrics.rows.inc_by(prepared.rows());
        reading.budget.take(bytes)?;
        let turn = self.threads.take(reading.tenant).await;
        // An answer of other blocks is lost with a block that fails.
        let apart = reading.skipped.may_skip();
        let work = move || {
            let others = if apart { None } else { gather.take() };
            let answer = match others {
                Some(others) => prepared.run_onto(others)?,
                None => prepared.run()?,
            };
            gather.add(answer)?;
            Ok::<_, BlockError>(())
        };
        let worked = away(&self.workers, move || turn.run(work));
        if let Err(source) = worked.await.map_err(|_| QueryError::Worker)? {
            return self.unread(reading, &folder, &open, source);
        }
        self.blocks.used(folder, &open);
        self.metrics.open(&self.blocks);
        Ok(())
    }

    /// An open block that was not read. The answer of other blocks may be lost with it, so that all are read again if the local
    /// disk is to blame.
    fn unread(
        &self,
        reading: &Reading<'_>,
        folder: &str,
        open: &Open,
        source: BlockError,
    ) -> Result<(), ReadError> {
        if matches!(source, BlockError::Damaged { .. }) && self.blocks.distrust(folder, &open.origin) {
            return Err(ReadError::Again(QueryError::Block { block: folder.to_owned(), source }));
        }
        unread(reading, folder, source)
    }

    /// Adds the answer of others to `gather`, on a thread that computes.
    pub(crate) async fn add(
        &self,
        tenant: &TenantId,
        answer: Answer,
        gather: &Arc<Gather>,
    ) -> Result<(), QueryError> {
        let turn = self.threads.take(tenant).await;
        let gather = Arc::clone(gather);
        let worked = away(&self.workers, move || turn.run(|| gather.add(answer)));
        Ok(worked.await.map_err(|_| QueryError::Worker)??)
    }
}
