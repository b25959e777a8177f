//! A target that keeps what it gets, decoded, and a clock that stands.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::push::{PushError, PushOutcome, PushTarget};
use hearth_common::{Clock, Rid, TimestampNs};
use hearth_formats::record::{self, Record};

pub(crate) const NOW_NS: i64 = 1_700_000_000_000_000_000;

#[derive(Debug, Default)]
pub(crate) struct StandingClock(pub(crate) AtomicI64);

impl Clock for StandingClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(NOW_NS + self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed) as u64)
    }
}

/// What a record says, by text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) labels: String,
    pub(crate) rid: Rid,
    pub(crate) time: i64,
    pub(crate) types: Vec<String>,
    /// `root;leaf` and the values, sorted.
    pub(crate) stacks: Vec<(String, Vec<i64>)>,
    /// Stack, span, values.
    pub(crate) spans: Vec<(String, u64, Vec<i64>)>,
    pub(crate) strings: Vec<String>,
    pub(crate) build_ids: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

#[derive(Debug, Default)]
pub(crate) struct Target {
    pub(crate) pushes: parking_lot::Mutex<Vec<Vec<Got>>>,
    pub(crate) refuse: Option<PushOutcome>,
}

#[async_trait]
impl PushTarget for Target {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        let got: Vec<Got> = records.iter().map(|bytes| read(bytes)).collect();
        let count = got.len();
        self.pushes.lock().push(got);
        Ok(vec![self.refuse.clone().unwrap_or(PushOutcome::Acked); count])
    }
}

pub(crate) fn read(bytes: &[u8]) -> Got {
    let mut record = Record::default();
    let header = record::decode(bytes, &mut record).expect("valid");
    let columns = record.sample_types.len();
    let stack = |at: usize| {
        let mut names = Vec::new();
        for frame in record.stack(at) {
            let location = &record.locations[*frame as usize];
            let first = location.first_line as usize;
            for line in record.lines[first..first + location.line_count as usize].iter().rev() {
                let function = &record.functions[line.function as usize];
                names.push(record.strings[function.name as usize]);
            }
        }
        names.join(";")
    };
    let values = |all: &[i64], at: usize| all[at * columns..(at + 1) * columns].to_vec();
    let mut stacks: Vec<_> =
        (0..record.stack_ends.len()).map(|at| (stack(at), values(&record.values, at))).collect();
    stacks.sort();
    let spans = record.spans.iter().enumerate();
    Got {
        labels: record.labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","),
        rid: header.rid,
        time: header.time.0,
        types: record.sample_types.iter().map(|(ty, unit)| format!("{ty}:{unit}")).collect(),
        stacks,
        spans: spans
            .map(|(at, span)| (stack(span.stack as usize), span.span, values(&record.span_values, at)))
            .collect(),
        strings: record.strings.iter().map(|s| (*s).to_owned()).collect(),
        annotations: record.annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        build_ids: record.mappings.iter().map(|m| record.strings[m.build_id as usize].to_owned()).collect(),
    }
}
