//! Figures: `cargo test --release -p hearth-wal --test bench -- --ignored --nocapture`. `HEARTH_BENCH_DIR` chooses the
//! disk.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use faulty::Told;
use hearth_wal::{GroupWritten, Lsn, Wal, WalError, WalEvents, WalOptions};

fn percentile(sorted: &[Duration], p: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Passes reports on, and looks at the writer thread's CPU time now and then.
#[derive(Debug, Default)]
struct Watch {
    told: Told,
    groups: AtomicU64,
    writer_ns: AtomicU64,
}

impl WalEvents for Watch {
    fn durable(&self, upto: Lsn) {
        self.told.durable(upto);
    }

    fn failed(&self, error: &WalError) {
        self.told.failed(error);
    }

    fn group(&self, group: GroupWritten) {
        if self.groups.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
            self.writer_ns.store(thread_cpu().as_nanos() as u64, Ordering::Relaxed);
        }
        self.told.group(group);
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn eight_pushers_of_100_kb() {
    let dir = match std::env::var_os("HEARTH_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    for (pushers, entry_bytes, seconds) in [(8usize, 100_000usize, 5.0), (1, 100_000, 2.0), (64, 1_000, 3.0)]
    {
        let path = dir.path().join(format!("{pushers}"));
        let watch = Arc::new(Watch::default());
        let (wal, _) = Wal::open(WalOptions::new(&path), vec![0; 200], Arc::<Watch>::clone(&watch)).unwrap();
        let wal = Arc::new(wal);
        let body =
            Bytes::from((0..entry_bytes).map(|n| ((n * 2_654_435_761) >> 7) as u8).collect::<Vec<_>>());
        let (started, cpu_before) = (Instant::now(), cpu());
        let threads: Vec<_> = (0..pushers)
            .map(|_| {
                let (wal, watch, body) = (Arc::clone(&wal), Arc::clone(&watch), body.clone());
                std::thread::spawn(move || {
                    let mut acks = Vec::new();
                    while started.elapsed().as_secs_f64() < seconds {
                        let begun = Instant::now();
                        assert!(watch.told.wait(wal.append(&[0; 80], body.clone()).unwrap().lsn));
                        acks.push(begun.elapsed());
                    }
                    acks
                })
            })
            .collect();
        let mut acks: Vec<Duration> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let (took, cpu_used) = (started.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
        acks.sort();
        let mut syncs: Vec<Duration> = watch.told.groups().iter().map(|g| g.sync).collect();
        syncs.sort();
        let mut writes: Vec<Duration> = watch.told.groups().iter().map(|g| g.write).collect();
        writes.sort();
        let mb = wal.stats().written_bytes as f64 / 1e6;
        println!(
            "{pushers} pushers of {entry_bytes} B: {:.0} entries/s, {:.1} MB/s, {:.2} ms CPU per MB ({:.2} in the writer); ack p50 {:?} p99 {:?}; \
             {} groups, {:.1} entries each, write p50 {:?}, sync p50 {:?} p99 {:?}",
            acks.len() as f64 / took,
            mb / took,
            cpu_used * 1e3 / mb,
            watch.writer_ns.load(Ordering::Relaxed) as f64 / 1e6 / mb,
            percentile(&acks, 0.5),
            percentile(&acks, 0.99),
            syncs.len(),
            acks.len() as f64 / syncs.len() as f64,
            percentile(&writes, 0.5),
            percentile(&syncs, 0.5),
            percentile(&syncs, 0.99),
        );
        wal.sync_and_close().unwrap();
        let begun = Instant::now();
        let (_, replay) = Wal::open(WalOptions::new(&path), Vec::new(), Arc::new(Told::default())).unwrap();
        let opened = begun.elapsed();
        let begun = Instant::now();
        let entries = replay.filter(|item| item.is_ok()).count();
        let took = begun.elapsed().as_secs_f64();
        println!("  replay: opened in {opened:?}, {entries} items, {:.2} GB/s", mb / 1e3 / took);
    }
}

/// What a group of 400 KB costs on the ways to a disk: the reason for the way taken.
#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn ways_to_the_disk() {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let dir = match std::env::var_os("HEARTH_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    const GROUP: usize = 400 << 10;
    const GROUPS: u64 = 160;
    let space = vec![0x5au8; GROUP + 4096];
    let group = &space[space.as_ptr().align_offset(4096)..][..GROUP];
    for way in [
        "append",
        "fallocate",
        "written before",
        "direct append",
        "direct fallocate",
        "direct written before",
    ] {
        let path = dir.path().join(way);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true);
        let file = options.open(&path).unwrap();
        if way.contains("fallocate") {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 66 << 20).unwrap();
        }
        if way.contains("written") {
            (0..GROUPS).for_each(|n| file.write_all_at(group, n * GROUP as u64).unwrap());
        }
        file.sync_all().unwrap();
        drop(file);
        if way.contains("direct") {
            options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
        }
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) => {
                println!("{way}: {error}");
                continue;
            }
        };
        let (mut writes, mut syncs) = (Vec::new(), Vec::new());
        let before = cpu();
        for n in 0..GROUPS {
            let begun = Instant::now();
            file.write_all_at(group, n * GROUP as u64).unwrap();
            let written = Instant::now();
            file.sync_data().unwrap();
            writes.push(written - begun);
            syncs.push(written.elapsed());
        }
        let mb = (GROUPS * GROUP as u64) as f64 / 1e6;
        let cpu = (cpu() - before).as_secs_f64() * 1e3 / mb;
        writes.sort();
        syncs.sort();
        println!(
            "{way}: write p50 {:?} p99 {:?}, sync p50 {:?} p99 {:?}, {cpu:.2} ms CPU per MB",
            percentile(&writes, 0.5),
            percentile(&writes, 0.99),
            percentile(&syncs, 0.5),
            percentile(&syncs, 0.99)
        );
    }
}
