//! What answers may hold. Each record has a name of its own and the value 1, so an answer tells how often each counts.

use std::collections::{BTreeMap, BTreeSet};

/// Records that were sent, and those of them that were acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) sent: BTreeSet<u64>,
    pub(crate) acked: BTreeSet<u64>,
}

/// How often each record counts in an answer.
pub(crate) type Counts = BTreeMap<u64, i64>;

impl Truth {
    /// An answer holds all that was acknowledged before it was asked for, and of the rest what was sent; each once.
    pub(crate) fn check(&self, acked_before: &BTreeSet<u64>, counts: &Counts) -> Result<(), String> {
        if let Some((record, times)) = counts.iter().find(|(_, times)| **times != 1) {
            return Err(format!("record {record} counts {times} times"));
        }
        if let Some(record) = acked_before.iter().find(|record| !counts.contains_key(record)) {
            return Err(format!("record {record} was acknowledged and is missing"));
        }
        match counts.keys().find(|record| !self.sent.contains(record)) {
            Some(record) => Err(format!("record {record} was never sent")),
            None => Ok(()),
        }
    }
}
