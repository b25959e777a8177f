//! A bucket with real blocks of made-up profiles, a clock that the test sets, and a store that can fail.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

#[path = "../../../common/block/tests/support/mod.rs"]
pub mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use hearth_block::input::BlockSpec;
use hearth_block::{BlockReader, verify};
use hearth_catalog::{BlockEntry, Catalog, CatalogOptions, Commit, RootView, SourceRange};
use hearth_common::limits::RetentionRule;
use hearth_common::units::GoDuration;
use hearth_common::{
    Clock, JournalId, Position, SystemClock, TenantId, TenantLimits, TimeRange, TimestampNs,
};
use hearth_compactor::{
    Alone, Compactor, CompactorDeps, CompactorOptions, MergingOptions, Owners, PlanOptions,
};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use hearth_objstore::{Fault, Faults, Operation, Store, StoreOptions};
use support::naive::{self, Plain};
use support::{DAY, DAY_START_NS, Head, Profile};

/// The end of the day that all profiles are of.
pub const DAY_END_NS: i64 = DAY_START_NS + 86_400_000_000_000;
pub const HOUR: Duration = Duration::from_secs(3600);

/// Stands still until the test moves it.
#[derive(Debug)]
pub struct SetClock {
    now_ns: AtomicI64,
    real: SystemClock,
}

impl Clock for SetClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(self.now_ns.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + Duration::from_nanos(self.now_ns.load(Ordering::Relaxed) as u64)
    }
}

/// Fails every call from some point on, as if the process had died, or some of them.
#[derive(Debug)]
pub struct Broken {
    /// Calls that still succeed.
    pub left: AtomicI64,
    /// Of the calls after that, these out of a hundred fail.
    pub percent: u64,
    /// Only ranges of objects fail; roots and pages can be read.
    pub only_ranges: AtomicBool,
    pub seed: AtomicU64,
    dates: Arc<Dates>,
}

impl Faults for Broken {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        self.dates.note(operation, key);
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let mut random = support::Random(seed);
        let spared = self.only_ranges.load(Ordering::Relaxed) && operation != Operation::GetRange;
        let fails =
            !spared && self.left.fetch_sub(1, Ordering::Relaxed) <= 0 && random.below(100) < self.percent;
        // A process that dies may have been heard.
        let write = matches!(operation, Operation::Upload | Operation::Create | Operation::Delete);
        let fault = match random.below(3) {
            _ if !fails => Fault::None,
            0 if write => Fault::FailAfter,
            1 if write => Fault::FailThenApply { turns: random.below(50) as u32 },
            _ => Fault::FailBefore,
        };
        Box::pin(std::future::ready(fault))
    }

    fn modified(&self, key: &str) -> Option<TimestampNs> {
        self.dates.modified(key)
    }
}

/// The store's dates follow the test's clock.
#[derive(Debug)]
struct Dates {
    clock: Arc<SetClock>,
    written: Mutex<BTreeMap<String, TimestampNs>>,
}

impl Dates {
    fn note(&self, operation: Operation, key: &str) {
        if matches!(operation, Operation::Upload | Operation::Create) {
            self.written.lock().unwrap().insert(key.to_owned(), self.clock.now());
        }
    }
}

impl Faults for Dates {
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault> {
        self.note(operation, key);
        Box::pin(std::future::ready(Fault::None))
    }

    fn modified(&self, key: &str) -> Option<TimestampNs> {
        self.written.lock().unwrap().get(key).copied()
    }
}

pub struct Bucket {
    /// Never fails.
    pub store: Store,
    pub clock: Arc<SetClock>,
    dates: Arc<Dates>,
    /// Of the next compactors.
    pub retention: Mutex<Vec<RetentionRule>>,
    pub tenant: TenantId,
    positions: AtomicU64,
    unique: Arc<AtomicU64>,
}

pub fn journal() -> JournalId {
    JournalId::parse("cell/1/one/000000000000000000000000000000aa/1").expect("a journal")
}

impl Bucket {
    pub fn new() -> Self {
        Self::at("memory:")
    }

    /// In a store of this URL; the time is the middle of the day.
    pub fn at(url: &str) -> Self {
        let clock = SetClock {
            now_ns: AtomicI64::new(DAY_START_NS + 43_200_000_000_000),
            real: SystemClock::default(),
        };
        let clock = Arc::new(clock);
        let dates = Arc::new(Dates { clock: Arc::clone(&clock), written: Mutex::default() });
        let faults: Arc<dyn Faults> = Arc::<Dates>::clone(&dates);
        let store =
            Store::open(url, StoreOptions { faults: Some(faults), ..StoreOptions::default() }).unwrap();
        let tenant = TenantId::anonymous();
        Self {
            store,
            clock,
            dates,
            retention: Mutex::default(),
            tenant,
            positions: AtomicU64::new(0),
            unique: Arc::new(AtomicU64::new(1)),
        }
    }

    /// From now on the next compactors keep profiles of a selector only from a time on.
    pub fn keep_from(&self, selector: &str, from: TimestampNs) {
        let now_ns = self.clock.now_ns.load(Ordering::Relaxed);
        let period = GoDuration(Duration::from_nanos((now_ns - from.0) as u64));
        *self.retention.lock().unwrap() = vec![RetentionRule { selector: selector.to_owned(), period }];
    }

    pub fn set_time(&self, now_ns: i64) {
        self.clock.now_ns.store(now_ns, Ordering::Relaxed);
    }

    pub fn pass(&self, time: Duration) {
        self.clock.now_ns.fetch_add(time.as_nanos() as i64, Ordering::Relaxed);
    }

    /// What another process would have: its own memory of roots.
    pub fn catalog(&self) -> Catalog {
        self.catalog_over(self.store.clone())
    }

    fn catalog_over(&self, store: Store) -> Catalog {
        let unique = Arc::clone(&self.unique);
        let rng = Arc::new(move || {
            let n = unique.fetch_add(1, Ordering::Relaxed);
            u128::from(support::Random(n).next()) << 64 | u128::from(n)
        });
        let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&self.clock);
        Catalog::new(store, rng, clock, CatalogOptions::default())
    }

    /// Calls that go on to fail, and the store that they fail in.
    pub fn broken(&self, calls: i64, percent: u64, seed: u64) -> (Arc<Broken>, Store) {
        let seed = AtomicU64::new(seed << 32);
        let broken = Arc::new(Broken {
            left: AtomicI64::new(calls),
            only_ranges: AtomicBool::new(false),
            percent,
            seed,
            dates: Arc::clone(&self.dates),
        });
        let faults: Arc<dyn Faults> = Arc::<Broken>::clone(&broken);
        let store = self.store.with_faults(faults);
        (broken, store)
    }

    pub fn compactor(&self, options: CompactorOptions) -> Compactor {
        self.compactor_over(self.store.clone(), options, Arc::new(Alone))
    }

    pub fn compactor_over(
        &self,
        store: Store,
        options: CompactorOptions,
        owners: Arc<dyn Owners>,
    ) -> Compactor {
        let unique = Arc::clone(&self.unique);
        let limits = TenantLimits {
            compactor_blocks_retention_period: GoDuration::from_secs(0),
            retention: self.retention.lock().unwrap().clone(),
            ..TenantLimits::default()
        };
        let deps = CompactorDeps {
            catalog: Arc::new(self.catalog_over(store)),
            limits: Arc::new(Arc::new(limits)),
            clock: Arc::<SetClock>::clone(&self.clock),
            rng: Arc::new(move || u128::from(support::Random(unique.fetch_add(1, Ordering::Relaxed)).next())),
            workers: Some(Arc::new(|job| drop(tokio::task::spawn_blocking(job)))),
            owners,
            pulses: Default::default(),
        };
        Compactor::new(deps, options)
    }

    /// Publishes profiles as a fresh block.
    pub async fn publish(&self, profiles: &[Profile]) -> BlockEntry {
        let after = self.positions.fetch_add(1, Ordering::Relaxed);
        let range = SourceRange { journal: journal(), after: Position(after), upto: Position(after + 1) };
        let sources = vec![range.clone()];
        let spec = BlockSpec { tenant: self.tenant.clone(), day: DAY, level: 0, sources };
        let block = Head::of(profiles).write_as(&spec).unwrap();
        let folder = block.entry.folder(&self.tenant);
        for (name, bytes) in &block.objects {
            self.store.put(&format!("{folder}/{name}"), bytes.clone()).await.unwrap();
        }
        let ranges = vec![range];
        let newest = self.catalog().newest(&self.tenant, Duration::ZERO).await.unwrap();
        let deletions = newest.map(|view| view.deletions_beyond(&ranges)).unwrap_or_default();
        let add = vec![block.entry.clone()];
        let commit = Commit { ranges, add, deletions, ..Commit::default() };
        assert!(self.catalog().publish(&self.tenant, &commit).await.unwrap().is_covered());
        block.entry
    }

    pub async fn view(&self) -> Arc<RootView> {
        self.catalog().newest(&self.tenant, Duration::ZERO).await.unwrap().unwrap()
    }

    /// The answer of all blocks that the newest root names.
    pub async fn ask(&self, question: &Question) -> Plain {
        let mut whole = Answer::empty(question);
        for entry in &self.view().await.blocks {
            let folder = entry.folder(&self.tenant);
            let objects = |name: &str| self.store.range_reader(format!("{folder}/{name}"), None);
            let reader = BlockReader::open(Arc::clone(entry), objects).await.unwrap();
            whole.merge(reader.prepare(question).await.unwrap().run().unwrap()).unwrap();
        }
        naive::plain(&whole)
    }

    /// Every question is answered as from the profiles themselves.
    pub async fn answers_as(&self, profiles: &[Profile]) -> Result<(), String> {
        for question in questions(profiles) {
            let (found, wanted) = (self.ask(&question).await, naive::answer(profiles, &question));
            if found != wanted {
                return Err(format!("{question:?}\nfound {found:?}\nnot {wanted:?}"));
            }
        }
        Ok(())
    }

    /// Root, pages, objects and every row of every block fit together; returns how many blocks and pages nothing names.
    pub async fn audit(&self) -> u64 {
        let audit = self.catalog().audit(&self.tenant).await.unwrap();
        assert_eq!(audit.findings, []);
        for entry in &audit.blocks {
            let mut objects = Vec::new();
            for object in &entry.objects {
                let key = format!("{}/{}", entry.folder(&self.tenant), object.name);
                objects.push((object.name.clone(), self.store.get(&key, 1 << 30).await.unwrap()));
            }
            verify(entry, &objects).unwrap();
        }
        audit.unnamed
    }

    /// Lets a compactor collect until nothing is left that no root names.
    pub async fn collect_all(&self) {
        let compactor = self.compactor(options());
        self.pass(25 * HOUR);
        compactor.run_once(&self.tenant).await.unwrap();
        self.pass(3 * HOUR);
        compactor.run_once(&self.tenant).await.unwrap();
        let view = self.view().await;
        let named: BTreeSet<String> = view.blocks.iter().map(|b| b.folder(&self.tenant)).collect();
        let stored: BTreeSet<String> = self
            .store
            .list("t/anonymous/blocks")
            .await
            .unwrap()
            .into_iter()
            .map(|o| o.key.rsplit_once('/').unwrap().0.to_owned())
            .collect();
        assert_eq!(stored, named, "no orphan is left, and nothing is missing");
    }

    /// Damages an object all over: a merge does not read what is only there for SQL.
    pub async fn spoil(&self, key: &str) {
        let mut bytes = self.store.get(key, 1 << 30).await.unwrap().to_vec();
        bytes.iter_mut().step_by(16).for_each(|byte| *byte ^= 0x40);
        self.store.put(key, bytes).await.unwrap();
    }
}

/// Small blocks are merged two at a time, and outputs are cut into parts.
pub fn options() -> CompactorOptions {
    CompactorOptions {
        plan: PlanOptions { merge_blocks: 2, inputs_max: 64, ..PlanOptions::default() },
        merging: MergingOptions { target_output_bytes: 1 << 10, ..MergingOptions::default() },
        ..CompactorOptions::default()
    }
}

/// Trees, samples and points of every type, and all series.
pub fn questions(profiles: &[Profile]) -> Vec<Question> {
    let everything = || Selector::parse("{}").unwrap();
    let range = TimeRange { start: TimestampNs(DAY_START_NS), end: TimestampNs(DAY_END_NS) };
    let types: BTreeSet<ProfileType> = profiles
        .iter()
        .map(|p| {
            let [a, b, c, d] = &p.sample_type;
            ProfileType::new(&p.name, a, b, c, d)
        })
        .collect();
    let mut all = vec![Question::Series { range: Some(range), matchers: vec![], label_names: vec![] }];
    for profile_type in types {
        let query = ProfileQuery {
            profile_type,
            selector: everything(),
            range,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        all.push(Question::Tree(query.clone()));
        all.push(Question::Pprof(query));
    }
    all
}

/// Each profile once.
pub fn distinct(profiles: &[Profile]) -> Vec<Profile> {
    let mut once: BTreeMap<(u128, String, [String; 4]), Profile> = BTreeMap::new();
    for profile in profiles {
        once.insert((profile.rid, profile.name.clone(), profile.sample_type.clone()), profile.clone());
    }
    once.into_values().collect()
}
