//! Makes profiles durable and queryable at once, cuts blocks, publishes them.
//!
//! Owns the data folder. Acknowledged means in the cell's log, on as many disks as its factor asks for, and visible;
//! nothing that is not committed is served or published. Must not know: wire messages, pprof, what other roles are made
//! of.
//!
//! - `api`: the internal port, and links to other members.
//! - `host`: the log on disk, and a replica of each cell that this member keeps.
//! - `lead`: what it has in memory for the cells that it leads.
//! - `head`, `answer`: profiles in memory, and answers from them.

mod answer;
pub mod api;
mod common;
mod head;
mod host;
mod lead;
mod metrics;
mod options;
pub mod planted;
pub mod process;
mod service;
#[cfg(feature = "simulated")]
pub mod simulated;
mod state_dir;
mod tending;

pub use host::takeover::{CellOnDisk, DiskLook, Verdict, take_over};
pub use host::{CellSpec, NoPost, Post};
pub use options::{Cells, IngesterDeps, IngesterOptions, Pulses, StartError};
pub use service::Ingester;
