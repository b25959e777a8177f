//! Measures the merge of blocks.
//!
//! `merge_bench bench DIR [ROUNDS] [BLOCKS] [jitter]`: profiles like those of the benchmark, cut by time into blocks.
//! `merge_bench cut DIR FOLDER [ROUNDS] [BLOCKS] [jitter]`: writes such blocks.
//! `merge_bench generate FOLDER [STACKS] [ROWS] [BLOCKS] [SERVICES]`: writes blocks of a tenant with many distinct stacks.
//! `merge_bench merge FOLDER`: merges the blocks in a folder into `FOLDER/out`, which is what to run under a limit.
#![allow(clippy::print_stdout, clippy::disallowed_methods, unreachable_pub, reason = "a measuring tool")]

#[path = "bench_profiles/mod.rs"]
mod bench_profiles;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bench_profiles::{PODS, SERVICES, build, load};
use bytes::Bytes;
use futures::executor::block_on;
use futures::future::BoxFuture;
use hearth_block::merge::{BlockSink, Counts, MemorySink, RowFilter, estimate_memory_bytes};
use hearth_block::{
    BlockEntry, BlockReader, BlockSpec, EncodedBlock, INDEX, MergeOptions, ObjectEntry, PROFILES, SAMPLES,
    SPANS, SourceRange, merge, verify,
};
use hearth_common::{BoxError, JournalId, Position, RangeRead, TenantId, TimestampNs};
use hearth_model::Labels;
use support::{DAY, DAY_START_NS, Head, Location, Random, open, spec};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u64| args.get(at).and_then(|n| n.parse().ok()).unwrap_or(default);
    match args[1].as_str() {
        "bench" => bench(&args[2], number(3, 60), number(4, 6), args.iter().any(|a| a == "jitter")),
        "cut" => {
            let (folder, files) = (Path::new(&args[3]), load(&args[2]));
            let (rounds, blocks) = (number(4, 60), number(5, 6));
            for at in 0..blocks {
                let rounds = at * rounds / blocks..(at + 1) * rounds / blocks;
                let head = build(&files, rounds, args.iter().any(|a| a == "jitter"));
                store(&head.write_as(&fresh(at)).expect("writes"), &folder.join(at.to_string()));
            }
        }
        "generate" => {
            let (stacks, rows) = (number(3, 5_000_000), number(4, 20_000_000));
            generate(Path::new(&args[2]), stacks, rows, number(5, 10), number(6, 50));
        }
        _ => merge_folder(Path::new(&args[2]), number(3, 512)),
    }
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

fn report(counts: &Counts, wall: f64, cpu: f64) {
    let Counts { samples_in, samples_out, rows_in, rows_out, bytes_in, bytes_out, stacks_out, .. } = *counts;
    println!(
        "profile rows {rows_in} -> {rows_out}, samples {samples_in} -> {samples_out}, {stacks_out} stacks"
    );
    println!("bytes {bytes_in} -> {bytes_out}");
    let speed = |seconds: f64| samples_in as f64 * 16.0 / seconds / 1e6;
    println!(
        "{wall:.2} s ({:.0} MB/s of 16-byte rows), CPU {cpu:.2} s ({:.0} MB/s a core, {:.1} ns a row)",
        speed(wall),
        speed(cpu),
        cpu * 1e9 / samples_in as f64
    );
    println!("peak resident {} MiB", peak_mib());
}

fn bench(profiles: &str, rounds: u64, blocks: u64, jitter: bool) {
    let files = load(profiles);
    let blocks: Vec<EncodedBlock> = (0..blocks)
        .map(|at| {
            build(&files, at * rounds / blocks..(at + 1) * rounds / blocks, jitter).write().expect("writes")
        })
        .collect();
    let readers: Vec<BlockReader> = blocks.iter().map(|block| open(block).expect("opens")).collect();
    let readers: Vec<&BlockReader> = readers.iter().collect();
    let options = MergeOptions::new(TenantId::anonymous(), 1);
    println!("estimated memory {} MiB", estimate_memory_bytes(&readers, &options) >> 20);
    let mut best: Option<(f64, f64)> = None;
    let mut counts = Counts::default();
    for round in 0..3 {
        let (mut sink, started, cpu) = (MemorySink::default(), Instant::now(), cpu_seconds());
        let merged = block_on(merge(&readers, &RowFilter::default(), &options, &mut sink)).expect("merges");
        let took = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        best = Some(best.map_or(took, |best| if took.1 < best.1 { took } else { best }));
        counts = merged.counts;
        if round == 0 {
            let block = &sink.blocks[0];
            verify(&merged.blocks[0], &block.objects).expect("a good block");
            for object in &merged.blocks[0].objects {
                println!(
                    "  {}: {} bytes, {:.1} a profile",
                    object.name,
                    object.bytes,
                    object.bytes as f64 / (SERVICES * PODS * rounds) as f64
                );
            }
        }
    }
    let (wall, cpu) = best.unwrap_or_default();
    let pushed = (SERVICES * PODS * rounds) as f64;
    println!(
        "{pushed} profiles: {:.1} B a profile before, {:.1} B after",
        counts.bytes_in as f64 / pushed,
        counts.bytes_out as f64 / pushed
    );
    report(&counts, wall, cpu);
}

/// Writes `count` blocks; each has its share of `rows` over all `stacks` stacks.
fn generate(folder: &Path, stacks: u64, rows: u64, count: u64, services: u64) {
    for block in 0..count {
        let mut head = Head::default();
        for service in 0..services {
            generate_service(&mut head, block, service, stacks / services, rows / services / count);
        }
        let written = head.write_as(&fresh(block)).expect("writes");
        store(&written, &folder.join(block.to_string()));
        println!("block {block}: {} samples, {} bytes", written.entry.samples, written.entry.bytes());
    }
}

/// What a block is of that holds the n-th entry of a journal.
fn fresh(n: u64) -> BlockSpec {
    let journal = JournalId::parse("cell/1/one/000000000000000000000000000000aa/1").expect("a journal");
    let sources = vec![SourceRange { journal, after: Position(n), upto: Position(n + 1) }];
    BlockSpec { sources, ..spec() }
}

fn store(block: &EncodedBlock, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (name, bytes) in &block.objects {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
}

/// Functions of a service.
const FUNCTIONS: u64 = 20_000;
/// Samples of a profile.
const PROFILE_SAMPLES: u64 = 4_000;

fn generate_service(head: &mut Head, block: u64, service: u64, stacks: u64, rows: u64) {
    let name = format!("svc-{service:03}");
    let unit = head.unit("process_cpu", &name);
    let functions: Vec<u32> = (0..FUNCTIONS)
        .map(|at| {
            let function = format!("example.com/team{}/{name}/package{}.Function{at}", at % 10, at % 300);
            let file = format!("/src/team{}/package{}.go", at % 10, at % 300);
            let lines =
                vec![(function.clone(), function, file, (at % 900) as i64, (at % 900 + at % 17) as i64)];
            unit.location(&Location { mapping: None, address: 0, lines })
        })
        .collect();
    let labels = Labels::from_pairs([("__name__", "process_cpu"), ("service_name", &*name), ("pod", "p")]);
    let ty = ["cpu", "nanoseconds", "cpu", "nanoseconds"].map(str::to_owned);
    let mut random = Random(block << 32 | service);
    let mut path = Vec::new();
    for profile in 0..rows.div_ceil(PROFILE_SAMPLES) {
        let mut samples = std::collections::BTreeMap::new();
        while samples.len() < PROFILE_SAMPLES.min(rows) as usize {
            let stack = random.below(stacks);
            path.clear();
            // Three frames for each digit of the stack's number: neighbours share all but the last.
            let mut part = 100_000_000u64;
            while part > 0 {
                if stacks > part {
                    let prefix = stack / part;
                    path.extend((0..3).map(|frame| {
                        functions[(Random(prefix * 31 + part * 7 + frame).next() % FUNCTIONS) as usize]
                    }));
                }
                part /= 10;
            }
            // The last digit alone does not tell stacks apart once names repeat.
            path.push(functions[(stack % FUNCTIONS) as usize]);
            path.push(functions[(stack / FUNCTIONS % FUNCTIONS) as usize]);
            *samples.entry(unit.stack_of(&path)).or_insert(0) += 1 + random.below(10_000_000) as i64;
        }
        let rid = u128::from(random.next()) << 64 | u128::from(random.next());
        let time = DAY_START_NS + ((block * 500 + profile) * 10_000_000_000) as i64;
        unit.push_row(
            &labels,
            (ty.clone(), time, rid, 10_000_000_000, 0, samples.into_iter().collect(), Vec::new(), Vec::new()),
        );
    }
}

/// Reads ranges of a file.
#[derive(Debug)]
struct InFile(File);

impl RangeRead for InFile {
    fn len_hint(&self) -> Option<u64> {
        None
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        let read = |range: &Range<u64>| -> Result<Bytes, BoxError> {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.0.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        };
        Box::pin(std::future::ready(ranges.iter().map(read).collect()))
    }
}

fn open_folder(folder: &Path) -> BlockReader {
    let length = |name: &str| std::fs::metadata(folder.join(name)).ok().map(|m| m.len());
    let objects: Vec<ObjectEntry> = [PROFILES, SAMPLES, SPANS, INDEX]
        .into_iter()
        .filter_map(|name| Some(ObjectEntry { name: name.to_owned(), bytes: length(name)?, crc32c: 0 }))
        .collect();
    let entry = BlockEntry {
        id: spec().id(),
        attempt: "0".to_owned(),
        format: 1,
        day: DAY,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(0),
        first_service: String::new(),
        last_service: String::new(),
        types: Vec::new(),
        index_directory_offset: length(INDEX).unwrap_or_default(),
        objects,
        profiles: 0,
        samples: 0,
        series: 0,
        units: 0,
        sources: Vec::new(),
    };
    let object = |name: &str| -> Arc<dyn RangeRead> {
        Arc::new(InFile(File::open(folder.join(name)).expect("an object")))
    };
    block_on(BlockReader::open(Arc::new(entry), object)).expect("opens")
}

/// Writes blocks to folders.
struct Folder {
    path: PathBuf,
    block: usize,
}

impl BlockSink for Folder {
    fn begin<'a>(&'a mut self, _: &'a BlockEntry) -> BoxFuture<'a, Result<(), BoxError>> {
        self.block += 1;
        let made = std::fs::create_dir_all(self.path.join(self.block.to_string()));
        Box::pin(std::future::ready(made.map_err(Into::into)))
    }

    fn part<'a>(&'a mut self, object: &'static str, bytes: Bytes) -> BoxFuture<'a, Result<(), BoxError>> {
        let path = self.path.join(self.block.to_string()).join(object);
        let file = File::options().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(&bytes));
        Box::pin(std::future::ready(written.map_err(Into::into)))
    }

    fn end<'a>(&'a mut self, _: &'static str, _: &'a ObjectEntry) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn merge_folder(folder: &Path, budget_mib: u64) {
    let out = folder.join("out");
    if out.exists() {
        std::fs::remove_dir_all(&out).expect("removed");
    }
    let mut inputs: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    let readers: Vec<BlockReader> = inputs.iter().map(|folder| open_folder(folder)).collect();
    let readers: Vec<&BlockReader> = readers.iter().collect();
    let mut options = MergeOptions::new(TenantId::anonymous(), 1);
    options.memory_budget_bytes = budget_mib << 20;
    let open: usize = readers.iter().map(|reader| reader.cached_bytes()).sum();
    println!(
        "{} blocks, open {} MiB, estimated memory {} MiB",
        readers.len(),
        open >> 20,
        estimate_memory_bytes(&readers, &options) >> 20
    );
    let mut sink = Folder { path: out, block: 0 };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let merged = block_on(merge(&readers, &RowFilter::default(), &options, &mut sink)).expect("merges");
    report(&merged.counts, started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("{} blocks out", merged.blocks.len());
    for (at, entry) in (1..).zip(&merged.blocks) {
        let read = |object: &ObjectEntry| {
            let path = folder.join("out").join(format!("{at}")).join(&object.name);
            (object.name.clone(), Bytes::from(std::fs::read(path).expect("an object")))
        };
        let objects: Vec<(String, Bytes)> = entry.objects.iter().map(read).collect();
        println!("verified: {:?}", verify(entry, &objects).expect("a good block"));
    }
}
