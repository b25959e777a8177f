//! Uploaded programs by build id, and the line tables that are made of them, in the object store.
//!
//! Owns `docs/formats/debug-info.md`: which objects there are, and how an upload goes from begun to finished when several
//! clients try at once. Must not know: what is in a file beyond its first bytes, who asks, HTTP.

mod envelope;
mod error;
mod keys;
mod programs;
mod receiving;
mod record;
mod states;
mod uploads;

pub use error::Error;
pub use keys::prefixes;
pub use programs::{Programs, Source, TableTag, Uploaded};
pub use receiving::Receiving;
pub use record::{FileInfo, FileKind, NAME_BYTES_MAX};
pub use uploads::{Begun, Entry, Rng, Uploads};
