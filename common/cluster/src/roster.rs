//! Which members and cells there should be, and from when on which keys lie on which cells (design: replication B2).
//!
//! Types and planner are pure; the store keeps the chain of versions in the object store
//! (`docs/formats/roster.md`). Must not know gossip's library, nor how a cell keeps its log.

mod change;
mod error;
mod homes;
mod types;

pub use change::{Change, InvalidChange, apply};
pub use error::RosterError;
pub use homes::{Homes, LOOSE_AHEAD, Placed};
pub use types::{
    Cell, CellState, InvalidRoster, LogId, Loss, Member, MemberState, ROSTER_FORMAT, Roster, ScheduleEntry,
};
