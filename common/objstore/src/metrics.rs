//! What is counted of every call, under the names that dashboards for such stores know.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading one whole object.
    Get,
    /// Reading ranges of one object.
    GetRange,
    /// Asking whether an object exists, and how long it is.
    Attributes,
    /// Writing an object.
    Upload,
    /// Writing an object unless it exists.
    Create,
    /// Listing.
    Iter,
    /// Removing an object.
    Delete,
}

impl Operation {
    pub(crate) const ALL: [Self; 7] =
        [Self::Get, Self::GetRange, Self::Attributes, Self::Upload, Self::Create, Self::Iter, Self::Delete];

    /// The value of the label `operation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Attributes => "attributes",
            Self::Upload => "upload",
            Self::Create => "create",
            Self::Iter => "iter",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    operation: Operation,
    bucket: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    bucket: String,
    operations: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    fetched: Family<Labels, Counter>,
    sent: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
}

impl Metrics {
    pub(crate) fn new(bucket: &str) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let metrics = Self {
            bucket: bucket.to_owned(),
            operations: Family::default(),
            failures: Family::default(),
            fetched: Family::default(),
            sent: Family::default(),
            seconds: Family::new_with_constructor(seconds),
        };
        for operation in Operation::ALL {
            let labels = metrics.labels(operation);
            drop(metrics.operations.get_or_create(&labels));
            drop(metrics.failures.get_or_create(&labels));
        }
        metrics
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        add("objstore_bucket_operations", "Calls to the object store", &self.operations);
        add(
            "objstore_bucket_operation_failures",
            "Failed calls, other than for missing objects",
            &self.failures,
        );
        add("objstore_bucket_operation_fetched_bytes", "Bytes read from the object store", &self.fetched);
        add("objstore_bucket_operation_sent_bytes", "Bytes written to the object store", &self.sent);
        registry.register(
            "objstore_bucket_operation_duration_seconds",
            "Time of calls to the object store",
            self.seconds.clone(),
        );
    }

    fn labels(&self, operation: Operation) -> Labels {
        Labels { operation, bucket: self.bucket.clone() }
    }

    pub(crate) fn record(&self, operation: Operation, took: Duration, failed: bool, bytes: u64) {
        let labels = self.labels(operation);
        self.operations.get_or_create(&labels).inc();
        if failed {
            self.failures.get_or_create(&labels).inc();
        }
        match operation {
            Operation::Get | Operation::GetRange => {
                self.fetched.get_or_create(&labels).inc_by(bytes);
            }
            Operation::Upload | Operation::Create => {
                self.sent.get_or_create(&labels).inc_by(bytes);
            }
            _ => {}
        }
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
