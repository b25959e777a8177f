//! Leading a cell: from the moment that this member begins a term until it leads no more, records are taken, built into
//! heads, answered from, cut and published here.
//!
//! Owns what a leader has in memory; all of it can be rebuilt from the cell's log. Must not know: how the log is kept,
//! other members, wire messages.

mod cut;
mod fetch;
mod push;
mod rebuild;
mod steer;
mod tenant;
mod volume;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use hearth_cell::Term;
use hearth_cluster::roster::Volume;
use hearth_common::{Position, TenantId, TimestampNs};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::common::Common;
use crate::head::{HashKey, Head};
use crate::host::Cell;
use crate::planted::Bug;

pub(crate) use rebuild::Progress;
pub(crate) use tenant::Tenant;

/// Tenants that are named to people; of the others the number is said.
const NAMED_MAX: usize = 8;

/// Services of one tenant of which the planner is told.
const LOUDEST_MAX: usize = 64;

/// One term in which this member leads a cell.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) cell: Arc<Cell>,
    pub(crate) term: Term,
    common: Arc<Common>,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    key: HashKey,
    /// Up to here nothing was in the log any more when this began, and when that was.
    dropped_before: Position,
    began: Duration,
    pub(crate) progress: watch::Sender<Progress>,
    ended: AtomicBool,
    releasing: Mutex<()>,
    /// What was committed when it was last looked whether the home should lead.
    settled: AtomicU64,
}

impl Lead {
    /// Begins: records are taken at once, and what the log holds is built in the background.
    pub(crate) fn begin(cell: Arc<Cell>, term: Term, common: Arc<Common>) -> Arc<Self> {
        // What is proposed from here on is built by those who propose it.
        let held = cell.kept();
        let lead = Arc::new(Self {
            dropped_before: Position(held.first.0.saturating_sub(1)),
            began: common.deps.clock.monotonic(),
            key: HashKey::new((common.deps.rng)()),
            cell,
            term,
            common,
            tenants: RwLock::default(),
            progress: watch::channel(Progress::default()).0,
            ended: AtomicBool::new(false),
            releasing: Mutex::new(()),
            settled: AtomicU64::new(u64::MAX),
        });
        Arc::clone(&lead).spawn_rebuild(held);
        lead
    }

    /// Another member leads, or will: nothing more is built or published.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.progress.send_modify(|progress| progress.ended = true);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The tenant; made when it is new.
    fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        let id = TenantId::parse(id).ok()?;
        if let Some(tenant) = self.tenants.read().get(&id) {
            return Some(Arc::clone(tenant));
        }
        let mut tenants = self.tenants.write();
        let make = || Arc::new(Tenant::new(id.clone(), Head::new(self.key), self.common.now()));
        Some(Arc::clone(tenants.entry(id.clone()).or_insert_with(make)))
    }

    /// In the order of their names.
    pub(crate) fn all_tenants(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<Arc<Tenant>> = self.tenants.read().values().map(Arc::clone).collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// What is pushed of services in this cell, the loudest of each tenant.
    pub(crate) fn volumes(&self) -> Vec<Volume> {
        let mut volumes = Vec::new();
        for tenant in self.all_tenants() {
            let mut rates: Vec<(u64, u64)> = tenant.volumes.lock().rates().collect();
            rates.sort_unstable_by_key(|(service, rate)| (std::cmp::Reverse(*rate), *service));
            volumes.extend(rates.into_iter().take(LOUDEST_MAX).map(|(service_hash, bytes_per_second)| {
                Volume { tenant: tenant.id.clone(), service_hash, bytes_per_second }
            }));
        }
        volumes
    }

    fn find(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().get(id).map(Arc::clone)
    }

    /// Waits until everything that the log held is in the heads; an error says that this ended before.
    async fn rebuilt(&self) -> Result<(), String> {
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.done || progress.ended).await;
        match reached {
            Ok(progress) if progress.done => Ok(()),
            _ => Err("another member leads the cell now".to_owned()),
        }
    }

    /// Publishes all heads; returns when the roots are committed. The tenants after one that cannot be published are, too.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        self.rebuilt().await?;
        let mut all = Ok(());
        for tenant in self.all_tenants() {
            self.seal(&tenant);
            let published = self.publish(&tenant).await;
            all = all.and(published.map_err(|error| format!("tenant {}: {error}", tenant.id)));
            if self.has_ended() {
                break;
            }
        }
        self.release();
        all
    }

    /// What is in memory and not published, for people; none if everything is.
    pub(crate) fn unpublished(&self) -> Option<String> {
        let cell = &self.cell.id.0;
        if let Progress { done: false, entries, .. } = *self.progress.borrow() {
            return Some(format!("cell {cell}: its log is being replayed, {entries} records so far"));
        }
        let mut open = Vec::new();
        for tenant in self.all_tenants() {
            let state = tenant.state.read();
            let heads = state.sealed.iter().map(|sealed| &sealed.head).chain([&state.live]);
            let records: u64 = heads.map(|head| head.sizes().records).sum();
            if records > 0 {
                open.push((records, tenant.id.to_string()));
            }
        }
        open.sort_unstable_by(|a, b| b.cmp(a));
        let named =
            open.iter().take(NAMED_MAX).map(|(records, id)| format!("{records} records of tenant {id}"));
        let mut said: Vec<String> = named.collect();
        if let more @ 1.. = open.len().saturating_sub(NAMED_MAX) {
            said.push(format!("{more} more tenants"));
        }
        (!said.is_empty()).then(|| format!("cell {cell}: {}", said.join(", ")))
    }

    /// Cuts the tenants that are due, and publishes what is cut; `pressed`: all of them, since the log fills up. Whether
    /// anything was published.
    pub(crate) async fn tend(&self, pressed: bool) -> bool {
        if !self.progress.borrow().done {
            return false;
        }
        let now = self.common.now();
        let passed = self.common.deps.clock.monotonic();
        let mut published = false;
        for tenant in self.all_tenants() {
            tenant.volumes.lock().tick(passed);
            let pending = !tenant.state.read().sealed.is_empty();
            if !pending && (pressed || self.is_due(&tenant, now)) {
                self.seal(&tenant);
            }
            if tenant.state.read().sealed.is_empty() || self.has_ended() {
                continue;
            }
            let before = tenant.state.read().dropped;
            if let Err(error) = self.publish(&tenant).await {
                tracing::warn!(tenant = %tenant.id, error, "a cut is not published yet");
            }
            // A part may be.
            published |= tenant.state.read().dropped > before;
        }
        // Where nothing is to be published, entries of the cell alone (elections, members) would hold the log, which all cells
        // share.
        if published || (self.is_idle() && !self.has_ended()) {
            self.release();
        }
        published
    }

    /// Whether no tenant has anything that is not published.
    fn is_idle(&self) -> bool {
        self.all_tenants()
            .iter()
            .all(|tenant| tenant.state.read().sealed.is_empty() && tenant.live.lock().is_none())
    }

    fn is_due(&self, tenant: &Tenant, now: TimestampNs) -> bool {
        let state = tenant.state.read();
        let sizes = state.live.sizes();
        if sizes.records == 0 {
            return false;
        }
        let age = Duration::from_nanos(u64::try_from(now.0 - state.since.0).unwrap_or_default());
        let options = &self.common.options;
        sizes.bytes >= options.cut_bytes
            || state.live.is_full()
            || (age >= options.cut_age && sizes.bytes >= options.cut_min_bytes)
            || age >= options.cut_age_max
    }

    /// Tells the cell up to where everything is published.
    pub(super) fn release(&self) {
        if !self.progress.borrow().done {
            return;
        }
        let _turn = self.releasing.lock();
        // First the end, then the tenants: what is proposed up to the end is noted under each tenant's read lock.
        let end = self.cell.end().0;
        let mut uncovered = end + 1;
        let forgets = self.common.planted.has(Bug::ReleaseForgetsTenants);
        for tenant in self.all_tenants().into_iter().skip(usize::from(forgets)) {
            let state = tenant.state.write();
            let sealed = state.sealed.iter().map(|sealed| sealed.after.next());
            let live = tenant.live.lock().map(|(first, _)| first);
            uncovered = sealed.chain(live).fold(uncovered, |least, first| least.min(first.0));
        }
        self.cell.release(self.term, Position(uncovered - 1));
    }
}
