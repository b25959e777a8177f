//! The seam for tests and the simulator: what goes wrong with a call, decided from outside.

use std::fmt::Debug;

use futures::future::BoxFuture;
use hearth_common::TimestampNs;

use crate::metrics::Operation;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails and was not applied.
    FailBefore,
    /// It is applied, but the caller is told that it failed.
    FailAfter,
    /// The caller is told that it failed; it is applied after this many turns of the executor. Writes only; reads fail.
    FailThenApply {
        /// How many times the task yields first.
        turns: u32,
    },
    /// For put-if-absent: as `FailAfter`, but the caller is told that the object existed already (design: replication
    /// A21).
    ReportExists,
}

/// Decides the fate of each call. May wait before it answers, and so reorder calls.
pub trait Faults: Send + Sync + Debug {
    /// Called before each operation on an object.
    fn next<'a>(&'a self, operation: Operation, key: &'a str) -> BoxFuture<'a, Fault>;

    /// When the store says an object was written, if not when it was: simulated time passes otherwise.
    fn modified(&self, key: &str) -> Option<TimestampNs> {
        _ = key;
        None
    }
}
