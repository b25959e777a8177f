//! Measures the compactor on a store with blocks that `merge_bench cut` or `merge_bench generate` of hearth-block wrote.
//!
//! `compaction_bench publish FOLDER STORE`: publishes the blocks in a folder to a store.
//! `compaction_bench run STORE [BUDGET_MIB]`: merges all of it; what to run under a limit of memory.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_block::{OBJECTS, recover_entry};
use hearth_catalog::{Catalog, CatalogOptions, Commit};
use hearth_common::{Clock, SystemClock, TenantId, TenantLimits};
use hearth_compactor::{Alone, Compactor, CompactorDeps, CompactorOptions, MergingOptions, Random};
use hearth_objstore::{Store, StoreOptions};
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "publish" => publish(&args[2], &args[3]).await,
        _ => run(&args[2], args.get(3).and_then(|n| n.parse().ok()).unwrap_or(512)).await,
    }
}

fn open(folder: &str) -> Store {
    let folder = std::path::absolute(folder).expect("a path");
    Store::open_folder(&folder, StoreOptions::default()).expect("a folder")
}

fn random() -> Random {
    let started = Instant::now();
    Arc::new(move || u128::from(std::process::id()) << 64 | started.elapsed().as_nanos())
}

fn catalog(store: Store) -> Catalog {
    Catalog::new(store, random(), Arc::new(SystemClock::default()), CatalogOptions::default())
}

async fn publish(folder: &str, store: &str) {
    let (from, to, tenant) = (open(folder), open(store), TenantId::anonymous());
    let catalog = catalog(to.clone());
    let mut folders: Vec<String> = std::fs::read_dir(Path::new(folder))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort_by_key(|name| name.parse::<u64>().ok());
    for name in folders {
        let objects: Vec<(String, u64)> = OBJECTS
            .into_iter()
            .filter_map(|object| {
                let length = std::fs::metadata(Path::new(folder).join(&name).join(object)).ok()?.len();
                Some((object.to_owned(), length))
            })
            .collect();
        let open = |object: &str| from.range_reader(format!("{name}/{object}"), None);
        let entry = recover_entry(&tenant, "a", &objects, open).await.expect("a block");
        for (object, length) in &objects {
            let bytes = from.get(&format!("{name}/{object}"), *length).await.expect("read");
            to.put(&format!("{}/{object}", entry.folder(&tenant)), bytes).await.expect("written");
        }
        let commit = Commit { ranges: entry.sources.clone(), add: vec![entry], ..Commit::default() };
        catalog.publish(&tenant, &commit).await.expect("published");
    }
}

async fn run(store: &str, budget_mib: u64) {
    let (store, clock) = (open(store), Arc::new(SystemClock::default()));
    let mut registry = Registry::default();
    store.register_metrics(&mut registry);
    let catalog = Arc::new(catalog(store));
    let before = size(&catalog).await;
    let merging = MergingOptions { memory_budget_bytes: budget_mib << 20, ..MergingOptions::default() };
    let deps = CompactorDeps {
        catalog: Arc::clone(&catalog),
        limits: Arc::new(Arc::new(TenantLimits::default())),
        clock: Arc::<SystemClock>::clone(&clock),
        rng: random(),
        workers: Some(Arc::new(|job| drop(tokio::task::spawn_blocking(job)))),
        owners: Arc::new(Alone),
        pulses: Default::default(),
    };
    let compactor = Compactor::new(deps, CompactorOptions { merging, ..CompactorOptions::default() });
    compactor.register_metrics(&mut registry);
    let (started, cpu) = (clock.monotonic(), cpu_seconds());
    compactor.merge_all().await;
    let (wall, cpu) = ((clock.monotonic() - started).as_secs_f64(), cpu_seconds() - cpu);
    println!("(blocks, bytes, profiles, samples) {before:?} -> {:?}", size(&catalog).await);
    let speed = |seconds: f64| before.3 as f64 * 16.0 / seconds / 1e6;
    println!("{wall:.2} s, CPU {cpu:.2} s: {:.0} MB/s a core of 16-byte rows", speed(cpu));
    println!("peak resident {} MiB", peak_mib());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a text");
    let told = |line: &&str| {
        let figure = line.starts_with("hearth_compactor") && !line.contains("_bucket");
        let request =
            ["operations_total", "fetched_bytes", "sent_bytes"].iter().any(|name| line.contains(name));
        (figure || request) && !line.ends_with(" 0") && !line.starts_with('#')
    };
    text.lines().filter(told).for_each(|line| println!("  {line}"));
}

/// Blocks, their bytes, profiles and samples.
async fn size(catalog: &Catalog) -> (usize, u64, u64, u64) {
    let view = catalog.newest(&TenantId::anonymous(), Duration::ZERO).await.expect("read").expect("a root");
    let sum = |of: fn(&hearth_catalog::BlockEntry) -> u64| view.blocks.iter().map(|b| of(b)).sum();
    (view.blocks.len(), sum(hearth_catalog::BlockEntry::bytes), sum(|b| b.profiles), sum(|b| b.samples))
}

/// Peak resident memory of this process, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}
