//! What inflating, parsing, encoding and decoding cost on the real profiles. Run with
//! `cargo test --release -p hearth-formats --test speed -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "figures are printed")]

use std::time::{Duration, Instant};

use hearth_formats::gunzip::{inflate_capped, is_gzip};
use hearth_formats::jfr::Recording;
use hearth_formats::pprof::Pprof;
use hearth_formats::record::{Record, decode, encode};
use hearth_testkit::{files, records};

/// The fastest of several runs: what the code costs when nothing disturbs it.
#[allow(clippy::disallowed_methods, reason = "measures time")]
fn fastest_us(mut work: impl FnMut()) -> f64 {
    let (mut best, begun) = (Duration::MAX, Instant::now());
    while begun.elapsed() < Duration::from_millis(120) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e6
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures() {
    let labels = [("__name__", "process_cpu"), ("pod", "pod-1"), ("service_name", "bench")];
    println!(
        "{:<22}{:>9}{:>9} |{:>9}{:>8}{:>8}{:>8} |{:>8}{:>9}{:>9}{:>9}",
        "profile", "raw", "sent", "inflate", "parse", "encode", "decode", "record", "zstd -1", "+µs", "-µs"
    );
    let mut sums = [0f64; 10];
    let files = files::bench_profiles();
    for file in &files {
        let mut raw = Vec::new();
        let inflate = if is_gzip(&file.sent) {
            fastest_us(|| inflate_capped(&file.sent, 64 << 20, &mut raw).expect("real gzip"))
        } else {
            0.0
        };
        let mut pprof = Pprof::default();
        let parse = fastest_us(|| pprof.parse(&file.raw).expect("a real profile"));
        let record = records::from_pprof(&pprof, &labels);
        let mut bytes = Vec::new();
        let encoding = fastest_us(|| {
            bytes.clear();
            encode(&records::header("bench"), &record, &mut bytes).expect("fits");
        });
        let mut back = Record::default();
        let decoding = fastest_us(|| _ = decode(&bytes, &mut back).expect("just written"));
        let packed = zstd::bulk::compress(&bytes, 1).expect("compresses");
        let mut zstd = zstd::bulk::Compressor::new(1).expect("a compressor");
        let mut room = vec![0; bytes.len() + 1024];
        let packing = fastest_us(|| _ = zstd.compress_to_buffer(&bytes, &mut room).expect("room"));
        let mut unzstd = zstd::bulk::Decompressor::new().expect("a decompressor");
        let unpacking = fastest_us(|| _ = unzstd.decompress_to_buffer(&packed, &mut room).expect("room"));
        let row = [
            file.raw.len() as f64,
            file.sent.len() as f64,
            inflate,
            parse,
            encoding,
            decoding,
            bytes.len() as f64,
            packed.len() as f64,
            packing,
            unpacking,
        ];
        print_row(&file.name, &row);
        println!(
            "    strings {} ({} B), locations {}, stacks {}, frames {}, values {}",
            record.strings.len(),
            record.strings.iter().map(|s| s.len()).sum::<usize>(),
            record.locations.len(),
            record.stack_ends.len(),
            record.frames.len(),
            record.values.len()
        );
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    if files.is_empty() {
        return;
    }
    print_row("mean", &sums.map(|sum| sum / files.len() as f64));
    in_turns(&files, &labels);
}

/// Flight recordings: MB of the uncompressed recording a second, on one core.
#[test]
#[ignore = "prints figures, checks nothing"]
fn recordings() {
    for file in files::corpus_recordings() {
        let mut rows = 0;
        let us = fastest_us(|| rows = Recording::parse(&file.raw).expect("a real recording").rows.len());
        let megabytes = file.raw.len() as f64 / 1e6;
        println!(
            "{}: {megabytes:.3} MB, {rows} rows, {us:.0} µs, {:.0} MB/s",
            file.name,
            megabytes / us * 1e6
        );
    }
}

/// All profiles in turns, so that no branch predictor knows one by heart.
fn in_turns(files: &[files::RealFile], labels: &[(&str, &str)]) {
    let megabytes = files.iter().map(|file| file.raw.len()).sum::<usize>() as f64 / 1e6;
    let ms_per_mb = |us: f64| us / 1000.0 / megabytes;
    let gzipped: Vec<_> = files.iter().map(|file| hearth_testkit::gzip(&file.raw)).collect();
    let mut raw = Vec::new();
    let inflate = fastest_us(|| {
        gzipped.iter().for_each(|sent| inflate_capped(sent, 64 << 20, &mut raw).expect("gzip"))
    });
    let mut pprof = Pprof::default();
    let parse = fastest_us(|| files.iter().for_each(|file| pprof.parse(&file.raw).expect("a real profile")));
    let records: Vec<_> = files
        .iter()
        .map(|file| {
            pprof.parse(&file.raw).expect("a real profile");
            records::from_pprof(&pprof, labels)
        })
        .collect();
    let mut bytes = vec![Vec::new(); records.len()];
    let encoding = fastest_us(|| {
        for (record, bytes) in records.iter().zip(&mut bytes) {
            bytes.clear();
            encode(&records::header("bench"), record, bytes).expect("fits");
        }
    });
    let mut back = Record::default();
    let decoding =
        fastest_us(|| bytes.iter().for_each(|bytes| _ = decode(bytes, &mut back).expect("just written")));
    println!(
        "in turns, ms per raw MB: inflate {:.2}, parse {:.2}, encode {:.2}, decode {:.2}",
        ms_per_mb(inflate),
        ms_per_mb(parse),
        ms_per_mb(encoding),
        ms_per_mb(decoding)
    );
}

fn print_row(name: &str, row: &[f64; 10]) {
    print!("{name:<22}");
    for (at, value) in row.iter().enumerate() {
        let bar = if at == 2 || at == 6 { " |" } else { "" };
        if (2..6).contains(&at) || at > 7 {
            print!("{bar}{value:>9.1}");
        } else {
            print!("{bar}{value:>9.0}");
        }
    }
    println!();
}
