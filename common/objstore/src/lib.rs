//! The object store: opens it from a URL, put-if-absent, ranged reads, fsync, retries, limits of
//! concurrent requests, metrics.
//!
//! The only crate that names object_store. Keys are plain texts with `/` between segments. Must not know what the objects
//! mean: tenants, roots and blocks are others' business.

mod call;
mod class;
#[cfg(feature = "cloud")]
mod cloud;
pub mod conformance;
#[cfg(feature = "cloud")]
mod credentials;
mod encryption;
mod envelope;
mod error;
mod faults;
mod folder;
mod metrics;
mod open;
mod patience;
mod probe;
mod reader;
mod reads;
mod store;
mod traffic;
#[cfg(feature = "cloud")]
mod transport;
mod upload;

pub use class::Class;
pub use encryption::Encryption;
pub use envelope::{ENVELOPE_BYTES, Envelope, EnvelopeError};
pub use error::{StoreError, StoreErrorKind};
pub use faults::{Fault, Faults};
pub use metrics::Operation;
pub use open::{RemoteOptions, StoreOptions};
pub use store::{ObjectInfo, Payload, PutOutcome, Store};
pub use upload::{UPLOAD_MEMORY_BYTES, Upload};
