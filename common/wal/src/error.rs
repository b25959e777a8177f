//! What goes wrong with a log: refusals of an append, failures of the disk, damage found by replay.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Classify, ErrorKind, Retry};

use crate::SegmentNo;

/// Why the log cannot take an entry or cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// Too many bytes wait for the disk.
    #[error(
        "{queued} bytes wait to be written to the log, limit {limit}: the disk is slower than the pushes"
    )]
    QueueFull {
        /// Bytes that wait, with the refused entry.
        queued: usize,
        /// `queue_bytes`.
        limit: usize,
    },
    /// All segments together reached the quota.
    #[error(
        "the log holds {bytes} bytes, quota {quota}: wait until blocks are published, or raise the quota"
    )]
    Full {
        /// Bytes on disk and queued, with the refused entry.
        bytes: u64,
        /// `quota_bytes`.
        quota: u64,
    },
    /// The file system is nearly full.
    #[error(
        "{free} bytes are free on the log's disk, {reserve} must stay free: make room or enlarge the disk"
    )]
    DiskFull {
        /// Bytes free, as last seen, less what was taken since.
        free: u64,
        /// `reserve_bytes`.
        reserve: u64,
    },
    /// An entry that could not be read back.
    #[error("an entry of {bytes} bytes is longer than the limit {limit}")]
    TooLong {
        /// Length of head and body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A write or fsync failed before: the process must restart.
    #[error("the log stopped after a failure: {cause}; restart the process")]
    Stopped {
        /// What failed first.
        cause: Arc<str>,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
    /// The disk failed.
    #[error("cannot {doing} '{name}' of the log")]
    Io {
        /// What was tried: `write`, `sync`, `create`, …
        doing: &'static str,
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The options contradict each other.
    #[error("log option {name} is {value}: {must}")]
    Option {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        must: &'static str,
    },
}

impl WalError {
    /// An error of the disk: what was tried, with which file (may be empty).
    pub fn io(doing: &'static str, name: &str, source: io::Error) -> Self {
        Self::Io { doing, name: name.to_owned(), source: Arc::new(source) }
    }

    /// Whether the log is out of room (quota or disk), as opposed to slow or broken.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::DiskFull { .. })
    }
}

impl Classify for WalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::QueueFull { .. } | Self::Full { .. } | Self::DiskFull { .. } => {
                ErrorKind::ResourceExhausted
            }
            Self::TooLong { .. } => ErrorKind::InvalidArgument,
            Self::Stopped { .. } | Self::Closed | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Option { .. } => ErrorKind::FailedPrecondition,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::QueueFull { .. } => Retry::After(Duration::from_millis(200)),
            Self::Full { .. } | Self::DiskFull { .. } => Retry::After(Duration::from_secs(5)),
            Self::Stopped { .. } | Self::Closed | Self::Io { .. } => Retry::After(Duration::from_secs(1)),
            Self::TooLong { .. } | Self::Option { .. } => Retry::Never,
        }
    }
}

/// Bytes that replay could not read. Entries may be missing there; all others are returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("segment {segment} of the log is damaged at byte {offset}, {bytes_skipped} bytes skipped: {kind}")]
pub struct Damage {
    /// The segment.
    pub segment: SegmentNo,
    /// First byte that was skipped.
    pub offset: u64,
    /// How many bytes were skipped; 0 when whole entries are missing between two intact ones.
    pub bytes_skipped: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

/// What is wrong with a range of a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// The segment's header or preamble; nothing of the segment can be read.
    #[error("the header is not valid")]
    Header,
    /// An entry's header.
    #[error("an entry's header has a wrong checksum or length")]
    EntryHeader,
    /// An entry's payload; its header is intact, so exactly one entry is lost.
    #[error("the payload of entry {lsn} has a wrong checksum")]
    Payload {
        /// The entry's number in its life.
        lsn: u64,
    },
    /// Entries that should stand between two others do not.
    #[error("entries {first} to {last} are missing")]
    Gap {
        /// First missing number.
        first: u64,
        /// Last missing number.
        last: u64,
    },
    /// The file ends inside an entry although it was completed.
    #[error("the file ends too early")]
    Short,
    /// Whole segments, from the one named by the damage on.
    #[error("segments up to {upto} are missing")]
    Missing {
        /// The last missing one.
        upto: SegmentNo,
    },
    /// The operating system could not read the file.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}
