//! An ingester and a querier in one process that each remember roots of their own, rows with known values, and a merger.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_block::merge::{MemorySink, RowFilter};
use hearth_block::{BlockEntry, BlockReader, Deletion, MergeOptions};
use hearth_catalog::{Catalog, CatalogOptions, RootView};
use hearth_cluster::{PushOutcome, PushTarget};
use hearth_common::{
    Clock, InstanceId, RangeRead, Rid, SystemClock, TenantId, TenantLimits, TimeRange, TimestampNs,
};
use hearth_formats::record::{self, Function, Line, Location, Record, RecordHeader};
use hearth_ingester::{Cells, Ingester, IngesterDeps, IngesterOptions, NoPost};
use hearth_model::{Answer, Labels, ProfileQuery, ProfileType, Question, Selector};
use hearth_objstore::{Store, StoreOptions};
use hearth_querier::{LocalHeads, Querier, QuerierDeps, QuerierOptions, SymbolOptions};
use tempfile::TempDir;

pub const DAY_NS: i64 = 19_676 * 86_400_000_000_000;
/// How old a root the querier plans on.
const ROOT_AGE: Duration = Duration::from_millis(20);

pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

pub fn tenant() -> TenantId {
    TenantId::parse("one").expect("valid")
}

fn other() -> TenantId {
    TenantId::parse("two").expect("valid")
}

/// A profile: everything follows from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub number: u64,
}

impl Row {
    pub fn rid(self) -> Rid {
        Rid(u128::from(self.number) + 1)
    }

    pub fn service(self) -> String {
        format!("service-{}", self.number % 4)
    }

    pub fn pod(self) -> String {
        format!("pod-{}", self.number % 3)
    }

    pub fn value(self, ty: usize) -> i64 {
        (1 + (self.number % 7) as i64) * if ty == 0 { 100 } else { 3 }
    }

    pub fn time(self) -> TimestampNs {
        let day = (self.number / 5 % 3) as i64;
        TimestampNs(DAY_NS + day * 86_400_000_000_000 + (self.number % 6) as i64 * 1_000_000_000)
    }

    pub fn labels(self) -> Labels {
        let (service, pod) = (self.service(), self.pod());
        Labels::from_pairs([("__name__", "cpu"), ("pod", &*pod), ("service_name", &*service)])
    }

    fn record(self, tenant: &TenantId) -> Bytes {
        let (service, pod) = (self.service(), self.pod());
        let record = Record {
            labels: vec![("__name__", "cpu"), ("pod", &pod), ("service_name", &service)],
            sample_types: vec![("cpu", "ns"), ("samples", "count")],
            strings: vec!["", "main", "work"],
            functions: vec![
                Function { name: 1, ..Function::default() },
                Function { name: 2, ..Function::default() },
            ],
            lines: vec![Line { function: 0, line: 1 }, Line { function: 1, line: 2 }],
            locations: vec![
                Location { line_count: 1, ..Location::default() },
                Location { first_line: 1, line_count: 1, ..Location::default() },
            ],
            frames: vec![0, 1],
            stack_ends: vec![2],
            values: vec![self.value(0), self.value(1)],
            ..Record::default()
        };
        let header = RecordHeader {
            tenant: tenant.as_str(),
            // Two tenants never share one.
            rid: Rid(self.rid().0 | u128::from(*tenant == other()) << 64),
            service_hash: self.number % 4,
            series_hash: self.number % 12,
            time: self.time(),
        };
        let mut bytes = Vec::new();
        record::encode(&header, &record, &mut bytes).expect("fits");
        Bytes::from(bytes)
    }
}

pub struct World {
    dir: TempDir,
    pub ingester: Arc<Ingester>,
    pub querier: Querier,
    /// What compactors know.
    pub others: Arc<Catalog>,
    other_pushed: i64,
}

fn random() -> u128 {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let at = COUNTER.fetch_add(1, Ordering::Relaxed);
    u128::from(at).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn catalog(dir: &Path) -> Arc<Catalog> {
    let store = Store::open_folder(&dir.join("store"), StoreOptions::default()).expect("a store");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    Arc::new(Catalog::new(store, Arc::new(random), clock, CatalogOptions::default()))
}

impl World {
    pub async fn new() -> Self {
        Self::start(tempfile::tempdir().expect("a folder"), 0).await
    }

    async fn start(dir: TempDir, other_pushed: i64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let options = IngesterOptions {
            data_dir: dir.path().join("ingester"),
            instance: InstanceId(Arc::from("i")),
            wal_segment_bytes: 16 << 10,
            wal_quota_bytes: 1 << 30,
            wal_reserve_bytes: 0,
            wal_queue_bytes: 64 << 20,
            cut_bytes: 192 << 20,
            cut_age: Duration::from_secs(900),
            cut_min_bytes: 1 << 20,
            cut_age_max: Duration::from_secs(3600),
            remember_pushes: Duration::from_secs(1800),
            flush_timeout: Duration::from_secs(60),
            cells: Cells::Alone,
        };
        let deps = IngesterDeps {
            catalog: catalog(dir.path()),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock: Arc::clone(&clock),
            post: Arc::new(NoPost),
            rng: Arc::new(random),
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(2),
            pulses: Default::default(),
        };
        let ingester = Ingester::start(options, deps).expect("starts");
        let known = catalog(dir.path());
        let querier = Querier::new(QuerierDeps {
            store: known.store().clone(),
            catalog: known,
            heads: Arc::new(LocalHeads::new(vec![Arc::<Ingester>::clone(&ingester)])),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock,
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(2),
            disk_cache: None,
            symbols: SymbolOptions::default(),
            options: QuerierOptions { root_age: ROOT_AGE, ..QuerierOptions::default() },
        });
        let world = Self { others: catalog(dir.path()), dir, ingester, querier, other_pushed };
        while world.ingester.ready().is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        world
    }

    /// Another life on what a kill leaves: the folders as they lie there.
    pub async fn killed(self) -> Self {
        let left = tempfile::tempdir().expect("a folder");
        copy(self.dir.path(), left.path());
        Self::start(left, self.other_pushed).await
    }

    /// Pushes rows, and a row of another tenant.
    pub async fn push(&mut self, rows: &[Row]) {
        let mut records: Vec<Bytes> = rows.iter().map(|row| row.record(&tenant())).collect();
        records.push(rows[0].record(&other()));
        self.other_pushed += rows[0].value(0);
        let count = records.len();
        let outcomes = self.ingester.push(records).await.expect("taken");
        assert_eq!(outcomes, vec![PushOutcome::Acked; count]);
    }

    pub fn other_pushed(&self) -> i64 {
        self.other_pushed
    }

    pub async fn other_total(&self) -> i64 {
        let query = ProfileQuery {
            profile_type: ProfileType::new("cpu", "cpu", "ns", "", ""),
            selector: Selector::default(),
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        let asked = self.querier.ask(&[other()], &Question::Tree(query), Duration::from_secs(30)).await;
        let Answer::Tree(tree) = asked.expect("answers").0 else { panic!("a tree") };
        tree.checked_total().expect("fits")
    }

    pub async fn ask(&self, question: &Question) -> Answer {
        let asked = self.querier.ask(&[tenant()], question, Duration::from_secs(30)).await;
        let (answer, marks) = asked.expect("answers");
        assert!(marks.inexact.is_empty(), "{marks:?}");
        answer
    }

    /// What the querier remembers may be so old.
    pub async fn settle(&self) {
        tokio::time::sleep(ROOT_AGE).await;
    }

    pub async fn newest(&self) -> Option<Arc<RootView>> {
        self.others.newest(&tenant(), Duration::ZERO).await.expect("read")
    }

    /// Merges blocks without what is deleted, and uploads the outcome.
    pub async fn merge(&self, inputs: &[Arc<BlockEntry>], deletions: &[Deletion]) -> Vec<BlockEntry> {
        let mut readers = Vec::new();
        for entry in inputs {
            let folder = entry.folder(&tenant());
            let open = |name: &str| -> Arc<dyn RangeRead> {
                self.others.store().range_reader(format!("{folder}/{name}"), None)
            };
            readers.push(BlockReader::open(Arc::clone(entry), open).await.expect("opens"));
        }
        let readers: Vec<&BlockReader> = readers.iter().collect();
        let level = inputs.iter().map(|entry| entry.level).max().unwrap_or_default() + 1;
        let tombstones = deletions.iter().map(Deletion::tombstone).collect();
        let filter = RowFilter { tombstones, expiries: Vec::new() };
        let attempt = format!("{:08x}", random() as u32);
        let options = MergeOptions { attempt, ..MergeOptions::new(tenant(), level) };
        let mut sink = MemorySink::default();
        let merged = hearth_block::merge(&readers, &filter, &options, &mut sink).await.expect("merges");
        for (entry, block) in merged.blocks.iter().zip(sink.blocks) {
            for (name, bytes) in block.objects {
                let key = format!("{}/{name}", entry.folder(&tenant()));
                self.others.store().put(&key, bytes).await.expect("uploaded");
            }
        }
        merged.blocks
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).expect("copied"),
        }
    }
}
