//! The ingester on the internal port: what other roles call, and the links between members of cells.
//!
//! Only here do the types of hearth-internode meet ours. Must not know: gossip, who is alive.

mod calls;
mod links;
mod placement;

pub use calls::Member;
pub use links::{Links, Neighbours};
