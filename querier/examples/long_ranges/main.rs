//! Measures questions over weeks of compacted days, on a store in a folder.
//!
//! `long_ranges generate STORE [DAYS] [SERVICES] [ROUNDS] [LEVEL]`: publishes a block a day, as the compactor leaves them:
//! ROUNDS profiles of each of four pods of each service.
//! `long_ranges measure STORE [REPEATS] [WORDS]`: asks, only what has these words in its name; cold means that nothing is
//! open or known in the process.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

mod made;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_block::input::UnitSource;
use hearth_block::{BlockReader, BlockSpec, SourceRange, WriteOptions, write_block};
use hearth_catalog::{BlockEntry, Catalog, CatalogOptions, Commit};
use hearth_common::{
    BoxError, JournalId, Position, RangeRead, SystemClock, TenantId, TenantLimits, TimeRange,
};
use hearth_model::{Answer, ProfileQuery, ProfileType, Question, Selector, StepGrid};
use hearth_objstore::{Store, StoreOptions};
use hearth_querier::{LocalHeads, Querier, QuerierDeps, QuerierOptions, SymbolOptions};
use made::{DAY_MS, PODS, Service};
use prometheus_client::registry::Registry;

/// The day of the first block.
const FIRST_DAY: i32 = 20_000;
const HOUR_MS: i64 = 3_600_000;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u64| args.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
    match args[1].as_str() {
        "generate" => {
            let (days, services) = (number(3, 30) as i32, number(4, 200));
            generate(&args[2], days, services, number(5, 125), number(6, 16) as u8).await;
        }
        _ => measure(&args[2], number(3, 9), args.get(4).map_or("", String::as_str)).await,
    }
}

fn open(folder: &str) -> Store {
    let folder = std::path::absolute(Path::new(folder)).expect("a path");
    Store::open_folder(&folder, StoreOptions::default()).expect("a folder")
}

fn catalog(store: &Store) -> Catalog {
    let started = Instant::now();
    let rng = Arc::new(move || u128::from(std::process::id()) << 64 | started.elapsed().as_nanos());
    Catalog::new(store.clone(), rng, Arc::new(SystemClock::default()), CatalogOptions::default())
}

async fn generate(store: &str, days: i32, services: u64, rounds: u64, level: u8) {
    let (store, tenant) = (open(store), TenantId::anonymous());
    let catalog = catalog(&store);
    let journal = JournalId::parse("cell/1/one/000000000000000000000000000000aa/1").expect("a journal");
    for day in 0..days {
        let made: Vec<Service> =
            (0..services).map(|number| Service::new(number, FIRST_DAY + day, rounds)).collect();
        let units: Vec<&dyn UnitSource> = made.iter().map(|unit| unit as &dyn UnitSource).collect();
        let (after, upto) = (Position(day as u64), Position(day as u64 + 1));
        let source = SourceRange { journal: journal.clone(), after, upto };
        let spec =
            BlockSpec { tenant: tenant.clone(), day: FIRST_DAY + day, level, sources: vec![source.clone()] };
        // A merge of all blocks of the day gives the same bytes (ADR 7).
        let started = Instant::now();
        let block = write_block(&spec, &units, &WriteOptions { attempt: "a".to_owned() }).expect("writes");
        let took = started.elapsed().as_secs_f64();
        for (name, bytes) in &block.objects {
            let key = format!("{}/{name}", block.entry.folder(&tenant));
            store.put(&key, bytes.clone()).await.expect("written");
        }
        if day == 0 {
            let (profiles, samples) = (block.entry.profiles, block.entry.samples);
            println!("a day: {profiles} profiles, {samples} sample rows, written in {took:.2} s");
            block.entry.objects.iter().for_each(|o| println!("  {}: {} bytes", o.name, o.bytes));
        }
        let commit = Commit { ranges: vec![source], add: vec![block.entry], ..Commit::default() };
        assert!(catalog.publish(&tenant, &commit).await.expect("published").is_covered());
    }
    println!("{} profiles", days as u64 * services * PODS * rounds);
}

/// Everything that a process knows, new.
struct Fresh {
    querier: Querier,
    registry: Registry,
}

impl Fresh {
    fn new(folder: &str) -> Self {
        let store = open(folder);
        let mut registry = Registry::default();
        store.register_metrics(&mut registry);
        let querier = Querier::new(QuerierDeps {
            catalog: Arc::new(catalog(&store)),
            store,
            heads: Arc::new(LocalHeads::new(Vec::new())),
            limits: Arc::new(Arc::new(TenantLimits::default())),
            clock: Arc::new(SystemClock::default()),
            workers: hearth_node::workers(),
            turns: hearth_common::Turns::new(2),
            disk_cache: None,
            symbols: SymbolOptions::default(),
            options: QuerierOptions::default(),
        });
        querier.register_metrics(&mut registry);
        Self { querier, registry }
    }

    /// (calls that read, bytes read, rows decoded) so far.
    fn reads(&self) -> (u64, u64, u64) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a text");
        let sum = |name: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(name) && !line.contains("=\"iter\""));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        (
            sum("objstore_bucket_operations_total"),
            sum("objstore_bucket_operation_fetched_bytes_total"),
            sum("hearth_querier_block_rows"),
        )
    }

    async fn ask(&self, question: &Question) -> Answer {
        let (answer, marks) = self
            .querier
            .ask(&[TenantId::anonymous()], question, Duration::from_secs(60))
            .await
            .expect("answers");
        assert!(marks.inexact.is_empty(), "{marks:?}");
        answer
    }
}

async fn measure(folder: &str, repeats: u64, words: &str) {
    let store = open(folder);
    let view = catalog(&store).newest(&TenantId::anonymous(), Duration::ZERO).await.expect("read");
    let view = view.expect("a root");
    let days = view.blocks.len() as i32;
    let sum = |of: fn(&BlockEntry) -> u64| view.blocks.iter().map(|b| of(b)).sum::<u64>();
    println!(
        "{days} days, {} profiles, {} sample rows, {:.1} MB",
        sum(|b| b.profiles),
        sum(|b| b.samples),
        sum(BlockEntry::bytes) as f64 / 1e6
    );
    let asked = |days: i32| questions(days).into_iter().filter(|(what, _)| what.contains(words));
    for (what, question) in asked(1) {
        one_day(&store, &view.blocks[0], what, &question).await;
    }
    let mut spans: Vec<i32> = [1, 7, 14, 30].into_iter().filter(|span| *span < days).collect();
    spans.push(days);
    for days in spans {
        for (what, question) in asked(days) {
            several(folder, days, what, &question, repeats).await;
        }
    }
}

/// Times of a question over some days: with nothing open, and again.
async fn several(folder: &str, days: i32, what: &str, question: &Question, repeats: u64) {
    let (mut cold, mut warm) = (Times::default(), Times::default());
    let (mut cold_reads, mut warm_reads) = ((0, 0, 0), (0, 0, 0));
    for _ in 0..repeats {
        let fresh = Fresh::new(folder);
        cold.measure(fresh.ask(question)).await;
        cold_reads = fresh.reads();
        // The second time fills what the first left out, if anything.
        fresh.ask(question).await;
        let before = fresh.reads();
        for _ in 0..3 {
            warm.measure(fresh.ask(question)).await;
        }
        let after = fresh.reads();
        warm_reads = ((after.0 - before.0) / 3, (after.1 - before.1) / 3, (after.2 - before.2) / 3);
    }
    println!("{days:>3} days, {what:<34} cold {}; warm {}", cold.told(cold_reads), warm.told(warm_reads));
}

/// What one day costs in requests of a remote store: each part of each read.
async fn one_day(store: &Store, entry: &Arc<BlockEntry>, what: &str, question: &Question) {
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let folder = entry.folder(&TenantId::anonymous());
    let object = |name: &str| -> Arc<dyn RangeRead> {
        let bytes = entry.object(name).map(|object| object.bytes);
        let inner = store.range_reader(format!("{folder}/{name}"), bytes);
        Arc::new(Counting { inner, counts: Arc::clone(&counts) })
    };
    let read = || counts.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
    let reader = BlockReader::open(Arc::clone(entry), object).await.expect("opens");
    let [opening, opening_bytes] = read();
    drop(reader.prepare(question).await.expect("prepares").run().expect("answers"));
    let [cold, cold_bytes] = read();
    drop(reader.prepare(question).await.expect("prepares").run().expect("answers"));
    let [warm, warm_bytes] = read();
    println!(
        "one day, {what}: {} GETs cold ({opening} to open, {} kB; {cold} for the answer, {} kB), {warm} warm ({} kB)",
        opening + cold,
        opening_bytes / 1000,
        cold_bytes / 1000,
        warm_bytes / 1000
    );
}

/// Counts ranges and bytes.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn RangeRead>,
    counts: Arc<[AtomicU64; 2]>,
}

impl RangeRead for Counting {
    fn len_hint(&self) -> Option<u64> {
        self.inner.len_hint()
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        self.counts[0].fetch_add(ranges.len() as u64, Ordering::Relaxed);
        self.counts[1].fetch_add(ranges.iter().map(|r| r.end - r.start).sum(), Ordering::Relaxed);
        self.inner.read(ranges)
    }
}

#[derive(Default)]
struct Times {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

impl Times {
    async fn measure(&mut self, work: impl Future<Output = Answer>) {
        let (started, cpu) = (Instant::now(), cpu_ms());
        let answer = work.await;
        self.wall_ms.push(started.elapsed().as_secs_f64() * 1e3);
        self.cpu_ms.push(cpu_ms() - cpu);
        drop(answer);
    }

    fn told(mut self, (calls, bytes, rows): (u64, u64, u64)) -> String {
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let least = self.wall_ms.iter().copied().fold(f64::INFINITY, f64::min);
        format!(
            "{:.1} ms (least {least:.1}, CPU {:.1}; {calls} reads, {:.1} MB, {rows} rows)",
            median(&mut self.wall_ms),
            median(&mut self.cpu_ms),
            bytes as f64 / 1e6
        )
    }
}

/// CPU time of this process by the scheduler's clock.
fn cpu_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of_task = |task: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|task| of_task(task.ok()?)).sum::<f64>() / 1e6
}

/// Questions about the first days.
fn questions(days: i32) -> Vec<(&'static str, Question)> {
    let start_ms = i64::from(FIRST_DAY) * DAY_MS;
    let end_ms = start_ms + i64::from(days) * DAY_MS;
    let query = |selector: &str, start_ms: i64| ProfileQuery {
        profile_type: ProfileType::new("process_cpu", "cpu", "nanoseconds", "cpu", "nanoseconds"),
        selector: Selector::parse(selector).expect("valid"),
        range: TimeRange::from_ms(start_ms, end_ms),
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    };
    let points = |selector: &str, group_by: &[&str], step_ms: i64| {
        let grid = StepGrid::new(start_ms, end_ms, step_ms);
        let group_by = group_by.iter().map(|name| (*name).to_owned()).collect();
        Question::Points { query: query(selector, start_ms - step_ms), group_by, grid }
    };
    let one = r#"{service_name="svc-007"}"#;
    let team = r#"{service_name="svc-007",namespace="team-7"}"#;
    vec![
        ("flame graph of a service", Question::Tree(query(one, start_ms))),
        ("flame graph of a service, a label", Question::Tree(query(team, start_ms))),
        ("flame graph, odd hours", Question::Tree(query(one, start_ms + 7 * HOUR_MS / 2))),
        ("pprof of a service", Question::Pprof(query(one, start_ms))),
        ("series by service, 1 h", points("{}", &["service_name"], HOUR_MS)),
        ("series of a service, 1 h", points(one, &[], HOUR_MS)),
        ("series by service, 97 s", points("{}", &["service_name"], 97_000)),
    ]
}
