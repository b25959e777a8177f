//! Three ingesters keep one cell over real sockets: any two of them go on, and every acknowledged record counts once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_block::BlockReader;
use hearth_catalog::{Catalog, CatalogOptions};
use hearth_cluster::PushOutcome;
use hearth_cluster::roster::{Roster, ScheduleEntry};
use hearth_common::{
    CellId, Clock, InstanceId, LogId, MemberId, RangeRead, Rid, SystemClock, TenantId, TenantLimits,
    TimeRange, TimestampNs,
};
use hearth_formats::record::{self, Function, Line, Location, Record, RecordHeader};
use hearth_ingester::api::{Links, Member, Neighbours};
use hearth_ingester::{CellSpec, Cells, Ingester, IngesterDeps, IngesterOptions, Post};
use hearth_internode::api::{Fetch, FetchOutcome, IngesterApi, Outcome, Push, RetryWhy};
use hearth_internode::frame::{Hello, PROTOCOL};
use hearth_internode::{InternalServer, Metrics, ServerOptions};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use hearth_objstore::{Store, StoreOptions};
use hearth_query::FetchRequest;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const CLUSTER: &str = "test";
/// Nothing takes longer than this, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn random() -> u128 {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let at = COUNTER.fetch_add(1, Ordering::Relaxed);
    u128::from(at).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn cell() -> CellId {
    CellId(InstanceId(Arc::from("i0")))
}

struct Node {
    ingester: Arc<Ingester>,
    links: Arc<Links>,
    api: Arc<Member>,
    catalog: Arc<Catalog>,
    address: String,
    server: JoinHandle<()>,
}

impl Node {
    async fn start(name: &str, dir: &Path, wal_quota_bytes: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = Store::open_folder(&dir.join("store"), StoreOptions::default()).expect("a store");
        let options = CatalogOptions::default();
        let catalog = Arc::new(Catalog::new(store, Arc::new(random), Arc::clone(&clock), options));
        let data_dir = dir.join(name);
        std::fs::create_dir_all(&data_dir).expect("a folder");
        // The disk is named before the ingester: its links must know it.
        let disk = hearth_common::DiskId(random());
        std::fs::write(data_dir.join("disk-id"), disk.to_string()).expect("written");
        let member = MemberId { instance: InstanceId(Arc::from(name)), disk };
        let local = Hello { cluster_id: CLUSTER.to_owned(), protocol: PROTOCOL, member };
        let metrics = Metrics::new(&mut Registry::default());
        let links = Links::new(local.clone(), None, metrics.clone(), Arc::new(random));
        let post: Arc<dyn Post> = Arc::<Links>::clone(&links);
        let options = IngesterOptions {
            data_dir,
            instance: InstanceId(Arc::from(name)),
            wal_segment_bytes: 64 << 10,
            wal_quota_bytes,
            wal_reserve_bytes: 0,
            wal_queue_bytes: 64 << 20,
            cut_bytes: 192 << 20,
            cut_age: Duration::from_secs(900),
            cut_min_bytes: 1 << 20,
            cut_age_max: Duration::from_secs(3600),
            remember_pushes: Duration::from_secs(1800),
            flush_timeout: Duration::from_secs(60),
            cells: Cells::Named,
        };
        let limits = Arc::new(Arc::new(TenantLimits::default()));
        let deps = IngesterDeps {
            catalog: Arc::clone(&catalog),
            limits,
            clock,
            post,
            rng: Arc::new(random),
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(2),
            pulses: Default::default(),
        };
        let ingester = Ingester::start(options, deps).expect("starts");
        links.serve(&ingester);
        let api = Member::new(Arc::clone(&ingester), CLUSTER.to_owned());
        api.set_roster(&roster(0, "i0"));
        let listen = "127.0.0.1:0".parse().expect("an address");
        let options = ServerOptions { listen, local, tls: None, metrics };
        let calls: Arc<dyn IngesterApi> = Arc::<Member>::clone(&api);
        let sink: Arc<Links> = Arc::clone(&links);
        let server = InternalServer::bind(options, calls, sink).await.expect("binds");
        let address = server.local_addr().expect("bound").to_string();
        let server = tokio::spawn(server.run(std::future::pending()));
        Self { ingester, links, api, catalog, address, server }
    }

    fn id(&self) -> MemberId {
        self.ingester.member().clone()
    }

    /// Cut off from the others in both directions.
    fn cut_off(&self) {
        self.links.meet(&Neighbours::new());
        self.server.abort();
    }
}

struct Cluster {
    nodes: Vec<Node>,
    _dir: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        Self::start_with([1 << 30; 3]).await
    }

    /// With logs of these sizes.
    async fn start_with(quotas: [u64; 3]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut nodes = Vec::new();
        for (at, quota) in quotas.into_iter().enumerate() {
            nodes.push(Node::start(&format!("i{at}"), dir.path(), quota).await);
        }
        let members: Vec<MemberId> = nodes.iter().map(Node::id).collect();
        let neighbours: Neighbours = nodes.iter().map(|node| (node.id(), node.address.clone())).collect();
        for node in &nodes {
            node.links.meet(&neighbours);
            let spec = CellSpec {
                cell: cell(),
                log: LogId(7),
                founders: Some(members.clone()),
                wanted: members.clone(),
            };
            node.ingester.keep(&spec).await.expect("kept");
        }
        Self { nodes, _dir: dir }
    }

    /// As a distributor does it: whoever takes it, until somebody does.
    async fn push(&self, among: &[usize], records: Vec<Bytes>) {
        let push = Push { cell: cell(), roster_version: 0, records };
        let taken = async {
            loop {
                for at in among {
                    let pushed = self.nodes[*at].api.push(push.clone()).await.expect("well-formed");
                    if pushed.outcomes.iter().all(|o| *o == Outcome::Done(PushOutcome::Acked)) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("somebody takes it");
    }

    /// As a querier does it: whoever leads, with the newest root.
    async fn total(&self, among: &[usize]) -> i64 {
        let tenant = TenantId::anonymous();
        let question = Question::Tree(ProfileQuery {
            profile_type: ProfileType::new("cpu", "cpu", "ns", "", ""),
            selector: Selector::default(),
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        });
        let asked = async {
            loop {
                for at in among {
                    let node = &self.nodes[*at];
                    let view = node.catalog.newest(&tenant, Duration::ZERO).await.expect("a root or none");
                    let positions = view.iter().flat_map(|view| view.root.coverage.positions());
                    let request = FetchRequest {
                        tenant: tenant.clone(),
                        question: question.clone(),
                        root_version: view.as_ref().map_or(0, |view| view.version()),
                        coverage: positions.map(|(journal, upto)| (journal.clone(), upto)).collect(),
                        drained: BTreeMap::new(),
                        deletions: Vec::new(),
                        timeout: Duration::from_secs(10),
                    };
                    let fetch = Fetch { request, roster_version: 0, cells: vec![cell()] };
                    let fetched = node.api.fetch(fetch).await.expect("answers");
                    let FetchOutcome::Answered { partial, cells, .. } = fetched.outcome else { continue };
                    if cells.is_empty() {
                        continue;
                    }
                    let mut whole = partial;
                    for entry in view.iter().flat_map(|view| &view.blocks) {
                        let folder = entry.folder(&tenant);
                        let open = |name: &str| -> Arc<dyn RangeRead> {
                            node.catalog.store().range_reader(format!("{folder}/{name}"), None)
                        };
                        let reader = BlockReader::open(Arc::clone(entry), open).await.expect("opens");
                        let part = reader.prepare(&question).await.expect("reads").run().expect("answers");
                        whole.merge(part).expect("same kind");
                    }
                    let Answer::Tree(tree) = whole else { panic!("a tree") };
                    return tree.checked_total().expect("fits");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("somebody answers")
    }

    /// Which of them leads.
    async fn leader(&self, among: &[usize]) -> usize {
        let found = async {
            loop {
                for at in among {
                    let status = self.nodes[*at].api.status().await.expect("a status");
                    if status.cells.iter().any(|cell| cell.role == "leader") {
                        return *at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("somebody leads")
    }

    async fn stop(self) {
        for node in &self.nodes {
            let stopped = tokio::time::timeout(PATIENCE, node.ingester.stop()).await;
            stopped.expect("in time").expect("a clean stop");
            node.links.close();
            node.server.abort();
        }
    }
}

fn value(number: u64) -> i64 {
    1 + (number % 7) as i64 * 100
}

fn sum(numbers: std::ops::Range<u64>) -> i64 {
    numbers.map(value).sum()
}

fn record(number: u64) -> Bytes {
    let service = format!("service-{}", number % 5);
    let record = Record {
        labels: vec![("__name__", "cpu"), ("service_name", &service)],
        sample_types: vec![("cpu", "ns")],
        strings: vec!["", "main"],
        functions: vec![Function { name: 1, ..Function::default() }],
        lines: vec![Line { function: 0, line: 1 }],
        locations: vec![Location { line_count: 1, ..Location::default() }],
        frames: vec![0],
        stack_ends: vec![1],
        values: vec![value(number)],
        ..Record::default()
    };
    let header = RecordHeader {
        tenant: "anonymous",
        rid: Rid(u128::from(number) + 1),
        service_hash: number % 5,
        series_hash: number % 5,
        time: TimestampNs(1_700_000_000_000_000_000),
    };
    let mut bytes = Vec::new();
    record::encode(&header, &record, &mut bytes).expect("fits");
    bytes.into()
}

fn records(numbers: std::ops::Range<u64>) -> Vec<Bytes> {
    numbers.map(record).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_go_on_and_everything_counts_once() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    cluster.push(&all, records(0..40)).await;
    assert_eq!(cluster.total(&all).await, sum(0..40));

    // The leader is cut off; a retry of what it took meets the same records at the next one.
    let first = cluster.leader(&all).await;
    cluster.nodes[first].cut_off();
    let others: Vec<usize> = all.into_iter().filter(|at| *at != first).collect();
    cluster.push(&others, records(20..60)).await;
    assert_eq!(cluster.total(&others).await, sum(0..60));
    let second = cluster.leader(&others).await;
    assert_ne!(second, first);

    // What is published by the second leader is published once, and the rest is still there.
    cluster.nodes[second].api.flush().await.expect("published");
    cluster.push(&others, records(50..70)).await;
    assert_eq!(cluster.total(&others).await, sum(0..70));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_acknowledges_and_answers_nothing() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    cluster.push(&all, records(0..10)).await;
    let first = cluster.leader(&all).await;
    cluster.nodes[first].cut_off();
    let push = Push { cell: cell(), roster_version: 0, records: records(10..11) };
    let pushed = tokio::time::timeout(PATIENCE, cluster.nodes[first].api.push(push)).await.expect("in time");
    let outcomes = pushed.expect("well-formed").outcomes;
    assert!(matches!(outcomes[..], [Outcome::Retry(_)]), "{outcomes:?}");
    // The same record, taken by the others: whatever the first one still holds of it never counts.
    let others: Vec<usize> = all.into_iter().filter(|at| *at != first).collect();
    cluster.push(&others, records(10..12)).await;
    assert_eq!(cluster.total(&others).await, sum(0..12));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_without_records_holds_no_log() {
    let cluster = Cluster::start().await;
    let released = async {
        loop {
            for node in &cluster.nodes {
                let cells = node.api.status().await.expect("a status").cells;
                // The beginning of its leadership is in the log, which the cells of a member share.
                if cells.iter().any(|cell| cell.role == "leader" && cell.released.0 > 0) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, released).await.expect("it is let go");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_home() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    cluster.push(&all, records(0..10)).await;
    let home = async {
        while cluster.leader(&all).await != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, home).await.expect("the home leads");
    assert_eq!(cluster.total(&all).await, sum(0..10));
    cluster.stop().await;
}

/// The others have no room for what the leader still takes: they get it once what is committed is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_logs_do_not_wait_for_each_other() {
    let cluster = Cluster::start_with([1 << 30, 256 << 10, 256 << 10]).await;
    let all = [0, 1, 2];
    let home = async {
        while cluster.leader(&all).await != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, home).await.expect("the home leads");
    let mut count = 0;
    loop {
        let push = Push { cell: cell(), roster_version: 0, records: records(count..count + 200) };
        count += 200;
        let pushed = cluster.nodes[0].api.push(push);
        if tokio::time::timeout(Duration::from_secs(2), pushed).await.is_err() {
            break;
        }
        assert!(count < 100_000, "the others' logs never fill");
    }
    let flushed = tokio::time::timeout(PATIENCE, cluster.nodes[0].api.flush()).await;
    flushed.expect("in time").expect("published");
    cluster.push(&all, records(count - 200..count + 10)).await;
    assert_eq!(cluster.total(&all).await, sum(0..count + 10));
    cluster.stop().await;
}

/// A roster that places everything in one cell.
fn roster(version: u64, cell: &str) -> Roster {
    let entry = ScheduleEntry::new(TimestampNs(0), vec![CellId(InstanceId(Arc::from(cell)))]);
    Roster {
        version,
        nonce: 1,
        parent: 0,
        cluster_id: CLUSTER.to_owned(),
        factor: 3,
        members: Vec::new(),
        cells: Vec::new(),
        schedule: vec![entry],
        losses: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_roster_placed_is_sent_back() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    cluster.push(&all, records(0..10)).await;
    let leader = &cluster.nodes[cluster.leader(&all).await];
    let push = async |roster_version, records| {
        let pushed = leader.api.push(Push { cell: cell(), roster_version, records }).await;
        pushed.expect("well-formed").outcomes
    };
    leader.api.set_roster(&roster(5, "i9"));
    let outcomes = push(4, records(10..12)).await;
    let old =
        |outcome: &Outcome| matches!(outcome, Outcome::Retry(retry) if retry.why == RetryWhy::OldRoster);
    assert!(outcomes.len() == 2 && outcomes.iter().all(old), "{outcomes:?}");
    // Whoever knows that roster, or a newer one, knows better.
    let acked = [Outcome::Done(PushOutcome::Acked)];
    assert_eq!(push(5, records(10..11)).await, acked);
    leader.api.set_roster(&roster(6, "i0"));
    assert_eq!(push(4, records(11..12)).await, acked);
    assert_eq!(cluster.total(&all).await, sum(0..12));
    cluster.stop().await;
}

/// What an announced change may move is not taken: somebody else may know already that it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_announced_change_may_move_comes_again() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    cluster.push(&all, records(0..10)).await;
    let leader = &cluster.nodes[cluster.leader(&all).await];
    let push = async |range| {
        let pushed = leader.api.push(Push { cell: cell(), roster_version: 9, records: records(range) }).await;
        pushed.expect("well-formed").outcomes
    };
    let not_ready = |outcome: &Outcome| matches!(outcome, Outcome::Retry(retry) if retry.why == RetryWhy::NotReady && retry.leader.is_none());
    let announced = |version, to: &str, effective: TimestampNs| {
        let mut roster = roster(version, "i0");
        let entry = ScheduleEntry::new(effective, vec![CellId(InstanceId(Arc::from(to)))]);
        roster.schedule.push(ScheduleEntry { announced: true, ..entry });
        roster
    };
    let time = record::peek(&record(10)).expect("a record").0.time;
    leader.api.set_roster(&announced(4, "i9", TimestampNs(time.0 + 1)));
    assert_eq!(push(10..11).await, [Outcome::Done(PushOutcome::Acked)], "before it can hold");
    leader.api.set_roster(&announced(5, "i9", time));
    let outcomes = push(11..12).await;
    assert!(outcomes.iter().all(not_ready) && outcomes.len() == 1, "{outcomes:?}");
    // It moves nothing away from here.
    leader.api.set_roster(&announced(6, "i0", time));
    assert_eq!(push(11..12).await, [Outcome::Done(PushOutcome::Acked)]);
    // A member that voted knows more; it does not matter what is heard later.
    leader.api.heard_roster(7);
    assert_eq!(push(12..13).await, [Outcome::Done(PushOutcome::Acked)], "of this term it knows enough");
    assert_eq!(cluster.total(&all).await, sum(0..13));
    cluster.stop().await;
}

/// Whoever begins to lead has to know first what those know that voted for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_takes_nothing_before_it_knows_the_roster_of_its_voters() {
    let cluster = Cluster::start().await;
    let all = [0, 1, 2];
    let leader = &cluster.nodes[cluster.leader(&all).await];
    leader.api.set_roster(&roster(5, "i0"));
    leader.api.heard_roster(7);
    let push = async || {
        let push = Push { cell: cell(), roster_version: 7, records: records(0..1) };
        leader.api.push(push).await.expect("well-formed").outcomes
    };
    let outcomes = push().await;
    assert!(
        matches!(&outcomes[..], [Outcome::Retry(retry)] if retry.why == RetryWhy::NotReady),
        "{outcomes:?}"
    );
    leader.api.set_roster(&roster(7, "i0"));
    assert_eq!(push().await, [Outcome::Done(PushOutcome::Acked)]);
    cluster.stop().await;
}
