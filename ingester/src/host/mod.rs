//! What this member keeps of cells: one log on disk for all of them, a replica of each, and the messages between members.
//!
//! Owns the order of things on disk: checkpoints, entries, lists of remembered records, and when segments go. Must not
//! know: profiles, tenants, roots, who else is alive.

mod cell;
mod codec;
mod load;
mod news;
mod places;
mod reports;
pub(crate) mod takeover;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use hearth_cell::{AppendHead, Base, Membership, Message, Options, Pledge, Positions, Saved};
use hearth_common::error::chain;
use hearth_common::work::away;
use hearth_common::{CellId, Clock, DiskId, LogId, MemberId, Position, Pulse, Rid, TimestampNs, Workers};
use hearth_wal::{Appended, Damage, Lsn, Replayed, Wal, WalError};
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, watch};

pub(crate) use cell::Cell;
use codec::{CellNumber, CheckpointCell};
use load::Segments;
pub(crate) use reports::{Durable, Reports, WalTimes};

use crate::planted::{Bug, Planted};
use crate::state_dir::StateDir;

/// How often replicas are told that time has passed.
const TICK: Duration = Duration::from_millis(25);
/// Appends to members far behind that wait for the disk; more are left to the next heartbeat.
const DISK_SENDS_MAX: usize = 64;

/// What to do about a log that does not say what its member has promised.
const FORGOTTEN: &str = "it may hold promises to the other members of cells that cannot be read any more. They have \
    everything that was acknowledged: move this data folder away and start with an empty one";

/// Takes messages for other members. Never waits: what cannot be queued is dropped, and sent again by the protocol.
pub trait Post: Send + Sync + std::fmt::Debug {
    /// Sends a message of one of this member's replicas.
    fn send(&self, to: &MemberId, cell: &CellId, log: LogId, message: Message);
}

/// For a member without others.
#[derive(Debug)]
pub struct NoPost;

impl Post for NoPost {
    fn send(&self, _to: &MemberId, _cell: &CellId, _log: LogId, _message: Message) {}
}

/// A cell that this member is to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSpec {
    /// Its name.
    pub cell: CellId,
    /// Its log.
    pub log: LogId,
    /// Its first members, if this one belongs to them; `None` = it joins later, and learns from the leader who it is.
    pub founders: Option<Vec<MemberId>>,
    /// The members that should keep it now, home first; empty = whoever keeps it.
    pub wanted: Vec<MemberId>,
}

/// Counters of the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostMetrics {
    /// Appends whose entries were left out because the log had no room.
    pub(crate) no_room: Counter,
    /// Appends to members far behind that were dropped because too many waited.
    pub(crate) sends_dropped: Counter,
}

/// What all cells of a member share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: MemberId,
    pub(crate) wal: Wal,
    pub(crate) metrics: HostMetrics,
    post: Arc<dyn Post>,
    clock: Arc<dyn Clock>,
    dir: Arc<StateDir>,
    checkpoint: Mutex<BTreeMap<CellNumber, CheckpointCell>>,
    segments: Mutex<Segments>,
    disk_sends: mpsc::Sender<DiskSend>,
    /// An entry could not be read back: why.
    unreadable: OnceLock<Arc<str>>,
}

/// An append whose entries have to be read from the disk first.
#[derive(Debug)]
struct DiskSend {
    cell: CellId,
    to: MemberId,
    head: AppendHead,
    entries: Positions,
}

impl Shared {
    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Writes an entry of a cell. Room was checked before, where it counts.
    fn append(
        &self,
        number: CellNumber,
        position: Position,
        head: &[u8],
        body: Bytes,
    ) -> Result<Appended, WalError> {
        let appended = self.wal.append_admitted(head, body)?;
        self.segments.lock().note(appended.location.segment, number, position);
        Ok(appended)
    }

    fn pledge(&self, number: CellNumber, pledge: Pledge) -> Result<Lsn, WalError> {
        let head = codec::pledge(number, &pledge);
        self.amend(number, &head, |cell| cell.pledge = pledge)
    }

    fn base(&self, number: CellNumber, base: Base, reset: bool) -> Result<Lsn, WalError> {
        let head = codec::base(number, &base, reset);
        if reset {
            self.segments.lock().begin_anew(number);
        }
        self.amend(number, &head, |cell| cell.base = base)
    }

    /// Changes a cell in the checkpoint of segments to come, and writes the entry that says so in the current one.
    fn amend(
        &self,
        number: CellNumber,
        head: &[u8],
        change: impl FnOnce(&mut CheckpointCell),
    ) -> Result<Lsn, WalError> {
        let mut checkpoint = self.checkpoint.lock();
        if let Some(cell) = checkpoint.get_mut(&number) {
            change(cell);
        }
        self.write_amendment(&checkpoint, head)
    }

    /// Writes down the base that some cell has, so that a segment begins: an older one would bring dropped entries back.
    fn repeat_base(&self) -> Result<(), WalError> {
        let checkpoint = self.checkpoint.lock();
        let Some(CheckpointCell { number, base, .. }) = checkpoint.values().next() else { return Ok(()) };
        let head = codec::base(*number, base, false);
        self.write_amendment(&checkpoint, &head).map(drop)
    }

    fn write_amendment(
        &self,
        checkpoint: &BTreeMap<CellNumber, CheckpointCell>,
        head: &[u8],
    ) -> Result<Lsn, WalError> {
        self.wal.set_preamble(codec::checkpoint(checkpoint.values()))?;
        let appended = self.wal.append_admitted(head, Bytes::new())?;
        self.segments.lock().begin(appended.location.segment);
        Ok(appended.lsn)
    }

    fn save_ids(&self, number: CellNumber, ids: &[u128]) -> Result<(), WalError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.dir
            .save_ids(number.0, self.clock.now(), ids)
            .map_err(|source| WalError::io("save the pushes of", "", source))
    }

    fn send_from_disk(&self, cell: CellId, to: MemberId, head: AppendHead, entries: Positions) {
        if self.disk_sends.try_send(DiskSend { cell, to, head, entries }).is_err() {
            self.metrics.sends_dropped.inc();
        }
    }
}

/// The cells of this member.
pub(crate) struct Host {
    pub(crate) shared: Arc<Shared>,
    cells: RwLock<BTreeMap<CellId, Arc<Cell>>>,
    durable: watch::Receiver<Durable>,
    trimming: tokio::sync::Mutex<()>,
    rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    workers: Workers,
    horizon: Duration,
    planted: Planted,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

/// What was damaged in the log.
#[derive(Debug)]
pub(crate) struct FoundDamage {
    /// For people.
    pub(crate) what: Vec<String>,
    /// Other members have everything that is gone here.
    pub(crate) others: bool,
}

/// What a host is made of.
pub(crate) struct HostParts {
    pub(crate) me: MemberId,
    pub(crate) wal: Wal,
    pub(crate) durable: watch::Receiver<Durable>,
    pub(crate) dir: Arc<StateDir>,
    pub(crate) post: Arc<dyn Post>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    pub(crate) workers: Workers,
    /// How long records are remembered.
    pub(crate) horizon: Duration,
    pub(crate) metrics: HostMetrics,
    /// There is no other member that could be misled by what this one forgot.
    pub(crate) alone: bool,
    pub(crate) planted: Planted,
}

impl Host {
    /// Reads the log and starts a replica of each cell in it. Blocks for about a second a GB. Second: what is damaged. If all
    /// cells have other members, it is not lost: a member neither votes nor leads until they have repaired it.
    pub(crate) fn load(
        parts: HostParts,
        replay: impl Iterator<Item = Result<Replayed, Damage>>,
    ) -> Result<(Arc<Self>, FoundDamage), WalError> {
        let HostParts { me, wal, durable, dir, post, clock, rng, workers, horizon, metrics, alone, planted } =
            parts;
        let load::Loaded { cells: loaded, segments, mut damage, forgotten, .. } = load::load(me.disk, replay);
        if forgotten && !alone {
            return Err(WalError::io("trust", "the newest segment", std::io::Error::other(FORGOTTEN)));
        }
        let (disk_sends, disk_sends_in) = mpsc::channel(DISK_SENDS_MAX);
        let shared = Arc::new(Shared {
            me,
            wal,
            metrics,
            post,
            clock,
            dir,
            checkpoint: Mutex::default(),
            segments: Mutex::new(segments),
            disk_sends,
            unreadable: OnceLock::new(),
        });
        let host = Arc::new(Self {
            shared: Arc::clone(&shared),
            cells: RwLock::default(),
            durable,
            trimming: tokio::sync::Mutex::default(),
            rng,
            workers,
            horizon,
            planted,
        });
        let horizon_ns = i64::try_from(horizon.as_nanos()).unwrap_or(i64::MAX);
        let since = TimestampNs(shared.clock.now().0.saturating_sub(horizon_ns));
        let mut starts = Vec::new();
        for (number, cell) in loaded {
            let (id, log, lost) = (cell.cell.clone(), cell.log, cell.lost());
            let alone = cell.is_alone(shared.me.disk);
            if lost > 0 {
                damage.push(format!("{lost} records of cell {} are lost", id.0));
            }
            let (mut saved, slots) = cell.into_parts();
            let unsaved = host.remember(number, since, &mut saved);
            shared.checkpoint.lock().insert(
                number,
                CheckpointCell {
                    number,
                    cell: id.clone(),
                    log,
                    pledge: saved.pledge.clone(),
                    base: saved.base.clone(),
                },
            );
            starts.push(((id, log, number), (saved, slots), alone, unsaved));
        }
        // Without a cell nobody knows whose entries are gone.
        let others = !starts.is_empty() && starts.iter().all(|(_, _, alone, _)| !alone);
        // Only when all are in the checkpoint: the first write begins a segment.
        for (name, parts, alone, unsaved) in starts {
            let cell = Cell::new(name, parts, host.options(alone), Arc::clone(&shared));
            cell.put_back(unsaved);
            host.cells.write().insert(cell.id.clone(), cell);
        }
        host.spawn_disk_sends(disk_sends_in);
        Ok((host, FoundDamage { what: damage, others }))
    }

    /// Adds what lists say was pushed lately. What only segments say: it must be in a list before those go.
    fn remember(&self, number: CellNumber, since: TimestampNs, saved: &mut Saved) -> Vec<u128> {
        let unsaved = saved.remembered.iter().map(|(rid, _)| rid.0).collect();
        if !self.planted.has(Bug::RidsNotLoaded) {
            let older = self.shared.dir.load_ids(number.0, since).into_iter().flat_map(|(_, ids)| ids);
            let older = older.map(|id| (Rid(id), Position(0)));
            saved.remembered = older.chain(saved.remembered.drain(..)).collect();
        }
        unsaved
    }

    fn options(&self, alone: bool) -> Options {
        let mut options = Options::new((self.rng)() as u64);
        options.accept_damage = alone;
        options.timing.rid_horizon = self.horizon;
        options
    }

    /// Keeps a cell from now on, if it does not yet.
    pub(crate) fn ensure(&self, spec: &CellSpec) -> Result<Arc<Cell>, WalError> {
        let mut cells = self.cells.write();
        if let Some(cell) = cells.get(&spec.cell).filter(|cell| cell.log == spec.log) {
            return Ok(Arc::clone(cell));
        }
        let saved = match &spec.founders {
            Some(founders) => Saved::first(Membership::of(founders.iter().cloned())),
            None => Saved::default(),
        };
        let number = {
            let mut checkpoint = self.shared.checkpoint.lock();
            let number = CellNumber(checkpoint.keys().next_back().map_or(0, |last| last.0) + 1);
            let (cell, log) = (spec.cell.clone(), spec.log);
            let (pledge, base) = (saved.pledge.clone(), saved.base.clone());
            checkpoint.insert(number, CheckpointCell { number, cell, log, pledge, base });
            self.shared.wal.set_preamble(codec::checkpoint(checkpoint.values()))?;
            // A segment that has begun does not know the cell: its entries need one that does.
            self.shared.wal.roll();
            number
        };
        let mut options = self.options(saved.base.membership.voters.len() == 1);
        options.preferred = spec.cell.0 == self.shared.me.instance;
        let name = (spec.cell.clone(), spec.log, number);
        let cell = Cell::new(name, (saved, Vec::new()), options, Arc::clone(&self.shared));
        cells.insert(spec.cell.clone(), Arc::clone(&cell));
        Ok(cell)
    }

    /// The cell of that name.
    pub(crate) fn cell(&self, id: &CellId) -> Option<Arc<Cell>> {
        self.cells.read().get(id).map(Arc::clone)
    }

    /// All cells.
    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        self.cells.read().values().map(Arc::clone).collect()
    }

    /// A message of another member came. What is meant for another log is dropped.
    pub(crate) fn receive(&self, from: &MemberId, cell: &CellId, log: LogId, message: Message) {
        if let Some(cell) = self.cell(cell).filter(|cell| cell.log == log) {
            cell.step(from, message);
        }
    }

    /// A member refused a connection.
    pub(crate) fn unreachable(&self, member: &MemberId) {
        self.cells().iter().for_each(|cell| cell.unreachable(member));
    }

    /// Why the log cannot be used any more, if so.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.durable.borrow().failed.clone().or_else(|| self.shared.unreadable.get().cloned())
    }

    /// Tells replicas what is on disk and that time passes, until the host is gone. `log` is the pulse of the log: it is at work
    /// without an end once the log has failed, which only a restart mends.
    pub(crate) fn spawn_pump(self: &Arc<Self>, pulse: Pulse, log: Pulse) {
        let host = Arc::downgrade(self);
        let mut durable = self.durable.clone();
        tokio::spawn(async move {
            let mut given_up = None;
            loop {
                // An error says that the log is closed: time still passes for those who wait.
                let closed = match tokio::time::timeout(TICK, durable.changed()).await {
                    Ok(changed) => changed.is_err(),
                    Err(_) => false,
                };
                let Some(host) = Weak::upgrade(&host) else { return };
                let work = pulse.work();
                let Durable { upto, .. } = durable.borrow_and_update().clone();
                let failed = host.failure();
                if failed.is_some() {
                    given_up.get_or_insert_with(|| log.work());
                }
                for cell in host.cells() {
                    cell.durable(upto);
                    cell.tick();
                    if let Some(why) = &failed {
                        cell.stop(why);
                    }
                }
                drop((work, host));
                if closed {
                    tokio::time::sleep(TICK).await;
                }
            }
        });
    }

    fn spawn_disk_sends(self: &Arc<Self>, mut wanted: mpsc::Receiver<DiskSend>) {
        let host = Arc::downgrade(self);
        let workers = Arc::clone(&self.workers);
        tokio::spawn(async move {
            while let Some(DiskSend { cell, to, head, entries }) = wanted.recv().await {
                let Some(cell) = host.upgrade().and_then(|host| host.cell(&cell)) else { continue };
                let send = move || cell.send_from_disk(&to, head, entries);
                if away(&workers, send).await.is_err() {
                    tracing::error!("reading entries for another member ended early");
                }
            }
        });
    }

    /// Removes segments of which every entry is dropped. What they remember is written down first.
    pub(crate) async fn trim(&self) -> Result<(), String> {
        let _turn = self.trimming.lock().await;
        let cells = self.cells();
        let bases: BTreeMap<CellNumber, Position> =
            cells.iter().map(|cell| (cell.number, cell.base())).collect();
        let base = |number: CellNumber| bases.get(&number).copied().unwrap_or_default();
        let Some(upto) = self.shared.segments.lock().removable(base) else { return Ok(()) };
        // The bases just read, and what was remembered for them, must be on disk.
        self.settled().await?;
        for cell in &cells {
            let ids = cell.take_unsaved();
            if self.planted.has(Bug::RidsLostAtTrim) {
                continue;
            }
            if let Err(error) = self.shared.save_ids(cell.number, &ids) {
                cell.put_back(ids);
                return Err(chain(&error));
            }
        }
        let shared = Arc::clone(&self.shared);
        let removed = away(&self.workers, move || shared.wal.remove_segments_upto(upto)).await;
        match removed {
            Ok(Ok(_)) => self.shared.segments.lock().forget(upto),
            Ok(Err(error)) => return Err(chain(&error)),
            Err(error) => return Err(error.to_string()),
        }
        let horizon_ns = i64::try_from(self.horizon.as_nanos()).unwrap_or(i64::MAX);
        self.shared.dir.forget_ids(TimestampNs(self.shared.clock.now().0.saturating_sub(horizon_ns)));
        Ok(())
    }

    /// Waits until everything that was written is on disk.
    async fn settled(&self) -> Result<(), String> {
        let end = self.shared.wal.stats().appended;
        let mut durable = self.durable.clone();
        let reached = durable.wait_for(|durable| durable.upto >= end || durable.failed.is_some()).await;
        match reached {
            Ok(durable) if durable.upto >= end => Ok(()),
            Ok(durable) => Err(durable.failed.as_deref().unwrap_or_default().to_owned()),
            Err(_) => Err("the write-ahead log is closed".to_owned()),
        }
    }

    /// Writes a checkpoint into a segment of its own, so that all before it may go, removes what may go, closes the log.
    pub(crate) async fn close(&self) -> Result<(), String> {
        self.shared.wal.roll();
        let trimmed = match self.shared.repeat_base() {
            Ok(()) => self.trim().await,
            Err(error) => Err(chain(&error)),
        };
        let closed = self.shared.wal.sync_and_close().map_err(|error| chain(&error));
        trimmed.and(closed)
    }
}

/// The cell of a machine that stands alone: named after it, its log named after its disk.
pub(crate) fn lone_cell(me: &MemberId) -> CellSpec {
    let DiskId(log) = me.disk;
    CellSpec {
        cell: CellId(me.instance.clone()),
        log: LogId(log),
        founders: Some(vec![me.clone()]),
        wanted: Vec::new(),
    }
}
