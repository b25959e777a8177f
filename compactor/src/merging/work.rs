//! One job from its inputs in the store to its output there: what runs on a thread of its own.

use std::sync::Arc;

use hearth_block::merge::{RowFilter, estimate_memory_bytes};
use hearth_block::{BlockReader, MergeError, MergeOptions, Merged, merge};
use hearth_catalog::BlockEntry;
use hearth_common::TenantId;
use hearth_objstore::{Store, StoreError};

use super::sink::{StoreSink, sink_memory_bytes};
use super::stop::Stop;
use crate::plan::Job;

/// Everything that a job needs, for another thread.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) store: Store,
    pub(super) tenant: TenantId,
    pub(super) job: Job,
    pub(super) filter: RowFilter,
    pub(super) attempt: String,
    pub(super) memory_budget_bytes: u64,
    pub(super) target_output_bytes: u64,
    pub(super) stop: Stop,
}

/// A merge that is uploaded and not yet published.
#[derive(Debug)]
pub(super) struct Worked {
    /// What was merged: fewer inputs than planned if not all fit in memory.
    pub(super) job: Job,
    pub(super) merged: Merged,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    #[error("stopped")]
    Stopped,
    /// A block that no later try will read.
    #[error("block {} cannot be merged", block.id)]
    Damaged {
        block: Arc<BlockEntry>,
        #[source]
        source: MergeError,
    },
    /// The smallest merge does not fit; the largest of its inputs.
    #[error("merging block {} with any other takes more memory or room than there is", block.id)]
    TooLarge {
        block: Arc<BlockEntry>,
        #[source]
        source: Option<MergeError>,
    },
    /// What comes out is wrong, whatever the reason.
    #[error("what was merged is not what it was merged from")]
    Wrong(#[source] MergeError),
    /// The store failed, or the root went on.
    #[error("the merge failed")]
    Failed(#[source] MergeError),
}

impl Work {
    pub(super) async fn run(mut self) -> Result<Worked, WorkError> {
        let readers = self.open().await?;
        let readers: Vec<&BlockReader> = readers.iter().collect();
        let options = self.fit(&readers)?;
        let readers = &readers[..self.job.inputs().count()];
        let mut sink = StoreSink::new(self.store.clone(), self.tenant.clone(), self.stop.clone());
        match merge(readers, &self.filter, &options, &mut sink).await {
            Ok(merged) => Ok(Worked { job: self.job, merged }),
            Err(error) => {
                sink.abort().await;
                Err(self.judge(error).await)
            }
        }
    }

    async fn open(&self) -> Result<Vec<BlockReader>, WorkError> {
        let mut readers = Vec::new();
        for entry in self.job.inputs() {
            let folder = entry.folder(&self.tenant);
            let objects = |name: &str| {
                let bytes = entry.object(name).map(|object| object.bytes);
                self.stop.reading(self.store.range_reader(format!("{folder}/{name}"), bytes))
            };
            match BlockReader::open(Arc::clone(entry), objects).await {
                Ok(reader) => readers.push(reader),
                Err(source) => return Err(self.judge(MergeError::Input { block: entry.id, source }).await),
            }
        }
        Ok(readers)
    }

    /// Leaves inputs out until the merge is estimated to fit in memory.
    fn fit(&mut self, readers: &[&BlockReader]) -> Result<MergeOptions, WorkError> {
        loop {
            let readers = &readers[..self.job.inputs().count()];
            let open_bytes: usize = readers.iter().map(|reader| reader.cached_bytes()).sum();
            let beside = sink_memory_bytes(self.job.level()) + open_bytes as u64;
            let options = MergeOptions {
                level: self.job.level(),
                attempt: self.attempt.clone(),
                memory_budget_bytes: self.memory_budget_bytes.saturating_sub(beside),
                target_output_bytes: self.target_output_bytes,
                ..MergeOptions::new(self.tenant.clone(), 0)
            };
            if estimate_memory_bytes(readers, &options) <= options.memory_budget_bytes {
                return Ok(options);
            }
            self.job = self.job.smaller().ok_or_else(|| self.too_large(None))?;
        }
    }

    fn too_large(&self, source: Option<MergeError>) -> WorkError {
        let largest = self.job.sets.last().and_then(|set| set.blocks.first());
        match (largest, source) {
            (Some(block), source) => WorkError::TooLarge { block: Arc::clone(block), source },
            (None, Some(source)) => WorkError::Failed(source),
            (None, None) => WorkError::Failed(MergeError::Plan("there are none".to_owned())),
        }
    }

    /// Tells what will be the same at the next try from what may pass.
    async fn judge(&self, error: MergeError) -> WorkError {
        if self.stop.is_set() {
            return WorkError::Stopped;
        }
        match error {
            MergeError::Input { block, ref source } => {
                let Some(block) = self.job.inputs().find(|input| input.id == block) else {
                    return WorkError::Failed(error);
                };
                let passes = matches!(source, hearth_block::BlockError::Read { .. });
                if passes && !self.is_missing(block).await {
                    return WorkError::Failed(error);
                }
                WorkError::Damaged { block: Arc::clone(block), source: error }
            }
            MergeError::Memory { .. } | MergeError::Output(_) => self.too_large(Some(error)),
            MergeError::Plan(_) | MergeError::Balance(_) => WorkError::Wrong(error),
            MergeError::Sink { .. } => WorkError::Failed(error),
        }
    }

    /// Whether an object of a block is not there, or not as long as it was written. An answer of the store is needed for a
    /// yes.
    async fn is_missing(&self, block: &BlockEntry) -> bool {
        let folder = block.folder(&self.tenant);
        for object in &block.objects {
            match self.store.head(&format!("{folder}/{}", object.name)).await {
                Ok(found) if found.bytes != object.bytes => return true,
                Ok(_) => {}
                Err(error) => return StoreError::is_not_found(&error),
            }
        }
        false
    }
}
