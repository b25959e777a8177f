//! What an OTLP export costs against pprofs of the same profiles: `otlp_bench FOLDER` reads all pprofs of a folder.
//!
//! Each profile is taken through the whole distributor (parse, pipeline, records), once as a push and once as an export that
//! has a profile for each sample type. A target that acknowledges everything stands for the cluster.
#![allow(clippy::print_stdout, reason = "prints figures")]
#![allow(clippy::disallowed_methods, reason = "measures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::push::{PushError, PushOutcome, PushTarget};
use hearth_common::units::GoDuration;
use hearth_common::{SystemClock, TenantId, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps, PushSeries};
use hearth_formats::gunzip::{Inflater, is_gzip};
use hearth_formats::pprof::Pprof;

/// How long each profile is measured in each format.
const TIME: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct Nobody;

#[async_trait]
impl PushTarget for Nobody {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        Ok(vec![PushOutcome::Acked; records.len()])
    }
}

/// The fastest of many runs, in µs.
fn fastest(mut work: impl FnMut() -> usize) -> (f64, usize) {
    let (mut best, mut records) = (Duration::MAX, 0);
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let started = Instant::now();
        records = work();
        best = best.min(started.elapsed());
    }
    (best.as_secs_f64() * 1e6, records)
}

fn main() {
    let folder = std::env::args().nth(1).expect("a folder of profiles");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let off = GoDuration::default();
    let limits = TenantLimits {
        reject_older_than: off,
        reject_newer_than: off,
        ingestion_rate_mb: 0.0,
        max_profile_size_bytes: 0,
        max_profile_stacktrace_samples: 0,
        ..TenantLimits::default()
    };
    let distributor = Distributor::new(DistributorDeps {
        target: Arc::new(Nobody),
        limits: Arc::new(Arc::new(limits)),
        clock: Arc::new(SystemClock::default()),
        replicas: Arc::new(|| 1),
        parsing: hearth_common::Turns::new(2),
    });
    let tenant = TenantId::anonymous();
    let labels = vec![("__name__", "process_cpu"), ("service_name", "bench")];
    let mut sums = [0f64; 4];
    println!(
        "file types pprof_kb otlp_kb pprof_us otlp_us pprof_ms_per_mb otlp_ms_per_mb ratio_per_mb ratio"
    );
    for file in files {
        let bytes = std::fs::read(&file).expect("readable");
        let raw = if is_gzip(&bytes) {
            let mut out = Vec::new();
            Inflater::default().inflate(&bytes, 1 << 30, &mut out).expect("gzip");
            out
        } else {
            bytes
        };
        let mut pprof = Pprof::default();
        pprof.parse(&raw).expect("valid");
        let export = hearth_testkit::otlp::from_pprof(&pprof, "bench");
        let series = [PushSeries { labels: labels.clone(), samples: vec![(&raw, "")] }];
        let (pprof_us, _) = fastest(|| {
            let prepared = distributor.prepare(&tenant, &series).expect("valid");
            assert!(prepared.error().is_none(), "{:?}", prepared.error());
            prepared.records().len()
        });
        let (otlp_us, records) = fastest(|| {
            let prepared = distributor.prepare_otlp(&tenant, &export).expect("valid");
            assert!(prepared.error().is_none(), "{:?}", prepared.error());
            prepared.records().len()
        });
        assert!(records > 0);
        let row = [raw.len() as f64, export.len() as f64, pprof_us, otlp_us];
        print(&file.file_name().expect("a file").to_string_lossy(), pprof.sample_types.len(), row);
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    print("all", 0, sums);
}

fn print(name: &str, types: usize, [pprof_bytes, otlp_bytes, pprof_us, otlp_us]: [f64; 4]) {
    let (pprof, otlp) = (pprof_us * 1e3 / pprof_bytes, otlp_us * 1e3 / otlp_bytes);
    println!(
        "{name:24} {types:2} {:8.1} {:8.1} {pprof_us:9.1} {otlp_us:9.1} {pprof:6.2} {otlp:6.2} {:5.2} {:5.2}",
        pprof_bytes / 1e3,
        otlp_bytes / 1e3,
        otlp / pprof,
        otlp_us / pprof_us
    );
}
