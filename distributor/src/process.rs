//! The distributor as a process: from what processes are made of to a running role.

use std::sync::Arc;

use hearth_cluster::PushTarget;
use hearth_common::BoxError;
use hearth_node::{Node, Running};

use crate::{ClusterPush, ClusterPushDeps, ClusterPushOptions, Distributor, DistributorDeps};

/// Makes a distributor out of a process: what it takes goes to the cells of the cluster.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let push = ClusterPush::new(ClusterPushDeps {
        cells: Arc::clone(node.cluster()?.cells()),
        clock: Arc::clone(&node.clock),
        random: Arc::clone(&node.rng),
        options: ClusterPushOptions::default(),
    });
    push.register_metrics(&mut node.registry);
    Ok(Running::stateless(distributor(node, Arc::new(push)).routes()))
}

/// The distributor of a process, with metrics registered, before `target`.
pub fn distributor(node: &mut Node, target: Arc<dyn PushTarget>) -> Arc<Distributor> {
    let (limits, clock) = (Arc::clone(&node.limits), Arc::clone(&node.clock));
    let distributor = Arc::new(Distributor::new(DistributorDeps { target, limits, clock }));
    distributor.register_metrics(&mut node.registry);
    distributor
}
