//! Samples of all threads that use CPU time, taken by a signal.

use std::collections::HashMap;
use std::time::Duration;

use hearth_common::TimestampNs;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::wire::{Line, Table};
use super::{Gzipped, ProfilingError};

/// Libraries in which no sample is taken: whoever is interrupted there may hold the locks that walking the stack needs.
const NOT_IN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// A profile that is being taken.
pub(super) struct Profiler {
    guard: ProfilerGuard<'static>,
    per_second: u32,
}

impl Profiler {
    pub(super) fn start(per_second: u32) -> Result<Self, ProfilingError> {
        let frequency = i32::try_from(per_second).unwrap_or(i32::MAX);
        let guard = ProfilerGuardBuilder::default().frequency(frequency).blocklist(&NOT_IN).build();
        Ok(Self { guard: guard.map_err(|error| ProfilingError::Cpu(error.to_string()))?, per_second })
    }

    /// What was seen. Blocks: names of functions are looked up.
    pub(super) fn finish(self, started: TimestampNs, took: Duration) -> Result<Gzipped, ProfilingError> {
        let report = self.guard.report().build().map_err(|error| ProfilingError::Cpu(error.to_string()))?;
        drop(self.guard);
        let period_ns = 1_000_000_000 / i64::from(self.per_second.max(1));
        let mut table =
            Table::new([("samples", "count"), ("cpu", "nanoseconds")], ("cpu", "nanoseconds"), period_ns);
        let mut stacks: HashMap<(Vec<u64>, String), i64> = HashMap::new();
        for (frames, count) in &report.data {
            let stack = frames.frames.iter().map(|inlined| {
                let lines = inlined.iter().map(|symbol| Line {
                    function: symbol.name(),
                    file: symbol.filename().into_owned(),
                    line: symbol.lineno(),
                });
                table.location(lines.collect())
            });
            let thread = frames.thread_name_or_id();
            *stacks.entry((stack.collect(), thread)).or_default() += *count as i64;
        }
        for ((stack, thread), count) in stacks {
            table.sample(stack, vec![count, count * period_ns], &[("thread", &thread)]);
        }
        Ok(table.gzip(started, took))
    }
}
