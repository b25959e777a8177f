//! Whether the process is ready, and if not, what it waits for.

use std::sync::{Arc, Mutex, PoisonError};

/// All gates of a process. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<State>>>);

/// A part and why it is not ready.
type State = (&'static str, Option<String>);

/// One part's word on whether it is ready; closed at first.
#[derive(Debug, Clone)]
pub struct Gate {
    all: Readiness,
    at: usize,
}

impl Readiness {
    /// Adds a gate, closed for `reason`.
    pub fn gate(&self, part: &'static str, reason: impl Into<String>) -> Gate {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.push((part, Some(reason.into())));
        Gate { all: self.clone(), at: gates.len() - 1 }
    }

    /// `Ok` if every gate is open, else what is waited for, as one line.
    pub fn check(&self) -> Result<(), String> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed: Vec<String> =
            gates.iter().filter_map(|(part, why)| why.as_ref().map(|why| format!("{part}: {why}"))).collect();
        if closed.is_empty() { Ok(()) } else { Err(closed.join("; ")) }
    }
}

impl Gate {
    /// Says that the part is ready.
    pub fn open(&self) {
        self.set(None);
    }

    /// Says that the part is not ready, and why.
    pub fn close(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        let mut gates = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(self.at) {
            gate.1 = reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_all_gates_are_open() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Ok(()));
        let (log, head) = (readiness.gate("wal", "replaying"), readiness.gate("head", "starting"));
        log.open();
        assert_eq!(readiness.check(), Err("head: starting".to_owned()));
        head.open();
        assert_eq!(readiness.check(), Ok(()));
        log.close("disk is full");
        assert_eq!(readiness.check(), Err("wal: disk is full".to_owned()));
    }
}
