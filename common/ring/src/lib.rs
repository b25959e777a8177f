//! Pure placement: (schedule, tenant, key, profile time) to the cell that takes a record, and members on a ring to the owner
//! of a point.
//!
//! Everything here is a function of its arguments: tokens come from the instance id, liveness is no input (design:
//! replication B2). Must not know: gossip, addresses, clocks, the roster's encoding.

mod ring;
mod schedule;

pub use ring::{Ring, TOKENS_PER_MEMBER, token_of, token_of_text, tokens_of};
pub use schedule::{Home, Schedule, ScheduleEntry, ScheduleError, ServiceShards, key_token};
