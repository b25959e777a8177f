//! The object store: opens it from a URL, put-if-absent, ranged reads, fsync, metrics.
//!
//! The only crate that names object_store. Keys are plain texts with `/` between segments. Must not know what the objects
//! mean: tenants, roots and blocks are others' business.

pub mod conformance;
mod error;
mod faults;
mod folder;
mod metrics;
mod open;
mod probe;
mod reader;
mod store;
mod upload;

pub use error::{StoreError, StoreErrorKind};
pub use faults::{Fault, Faults};
pub use metrics::Operation;
pub use open::StoreOptions;
pub use store::{ObjectInfo, Payload, PutOutcome, Store};
pub use upload::{UPLOAD_MEMORY_BYTES, Upload};
