//! The frame of a process: what its role is made of, its ports, its place in the cluster, and the order in which all of it
//! stops.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use hearth_catalog::Catalog;
use hearth_cluster::gossip::{Announcement, PeerState, Role};
use hearth_common::{
    Aside, Clock, DiskId, InstanceId, LimitsSource, MemberId, SystemClock, TenantLimits, Turns,
};
use hearth_internode::{
    Hello, IngesterApi, InternalServer, LinkSink, Pool, QuerierApi, QuerierServerOptions, Tls,
};
use hearth_rpc::{RequestMetrics, Routes, ServerOptions, Tenancy};
use hearth_settings::Settings;
use hearth_telemetry::profiling::SelfProfiling;
use hearth_telemetry::trace::Traces;
use hearth_telemetry::{BuildInfo, Gate, Liveness, Metrics, Readiness};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::error::NodeError;
use crate::folder_lock::FolderLock;
use crate::gives_way::NiceThreads;
use crate::limits_page::LimitsPage;
use crate::membership::{Endpoints, Membership};
use crate::reload::{Limits, Seen};
use crate::ring::RingPage;
use crate::signals::Stop;
use crate::web::{Flush, Web};
use crate::{address, certificates, debug, open, self_profiling, watch};

/// Bytes of one RPC message of the public port, after decompression, where every tenant's limit of a body is lower: not all
/// messages are pushes. What processes send to each other on the internal port has a limit of its own.
const MESSAGE_BYTES_MIN: usize = 64 << 20;
/// The same where a tenant has no limit: all requests together hold four times as much.
const MESSAGE_BYTES_UNLIMITED: usize = 512 << 20;
/// No message is larger, whatever the limits: gRPC gives its length 32 bits.
const MESSAGE_BYTES_MAX: usize = u32::MAX as usize;
/// The name of the process that is alone.
pub(crate) const ALONE: &str = "hearth";

/// Random numbers, passed in.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What a role is made of, and the process around it.
pub struct Node {
    /// What the process does.
    pub role: Role,
    /// Its name.
    pub instance: InstanceId,
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
    /// Watches loops: [`Node::watch`].
    pub liveness: Liveness,
    /// Takes the role's metrics.
    pub registry: Registry,
    /// Of calls to and from other processes; registered.
    pub internode: hearth_internode::Metrics,
    /// Certificates, if calls between processes are encrypted.
    pub tls: Option<Tls>,
    /// The cluster; `None` for Hearth on one machine. It is joined when the role runs.
    pub membership: Option<Arc<Membership>>,
    aside: Aside,
    overrides: Arc<Limits>,
    request_metrics: RequestMetrics,
    gate: Gate,
    stop: Stop,
    started: Duration,
    _lock: Option<FolderLock>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("role", &self.role)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// What a role has become.
pub struct Running {
    /// Its part of the public port.
    pub routes: Routes,
    /// What it gives on the internal port, if it has one.
    pub internal: Option<InternalPort>,
    /// Publishes everything that is in memory.
    pub flush: Flush,
    /// Ends the role; awaited once no request on the public port is open any more, while the internal port still answers.
    /// An error says what was left undone.
    pub stop: BoxFuture<'static, Result<(), String>>,
}

/// What a keeper of logs gives on the internal port.
#[derive(Debug, Clone)]
pub struct Internal {
    /// Who it is.
    pub member: MemberId,
    /// Takes calls.
    pub api: Arc<dyn IngesterApi>,
    /// Takes frames of cells.
    pub links: Arc<dyn LinkSink>,
}

/// What a role gives on the internal port.
#[derive(Debug, Clone)]
pub enum InternalPort {
    /// A keeper of logs.
    Ingester(Internal),
    /// One that reads blocks for others.
    Querier(Arc<dyn QuerierApi>),
}

impl From<Internal> for InternalPort {
    fn from(internal: Internal) -> Self {
        Self::Ingester(internal)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("internal", &self.internal).finish_non_exhaustive()
    }
}

impl Running {
    /// A role that keeps nothing: it has nothing to publish, and nothing to end.
    pub fn stateless(routes: Routes) -> Self {
        let flush: Flush = Arc::new(|| Box::pin(async { Ok(()) }));
        Self { routes, internal: None, flush, stop: Box::pin(async { Ok(()) }) }
    }
}

impl Node {
    /// Takes the data folder (of roles that keep something in it), opens the store, the catalog and the roster. Must be
    /// called inside a tokio runtime; once a process, as it listens for signals from then on.
    pub async fn start(role: Role, settings: Settings) -> Result<Self, NodeError> {
        let settings = Arc::new(settings);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let started = clock.monotonic();
        let stop = Stop::on_signals()?;
        self_profiling::prepare(role, &settings).await?;
        let keeps = matches!(role, Role::Ingester | Role::Standalone);
        let lock = keeps.then(|| FolderLock::take(&settings.data_dir)).transpose()?;
        let (readiness, liveness) = (Readiness::default(), Liveness::new(Arc::clone(&clock)));
        tokio::spawn(liveness.clone().look_after(settings.liveness.stalled_after.0));
        let gate = readiness.gate("start", "roles are starting");
        let mut registry = Metrics::registry();
        let request_metrics = RequestMetrics::new(&mut registry);
        liveness.register_metrics(&mut registry);
        Traces::register_metrics(&mut registry);
        let rng: Random = Arc::new(open::random);
        let (seen, overrides) = (Seen::now(&settings), open::limits(&settings)?);
        let store = open::store(role, &settings, &overrides, &clock, &rng).await?;
        store.register_metrics(&mut registry);
        let (instance, internode, tls, membership) = if role == Role::Standalone {
            (InstanceId(Arc::from(ALONE)), hearth_internode::Metrics::default(), None, None)
        } else {
            let internode = hearth_internode::Metrics::new(&mut registry);
            let tls = certificates::open(&settings, &clock, &internode)?;
            let window = open::ingestion_window(&overrides);
            let options = address::membership(role, &settings, window, &overrides).await?;
            let deps = crate::membership::MembershipDeps {
                store: store.clone(),
                copy: None,
                clock: Arc::clone(&clock),
                rng: Arc::clone(&rng),
                readiness: readiness.clone(),
                pulses: watch::membership(&liveness, role, &settings),
                reach: Arc::new(Pool::new(Arc::clone(&clock), tls.clone(), internode.clone())),
                statuses: Arc::new(Pool::new(Arc::clone(&clock), tls.clone(), internode.clone())),
            };
            (options.instance.clone(), internode, tls, Some(Membership::open(options, deps)?))
        };
        let catalog = open::catalog(role, &settings, store, &clock, &rng);
        let limits = Arc::new(Limits::new(overrides, role != Role::Standalone, &*clock, &mut registry));
        limits.follow(seen, Arc::clone(&settings), Arc::clone(&clock));
        Ok(Self {
            role,
            instance,
            settings,
            clock,
            rng,
            limits: Arc::<Limits>::clone(&limits),
            aside: Aside::new(Arc::new(NiceThreads::start()?)),
            overrides: limits,
            catalog,
            readiness,
            liveness,
            registry,
            internode,
            tls,
            membership,
            request_metrics,
            gate,
            stop,
            started,
            _lock: lock,
        })
    }

    /// So many turns at once for tenants that keep to their share, and as many that give way to them.
    pub fn turns(&self, at_once: usize) -> Turns {
        Turns::in_two_rows(at_once, self.aside.clone())
    }

    /// Runs the ports until the process is told to stop; then lets open requests end, and ends the role.
    pub async fn run(mut self, running: Running) -> Result<(), NodeError> {
        let Running { routes, internal, flush, stop: end_role } = running;
        let (metrics, me) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
        let routes = self.all_routes(routes, flush, Arc::clone(&metrics), Arc::clone(&me));
        let settings = Arc::clone(&self.settings);
        let listen = address::resolve("listen", &settings.listen).await?;
        let fail = |source| NodeError::Listen { address: settings.listen.clone(), flag: "--listen", source };
        let server = hearth_rpc::bind(self.port(listen), routes).await.map_err(fail)?;
        let address = server.local_addr().map_err(fail)?;
        let internal = match internal {
            Some(internal) => Some(self.serve_internal(internal, listen).await?),
            None => None,
        };
        let said = self.announcement(address, internal.as_ref()).await?;
        if let Some(membership) = &self.membership {
            let Announcement { disk, api_addr, cluster_addr, .. } = said;
            membership.join(Endpoints { disk, api_addr, cluster_addr }, &mut self.registry).await?;
        }
        let own = SelfProfiling::new(&mut self.registry);
        let clock = Arc::clone(&self.clock);
        self_profiling::start(own, (self.role, &self.instance), &settings, address, clock);
        // Nobody else sets these two.
        me.get_or_init(|| said);
        metrics.get_or_init(|| Metrics::new(std::mem::take(&mut self.registry)));
        self.gate.open();
        self.say_so(address);
        let stop = self.stop.clone();
        server
            .run(async {
                stop.clone().wait().await;
                self.gate.close("stopping");
                stop.pause(settings.shutdown_delay.0).await;
            })
            .await;
        self.stop.second_ends_at_once();
        let ended = end_role.await;
        if let Some(internal) = internal {
            internal.end().await;
        }
        if let Some(membership) = &self.membership {
            membership.stop().await;
        }
        ended.map_err(NodeError::Stop)?;
        tracing::info!("stopped");
        Ok(())
    }

    fn all_routes(
        &self,
        routes: Routes,
        flush: Flush,
        metrics: Arc<OnceLock<Metrics>>,
        me: Arc<OnceLock<Announcement>>,
    ) -> Routes {
        let BuildInfo { version, revision, .. } = BuildInfo::CURRENT;
        let (settings, readiness) = (Arc::clone(&self.settings), self.readiness.clone());
        let ring = RingPage {
            me,
            cluster: settings.cluster.id.clone(),
            membership: self.membership.clone(),
            clock: Arc::clone(&self.clock),
        };
        let admin = Admin {
            role: self.role,
            instance: self.instance.clone(),
            zone: settings.zone.clone(),
            clock: Arc::clone(&self.clock),
            started: self.started,
        };
        let health = Arc::new(move || readiness.check().is_ok());
        let (readiness, stop) = (self.readiness.clone(), self.stop.clone());
        let membership = self.membership.clone();
        let has_file = !settings.overrides_file.as_os_str().is_empty();
        let limits = LimitsPage { limits: Arc::clone(&self.overrides), has_file };
        let liveness = self.liveness.clone();
        let web = Web { settings, metrics, readiness, liveness, flush, stop, membership };
        routes
            .merge(hearth_rpc::common_routes(health, version, revision))
            .http(web.routes())
            .http(ring.routes())
            .http(limits.routes())
            .http(admin.routes())
            .http(debug::routes(Arc::clone(&self.clock)))
    }

    fn port(&self, listen: SocketAddr) -> ServerOptions {
        ServerOptions {
            listen,
            tenancy: if self.settings.multitenancy { Tenancy::Multi } else { Tenancy::Single },
            max_message_bytes: message_bytes_max(self.overrides.overrides().all()),
            metrics: self.request_metrics.clone(),
            clock: Arc::clone(&self.clock),
            aside: self.aside.clone(),
        }
    }

    /// Binds the internal port and begins to answer there.
    async fn serve_internal(
        &self,
        internal: InternalPort,
        listen: SocketAddr,
    ) -> Result<OpenPort, NodeError> {
        let listen = address::cluster_listen(&self.settings, listen).await?;
        let (tls, metrics) = (self.tls.clone(), self.internode.clone());
        let (bound, disk) = match internal {
            InternalPort::Ingester(Internal { member, api, links }) => {
                let (disk, local) = (member.disk, self.hello(member));
                let options = hearth_internode::ServerOptions { listen, local, tls, metrics };
                (InternalServer::bind(options, api, links).await, Some(disk))
            }
            InternalPort::Querier(api) => {
                let cluster_id = self.settings.cluster.id.clone();
                let options = QuerierServerOptions { listen, cluster_id, tls, metrics };
                (InternalServer::bind_querier(options, api).await, None)
            }
        };
        let fail =
            |source| NodeError::Listen { address: listen.to_string(), flag: "--cluster.listen", source };
        let server = bound.map_err(fail)?;
        let address = server.local_addr().map_err(fail)?;
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            // Dropped is ended as well.
            _ = ended.await;
        }));
        Ok(OpenPort { disk, address, end, task })
    }

    /// The cluster.
    pub fn cluster(&self) -> Result<&Arc<Membership>, NodeError> {
        self.membership.as_ref().ok_or(NodeError::Alone)
    }

    /// How a member of this process greets others.
    pub fn hello(&self, member: MemberId) -> Hello {
        Hello {
            cluster_id: self.settings.cluster.id.clone(),
            protocol: hearth_internode::frame::PROTOCOL,
            member,
        }
    }

    /// What the others are told of this process.
    async fn announcement(
        &self,
        address: SocketAddr,
        internal: Option<&OpenPort>,
    ) -> Result<Announcement, NodeError> {
        let ip = match &self.membership {
            Some(_) => address::advertised(&self.settings, address).await?,
            None => address.ip(),
        };
        let api_addr = SocketAddr::new(ip, address.port());
        let cluster_addr = internal.map_or(api_addr, |internal| {
            let bound = internal.address;
            let own = self.settings.cluster.advertise.is_empty() && !bound.ip().is_unspecified();
            if own { bound } else { SocketAddr::new(ip, bound.port()) }
        });
        Ok(Announcement {
            role: self.role,
            instance: self.instance.clone(),
            disk: internal.and_then(|internal| internal.disk),
            zone: self.settings.zone.clone(),
            api_addr,
            cluster_addr,
            state: PeerState::Active,
            roster_version: 0,
        })
    }

    fn say_so(&self, address: SocketAddr) {
        let (settings, version) = (&self.settings, BuildInfo::CURRENT.version);
        tracing::info!(%address, version, data_dir = %settings.data_dir.display(), multitenancy = settings.multitenancy,
            start_ms = (self.clock.monotonic() - self.started).as_millis() as u64, "serving");
        let data = settings.data_dir.display();
        match self.role {
            Role::Standalone => say(&format!("Hearth {version} listens on http://{address}, data in {data}")),
            role => say(&format!(
                "Hearth {version} {} {} listens on http://{address}",
                role.as_str(),
                self.instance
            )),
        }
    }
}

/// The running internal port.
struct OpenPort {
    disk: Option<DiskId>,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl OpenPort {
    /// Lets open calls end, for a bounded time.
    async fn end(self) {
        drop(self.end);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the internal port ended badly");
        }
    }
}

/// Bytes of one RPC message: as many as the body of a request may have for any tenant (`ingestion_body_limit_mb`), so that none
/// is refused that a tenant may send; who may send less is told so when the push is worked on. A larger message is
/// `resource_exhausted` (429), as in the reference. Read at the start: a limit that is raised later counts after the next one.
fn message_bytes_max<'a>(limits: impl Iterator<Item = &'a TenantLimits>) -> usize {
    let bytes = limits.map(|limits| limits.ingestion_body_limit_bytes().unwrap_or(MESSAGE_BYTES_UNLIMITED));
    bytes.max().unwrap_or_default().clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX)
}

#[allow(clippy::print_stdout, reason = "the one line for the person who started it")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_may_be_as_large_as_the_largest_body() {
        let of = |mib: &[f64]| {
            let limits: Vec<TenantLimits> = mib
                .iter()
                .map(|mib| TenantLimits { ingestion_body_limit_mb: *mib, ..TenantLimits::default() })
                .collect();
            message_bytes_max(limits.iter())
        };
        assert_eq!(message_bytes_max([TenantLimits::default()].iter()), 256 << 20);
        assert_eq!(of(&[100.0, 1024.0, 0.5]), 1 << 30);
        assert_eq!(of(&[0.5]), MESSAGE_BYTES_MIN);
        assert_eq!(of(&[0.5, 0.0]), MESSAGE_BYTES_UNLIMITED);
        assert_eq!(of(&[0.0, 1024.0]), 1 << 30);
        assert_eq!(of(&[1e12]), MESSAGE_BYTES_MAX);
    }
}
