//! The querier as a process: from what processes are made of to a running role.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::BoxError;
use hearth_node::{Node, Running};
use hearth_query::heads::Heads;

use crate::{ClusterHeads, ClusterHeadsDeps, ClusterHeadsOptions, Querier, QuerierDeps, QuerierOptions};

/// How long publishing may take beyond the time for which profiles are taken.
const PUBLISHING_MAX: Duration = Duration::from_secs(24 * 3600);

/// Makes a querier out of a process: what is not published it asks of the cells of the cluster.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let membership = node.cluster()?;
    let window = membership.options().plan.ingestion_window.saturating_add(PUBLISHING_MAX);
    let heads = ClusterHeads::new(ClusterHeadsDeps {
        cells: Arc::clone(membership.cells()),
        clock: Arc::clone(&node.clock),
        random: Arc::clone(&node.rng),
        options: ClusterHeadsOptions {
            window,
            allow_partial: node.settings.querier.allow_partial,
            ..ClusterHeadsOptions::default()
        },
    });
    heads.register_metrics(&mut node.registry);
    Ok(Running::stateless(querier(node, Arc::new(heads)).routes()))
}

/// The querier of a process, with metrics registered, before what is not published.
pub fn querier(node: &mut Node, heads: Arc<dyn Heads>) -> Querier {
    let settings = &node.settings.querier;
    let querier = Querier::new(QuerierDeps {
        catalog: Arc::clone(&node.catalog),
        store: node.catalog.store().clone(),
        heads,
        limits: Arc::clone(&node.limits),
        clock: Arc::clone(&node.clock),
        workers: hearth_node::workers(),
        options: QuerierOptions {
            cache_bytes: settings.cache_bytes.0,
            query_bytes_max: settings.query_bytes_max.0,
            timeout: settings.timeout.0,
            threads: settings.threads,
        },
    });
    querier.register_metrics(&mut node.registry);
    querier
}
