//! The ingester: what it is made of, its life from start to stop, and the loop that tends what it leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cell::{Role, Term};
use hearth_cluster::{PushError, PushOutcome, PushTarget};
use hearth_common::work::away;
use hearth_common::{CellId, DiskId, InstanceId, MemberId, TimestampNs};
use hearth_query::{FetchAnswer, FetchError, FetchRequest, HeadSource};
use hearth_wal::{Disk, Replay, Wal, WalOptions};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::common::Common;
use crate::host::{Cell, CellSpec, Durable, Host, HostParts, Reports, lone_cell};
use crate::lead::{Lead, Progress};
use crate::metrics::IngesterMetrics;
use crate::options::{Cells, IngesterDeps, IngesterOptions, Pulses, StartError};
use crate::planted::Planted;
use crate::state_dir::StateDir;

/// How often loops look.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How long a stop waits for others to lead.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How long a push or a question waits for this member to begin leading.
const LEAD_WAIT: Duration = Duration::from_secs(5);

/// Makes records durable and queryable; one per data folder.
pub struct Ingester {
    pub(crate) common: Arc<Common>,
    /// Set once the log is read.
    pub(crate) host: watch::Sender<Option<Arc<Host>>>,
    pub(crate) leads: RwLock<BTreeMap<CellId, Arc<Lead>>>,
    /// Grows with each change of `leads`.
    led: watch::Sender<u64>,
    /// Who should keep each cell, home first.
    wanted: RwLock<BTreeMap<CellId, Vec<MemberId>>>,
    me: MemberId,
    pub(crate) failed: Mutex<Option<String>>,
    pub(crate) closed: AtomicBool,
    pub(crate) stop: watch::Sender<bool>,
}

/// A cell is not led here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Whether this member keeps the cell.
    pub(crate) member: bool,
    /// The log is being read.
    pub(crate) reading: bool,
    /// On the way out.
    pub(crate) stopping: bool,
    /// For people.
    pub(crate) why: String,
    /// Who leads it, if known.
    pub(crate) leader: Option<InstanceId>,
}

impl std::fmt::Debug for Ingester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingester").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Ingester {
    /// Opens the data folder and starts reading the log, and the loop, in the background. Pushes are taken once the log is
    /// read and this member leads; questions are answered once it is built into heads. Must be called inside a tokio
    /// runtime.
    pub fn start(options: IngesterOptions, deps: IngesterDeps) -> Result<Arc<Self>, StartError> {
        Self::start_with(options, deps, None, Planted::default())
    }

    pub(crate) fn start_with(
        options: IngesterOptions,
        deps: IngesterDeps,
        disk: Option<Arc<dyn Disk>>,
        planted: Planted,
    ) -> Result<Arc<Self>, StartError> {
        let dir = Arc::new(StateDir::open(&options.data_dir, DiskId((deps.rng)()))?);
        let me = MemberId { instance: options.instance.clone(), disk: dir.disk };
        let wal_options = WalOptions {
            segment_bytes: options.wal_segment_bytes,
            queue_bytes: options.wal_queue_bytes,
            quota_bytes: options.wal_quota_bytes,
            reserve_bytes: options.wal_reserve_bytes,
            salt: (deps.rng)() as u32,
            clock: Arc::clone(&deps.clock),
            pulse: deps.pulses.wal.clone(),
            ..WalOptions::new(dir.wal_dir())
        };
        let (reports, durable) = watch::channel(Durable::default());
        let metrics = IngesterMetrics::default();
        let reports = Arc::new(Reports(reports, metrics.wal.clone()));
        #[cfg(feature = "simulated")]
        let threadless = disk.is_some();
        let (wal, replay) = match disk {
            None => Wal::open(wal_options, Vec::new(), reports)?,
            Some(disk) => Wal::open_without_thread(disk, wal_options, Vec::new(), reports)?,
        };
        let inexact = Mutex::new(dir.damage());
        let parts = HostParts {
            me: me.clone(),
            wal,
            durable,
            dir: Arc::clone(&dir),
            post: Arc::clone(&deps.post),
            clock: Arc::clone(&deps.clock),
            rng: Arc::clone(&deps.rng),
            workers: Arc::clone(&deps.workers),
            horizon: options.remember_pushes,
            metrics: metrics.host.clone(),
            alone: matches!(options.cells, Cells::Alone),
            planted,
        };
        let turns = deps.turns.watched(Arc::clone(&deps.clock), metrics.turns.of("answering"));
        let deps = IngesterDeps { turns, ..deps };
        let ingester = Arc::new(Self {
            common: Arc::new(Common { options, deps, dir, metrics, inexact, planted }),
            host: watch::channel(None).0,
            leads: RwLock::default(),
            led: watch::channel(0).0,
            wanted: RwLock::default(),
            me,
            failed: Mutex::default(),
            closed: AtomicBool::new(false),
            stop: watch::channel(false).0,
        });
        Arc::clone(&ingester).spawn_load(parts, replay);
        #[cfg(feature = "simulated")]
        if threadless {
            tokio::spawn(crate::simulated::write_log(Arc::downgrade(&ingester)));
        }
        tokio::spawn(Arc::clone(&ingester).run());
        tokio::spawn(Arc::clone(&ingester).steer());
        Ok(ingester)
    }

    fn spawn_load(self: Arc<Self>, parts: HostParts, replay: Replay) {
        tokio::spawn(async move {
            let runtime = tokio::runtime::Handle::current();
            let load = move || {
                let _inside = runtime.enter();
                Host::load(parts, replay)
            };
            let loaded = away(&self.common.deps.workers, load).await;
            let (host, damage) = match loaded {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(error)) => return self.fail(&error),
                Err(lost) => return self.fail(&lost),
            };
            for text in &damage.what {
                match damage.others {
                    true => self.common.note_damage(text),
                    false => self.common.report_damage(text),
                }
            }
            let Pulses { cells, wal, .. } = &self.common.deps.pulses;
            host.spawn_pump(cells.clone(), wal.clone());
            if let Cells::Alone = self.common.options.cells
                && let Err(error) = host.ensure(&lone_cell(&self.me))
            {
                *self.failed.lock() = Some(hearth_common::error::chain(&error));
            }
            host.cells().into_iter().for_each(|cell| self.watch(cell));
            self.host.send_replace(Some(host));
        });
    }

    fn fail(&self, error: &(dyn std::error::Error + 'static)) {
        let error = hearth_common::error::chain(error);
        tracing::error!(error, "the write-ahead log cannot be used");
        *self.failed.lock() = Some(error);
    }

    /// Keeps a cell from now on, and brings its members to those wanted while it is led here: what the roster says.
    pub async fn keep(self: &Arc<Self>, spec: &CellSpec) -> Result<(), String> {
        let host = self.host().await?;
        self.wanted.write().insert(spec.cell.clone(), spec.wanted.clone());
        let before = host.cell(&spec.cell);
        let cell = host.ensure(spec).map_err(|error| hearth_common::error::chain(&error))?;
        // A cell that was forgotten may have begun another log under its name.
        if before.is_none_or(|before| !Arc::ptr_eq(&before, &cell)) {
            self.watch(cell);
        }
        Ok(())
    }

    /// The cells of which something is on its disk, whether the roster still gives them to it or not.
    pub fn held(&self) -> Vec<CellId> {
        let cells = self.host_now().map_or_else(Vec::new, |host| host.cells());
        cells.iter().filter(|cell| !cell.is_blank()).map(|cell| cell.id.clone()).collect()
    }

    /// Brings the members of a cell to those wanted while it is led here, also if this member is none of them.
    pub fn want(&self, cell: &CellId, wanted: &[MemberId]) {
        self.wanted.write().insert(cell.clone(), wanted.to_vec());
        if let Some(cell) = self.host_now().and_then(|host| host.cell(cell)) {
            cell.hear_of(wanted);
        }
    }

    /// Whether the roster seats this member in a cell, as far as it has been told.
    pub(crate) fn is_wanted(&self, cell: &CellId) -> bool {
        self.wanted.read().get(cell).is_none_or(|wanted| wanted.is_empty() || wanted.contains(&self.me))
    }

    /// Begins to lead, and ends, as the cell's elections go.
    fn watch(self: &Arc<Self>, cell: Arc<Cell>) {
        let ingester = Arc::downgrade(self);
        let mut news = cell.news();
        tokio::spawn(async move {
            loop {
                let (role, term) = {
                    let news = news.borrow_and_update();
                    let stopped = news.stopped.is_some();
                    (if stopped { Role::Follower } else { news.role }, news.term)
                };
                let Some(ingester) = ingester.upgrade() else { return };
                if !ingester.is_current(&cell) {
                    return;
                }
                ingester.follow(&cell, role, term);
                drop(ingester);
                if news.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whether no other log has begun under the name of the cell.
    fn is_current(&self, cell: &Arc<Cell>) -> bool {
        let current = self.host_now().and_then(|host| host.cell(&cell.id));
        current.is_none_or(|current| Arc::ptr_eq(&current, cell))
    }

    fn follow(&self, cell: &Arc<Cell>, role: Role, term: Term) {
        let current = self.leads.read().get(&cell.id).map(|lead| lead.term);
        let wanted = (role == Role::Leader).then_some(term);
        if current == wanted {
            return;
        }
        let before = match wanted {
            Some(term) => {
                tracing::info!(cell = %cell.id.0, term = term.0, "leading the cell");
                let lead = Lead::begin(Arc::clone(cell), term, Arc::clone(&self.common));
                self.leads.write().insert(cell.id.clone(), lead)
            }
            None => {
                tracing::info!(cell = %cell.id.0, term = term.0, "leading the cell no more");
                self.leads.write().remove(&cell.id)
            }
        };
        if let Some(before) = before {
            before.end();
        }
        self.led.send_modify(|changes| *changes += 1);
    }

    /// The cells, once the log is read.
    pub(crate) async fn host(&self) -> Result<Arc<Host>, String> {
        let mut host = self.host.subscribe();
        let wait = host.wait_for(Option::is_some);
        // The sender lives as long as this.
        let found = match wait.await {
            Ok(found) => found.clone(),
            Err(_) => None,
        };
        found.ok_or_else(|| "the ingester is gone".to_owned())
    }

    pub(crate) fn host_now(&self) -> Option<Arc<Host>> {
        self.host.borrow().clone()
    }

    pub(crate) fn now(&self) -> TimestampNs {
        self.common.now()
    }

    /// Who this is.
    pub fn member(&self) -> &MemberId {
        &self.me
    }

    /// The lead of a cell, if this member leads it now; else where to ask. Without waiting.
    pub(crate) fn lead_of(&self, cell: &CellId) -> Result<Arc<Lead>, Elsewhere> {
        let elsewhere =
            Elsewhere { member: true, reading: false, stopping: false, why: String::new(), leader: None };
        if self.closed.load(Ordering::Relaxed) {
            let why = "the ingester is stopping".to_owned();
            return Err(Elsewhere { stopping: true, why, leader: self.leader_of(cell), ..elsewhere });
        }
        let Some(host) = self.host_now() else {
            let why = "the write-ahead log is being read".to_owned();
            return Err(Elsewhere { reading: true, why, ..elsewhere });
        };
        if let Some(lead) = self.leads.read().get(cell) {
            return Ok(Arc::clone(lead));
        }
        if host.cell(cell).is_none() {
            let why = format!("'{}' keeps no copy of cell {}", self.me.instance, cell.0);
            return Err(Elsewhere { member: false, why, ..elsewhere });
        }
        let why = format!("'{}' does not lead cell {}", self.me.instance, cell.0);
        Err(Elsewhere { why, leader: self.leader_of(cell), ..elsewhere })
    }

    /// Who leads a cell, as far as this member knows, unless it is itself.
    pub(crate) fn leader_of(&self, cell: &CellId) -> Option<InstanceId> {
        let leader = self.host_now()?.cell(cell)?.news().borrow().leader.clone();
        leader.filter(|leader| *leader != self.me).map(|leader| leader.instance)
    }

    /// All leads at the moment.
    pub(crate) fn leads(&self) -> Vec<Arc<Lead>> {
        self.leads.read().values().map(Arc::clone).collect()
    }

    /// Whether questions are answered exactly and pushes are taken; else why not.
    pub fn ready(&self) -> Result<(), String> {
        if let Some(why) = &*self.failed.lock() {
            return Err(format!("the write-ahead log cannot be used: {why}"));
        }
        let Some(host) = self.host_now() else { return Err("the write-ahead log is being read".to_owned()) };
        if let Some(why) = host.failure() {
            return Err(format!("the write-ahead log has failed: {why}"));
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err("the ingester is stopping".to_owned());
        }
        if let Cells::Alone = self.common.options.cells
            && self.leads.read().is_empty()
        {
            return Err("the cell is being opened".to_owned());
        }
        for cell in host.cells() {
            if let Some(why) = cell.why_stopped() {
                return Err(format!("cell {} has stopped, restart the process: {why}", cell.id.0));
            }
            if let Some(why) = cell.why_not_whole() {
                return Err(why);
            }
        }
        for lead in self.leads() {
            if let Progress { done: false, entries, .. } = *lead.progress.borrow() {
                return Err(format!("the write-ahead log is being replayed, {entries} records so far"));
            }
        }
        Ok(())
    }

    /// Without waiting: a question that cannot be answered now is better asked again.
    fn ready_to_answer(&self) -> Result<(), String> {
        let closed = self.closed.load(Ordering::Relaxed);
        self.ready().or_else(|why| if closed { Ok(()) } else { Err(why) })
    }

    /// Publishes the heads of all cells that this ingester leads; returns when the roots are committed. A cell that another
    /// member leads by then is that one's.
    pub async fn flush(&self) -> Result<(), String> {
        let host = self.host().await?;
        let mut all = Ok(());
        for lead in self.leads() {
            let flushed = lead.flush().await;
            if !lead.cell.is_led_by_another() {
                all = all.and(flushed);
            }
        }
        all?;
        host.trim().await
    }

    /// Takes nothing more, publishes everything, closes the log. What cannot be published stays in the log.
    pub async fn stop(&self) -> Result<(), String> {
        self.closed.store(true, Ordering::SeqCst);
        let Some(host) = self.host_now() else {
            self.stop.send_replace(true);
            return Ok(());
        };
        // What is not replayed yet stays in the log: a stop must not wait for a store that is away.
        let rebuilt = self.leads().iter().all(|lead| lead.progress.borrow().done);
        let flushed = if rebuilt { self.flush_in_time().await } else { Ok(()) };
        let flushed = match flushed {
            // Other members have what is not published: the next leader publishes it.
            Err(error) if !matches!(self.common.options.cells, Cells::Alone) => {
                tracing::warn!(
                    error,
                    "not everything is published: the other members of the cells go on with it"
                );
                Ok(())
            }
            flushed => flushed,
        };
        self.hand_over().await;
        self.stop.send_replace(true);
        let closed = host.close().await;
        self.leads().iter().for_each(|lead| lead.end());
        flushed.and(closed)
    }

    /// Lets others lead what is led here, where there are others. Waits for that, for a bounded time.
    async fn hand_over(&self) {
        let leads = self.leads();
        let shared = leads.iter().filter(|lead| lead.cell.membership().voters.len() > 1);
        let shared: Vec<&Arc<Lead>> = shared.collect();
        shared.iter().for_each(|lead| lead.hand_over());
        let over = async {
            for lead in shared {
                let mut news = lead.cell.news();
                drop(news.wait_for(|news| !news.leads(lead.term)).await);
            }
        };
        if tokio::time::timeout(HAND_OVER, over).await.is_err() {
            tracing::warn!("leadership was not handed over in time: the others elect a leader");
        }
    }

    /// A loop of its own: who keeps a cell, and figures, must not wait for the object store.
    async fn steer(self: Arc<Self>) {
        let mut stopped = self.stop.subscribe();
        while tokio::time::timeout(TICK, stopped.changed()).await.is_err() {
            self.common.metrics.update(&self);
            for lead in self.leads() {
                let wanted = self.wanted.read().get(&lead.cell.id).cloned().unwrap_or_default();
                lead.steer(&wanted).await;
            }
        }
    }

    /// The lead of a cell, or of the only one; waits a while for an election.
    async fn lead(&self, cell: Option<&CellId>) -> Result<Arc<Lead>, String> {
        let host = self.host().await?;
        let find = || {
            let leads = self.leads.read();
            match cell {
                Some(cell) => leads.get(cell).map(Arc::clone),
                None => leads.values().next().map(Arc::clone),
            }
        };
        let mut led = self.led.subscribe();
        let wait = async {
            loop {
                if let Some(lead) = find() {
                    return Some(lead);
                }
                if host.failure().is_some() || led.changed().await.is_err() {
                    return None;
                }
            }
        };
        let found = tokio::time::timeout(LEAD_WAIT, wait).await.ok().flatten();
        found.ok_or_else(|| match host.failure() {
            Some(why) => format!("its write-ahead log has failed: {why}"),
            None => "it does not lead the cell".to_owned(),
        })
    }
}

#[async_trait]
impl PushTarget for Ingester {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(PushError::Unavailable("it is stopping".to_owned()));
        }
        let lead = self.lead(None).await.map_err(PushError::Unavailable)?;
        lead.push(&records).await
    }
}

#[async_trait]
impl HeadSource for Ingester {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        if let Err(why) = self.ready_to_answer() {
            return Ok(FetchAnswer::NotReady(why));
        }
        match self.lead(None).await {
            Ok(lead) => lead.fetch(request).await,
            Err(why) => Ok(FetchAnswer::NotReady(why)),
        }
    }
}
