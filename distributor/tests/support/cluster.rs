//! Ingesters that keep a log of rids, each behind a real port; who leads which cell is what a test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::gossip::{Announcement, PeerState, Peers, Role};
use hearth_cluster::roster::{Cell, CellState, LogId, Member, MemberState, Roster, ScheduleEntry};
use hearth_cluster::{PushError, PushOutcome};
use hearth_common::{CellId, DiskId, InstanceId, MemberId, Rid, SystemClock, TimestampNs};
use hearth_distributor::{ClusterPush, ClusterPushDeps, ClusterPushOptions, rid};
use hearth_formats::record::{self, Record, RecordHeader};
use hearth_internode::api::{ControlError, MemberStatus, Retry, RetryWhy};
use hearth_internode::cells::{Cells, CellsParts};
use hearth_internode::frame::PROTOCOL;
use hearth_internode::{
    Fetch, Fetched, Frame, Hello, IngesterApi, InternalServer, LinkEvent, LinkSink, Metrics, Outbox, Outcome,
    Pool, Push, Pushed, ServerOptions,
};
use hearth_query::fetch::FetchError;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

pub(crate) const TIME_NS: i64 = 1_700_000_000_000_000_000;

pub(crate) fn instance(name: &str) -> InstanceId {
    InstanceId(Arc::from(name))
}

pub(crate) fn cell(name: &str) -> CellId {
    CellId(instance(name))
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId { instance: instance(name), disk: DiskId(1) }
}

/// A record of a service; rids are told apart by `id`.
pub(crate) fn record(service: &str, id: u128, padding: usize) -> Bytes {
    let padding = "x".repeat(padding);
    let strings = vec!["", &padding];
    let record = Record { labels: vec![("service_name", service)], strings, ..Record::default() };
    let header = RecordHeader {
        tenant: "t1",
        rid: Rid(id),
        service_hash: rid::service_hash(service),
        series_hash: 1,
        time: TimestampNs(TIME_NS),
    };
    let mut bytes = Vec::new();
    record::encode(&header, &record, &mut bytes).expect("small");
    Bytes::from(bytes)
}

pub(crate) fn id_of(record: &Bytes) -> u128 {
    record::peek(record).expect("valid").0.rid.0
}

/// What a member says, if not what it would say.
type Script = dyn Fn(&World, &str, &Push) -> Option<Result<Pushed, PushError>> + Send + Sync;

/// What is true of all members and cells.
#[derive(Default)]
pub(crate) struct World {
    /// Who leads each cell; absent = its home, `None` = nobody.
    pub(crate) leaders: Mutex<BTreeMap<String, Option<String>>>,
    /// Records of each cell, in the order in which they came, each once.
    pub(crate) logs: Mutex<BTreeMap<String, Vec<u128>>>,
    /// `member:cell:records`, in order.
    pub(crate) calls: Mutex<Vec<String>>,
    /// Takes records and says nothing.
    pub(crate) silent: Mutex<Vec<String>>,
    pub(crate) script: Mutex<Option<Box<Script>>>,
    pub(crate) roster_version: AtomicU64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("leaders", &self.leaders).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn lead(&self, cell: &str, leader: Option<&str>) {
        self.leaders.lock().insert(cell.to_owned(), leader.map(str::to_owned));
    }

    pub(crate) fn leader(&self, cell: &str) -> Option<String> {
        self.leaders.lock().get(cell).cloned().unwrap_or_else(|| Some(cell.to_owned()))
    }

    /// Appends records that are new to a cell.
    pub(crate) fn append(&self, cell: &str, records: &[Bytes]) {
        let mut logs = self.logs.lock();
        let log = logs.entry(cell.to_owned()).or_default();
        for id in records.iter().map(id_of) {
            if !log.contains(&id) {
                log.push(id);
            }
        }
    }

    pub(crate) fn pushed(&self, outcomes: Vec<Outcome>) -> Pushed {
        Pushed { outcomes, roster_version: self.roster_version.load(Ordering::Relaxed) }
    }

    pub(crate) fn retry(&self, why: RetryWhy, leader: Option<&str>, records: usize) -> Pushed {
        let message = format!("said {why:?}");
        let retry = Outcome::Retry(Retry { why, message, leader: leader.map(instance) });
        self.pushed(vec![retry; records])
    }

    pub(crate) fn take_calls(&self) -> String {
        std::mem::take(&mut *self.calls.lock()).join(" ")
    }
}

#[derive(Debug)]
struct Ingester {
    name: String,
    world: Arc<World>,
}

#[async_trait]
impl IngesterApi for Ingester {
    async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        let (world, name, cell) = (&self.world, &self.name, &*push.cell.0.0);
        world.calls.lock().push(format!("{name}:{cell}:{}", push.records.len()));
        if world.silent.lock().contains(name) {
            world.append(cell, &push.records);
            std::future::pending::<()>().await;
        }
        if let Some(said) = world.script.lock().as_ref().and_then(|script| script(world, name, &push)) {
            return said;
        }
        let leader = world.leader(cell);
        if leader.as_ref() != Some(name) {
            return Ok(world.retry(RetryWhy::NotLeader, leader.as_deref(), push.records.len()));
        }
        world.append(cell, &push.records);
        Ok(world.pushed(vec![Outcome::Done(PushOutcome::Acked); push.records.len()]))
    }

    async fn fetch(&self, _fetch: Fetch) -> Result<Fetched, FetchError> {
        Err(FetchError::Unavailable("nothing to read".to_owned()))
    }

    async fn status(&self) -> Result<MemberStatus, ControlError> {
        unreachable!("nobody asks")
    }

    async fn flush(&self) -> Result<(), ControlError> {
        Ok(())
    }

    async fn leave(&self) -> Result<(), ControlError> {
        Ok(())
    }
}

#[derive(Debug)]
struct NoLinks;

#[async_trait]
impl LinkSink for NoLinks {
    async fn frame(&self, _from: &MemberId, _frame: Frame, _back: &Outbox) {}

    fn link(&self, _event: LinkEvent) {}
}

async fn serve(name: &str, world: &Arc<World>) -> SocketAddr {
    let local = Hello { cluster_id: "test".to_owned(), protocol: PROTOCOL, member: member(name) };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ServerOptions { listen, local, tls: None, metrics: Metrics::default() };
    let ingester = Ingester { name: name.to_owned(), world: Arc::clone(world) };
    let server = InternalServer::bind(options, Arc::new(ingester), Arc::new(NoLinks)).await.expect("binds");
    let address = server.local_addr().expect("bound");
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// A cell for each name, kept by all of them, its home first.
pub(crate) fn roster(version: u64, names: &[&str]) -> Arc<Roster> {
    let kept_by = |home: &str| {
        let others = names.iter().filter(|name| **name != home).map(|name| member(name));
        std::iter::once(member(home)).chain(others).take(3).collect::<Vec<_>>()
    };
    let cells = names.iter().enumerate().map(|(at, name)| Cell {
        id: cell(name),
        log: LogId(at as u128 + 1),
        founders: kept_by(name),
        wanted: kept_by(name),
        state: CellState::Open,
    });
    let members = names.iter().map(|name| Member {
        id: member(name),
        zone: String::new(),
        state: MemberState::Active,
        joined: TimestampNs(0),
    });
    let roster = Roster {
        version,
        nonce: u128::from(version),
        parent: u128::from(version - 1),
        cluster_id: "test".to_owned(),
        factor: 3,
        members: members.collect(),
        cells: cells.collect(),
        schedule: vec![ScheduleEntry::new(TimestampNs(0), names.iter().map(|name| cell(name)).collect())],
        losses: Vec::new(),
    };
    roster.check().expect("valid");
    Arc::new(roster)
}

pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) push: Arc<ClusterPush>,
    pub(crate) roster: watch::Sender<Option<Arc<Roster>>>,
    registry: Registry,
}

impl Cluster {
    /// A cluster of these members; those in `down` refuse connections.
    pub(crate) async fn new(names: &[&str], down: &[&str], options: ClusterPushOptions) -> Self {
        let world = Arc::new(World::default());
        world.roster_version.store(1, Ordering::Relaxed);
        let mut said = Vec::new();
        for name in names {
            let cluster_addr =
                if down.contains(name) { closed_port().await } else { serve(name, &world).await };
            said.push(Announcement {
                role: Role::Ingester,
                instance: instance(name),
                disk: Some(DiskId(1)),
                zone: String::new(),
                api_addr: cluster_addr,
                cluster_addr,
                state: PeerState::Active,
                roster_version: 1,
            });
        }
        let (roster, roster_seen) = watch::channel(Some(roster(1, names)));
        let (_, peers) = watch::channel(Peers::fixed(said));
        let reach = Arc::new(Pool::new(Arc::new(SystemClock::default()), None, Metrics::default()));
        let (hint, _) = watch::channel(0);
        let cells = Arc::new(Cells::new(CellsParts { roster: roster_seen, peers, hint, reach }));
        let random = AtomicU64::new(7);
        let push = Arc::new(ClusterPush::new(ClusterPushDeps {
            cells,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(move || u128::from(random.fetch_add(7_919, Ordering::Relaxed)) << 20),
            options,
        }));
        let mut registry = Registry::default();
        push.register_metrics(&mut registry);
        Self { world, push, roster, registry }
    }

    pub(crate) fn log(&self, cell: &str) -> Vec<u128> {
        self.world.logs.lock().get(cell).cloned().unwrap_or_default()
    }

    /// The value of a metric whose line begins like this; 0 if there is none.
    pub(crate) fn metric(&self, begin: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        let line = text.lines().find(|line| line.starts_with(begin));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().expect("a number"))
    }
}

/// An address at which nobody listens.
async fn closed_port() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    listener.local_addr().expect("bound")
}

pub(crate) fn options() -> ClusterPushOptions {
    // A busy machine may take long; tests of silence and of deadlines say less.
    let long = Duration::from_secs(60);
    ClusterPushOptions { deadline: long, silence: long, ..ClusterPushOptions::default() }
}
