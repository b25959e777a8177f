//! What flight recordings cost: `jfr_bench FOLDER` reads all `.jfr` and `.jfr.gz` of a folder.
//!
//! Each recording is taken through the whole distributor (read, profiles, pipeline, records), once as the whole body and once
//! as agents send it: gzipped, in a form. A target that acknowledges everything stands for the cluster. Megabytes are those of
//! the recording, not compressed.
#![allow(clippy::print_stdout, reason = "prints figures")]
#![allow(clippy::disallowed_methods, reason = "measures")]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::push::{PushError, PushOutcome, PushTarget};
use hearth_common::units::GoDuration;
use hearth_common::{SystemClock, TenantId, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps};
use hearth_formats::gunzip::{Inflater, is_gzip};
use hearth_formats::jfr::Recording;

/// How long each recording is measured in each way.
const TIME: Duration = Duration::from_secs(1);
const BOUNDARY: &str = "hearth";

#[derive(Debug)]
struct Nobody;

#[async_trait]
impl PushTarget for Nobody {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        Ok(vec![PushOutcome::Acked; records.len()])
    }
}

/// The fastest of many runs, in seconds.
fn fastest(mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let started = Instant::now();
        work();
        best = best.min(started.elapsed());
    }
    best.as_secs_f64()
}

fn form(recording: &[u8]) -> Bytes {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(recording).expect("memory");
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"jfr\"; filename=\"jfr\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let gzip = gzip.finish().expect("memory");
    [head.as_bytes(), &gzip, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat().into()
}

fn main() {
    let folder = std::env::args().nth(1).expect("a folder of recordings");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.to_string_lossy().contains(".jfr"));
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads");
    let tenant = TenantId::anonymous();
    let query = [("name", "bench"), ("format", "jfr"), ("spyName", "javaspy"), ("sampleRate", "100")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let records = |content_type: &str, body: &Bytes| {
        let prepared =
            runtime.block_on(distributor.prepare_ingest(&tenant, &query, content_type, body.clone()));
        let prepared = prepared.expect("valid").expect("a recording");
        assert!(prepared.error().is_none(), "{:?}", prepared.error());
        prepared.records().len()
    };
    println!("file mb records read_mb_s whole_mb_s form_mb_s");
    let mut sums = [0f64; 4];
    for file in files {
        let bytes = std::fs::read(&file).expect("readable");
        let raw = if is_gzip(&bytes) {
            let mut out = Vec::new();
            Inflater::default().inflate(&bytes, 1 << 30, &mut out).expect("gzip");
            out
        } else {
            bytes
        };
        let (raw, form) = (Bytes::from(raw.clone()), form(&raw));
        let of_form = format!("multipart/form-data; boundary={BOUNDARY}");
        let count = records("", &raw);
        assert_eq!(records(&of_form, &form), count);
        let read = fastest(|| drop(Recording::parse(&raw).expect("valid")));
        let whole = fastest(|| assert_eq!(records("", &raw), count));
        let in_form = fastest(|| assert_eq!(records(&of_form, &form), count));
        let row = [raw.len() as f64 / 1e6, read, whole, in_form];
        print(&file.file_name().expect("a file").to_string_lossy(), count, row);
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    print("all", 0, sums);
}

fn print(name: &str, records: usize, [mb, read, whole, in_form]: [f64; 4]) {
    println!("{name:24.24} {mb:7.2} {records:5} {:7.1} {:7.1} {:7.1}", mb / read, mb / whole, mb / in_form);
}
