//! The write-ahead log: segments of checksummed entries, group commit, replay.
//!
//! Owns `docs/formats/wal.md`: a folder of numbered segment files, one writer thread, one fdatasync a group. Knows bytes
//! only; must not know profiles, journals, tenants, tokio or the object store. One failed write or fsync ends writing for
//! good (design: replication A34).

mod disk;
mod error;
mod format;
mod log;
mod options;
mod recover;
mod replay;
mod scan;
mod state;
mod writer;

pub use disk::{Disk, Folder, SegmentFile};
pub use error::{Damage, DamageKind, WalError};
pub use format::{ENTRY_HEADER_BYTES, FORMAT_VERSION, MAX_ENTRY_BYTES, MAX_PREAMBLE_BYTES};
pub use log::{SegmentInfo, Wal, WalStats};
pub use options::{GroupWritten, WalEvents, WalOptions};
pub use replay::{Replay, Replayed};

/// The number of an entry: 1, 2, 3 … within this process' life. 0 means "nothing yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// The number of a segment file; grows over all lives of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentNo(pub u64);

/// Where the payload of an entry lies: it can be read back as soon as it is durable, until its segment is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The file.
    pub segment: SegmentNo,
    /// First byte of the payload in the file.
    pub offset: u64,
    /// Length of the payload.
    pub bytes: u32,
}

/// An entry that the log has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub lsn: Lsn,
    /// Where it will lie.
    pub location: Location,
}

impl std::fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}", self.0)
    }
}
