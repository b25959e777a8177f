//! What a log is opened with, and what it tells its owner.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, Pulse, SystemClock};

use crate::Lsn;
use crate::error::WalError;

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// The folder; created if it is missing. Nothing else may live in it; the caller holds the lock on it.
    pub dir: PathBuf,
    /// A new segment is begun before a file would grow beyond this many bytes.
    pub segment_bytes: u64,
    /// Most bytes accepted and not yet durable; beyond it an append fails with [`WalError::QueueFull`].
    pub queue_bytes: usize,
    /// Most bytes of all segments together; beyond it an append fails with [`WalError::Full`].
    pub quota_bytes: u64,
    /// Bytes of the file system that stay free; below it an append fails with [`WalError::Full`].
    pub reserve_bytes: u64,
    /// A random number. It enters every entry's checksum, so that bytes inside a payload cannot pose as an entry when
    /// reading resumes behind damage.
    pub salt: u32,
    /// For the durations in [`GroupWritten`].
    pub clock: Arc<dyn Clock>,
    /// Says whether the disk still answers: each write and sync is work.
    pub pulse: Pulse,
}

impl WalOptions {
    /// Default: 64 MiB a segment.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Default: 64 MiB in the queue.
    pub const QUEUE_BYTES: usize = 64 << 20;
    /// Default: 8 GiB of segments.
    pub const QUOTA_BYTES: u64 = 8 << 30;
    /// Default: 256 MiB stay free.
    pub const RESERVE_BYTES: u64 = 256 << 20;

    /// The defaults, with salt 0 and the machine's clock.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: Self::SEGMENT_BYTES,
            queue_bytes: Self::QUEUE_BYTES,
            quota_bytes: Self::QUOTA_BYTES,
            reserve_bytes: Self::RESERVE_BYTES,
            salt: 0,
            clock: Arc::new(SystemClock::default()),
            pulse: Pulse::default(),
        }
    }
}

/// One group commit, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupWritten {
    /// Entries in the group.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Time in write calls.
    pub write: Duration,
    /// Time in fdatasync.
    pub sync: Duration,
}

/// What a log tells its owner, from its writer thread. Calls must not block and must not append.
pub trait WalEvents: Send + Sync {
    /// All entries with numbers ≤ `upto` are on disk. `upto` grows from call to call.
    fn durable(&self, upto: Lsn);

    /// Writing has ended for good: nothing beyond the last `durable` will ever be. Called at most once.
    fn failed(&self, error: &WalError);

    /// A group was written; called before its `durable`.
    fn group(&self, _group: GroupWritten) {}
}
