//! What the tests of real processes share: starting `hearth`, pushing profiles with known sums, asking for totals.
//!
//! Knows Hearth only from outside: its command line and its wire.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test support: a failure here fails the test"
)]

pub mod api;
pub mod chart;
pub mod checker;
pub mod cluster;
pub mod collector;
pub mod faults;
pub mod front;
pub mod gateway;
pub mod load;
pub mod metrics;
pub mod names;
pub mod otlp;
pub mod process;
pub mod profile;
pub mod shared;
pub mod zones;

pub use api::Api;
pub use checker::Checker;
pub use cluster::Cluster;
pub use process::Hearth;
