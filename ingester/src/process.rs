//! The ingester as a process: from what processes are made of to a member of the cluster, and what keeps it in step with
//! the roster.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hearth_cell::Message;
use hearth_cluster::roster::{MemberState, Roster};
use hearth_common::error::chain;
use hearth_common::{BoxError, CellId, InstanceId, LogId, MemberId};
use hearth_node::{
    Flush, Internal, Keep, Membership, Node, Routes, Running, keeps, neighbours, publishes_last,
};
use hearth_settings::Settings;
use hearth_telemetry::Gate;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::{Links, Member, Neighbours};
use crate::{CellSpec, Cells, Ingester, IngesterDeps, IngesterOptions, Post, Pulses};

/// How often it is looked whether the log is replayed.
const REPLAY_LOOK: Duration = Duration::from_millis(20);
/// How often it is looked whether it still works.
const READY_LOOK: Duration = Duration::from_secs(1);

/// How often the last rows of cells on their way out are published.
const LAST_PUBLISH: Duration = Duration::from_secs(30);

/// Makes an ingester out of a process: it keeps the cells that the roster gives it.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let membership = Arc::clone(node.cluster()?);
    let post = Arc::new(LatePost::default());
    let ingester = ingester(node, node.instance.clone(), Cells::Named, Arc::<LatePost>::clone(&post))?;
    let me = ingester.member().clone();
    let links =
        Links::new(node.hello(me.clone()), node.tls.clone(), node.internode.clone(), Arc::clone(&node.rng));
    links.serve(&ingester);
    post.0.get_or_init(|| Arc::clone(&links));
    let member = Member::new(Arc::clone(&ingester), node.settings.cluster.id.clone());
    links.tell(&member);
    let gate = node.readiness.gate("cells", "the cells of the roster are not open yet");
    let follower = Follower {
        ingester: Arc::clone(&ingester),
        ways: Arc::<Links>::clone(&links),
        member: Arc::clone(&member),
        membership,
        gate,
    };
    let following = follower.begin();
    let flush = flush(&ingester);
    let internal = Internal { member: me, api: member, links: Arc::<Links>::clone(&links) };
    let stop = Box::pin(async move {
        // Links stay up meanwhile: leadership is handed over.
        let stopped = ingester.stop().await;
        following.iter().for_each(JoinHandle::abort);
        links.close();
        stopped
    });
    Ok(Running { routes: Routes::new(), internal: Some(internal.into()), flush, stop })
}

/// The ingester of a process, with its metrics and its gate.
pub fn ingester(
    node: &mut Node,
    instance: InstanceId,
    cells: Cells,
    post: Arc<dyn Post>,
) -> Result<Arc<Ingester>, BoxError> {
    let deps = IngesterDeps {
        catalog: Arc::clone(&node.catalog),
        limits: Arc::clone(&node.limits),
        clock: Arc::clone(&node.clock),
        post,
        rng: Arc::clone(&node.rng),
        workers: hearth_node::workers(),
        turns: node.turns(hearth_node::cores()),
        pulses: Pulses {
            wal: node.watch("wal"),
            cells: node.watch("cells"),
            publishing: node.watch_with_store("publishing"),
        },
    };
    let ingester = Ingester::start(options(&node.settings, instance, cells), deps)?;
    ingester.register_metrics(&mut node.registry);
    let gate = node.readiness.gate("ingester", "the write-ahead log is being replayed");
    tokio::spawn(watch_ready(Arc::clone(&ingester), gate));
    Ok(ingester)
}

/// What `POST /flush` does.
pub fn flush(ingester: &Arc<Ingester>) -> Flush {
    let ingester = Arc::clone(ingester);
    Arc::new(move || {
        let ingester = Arc::clone(&ingester);
        Box::pin(async move { ingester.flush_in_time().await })
    })
}

fn options(settings: &Settings, instance: InstanceId, cells: Cells) -> IngesterOptions {
    IngesterOptions {
        data_dir: settings.data_dir.join("ingester"),
        instance,
        wal_segment_bytes: settings.wal.segment_bytes.0,
        wal_quota_bytes: settings.wal.quota_bytes.0,
        wal_reserve_bytes: settings.wal.reserve_bytes.0,
        wal_queue_bytes: settings.wal.queue_bytes.as_usize(),
        cut_bytes: settings.ingester.cut_bytes.0,
        cut_age: settings.ingester.cut_age.0,
        cut_min_bytes: settings.ingester.cut_min_bytes.0,
        cut_age_max: settings.ingester.cut_age_max.0,
        remember_pushes: settings.ingester.remember_pushes.0,
        flush_timeout: settings.ingester.flush_timeout.0,
        cells,
    }
}

pub(crate) async fn watch_ready(ingester: Arc<Ingester>, gate: Gate) {
    let mut look = REPLAY_LOOK;
    loop {
        match ingester.ready() {
            Ok(()) => {
                gate.open();
                look = READY_LOOK;
            }
            Err(why) => gate.close(why),
        }
        tokio::time::sleep(look).await;
    }
}

async fn leave_when_wished(member: Arc<Member>, membership: Arc<Membership>) {
    member.leave_wished().await;
    tracing::info!("asked to leave the cluster for good");
    let kept = tokio::task::spawn_blocking(move || membership.leave()).await;
    match kept.map_err(|error| error.to_string()).and_then(|kept| kept.map_err(|error| chain(&error))) {
        Ok(()) => {}
        Err(error) => tracing::error!(error, "not leaving"),
    }
}

/// Publishes what is left of cells to which no record can come any more, so that the planner can let them go.
async fn publish_last(ingester: Arc<Ingester>, membership: Arc<Membership>) {
    let roster = membership.roster();
    loop {
        tokio::time::sleep(LAST_PUBLISH).await;
        let known = roster.borrow().clone();
        if known.is_some_and(|known| publishes_last(&known, ingester.member()))
            && let Err(error) = ingester.flush().await
        {
            tracing::warn!(error, "the last rows of a cell that leaves are not published yet");
        }
    }
}

/// The links, which need the ingester's identity, for the ingester, which needs where to send. Messages before they meet
/// are lost, as on a link that is down.
#[derive(Debug, Default)]
struct LatePost(OnceLock<Arc<Links>>);

impl Post for LatePost {
    fn send(&self, to: &MemberId, cell: &CellId, log: LogId, message: Message) {
        if let Some(links) = self.0.get() {
            links.send(to, cell, log, message);
        }
    }
}

/// Ways to other members: [`Links`], or what stands for them.
pub trait Ways: Send + Sync {
    /// Messages go to these members from now on, and to no others.
    fn meet(self: Arc<Self>, neighbours: &Neighbours);
    /// The version of the roster that this member acts on.
    fn set_roster_version(&self, version: u64);
}

impl Ways for Links {
    fn meet(self: Arc<Self>, neighbours: &Neighbours) {
        Self::meet(&self, neighbours);
    }

    fn set_roster_version(&self, version: u64) {
        Self::set_roster_version(self, version);
    }
}

/// Keeps an ingester in step with the roster and with where others are.
pub(crate) struct Follower {
    pub(crate) ingester: Arc<Ingester>,
    pub(crate) ways: Arc<dyn Ways>,
    pub(crate) member: Arc<Member>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) gate: Gate,
}

impl Follower {
    /// Begins to follow, to publish what is left of cells that go, and to hear the wish to leave.
    pub(crate) fn begin(self) -> Vec<JoinHandle<()>> {
        self.member.look_by(self.membership.cells());
        let publishing = publish_last(Arc::clone(&self.ingester), Arc::clone(&self.membership));
        let leaving = leave_when_wished(Arc::clone(&self.member), Arc::clone(&self.membership));
        vec![tokio::spawn(publishing), tokio::spawn(leaving), tokio::spawn(self.follow())]
    }

    async fn follow(self) {
        let (mut roster, mut peers) = (self.membership.roster(), self.membership.peers());
        let (mut kept, mut left) = (0, false);
        loop {
            let known = roster.borrow_and_update().clone();
            if let Some(known) = known {
                self.meet(&known, &mut peers);
                if known.version > kept && self.keep(&known).await {
                    kept = known.version;
                }
                let me = self.ingester.member();
                let has_left = known.member(me).is_some_and(|member| member.state == MemberState::Left);
                if has_left && !left {
                    tracing::info!("left the cluster: this process may be stopped, and its disk removed");
                }
                left = has_left;
            }
            tokio::select! {
                changed = roster.changed() => if changed.is_err() { return },
                changed = peers.changed() => if changed.is_err() { return },
                // What could not be opened is tried again.
                () = tokio::time::sleep(READY_LOOK) => {}
            }
        }
    }

    /// Links to all that keep cells with this one.
    fn meet(&self, roster: &Roster, peers: &mut watch::Receiver<Arc<hearth_cluster::gossip::Peers>>) {
        let peers = Arc::clone(&peers.borrow_and_update());
        Arc::clone(&self.ways).meet(&neighbours(
            roster,
            &peers,
            self.ingester.member(),
            &self.ingester.held(),
        ));
    }

    /// Opens the cells of a roster; whether all are open.
    async fn keep(&self, roster: &Roster) -> bool {
        // Also of cells that are others' now: whoever leads one of them hands it over.
        roster.cells_to_ask().for_each(|cell| self.ingester.want(&cell.id, &cell.wanted));
        for Keep { cell, log, founders, wanted } in keeps(roster, self.ingester.member()) {
            let spec = CellSpec { cell, log, founders, wanted };
            if let Err(error) = self.ingester.keep(&spec).await {
                tracing::error!(cell = %spec.cell.0, error, "a cell cannot be kept");
                self.gate.close(format!("cell {} cannot be kept: {error}", spec.cell.0));
                return false;
            }
        }
        self.ways.set_roster_version(roster.version);
        self.member.set_roster(roster);
        self.gate.open();
        true
    }
}
