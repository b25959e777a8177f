//! Whatever is sent: what is valid of it is stored, to the last unit, and groups sum to the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_common::limits::DefaultRulesPosition;
use hearth_common::{TenantId, TenantLimits, TimestampNs};
use hearth_distributor::labels::with_defaults;
use hearth_distributor::pipeline::{Part, TenantRules, Work};
use hearth_distributor::records::PartId;
use hearth_distributor::relabel::Rules;
use hearth_formats::pprof::Pprof;
use hearth_formats::record::{self, Record};
use proptest::prelude::*;

mod support;
use support::pprof::Builder;

const NAMES: [&str; 5] = ["main", "a", "b", "c[go.shape.int]", "d.go"];
const KEYS: [&str; 4] = ["handler", "thread", "span_id", "service_name"];
const VALUES: [&str; 3] = ["1", "0100000000000000", "x"];

#[derive(Debug, Clone)]
struct Sample {
    stack: Vec<usize>,
    values: [i64; 2],
    labels: Vec<(usize, usize)>,
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let stack = prop::collection::vec(0..NAMES.len(), 0..5);
    let labels = prop::collection::btree_map(0..KEYS.len(), 0..VALUES.len(), 0..3);
    let sample = (stack, [-1i64..5, 0i64..3], labels).prop_map(|(stack, values, labels)| Sample {
        stack,
        values,
        labels: labels.into_iter().collect(),
    });
    prop::collection::vec(sample, 0..40)
}

/// Sums by stack (names without shapes), and by stack of samples with spans.
type Sums = BTreeMap<(String, bool), [i64; 2]>;

fn wanted(samples: &[Sample]) -> Sums {
    let mut sums = Sums::new();
    let valid = |s: &&Sample| s.values.iter().all(|v| *v >= 0) && s.values.iter().any(|v| *v > 0);
    for sample in samples.iter().filter(valid) {
        let names: Vec<&str> =
            sample.stack.iter().map(|at| NAMES[*at].trim_end_matches("[go.shape.int]")).collect();
        let span =
            sample.labels.iter().any(|(key, value)| KEYS[*key] == "span_id" && VALUES[*value].len() == 16);
        for with_span in [false, true].into_iter().take(1 + usize::from(span)) {
            let sum = sums.entry((names.join(";"), with_span)).or_default();
            sum.iter_mut().zip(sample.values).for_each(|(sum, value)| *sum += value);
        }
    }
    sums
}

fn stored(samples: &[Sample], work: &mut Work) -> Sums {
    let mut builder = Builder::new(&[("samples", "count"), ("cpu", "nanoseconds")]);
    for sample in samples {
        let stack: Vec<&str> = sample.stack.iter().map(|at| NAMES[*at]).collect();
        let labels: Vec<_> = sample.labels.iter().map(|(key, value)| (KEYS[*key], VALUES[*value])).collect();
        builder = builder.sample(&stack, &sample.values, &labels);
    }
    let raw = builder.build();
    let mut pprof = Pprof::default();
    pprof.parse(&raw).expect("valid");
    let (tenant, limits) = (TenantId::anonymous(), Arc::new(TenantLimits::default()));
    let rules = Rules::compile(&[], DefaultRulesPosition::First).expect("valid");
    let series = with_defaults(&[("__name__", "process_cpu"), ("pyroscope_spy", "gospy")]);
    let part = Part {
        id: PartId { tenant: &tenant, hash: 1, occurrence: 0 },
        series,
        raw: &raw,
        size_bytes: raw.len(),
        annotations: Vec::new(),
        totals_only: false,
    };
    let rules = TenantRules { limits: &limits, series: &rules, sample_types: None, now: TimestampNs(5) };
    let mut out = Vec::new();
    work.run(&mut pprof, &part, rules, &mut out).expect("valid");
    let mut sums = Sums::new();
    for bytes in out {
        let mut record = Record::default();
        record::decode(&bytes, &mut record).expect("valid");
        let mut seen = std::collections::HashSet::new();
        for at in 0..record.stack_ends.len() {
            assert!(seen.insert(record.stack(at).to_vec()), "each stack stands once");
            add(&mut sums, &record, at, false, &record.values[at * 2..at * 2 + 2]);
        }
        for (at, span) in record.spans.iter().enumerate() {
            add(&mut sums, &record, span.stack as usize, true, &record.span_values[at * 2..at * 2 + 2]);
        }
    }
    sums
}

fn add(sums: &mut Sums, record: &Record<'_>, stack: usize, span: bool, values: &[i64]) {
    let name = |frame: &u32| {
        let line = record.lines[record.locations[*frame as usize].first_line as usize];
        record.strings[record.functions[line.function as usize].name as usize]
    };
    let names: Vec<&str> = record.stack(stack).iter().map(name).collect();
    let sum = sums.entry((names.join(";"), span)).or_default();
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_added(first in samples(), second in samples()) {
        // The work space of one profile may not leak into the next.
        let mut work = Work::default();
        prop_assert_eq!(stored(&first, &mut work), wanted(&first));
        prop_assert_eq!(stored(&second, &mut work), wanted(&second));
    }
}
