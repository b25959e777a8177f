//! Who is in the cluster and how roles reach each other: the seams that an in-process call and an RPC client share.
//!
//! Must not know: what is in a record, how anything is stored.

pub mod push;

pub use push::{PushError, PushOutcome, PushTarget};
