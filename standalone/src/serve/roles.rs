//! All roles in one process: how they meet, and in which order they stop.

use std::sync::Arc;

use anyhow::Result;
use hearth_common::{BoxError, InstanceId};
use hearth_compactor::process::Upkeep;
use hearth_ingester::{Cells, Ingester, NoPost};
use hearth_node::{Node, Running};
use hearth_querier::LocalHeads;

/// The name of the only ingester on one machine.
const INSTANCE: &str = "hearth";

/// Starts all roles.
pub(super) fn start(node: &mut Node) -> Result<Running> {
    let upkeep = Upkeep::start(node);
    let instance = InstanceId(Arc::from(INSTANCE));
    let ingester = hearth_ingester::process::ingester(node, instance, Cells::Alone, Arc::new(NoPost));
    let ingester = ingester.map_err(plain)?;
    let distributor = hearth_distributor::process::distributor(node, Arc::<Ingester>::clone(&ingester));
    let heads = LocalHeads::new(vec![Arc::<Ingester>::clone(&ingester)]);
    let querier = hearth_querier::process::querier(node, Arc::new(heads)).map_err(plain)?;
    let uploads = hearth_distributor::process::debuginfo(node);
    let routes = distributor.routes().merge(uploads).merge(querier.routes());
    let flush = hearth_ingester::process::flush(&ingester);
    let stop = Box::pin(async move {
        upkeep.stop().await?;
        // Publishes all heads and closes the log.
        ingester.stop().await
    });
    Ok(Running { routes, internal: None, flush, stop })
}

fn plain(error: BoxError) -> anyhow::Error {
    anyhow::Error::from_boxed(error)
}
