//! What the compactor counts.

mod stored;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hearth_block::merge::Counts;
use hearth_common::{TenantId, TimestampNs};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) use self::stored::Stored;
use crate::Collected;
use crate::plan::Why;

/// What became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The root names its output.
    Done,
    /// Somebody else replaced its inputs.
    Gone,
    /// A block of it is not merged any more.
    Aside,
    /// To be tried again.
    Failed,
    /// The process ends.
    Stopped,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Done, Self::Gone, Self::Aside, Self::Failed, Self::Stopped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::Aside => "set_aside",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    why: &'static str,
    outcome: &'static str,
}

/// Counters of collection and of merges; zero from the start.
#[derive(Debug)]
pub struct Metrics {
    runs: Counter,
    failures: Counter,
    expired_blocks: Counter,
    expired_profiles: Counter,
    expired_bytes: Counter,
    condemned_orphans: Counter,
    deleted_objects: Counter,
    deleted_versions: Counter,
    finished_deletions: Counter,
    unfinished_files: Counter,
    jobs: Family<JobLabels, Counter>,
    job_seconds: Histogram,
    rows_in: Counter,
    rows_out: Counter,
    samples: Counter,
    duplicates: Counter,
    unequal_duplicates: Counter,
    deleted_rows: Counter,
    expired_rows: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    blocks_set_aside: Counter,
    blocks_aside: Gauge,
    backlog: Gauge,
    backlog_since: Gauge<f64, AtomicU64>,
    planned: Mutex<BTreeMap<TenantId, Planned>>,
    last_round: Gauge<f64, AtomicU64>,
    pub(crate) stored: Stored,
}

/// Merges of a tenant that are planned, and since when there are any.
#[derive(Debug, Clone, Copy)]
struct Planned {
    jobs: usize,
    since: TimestampNs,
}

impl Default for Metrics {
    fn default() -> Self {
        let jobs: Family<JobLabels, Counter> = Family::default();
        for why in Why::ALL {
            for outcome in Outcome::ALL {
                drop(jobs.get_or_create(&JobLabels { why: why.as_str(), outcome: outcome.as_str() }));
            }
        }
        Self {
            runs: Counter::default(),
            failures: Counter::default(),
            expired_blocks: Counter::default(),
            expired_profiles: Counter::default(),
            expired_bytes: Counter::default(),
            condemned_orphans: Counter::default(),
            deleted_objects: Counter::default(),
            deleted_versions: Counter::default(),
            finished_deletions: Counter::default(),
            unfinished_files: Counter::default(),
            jobs,
            // From small fresh blocks to a day of a large tenant: 10 ms to 11 h.
            job_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 12)),
            rows_in: Counter::default(),
            rows_out: Counter::default(),
            samples: Counter::default(),
            duplicates: Counter::default(),
            unequal_duplicates: Counter::default(),
            deleted_rows: Counter::default(),
            expired_rows: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            blocks_set_aside: Counter::default(),
            blocks_aside: Gauge::default(),
            backlog: Gauge::default(),
            backlog_since: Gauge::default(),
            planned: Mutex::default(),
            last_round: Gauge::default(),
            stored: Stored::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "When a round of retention and collection over all tenants succeeded last, in seconds since 1970; 0: not yet";
        let name = "pyroscope_compactor_last_successful_run_timestamp_seconds";
        registry.register(name, help, self.last_round.clone());
        self.stored.register(registry);
        let registry = registry.sub_registry_with_prefix("hearth_compactor");
        let counters: [(&str, &str, &Counter); 19] = [
            ("runs", "Runs over one tenant that succeeded", &self.runs),
            ("run_failures", "Runs over one tenant that failed", &self.failures),
            ("expired_blocks", "Blocks removed by retention", &self.expired_blocks),
            ("expired_profiles", "Profile rows of these blocks", &self.expired_profiles),
            ("expired_bytes", "Bytes of these blocks", &self.expired_bytes),
            ("condemned_orphans", "Blocks and pages condemned without a root", &self.condemned_orphans),
            ("deleted_objects", "Objects deleted after their delay", &self.deleted_objects),
            ("deleted_versions", "Versions of roots deleted", &self.deleted_versions),
            (
                "finished_deletions",
                "Deletions by users that all blocks have applied",
                &self.finished_deletions,
            ),
            ("unfinished_files", "Files that writers which died never finished", &self.unfinished_files),
            ("merged_rows", "Profile rows of merged blocks", &self.rows_in),
            ("written_rows", "Profile rows written by merges", &self.rows_out),
            ("merged_samples", "Sample rows of merged blocks", &self.samples),
            (
                "duplicate_rows",
                "Profile rows that another row of the same record stood for",
                &self.duplicates,
            ),
            (
                "unequal_duplicate_rows",
                "Of these, rows with other content: a defect",
                &self.unequal_duplicates,
            ),
            ("deleted_rows", "Profile rows left out because a user deleted them", &self.deleted_rows),
            ("expired_rows", "Profile rows left out because they were too old", &self.expired_rows),
            ("merged_bytes", "Bytes of merged blocks", &self.bytes_in),
            ("written_bytes", "Bytes of blocks written by merges", &self.bytes_out),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("jobs", "Merges by reason and outcome", self.jobs.clone());
        registry.register(
            "job_seconds",
            "How long merges took, whatever became of them",
            self.job_seconds.clone(),
        );
        let help = "Blocks found damaged or too large, which this process does not merge";
        registry.register("set_aside_blocks", help, self.blocks_set_aside.clone());
        registry.register(
            "blocks_aside",
            "Those of them that are still in a root",
            self.blocks_aside.clone(),
        );
        registry.register("backlog", "Merges planned and not yet done, of all tenants", self.backlog.clone());
        let help = "Since when some tenant has had merges to be done, in seconds since 1970; 0: none has any";
        registry.register("backlog_since_timestamp_seconds", help, self.backlog_since.clone());
    }

    pub(crate) fn done(&self, collected: &Collected) {
        self.runs.inc();
        self.expired_blocks.inc_by(collected.expired_blocks);
        self.condemned_orphans.inc_by(collected.condemned_orphans);
        self.deleted_objects.inc_by(collected.deleted_objects);
        self.deleted_versions.inc_by(collected.deleted_versions);
        self.finished_deletions.inc_by(collected.finished_deletions);
        self.unfinished_files.inc_by(collected.unfinished_files);
    }

    /// A block that retention removed.
    pub(crate) fn expired(&self, profiles: u64, bytes: u64) {
        self.expired_profiles.inc_by(profiles);
        self.expired_bytes.inc_by(bytes);
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }

    /// Retention and collection went over all tenants.
    pub(crate) fn round_succeeded(&self, now: TimestampNs) {
        self.last_round.set(seconds(now));
    }

    pub(crate) fn planned(&self, tenant: &TenantId, jobs: usize, now: TimestampNs) {
        let mut planned = self.planned.lock();
        match jobs {
            0 => drop(planned.remove(tenant)),
            jobs => planned.entry(tenant.clone()).or_insert(Planned { jobs, since: now }).jobs = jobs,
        }
        let since = planned.values().map(|planned| planned.since).min();
        self.backlog_since.set(since.map_or(0.0, seconds));
        let all: usize = planned.values().map(|planned| planned.jobs).sum();
        self.backlog.set(i64::try_from(all).unwrap_or(i64::MAX));
    }

    pub(crate) fn job(&self, why: Why, outcome: Outcome, took: Duration, aside: usize) {
        self.jobs.get_or_create(&JobLabels { why: why.as_str(), outcome: outcome.as_str() }).inc();
        self.job_seconds.observe(took.as_secs_f64());
        self.aside(aside);
    }

    /// One more block is set aside; `aside` are there now.
    pub(crate) fn set_aside(&self, aside: usize) {
        self.blocks_set_aside.inc();
        self.aside(aside);
    }

    fn aside(&self, aside: usize) {
        self.blocks_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
    }

    pub(crate) fn merged(&self, counts: &Counts) {
        self.rows_in.inc_by(counts.rows_in);
        self.rows_out.inc_by(counts.rows_out);
        self.samples.inc_by(counts.samples_in);
        self.duplicates.inc_by(counts.duplicates);
        self.unequal_duplicates.inc_by(counts.unequal_duplicates);
        self.deleted_rows.inc_by(counts.deleted);
        self.expired_rows.inc_by(counts.expired);
        self.bytes_in.inc_by(counts.bytes_in);
        self.bytes_out.inc_by(counts.bytes_out);
    }
}

fn seconds(at: TimestampNs) -> f64 {
    at.as_ms() as f64 / 1000.0
}
