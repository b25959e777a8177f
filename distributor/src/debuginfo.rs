//! Uploads of programs and debug files: what is taken, how much at once, for how long (api-semantics §10.5).
//!
//! How an upload goes from begun to finished is `hearth_debuginfo`'s. Must not know the wire (that is in `api`).

use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Classify, ErrorKind, Retry, TenantId};
use hearth_debuginfo::{Begun, Entry, Error, FileInfo, Receiving, Uploads};
use hearth_rpc::Routes;
use hearth_symbols::BuildId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api;

/// Files that are received at once; each takes up to two parts of a multipart upload of memory.
const RECEIVED_AT_ONCE: usize = 8;
/// When a client that comes too early may come again.
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct DebugInfoOptions {
    /// Whether uploads are taken.
    pub enabled: bool,
    /// Most bytes of one file.
    pub upload_bytes_max: u64,
    /// The longest that the transfer of one file takes.
    pub upload_timeout: Duration,
}

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DebugInfoError {
    /// By the rules of uploads, or by the store.
    #[error(transparent)]
    Upload(#[from] Error),
    /// Switched off.
    #[error("uploads of debug information are switched off (debug_info.enabled)")]
    Disabled,
    /// Too many come at once.
    #[error("{RECEIVED_AT_ONCE} files are being received, which is all that may be: try again")]
    Busy,
    /// It took too long.
    #[error("the file did not come within {}s (debug_info.upload_timeout): begin anew", .0.as_secs())]
    Late(Duration),
}

impl Classify for DebugInfoError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Upload(error) => error.kind(),
            Self::Disabled => ErrorKind::FailedPrecondition,
            Self::Busy => ErrorKind::ResourceExhausted,
            Self::Late(_) => ErrorKind::DeadlineExceeded,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Upload(error) => error.retry(),
            Self::Busy => Retry::After(BUSY_RETRY),
            Self::Disabled | Self::Late(_) => Retry::Never,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Default)]
struct Metrics {
    received: Family<Outcome, Counter>,
    bytes: Counter,
    receiving: Gauge,
}

/// Takes uploads.
#[derive(Debug)]
pub struct DebugInfo {
    uploads: Uploads,
    pub(crate) options: DebugInfoOptions,
    receiving: Arc<Semaphore>,
    metrics: Metrics,
}

/// A place among the files that are received; counts what became of the file when it is told.
#[derive(Debug)]
pub(crate) struct Place {
    debuginfo: Arc<DebugInfo>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.debuginfo.metrics.receiving.dec();
    }
}

impl DebugInfo {
    /// Takes uploads into a store.
    pub fn new(uploads: Uploads, options: DebugInfoOptions) -> Arc<Self> {
        let receiving = Arc::new(Semaphore::new(RECEIVED_AT_ONCE));
        Arc::new(Self { uploads, options, receiving, metrics: Metrics::default() })
    }

    /// Every method and path of uploads.
    pub fn routes(self: &Arc<Self>) -> Routes {
        api::debuginfo::routes(self)
    }

    /// Adds its metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_debuginfo");
        let help = "Files of programs that were sent, by what became of them";
        registry.register("uploads", help, self.metrics.received.clone());
        for outcome in ["received", "refused", "failed"] {
            drop(self.metrics.received.get_or_create(&Outcome { outcome }));
        }
        let help = "Bytes of files of programs that were received as a whole";
        registry.register("upload_bytes", help, self.metrics.bytes.clone());
        let help = "Files of programs that are being received";
        registry.register("uploads_in_flight", help, self.metrics.receiving.clone());
    }

    pub(crate) async fn begin(&self, tenant: &TenantId, file: &FileInfo) -> Result<Begun, DebugInfoError> {
        Ok(self.uploads.begin(tenant, file).await?)
    }

    /// Begins to receive a file, if there is room for one more.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        tenant: &TenantId,
        build_id: &BuildId,
    ) -> Result<(Receiving, Place), DebugInfoError> {
        if !self.options.enabled {
            return Err(DebugInfoError::Disabled);
        }
        let permit = Arc::clone(&self.receiving).try_acquire_owned().map_err(|_| DebugInfoError::Busy)?;
        self.metrics.receiving.inc();
        let place = Place { debuginfo: Arc::clone(self), _permit: permit };
        Ok((self.uploads.receive(tenant, build_id).await?, place))
    }

    /// Counts what became of a file: its length, or the status that its sender got.
    pub(crate) fn count(&self, done: Result<u64, u16>) {
        let outcome = match done {
            Ok(bytes) => {
                self.metrics.bytes.inc_by(bytes);
                "received"
            }
            Err(400..=499) => "refused",
            Err(_) => "failed",
        };
        self.metrics.received.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) async fn finish(
        &self,
        tenant: &TenantId,
        build_id: &BuildId,
    ) -> Result<Entry, DebugInfoError> {
        let entry = self.uploads.finish(tenant, build_id).await?;
        tracing::info!(%tenant, build_id = build_id.as_str(), bytes = entry.size_bytes, "a program was uploaded");
        Ok(entry)
    }

    pub(crate) async fn list(&self, tenant: &TenantId) -> Result<Vec<Entry>, DebugInfoError> {
        Ok(self.uploads.list(tenant).await?)
    }

    pub(crate) async fn delete(&self, tenant: &TenantId, build_id: &BuildId) -> Result<(), DebugInfoError> {
        Ok(self.uploads.delete(tenant, build_id).await?)
    }
}
