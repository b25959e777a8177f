//! Who is in the cluster and how roles reach each other: the roster in the object store, gossip, and the push seam that an
//! in-process call and an RPC client share.
//!
//! The roster says which cells and members there should be, and which keys lie on which cells; it is changed by
//! put-if-absent only. Gossip says who is probably alive and where; it decides nothing (design: replication A37). Must not
//! know: what is in a record, how a cell keeps its log.

pub mod gossip;
pub mod push;
pub mod roster;
mod seen;

pub use push::{PushError, PushOutcome, PushTarget};
pub use seen::seen;
