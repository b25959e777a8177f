//! Measures writing and reading a block of profiles like those of the benchmark: `block_bench DIR [ROUNDS] [jitter] [out=FOLDER]`,
//! where DIR holds pprof files and FOLDER gets the block's objects.
#![allow(clippy::print_stdout, clippy::disallowed_methods, unreachable_pub, reason = "a measuring tool")]

#[path = "bench_profiles/mod.rs"]
mod bench_profiles;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_profiles::{PODS, SERVICES, build, load};
use futures::executor::block_on;
use hearth_block::BlockReader;
use hearth_common::range_read::InMemory;
use hearth_common::{RangeRead, TimeRange};
use hearth_model::{ProfileQuery, ProfileType, Question, Selector, StepGrid};
use support::DAY_START_NS;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rounds: u64 = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(60);
    let jitter = args.iter().any(|a| a == "jitter");
    let files = load(&args[1]);
    let head = build(&files, 0..rounds, jitter);
    let started = Instant::now();
    let block = head.write().expect("writes");
    let seconds = started.elapsed().as_secs_f64();
    let profiles = SERVICES * PODS * rounds;
    let (rows, total) = (block.entry.samples, block.entry.bytes());
    println!(
        "{profiles} profiles pushed, {} records, {rows} rows, {} series",
        block.entry.profiles, block.entry.series
    );
    println!("write: {seconds:.2} s, {:.1} ns/row", seconds * 1e9 / rows as f64);
    let per = |bytes: u64| bytes as f64 / profiles as f64;
    for object in &block.entry.objects {
        println!("  {}: {} bytes, {:.1} per profile", object.name, object.bytes, per(object.bytes));
    }
    println!("  all: {:.1} B per profile, {:.2} B per row", per(total), total as f64 / rows as f64);
    drop(head);
    if let Some(folder) = args.iter().find_map(|a| a.strip_prefix("out=")) {
        std::fs::create_dir_all(folder).expect("a folder");
        for (name, bytes) in &block.objects {
            std::fs::write(std::path::Path::new(folder).join(name), bytes).expect("written");
        }
    }
    measure(&block);
}

fn measure(block: &hearth_block::EncodedBlock) {
    let object = |name: &str| -> Arc<dyn RangeRead> {
        let found = block.objects.iter().find(|(object, _)| object == name);
        Arc::new(InMemory(found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()))
    };
    let started = Instant::now();
    let reader = block_on(BlockReader::open(Arc::new(block.entry.clone()), object)).expect("opens");
    println!("open: {:.2} ms, {} bytes", started.elapsed().as_secs_f64() * 1e3, reader.cached_bytes());
    for (what, question) in questions() {
        let (mut cold, mut best, mut best_prepare) = (Duration::ZERO, Duration::MAX, Duration::MAX);
        let (mut rows, mut fetched) = (0, 0);
        for round in 0..9 {
            let started = Instant::now();
            let prepared = block_on(reader.prepare(&question)).expect("prepares");
            let prepare = started.elapsed();
            (rows, fetched) = (prepared.rows(), prepared.fetched_bytes());
            let started = Instant::now();
            let answer = prepared.run().expect("answers");
            let run = started.elapsed();
            drop(answer);
            if round == 0 {
                cold = run;
            }
            (best, best_prepare) = (best.min(run), best_prepare.min(prepare));
        }
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        println!(
            "{what}: run {:.2} ms ({:.1} ns/row, cold {:.2} ms), prepare {:.2} ms; {rows} rows, {fetched} bytes",
            ms(best),
            ms(best) * 1e6 / rows.max(1) as f64,
            ms(cold),
            ms(best_prepare)
        );
    }
    println!("cached: {} bytes", reader.cached_bytes());
}

fn questions() -> Vec<(&'static str, Question)> {
    let cpu = ProfileType::new("process_cpu", "cpu", "nanoseconds", "cpu", "nanoseconds");
    let heap = ProfileType::new("memory", "alloc_space", "bytes", "space", "bytes");
    let query = |ty: &ProfileType, selector: &str| ProfileQuery {
        profile_type: ty.clone(),
        selector: Selector::parse(selector).expect("valid"),
        range: TimeRange::ALL,
        call_site: Vec::new(),
        spans: None,
        profile_ids: Vec::new(),
        native: false,
    };
    let start = DAY_START_NS / 1_000_000;
    let points = |selector: &str, group_by: &[&str]| Question::Points {
        query: query(&cpu, selector),
        group_by: group_by.iter().map(|s| (*s).to_owned()).collect(),
        grid: StepGrid::new(start, start + 900_000, 15_000),
    };
    let one = r#"{service_name="svc-000"}"#;
    let none = Vec::new;
    let part =
        ProfileQuery { range: TimeRange::from_ms(start + 100_000, start + 500_000), ..query(&cpu, "{}") };
    vec![
        ("tree fleet cpu", Question::Tree(query(&cpu, "{}"))),
        ("tree one service cpu", Question::Tree(query(&cpu, one))),
        ("tree fleet cpu, part of the time", Question::Tree(part)),
        ("tree one pod cpu", Question::Tree(query(&cpu, r#"{pod="svc-000-1"}"#))),
        ("tree fleet alloc_space", Question::Tree(query(&heap, "{}"))),
        ("pprof one service cpu", Question::Pprof(query(&cpu, one))),
        ("series by service", points("{}", &["service_name"])),
        ("series one service", points(one, &[])),
        ("label values pod", Question::LabelValues { name: "pod".to_owned(), range: None, matchers: none() }),
        (
            "series labels",
            Question::Series {
                range: None,
                matchers: none(),
                label_names: vec!["service_name".to_owned(), "__profile_type__".to_owned()],
            },
        ),
    ]
}
