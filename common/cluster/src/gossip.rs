//! Who is probably alive and where. The only place that names chitchat.
//!
//! Gossip decides nothing (design: replication A37): it says whom to try first. It is neither encrypted nor authenticated;
//! `cluster_id` is a namespace and no secret, so the port must be reachable by the cluster's own machines only. Must not
//! know the roster.

mod codec;
mod keys;
mod metrics;
mod node;
mod peers;
mod socket;
mod watcher;

pub use metrics::Counts;
pub use node::{Gossip, GossipError, GossipOptions, Voice};
pub use peers::{Announcement, Gone, Peer, PeerState, Peers, Role};
