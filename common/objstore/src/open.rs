//! From a URL to a store.

use std::path::Path as FilePath;
use std::sync::Arc;

use hearth_common::{Clock, SystemClock};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::error::{StoreError, StoreErrorKind};
use crate::faults::Faults;
use crate::metrics::{Metrics, Operation};
use crate::store::{Inner, Store};

/// What a store is opened with, beside its URL.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For the durations in metrics.
    pub clock: Arc<dyn Clock>,
    /// Makes calls fail; for tests.
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::default()), faults: None }
    }
}

impl Store {
    /// Opens a store: `file:///dir` (or a plain absolute path; the folder is created), `memory:`, and with the feature
    /// `cloud` `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, whose credentials come from the
    /// environment. Blocks for a moment; does not talk to a remote store yet: [`Store::probe`] does.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        if url == "memory:" || url == "memory://" {
            return Ok(Self::from_backend(Arc::new(InMemory::new()), None, "memory", options));
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
        Ok(Self::from_backend(backend, Some(folder), &bucket, options))
    }

    /// The same store, whose calls fail as `faults` says; for tests.
    pub fn with_faults(&self, faults: Arc<dyn Faults>) -> Self {
        let Inner { backend, folder, metrics, options } = &*self.inner;
        let options = StoreOptions { faults: Some(faults), ..options.clone() };
        Self {
            inner: Arc::new(Inner {
                backend: Arc::clone(backend),
                folder: folder.clone(),
                metrics: metrics.clone(),
                options,
            }),
        }
    }

    pub(crate) fn from_backend(
        backend: Arc<dyn ObjectStore>,
        folder: Option<Arc<LocalFileSystem>>,
        bucket: &str,
        options: StoreOptions,
    ) -> Self {
        let metrics = Metrics::new(bucket);
        Self { inner: Arc::new(Inner { backend, folder, metrics, options }) }
    }
}

fn bad_url(url: &str, why: &str) -> StoreError {
    StoreError::new(Operation::Attributes, url, StoreErrorKind::Configuration(format!("'{url}' {why}")))
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

#[cfg(feature = "cloud")]
fn open_cloud(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;
    use object_store::prefix::PrefixStore;

    let known = "is no object store: write file:///dir, memory:, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad_url(url, known))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad_url(url, "names no bucket"));
    }
    let failed = |e| {
        let kind = StoreErrorKind::Configuration(format!("'{url}' cannot be opened"));
        StoreError::caused(Operation::Attributes, url, kind, e)
    };
    let bare = format!("{scheme}://{bucket}");
    let backend: Arc<dyn ObjectStore> = match scheme {
        "s3" => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(bare)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .build()
                .map_err(failed)?,
        ),
        "gs" => Arc::new(GoogleCloudStorageBuilder::from_env().with_url(bare).build().map_err(failed)?),
        "az" => Arc::new(MicrosoftAzureBuilder::from_env().with_url(bare).build().map_err(failed)?),
        _ => return Err(bad_url(url, known)),
    };
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        return Ok(Store::from_backend(backend, None, bucket, options));
    }
    let path = object_store::path::Path::parse(prefix).map_err(|e| failed(e.into()))?;
    Ok(Store::from_backend(Arc::new(PrefixStore::new(backend, path)), None, bucket, options))
}
