//! Merges of blocks, from the plan to the committed root.
//!
//! A job reads its inputs from the store and uploads its output under names that nobody knows; then one edit of the root
//! puts the output in place of the inputs, which stay in the store for the deletion delay. Cut off anywhere before that edit,
//! it leaves garbage that is collected. Must not know how rows are merged, nor why these blocks were chosen.

mod aside;
mod deletions;
mod expiry;
mod sink;
mod stop;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hearth_block::Merged;
use hearth_block::merge::Expiry;
use hearth_catalog::{BlockEntry, BlockRef, CatalogError, Edit, RootView};
use hearth_common::error::chain;
use hearth_common::{BlockId, TenantId, work::away};
use hearth_objstore::Class;

use crate::metrics::Outcome;
use crate::plan::{BlockSet, Job, plan, stuck};
use crate::{Compactor, CompactorError};
pub(crate) use aside::Aside;
pub(crate) use deletions::out_of_reach;
use deletions::{Deletions, deletions, waiting};
pub(crate) use expiry::Looked;
use stop::Stop;
use work::{Work, WorkError, Worked};

/// Jobs of one tenant in a row before the next tenant has its turn.
const JOBS_IN_A_ROW: usize = 8;
/// Turns of a tenant in one round.
const TURNS_MAX: usize = 64;

/// A merge is cut into about this share of the most inputs: parts are cut between services, and may be twice as many.
const PARTS_SHARE: u64 = 4;

/// How merges are carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergingOptions {
    /// Memory that a merge takes at most, by estimate: what it cannot do within is done with fewer inputs.
    pub memory_budget_bytes: u64,
    /// The output is cut into blocks of about this size.
    pub target_output_bytes: u64,
}

impl Default for MergingOptions {
    fn default() -> Self {
        Self {
            memory_budget_bytes: hearth_block::merge::MEMORY_BUDGET_BYTES,
            target_output_bytes: hearth_block::merge::TARGET_OUTPUT_BYTES,
        }
    }
}

/// Where a merge is cut. All of its parts are inputs of the next one, so they must stay well below the most inputs; what a
/// tenant has of a day is cut into larger parts rather than into more.
fn cut_at_bytes(block_bytes: u64, bytes: u64, inputs_max: usize) -> u64 {
    let parts = (inputs_max as u64 / PARTS_SHARE).max(1);
    block_bytes.max(bytes.div_ceil(parts))
}

impl Compactor {
    /// Merges what is to be merged of all tenants, in turns, until nothing is left to be done or each had its turns.
    pub async fn merge_all(&self) {
        let mut busy = match self.catalog.tenants().await {
            Ok(tenants) => tenants,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot list the tenants");
                return;
            }
        };
        for _ in 0..TURNS_MAX {
            let mut still = Vec::new();
            for tenant in busy {
                self.pulses.merging.beat();
                match self.merge_once(&tenant).await {
                    Ok(0) => {}
                    Ok(_) => still.push(tenant),
                    Err(error) => tracing::warn!(%tenant, error = %chain(&error), "blocks cannot be merged"),
                }
            }
            if still.is_empty() {
                return;
            }
            busy = still;
        }
    }

    /// Plans one tenant's merges and carries out the first of them; returns how many changed the root or found a block that
    /// is not merged any more, so that planning anew is worth while.
    pub async fn merge_once(&self, tenant: &TenantId) -> Result<usize, CompactorError> {
        let failed = |source| CompactorError { tenant: tenant.clone(), source };
        let Some(view) = self.catalog.newest(tenant, Duration::ZERO).await.map_err(failed)? else {
            return Ok(0);
        };
        // Wrong rules were refused when they were loaded; of those nothing goes.
        let limits = self.limits.limits(tenant);
        let expiries = hearth_catalog::expiries(&limits, self.clock.now()).unwrap_or_default();
        let store = self.catalog.store().of(Class::Compaction);
        let expired = expiry::expired(&store, tenant, &view, &expiries, &self.looked).await;
        let jobs = self.planned(tenant, &view, &expired);
        self.metrics.planned(tenant, jobs.len(), self.clock.now());
        let mut changes = 0;
        for job in jobs.into_iter().take(JOBS_IN_A_ROW) {
            self.pulses.merging.beat();
            let why = job.why;
            let started = self.clock.monotonic();
            let outcome = self.carry_out(tenant, &view, &expiries, job).await;
            let took = self.clock.monotonic().saturating_sub(started);
            self.metrics.job(why, outcome, took, self.aside.count());
            changes += usize::from(matches!(outcome, Outcome::Done | Outcome::Aside));
        }
        Ok(changes)
    }

    /// The jobs of a tenant that this process owns.
    fn planned(&self, tenant: &TenantId, view: &RootView, expired: &BTreeSet<BlockId>) -> Vec<Job> {
        let (aside, waiting) = (self.aside.of(tenant, view), waiting(view));
        let is_aside = |block: &BlockEntry| !aside.is_empty() && aside.contains(&block.folder(tenant));
        let deletes = |block: &BlockEntry| waiting.contains(&block.id) || expired.contains(&block.id);
        let mut jobs = plan(&view.blocks, self.clock.now(), &self.options.plan, &is_aside, &deletes);
        jobs.retain(|job| self.owners.owns(tenant, job.day));
        for set in stuck(&view.blocks, &deletes).iter().filter(|set| self.owners.owns(tenant, set.day)) {
            self.report_stuck(tenant, set);
        }
        jobs
    }

    /// Says, once, of a merge that has too many blocks to be rewritten.
    fn report_stuck(&self, tenant: &TenantId, set: &BlockSet) {
        let Some(first) = set.blocks.first().filter(|first| self.put_aside(tenant, first)) else { return };
        let (block, day) = (first.folder(tenant), set.day);
        let (blocks, limit) = (set.blocks.len(), hearth_block::merge::INPUTS_MAX);
        tracing::warn!(
            %tenant, block, day, blocks, limit,
            "blocks of one merge are too many to be rewritten at a time: what is deleted of them is not answered, but stays stored until they go by retention"
        );
    }

    async fn carry_out(&self, tenant: &TenantId, view: &RootView, expiries: &[Expiry], job: Job) -> Outcome {
        let inputs: Vec<Arc<BlockEntry>> = job.inputs().cloned().collect();
        let Deletions { mut filter, applied } = deletions(view, &inputs);
        filter.expiries = expiries.to_vec();
        let bytes = job.inputs().map(|block| block.bytes()).sum();
        let block_bytes = self.options.merging.target_output_bytes;
        let target_output_bytes = cut_at_bytes(block_bytes, bytes, self.options.plan.inputs_max);
        let stop = Stop::new(self.pulses.merging.clone());
        let _stops = stop.on_drop();
        let work = Work {
            store: self.catalog.store().of(Class::Compaction),
            tenant: tenant.clone(),
            job,
            filter,
            attempt: format!("{:016x}", (self.rng)() as u64),
            memory_budget_bytes: self.options.merging.memory_budget_bytes,
            target_output_bytes,
            stop,
        };
        let started = self.clock.monotonic();
        match self.work(work).await {
            Some(Ok(worked)) => {
                self.pulses.merging.beat();
                let outcome = self.publish(tenant, &worked, &applied).await;
                if outcome == Outcome::Done {
                    let took = self.clock.monotonic().saturating_sub(started);
                    self.report(tenant, &worked, took);
                }
                outcome
            }
            Some(Err(error)) => self.give_up(tenant, &inputs, &error).await,
            None => {
                tracing::error!(%tenant, "a merge ended before it was done: it panicked");
                self.set_aside(tenant, inputs.iter());
                Outcome::Aside
            }
        }
    }

    /// Runs a job; `None`: it ended before it was done.
    async fn work(&self, work: Work) -> Option<Result<Worked, WorkError>> {
        let Some(workers) = &self.workers else { return Some(work.run().await) };
        // Reads and writes of the store need the runtime; the work between them must not keep its threads.
        let runtime = tokio::runtime::Handle::current();
        away(workers, move || runtime.block_on(work.run())).await.ok()
    }

    /// Puts the output in place of the inputs, in one version of the root.
    async fn publish(&self, tenant: &TenantId, worked: &Worked, applied: &BTreeSet<u128>) -> Outcome {
        let remove: Vec<BlockRef> = worked.job.inputs().map(|block| BlockRef::of(block)).collect();
        let edit = |view: &RootView| {
            // A deletion that was cancelled meanwhile must not be carried out after all.
            let cancelled = applied.iter().any(|id| !view.root.tombstones.iter().any(|t| t.id == *id));
            if cancelled || remove.iter().any(|input| view.find(input).is_none()) {
                return Ok(Edit::default());
            }
            let (remove, add) = (remove.clone(), worked.merged.blocks.clone());
            Ok(Edit { remove, add, applied: applied.clone(), ..Edit::default() })
        };
        match self.catalog.edit(tenant, edit).await {
            Ok(Some(_)) => Outcome::Done,
            Ok(None) => Outcome::Gone,
            Err(
                CatalogError::InputGone { .. }
                | CatalogError::Condemned { .. }
                | CatalogError::ObjectMissing { .. },
            ) => Outcome::Gone,
            Err(error) => {
                tracing::warn!(%tenant, error = %chain(&error), "merged blocks cannot be published");
                Outcome::Failed
            }
        }
    }

    /// Says why there is no output, and sees to it that the same is not tried again for ever.
    async fn give_up(&self, tenant: &TenantId, inputs: &[Arc<BlockEntry>], error: &WorkError) -> Outcome {
        if matches!(error, WorkError::Stopped) {
            return Outcome::Stopped;
        }
        // Who was faster may have replaced the inputs, and their objects may be gone: that is no damage.
        let newest = self.catalog.newest(tenant, Duration::ZERO).await;
        if let Ok(Some(view)) = &newest
            && inputs.iter().any(|input| view.find(&BlockRef::of(input)).is_none())
        {
            return Outcome::Gone;
        }
        let why = chain(error);
        match error {
            WorkError::Damaged { block, .. } if newest.is_ok() => {
                let block = block.folder(tenant);
                tracing::error!(%tenant, block, error = why, "a damaged block is set aside: it is not merged");
            }
            WorkError::TooLarge { block, .. } => {
                let block = block.folder(tenant);
                tracing::warn!(%tenant, block, error = why, "a block is too large to be merged and stays as it is");
            }
            WorkError::Wrong(_) => {
                tracing::error!(%tenant, error = why, "blocks are set aside: they are not merged");
            }
            _ => {
                tracing::warn!(%tenant, error = why, "blocks cannot be merged now");
                return Outcome::Failed;
            }
        }
        match error {
            WorkError::Damaged { block, .. } | WorkError::TooLarge { block, .. } => {
                self.set_aside(tenant, std::iter::once(block));
            }
            _ => self.set_aside(tenant, inputs.iter()),
        }
        Outcome::Aside
    }

    fn set_aside<'a>(&self, tenant: &TenantId, blocks: impl Iterator<Item = &'a Arc<BlockEntry>>) {
        for block in blocks {
            self.put_aside(tenant, block);
        }
    }

    /// Returns whether it was not aside before.
    fn put_aside(&self, tenant: &TenantId, block: &BlockEntry) -> bool {
        let is_new = self.aside.put(tenant, block);
        if is_new {
            self.metrics.set_aside(self.aside.count());
        }
        is_new
    }

    fn report(&self, tenant: &TenantId, worked: &Worked, took: Duration) {
        let Worked { job, merged: Merged { blocks, counts } } = worked;
        self.metrics.merged(counts);
        let (inputs, level, outputs) = (job.inputs().count(), job.level(), blocks.len());
        tracing::info!(%tenant, day = job.day, why = job.why.as_str(), inputs, outputs, level,
            rows = counts.rows_out, duplicates = counts.duplicates, deleted = counts.deleted,
            bytes_in = counts.bytes_in, bytes_out = counts.bytes_out, took_ms = took.as_millis() as u64, "merged");
        if counts.unequal_duplicates > 0 {
            let unequal = counts.unequal_duplicates;
            tracing::error!(%tenant, day = job.day, unequal, "copies of one profile had different content; the greater counts");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_of_any_size_has_few_enough_parts_to_be_merged_again() {
        const GIB: u64 = 1 << 30;
        assert_eq!(cut_at_bytes(4 * GIB, GIB, 16), 4 * GIB);
        assert_eq!(cut_at_bytes(4 * GIB, 16 * GIB, 16), 4 * GIB);
        assert_eq!(cut_at_bytes(4 * GIB, 200 * GIB, 16), 50 * GIB);
        for inputs_max in [4, 16, 64] {
            for bytes in [0, 1, 5 * GIB, 1000 * GIB] {
                // Two neighbouring parts together are larger than what is cut at: they did not fit in one.
                let parts = 2 * bytes.div_ceil(cut_at_bytes(4 * GIB, bytes, inputs_max)) + 1;
                assert!(parts < inputs_max as u64, "{bytes} bytes, {inputs_max} inputs: {parts} parts");
            }
        }
    }
}
