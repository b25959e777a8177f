//! Totals are exact over kills, restarts, retries, cuts, damage, a failing store and a full disk.
//!
//! A kill is the folders as they lie there at that moment, copied: nothing of the first life can tidy up in the copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_block::BlockReader;
use hearth_catalog::{Catalog, CatalogOptions};
use hearth_cluster::{PushError, PushOutcome, PushTarget};
use hearth_common::{
    Clock, InstanceId, RangeRead, Rid, SystemClock, TenantId, TenantLimits, TimeRange, TimestampNs,
};
use hearth_formats::record::{self, Function, Line, Location, Record, RecordHeader};
use hearth_ingester::{Cells, Ingester, IngesterDeps, IngesterOptions, NoPost};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector};
use hearth_objstore::{Fault, Faults, Operation, Store, StoreOptions};
use hearth_query::{FetchAnswer, FetchRequest, HeadSource};
use tempfile::TempDir;

const DAY_NS: i64 = 19_676 * 86_400_000_000_000;

/// One life of an ingester.
struct Life {
    ingester: Arc<Ingester>,
    catalog: Arc<Catalog>,
}

#[derive(Debug, Clone, Default)]
struct Setup {
    quota_bytes: Option<u64>,
    limits: TenantLimits,
    /// Writes to the store that fail, applied or not, one after the other.
    failures: u32,
}

/// The first so many writes fail; every other one is applied nevertheless.
#[derive(Debug)]
struct Failing(AtomicU32);

impl Faults for Failing {
    fn next<'a>(&'a self, operation: Operation, _key: &'a str) -> BoxFuture<'a, Fault> {
        let write = matches!(operation, Operation::Upload | Operation::Create);
        let take = |left: u32| (write && left > 0).then(|| left - 1);
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        Box::pin(std::future::ready(match left {
            Ok(left) if left % 2 == 0 => Fault::FailAfter,
            Ok(_) => Fault::FailBefore,
            Err(_) => Fault::None,
        }))
    }
}

fn start(dir: &Path, setup: &Setup) -> Life {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let rng = || -> u128 {
        let at = COUNTER.fetch_add(1, Ordering::Relaxed);
        u128::from(at).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
    };
    let faults: Arc<dyn Faults> = Arc::new(Failing(AtomicU32::new(setup.failures)));
    let store_options = StoreOptions { faults: Some(faults), ..StoreOptions::default() };
    let store = Store::open_folder(&dir.join("store"), store_options).expect("a store");
    let options = CatalogOptions { only_publisher: true, ..CatalogOptions::default() };
    let catalog = Arc::new(Catalog::new(store, Arc::new(rng), Arc::clone(&clock), options));
    let options = IngesterOptions {
        data_dir: dir.join("ingester"),
        instance: InstanceId(Arc::from("i")),
        wal_segment_bytes: 16 << 10,
        wal_quota_bytes: setup.quota_bytes.unwrap_or(1 << 30),
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
    let limits = Arc::new(Arc::new(setup.limits.clone()));
    let deps = IngesterDeps {
        catalog: Arc::clone(&catalog),
        limits,
        clock,
        post: Arc::new(NoPost),
        rng: Arc::new(rng),
        workers: hearth_node::workers(),
        turns: hearth_common::Turns::new(2),
        pulses: Default::default(),
    };
    Life { ingester: Ingester::start(options, deps).expect("starts"), catalog }
}

/// What a kill leaves.
fn killed(dir: &Path) -> TempDir {
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
    let left = tempfile::tempdir().expect("a folder");
    copy(dir, left.path());
    left
}

fn value(number: u64) -> i64 {
    1 + (number % 7) as i64 * 100
}

/// Record `number`: its own rid, one of five services, days that alternate, `value(number)`.
fn record(number: u64) -> Bytes {
    let (service, pod) = (format!("service-{}", number % 5), format!("pod-{}", number % 3));
    let record = Record {
        labels: vec![("__name__", "cpu"), ("pod", &pod), ("service_name", &service)],
        sample_types: vec![("cpu", "ns")],
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
        values: vec![value(number)],
        ..Record::default()
    };
    let header = RecordHeader {
        tenant: if number.is_multiple_of(2) { "even" } else { "odd" },
        rid: Rid(u128::from(number) + 1),
        service_hash: number % 5,
        series_hash: number % 15,
        time: TimestampNs(DAY_NS + (number % 3) as i64 * 86_400_000_000_000),
    };
    let mut bytes = Vec::new();
    record::encode(&header, &record, &mut bytes).expect("fits");
    Bytes::from(bytes)
}

/// A record of tenant `even` with a location of so many lines as no block can hold.
fn unwritable(rid: u128) -> Bytes {
    let lines = vec![Line { function: 0, line: 1 }; 200_000];
    let record = Record {
        labels: vec![("__name__", "cpu"), ("service_name", "service-0")],
        sample_types: vec![("cpu", "ns")],
        strings: vec!["", "main"],
        functions: vec![Function { name: 1, ..Function::default() }],
        locations: vec![Location { line_count: lines.len() as u32, ..Location::default() }],
        lines,
        frames: vec![0],
        stack_ends: vec![1],
        values: vec![1],
        ..Record::default()
    };
    let time = TimestampNs(DAY_NS);
    let header = RecordHeader { tenant: "even", rid: Rid(rid), service_hash: 0, series_hash: 0, time };
    let mut bytes = Vec::new();
    record::encode(&header, &record, &mut bytes).expect("fits");
    Bytes::from(bytes)
}

fn sum(numbers: std::ops::Range<u64>) -> i64 {
    numbers.map(value).sum()
}

impl Life {
    async fn push(&self, numbers: std::ops::Range<u64>) {
        let count = numbers.clone().count();
        let outcomes = self.ingester.push(numbers.map(record).collect()).await.expect("taken");
        assert_eq!(outcomes, vec![PushOutcome::Acked; count]);
    }

    async fn ready(&self) {
        for _ in 0..2000 {
            if self.ingester.ready().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not ready: {:?}", self.ingester.ready());
    }

    /// As a querier does it: the newest root's blocks, and what heads hold beyond its coverage.
    async fn total_of(&self, tenant: &str) -> (i64, bool) {
        let tenant = TenantId::parse(tenant).expect("valid");
        let question = Question::Tree(ProfileQuery {
            profile_type: ProfileType::new("cpu", "cpu", "ns", "", ""),
            selector: Selector::default(),
            range: TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        });
        for _ in 0..2000 {
            let view = self.catalog.newest(&tenant, Duration::ZERO).await.expect("a root or none");
            let mut request = FetchRequest {
                tenant: tenant.clone(),
                question: question.clone(),
                root_version: 0,
                coverage: BTreeMap::new(),
                drained: BTreeMap::new(),
                deletions: Vec::new(),
                timeout: Duration::from_secs(10),
            };
            if let Some(view) = &view {
                request.root_version = view.version();
                let coverage = &view.root.coverage;
                request.coverage = coverage.positions().map(|(j, at)| (j.clone(), at)).collect();
                request.drained = coverage.drained().map(|(owner, upto)| (owner.to_owned(), upto)).collect();
            }
            let (mut whole, inexact) = match self.ingester.fetch(request).await.expect("answers") {
                FetchAnswer::Answered { partial, inexact, .. } => (partial, inexact.is_some()),
                FetchAnswer::NeedFresh { .. } => continue,
                // It has just begun to lead.
                FetchAnswer::NotReady(_) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
            };
            for entry in view.iter().flat_map(|view| &view.blocks) {
                let folder = entry.folder(&tenant);
                let open = |name: &str| -> Arc<dyn RangeRead> {
                    self.catalog.store().range_reader(format!("{folder}/{name}"), None)
                };
                let reader = BlockReader::open(Arc::clone(entry), open).await.expect("opens");
                let part = reader.prepare(&question).await.expect("reads").run().expect("answers");
                whole.merge(part).expect("same kind");
            }
            let Answer::Tree(tree) = whole else { panic!("a tree") };
            return (tree.checked_total().expect("fits"), inexact);
        }
        panic!("no answer: the ingester is not ready, or asks for ever newer roots");
    }

    async fn total(&self) -> i64 {
        self.total_of("even").await.0 + self.total_of("odd").await.0
    }

    async fn is_inexact(&self) -> bool {
        self.total_of("even").await.1
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(dir.join("ingester/wal")).expect("listed");
    let mut all: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_once_over_kills_retries_and_cuts() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = start(dir.path(), &Setup::default());
    one.push(0..60).await;
    one.push(30..80).await;
    assert_eq!(one.total().await, sum(0..80), "visible at the ack, retries once");

    let left = killed(dir.path());
    let two = start(left.path(), &Setup::default());
    // At once: what was taken before is known from the headers, while records are still being built.
    two.push(70..90).await;
    two.ready().await;
    assert_eq!(two.total().await, sum(0..90));
    two.ingester.flush().await.expect("published");
    assert_eq!(two.total().await, sum(0..90));
    two.push(0..90).await;
    assert_eq!(two.total().await, sum(0..90), "retries of what is published");

    let left = killed(left.path());
    let three = start(left.path(), &Setup::default());
    three.ready().await;
    three.push(0..95).await;
    assert_eq!(three.total().await, sum(0..95), "retries after a cut and a kill");
    three.ingester.stop().await.expect("a clean stop");
    assert!(three.ingester.push(vec![record(1)]).await.is_err());

    // Life after life: what earlier lives published stays covered when their journals are drained.
    let mut count = 95;
    for _ in 0..3 {
        let next = start(left.path(), &Setup::default());
        next.ready().await;
        next.push(count - 20..count + 5).await;
        count += 5;
        assert_eq!(next.total().await, sum(0..count));
        next.ingester.stop().await.expect("a clean stop");
        assert_eq!(next.total().await, sum(0..count));
        let left_over = segments(left.path());
        let bytes: u64 = left_over.iter().map(|path| path.metadata().expect("there").len()).sum();
        assert!(
            left_over.len() == 1 && bytes < 1024,
            "a clean stop leaves a checkpoint and nothing to replay"
        );
    }
}

/// Or its tenant would publish nothing more, and the log would fill up for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_no_block_can_hold_is_left_out_and_kept_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    let life = start(dir.path(), &Setup::default());
    life.push(0..20).await;
    let outcome = life.ingester.push(vec![unwritable(1_000_000)]).await.expect("taken");
    assert_eq!(outcome, [PushOutcome::Acked], "only the block writer knows");
    life.push(20..33).await;
    life.ingester.flush().await.expect("published");
    assert_eq!((life.total().await, life.is_inexact().await), (sum(0..33), true));
    let aside = std::fs::read_dir(dir.path().join("ingester/quarantine")).expect("there").count();
    assert_eq!(aside, 1, "its bytes are kept");

    let left = killed(dir.path());
    let next = start(left.path(), &Setup::default());
    next.ready().await;
    next.push(30..40).await;
    next.ingester.flush().await.expect("published");
    assert_eq!(next.total().await, sum(0..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_root_is_damaged_keeps_no_other_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = start(dir.path(), &Setup::default());
    one.push(0..20).await;
    one.ingester.flush().await.expect("published");
    one.push(20..40).await;

    let left = killed(dir.path());
    let roots = std::fs::read_dir(left.path().join("store/t/odd/root")).expect("listed");
    let roots: Vec<PathBuf> = roots.map(|entry| entry.expect("an entry").path()).collect();
    let whole: Vec<Vec<u8>> = roots.iter().map(|path| std::fs::read(path).expect("read")).collect();
    roots.iter().for_each(|path| std::fs::write(path, b"no root").expect("written"));
    let two = start(left.path(), &Setup::default());
    two.ready().await;
    let even: i64 = (0..40).step_by(2).map(value).sum();
    assert_eq!(two.total_of("even").await.0, even);
    let error = two.ingester.flush().await.expect_err("one tenant cannot be published");
    assert!(error.contains("tenant odd"), "{error}");
    let published = two.catalog.newest(&TenantId::parse("even").expect("valid"), Duration::ZERO).await;
    assert_eq!(published.expect("read").expect("a root").version(), 2, "the other one is");

    for (path, bytes) in roots.iter().zip(whole) {
        std::fs::write(path, bytes).expect("written");
    }
    two.ingester.flush().await.expect("published");
    assert_eq!(two.total().await, sum(0..40), "nothing is lost, nothing counts twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_stay_exact_while_cuts_move_the_data() {
    let dir = tempfile::tempdir().expect("a folder");
    let life = Arc::new(start(dir.path(), &Setup::default()));
    life.ready().await;
    let (begun, acked) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let pusher = tokio::spawn({
        let (life, begun, acked) = (Arc::clone(&life), Arc::clone(&begun), Arc::clone(&acked));
        async move {
            for number in 0..400 {
                begun.fetch_add(value(number), Ordering::SeqCst);
                life.push(number..number + 1).await;
                acked.fetch_add(value(number), Ordering::SeqCst);
            }
        }
    });
    let flusher = tokio::spawn({
        let life = Arc::clone(&life);
        async move {
            for _ in 0..12 {
                life.ingester.flush().await.expect("published");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let mut asked = 0;
    while !(pusher.is_finished() && flusher.is_finished()) || asked < 10 {
        let before = acked.load(Ordering::SeqCst);
        let total = life.total().await;
        let after = begun.load(Ordering::SeqCst);
        assert!((before..=after).contains(&total), "{before} ≤ {total} ≤ {after}");
        asked += 1;
    }
    pusher.await.expect("pushed");
    flusher.await.expect("flushed");
    assert_eq!(life.total().await, sum(0..400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lies_about_its_writes_changes_no_total() {
    for failures in [1, 2, 3, 6] {
        let dir = tempfile::tempdir().expect("a folder");
        let life = start(dir.path(), &Setup { failures, ..Setup::default() });
        life.ready().await;
        life.push(0..40).await;
        let mut flushed = life.ingester.flush().await;
        assert_eq!(life.total().await, sum(0..40), "{failures} failures");
        for _ in 0..4 {
            if flushed.is_err() {
                flushed = life.ingester.flush().await;
            }
        }
        flushed.expect("published in the end");
        life.push(20..50).await;
        life.ingester.flush().await.expect("published");
        assert_eq!(life.total().await, sum(0..50), "{failures} failures");
        let left = killed(dir.path());
        let next = start(left.path(), &Setup::default());
        next.ready().await;
        assert_eq!(next.total().await, sum(0..50), "{failures} failures, after a kill");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut_and_damage_is_marked() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = start(dir.path(), &Setup::default());
    one.push(0..200).await;
    let whole = sum(0..200);

    let torn = killed(dir.path());
    let last = segments(torn.path()).pop().expect("a segment");
    let mut bytes = std::fs::read(&last).expect("read");
    bytes.extend_from_slice(&[0x5a; 37]);
    std::fs::write(&last, bytes).expect("written");
    let two = start(torn.path(), &Setup::default());
    two.ready().await;
    assert_eq!((two.total().await, two.is_inexact().await), (whole, false), "a torn tail loses nothing");

    let damaged = killed(dir.path());
    assert!(segments(damaged.path()).len() > 1, "the test needs a segment before the last");
    let first = segments(damaged.path()).remove(0);
    let mut bytes = std::fs::read(&first).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&first, bytes).expect("written");
    let three = start(damaged.path(), &Setup::default());
    three.ready().await;
    let total = three.total().await;
    assert!(total < whole && total >= whole - value(6), "one record is lost, not {}", whole - total);
    assert!(three.is_inexact().await);
    three.ingester.flush().await.expect("published");
    three.ingester.stop().await.expect("a clean stop");
    let four = start(damaged.path(), &Setup::default());
    four.ready().await;
    assert!(four.is_inexact().await, "marked until an operator accepts the loss");
    four.ingester.stop().await.expect("a clean stop");
    std::fs::remove_file(damaged.path().join("ingester/damage")).expect("removed");
    let five = start(damaged.path(), &Setup::default());
    five.ready().await;
    assert_eq!((five.total().await, five.is_inexact().await), (total, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_clearly_and_goes_on_after_a_flush() {
    let dir = tempfile::tempdir().expect("a folder");
    let life = start(dir.path(), &Setup { quota_bytes: Some(48 << 10), ..Setup::default() });
    let mut count = 0;
    let error = loop {
        match life.ingester.push(vec![record(count)]).await {
            Ok(outcomes) => assert_eq!(outcomes, [PushOutcome::Acked]),
            Err(error) => break error,
        }
        count += 1;
        assert!(count < 10_000, "the quota is never reached");
    };
    let PushError::Unavailable(text) = error else { panic!("{error}") };
    assert!(text.contains("quota"), "{text}");
    assert_eq!(life.total().await, sum(0..count));
    life.ingester.flush().await.expect("published");
    life.push(count..count + 10).await;
    assert_eq!(life.total().await, sum(0..count + 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_beyond_the_limit_and_bytes_that_are_no_record_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = TenantLimits { max_global_series_per_tenant: 2, ..TenantLimits::default() };
    let life = start(dir.path(), &Setup { limits, ..Setup::default() });
    let outcomes = life.ingester.push((0..6).map(record).collect()).await.expect("answered");
    let refused: Vec<&str> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            PushOutcome::Refused { reason, message, .. } => {
                assert!(message.starts_with("Maximum active series limit exceeded (2/2)"), "{message}");
                Some(*reason)
            }
            PushOutcome::Acked => None,
        })
        .collect();
    assert_eq!(refused, ["series_limit"; 2]);
    assert_eq!(life.total().await, sum(0..4));
    let error = life.ingester.push(vec![Bytes::from_static(b"not a record")]).await.expect_err("malformed");
    assert!(matches!(error, PushError::Malformed(_)), "{error}");
    assert_eq!(life.total().await, sum(0..4));
}
