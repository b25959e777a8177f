//! All roles in one process: what each is given, and in which order they stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hearth_cluster::PushTarget;
use hearth_common::InstanceId;
use hearth_compactor::{Compactor, CompactorOptions};
use hearth_distributor::{Distributor, DistributorDeps};
use hearth_ingester::{Cells, Ingester, IngesterDeps, IngesterOptions, NoPost};
use hearth_node::{Flush, Node, Running};
use hearth_querier::{LocalHeads, Querier, QuerierDeps, QuerierOptions};
use hearth_query::HeadSource;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a stop waits for the compactor: whatever it does can be cut off anywhere.
const COMPACTOR_STOP: Duration = Duration::from_secs(5);

/// The running roles.
#[derive(Debug)]
pub(super) struct Roles {
    ingester: Arc<Ingester>,
    stop: watch::Sender<bool>,
    compactor: Option<JoinHandle<()>>,
}

impl Roles {
    /// Starts all roles.
    pub(super) fn start(node: &mut Node) -> Result<Running> {
        let (stop, _) = watch::channel(false);
        let compactor = start_compactor(node, &stop);
        let ingester = start_ingester(node)?;
        ingester.register_metrics(&mut node.registry);
        let target: Arc<dyn PushTarget> = Arc::<Ingester>::clone(&ingester);
        let distributor = Arc::new(Distributor::new(DistributorDeps {
            target,
            limits: Arc::clone(&node.limits),
            clock: Arc::clone(&node.clock),
        }));
        distributor.register_metrics(&mut node.registry);
        let heads: Vec<Arc<dyn HeadSource>> = vec![Arc::<Ingester>::clone(&ingester)];
        let querier = start_querier(node, heads);
        let routes = distributor.routes().merge(querier.routes());
        let roles = Self { ingester, stop, compactor };
        Ok(Running { routes, internal: None, flush: roles.flush(), stop: Box::pin(roles.stop()) })
    }

    /// Publishes all heads.
    fn flush(&self) -> Flush {
        let ingester = Arc::clone(&self.ingester);
        Arc::new(move || {
            let ingester = Arc::clone(&ingester);
            Box::pin(async move { ingester.flush().await })
        })
    }

    /// Publishes all heads and closes the log.
    async fn stop(self) -> Result<(), String> {
        self.stop.send_replace(true);
        if let Some(compactor) = self.compactor
            && tokio::time::timeout(COMPACTOR_STOP, compactor).await.is_err()
        {
            tracing::warn!("the compactor did not stop in time");
        }
        self.ingester.stop().await
    }
}

/// The name of the only ingester on one machine.
const INSTANCE: &str = "hearth";
/// How often it is looked whether the log is replayed.
const REPLAY_LOOK: Duration = Duration::from_millis(20);

fn start_ingester(node: &Node) -> Result<Arc<Ingester>> {
    let settings = &node.settings;
    let options = IngesterOptions {
        data_dir: settings.data_dir.join("ingester"),
        instance: InstanceId(Arc::from(INSTANCE)),
        wal_segment_bytes: settings.wal.segment_bytes.0,
        wal_quota_bytes: settings.wal.quota_bytes.0,
        wal_reserve_bytes: settings.wal.reserve_bytes.0,
        wal_queue_bytes: usize::try_from(settings.wal.queue_bytes.0).unwrap_or(usize::MAX),
        cut_bytes: settings.ingester.cut_bytes.0,
        cut_age: settings.ingester.cut_age.0,
        cut_min_bytes: settings.ingester.cut_min_bytes.0,
        cut_age_max: settings.ingester.cut_age_max.0,
        remember_pushes: settings.ingester.remember_pushes.0,
        cells: Cells::Alone,
    };
    let deps = IngesterDeps {
        catalog: Arc::clone(&node.catalog),
        limits: Arc::clone(&node.limits),
        clock: Arc::clone(&node.clock),
        post: Arc::new(NoPost),
        rng: Arc::clone(&node.rng),
    };
    let ingester = Ingester::start(options, deps)?;
    let gate = node.readiness.gate("ingester", "the write-ahead log is being replayed");
    let watched = Arc::clone(&ingester);
    tokio::spawn(async move {
        loop {
            match watched.ready() {
                Ok(()) => break gate.open(),
                Err(why) => gate.close(why),
            }
            tokio::time::sleep(REPLAY_LOOK).await;
        }
        // From here on it is closed for good by a failed log or a stop.
        loop {
            if let Err(why) = watched.ready() {
                return gate.close(why);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(ingester)
}

fn start_querier(node: &mut Node, heads: Vec<Arc<dyn HeadSource>>) -> Querier {
    let settings = &node.settings;
    let querier = Querier::new(QuerierDeps {
        catalog: Arc::clone(&node.catalog),
        store: node.catalog.store().clone(),
        heads: Arc::new(LocalHeads::new(heads)),
        limits: Arc::clone(&node.limits),
        clock: Arc::clone(&node.clock),
        options: QuerierOptions {
            cache_bytes: settings.querier.cache_bytes.0,
            query_bytes_max: settings.querier.query_bytes_max.0,
            timeout: settings.querier.timeout.0,
            threads: settings.querier.threads,
        },
    });
    querier.register_metrics(&mut node.registry);
    querier
}

fn start_compactor(node: &mut Node, stop: &watch::Sender<bool>) -> Option<JoinHandle<()>> {
    let run_every = node.settings.compactor.interval.0;
    if run_every.is_zero() {
        return None;
    }
    let options = CompactorOptions { run_every, ..CompactorOptions::default() };
    let compactor =
        Compactor::new(Arc::clone(&node.catalog), Arc::clone(&node.limits), Arc::clone(&node.clock), options);
    compactor.register_metrics(&mut node.registry);
    let mut stopped = stop.subscribe();
    Some(tokio::spawn(async move {
        // An error means that the sender is gone, which is a stop as well.
        compactor.run(async { drop(stopped.wait_for(|stop| *stop).await) }).await;
    }))
}
