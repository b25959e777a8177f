//! Cuts heads and publishes them: blocks to the store, then one commit of the tenant's root (design: storage B6,
//! replication B8). Safe to repeat at any point: what is published is decided by coverage alone.

use std::sync::Arc;
use std::time::Duration;

use hearth_block::write::{EncodedBlock, WriteOptions, write_block};
use hearth_block::{BlockSpec, SourceRange};
use hearth_catalog::{Commit, Publication, RootView};
use hearth_common::work::away;

use super::Lead;
use super::fetch::deleted_beyond;
use super::tenant::{Sealed, Tenant};
use crate::head::{self, Deleted, SealedUnit};
use crate::planted::Bug;

/// Attempts before a publication is left to the next turn of the loop.
const ATTEMPTS_MAX: u32 = 4;
/// Pause after the first failed attempt; doubles with each.
const PAUSE: Duration = Duration::from_millis(250);

impl Lead {
    /// Takes the tenant's live head out, if there is anything in it; it stays queryable.
    pub(crate) fn seal(&self, tenant: &Tenant) {
        // Every push of the tenant that is appended has been built when this lock is had.
        let mut state = tenant.state.write();
        let Some((_, upto)) = tenant.live.lock().take() else { return };
        let fresh = Arc::new(head::Head::new(self.key));
        let head = std::mem::replace(&mut state.live, fresh);
        state.since = self.common.now();
        let after = std::mem::replace(&mut state.cut, upto);
        let at = state.since;
        state.sealed.push(Arc::new(Sealed { head, at, after, upto }));
    }

    /// Publishes all sealed heads of a tenant, oldest first.
    pub(crate) async fn publish(&self, tenant: &Tenant) -> Result<(), String> {
        let _turn = tenant.publishing.lock().await;
        loop {
            let Some(sealed) = tenant.state.read().sealed.first().map(Arc::clone) else { return Ok(()) };
            let started = self.common.deps.clock.monotonic();
            let mut attempt = 0;
            while let Err(error) = self.publish_one(tenant, &sealed).await {
                self.common.deps.pulses.publishing.beat();
                attempt += 1;
                if self.has_ended() {
                    return Err(error);
                }
                self.common.metrics.publish_failures.inc();
                if attempt >= ATTEMPTS_MAX {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE * 2u32.pow(attempt)).await;
            }
            if self.has_ended() {
                return Err("another member leads the cell now".to_owned());
            }
            let took = self.common.deps.clock.monotonic().saturating_sub(started);
            self.common.metrics.published(took);
            let took_ms = took.as_millis() as u64;
            self.common.deps.pulses.publishing.beat();
            let sizes = sealed.head.sizes();
            tracing::debug!(tenant = %tenant.id, records = sizes.records, took_ms, "a cut is published");
            let mut state = tenant.state.write();
            state.sealed.remove(0);
            state.dropped = sealed.upto;
        }
    }

    async fn publish_one(&self, tenant: &Tenant, sealed: &Arc<Sealed>) -> Result<(), String> {
        // What is published must not be taken back: only what a quorum has, in a term that is still ours.
        if !self.common.planted.has(Bug::PublishBeforeCommit) {
            // Others may be away for long.
            let _waits = self.common.deps.pulses.publishing.wait();
            self.cell.committed(sealed.upto, self.term).await?;
        }
        let journal = &self.cell.journal;
        // A tenant that came anew may have been published before: then its cut begins there.
        let published = self.covered(&tenant.id).await;
        let mut after = sealed.after.max(published);
        if after >= sealed.upto {
            return Ok(());
        }
        let mut view = self.root_for_cut(tenant).await?;
        loop {
            let sources = vec![SourceRange { journal: journal.clone(), after, upto: sealed.upto }];
            let (head, at) = (Arc::clone(&sealed.head), sealed.at);
            let cut = Arc::new(Sealed { head, at, after, upto: sealed.upto });
            // Refused by the commit if deletions came or went meanwhile.
            let deletions = view.deletions_beyond(&sources);
            let deleted = view.deletions(&tenant.id).map_err(|error| hearth_common::error::chain(&error))?;
            let deleted = deleted_beyond(&deleted, journal, after);
            let blocks = self.encode(tenant, cut, deleted, &sources).await?;
            let mut add = Vec::with_capacity(blocks.len());
            for block in blocks {
                let folder = block.entry.folder(&tenant.id);
                for (name, bytes) in block.objects {
                    let key = format!("{folder}/{name}");
                    let store = self.common.deps.catalog.store();
                    store.put(&key, bytes).await.map_err(|error| hearth_common::error::chain(&error))?;
                    self.common.deps.pulses.publishing.beat();
                }
                add.push(block.entry);
            }
            let commit = Commit { ranges: sources, add, deletions, ..Commit::default() };
            let publication = self.common.deps.catalog.publish(&tenant.id, &commit).await;
            match publication.map_err(|error| hearth_common::error::chain(&error))? {
                Publication::Published(_) | Publication::AlreadyCovered(_) => return Ok(()),
                // An earlier attempt went further than was known, and only the rest is left; or there are other deletions.
                Publication::CoverageAhead(newest) => {
                    after = newest.coverage(journal).max(after);
                    view = newest;
                    if after >= sealed.upto {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The tenant's root, as far as it is known here.
    async fn root_for_cut(&self, tenant: &Tenant) -> Result<Arc<RootView>, String> {
        let view = self.common.deps.catalog.newest(&tenant.id, Duration::MAX).await;
        let view = view.map_err(|error| hearth_common::error::chain(&error))?;
        Ok(view.unwrap_or_else(|| Arc::new(RootView::empty())))
    }

    async fn encode(
        &self,
        tenant: &Tenant,
        cut: Arc<Sealed>,
        deleted: Vec<Deleted>,
        sources: &[SourceRange],
    ) -> Result<Vec<EncodedBlock>, String> {
        let (id, sources) = (tenant.id.clone(), sources.to_vec());
        let options = WriteOptions { attempt: format!("{:08x}", (self.common.deps.rng)() as u32) };
        let encode = move || -> Result<Vec<EncodedBlock>, String> {
            cut.head.seal();
            let filter = cut.filter().without(deleted);
            let views: Vec<_> = cut.head.units().iter().map(|unit| unit.view(true, |_| true)).collect();
            let days = head::days(&views, &filter);
            let units: Vec<SealedUnit<'_>> =
                views.into_iter().map(|view| SealedUnit { view, filter: &filter }).collect();
            let units: Vec<&dyn hearth_block::input::UnitSource> =
                units.iter().map(|unit| -> &dyn hearth_block::input::UnitSource { unit }).collect();
            let block = |day: i32| {
                let spec = BlockSpec { tenant: id.clone(), day, level: 0, sources: sources.clone() };
                write_block(&spec, &units, &options).map_err(|error| hearth_common::error::chain(&error))
            };
            days.into_iter().map(block).collect()
        };
        away(&self.common.deps.workers, encode).await.map_err(|error| format!("the block writer: {error}"))?
    }
}
