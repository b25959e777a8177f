//! Figures: `cargo test --release -p hearth-wal --test bench -- --ignored --nocapture`. `HEARTH_BENCH_DIR` chooses the
//! disk.

mod faulty;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faulty::Told;
use hearth_wal::{Wal, WalOptions};

fn percentile(sorted: &[Duration], p: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
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
        let told = Arc::new(Told::default());
        let (wal, _) = Wal::open(WalOptions::new(&path), vec![0; 200], Arc::<Told>::clone(&told)).unwrap();
        let wal = Arc::new(wal);
        let body = Bytes::from((0..entry_bytes).map(|n| (n * 2_654_435_761 >> 7) as u8).collect::<Vec<_>>());
        let (started, cpu_before) = (Instant::now(), cpu());
        let threads: Vec<_> = (0..pushers)
            .map(|_| {
                let (wal, told, body) = (Arc::clone(&wal), Arc::clone(&told), body.clone());
                std::thread::spawn(move || {
                    let mut acks = Vec::new();
                    while started.elapsed().as_secs_f64() < seconds {
                        let begun = Instant::now();
                        assert!(told.wait(wal.append(&[0; 80], body.clone()).unwrap()));
                        acks.push(begun.elapsed());
                    }
                    acks
                })
            })
            .collect();
        let mut acks: Vec<Duration> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let (took, cpu_used) = (started.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
        acks.sort();
        let mut syncs: Vec<Duration> = told.groups().iter().map(|g| g.sync).collect();
        syncs.sort();
        let mut writes: Vec<Duration> = told.groups().iter().map(|g| g.write).collect();
        writes.sort();
        let mb = wal.stats().written_bytes as f64 / 1e6;
        println!(
            "{pushers} pushers of {entry_bytes} B: {:.0} entries/s, {:.1} MB/s, {:.2} ms CPU per MB; ack p50 {:?} p99 {:?}; \
             {} groups, {:.1} entries each, write p50 {:?}, sync p50 {:?} p99 {:?}",
            acks.len() as f64 / took,
            mb / took,
            cpu_used * 1e3 / mb,
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

/// Whether fdatasync is cheaper on a file that was allocated before: the reason for or against preallocation.
#[test]
#[ignore = "measures"]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn preallocated_or_not() {
    use std::io::{Seek, SeekFrom, Write};
    let dir = match std::env::var_os("HEARTH_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let group = vec![0x5au8; 400_000];
    for round in 0..2 {
        for way in ["append", "fallocate", "written before"] {
            let mut file = std::fs::File::create(dir.path().join(format!("{way}{round}"))).unwrap();
            match way {
                "fallocate" => {
                    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20).unwrap();
                }
                "written before" => {
                    for _ in 0..64 {
                        file.write_all(&vec![0; 1 << 20]).unwrap();
                    }
                }
                _ => {}
            }
            file.sync_all().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut syncs = Vec::new();
            for _ in 0..150 {
                file.write_all(&group).unwrap();
                let begun = Instant::now();
                file.sync_data().unwrap();
                syncs.push(begun.elapsed());
            }
            syncs.sort();
            println!("{way}: sync p50 {:?} p99 {:?}", percentile(&syncs, 0.5), percentile(&syncs, 0.99));
        }
    }
}
