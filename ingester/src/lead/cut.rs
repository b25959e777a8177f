//! Cuts heads and publishes them: blocks to the store, then one commit of the tenant's root (design: storage B6,
//! replication B8). Safe to repeat at any point: what is published is decided by coverage alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use hearth_block::write::{EncodedBlock, WriteOptions, write_block};
use hearth_block::{BlockEntry, BlockError, BlockSpec, SourceRange};
use hearth_catalog::{Commit, Publication, RootView};
use hearth_common::Position;
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
/// How long a cut waits for its last records to be committed before the part that is committed is published alone.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// The same when the log is full: the others may be, too, and take those records only once something is published.
const COMMIT_WAIT_FULL: Duration = Duration::from_millis(200);
/// How often one attempt encodes a cut: anew for newer roots, or halves of it to find a record that no block can hold.
const ENCODES_MAX: u32 = 96;

/// Why there are no blocks.
enum Unencoded {
    /// The rows cannot be written, now or later.
    Unwritable(String),
    /// The attempt ended.
    Failed(String),
}

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

    /// Publishes all sealed heads of a tenant, oldest first; of one that is committed in part, that part.
    pub(crate) async fn publish(&self, tenant: &Tenant) -> Result<(), String> {
        let _turn = tenant.publishing.lock().await;
        loop {
            let Some(sealed) = tenant.state.read().sealed.first().map(Arc::clone) else { return Ok(()) };
            let committed = self.publishable(&sealed).await?;
            let started = self.common.deps.clock.monotonic();
            let mut attempt = 0;
            let upto = loop {
                match self.publish_upto(tenant, &sealed, committed).await {
                    Ok(upto) => break upto,
                    Err(error) => {
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
                }
            };
            if self.has_ended() {
                return Err("another member leads the cell now".to_owned());
            }
            let took = self.common.deps.clock.monotonic().saturating_sub(started);
            self.common.metrics.published(took);
            let took_ms = took.as_millis() as u64;
            self.common.deps.pulses.publishing.beat();
            let (records, whole) = (sealed.head.sizes().records, upto >= sealed.upto);
            tracing::debug!(tenant = %tenant.id, records, whole, took_ms, "a cut is published");
            tenant.state.write().published(&sealed, upto);
            if !whole {
                self.release();
            }
        }
    }

    /// Up to where a cut may be published now. What is published must not be taken back: only what a quorum has, in a term that
    /// is still ours.
    async fn publishable(&self, sealed: &Sealed) -> Result<Position, String> {
        if self.common.planted.has(Bug::PublishBeforeCommit) {
            return Ok(sealed.upto);
        }
        // Others may be away for long.
        let _waits = self.common.deps.pulses.publishing.wait();
        let patience = if self.cell.has_room() { COMMIT_WAIT } else { COMMIT_WAIT_FULL };
        let committed = self.cell.committed_within(sealed.upto, self.term, patience).await?;
        let upto = sealed.upto.min(committed);
        if upto <= sealed.after {
            let (first, last) = (sealed.after.0 + 1, sealed.upto.0);
            return Err(format!("too few members have its records {first} to {last} of the cell's log yet"));
        }
        Ok(upto)
    }

    /// Publishes a cut up to a committed place, or a part of that; says up to where.
    async fn publish_upto(
        &self,
        tenant: &Tenant,
        sealed: &Sealed,
        mut upto: Position,
    ) -> Result<Position, String> {
        let journal = &self.cell.journal;
        // A tenant that came anew may have been published before: then its cut begins there.
        let published =
            self.look_up(&tenant.id).await.map_err(|error| hearth_common::error::chain(&error))?;
        let mut after = sealed.after.max(published);
        let mut view = self.root_for_cut(tenant).await?;
        for _ in 0..ENCODES_MAX {
            if after >= upto {
                return Ok(after.min(sealed.upto));
            }
            let sources = vec![SourceRange { journal: journal.clone(), after, upto }];
            let cut = Arc::new(Sealed { head: Arc::clone(&sealed.head), at: sealed.at, after, upto });
            // Refused by the commit if deletions came or went meanwhile.
            let deletions = view.deletions_beyond(&sources);
            let deleted = view.deletions(&tenant.id).map_err(|error| hearth_common::error::chain(&error))?;
            let deleted = deleted_beyond(&deleted, journal, after);
            let blocks = match self.encode(tenant, cut, deleted, &sources).await {
                Ok(blocks) => blocks,
                Err(Unencoded::Failed(error)) => return Err(error),
                // The rest of the cut must not wait for one record: halves, until it is alone.
                Err(Unencoded::Unwritable(_)) if upto.0 - after.0 > 1 => {
                    upto = Position(after.0 + (upto.0 - after.0) / 2);
                    continue;
                }
                Err(Unencoded::Unwritable(why)) => {
                    self.leave_out(tenant, upto, &why).await?;
                    Vec::new()
                }
            };
            let add = self.upload(tenant, blocks).await?;
            let commit = Commit { ranges: sources, add, deletions, ..Commit::default() };
            let publication = self.common.deps.catalog.publish(&tenant.id, &commit).await;
            match publication.map_err(|error| hearth_common::error::chain(&error))? {
                Publication::Published(_) | Publication::AlreadyCovered(_) => return Ok(upto),
                // An earlier attempt went further than was known, and only the rest is left; or there are other deletions.
                Publication::CoverageAhead(newest) => {
                    after = newest.coverage(journal).max(after);
                    view = newest;
                }
            }
        }
        Err(format!("the root of the tenant changed {ENCODES_MAX} times while its cut was encoded"))
    }

    /// Puts the objects of blocks into the store; the entries that name them.
    async fn upload(&self, tenant: &Tenant, blocks: Vec<EncodedBlock>) -> Result<Vec<BlockEntry>, String> {
        let mut entries = Vec::with_capacity(blocks.len());
        for block in blocks {
            let folder = block.entry.folder(&tenant.id);
            for (name, bytes) in block.objects {
                let key = format!("{folder}/{name}");
                let store = self.common.deps.catalog.store();
                store.put(&key, bytes).await.map_err(|error| hearth_common::error::chain(&error))?;
                self.common.deps.pulses.publishing.beat();
            }
            entries.push(block.entry);
        }
        Ok(entries)
    }

    /// A record that no block can hold is published as nothing, or its tenant would publish nothing more and the log, which all
    /// tenants share, could not be let go. Its bytes are kept in the data folder first.
    async fn leave_out(&self, tenant: &Tenant, position: Position, why: &str) -> Result<(), String> {
        let cell = Arc::clone(&self.cell);
        let read = away(&self.common.deps.workers, move || cell.record_at(position)).await;
        let read = read.map_err(|error| format!("reading the record: {error}"))?;
        if let Some(bytes) = read.map_err(|error| hearth_common::error::chain(&error))? {
            self.common.dir.keep_aside(&bytes).map_err(|error| {
                format!("a record cannot be written to a block ({why}), and could not be kept aside: {error}")
            })?;
        }
        self.common.metrics.unwritable.inc();
        let (cell, position, tenant) = (&self.cell.id.0, position.0, &tenant.id);
        tracing::error!(%tenant, %cell, position, error = why, "a record cannot be written to a block: it is left out, its bytes \
            are kept in the data folder");
        self.common.report_damage(&format!(
            "record {position} of cell {cell}, tenant {tenant}, cannot be written to a block and is left out"
        ));
        Ok(())
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
    ) -> Result<Vec<EncodedBlock>, Unencoded> {
        let (id, sources) = (tenant.id.clone(), sources.to_vec());
        let options = WriteOptions { attempt: format!("{:08x}", (self.common.deps.rng)() as u32) };
        let encode = move || -> Result<Vec<EncodedBlock>, BlockError> {
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
                write_block(&spec, &units, &options)
            };
            days.into_iter().map(block).collect()
        };
        // A panic would come back with each attempt.
        let encode = move || std::panic::catch_unwind(AssertUnwindSafe(encode));
        let encoded = away(&self.common.deps.workers, encode).await;
        let encoded = encoded.map_err(|error| Unencoded::Failed(format!("the block writer: {error}")))?;
        match encoded {
            Ok(blocks) => blocks.map_err(|error| Unencoded::Unwritable(hearth_common::error::chain(&error))),
            Err(_) => Err(Unencoded::Unwritable("the block writer broke off: a defect".to_owned())),
        }
    }
}
