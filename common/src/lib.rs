//! The kernel: ids, time, errors, limits and units that every other crate speaks in.
//!
//! Owns the words shared by all crates. Must not know: any wire format, any profile format, tokio, disks or sockets.

pub mod aside;
pub mod clock;
pub mod error;
pub mod ids;
pub mod limits;
pub mod pulse;
pub mod range_read;
pub mod secrets;
pub mod turns;
pub mod units;
pub mod work;

pub use aside::{Aside, GiveWay};
pub use clock::{Clock, SystemClock, TimeRange, TimestampNs};
pub use error::{BoxError, Classify, ErrorKind, Retry};
pub use ids::{
    BlockId, CellId, DiskId, Incarnation, InstanceId, JournalId, LogId, MemberId, Position, Rid, TenantId,
};
pub use limits::{LimitsSource, TenantLimits};
pub use pulse::Pulse;
pub use range_read::RangeRead;
pub use turns::{Turn, TurnWatch, Turns};
pub use work::Workers;
