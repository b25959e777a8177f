//! Measures the line table of a program: `line_table FILE [ADDRESS…]`; addresses, in hex, are looked up.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring tool")]

use std::time::Instant;

use bytes::Bytes;
use hearth_symbols::{BuildLimits, LineTable, build, build_id_of};

/// Look-ups that are measured.
const LOOKUPS: u64 = 1_000_000;

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let elf = std::fs::read(&args[0]).expect("readable");
    let limits = BuildLimits { max_file_bytes: u64::MAX, ..BuildLimits::default() };
    let started = Instant::now();
    let bytes = build(&elf, &limits).expect("symbols");
    let seconds = started.elapsed().as_secs_f64();
    let packed = zstd::bulk::compress(&bytes, 3).expect("memory").len();
    let length = elf.len() as f64 / 1e6;
    println!("build id {:?}", build_id_of(&elf).expect("ELF").map(|id| id.to_string()));
    println!("{length:.1} MB in {seconds:.2} s ({:.0} MB/s), peak {} MiB", length / seconds, peak_mib());
    let opened = Instant::now();
    let size = bytes.len();
    let table = LineTable::open(Bytes::from(bytes)).expect("valid");
    println!(
        "table {:.1} MB ({:.1} MB as zstd), {} ranges of {:?}, opened in {:.1} ms",
        size as f64 / 1e6,
        packed as f64 / 1e6,
        table.range_count(),
        table.sources(),
        opened.elapsed().as_secs_f64() * 1e3
    );
    let addresses: Vec<u64> = args[1..].iter().filter_map(|hex| u64::from_str_radix(hex, 16).ok()).collect();
    for address in &addresses {
        println!("{address:#x}");
        table.find(*address).for_each(|frame| println!("  {} {}:{}", frame.function, frame.file, frame.line));
    }
    let (first, last) = table.addresses();
    let (mut frames, mut state) = (0, 1u64);
    let started = Instant::now();
    for _ in 0..LOOKUPS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        frames += table.find(first + (state >> 33) % (last - first).max(1)).count();
    }
    let each_ns = started.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64;
    println!("{each_ns:.0} ns a look-up, {:.2} frames each", frames as f64 / LOOKUPS as f64);
}
