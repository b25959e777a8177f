//! What stands for gossip: processes hear of each other late, not at all, or wrongly, and forget those that fell silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hearth_cluster::gossip::{Announcement, PeerState, Peers, Voice};
use hearth_common::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::world::World;

/// How often a process listens.
const LISTEN_EVERY: Duration = Duration::from_millis(500);
/// Who was not heard for so long is taken to be gone.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// What one process says of itself; `None` while it is dead.
pub(crate) type Said = Mutex<Option<(u64, Announcement)>>;

#[derive(Debug)]
pub(crate) struct SimVoice {
    pub(crate) world: Weak<World>,
    pub(crate) at: usize,
    pub(crate) generation: u64,
}

impl SimVoice {
    fn change(&self, change: impl FnOnce(&mut Announcement)) {
        let Some(world) = self.world.upgrade() else { return };
        if let Some((_, said)) = world.said(self.at).lock().as_mut().filter(|said| said.0 == self.generation)
        {
            change(said);
        }
    }
}

impl Voice for SimVoice {
    fn set_state(&self, state: PeerState) {
        self.change(|said| said.state = state);
    }

    fn set_roster_version(&self, version: u64) {
        self.change(|said| said.roster_version = version);
    }
}

/// Listens for the process at `at` until nobody wants to know any more.
pub(crate) async fn listen(
    world: Weak<World>,
    at: usize,
    clock: Arc<dyn Clock>,
    heard: watch::Sender<Arc<Peers>>,
) {
    let mut known: BTreeMap<usize, (Instant, u64, Announcement)> = BTreeMap::new();
    let mut peers = Peers::begin(clock.monotonic());
    loop {
        {
            let Some(world) = world.upgrade() else { return };
            for other in 0..world.size() {
                let reaches = other == at || world.reaches(other, at);
                let said = world.said(other).lock().clone();
                if let Some((generation, said)) = said.filter(|_| reaches) {
                    known.insert(other, (Instant::now(), generation, said));
                }
            }
            known.retain(|_, (last, _, _)| last.elapsed() < SILENCE_MAX);
            let lies = world.dice.chance(2).then(|| world.dice.below(world.size() as u64) as usize);
            let believed = known.iter().filter(|(other, _)| **other == at || Some(**other) != lies);
            let found = believed.map(|(_, (_, generation, said))| (*generation, said.clone())).collect();
            peers = peers.next(found, clock.monotonic()).0;
        }
        if heard.send(Arc::new(peers.clone())).is_err() {
            return;
        }
        tokio::time::sleep(LISTEN_EVERY).await;
    }
}
