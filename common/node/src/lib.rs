//! What every process does around its role: settings, logs, the folder's lock, the store, readiness, the port, and the way
//! down.
//!
//! Owns the order of start and stop, and the routes that every process has. Must not know what a role does: it hands over
//! what roles are made of ([`Node`]) and takes what they have become ([`Running`]).

mod allocator;
mod args;
mod error;
mod folder_lock;
mod node;
mod open;
mod program;
mod signals;
mod web;

pub use args::CommonArgs;
pub use error::NodeError;
pub use hearth_cluster::gossip::Role;
pub use node::{Node, Random, Running};
pub use program::{report, run};
#[cfg(feature = "jemalloc")]
#[doc(hidden)]
pub use tikv_jemallocator;
pub use web::Flush;
