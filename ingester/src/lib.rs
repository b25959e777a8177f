//! Makes profiles durable and queryable at once, cuts blocks, publishes them.
//!
//! Owns the data folder. Acknowledged means on disk and visible; nothing above the durable position is served or published.
//! Must not know: wire messages, pprof, what other roles are made of.

mod answer;
mod cut;
mod fetch;
mod head;
mod journal;
mod metrics;
mod options;
mod push;
mod replay;
mod rid_index;
mod service;
mod state_dir;
mod tenant;

pub use options::{IngesterDeps, IngesterOptions, StartError};
pub use service::Ingester;
