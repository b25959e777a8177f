//! The querier as a process: from what processes are made of to a running role.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::BoxError;
use hearth_internode::QuerierClients;
use hearth_node::{InternalPort, Membership, Node, Running};
use hearth_objstore::Class;
use hearth_query::heads::Heads;
use hearth_query::share::Threshold;

use crate::{
    ClusterHeads, ClusterHeadsDeps, ClusterHeadsOptions, ClusterPeers, DiskCache, Querier, QuerierDeps,
    QuerierOptions, SharingDeps, SharingOptions, SymbolOptions,
};

/// How long publishing may take beyond the time for which profiles are taken.
const PUBLISHING_MAX: Duration = Duration::from_secs(24 * 3600);

/// Makes a querier out of a process: what is not published it asks of the cells of the cluster, and it reads blocks
/// together with the other queriers.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let membership = Arc::clone(node.cluster()?);
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
    let deps = deps(node, Arc::new(heads))?;
    if !node.settings.querier.share_blocks {
        let querier = Querier::new(deps);
        querier.register_metrics(&mut node.registry);
        return Ok(Running::stateless(querier.routes()));
    }
    let querier = Querier::with_peers(deps, sharing(node, &membership));
    querier.register_metrics(&mut node.registry);
    let internal = Some(InternalPort::Querier(querier.serving()));
    Ok(Running { internal, ..Running::stateless(querier.routes()) })
}

/// The querier of a process that is alone, with metrics registered, before what is not published.
pub fn querier(node: &mut Node, heads: Arc<dyn Heads>) -> Result<Querier, BoxError> {
    let querier = Querier::new(deps(node, heads)?);
    querier.register_metrics(&mut node.registry);
    Ok(querier)
}

fn deps(node: &Node, heads: Arc<dyn Heads>) -> Result<QuerierDeps, BoxError> {
    let (settings, symbolizer) = (&node.settings.querier, &node.settings.symbolizer);
    let has_disk = !settings.disk_cache.as_os_str().is_empty();
    let disk_cache =
        has_disk.then(|| DiskCache::take(&settings.disk_cache, settings.disk_cache_bytes.0)).transpose()?;
    Ok(QuerierDeps {
        catalog: Arc::clone(&node.catalog),
        store: node.catalog.store().of(Class::Query),
        heads,
        limits: Arc::clone(&node.limits),
        clock: Arc::clone(&node.clock),
        workers: hearth_node::workers(),
        turns: node.turns(if settings.threads == 0 { hearth_node::cores() } else { settings.threads }),
        disk_cache,
        symbols: SymbolOptions {
            debuginfod_url: symbolizer.debuginfod_url.clone(),
            timeout: symbolizer.timeout.0,
            cache_bytes: symbolizer.cache_bytes.0,
            builds: symbolizer.builds,
        },
        options: QuerierOptions {
            cache_bytes: settings.cache_bytes.0,
            query_bytes_max: settings.query_bytes_max.0,
            timeout: settings.timeout.0,
            allow_partial: settings.allow_partial,
            ..QuerierOptions::default()
        },
    })
}

fn sharing(node: &Node, membership: &Membership) -> SharingDeps {
    let (settings, me) = (&node.settings.querier, node.instance.clone());
    let clock = Arc::clone(&node.clock);
    let clients = QuerierClients::new(
        &node.settings.cluster.id,
        me.clone(),
        Arc::clone(&clock),
        node.tls.clone(),
        node.internode.clone(),
    );
    let threshold = Threshold { blocks: settings.share_blocks_min, bytes: settings.share_bytes_min.0 };
    let peers = ClusterPeers::new(me.clone(), membership.peers(), clients);
    let zone = &node.settings.zone;
    let peers = if settings.share_in_zone && !zone.is_empty() { peers.near(zone) } else { peers };
    SharingDeps {
        me,
        peers: Arc::new(peers),
        clock,
        options: SharingOptions { threshold, ..SharingOptions::default() },
    }
}
