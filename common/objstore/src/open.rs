//! From a URL to a store.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::secrets::hide_url;
use hearth_common::{Clock, SystemClock};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::sync::Semaphore;

use crate::class::{Class, Lanes};
#[cfg(feature = "cloud")]
use crate::cloud::open as open_cloud;
use crate::encryption::Encryption;
use crate::error::{StoreError, StoreErrorKind};
use crate::faults::Faults;
use crate::metrics::{Metrics, Operation};
use crate::store::{Inner, Store};
use crate::traffic::Traffic;

/// What a store is opened with, beside its URL.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For the durations in metrics.
    pub clock: Arc<dyn Clock>,
    /// Makes calls fail; for tests.
    pub faults: Option<Arc<dyn Faults>>,
    /// How buckets are spoken with.
    pub remote: RemoteOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::default()), faults: None, remote: RemoteOptions::default() }
    }
}

/// How buckets are spoken with: a folder has no requests, and needs none of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Names and values in place of the process' own environment, where credentials and endpoints are looked up.
    pub environment: Option<Vec<(String, String)>>,
    /// How often one request is tried again.
    pub retries_max: u32,
    /// For how long it is tried again.
    pub retry_for: Duration,
    /// Retries of a class of work that may be lost before requests fail at their first try; see [`Class`].
    pub retry_budget: u32,
    /// For how long steps of an upload in pieces are begun anew after that; zero: not at all.
    pub upload_retry_for: Duration,
    /// The longest that one try takes, with its body.
    pub request_timeout: Duration,
    /// The longest that a connection takes.
    pub connect_timeout: Duration,
    /// Requests of [`Class::Publish`] on their way at once.
    pub publish_requests_max: usize,
    /// Requests of [`Class::Query`] on their way at once.
    pub query_requests_max: usize,
    /// Requests of [`Class::Compaction`] on their way at once.
    pub compaction_requests_max: usize,
    /// A read of a range for a query is sent a second time after this long, a large one later; zero: never.
    pub hedge_after: Duration,
    /// Such second reads on their way at once.
    pub hedges_max: usize,
    /// How a bucket of S3 encrypts what is written.
    pub encryption: Encryption,
    /// How it encrypts what is written below prefixes that end with `/`.
    pub encryption_below: Vec<(String, Encryption)>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            environment: None,
            retries_max: 10,
            retry_for: Duration::from_secs(60),
            retry_budget: 100,
            upload_retry_for: Duration::ZERO,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            publish_requests_max: 64,
            query_requests_max: 128,
            compaction_requests_max: 32,
            hedge_after: Duration::ZERO,
            hedges_max: 16,
            encryption: Encryption::Bucket,
            encryption_below: Vec::new(),
        }
    }
}

impl Store {
    /// Opens a store: `file:///dir` (or a plain absolute path; the folder is created), `memory:`, and with the feature
    /// `cloud` `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, whose credentials come from the
    /// environment. Blocks for a moment; does not talk to a remote store yet: [`Store::probe`] does.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        if url == "memory:" || url == "memory://" {
            return Ok(Self::local(Arc::new(InMemory::new()), None, "memory", options));
        }
        if let Some(dir) = url.strip_prefix("file://").or_else(|| url.starts_with('/').then_some(url)) {
            return Self::open_folder(FilePath::new(dir), options);
        }
        open_cloud(url, options)
    }

    /// Opens a folder as a store; creates it if it is missing. Writes are synced before they are reported.
    pub fn open_folder(dir: &FilePath, options: StoreOptions) -> Result<Self, StoreError> {
        let name = dir.to_string_lossy();
        let bad = |source: Box<dyn std::error::Error + Send + Sync>| {
            let kind =
                StoreErrorKind::Configuration(format!("cannot use the folder '{name}' as object store"));
            StoreError::caused(Operation::Attributes, &name, kind, source)
        };
        if !dir.is_absolute() {
            return Err(bad("the path must be absolute".into()));
        }
        std::fs::create_dir_all(dir).map_err(|e| bad(e.into()))?;
        let folder = LocalFileSystem::new_with_prefix(dir).map_err(|e| bad(e.into()))?;
        let folder = Arc::new(folder.with_fsync(true).with_automatic_cleanup(true));
        let backend: Arc<dyn ObjectStore> = Arc::<LocalFileSystem>::clone(&folder);
        let bucket = dir.file_name().map_or_else(|| name.to_string(), |n| n.to_string_lossy().into_owned());
        Ok(Self::local(backend, Some(folder), &bucket, options))
    }

    /// The same store, whose calls fail as `faults` says; for tests.
    pub fn with_faults(&self, faults: Arc<dyn Faults>) -> Self {
        let Inner { backend, folder, metrics, traffic, options, .. } = &*self.inner;
        let options = StoreOptions { faults: Some(faults), ..options.clone() };
        let parts = Parts {
            backend: Arc::clone(backend),
            writers: self.inner.writers.clone(),
            folder: folder.clone(),
        };
        let inner = parts.into_inner(metrics.clone(), traffic.clone(), self.inner.remote, options);
        Self { inner: Arc::new(inner), class: self.class }
    }

    fn local(
        backend: Arc<dyn ObjectStore>,
        folder: Option<Arc<LocalFileSystem>>,
        bucket: &str,
        options: StoreOptions,
    ) -> Self {
        let parts = Parts { backend, writers: Vec::new(), folder };
        let inner = parts.into_inner(Metrics::new(bucket), Traffic::new(), false, options);
        Self { inner: Arc::new(inner), class: Class::default() }
    }

    #[cfg(feature = "cloud")]
    pub(crate) fn remote(
        backend: Arc<dyn ObjectStore>,
        writers: Vec<(String, Arc<dyn ObjectStore>)>,
        bucket: &str,
        options: StoreOptions,
    ) -> Self {
        let parts = Parts { backend, writers, folder: None };
        let inner = parts.into_inner(Metrics::new(bucket), Traffic::new(), true, options);
        Self { inner: Arc::new(inner), class: Class::default() }
    }
}

/// What a store reads from and writes to.
struct Parts {
    backend: Arc<dyn ObjectStore>,
    writers: Vec<(String, Arc<dyn ObjectStore>)>,
    folder: Option<Arc<LocalFileSystem>>,
}

impl Parts {
    fn into_inner(self, metrics: Metrics, traffic: Traffic, remote: bool, options: StoreOptions) -> Inner {
        let Self { backend, writers, folder } = self;
        let lanes = Lanes::new(&options.remote);
        let hedges = Semaphore::new(options.remote.hedges_max.min(Semaphore::MAX_PERMITS));
        Inner { backend, writers, folder, remote, metrics, traffic, lanes, hedges, options }
    }
}

pub(crate) fn bad_url(url: &str, why: &str) -> StoreError {
    let url = hide_url(url);
    StoreError::new(Operation::Attributes, &url, StoreErrorKind::Configuration(format!("'{url}' {why}")))
}

#[cfg(not(feature = "cloud"))]
fn open_cloud(url: &str, _options: StoreOptions) -> Result<Store, StoreError> {
    let cloud = ["s3://", "gs://", "az://"].iter().any(|scheme| url.starts_with(scheme));
    let why = if cloud {
        "needs a build with the feature 'cloud'"
    } else {
        "is no object store: write file:///dir, memory:, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    };
    Err(bad_url(url, why))
}
