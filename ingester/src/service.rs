//! The ingester: what it is made of, its life from start to stop, and the loop that decides when tenants are cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use hearth_common::{CellId, DiskId, JournalId, MemberId, TenantId, TimestampNs};
use hearth_wal::{SegmentNo, Wal, WalOptions};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::head::{HashKey, Head};
use crate::journal::{Durable, Journal, Reports};
use crate::metrics::IngesterMetrics;
use crate::options::{IngesterDeps, IngesterOptions, StartError};
use crate::replay::{OldSegment, Progress};
use crate::rid_index::RidIndex;
use crate::state_dir::StateDir;
use crate::tenant::Tenant;

/// How often the loop looks.
const TICK: Duration = Duration::from_secs(1);
/// The epoch of a cell of one member.
const EPOCH: u32 = 1;

/// Makes records durable and queryable; one per data folder.
pub struct Ingester {
    pub(crate) options: IngesterOptions,
    pub(crate) deps: IngesterDeps,
    pub(crate) dir: StateDir,
    pub(crate) journal: Journal,
    /// 0 is the live one, the others are of earlier lives.
    pub(crate) journals: Vec<JournalId>,
    pub(crate) tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    pub(crate) key: HashKey,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) old_segments: Mutex<Vec<OldSegment>>,
    /// Why answers may miss something.
    pub(crate) inexact: Mutex<Option<String>>,
    pub(crate) closed: AtomicBool,
    pub(crate) metrics: IngesterMetrics,
    releasing: Mutex<()>,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Ingester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingester").field("journal", &self.journals.first()).finish_non_exhaustive()
    }
}

impl Ingester {
    /// Opens the data folder and starts the replay of earlier lives and the loop in the background. Pushes are taken once
    /// the log's headers are read; questions are answered once it is replayed. Must be called inside a tokio runtime.
    pub fn start(options: IngesterOptions, deps: IngesterDeps) -> Result<Arc<Self>, StartError> {
        let dir = StateDir::open(&options.data_dir, DiskId((deps.rng)()))?;
        let live = JournalId {
            cell: CellId(options.instance.clone()),
            epoch: EPOCH,
            owner: MemberId { instance: options.instance.clone(), disk: dir.disk },
            incarnation: dir.incarnation,
        };
        let wal_options = WalOptions {
            segment_bytes: options.wal_segment_bytes,
            queue_bytes: options.wal_queue_bytes,
            quota_bytes: options.wal_quota_bytes,
            reserve_bytes: options.wal_reserve_bytes,
            salt: (deps.rng)() as u32,
            clock: Arc::clone(&deps.clock),
            ..WalOptions::new(dir.wal_dir())
        };
        let (reports, durable) = watch::channel(Durable::default());
        let (wal, replay) =
            Wal::open(wal_options, live.to_string().into_bytes(), Arc::new(Reports(reports)))?;
        let mut journals = vec![live];
        for (_, preamble) in replay.preambles() {
            let earlier = std::str::from_utf8(&preamble).ok().and_then(JournalId::parse);
            journals.extend(earlier.filter(|journal| !journals.contains(journal)));
        }
        let journal = Journal::new(wal, RidIndex::new(options.remember_pushes), durable);
        let ingester = Arc::new(Self {
            key: HashKey::new((deps.rng)()),
            inexact: Mutex::new(dir.damage()),
            journal,
            journals,
            dir,
            options,
            deps,
            tenants: RwLock::default(),
            progress: watch::channel(Progress::default()).0,
            old_segments: Mutex::default(),
            closed: AtomicBool::new(false),
            metrics: IngesterMetrics::default(),
            releasing: Mutex::new(()),
            stop: watch::channel(false).0,
        });
        Arc::clone(&ingester).spawn_replay(replay);
        tokio::spawn(Arc::clone(&ingester).run());
        Ok(ingester)
    }

    /// Whether questions are answered exactly and pushes are taken; else why not.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(why) = self.journal.failure() {
            return Err(format!("the write-ahead log has failed: {why}"));
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err("the ingester is stopping".to_owned());
        }
        match &*self.progress.borrow() {
            Progress { done: true, .. } => Ok(()),
            Progress { entries, .. } => {
                Err(format!("the write-ahead log is being replayed, {entries} records so far"))
            }
        }
    }

    /// Publishes all heads; returns when the roots are committed.
    pub async fn flush(&self) -> Result<(), String> {
        self.replayed().await;
        for tenant in self.all_tenants() {
            self.seal(&tenant);
            self.publish(&tenant).await?;
        }
        self.release();
        Ok(())
    }

    /// Takes nothing more, publishes everything, closes the log. What cannot be published stays in the log.
    pub async fn stop(&self) -> Result<(), String> {
        self.closed.store(true, Ordering::SeqCst);
        // What is not replayed yet stays in the log: a stop must not wait for a store that is away.
        let flushed = if self.progress.borrow().done { self.flush().await } else { Ok(()) };
        self.stop.send_replace(true);
        let closed = self.journal.wal.sync_and_close().map_err(|error| hearth_common::error::chain(&error));
        if flushed.is_ok() {
            self.release();
        }
        flushed.and(closed)
    }

    pub(crate) fn now(&self) -> TimestampNs {
        self.deps.clock.now()
    }

    /// The tenant; made when it is new.
    pub(crate) fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        let id = TenantId::parse(id).ok()?;
        if let Some(tenant) = self.tenants.read().get(&id) {
            return Some(Arc::clone(tenant));
        }
        let mut tenants = self.tenants.write();
        let make = || Arc::new(Tenant::new(id.clone(), Head::new(self.key), self.deps.clock.now()));
        Some(Arc::clone(tenants.entry(id.clone()).or_insert_with(make)))
    }

    pub(crate) fn all_tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.read().values().map(Arc::clone).collect()
    }

    pub(crate) async fn replayed(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as the ingester.
        drop(progress.wait_for(|progress| progress.done).await);
    }

    async fn run(self: Arc<Self>) {
        let mut stopped = self.stop.subscribe();
        loop {
            if tokio::time::timeout(TICK, stopped.changed()).await.is_ok() {
                return;
            }
            self.metrics.update(&self);
            let done = self.progress.borrow().done;
            if done && !self.closed.load(Ordering::Relaxed) {
                self.tick().await;
            }
        }
    }

    async fn tick(&self) {
        let now = self.now();
        let stats = self.journal.wal.stats();
        let pressed = stats.bytes > stats.quota_bytes / 2;
        let mut published = false;
        for tenant in self.all_tenants() {
            let pending = !tenant.state.read().sealed.is_empty();
            if !pending && (pressed || self.is_due(&tenant, now)) {
                self.seal(&tenant);
            }
            if tenant.state.read().sealed.is_empty() {
                continue;
            }
            match self.publish(&tenant).await {
                Ok(()) => published = true,
                Err(error) => tracing::warn!(tenant = %tenant.id, error, "a cut is not published yet"),
            }
        }
        if published {
            self.release();
            let horizon = i64::try_from(self.options.remember_pushes.as_nanos()).unwrap_or(i64::MAX);
            self.dir.forget_ids(TimestampNs(now.0.saturating_sub(horizon)));
        }
        self.journal.forget(now);
    }

    fn is_due(&self, tenant: &Tenant, now: TimestampNs) -> bool {
        let state = tenant.state.read();
        let sizes = state.live.sizes();
        if sizes.records == 0 {
            return false;
        }
        let age = Duration::from_nanos(u64::try_from(now.0 - state.since.0).unwrap_or_default());
        let options = &self.options;
        sizes.bytes >= options.cut_bytes
            || state.live.is_full()
            || (age >= options.cut_age && sizes.bytes >= options.cut_min_bytes)
            || age >= options.cut_age_max
    }

    /// Removes segments of the log that committed roots cover.
    pub(crate) fn release(&self) {
        if !self.progress.borrow().done {
            return;
        }
        // One at a time: segments go only after the list of their records is on disk.
        let _turn = self.releasing.lock();
        let taken = self.journal.take_unsaved();
        if !taken.is_empty() {
            let ids: Vec<u128> = taken.iter().map(|(_, rid)| *rid).collect();
            if let Err(error) = self.dir.save_ids(self.now(), &ids) {
                tracing::warn!(%error, "recent pushes were not saved: the log stays as it is");
                self.journal.put_back(taken);
                return;
            }
        }
        if let Some(upto) = self.removable()
            && let Err(error) = self.journal.wal.remove_segments_upto(upto)
        {
            tracing::warn!(
                error = hearth_common::error::chain(&error),
                "segments of the log were not removed"
            );
        }
    }

    /// The last segment whose entries, and those of all before it, are covered.
    fn removable(&self) -> Option<SegmentNo> {
        // First the end, then the tenants: what is appended up to the end is noted under each tenant's write lock.
        let end = self.journal.last().0;
        let mut uncovered = end + 1;
        let mut dropped: HashMap<TenantId, BTreeMap<u32, u64>> = HashMap::new();
        for tenant in self.all_tenants() {
            let state = tenant.state.write();
            let sealed =
                state.sealed.iter().filter_map(|sealed| sealed.ranges.get(&0)).map(|(after, _)| after + 1);
            let live = tenant.live.lock().get(&0).map(|(first, _)| *first);
            uncovered = sealed.chain(live).fold(uncovered, u64::min);
            dropped.insert(tenant.id.clone(), state.dropped.clone());
        }
        let covered = |old: &OldSegment| {
            let is = |((tenant, journal), last): (&(TenantId, u32), &u64)| {
                dropped.get(tenant).and_then(|d| d.get(journal)).is_some_and(|upto| upto >= last)
            };
            old.entries.iter().all(is)
        };
        let mut old = self.old_segments.lock();
        let kept = old.iter().position(|segment| !covered(segment)).unwrap_or(old.len());
        let mut upto = old.drain(..kept).next_back().map(|segment| segment.segment);
        if old.is_empty() {
            let segments = self.journal.wal.segments();
            let ends =
                segments.iter().skip(1).map(|next| next.first_lsn.map(|lsn| lsn.0)).chain([Some(end + 1)]);
            for (segment, end) in segments.iter().zip(ends) {
                match (segment.first_lsn, end) {
                    (Some(_), Some(end)) if end <= uncovered => upto = Some(segment.segment),
                    (Some(_), _) => break,
                    (None, _) => upto = upto.max(Some(segment.segment)),
                }
            }
        }
        upto
    }
}
