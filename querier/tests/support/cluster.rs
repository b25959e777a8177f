//! Ingesters with rows that are told apart by their cell, each behind a real port; who leads is what a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hearth_cluster::PushError;
use hearth_cluster::gossip::{Announcement, PeerState, Peers, Role};
use hearth_cluster::roster::{Cell, CellState, Member, MemberState, Roster, ScheduleEntry};
use hearth_common::{
    CellId, DiskId, InstanceId, JournalId, LogId, MemberId, Position, SystemClock, TenantId, TimestampNs,
};
use hearth_internode::api::{ControlError, MemberStatus, NotReady};
use hearth_internode::cells::{Cells, CellsParts};
use hearth_internode::frame::PROTOCOL;
use hearth_internode::{
    Fetch, FetchOutcome, Fetched, Frame, Hello, IngesterApi, InternalServer, LinkEvent, LinkSink, Metrics,
    Outbox, Pool, Push, Pushed, ServerOptions,
};
use hearth_model::{Answer, NameTree, Question};
use hearth_querier::{ClusterHeads, ClusterHeadsDeps, ClusterHeadsOptions};
use hearth_query::fetch::{FetchError, FetchRequest, JournalAnswer};
use hearth_query::heads::{Beyond, Heads, HeadsError};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

pub(crate) fn instance(name: &str) -> InstanceId {
    InstanceId(Arc::from(name))
}

pub(crate) fn cell(name: &str) -> CellId {
    CellId(instance(name))
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId { instance: instance(name), disk: DiskId(1) }
}

pub(crate) fn journal(cell_name: &str) -> JournalId {
    JournalId::of_log(&cell(cell_name), LogId(1 + u128::from(cell_name.as_bytes()[0])))
}

/// What a member says, if not what it would say.
type Script = dyn Fn(&World, &str, &Fetch) -> Option<Result<Fetched, FetchError>> + Send + Sync;

/// What is true of all members and cells. Each cell has [`ROWS`] rows.
#[derive(Default)]
pub(crate) struct World {
    /// Who leads each cell; absent = its home, `None` = nobody.
    pub(crate) leaders: Mutex<BTreeMap<String, Option<String>>>,
    /// `member:cell+cell`, in order.
    pub(crate) calls: Mutex<Vec<String>>,
    /// Members that answer when they are not named here any more.
    pub(crate) held: Mutex<BTreeSet<String>>,
    pub(crate) script: Mutex<Option<Box<Script>>>,
    pub(crate) roster_version: AtomicU64,
}

/// Rows of each cell.
pub(crate) const ROWS: u64 = 10;

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

    pub(crate) fn fetched(&self, outcome: FetchOutcome) -> Fetched {
        Fetched { outcome, roster_version: self.roster_version.load(Ordering::Relaxed) }
    }

    /// What lies beyond the coverage of cells.
    pub(crate) fn answer(&self, request: &FetchRequest, of: &[&str], elsewhere: Vec<NotReady>) -> Fetched {
        let mut tree = NameTree::new();
        let mut journals = Vec::new();
        for name in of {
            let after = request.covered(&journal(name));
            tree.add_stack(&[*name], ROWS.saturating_sub(after.0) as i64);
            let visible_end = Position(ROWS.max(after.0));
            journals.push(JournalAnswer {
                journal: journal(name),
                after,
                visible_end,
                rows_end: visible_end,
            });
        }
        self.fetched(FetchOutcome::Answered {
            journals,
            partial: Answer::Tree(tree),
            inexact: None,
            cells: of.iter().map(|name| cell(name)).collect(),
            elsewhere,
        })
    }

    pub(crate) fn take_calls(&self) -> String {
        let mut calls = std::mem::take(&mut *self.calls.lock());
        calls.sort();
        calls.join(" ")
    }
}

#[derive(Debug)]
struct Ingester {
    name: String,
    world: Arc<World>,
}

#[async_trait]
impl IngesterApi for Ingester {
    async fn push(&self, _push: Push) -> Result<Pushed, PushError> {
        Err(PushError::Unavailable("nothing is pushed".to_owned()))
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, FetchError> {
        let (world, name) = (&self.world, &self.name);
        let cells: Vec<&str> = fetch.cells.iter().map(|cell| &*cell.0.0).collect();
        world.calls.lock().push(format!("{name}:{}", cells.join("+")));
        while world.held.lock().contains(name) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(said) = world.script.lock().as_ref().and_then(|script| script(world, name, &fetch)) {
            return said;
        }
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for cell_name in cells {
            match world.leader(cell_name) {
                Some(leader) if leader == *name => here.push(cell_name),
                leader => elsewhere.push(NotReady {
                    cell: Some(cell(cell_name)),
                    why: "does not lead".to_owned(),
                    leader: leader.as_deref().map(instance),
                }),
            }
        }
        Ok(world.answer(&fetch.request, &here, elsewhere))
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

/// A cell for each name, kept by the first three, its home first; those in `drained` are published.
pub(crate) fn roster(version: u64, names: &[&str], drained: &[&str]) -> Arc<Roster> {
    let kept_by = |home: &str| {
        let others = names.iter().filter(|name| **name != home).map(|name| member(name));
        std::iter::once(member(home)).chain(others).take(3).collect::<Vec<_>>()
    };
    let cells = names.iter().map(|name| Cell {
        id: cell(name),
        log: LogId(journal(name).owner.disk.0),
        founders: kept_by(name),
        wanted: kept_by(name),
        state: if drained.contains(name) { CellState::Drained } else { CellState::Open },
    });
    let members = names.iter().map(|name| Member {
        id: member(name),
        zone: String::new(),
        state: MemberState::Active,
        joined: TimestampNs(0),
    });
    let placed = names.iter().filter(|name| !drained.contains(name)).map(|name| cell(name));
    let roster = Roster {
        version,
        nonce: u128::from(version),
        parent: u128::from(version - 1),
        cluster_id: "test".to_owned(),
        factor: 3,
        members: members.collect(),
        cells: cells.collect(),
        schedule: vec![ScheduleEntry::new(TimestampNs(0), placed.collect())],
        losses: Vec::new(),
    };
    roster.check().expect("valid");
    Arc::new(roster)
}

pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) heads: ClusterHeads,
    pub(crate) roster: watch::Sender<Option<Arc<Roster>>>,
    registry: Registry,
}

impl Cluster {
    /// A cluster whose roster names `names`; members of `all` run, but those in `down` refuse connections.
    pub(crate) async fn new(
        all: &[&str],
        names: &[&str],
        down: &[&str],
        options: ClusterHeadsOptions,
    ) -> Self {
        let world = Arc::new(World::default());
        world.roster_version.store(1, Ordering::Relaxed);
        let mut said = Vec::new();
        for name in all {
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
        let (roster, roster_seen) = watch::channel(Some(roster(1, names, &[])));
        let (_, peers) = watch::channel(Peers::fixed(said));
        let reach = Arc::new(Pool::new(Arc::new(SystemClock::default()), None, Metrics::default()));
        let (hint, _) = watch::channel(0);
        let cells = Arc::new(Cells::new(CellsParts { roster: roster_seen, peers, hint, reach }));
        let random = AtomicU64::new(7);
        let heads = ClusterHeads::new(ClusterHeadsDeps {
            cells,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(move || u128::from(random.fetch_add(7_919, Ordering::Relaxed)) << 20),
            options,
        });
        let mut registry = Registry::default();
        heads.register_metrics(&mut registry);
        Self { world, heads, roster, registry }
    }

    /// Asks with the coverage of one cell's journal.
    pub(crate) async fn ask(&self, covered: Option<(&str, u64)>) -> Result<Beyond, HeadsError> {
        let coverage = covered.map(|(name, upto)| (journal(name), Position(upto)));
        let request = FetchRequest {
            tenant: TenantId::anonymous(),
            question: Question::Stats,
            root_version: 1,
            coverage: coverage.into_iter().collect(),
            drained: BTreeMap::new(),
            deletions: Vec::new(),
            timeout: Duration::from_secs(60),
        };
        self.heads.ask(request, false).await
    }

    /// Rows by cell and what is not exact, as text: `a=10 b=4 (why)`.
    pub(crate) async fn rows(&self, covered: Option<(&str, u64)>) -> String {
        match self.ask(covered).await {
            Ok(Beyond::Complete { partials, inexact, .. }) => {
                let mut sum: BTreeMap<String, i64> = BTreeMap::new();
                for partial in partials {
                    let Answer::Tree(tree) = partial else { panic!("a tree was sent") };
                    for (node, value) in (0..).zip(tree.selfs()).skip(1) {
                        *sum.entry(tree.name(hearth_model::name_tree::NodeId(node)).to_owned())
                            .or_default() += value;
                    }
                }
                let rows: Vec<String> = sum.iter().map(|(cell, rows)| format!("{cell}={rows}")).collect();
                let why: Vec<String> = inexact.iter().map(|why| format!(" ({why})")).collect();
                rows.join(" ") + &why.concat()
            }
            Ok(Beyond::Stale(journal)) => format!("stale {}", journal.cell.0),
            Err(error) => format!("error: {error}"),
        }
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

pub(crate) fn options() -> ClusterHeadsOptions {
    // A busy machine may take long; tests of silence and of giving up say less.
    let long = Duration::from_secs(50);
    ClusterHeadsOptions { election_max: long, silence: long, roster_max: long, ..Default::default() }
}
