//! Which members and cells there should be, and from when on which keys lie on which cells (design: replication B2).
//!
//! Types and [`plan`] are pure; [`RosterStore`] keeps the chain of versions in the object store
//! (`docs/formats/roster.md`). Must not know gossip's library, nor how a cell keeps its log.

mod chain;
mod change;
mod disk;
mod envelope;
mod error;
mod homes;
mod json;
mod plan;
mod seats;
mod shards;
mod sight;
mod store;
mod tend;
mod types;

pub use chain::{Version, expired_versions};
pub use change::{Change, InvalidChange, apply};
pub use disk::{FolderCopy, RosterCopy};
pub use error::RosterError;
pub use hearth_common::LogId;
pub use homes::{Homes, LOOSE_AHEAD, PlaceKey, Placed, service_key};
pub use json::{decode_roster, encode_roster};
pub use plan::{Plan, plan};
pub use shards::Volume;
pub use sight::{Knowledge, Note, PlanOptions, Presence, Seen, Sight};
pub use store::{Proposed, RosterParts, RosterStore};
pub use tend::{Tended, tend};
pub use types::{
    Cell, CellState, InvalidRoster, Loss, Member, MemberState, ROSTER_FORMAT, Roster, ScheduleEntry,
};
