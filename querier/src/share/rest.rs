//! Peers that are left alone for a while: they could not be reached, or did not answer twice in a row. Their blocks belong
//! to others meanwhile, as if they were gone. Gossip notices only some seconds later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, InstanceId};
use parking_lot::Mutex;

/// The first rest; each further one in a row is twice as long, …
const REST_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const REST_MAX: Duration = Duration::from_secs(30);
/// Calls in a row that a peer may leave unanswered.
const SILENCES_MAX: u32 = 2;
/// Most peers that are remembered; beyond it all are forgotten.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Known {
    silences: u32,
    rests: u32,
    until: Duration,
}

/// Who rests.
#[derive(Debug)]
pub(super) struct Resting {
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<InstanceId, Known>>,
}

impl Resting {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }

    pub(super) fn rests(&self, peer: &InstanceId) -> bool {
        let known = self.known.lock();
        // Whoever never failed is not in it: the clock need not be asked.
        known.get(peer).is_some_and(|known| self.clock.monotonic() < known.until)
    }

    /// A peer answered, if only that it is busy.
    pub(super) fn well(&self, peer: &InstanceId) {
        self.known.lock().remove(peer);
    }

    /// Somebody else was faster by far, and it still had not answered.
    pub(super) fn silent(&self, peer: &InstanceId) {
        self.note(peer, |known, now| {
            known.silences += 1;
            if known.silences >= SILENCES_MAX {
                rest(known, now);
            }
        });
    }

    /// It could not be reached, or broke off. Whoever fails while it rests was asked before.
    pub(super) fn failed(&self, peer: &InstanceId) {
        self.note(peer, |known, now| {
            if now >= known.until {
                rest(known, now);
            }
        });
    }

    /// It will not answer for long: it is of another version.
    pub(super) fn strange(&self, peer: &InstanceId) {
        self.note(peer, |known, now| known.until = now + REST_MAX);
    }

    fn note(&self, peer: &InstanceId, change: impl FnOnce(&mut Known, Duration)) {
        let now = self.clock.monotonic();
        let mut all = self.known.lock();
        if all.len() >= PEERS_MAX && !all.contains_key(peer) {
            all.clear();
        }
        change(all.entry(peer.clone()).or_default(), now);
    }
}

fn rest(known: &mut Known, now: Duration) {
    let pause = REST_MIN.saturating_mul(1 << known.rests.min(10)).min(REST_MAX);
    // One silence more and it rests again.
    (known.silences, known.rests, known.until) = (SILENCES_MAX - 1, known.rests + 1, now + pause);
}

#[cfg(test)]
mod tests {
    use hearth_testkit::HandClock;

    use super::*;

    #[test]
    fn rests_grow_until_it_answers() {
        let clock = Arc::new(HandClock::default());
        let resting = Resting::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let peer = InstanceId(Arc::from("b"));
        let rests_ms = || {
            let mut ms = 0;
            while resting.rests(&peer) {
                clock.pass(Duration::from_millis(100));
                ms += 100;
            }
            ms
        };
        assert_eq!(rests_ms(), 0);
        resting.silent(&peer);
        assert_eq!(rests_ms(), 0, "it may only have been slow");
        resting.silent(&peer);
        assert_eq!(rests_ms(), 1000);
        resting.failed(&peer);
        // Another call that was under way.
        resting.failed(&peer);
        assert_eq!(rests_ms(), 2000);
        resting.silent(&peer);
        assert_eq!(rests_ms(), 4000);
        (0..20).for_each(|_| {
            resting.failed(&peer);
            rests_ms();
        });
        resting.failed(&peer);
        assert_eq!(rests_ms(), 30_000);
        resting.well(&peer);
        resting.failed(&peer);
        assert_eq!(rests_ms(), 1000);
        resting.strange(&peer);
        assert_eq!(rests_ms(), 30_000);
    }
}
