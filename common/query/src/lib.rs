//! The way of a question over roots and journals: ranges and limits, which blocks it needs and who reads them, and the seam
//! to heads.
//!
//! Must not know: wire messages, sockets, object stores.

pub mod ask;
pub mod fetch;
pub mod heads;
pub mod nodes;
pub mod plan;
pub mod range;
pub mod series;
pub mod share;
pub mod tenants;

pub use fetch::{FetchAnswer, FetchError, FetchRequest, HeadSource, JournalAnswer};
pub use range::{AskedRange, RangeError};
