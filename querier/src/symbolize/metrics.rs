//! What is counted of names for native frames; the first four under the reference's names (api-semantics §11).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What became of a frame that had no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has one.
    Named,
    /// Its mapping has no build id, or none that is hex digits.
    NoBuildId,
    /// Nobody has symbols of its program.
    NoSymbols,
    /// The program's symbols have no function there.
    NoFunction,
    /// Symbols could not be read, or too many were being read.
    Failed,
    /// Time was over.
    Late,
    /// The query has too many of them.
    TooMany,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Named,
        Self::NoBuildId,
        Self::NoSymbols,
        Self::NoFunction,
        Self::Failed,
        Self::Late,
        Self::TooMany,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::NoBuildId => "no_build_id",
            Self::NoSymbols => "no_symbols",
            Self::NoFunction => "no_function",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::TooMany => "too_many",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Frames {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    error_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    status: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Histograms<RequestLabels>,
    caches: Family<CacheLabels, Counter>,
    answers: Histogram,
    errors: Family<ErrorLabels, Counter>,
    frames: Family<Frames, Counter>,
    builds: Histogram,
    table_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // 10 ms to 5 min: what is fetched are files of many megabytes.
        fn seconds() -> Histogram {
            Histogram::new(exponential_buckets(0.01, 2.0, 16))
        }
        Self {
            requests: Family::new_with_constructor(seconds),
            caches: Family::default(),
            answers: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            errors: Family::default(),
            frames: Family::default(),
            builds: seconds(),
            table_bytes: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "How long requests to debuginfod took, by what came of them";
        registry.register(
            "pyroscope_symbolizer_debuginfod_request_duration_seconds",
            help,
            self.requests.clone(),
        );
        let help = "Line tables that were looked for in memory and in the store, by what was found";
        registry.register("pyroscope_symbolizer_cache_operations", help, self.caches.clone());
        for cache in ["memory", "store"] {
            for result in ["hit", "miss", "error"] {
                drop(self.caches.get_or_create(&CacheLabels { cache, result }));
            }
        }
        let help = "How long it took to put names into answers";
        registry.register("pyroscope_profile_symbolization_duration_seconds", help, self.answers.clone());
        let help = "Programs whose symbols could not be read, by reason";
        registry.register("pyroscope_debug_symbol_resolution_errors", help, self.errors.clone());
        let registry = registry.sub_registry_with_prefix("hearth_querier_symbol");
        let help = "Distinct addresses without names in answers, by what became of them";
        registry.register("frames", help, self.frames.clone());
        for outcome in Outcome::ALL {
            drop(self.frames.get_or_create(&Frames { outcome: outcome.as_str() }));
        }
        let help = "How long it took to make line tables of programs";
        registry.register("build_seconds", help, self.builds.clone());
        registry.register("table_bytes", "Memory of line tables", self.table_bytes.clone());
    }

    pub(crate) fn frames(&self, outcome: Outcome, count: usize) {
        if count > 0 {
            self.frames.get_or_create(&Frames { outcome: outcome.as_str() }).inc_by(count as u64);
        }
    }

    pub(crate) fn named(&self, took: Duration) {
        self.answers.observe(took.as_secs_f64());
    }

    pub(crate) fn memory(&self, hit: bool) {
        let result = if hit { "hit" } else { "miss" };
        self.caches.get_or_create(&CacheLabels { cache: "memory", result }).inc();
    }

    pub(crate) fn store(&self, result: &'static str) {
        self.caches.get_or_create(&CacheLabels { cache: "store", result }).inc();
    }

    pub(crate) fn error(&self, error_type: &'static str) {
        self.errors.get_or_create(&ErrorLabels { error_type }).inc();
    }

    pub(crate) fn request(&self, status: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { status }).observe(took.as_secs_f64());
    }

    pub(crate) fn built(&self, took: Duration) {
        self.builds.observe(took.as_secs_f64());
    }

    pub(crate) fn table_bytes(&self, bytes: u64) {
        self.table_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
