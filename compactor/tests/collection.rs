//! Collection on a store in memory, with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_catalog::{BlockEntry, Catalog, CatalogOptions, Commit, ObjectEntry, SourceRange};
use hearth_common::units::GoDuration;
use hearth_common::{
    BlockId, CellId, Clock, DiskId, Incarnation, InstanceId, JournalId, MemberId, Position, SystemClock,
    TenantId, TenantLimits, TimestampNs,
};
use hearth_compactor::{Alone, Collected, Compactor, CompactorDeps, CompactorOptions};
use hearth_objstore::{Store, StoreOptions};

const DAY: i64 = 86_400_000_000_000;

/// The machine's clock and an offset: the store's dates are the machine's.
#[derive(Debug, Default)]
struct MovedClock {
    by_ns: AtomicI64,
    real: SystemClock,
}

impl Clock for MovedClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(self.real.now().0 + self.by_ns.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + Duration::from_nanos(self.by_ns.load(Ordering::Relaxed) as u64)
    }
}

struct Fixture {
    store: Store,
    clock: Arc<MovedClock>,
    catalog: Arc<Catalog>,
    tenant: TenantId,
    journal: JournalId,
}

impl Fixture {
    fn new() -> Self {
        let store = Store::open("memory:", StoreOptions::default()).expect("opens");
        let clock = Arc::new(MovedClock::default());
        let next = AtomicU64::new(1);
        let rng = Arc::new(move || u128::from(next.fetch_add(1, Ordering::Relaxed)));
        let shared: Arc<dyn Clock> = Arc::<MovedClock>::clone(&clock);
        let catalog = Arc::new(Catalog::new(store.clone(), rng, shared, CatalogOptions::default()));
        let instance = InstanceId("one".into());
        let journal = JournalId {
            cell: CellId(instance.clone()),
            epoch: 1,
            owner: MemberId { instance, disk: DiskId(7) },
            incarnation: Incarnation(1),
        };
        Self { store, clock, catalog, tenant: TenantId::parse("a").expect("valid"), journal }
    }

    fn compactor(&self, retention: &str, options: CompactorOptions) -> Compactor {
        let limits = TenantLimits {
            compactor_blocks_retention_period: GoDuration::parse(retention).expect("valid"),
            ..TenantLimits::default()
        };
        let clock: Arc<dyn Clock> = Arc::<MovedClock>::clone(&self.clock);
        let deps = CompactorDeps {
            catalog: Arc::clone(&self.catalog),
            limits: Arc::new(Arc::new(limits)),
            clock,
            rng: Arc::new(|| 1),
            workers: Some(Arc::new(|job| drop(tokio::task::spawn_blocking(job)))),
            owners: Arc::new(Alone),
            pulses: Default::default(),
        };
        Compactor::new(deps, options)
    }

    fn pass(&self, time: Duration) {
        self.clock.by_ns.fetch_add(time.as_nanos() as i64, Ordering::Relaxed);
    }

    fn block(&self, n: u64, max_time: TimestampNs) -> BlockEntry {
        BlockEntry {
            id: BlockId(u128::from(n)),
            attempt: "a1".to_owned(),
            format: 1,
            day: max_time.day(),
            level: 0,
            min_time: max_time,
            max_time,
            first_service: "s".to_owned(),
            last_service: "s".to_owned(),
            types: vec![],
            objects: vec![ObjectEntry { name: "index".to_owned(), bytes: 1, crc32c: 0 }],
            index_directory_offset: 0,
            profiles: 1,
            samples: 1,
            series: 1,
            units: 1,
            sources: vec![SourceRange {
                journal: self.journal.clone(),
                after: Position(n - 1),
                upto: Position(n),
            }],
        }
    }

    async fn upload(&self, block: &BlockEntry) {
        for object in ["index", "profiles.parquet"] {
            let key = format!("{}/{object}", block.folder(&self.tenant));
            self.store.put(&key, Bytes::from_static(b"x")).await.expect("puts");
        }
    }

    /// Publishes entry `n` as a block of its own.
    async fn publish(&self, n: u64, max_time: TimestampNs) -> BlockEntry {
        let block = self.block(n, max_time);
        self.upload(&block).await;
        let commit = Commit { ranges: block.sources.clone(), add: vec![block.clone()], ..Commit::default() };
        self.catalog.publish(&self.tenant, &commit).await.expect("publishes");
        block
    }

    async fn keys(&self, prefix: &str) -> usize {
        self.store.list(&format!("t/a/{prefix}")).await.expect("lists").len()
    }
}

#[tokio::test]
async fn retention_condemns_then_deletes_then_forgets() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    let old = fixture.publish(1, TimestampNs(now.0 - 3 * DAY)).await;
    fixture.publish(2, TimestampNs(now.0 - DAY / 2)).await;
    let compactor = fixture.compactor("2d", CompactorOptions::default());

    let first = compactor.run_once(&fixture.tenant).await.expect("runs");
    assert_eq!(first, Collected { expired_blocks: 1, ..Collected::default() });
    let view =
        fixture.catalog.newest(&fixture.tenant, Duration::ZERO).await.expect("reads").expect("has one");
    assert_eq!(view.blocks.len(), 1);
    assert_eq!(view.coverage(&fixture.journal), Position(2), "coverage does not care for retention");
    let path = format!("{}/", old.folder(&fixture.tenant));
    assert!(view.root.condemned.contains_key(&path));
    assert_eq!(fixture.keys("blocks").await, 4, "queries on older roots still read it");

    fixture.pass(Duration::from_secs(3600));
    assert_eq!(compactor.run_once(&fixture.tenant).await.expect("runs"), Collected::default());
    fixture.pass(Duration::from_secs(3700));
    let third = compactor.run_once(&fixture.tenant).await.expect("runs");
    assert_eq!(third, Collected { deleted_paths: 1, deleted_objects: 2, ..Collected::default() });
    let view =
        fixture.catalog.newest(&fixture.tenant, Duration::ZERO).await.expect("reads").expect("has one");
    assert_eq!((view.root.condemned.len(), fixture.keys("blocks").await), (0, 2));
}

#[tokio::test]
async fn retention_of_zero_keeps_for_ever() {
    let fixture = Fixture::new();
    fixture.publish(1, TimestampNs(DAY)).await;
    let done =
        fixture.compactor("0", CompactorOptions::default()).run_once(&fixture.tenant).await.expect("runs");
    assert_eq!(done, Collected::default());
}

#[tokio::test]
async fn orphans_go_after_their_grace_and_a_late_commit_of_one_aborts() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    fixture.publish(1, now).await;
    // Replaces the page of the day: the old page is an orphan too.
    fixture.publish(2, now).await;
    let late = fixture.block(3, now);
    fixture.upload(&late).await;
    let compactor = fixture.compactor("0", CompactorOptions::default());
    assert_eq!(compactor.run_once(&fixture.tenant).await.expect("runs"), Collected::default(), "young");
    fixture.pass(Duration::from_secs(25 * 3600));
    let done = compactor.run_once(&fixture.tenant).await.expect("runs");
    assert_eq!(done, Collected { condemned_orphans: 2, ..Collected::default() });
    let commit = Commit { ranges: late.sources.clone(), add: vec![late.clone()], ..Commit::default() };
    let refused = fixture.catalog.publish(&fixture.tenant, &commit).await.expect_err("condemned");
    assert!(refused.to_string().contains("condemned"), "{refused}");
    fixture.pass(Duration::from_secs(3 * 3600));
    let done = compactor.run_once(&fixture.tenant).await.expect("runs");
    assert_eq!((done.deleted_paths, done.deleted_objects), (2, 3));
    // The condemnation is forgotten, but the objects are gone: it must still not be named.
    let refused = fixture.catalog.publish(&fixture.tenant, &commit).await.expect_err("gone");
    assert!(refused.to_string().contains("not in the store"), "{refused}");
    assert_eq!((fixture.keys("blocks").await, fixture.keys("pages").await), (4, 1));
}

#[tokio::test]
async fn old_versions_go_but_never_the_newest() {
    let fixture = Fixture::new();
    for n in 1..=10 {
        fixture.publish(n, fixture.clock.now()).await;
    }
    let options = CompactorOptions {
        keep_versions: 4,
        orphan_grace: Duration::from_secs(u64::from(u32::MAX)),
        ..CompactorOptions::default()
    };
    let compactor = fixture.compactor("0", options);
    assert_eq!(compactor.run_once(&fixture.tenant).await.expect("runs"), Collected::default(), "young");
    fixture.pass(Duration::from_secs(25 * 3600));
    let done = compactor.run_once(&fixture.tenant).await.expect("runs");
    assert_eq!(done, Collected { deleted_versions: 6, ..Collected::default() });
    let left: Vec<u64> =
        fixture.catalog.versions(&fixture.tenant).await.expect("lists").iter().map(|v| v.version).collect();
    assert_eq!(left, [7, 8, 9, 10]);
    fixture.publish(11, fixture.clock.now()).await;
}

#[tokio::test]
async fn rounds_end_with_the_process() {
    let fixture = Fixture::new();
    fixture.publish(1, TimestampNs(DAY)).await;
    let compactor = fixture.compactor("1d", CompactorOptions::default());
    compactor.run(tokio::time::sleep(Duration::from_millis(100))).await;
    let view =
        fixture.catalog.newest(&fixture.tenant, Duration::ZERO).await.expect("reads").expect("has one");
    assert!(view.blocks.is_empty(), "the first round runs at once");
}
