//! What a head costs: run with `cargo test --release -p hearth-ingester -- --ignored --nocapture head_costs`.

use hearth_common::{Rid, TimestampNs};
use hearth_formats::pprof::Pprof;
use hearth_formats::record::{self, Record, RecordHeader};

use super::*;

/// Services, pods of each, and rounds of pushes: as the load tool of the benchmark does.
const SERVICES: usize = 50;
const PODS: usize = 4;
const ROUNDS: usize = 60;

struct Input {
    raw_bytes: usize,
    bytes: Vec<u8>,
}

/// Records of a service's four profiles, as one pod sends them.
fn inputs(files: &[hearth_testkit::files::RealFile], service: usize, pod: usize) -> Vec<Input> {
    let (service_name, pod_name) = (format!("service-{service}"), format!("pod-{pod}"));
    (0..4)
        .map(|at| {
            let raw = &files[(service + at * 3) % files.len()].raw;
            let mut pprof = Pprof::default();
            pprof.parse(raw).expect("a pprof");
            let name = ["process_cpu", "memory", "mutex", "block"][at];
            let labels = [("__name__", name), ("pod", &pod_name), ("service_name", &service_name)];
            let record = hearth_testkit::records::from_pprof(&pprof, &labels);
            let header = hearth_testkit::records::header("t");
            let mut bytes = Vec::new();
            record::encode(&header, &record, &mut bytes).expect("fits");
            Input { raw_bytes: raw.len(), bytes }
        })
        .collect()
}

#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "measures time")]
fn head_costs() {
    let files = hearth_testkit::files::bench_profiles();
    if files.is_empty() {
        return;
    }
    let head = Head::new(HashKey::new(99));
    let mut scratch = Scratch::default();
    let mut spare: Record<'static> = Record::default();
    let mut took = [std::time::Duration::ZERO; 3];
    let (mut raw, mut counts, mut position) = ([0usize; 2], [0u32; 2], 0u64);
    let all: Vec<Vec<Input>> = (0..SERVICES * PODS).map(|at| inputs(&files, at / PODS, at % PODS)).collect();
    for round in 0..ROUNDS {
        for (at, input) in all.iter().map(|inputs| &inputs[round % 4]).enumerate() {
            let mut record = std::mem::take(&mut spare).recycle();
            let started = std::time::Instant::now();
            record::decode(&input.bytes, &mut record).expect("decodes");
            took[2] += started.elapsed();
            position += 1;
            let time = TimestampNs(1_700_000_000_000_000_000 + round as i64 * 15_000_000_000);
            let header =
                RecordHeader { rid: Rid(u128::from(position)), time, ..hearth_testkit::records::header("t") };
            let started = std::time::Instant::now();
            head.add(Place { journal: 0, position }, &header, &record, &mut scratch);
            // The first pod of a service in one of the first four rounds brings new symbols.
            let kind = usize::from(round >= 4 || at % PODS > 0);
            took[kind] += started.elapsed();
            raw[kind] += input.raw_bytes;
            counts[kind] += 1;
            spare = record.recycle();
        }
    }
    let sizes = head.sizes();
    let units: Vec<_> = head.units().iter().map(|unit| unit.sizes()).collect();
    let (dict, rows) = units.iter().fold((0, 0), |sum, own| (sum.0 + own.1, sum.1 + own.2));
    for (kind, name) in ["first sight", "repeat"].into_iter().enumerate() {
        let ms = took[kind].as_secs_f64() * 1e3;
        println!(
            "{name}: {:.0} µs a profile, {:.2} ms a raw MB ({} profiles)",
            ms * 1e3 / f64::from(counts[kind]),
            ms / (raw[kind] as f64 / 1e6),
            counts[kind]
        );
    }
    println!("decode: {:.0} µs a profile", took[2].as_secs_f64() * 1e6 / position as f64);
    println!(
        "{} profiles, {} values: {:.2} bytes a value; rows {:.1} MB, dictionaries {:.1} MB, {} units",
        sizes.records,
        sizes.values,
        rows as f64 / sizes.values as f64,
        rows as f64 / 1e6,
        dict as f64 / 1e6,
        units.len()
    );
    measure_queries(head);
}

#[allow(clippy::disallowed_methods, reason = "measures time")]
fn measure_queries(head: Head) {
    use hearth_model::{ProfileQuery, Question, Selector};
    let heads = [Arc::new(head)];
    let filter = Filter::new(vec![(0, u64::MAX)]);
    let types: Vec<_> = heads[0]
        .units()
        .iter()
        .flat_map(|unit| unit.view(false, |_| true).types.iter().map(|ty| ty.ty.clone()).collect::<Vec<_>>())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    for ty in types {
        let query = ProfileQuery {
            profile_type: ty.clone(),
            selector: Selector::default(),
            range: hearth_common::TimeRange::ALL,
            call_site: Vec::new(),
            spans: None,
            profile_ids: Vec::new(),
            native: false,
        };
        let started = std::time::Instant::now();
        let answer = crate::answer::answer(&Question::Tree(query), &heads, &filter);
        assert!(answer.is_ok());
        println!("tree of {ty}: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    }
}
