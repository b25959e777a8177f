//! Cuts heads and publishes them: blocks to the store, then one commit of the tenant's root (design: storage B6,
//! replication B8). Safe to repeat at any point: what is published is decided by coverage alone.

use std::sync::Arc;
use std::time::Duration;

use hearth_block::write::{EncodedBlock, WriteOptions, write_block};
use hearth_block::{BlockSpec, SourceRange};
use hearth_catalog::{Commit, Publication};
use hearth_common::{Incarnation, JournalId, Position};

use crate::head::{self, SealedUnit};
use crate::service::Ingester;
use crate::tenant::{Sealed, Tenant};

/// Attempts before a publication is left to the next turn of the loop.
const ATTEMPTS_MAX: u32 = 4;
/// Pause after the first failed attempt; doubles with each.
const PAUSE: Duration = Duration::from_millis(250);

impl Ingester {
    /// Takes the tenant's live head out, if there is anything in it; it stays queryable.
    pub(crate) fn seal(&self, tenant: &Tenant) {
        // Every push of the tenant that is appended has been built when this lock is had.
        let mut state = tenant.state.write();
        let live = std::mem::take(&mut *tenant.live.lock());
        if live.is_empty() {
            return;
        }
        let fresh = Arc::new(head::Head::new(self.key));
        let head = std::mem::replace(&mut state.live, fresh);
        state.since = self.now();
        let mut ranges = std::collections::BTreeMap::new();
        for (journal, (_, last)) in live {
            let after = state.cut.insert(journal, last).unwrap_or(0);
            ranges.insert(journal, (after, last));
        }
        state.sealed.push(Arc::new(Sealed { head, ranges }));
    }

    /// Publishes all sealed heads of a tenant, oldest first.
    pub(crate) async fn publish(&self, tenant: &Tenant) -> Result<(), String> {
        let _turn = tenant.publishing.lock().await;
        loop {
            let Some(sealed) = tenant.state.read().sealed.first().map(Arc::clone) else { return Ok(()) };
            let started = self.deps.clock.monotonic();
            let mut attempt = 0;
            while let Err(error) = self.publish_one(tenant, &sealed).await {
                attempt += 1;
                self.metrics.publish_failures.inc();
                if attempt >= ATTEMPTS_MAX {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE * 2u32.pow(attempt)).await;
            }
            self.metrics.cuts.inc();
            let took_ms = (self.deps.clock.monotonic() - started).as_millis() as u64;
            let sizes = sealed.head.sizes();
            tracing::debug!(tenant = %tenant.id, records = sizes.records, took_ms, "a cut is published");
            let mut state = tenant.state.write();
            state.sealed.remove(0);
            for (journal, (_, upto)) in &sealed.ranges {
                state.dropped.insert(*journal, *upto);
            }
        }
    }

    async fn publish_one(&self, tenant: &Tenant, sealed: &Arc<Sealed>) -> Result<(), String> {
        if let Some((_, upto)) = sealed.ranges.get(&0) {
            self.journal.wait(Position(*upto)).await?;
        }
        let mut ranges = sealed.ranges.clone();
        loop {
            let sources: Vec<SourceRange> = ranges
                .iter()
                .map(|(at, (after, upto))| SourceRange {
                    journal: self.journals[*at as usize].clone(),
                    after: Position(*after),
                    upto: Position(*upto),
                })
                .collect();
            let cut = Arc::new(Sealed { head: Arc::clone(&sealed.head), ranges: ranges.clone() });
            let blocks = self.encode(tenant, cut, &sources).await?;
            let mut add = Vec::with_capacity(blocks.len());
            for block in blocks {
                let folder = block.entry.folder(&tenant.id);
                for (name, bytes) in block.objects {
                    let key = format!("{folder}/{name}");
                    let store = self.deps.catalog.store();
                    store.put(&key, bytes).await.map_err(|error| hearth_common::error::chain(&error))?;
                }
                add.push(block.entry);
            }
            let commit = Commit { ranges: sources, add, drained: self.drained(), ..Commit::default() };
            let publication = self.deps.catalog.publish(&tenant.id, &commit).await;
            match publication.map_err(|error| hearth_common::error::chain(&error))? {
                Publication::Published(_) | Publication::AlreadyCovered(_) => return Ok(()),
                // An earlier attempt went further than was known: only the rest is left.
                Publication::CoverageAhead(view) => {
                    for (at, (after, _)) in &mut ranges {
                        *after = view.coverage(&self.journals[*at as usize]).0.max(*after);
                    }
                    ranges.retain(|_, (after, upto)| after < upto);
                    if ranges.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Lives of this owner of which the log holds nothing any more: their journals are covered as a whole.
    fn drained(&self) -> Vec<JournalId> {
        let own = &self.journals[0];
        let oldest = self.journals.iter().filter(|j| j.owner == own.owner).map(|j| j.incarnation.0).min();
        let last = oldest.unwrap_or(0).saturating_sub(1);
        if last == 0 {
            return Vec::new();
        }
        vec![JournalId { incarnation: Incarnation(last), ..own.clone() }]
    }

    async fn encode(
        &self,
        tenant: &Tenant,
        cut: Arc<Sealed>,
        sources: &[SourceRange],
    ) -> Result<Vec<EncodedBlock>, String> {
        let (id, sources, journals) = (tenant.id.clone(), sources.to_vec(), self.journals.len());
        let options = WriteOptions { attempt: format!("{:08x}", (self.deps.rng)() as u32) };
        let encode = move || -> Result<Vec<EncodedBlock>, String> {
            cut.head.seal();
            let filter = cut.filter(journals);
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
        tokio::task::spawn_blocking(encode)
            .await
            .map_err(|error| format!("the block writer ended early: {error}"))?
    }
}
