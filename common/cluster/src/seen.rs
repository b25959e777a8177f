//! From gossip to what the planner of the roster takes: the one place where the two meet. Pure.

use std::time::Duration;

use hearth_common::MemberId;

use crate::gossip::{Announcement, PeerState, Peers, Role};
use crate::roster::{Presence, Seen};

/// The ingesters that are alive, and those that went, as the planner takes them. Ingesters without a disk are none.
pub fn seen(peers: &Peers) -> Vec<Seen> {
    let one = |said: &Announcement, presence: Presence, since: Duration| {
        let ingests = matches!(said.role, Role::Ingester | Role::Standalone);
        let member = MemberId { instance: said.instance.clone(), disk: said.disk? };
        ingests.then(|| Seen { member, zone: said.zone.clone(), presence, since })
    };
    let alive = peers.alive().filter_map(|peer| {
        let presence = match peer.said.state {
            PeerState::Joining => Presence::Joining,
            PeerState::Active => Presence::Active,
            PeerState::Leaving => Presence::Leaving,
        };
        one(&peer.said, presence, peer.since)
    });
    let gone = peers.gone().filter_map(|gone| one(&gone.said, Presence::Gone, gone.last_seen));
    alive.chain(gone).collect()
}
