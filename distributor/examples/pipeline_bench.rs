//! How long one profile takes in each step: `pipeline_bench FOLDER` reads all pprofs of a folder.
#![allow(clippy::print_stdout, reason = "prints figures")]
#![allow(clippy::disallowed_methods, reason = "measures")]

use std::time::{Duration, Instant};

use hearth_common::limits::DefaultRulesPosition;
use hearth_common::units::GoDuration;
use hearth_common::{TenantId, TenantLimits, TimestampNs};
use hearth_distributor::pipeline::{Part, TenantRules, Work};
use hearth_distributor::records::PartId;
use hearth_distributor::relabel::Rules;
use hearth_distributor::{labels, rid};
use hearth_formats::gunzip::{Inflater, is_gzip};
use hearth_formats::pprof::Pprof;

const ROUNDS: u32 = 200;

/// A part with nothing noted of it.
fn whole<'a>(id: PartId<'a>, series: Vec<labels::Label<'a>>, raw: &'a [u8]) -> Part<'a> {
    Part { id, series, raw, size_bytes: raw.len(), annotations: Vec::new(), totals_only: false }
}

fn main() {
    let folder = std::env::args().nth(1).expect("a folder of profiles");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let off = GoDuration::default();
    let limits = TenantLimits { reject_older_than: off, reject_newer_than: off, ..TenantLimits::default() };
    let rules = Rules::compile(&[], DefaultRulesPosition::First).expect("valid");
    let tenant = TenantId::anonymous();
    let sent = [("__name__", "process_cpu"), ("service_name", "bench"), ("pod", "a"), ("namespace", "prod")];
    let mut work = Work::default();
    let (mut raw_total, mut run_total, mut rid_total, mut parse_total) = (0usize, 0f64, 0f64, 0f64);
    println!("file raw_kb parse_us rid_us run_us run_ms_per_mb records record_kb");
    for file in files {
        let bytes = std::fs::read(&file).expect("readable");
        let raw = if is_gzip(&bytes) {
            let mut out = Vec::new();
            Inflater::default().inflate(&bytes, 1 << 30, &mut out).expect("gzip");
            out
        } else {
            bytes
        };
        let (mut parse, mut rids, mut run) = (Duration::MAX, Duration::MAX, Duration::MAX);
        let mut done = None;
        let mut pprof = Pprof::default();
        for _ in 0..ROUNDS {
            let mut out = Vec::new();
            let started = Instant::now();
            pprof.parse(&raw).expect("valid");
            parse = parse.min(started.elapsed());
            let started = Instant::now();
            let hash = rid::part(rid::Origin::Push, &tenant, "", &sent, &raw);
            rids = rids.min(started.elapsed());
            let started = Instant::now();
            let series = labels::with_defaults(&sent);
            let id = PartId { tenant: &tenant, hash, occurrence: 0 };
            let part = whole(id, series, &raw);
            let rules =
                TenantRules { limits: &limits, series: &rules, sample_types: None, now: TimestampNs(1) };
            done = Some(work.run(&mut pprof, &part, rules, &mut out).expect("valid"));
            run = run.min(started.elapsed());
        }
        let done = done.expect("rounds");
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{:22} {:7.1} {:7.1} {:6.1} {:7.1} {:6.2} {:4} {:7.1}",
            file.file_name().expect("a file").to_string_lossy(),
            raw.len() as f64 / 1e3,
            us(parse),
            us(rids),
            us(run),
            us(run) / raw.len() as f64 * 1e3,
            done.records,
            done.record_bytes as f64 / 1e3
        );
        raw_total += raw.len();
        run_total += us(run);
        rid_total += us(rids);
        parse_total += us(parse);
    }
    let per_mb = |us: f64| us / 1e3 / (raw_total as f64 / 1e6);
    println!(
        "all: parse {:.2}, rid {:.2}, run {:.2} ms a raw MB",
        per_mb(parse_total),
        per_mb(rid_total),
        per_mb(run_total)
    );
}
