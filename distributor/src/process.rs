//! The distributor as a process: from what processes are made of to a running role.

use std::sync::Arc;

use hearth_cluster::PushTarget;
use hearth_cluster::gossip::{PeerState, Role};
use hearth_common::BoxError;
use hearth_debuginfo::Uploads;
use hearth_node::{Node, Routes, Running};

use crate::debuginfo::{DebugInfo, DebugInfoOptions};
use crate::{ClusterPush, ClusterPushDeps, ClusterPushOptions, Distributor, DistributorDeps, Replicas};

/// Makes a distributor out of a process: what it takes goes to the cells of the cluster.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let push = ClusterPush::new(ClusterPushDeps {
        cells: Arc::clone(node.cluster()?.cells()),
        clock: Arc::clone(&node.clock),
        random: Arc::clone(&node.rng),
        options: ClusterPushOptions::default(),
    });
    push.register_metrics(&mut node.registry);
    let routes = distributor(node, Arc::new(push)).routes().merge(debuginfo(node));
    Ok(Running::stateless(routes))
}

/// What takes uploads of programs in a process, with metrics registered: its part of the public port.
pub fn debuginfo(node: &mut Node) -> Routes {
    let settings = &node.settings.debug_info;
    let (store, clock) = (node.catalog.store().clone(), Arc::clone(&node.clock));
    let uploads = Uploads::new(store, Arc::clone(&node.rng), clock, settings.stale_after());
    let debuginfo = DebugInfo::new(
        uploads,
        DebugInfoOptions {
            enabled: settings.enabled,
            upload_bytes_max: settings.max_upload_size_bytes.0,
            upload_timeout: settings.upload_timeout.0,
        },
    );
    debuginfo.register_metrics(&mut node.registry);
    debuginfo.routes()
}

/// The distributor of a process, with metrics registered, before `target`.
pub fn distributor(node: &mut Node, target: Arc<dyn PushTarget>) -> Arc<Distributor> {
    let (limits, clock) = (Arc::clone(&node.limits), Arc::clone(&node.clock));
    let (replicas, parsing) = (replicas(node), node.turns(hearth_node::cores()));
    let distributor =
        Arc::new(Distributor::new(DistributorDeps { target, limits, clock, replicas, parsing }));
    distributor.register_metrics(&mut node.registry);
    distributor
}

/// How many distributors gossip sees at work, this one included.
fn replicas(node: &Node) -> Replicas {
    let Some(membership) = &node.membership else { return Arc::new(|| 1) };
    let peers = membership.peers();
    Arc::new(move || {
        let peers = peers.borrow();
        peers.role(Role::Distributor).filter(|peer| peer.said.state == PeerState::Active).count().max(1)
    })
}
