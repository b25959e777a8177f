//! This process as one of a cluster: what it tells the others, whom it sees, the roster that it follows, and, for an
//! ingester, the planner of the roster.
//!
//! Owns the tasks around gossip and the roster's store. Gossip decides nothing (design: replication A37): it says where
//! others are, and that there may be a newer roster. Must not know what a cell holds, nor what its role does.

mod keep;
mod metrics;
mod planner;
mod statuses;
#[cfg(test)]
mod tests;
mod wish;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hearth_cluster::gossip::{
    Announcement, Gossip, GossipError, GossipOptions, PeerState, Peers, Role, Voice,
};
use hearth_cluster::roster::{
    FolderCopy, Knowledge, MemberState, Note, Plan, PlanOptions, Roster, RosterCopy, RosterError,
    RosterParts, RosterStore, Seen, Sight, Volume, plan,
};
use hearth_common::error::chain;
use hearth_common::{Clock, DiskId, InstanceId, LogId, MemberId, Pulse, TimestampNs};
use hearth_internode::Reach;
use hearth_internode::api::MemberStatus;
use hearth_internode::cells::{Cells, CellsParts};
use hearth_objstore::Store;
use hearth_telemetry::{Gate, Readiness};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use keep::{Keep, keeps, neighbours, publishes_last};
pub(crate) use statuses::Asked;
pub use wish::WishError;

use crate::node::Random;
use keep::unheard;
use metrics::Metrics;

/// How often state and readiness are looked at.
const TEND_EVERY: Duration = Duration::from_millis(200);

/// How long a process that was just started waits to hear of the others before it takes requests.
const HEAR_MAX: Duration = Duration::from_secs(5);

/// What a membership is set up with.
#[derive(Debug, Clone)]
pub struct MembershipOptions {
    /// What the process does.
    pub role: Role,
    /// Its name.
    pub instance: InstanceId,
    /// Where it runs.
    pub zone: String,
    /// How it gossips.
    pub gossip: GossipOptions,
    /// How it plans, and for which cluster.
    pub plan: PlanOptions,
    /// The folder for a copy of the roster; `None` = no copy.
    pub folder: Option<PathBuf>,
    /// How often an ingester plans.
    pub plan_every: Duration,
    /// How often the store is asked for a newer roster, hints of gossip aside.
    pub poll_every: Duration,
}

/// What a membership works with.
#[derive(Clone)]
pub struct MembershipDeps {
    /// Where the roster is.
    pub store: Store,
    /// Who keeps a copy of it, in place of a file in the folder.
    pub copy: Option<Arc<dyn RosterCopy>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub rng: Random,
    /// Has a gate of the membership, and says when the process is ready.
    pub readiness: Readiness,
    /// What its loops tell of themselves.
    pub pulses: MembershipPulses,
    /// Ways to ingesters, for records and questions.
    pub reach: Arc<dyn Reach>,
    /// Ways to ingesters that are asked how they are: not behind records.
    pub statuses: Arc<dyn Reach>,
}

impl std::fmt::Debug for MembershipDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MembershipDeps").finish_non_exhaustive()
    }
}

/// What the loops of a membership tell of themselves; the default is watched by nobody.
#[derive(Debug, Clone, Default)]
pub struct MembershipPulses {
    /// Tells others how this process is.
    pub membership: Pulse,
    /// Follows the roster in the store.
    pub roster: Pulse,
    /// Plans the roster (ingesters).
    pub planner: Pulse,
}

/// Where others find this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// The identity of its data folder, if it keeps logs.
    pub disk: Option<DiskId>,
    /// Its public port.
    pub api_addr: SocketAddr,
    /// Its internal port; the public one if it has none.
    pub cluster_addr: SocketAddr,
}

/// This process as one of a cluster. One in a process.
pub struct Membership {
    options: MembershipOptions,
    clock: Arc<dyn Clock>,
    rng: Random,
    store: RosterStore,
    peers: watch::Sender<Arc<Peers>>,
    hint: watch::Sender<u64>,
    leaving: watch::Sender<bool>,
    readiness: Readiness,
    pulses: MembershipPulses,
    gate: Option<Gate>,
    statuses: Arc<dyn Reach>,
    cells: Arc<Cells>,
    metrics: Metrics,
    /// Logs of cells on their way out whose leader says that all is published.
    drained: Mutex<Vec<LogId>>,
    /// What is pushed of services, if all open cells have leaders that said so.
    volumes: Mutex<Option<Vec<Volume>>>,
    /// What cells know of an announced change of placement.
    knowledge: Mutex<Option<Knowledge>>,
    /// Whether it was heard of enough ingesters to reach all cells; once it was, it stays so: a cell that is lost later is no
    /// reason to refuse what goes to others.
    heard: AtomicBool,
    joined: Mutex<Option<Joined>>,
}

struct Joined {
    endpoints: Endpoints,
    /// None if something else stands for it.
    gossip: Option<Arc<Gossip>>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Membership {
    /// Opens the roster's store, and reads the copy in the folder. Asks and tells nobody yet.
    pub fn open(options: MembershipOptions, deps: MembershipDeps) -> Result<Arc<Self>, RosterError> {
        let MembershipDeps { store, copy, clock, rng, readiness, pulses, reach, statuses } = deps;
        let in_folder = || Some(Arc::new(FolderCopy(options.folder.clone()?)) as Arc<dyn RosterCopy>);
        let store = RosterStore::open(RosterParts {
            store,
            copy: copy.or_else(in_folder),
            cluster_id: options.plan.cluster_id.clone(),
            rng: Arc::clone(&rng),
            clock: Arc::clone(&clock),
            entry_ahead_min: options.plan.entry_ahead / 2,
        })?;
        let (peers, hint) = (watch::Sender::new(Arc::default()), watch::Sender::new(0));
        let cells = Cells::new(CellsParts {
            roster: store.watch(),
            peers: peers.subscribe(),
            hint: hint.clone(),
            reach,
        });
        // A compactor works on the store alone.
        let needed = options.role != Role::Compactor;
        let gate = needed.then(|| readiness.gate("cluster", "no roster is known yet"));
        Ok(Arc::new(Self {
            store,
            peers,
            hint,
            cells: Arc::new(cells),
            leaving: watch::Sender::new(false),
            gate,
            readiness,
            pulses,
            statuses,
            metrics: Metrics::default(),
            drained: Mutex::default(),
            volumes: Mutex::default(),
            knowledge: Mutex::default(),
            heard: AtomicBool::new(false),
            joined: Mutex::default(),
            options,
            clock,
            rng,
        }))
    }

    /// Begins to gossip and to follow the roster; an ingester begins to plan. Must be called inside a tokio runtime, once.
    pub async fn join(
        self: &Arc<Self>,
        endpoints: Endpoints,
        registry: &mut Registry,
    ) -> Result<(), GossipError> {
        let Endpoints { disk, api_addr, cluster_addr } = endpoints;
        let MembershipOptions { role, instance, zone, gossip, .. } = &self.options;
        let roster_version = self.store.known().map_or(0, |roster| roster.version);
        let leaves = match (&self.options.folder, disk) {
            (Some(folder), Some(disk)) => wish::is_kept(folder, disk).unwrap_or_else(|error| {
                tracing::error!(error = %chain(&error), "it is not known whether this process was asked to leave");
                false
            }),
            _ => false,
        };
        if leaves {
            tracing::info!("this process was asked to leave the cluster for good before it was restarted");
            self.leaving.send_replace(true);
        }
        let said = Announcement {
            role: *role,
            instance: instance.clone(),
            disk,
            zone: zone.clone(),
            api_addr,
            cluster_addr,
            state: if leaves { PeerState::Leaving } else { PeerState::Joining },
            roster_version,
        };
        let gossip = Arc::new(Gossip::start(gossip.clone(), said, Arc::clone(&self.clock)).await?);
        gossip.register_metrics(registry);
        self.metrics.register(*role, registry);
        tracing::info!(%instance, zone, gossip = %gossip.addr(), api = %api_addr, cluster = %cluster_addr, "joined gossip");
        let voice: Arc<dyn Voice> = Arc::<Gossip>::clone(&gossip);
        self.take_part(endpoints, gossip.watch(), &voice);
        if let Some(joined) = &mut *self.joined.lock() {
            joined.gossip = Some(gossip);
        }
        Ok(())
    }

    /// As [`Membership::join`], with whatever stands for gossip: what is `heard`, and a `voice`.
    pub fn take_part(
        self: &Arc<Self>,
        endpoints: Endpoints,
        heard: watch::Receiver<Arc<Peers>>,
        voice: &Arc<dyn Voice>,
    ) {
        let mut tasks = vec![
            tokio::spawn(Arc::clone(self).forward(heard)),
            tokio::spawn(Arc::clone(self).follow()),
            tokio::spawn(Arc::clone(self).tell_version(Arc::clone(voice))),
            tokio::spawn(Arc::clone(self).tend(Arc::clone(voice))),
        ];
        if self.options.role == Role::Ingester {
            tasks.push(tokio::spawn(Arc::clone(self).plan_on()));
        }
        *self.joined.lock() = Some(Joined { endpoints, gossip: None, tasks });
    }

    /// Falls silent: the others notice as if the process had died, which for them is a restart.
    pub async fn stop(&self) {
        let Some(Joined { gossip, tasks, .. }) = self.joined.lock().take() else { return };
        for task in tasks {
            task.abort();
            // Cancelled is what it is to be.
            drop(task.await);
        }
        if let Some(gossip) = gossip.and_then(Arc::into_inner) {
            gossip.stop().await;
        }
    }

    /// Says that this process leaves the cluster for good: others take its places, and it serves on meanwhile. On `Ok` the
    /// wish outlives a restart. Writes a small file: blocks for a moment.
    pub fn leave(&self) -> Result<(), WishError> {
        let disk = self.endpoints().and_then(|endpoints| endpoints.disk);
        if let (Some(folder), Some(disk)) = (&self.options.folder, disk) {
            wish::keep(folder, disk)?;
        }
        self.leaving.send_replace(true);
        Ok(())
    }

    /// The settings of this membership.
    pub fn options(&self) -> &MembershipOptions {
        &self.options
    }

    /// Who is alive, as gossip sees it. Nobody before [`Membership::join`].
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.subscribe()
    }

    /// The newest roster that this process knows and, if it keeps a copy, has on disk.
    pub fn roster(&self) -> watch::Receiver<Option<Arc<Roster>>> {
        self.store.watch()
    }

    /// The directory of cells: who keeps them, who leads them as far as is known, and connections to them. All of a process
    /// share it.
    pub fn cells(&self) -> &Arc<Cells> {
        &self.cells
    }

    /// The roster in the object store.
    pub fn store(&self) -> &RosterStore {
        &self.store
    }

    /// Where others find this process; `None` before it joined.
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.joined.lock().as_ref().map(|joined| joined.endpoints)
    }

    /// How all ingesters that are alive say they are, each given a moment.
    pub(crate) async fn ask_all(&self) -> Asked {
        let peers = Arc::clone(&self.peers.borrow());
        statuses::ask(&*self.statuses, &peers).await
    }

    /// What the planner would do now on a roster, and what is worth telling people.
    pub(crate) fn plan_now(&self, roster: Option<&Roster>) -> Plan {
        plan(roster, &self.sighting().sight(), &self.options.plan, &mut || (self.rng)())
    }

    fn sighting(&self) -> Sighting {
        let peers = Arc::clone(&self.peers.borrow());
        Sighting {
            seen: hearth_cluster::seen(&peers),
            watching_since: peers.watching_since(),
            now: self.clock.monotonic(),
            wall: self.clock.now(),
            drained: self.drained.lock().clone(),
            volumes: self.volumes.lock().clone(),
            knowledge: self.knowledge.lock().clone(),
        }
    }

    async fn forward(self: Arc<Self>, mut heard: watch::Receiver<Arc<Peers>>) {
        loop {
            let peers = Arc::clone(&heard.borrow_and_update());
            let newest = peers.newest_roster_version();
            self.peers.send_replace(peers);
            self.cells.heard(newest);
            if heard.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow(self: Arc<Self>) {
        self.store.follow(self.options.poll_every, self.hint.subscribe(), &self.pulses.roster).await;
    }

    async fn tell_version(self: Arc<Self>, voice: Arc<dyn Voice>) {
        let mut roster = self.store.watch();
        loop {
            let version = roster.borrow_and_update().as_ref().map_or(0, |roster| roster.version);
            voice.set_roster_version(version);
            self.metrics.roster_version.set(i64::try_from(version).unwrap_or(i64::MAX));
            if roster.changed().await.is_err() {
                return;
            }
        }
    }

    /// Opens and closes the gate, and tells the others whether this process works.
    async fn tend(self: Arc<Self>, voice: Arc<dyn Voice>) {
        loop {
            let work = self.pulses.membership.work();
            if let Some(gate) = &self.gate {
                match self.belongs() {
                    Ok(()) => gate.open(),
                    Err(why) => gate.close(why),
                }
            }
            self.metrics.saw(&self.peers.borrow(), self.store.known().as_deref());
            voice.set_state(match (*self.leaving.borrow(), self.readiness.check()) {
                (true, _) => PeerState::Leaving,
                (false, Ok(())) => PeerState::Active,
                (false, Err(_)) => PeerState::Joining,
            });
            drop(work);
            tokio::time::sleep(TEND_EVERY).await;
        }
    }

    /// Whether there is a roster, and an ingester's place in it; else what is waited for.
    fn belongs(&self) -> Result<(), String> {
        let roster = self.store.known();
        let waits = |what: &str| {
            let notes = self.metrics.notes.lock();
            let said: Vec<String> = notes.iter().map(Note::to_string).collect();
            if said.is_empty() { what.to_owned() } else { format!("{what}: {}", said.join("; ")) }
        };
        let Some(roster) = roster else { return Err(waits("no roster is known yet")) };
        if self.options.role != Role::Ingester {
            return self.hears(&roster);
        }
        let Some(me) = self.member() else { return Err("the disk is not known yet".to_owned()) };
        let active = roster.member(&me).is_some_and(|member| member.state != MemberState::Dead);
        if active && roster.cells_of(&me).next().is_some() {
            return Ok(());
        }
        Err(waits("this ingester has no cell yet"))
    }

    /// Whether enough was heard of others to serve: right after a start nobody's address is known.
    fn hears(&self, roster: &Roster) -> Result<(), String> {
        if self.heard.load(Ordering::Relaxed) {
            return Ok(());
        }
        let peers = Arc::clone(&self.peers.borrow());
        let watched = self.clock.monotonic().saturating_sub(peers.watching_since());
        let unheard = unheard(roster, &peers);
        if unheard > 0 && watched < HEAR_MAX {
            return Err(format!("nothing is heard yet of the ingesters of {unheard} cells"));
        }
        self.heard.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// This process as a keeper of logs.
    fn member(&self) -> Option<MemberId> {
        let disk = self.endpoints()?.disk?;
        Some(MemberId { instance: self.options.instance.clone(), disk })
    }
}

/// What a [`Sight`] borrows.
struct Sighting {
    seen: Vec<Seen>,
    watching_since: Duration,
    now: Duration,
    wall: TimestampNs,
    drained: Vec<LogId>,
    volumes: Option<Vec<Volume>>,
    knowledge: Option<Knowledge>,
}

impl Sighting {
    fn sight(&self) -> Sight<'_> {
        let Self { seen, watching_since, now, wall, drained, volumes, knowledge } = self;
        let (watching_since, now, wall) = (*watching_since, *now, *wall);
        let (volumes, knowledge) = (volumes.as_deref(), knowledge.as_ref());
        Sight { seen, watching_since, now, wall, drained, volumes, knowledge }
    }
}

/// A status that was asked for, or why there is none.
pub(crate) type Status = Result<MemberStatus, String>;
