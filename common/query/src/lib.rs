//! The way of a question over roots and journals: the seam to heads, what a query needs from where, and how parts merge.
//!
//! Must not know: wire messages, sockets, object stores.

pub mod fetch;

pub use fetch::{FetchAnswer, FetchError, FetchRequest, HeadSource, JournalAnswer};
