//! What an ingester is started with: settings (data) and components (injected).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::Catalog;
use hearth_common::{Clock, InstanceId, LimitsSource, Pulse, Turns, Workers};

use crate::host::Post;

/// Settings of an ingester.
#[derive(Debug, Clone)]
pub struct IngesterOptions {
    /// Folder of the log and of what must survive with it. The caller holds a lock on it.
    pub data_dir: PathBuf,
    /// The name of this process, stable over restarts.
    pub instance: InstanceId,
    /// Bytes of a segment of the log.
    pub wal_segment_bytes: u64,
    /// Most bytes of the log; beyond it pushes are refused.
    pub wal_quota_bytes: u64,
    /// Bytes that stay free on the disk.
    pub wal_reserve_bytes: u64,
    /// Most bytes accepted and not yet on disk.
    pub wal_queue_bytes: usize,
    /// A tenant's head is cut from this many bytes on.
    pub cut_bytes: u64,
    /// … or from this age on, if it has at least `cut_min_bytes`.
    pub cut_age: Duration,
    /// See `cut_age`.
    pub cut_min_bytes: u64,
    /// … or from this age on in any case.
    pub cut_age_max: Duration,
    /// How long pushes are remembered, so that a retry counts once.
    pub remember_pushes: Duration,
    /// How long a stop publishes; what is left then stays in the log.
    pub flush_timeout: Duration,
    /// Which cells it keeps.
    pub cells: Cells,
}

/// Which cells an ingester keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// One of its own, with no other member: Hearth on one machine.
    Alone,
    /// Those that [`crate::Ingester::keep`] names.
    Named,
}

/// What an ingester works with.
#[derive(Clone)]
pub struct IngesterDeps {
    /// Where cuts are published.
    pub catalog: Arc<Catalog>,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Takes messages for other members of cells.
    pub post: Arc<dyn Post>,
    /// Random numbers: secrets of hash tables, names of attempts.
    pub rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Reads the log, builds records, encodes blocks, answers from heads.
    pub workers: Workers,
    /// Of answers that are computed.
    pub turns: Turns,
    /// What its loops tell of themselves.
    pub pulses: Pulses,
}

/// What the loops of an ingester tell of themselves; the default is watched by nobody.
#[derive(Debug, Clone, Default)]
pub struct Pulses {
    /// Writes and syncs of the write-ahead log.
    pub wal: Pulse,
    /// What lets replicas see what is on disk, and that time passes.
    pub cells: Pulse,
    /// Cuts heads and publishes them.
    pub publishing: Pulse,
}

impl std::fmt::Debug for IngesterDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngesterDeps").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}

/// The ingester could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("cannot {doing} {path}")]
    Folder {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file of the data folder is not what it must be.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The log cannot be opened.
    #[error("the write-ahead log cannot be opened")]
    Wal(#[from] hearth_wal::WalError),
}
