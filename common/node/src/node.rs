//! The frame of a process: what its role is made of, its port, and the order in which all of it stops.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hearth_catalog::Catalog;
use hearth_cluster::gossip::Role;
use hearth_common::{Clock, LimitsSource, SystemClock};
use hearth_rpc::{RequestMetrics, Routes, ServerOptions, Tenancy};
use hearth_settings::Settings;
use hearth_telemetry::{BuildInfo, Gate, Metrics, Readiness};
use prometheus_client::registry::Registry;

use crate::error::NodeError;
use crate::folder_lock::FolderLock;
use crate::open;
use crate::signals::Stop;
use crate::web::{Flush, Web};

/// Bytes of one RPC message after decompression, whatever the tenant's own limit says.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// Random numbers, passed in.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What a role is made of, and the process around it.
pub struct Node {
    /// What the process does.
    pub role: Role,
    /// All settings.
    pub settings: Arc<Settings>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers.
    pub rng: Random,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// Published data.
    pub catalog: Arc<Catalog>,
    /// Gates of the role's parts: all open = ready.
    pub readiness: Readiness,
    /// Takes the role's metrics.
    pub registry: Registry,
    request_metrics: RequestMetrics,
    gate: Gate,
    stop: Stop,
    started: Duration,
    _lock: FolderLock,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("role", &self.role).finish_non_exhaustive()
    }
}

/// What a role has become.
pub struct Running {
    /// Its part of the port.
    pub routes: Routes,
    /// Publishes everything that is in memory.
    pub flush: Flush,
    /// Ends the role; awaited once no request is open any more. An error says what was left undone.
    pub stop: BoxFuture<'static, Result<(), String>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    /// A role that keeps nothing: it has nothing to publish, and nothing to end.
    pub fn stateless(routes: Routes) -> Self {
        Self { routes, flush: Arc::new(|| Box::pin(async { Ok(()) })), stop: Box::pin(async { Ok(()) }) }
    }
}

impl Node {
    /// Takes the data folder, opens the store and the catalog. Must be called inside a tokio runtime; once a process, as
    /// it listens for signals from then on.
    pub async fn start(role: Role, settings: Settings) -> Result<Self, NodeError> {
        let settings = Arc::new(settings);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let started = clock.monotonic();
        let stop = Stop::on_signals()?;
        let lock = FolderLock::take(&settings.data_dir)?;
        let readiness = Readiness::default();
        let gate = readiness.gate("start", "roles are starting");
        let mut registry = Metrics::registry();
        let request_metrics = RequestMetrics::new(&mut registry);
        let rng: Random = Arc::new(open::random);
        let limits = open::limits(&settings)?;
        let store = open::store(role, &settings, &clock, &rng).await?;
        store.register_metrics(&mut registry);
        let catalog = open::catalog(role, &settings, store, &clock, &rng);
        Ok(Self {
            role,
            settings,
            clock,
            rng,
            limits,
            catalog,
            readiness,
            registry,
            request_metrics,
            gate,
            stop,
            started,
            _lock: lock,
        })
    }

    /// Runs the port until the process is told to stop; then lets open requests end, and ends the role.
    pub async fn run(self, running: Running) -> Result<(), NodeError> {
        let Running { routes, flush, stop: end_role } = running;
        let BuildInfo { version, revision, .. } = BuildInfo::CURRENT;
        let web = Web {
            settings: Arc::clone(&self.settings),
            metrics: Metrics::new(self.registry),
            readiness: self.readiness.clone(),
            flush,
        };
        let readiness = self.readiness.clone();
        let health = Arc::new(move || readiness.check().is_ok());
        let routes = routes.merge(hearth_rpc::common_routes(health, version, revision)).http(web.routes());
        let settings = &self.settings;
        let options = ServerOptions {
            listen: resolve("listen", &settings.listen)?,
            tenancy: if settings.multitenancy { Tenancy::Multi } else { Tenancy::Single },
            max_message_bytes: MESSAGE_BYTES_MAX,
            metrics: self.request_metrics,
            clock: Arc::clone(&self.clock),
        };
        let fail = |source| NodeError::Listen { address: settings.listen.clone(), flag: "--listen", source };
        let server = hearth_rpc::bind(options, routes).await.map_err(fail)?;
        let address = server.local_addr().map_err(fail)?;
        self.gate.open();
        tracing::info!(%address, version, data_dir = %settings.data_dir.display(), multitenancy = settings.multitenancy,
            start_ms = (self.clock.monotonic() - self.started).as_millis() as u64, "serving");
        say(&format!(
            "Hearth {version} listens on http://{address}, data in {}",
            settings.data_dir.display()
        ));
        server.run(self.stop.clone().wait()).await;
        self.gate.close("stopping");
        self.stop.second_ends_at_once();
        end_role.await.map_err(NodeError::Stop)?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The address that a setting names.
fn resolve(key: &'static str, value: &str) -> Result<SocketAddr, NodeError> {
    let bad = |problem: String| NodeError::Address { key, value: value.to_owned(), problem };
    let mut found = value.to_socket_addrs().map_err(|error| bad(format!("is no address: {error}")))?;
    found.next().ok_or_else(|| bad("has no address".to_owned()))
}

#[allow(clippy::print_stdout, reason = "the one line for the person who started it")]
fn say(text: &str) {
    println!("{text}");
}
