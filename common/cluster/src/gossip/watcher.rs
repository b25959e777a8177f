//! The one task that drives chitchat: says what is to be said, turns what is heard into snapshots, and begins again should
//! chitchat end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState, ProtocolVersion,
    spawn_chitchat,
};
use futures::FutureExt;
use hearth_common::Clock;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::keys;
use super::metrics::Metrics;
use super::node::GossipOptions;
use super::peers::{Announcement, Peers};
use super::socket::CountingTransport;

/// Most processes that are shown. More can only be a flood of forged ones.
const PEERS_MAX: usize = 10_000;
/// A process is taken to be dead when its silence is this improbable: e^-8 with gaps as measured.
const PHI_THRESHOLD: f64 = 8.0;
/// Heartbeats of which gaps are measured.
const SAMPLES: usize = 1_000;
/// How long chitchat remembers who is dead.
const DEAD_KEPT_FOR: Duration = Duration::from_secs(900);
/// How long deleted keys are remembered; none is ever deleted.
const DELETED_KEPT_FOR: Duration = Duration::from_secs(900);
/// Pause before gossip that ended by itself is begun again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Watcher {
    pub(super) options: GossipOptions,
    pub(super) addr: SocketAddr,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) udp: Arc<UdpSocket>,
    pub(super) metrics: Metrics,
    pub(super) said: watch::Receiver<Announcement>,
    pub(super) peers: watch::Sender<Arc<Peers>>,
    pub(super) generation: u64,
}

/// Why a life of chitchat ended.
enum End {
    /// This process stops.
    Stopped,
    /// By itself.
    Failed(String),
}

impl Watcher {
    pub(super) async fn run(mut self) {
        loop {
            // What others send can break a promise that chitchat makes to itself, and it panics in our calls, too. A life with a
            // new generation knows nothing of it.
            let life = AssertUnwindSafe(self.live()).catch_unwind().await;
            match life.unwrap_or_else(|_| End::Failed("it panicked".to_owned())) {
                End::Stopped => return,
                End::Failed(error) => {
                    self.metrics.restarts.inc();
                    tracing::error!(error, "gossip ended and begins again");
                    tokio::time::sleep(RESTART_AFTER).await;
                    if self.said.has_changed().is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// One life: from its start until it ends or this process stops.
    async fn live(&mut self) -> End {
        // Grows from life to life, also of this process.
        let started_ns = u64::try_from(self.clock.now().0).unwrap_or(0);
        self.generation = started_ns.max(self.generation + 1);
        let mut told = self.said.borrow_and_update().clone();
        let (metrics, cluster_id) = (self.metrics.clone(), self.options.cluster_id.clone());
        let transport = CountingTransport { udp: Arc::clone(&self.udp), metrics, cluster_id };
        let mut said = self.said.clone();
        let spawned = tokio::select! {
            // Asks DNS for the seeds, which may take long.
            spawned = spawn_chitchat(self.config(&told), keys::values(&told), &transport) => spawned,
            () = closed(&mut said) => return End::Stopped,
        };
        let handle = match spawned {
            Ok(handle) => handle,
            Err(error) => return End::Failed(format!("{error:#}")),
        };
        let mut alive = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let ended = handle.termination_watcher();
        tokio::pin!(ended);
        loop {
            let found = alive.borrow_and_update().clone();
            self.show(&told, &found);
            tokio::select! {
                changed = self.said.changed() => {
                    if changed.is_err() {
                        self.stop(handle).await;
                        return End::Stopped;
                    }
                    let now = self.said.borrow_and_update().clone();
                    self.tell(&handle, &told, &now).await;
                    told = now;
                }
                changed = alive.changed() => if changed.is_err() {
                    return End::Failed("it has no nodes any more".to_owned());
                },
                result = &mut ended => {
                    let error = result.err().map_or_else(|| "it stopped".to_owned(), |e| format!("{e:#}"));
                    return End::Failed(error);
                }
            }
        }
    }

    async fn stop(&self, handle: ChitchatHandle) {
        if let Err(error) = handle.shutdown().await {
            tracing::warn!(error = %format!("{error:#}"), "gossip did not stop cleanly");
        }
    }

    fn config(&self, told: &Announcement) -> ChitchatConfig {
        let interval = self.options.interval;
        ChitchatConfig {
            chitchat_id: ChitchatId::new(&*told.instance.0, self.generation, self.addr),
            cluster_id: self.options.cluster_id.clone(),
            gossip_interval: interval,
            listen_addr: self.options.listen,
            seed_nodes: self.options.seeds.clone(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: PHI_THRESHOLD,
                sampling_window_size: SAMPLES,
                max_interval: interval * 10,
                initial_interval: interval * 5,
                dead_node_grace_period: DEAD_KEPT_FOR,
            },
            marked_for_deletion_grace_period: DELETED_KEPT_FOR,
            catchup_callback: None,
            extra_liveness_predicate: Some(Box::new(|node| heard(node).is_some())),
            protocol_version: ProtocolVersion::V1,
        }
    }

    /// Sets the keys whose values are new.
    async fn tell(&self, handle: &ChitchatHandle, before: &Announcement, now: &Announcement) {
        let before: BTreeMap<String, String> = keys::values(before).into_iter().collect();
        let changed: Vec<(String, String)> =
            keys::values(now).into_iter().filter(|(key, value)| before.get(key) != Some(value)).collect();
        handle
            .with_chitchat(|chitchat| {
                for (key, value) in &changed {
                    chitchat.self_node_state().set(key, value);
                }
            })
            .await;
    }

    /// Publishes a snapshot, if it differs from the one before.
    fn show(&self, told: &Announcement, found: &BTreeMap<ChitchatId, NodeState>) {
        // Earlier lives of this process are left out: what it says now is known better here. With another disk it is
        // another keeper of logs, or another process with our name: that is shown.
        let earlier = |generation: u64, said: &Announcement| {
            said.instance == told.instance && said.disk == told.disk && generation <= self.generation
        };
        let mut alive: Vec<(u64, Announcement)> = found
            .iter()
            .filter_map(|(id, node)| heard(node).map(|said| (id.generation_id, said)))
            .filter(|(generation, said)| !earlier(*generation, said))
            .take(PEERS_MAX)
            .collect();
        alive.push((self.generation, told.clone()));
        let before = Arc::clone(&self.peers.borrow());
        let (next, differences) = before.next(alive, self.clock.monotonic());
        for said in &differences.came {
            tracing::info!(instance = %said.instance, role = said.role.as_str(), zone = said.zone, "peer came");
        }
        for gone in &differences.went {
            tracing::info!(instance = %gone.said.instance, role = gone.said.role.as_str(), "peer went");
        }
        self.metrics.peers.set(next.alive().count() as i64);
        if next != *before {
            self.peers.send_replace(Arc::new(next));
        }
    }
}

fn heard(node: &NodeState) -> Option<Announcement> {
    keys::announcement(&node.chitchat_id().node_id, |key| node.get(key))
}

/// Until nobody can say anything any more.
async fn closed(said: &mut watch::Receiver<Announcement>) {
    while said.changed().await.is_ok() {}
}
