//! Takes pushes, validates, normalises, splits, and sends records to ingesters.
//!
//! Stateless but for rate limits: what a record holds depends on the push and the tenant's rules only. Must not know: who
//! takes the records ([`hearth_cluster::push::PushTarget`]), queries, storage.

mod api;
mod canonical;
pub mod debuginfo;
mod distributor;
mod error;
pub mod fanout;
mod go_repair;
mod idtable;
mod ingest;
pub mod labels;
mod language;
mod md5;
mod metrics;
mod mix;
mod normalize;
mod otlp;
pub mod pipeline;
pub mod process;
pub mod ratelimit;
pub mod records;
pub mod reject;
pub mod relabel;
pub mod rid;
mod scratch;
mod session;
mod source_code;
mod split;
mod symbols;
mod tenant;
mod usage;
mod validate;

#[doc(hidden)]
/// For its fuzz target.
pub use api::form_files;
pub use distributor::{DistributeError, Distributor, DistributorDeps, Prepared, PushSeries, Replicas};
pub use fanout::{ClusterPush, ClusterPushDeps, ClusterPushOptions};
