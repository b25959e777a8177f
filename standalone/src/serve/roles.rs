//! All roles in one process: what each is given, and in which order they stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hearth_catalog::{Catalog, CatalogOptions};
use hearth_cluster::PushTarget;
use hearth_common::{Clock, InstanceId, LimitsSource};
use hearth_compactor::{Compactor, CompactorOptions};
use hearth_distributor::{Distributor, DistributorDeps};
use hearth_ingester::{Cells, Ingester, IngesterDeps, IngesterOptions, NoPost};
use hearth_objstore::{Store, StoreOptions};
use hearth_querier::{Querier, QuerierDeps, QuerierOptions};
use hearth_query::HeadSource;
use hearth_rpc::Routes;
use hearth_settings::{Settings, TenantOverrides};
use hearth_telemetry::Readiness;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::web::Flush;

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
    pub(super) async fn start(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<(Self, Routes)> {
        let limits = limits(settings)?;
        let store = open_store(settings, &clock).await?;
        store.register_metrics(registry);
        let catalog = open_catalog(settings, store, &clock);
        let (stop, _) = watch::channel(false);
        let compactor = start_compactor(settings, &catalog, &limits, &clock, &stop, registry);
        let ingester = start_ingester(settings, &catalog, &limits, &clock, readiness)?;
        ingester.register_metrics(registry);
        let target: Arc<dyn PushTarget> = Arc::<Ingester>::clone(&ingester);
        let distributor = Arc::new(Distributor::new(DistributorDeps {
            target,
            limits: Arc::clone(&limits),
            clock: Arc::clone(&clock),
        }));
        distributor.register_metrics(registry);
        let heads: Vec<Arc<dyn HeadSource>> = vec![Arc::<Ingester>::clone(&ingester)];
        let querier = start_querier(settings, &catalog, heads, &limits, &clock, registry);
        let routes = distributor.routes().merge(querier.routes());
        Ok((Self { ingester, stop, compactor }, routes))
    }

    /// Publishes all heads.
    pub(super) fn flush(&self) -> Flush {
        let ingester = Arc::clone(&self.ingester);
        Arc::new(move || {
            let ingester = Arc::clone(&ingester);
            Box::pin(async move { ingester.flush().await })
        })
    }

    /// Publishes all heads and closes the log.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        if let Some(compactor) = self.compactor
            && tokio::time::timeout(COMPACTOR_STOP, compactor).await.is_err()
        {
            tracing::warn!("the compactor did not stop in time");
        }
        self.ingester.stop().await.map_err(anyhow::Error::msg).context("the stop was not clean")
    }
}

fn limits(settings: &Settings) -> Result<Arc<dyn LimitsSource>> {
    let file = &settings.overrides_file;
    if file.as_os_str().is_empty() {
        return Ok(Arc::new(TenantOverrides::none(settings.limits.clone())));
    }
    Ok(Arc::new(TenantOverrides::read(file, settings.limits.clone())?))
}

/// Opens the store, and asks a remote one whether it can do what is needed of it.
async fn open_store(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Store> {
    let url = settings.object_store_url();
    let options = StoreOptions { clock: Arc::clone(clock), ..StoreOptions::default() };
    let store = Store::open(&url, options).context("setting 'object_store'")?;
    if !is_own_folder(&url) {
        store.probe(random()).await.context("the object store cannot be used")?;
    }
    Ok(store)
}

/// Nobody but this process writes to a local folder; a bucket may have others.
fn is_own_folder(url: &str) -> bool {
    url.starts_with("file://") || url.starts_with('/')
}

fn open_catalog(settings: &Settings, store: Store, clock: &Arc<dyn Clock>) -> Arc<Catalog> {
    let options = CatalogOptions {
        only_publisher: is_own_folder(&settings.object_store_url()),
        ..CatalogOptions::default()
    };
    Arc::new(Catalog::new(store, Arc::new(random), Arc::clone(clock), options))
}

fn random() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers once it has booted");
    u128::from_le_bytes(bytes)
}

/// The name of the only ingester on one machine.
const INSTANCE: &str = "hearth";
/// How often it is looked whether the log is replayed.
const REPLAY_LOOK: Duration = Duration::from_millis(20);

fn start_ingester(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    limits: &Arc<dyn LimitsSource>,
    clock: &Arc<dyn Clock>,
    readiness: &Readiness,
) -> Result<Arc<Ingester>> {
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
        catalog: Arc::clone(catalog),
        limits: Arc::clone(limits),
        clock: Arc::clone(clock),
        post: Arc::new(NoPost),
        rng: Arc::new(random),
    };
    let ingester = Ingester::start(options, deps)?;
    let gate = readiness.gate("ingester", "the write-ahead log is being replayed");
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

fn start_querier(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    heads: Vec<Arc<dyn HeadSource>>,
    limits: &Arc<dyn LimitsSource>,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Querier {
    let querier = Querier::new(QuerierDeps {
        catalog: Arc::clone(catalog),
        store: catalog.store().clone(),
        heads,
        limits: Arc::clone(limits),
        clock: Arc::clone(clock),
        options: QuerierOptions {
            cache_bytes: settings.querier.cache_bytes.0,
            query_bytes_max: settings.querier.query_bytes_max.0,
            timeout: settings.querier.timeout.0,
            threads: settings.querier.threads,
        },
    });
    querier.register_metrics(registry);
    querier
}

fn start_compactor(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    limits: &Arc<dyn LimitsSource>,
    clock: &Arc<dyn Clock>,
    stop: &watch::Sender<bool>,
    registry: &mut Registry,
) -> Option<JoinHandle<()>> {
    let run_every = settings.compactor.interval.0;
    if run_every.is_zero() {
        return None;
    }
    let options = CompactorOptions { run_every, ..CompactorOptions::default() };
    let compactor = Compactor::new(Arc::clone(catalog), Arc::clone(limits), Arc::clone(clock), options);
    compactor.register_metrics(registry);
    let mut stopped = stop.subscribe();
    Some(tokio::spawn(async move {
        // An error means that the sender is gone, which is a stop as well.
        compactor.run(async { drop(stopped.wait_for(|stop| *stop).await) }).await;
    }))
}
