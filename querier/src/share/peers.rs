//! The queriers that gossip sees, near ones first if so wanted, and connections to them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hearth_cluster::gossip::{Peer, PeerState, Peers, Role};
use hearth_common::InstanceId;
use hearth_internode::{BlocksAnswer, BlocksError, BlocksRequest, CallError, QuerierClients};
use hearth_ring::Ring;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::BlockPeers;

/// Where each of those is that share, and the ring of them and this process.
#[derive(Debug)]
struct View {
    heard: Arc<Peers>,
    addresses: BTreeMap<InstanceId, SocketAddr>,
    ring: Arc<Ring>,
}

/// The queriers of a cluster.
#[derive(Debug)]
pub struct ClusterPeers {
    me: InstanceId,
    /// Where this process runs, if it shares with others there alone.
    zone: Option<String>,
    heard: watch::Receiver<Arc<Peers>>,
    clients: QuerierClients,
    view: Mutex<Option<Arc<View>>>,
}

impl ClusterPeers {
    /// `heard`: everybody that gossip sees.
    pub fn new(me: InstanceId, heard: watch::Receiver<Arc<Peers>>, clients: QuerierClients) -> Self {
        Self { me, zone: None, heard, clients, view: Mutex::default() }
    }

    /// Shares only with queriers of this zone, as long as there are others in it.
    pub fn near(self, zone: &str) -> Self {
        Self { zone: Some(zone.to_owned()), ..self }
    }

    /// What gossip sees now; the ring is built anew only when somebody came or went.
    fn view(&self) -> Arc<View> {
        let heard = Arc::clone(&self.heard.borrow());
        let mut view = self.view.lock();
        if let Some(view) = view.as_ref().filter(|view| Arc::ptr_eq(&view.heard, &heard)) {
            return Arc::clone(view);
        }
        let addresses = queriers(&heard, &self.me, self.zone.as_deref());
        let known = view.as_ref().filter(|view| view.addresses.keys().eq(addresses.keys()));
        let ring = known.map(|view| Arc::clone(&view.ring)).unwrap_or_else(|| {
            let members: Vec<InstanceId> = addresses.keys().chain([&self.me]).cloned().collect();
            Arc::new(Ring::new(&members))
        });
        Arc::clone(view.insert(Arc::new(View { heard, addresses, ring })))
    }
}

/// The other queriers that work and have an internal port, of one zone if it has any. Those that share no blocks have none.
fn queriers(heard: &Peers, me: &InstanceId, zone: Option<&str>) -> BTreeMap<InstanceId, SocketAddr> {
    let mut found: BTreeMap<InstanceId, &Peer> = BTreeMap::new();
    for peer in heard.alive() {
        let said = &peer.said;
        let works = said.role == Role::Querier && said.state == PeerState::Active;
        if !works || said.instance == *me || said.cluster_addr == said.api_addr {
            continue;
        }
        // Of two processes of one name the later one.
        if found.get(&said.instance).is_none_or(|known| peer.generation > known.generation) {
            found.insert(said.instance.clone(), peer);
        }
    }
    let is_near = |peer: &Peer| zone == Some(&*peer.said.zone);
    if found.values().any(|peer| is_near(peer)) {
        found.retain(|_, peer| is_near(peer));
    }
    found.into_iter().map(|(instance, peer)| (instance, peer.said.cluster_addr)).collect()
}

#[async_trait]
impl BlockPeers for ClusterPeers {
    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.view().ring)
    }

    async fn blocks(&self, peer: &InstanceId, request: &BlocksRequest) -> Result<BlocksAnswer, BlocksError> {
        let address = self.view().addresses.get(peer).copied();
        let address = address.ok_or_else(|| CallError::Unreachable {
            peer: peer.to_string(),
            why: "gossip does not see it any more".to_owned(),
        })?;
        self.clients.blocks(address, request).await
    }
}

#[cfg(test)]
mod tests {
    use hearth_cluster::gossip::Announcement;
    use hearth_common::SystemClock;
    use hearth_internode::Metrics;

    use super::*;

    fn said(name: &str, role: Role, state: PeerState, internal: bool) -> Announcement {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Announcement {
            role,
            instance: InstanceId(Arc::from(name)),
            disk: None,
            zone: String::new(),
            api_addr: address(4040),
            cluster_addr: address(if internal { 9095 } else { 4040 }),
            state,
            roster_version: 0,
        }
    }

    #[test]
    fn the_ring_is_of_queriers_that_work_and_share() {
        use PeerState::{Active, Joining, Leaving};
        let me = InstanceId(Arc::from("querier-0"));
        let first = Peers::fixed([
            said("querier-0", Role::Querier, Joining, true),
            said("querier-1", Role::Querier, Active, true),
            said("querier-2", Role::Querier, Active, false),
            said("querier-3", Role::Querier, Joining, true),
            said("querier-4", Role::Querier, Leaving, true),
            said("ingester-0", Role::Ingester, Active, true),
        ]);
        let (tell, heard) = watch::channel(first);
        let clock = Arc::new(SystemClock::default());
        let clients = QuerierClients::new("c", me.clone(), clock, None, Metrics::default());
        let peers = ClusterPeers::new(me, heard, clients);
        let names = |ring: &Ring| ring.members().iter().map(ToString::to_string).collect::<Vec<_>>();
        let ring = peers.ring();
        assert_eq!(names(&ring), ["querier-0", "querier-1"]);
        // Something else changed: the ring is the same one.
        tell.send_replace(Peers::fixed([said("querier-1", Role::Querier, Active, true)]));
        assert!(Arc::ptr_eq(&ring, &peers.ring()));
        tell.send_replace(Peers::fixed([said("querier-3", Role::Querier, Active, true)]));
        assert_eq!(names(&peers.ring()), ["querier-0", "querier-3"]);
    }

    #[test]
    fn near_ones_share_and_far_ones_where_there_are_no_near_ones() {
        let of = |name: &str, zone: &str, state| Announcement {
            zone: zone.to_owned(),
            ..said(name, Role::Querier, state, true)
        };
        let [active, leaving] = [PeerState::Active, PeerState::Leaving];
        let all = |near| {
            Peers::fixed([
                of("querier-0", "a", active),
                of("querier-1", "b", active),
                of("querier-2", "a", near),
                of("querier-3", "", active),
            ])
        };
        let (tell, heard) = watch::channel(all(active));
        let me = InstanceId(Arc::from("querier-0"));
        let clock = Arc::new(SystemClock::default());
        let clients = QuerierClients::new("c", me.clone(), clock, None, Metrics::default());
        let peers = ClusterPeers::new(me, heard, clients).near("a");
        let names = |ring: &Ring| ring.members().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&peers.ring()), ["querier-0", "querier-2"]);
        tell.send_replace(all(leaving));
        assert_eq!(names(&peers.ring()), ["querier-0", "querier-1", "querier-3"]);
    }
}
