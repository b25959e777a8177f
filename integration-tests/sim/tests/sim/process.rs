//! Processes: the roles' own code, started on simulated parts, and killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_catalog::Catalog;
use hearth_cluster::gossip::{Announcement, GossipOptions, PeerState, Role};
use hearth_cluster::roster::{Roster, RosterCopy, RosterError};
use hearth_common::work::Job;
use hearth_common::{Clock, DiskId, InstanceId, MemberId, TenantLimits, Workers};
use hearth_compactor::{Alone, Compactor, CompactorDeps, CompactorOptions, PlanOptions};
use hearth_distributor::{ClusterPush, ClusterPushDeps};
use hearth_ingester::api::Member;
use hearth_ingester::simulated::{Parts, Process};
use hearth_ingester::{Cells, IngesterDeps, IngesterOptions};
use hearth_internode::Reach;
use hearth_node::{Endpoints, Membership, MembershipDeps, MembershipOptions};
use hearth_objstore::Store;
use hearth_querier::{
    ClusterHeads, ClusterHeadsDeps, ClusterHeadsOptions, Querier, QuerierDeps, QuerierOptions, SymbolOptions,
};
use hearth_telemetry::Readiness;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Plant;
use crate::disk::FaultyDisk;
use crate::gossip::{Said, SimVoice, listen};
use crate::net::{SimLinks, SimReach};
use crate::parts::{SimClock, StoreFaults};
use crate::world::World;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ingester,
    /// A distributor and a querier.
    Front,
    Compactor,
}

/// A machine for one process after the other.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) name: InstanceId,
    pub(crate) address: SocketAddr,
    zone: String,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) paused_until: Arc<Mutex<Option<Instant>>>,
    pub(crate) said: Said,
    pub(crate) life: Mutex<Option<Arc<Life>>>,
    pub(crate) machine: Mutex<Machine>,
}

/// What outlives a process.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) disk_id: DiskId,
    pub(crate) disk: FaultyDisk,
    /// Small files beside the log.
    dir: PathBuf,
    /// The copy of the roster, which a power cut leaves.
    roster: Copy,
    lives: u64,
}

/// A copy of the roster on a disk.
#[derive(Debug, Clone, Default)]
struct Copy(Arc<Mutex<Option<Arc<Roster>>>>);

#[async_trait]
impl RosterCopy for Copy {
    fn read(&self) -> Result<Option<Roster>, RosterError> {
        Ok(self.0.lock().as_deref().cloned())
    }

    async fn write(&self, roster: Arc<Roster>) -> Result<(), RosterError> {
        *self.0.lock() = Some(roster);
        Ok(())
    }
}

/// A process from its start to its end.
#[derive(Debug)]
pub(crate) struct Life {
    alive: watch::Sender<bool>,
    does: Does,
    membership: Option<Arc<Membership>>,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Does {
    Ingest(Process, Arc<SimLinks>),
    Serve(Arc<Front>),
    Collect,
}

/// A distributor and a querier.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) push: ClusterPush,
    pub(crate) querier: Querier,
}

impl Life {
    pub(crate) fn is_alive(&self) -> bool {
        *self.alive.borrow()
    }

    /// Returns when the process is killed.
    pub(crate) async fn dead(&self) {
        // An error is as good: nobody is there any more.
        _ = self.alive.subscribe().wait_for(|alive| !alive).await;
    }

    pub(crate) fn ingester(&self) -> Option<(&Process, &SimLinks)> {
        match &self.does {
            Does::Ingest(process, links) if self.is_alive() => Some((process, links)),
            _ => None,
        }
    }

    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        self.ingester().map(|(process, _)| Arc::clone(&process.member))
    }

    pub(crate) fn front(&self) -> Option<Arc<Front>> {
        match &self.does {
            Does::Serve(front) => Some(Arc::clone(front)),
            _ => None,
        }
    }

    pub(crate) fn unreachable(&self, member: &MemberId) {
        if let Some((process, _)) = self.ingester() {
            process.unreachable(member);
        }
    }

    /// Why its log takes nothing more.
    pub(crate) fn failure(&self) -> Option<String> {
        self.ingester().and_then(|(process, _)| process.failure())
    }

    /// Publishes what it has, lets others lead, closes its log.
    pub(crate) async fn stop(&self) {
        if let Does::Ingest(process, _) = &self.does {
            // What is not published is in the logs of others.
            _ = process.ingester.stop().await;
        }
    }

    /// Asks to leave the cluster for good.
    pub(crate) fn leave(&self) {
        if let Some(membership) = &self.membership {
            membership.leave().expect("nothing is written");
        }
    }

    fn end(&self) {
        self.alive.send_replace(false);
        if let Does::Ingest(process, _) = &self.does {
            process.abandon();
        }
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(membership) = self.membership.clone() {
            tokio::spawn(async move { membership.stop().await });
        }
    }
}

impl Node {
    pub(crate) fn new(kind: Kind, number: usize, disk_id: DiskId, disk: FaultyDisk, dir: &Path) -> Self {
        let (letter, zone) = match kind {
            Kind::Ingester => ('i', format!("zone-{}", number % 3)),
            Kind::Front => ('f', "zone-0".to_owned()),
            Kind::Compactor => ('c', "zone-0".to_owned()),
        };
        let name = format!("{letter}{number}");
        let dir = dir.join(&name);
        Self {
            kind,
            address: SocketAddr::from(([10, 0, 0, number as u8 + 1], 4041)),
            zone,
            clock: Arc::new(SimClock::new()),
            paused_until: Arc::default(),
            said: Mutex::default(),
            life: Mutex::default(),
            machine: Mutex::new(Machine {
                disk_id,
                disk,
                dir: dir.join("0"),
                roster: Copy::default(),
                lives: 0,
            }),
            name: InstanceId(Arc::from(name)),
        }
    }
}

/// Starts the process of a machine.
pub(crate) fn start(world: &Arc<World>, at: usize) -> Arc<Life> {
    let node = world.node(at);
    let alive = watch::Sender::new(true);
    let faults = Arc::new(StoreFaults {
        dice: Arc::clone(&world.dice),
        weather: Arc::clone(&world.weather),
        alive: alive.subscribe(),
        paused_until: Arc::clone(&node.paused_until),
    });
    let store = world.store.with_faults(faults);
    let (dice, clock) = (Arc::clone(&world.dice), Arc::<SimClock>::clone(&node.clock) as Arc<dyn Clock>);
    let random = Arc::new(move || dice.wide());
    let catalog = Arc::new(Catalog::new(store.clone(), random, Arc::clone(&clock), world.rules.catalog()));
    let parts = Shared { world, at, node, alive: &alive, store, clock, catalog };
    let (does, membership, task) = match node.kind {
        Kind::Ingester => parts.ingester(),
        Kind::Front => parts.front(),
        Kind::Compactor => (Does::Collect, None, Some(parts.collector())),
    };
    Arc::new(Life { alive, does, membership, task })
}

/// Ends a process as kill −9 does, or as a power cut does.
pub(crate) fn kill(node: &Node, power_cut: bool) -> bool {
    let Some(life) = node.life.lock().take() else { return false };
    *node.said.lock() = None;
    let mut machine = node.machine.lock();
    machine.disk.freeze();
    life.end();
    // The dead one keeps the frozen disk and its folder, whatever its tasks still try.
    machine.disk = machine.disk.successor();
    match power_cut {
        true => machine.disk.power_cut(),
        false => machine.disk.restart(),
    }
    machine.move_folder();
    true
}

impl Machine {
    fn move_folder(&mut self) {
        let before = self.dir.clone();
        self.lives += 1;
        self.dir = before.with_file_name(self.lives.to_string());
        copy(&before, &self.dir);
    }

    /// Everything is gone; the next process finds an empty disk.
    pub(crate) fn lose_disk(&mut self, disk_id: DiskId, empty: FaultyDisk) {
        (self.disk_id, self.disk) = (disk_id, empty);
        self.roster = Copy::default();
        self.lives += 1;
        self.dir = self.dir.with_file_name(self.lives.to_string());
    }

    /// The folder, with the identity of the disk in it.
    fn folder(&self) -> PathBuf {
        std::fs::create_dir_all(&self.dir).expect("a folder");
        std::fs::write(self.dir.join("disk-id"), self.disk_id.to_string()).expect("written");
        self.dir.clone()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

/// What all roles are started with.
struct Shared<'w> {
    world: &'w Arc<World>,
    at: usize,
    node: &'w Node,
    alive: &'w watch::Sender<bool>,
    store: Store,
    clock: Arc<dyn Clock>,
    catalog: Arc<Catalog>,
}

type Started = (Does, Option<Arc<Membership>>, Option<JoinHandle<()>>);

impl Shared<'_> {
    fn random(&self) -> Arc<dyn Fn() -> u128 + Send + Sync> {
        let dice = Arc::clone(&self.world.dice);
        Arc::new(move || dice.wide())
    }

    fn reach(&self) -> Arc<dyn Reach> {
        Arc::new(SimReach { world: Arc::downgrade(self.world), from: self.at })
    }

    /// Jobs take a moment, and end with the process.
    fn workers(&self) -> Workers {
        let (dice, alive) = (Arc::clone(&self.world.dice), self.alive.subscribe());
        Arc::new(move |job: Job| {
            let (wait_ms, alive) = (dice.below(4), alive.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                if *alive.borrow() {
                    job();
                }
            });
        })
    }

    /// A place in the cluster, in which the process takes part.
    fn membership(&self, role: Role, disk: Option<DiskId>, readiness: &Readiness) -> Arc<Membership> {
        let node = self.node;
        let gossip = GossipOptions {
            cluster_id: "sim".to_owned(),
            listen: node.address,
            advertise: None,
            seeds: Vec::new(),
            interval: Duration::from_secs(1),
        };
        let options = MembershipOptions {
            role,
            instance: node.name.clone(),
            zone: node.zone.clone(),
            gossip,
            plan: self.world.rules.plan.clone(),
            folder: None,
            plan_every: Duration::from_secs(1),
            poll_every: self.poll_every(),
        };
        let copy = || Arc::new(node.machine.lock().roster.clone()) as Arc<dyn RosterCopy>;
        let deps = MembershipDeps {
            store: self.store.clone(),
            copy: (role == Role::Ingester).then(copy),
            clock: Arc::clone(&self.clock),
            rng: self.random(),
            readiness: readiness.clone(),
            pulses: Default::default(),
            reach: self.reach(),
            statuses: self.reach(),
        };
        let membership = Membership::open(options, deps).expect("no copy is read");
        let said = Announcement {
            role,
            instance: node.name.clone(),
            disk,
            zone: node.zone.clone(),
            api_addr: node.address,
            cluster_addr: node.address,
            state: PeerState::Joining,
            roster_version: 0,
        };
        let generation = self.clock.monotonic().as_nanos() as u64;
        *node.said.lock() = Some((generation, said));
        let (sender, heard) = watch::channel(Arc::default());
        tokio::spawn(listen(Arc::downgrade(self.world), self.at, Arc::clone(&self.clock), sender));
        let world = Arc::downgrade(self.world);
        let endpoints = Endpoints { disk, api_addr: node.address, cluster_addr: node.address };
        membership.take_part(endpoints, heard, &(Arc::new(SimVoice { world, at: self.at, generation }) as _));
        membership
    }

    fn poll_every(&self) -> Duration {
        match self.node.kind {
            Kind::Front => self.world.rules.front_polls_every(),
            _ => Duration::from_secs(20),
        }
    }

    fn ingester(&self) -> Started {
        let (disk_id, disk, data_dir) = {
            let machine = self.node.machine.lock();
            (machine.disk_id, Arc::new(machine.disk.clone()), machine.folder())
        };
        let me = MemberId { instance: self.node.name.clone(), disk: disk_id };
        let readiness = Readiness::default();
        let membership = self.membership(Role::Ingester, Some(disk_id), &readiness);
        let links = Arc::new(SimLinks::new(Arc::downgrade(self.world), self.at, me));
        let deps = IngesterDeps {
            catalog: Arc::clone(&self.catalog),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock: Arc::clone(&self.clock),
            post: Arc::<SimLinks>::clone(&links),
            rng: self.random(),
            workers: self.workers(),
            turns: hearth_common::Turns::new(2),
            pulses: Default::default(),
        };
        let options = IngesterOptions {
            data_dir,
            instance: self.node.name.clone(),
            wal_segment_bytes: 4 << 10,
            wal_quota_bytes: 1 << 30,
            wal_reserve_bytes: 0,
            wal_queue_bytes: 64 << 20,
            cut_bytes: 192 << 20,
            cut_age: self.world.rules.cut_age(),
            cut_min_bytes: 1,
            cut_age_max: 2 * self.world.rules.cut_age(),
            // Longer than clocks jump: lists of pushes carry times of the wall clock.
            remember_pushes: Duration::from_secs(4 * 3600),
            flush_timeout: Duration::from_secs(60),
            cells: Cells::Named,
        };
        let bug = if let Plant::Role(bug) = self.world.plant { Some(bug) } else { None };
        let ways = Arc::<SimLinks>::clone(&links);
        let parts = Parts { disk, options, deps, membership: Arc::clone(&membership), readiness, ways, bug };
        let process = Process::start(parts).expect("starts");
        (Does::Ingest(process, links), Some(membership), None)
    }

    fn front(&self) -> Started {
        let membership = self.membership(Role::Querier, None, &Readiness::default());
        let push = ClusterPush::new(ClusterPushDeps {
            cells: Arc::clone(membership.cells()),
            clock: Arc::clone(&self.clock),
            random: self.random(),
            options: self.world.rules.push(),
        });
        let heads = ClusterHeads::new(ClusterHeadsDeps {
            cells: Arc::clone(membership.cells()),
            clock: Arc::clone(&self.clock),
            random: self.random(),
            options: ClusterHeadsOptions::default(),
        });
        let querier = Querier::new(QuerierDeps {
            catalog: Arc::clone(&self.catalog),
            store: self.store.clone(),
            heads: Arc::new(heads),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock: Arc::clone(&self.clock),
            workers: self.workers(),
            turns: hearth_common::Turns::new(2),
            disk_cache: None,
            symbols: SymbolOptions::default(),
            options: QuerierOptions::default(),
        });
        (Does::Serve(Arc::new(Front { push, querier })), Some(membership), None)
    }

    fn collector(&self) -> JoinHandle<()> {
        let s = Duration::from_secs;
        let options = match self.world.rules.hasty {
            true => CompactorOptions {
                run_every: s(5),
                keep_versions_for: s(40),
                keep_versions: 2,
                orphan_grace: s(30),
                deletion_delay: s(40),
                plan: PlanOptions { merge_blocks: 2, merge_age: s(10), ..PlanOptions::default() },
                ..CompactorOptions::default()
            },
            false => CompactorOptions { run_every: s(5), ..CompactorOptions::default() },
        };
        let limits = Arc::new(Arc::new(TenantLimits::default()));
        let deps = CompactorDeps {
            catalog: Arc::clone(&self.catalog),
            limits,
            clock: Arc::clone(&self.clock),
            rng: self.random(),
            workers: None,
            owners: Arc::new(Alone),
            pulses: Default::default(),
        };
        let compactor = Compactor::new(deps, options);
        tokio::spawn(async move { compactor.run(std::future::pending()).await })
    }
}
