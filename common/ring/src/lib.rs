//! Pure placement: (schedule, tenant, service, shard, profile time) to the cell that takes a record.
//!
//! Owns tokens, the ring lookup and the schedule. Must not know: gossip, liveness, sockets, clocks. A retry has the same
//! profile time, so it comes to the same cell (design: replication B2).

pub mod placement;
pub mod schedule;
pub mod tokens;

pub use placement::{Key, Ring};
pub use schedule::{Schedule, ScheduleEntry, ScheduleError};
