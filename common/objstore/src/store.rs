//! The store and its operations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hearth_common::TimestampNs;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::class::{Class, Lanes};
use crate::error::{StoreError, StoreErrorKind};
use crate::faults::Fault;
use crate::folder;
use crate::metrics::{Metrics, Operation};
use crate::open::StoreOptions;
use crate::traffic::Traffic;

/// Above this a remote upload goes in parts.
const MULTIPART_ABOVE_BYTES: usize = 16 << 20;
/// Length of such a part.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// Most entries of one listing.
const LIST_MAX: usize = 4_000_000;

/// An open object store, and what it is used for. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    pub(crate) class: Class,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) backend: Arc<dyn ObjectStore>,
    /// For writes below these prefixes, instead of `backend`: the same bucket, another encryption.
    pub(crate) writers: Vec<(String, Arc<dyn ObjectStore>)>,
    pub(crate) folder: Option<Arc<LocalFileSystem>>,
    /// Whether requests go over a network.
    pub(crate) remote: bool,
    pub(crate) metrics: Metrics,
    pub(crate) traffic: Traffic,
    pub(crate) lanes: Lanes,
    pub(crate) hedges: Semaphore,
    pub(crate) options: StoreOptions,
}

impl Inner {
    /// What writes an object.
    pub(crate) fn writer(&self, key: &str) -> &Arc<dyn ObjectStore> {
        let writer = self.writers.iter().find(|(prefix, _)| key.starts_with(prefix));
        writer.map_or(&self.backend, |(_, writer)| writer)
    }
}

/// What becomes an object: one buffer, or several that are written one after the other.
#[derive(Debug, Clone)]
pub struct Payload(pub Vec<Bytes>);

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![Bytes::from(bytes)])
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(parts: Vec<Bytes>) -> Self {
        Self(parts)
    }
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the store said to a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is ours.
    Created,
    /// An object of that name exists. It may be *ours*: a store may repeat a request whose answer was lost. Compare a
    /// nonce in the body (design: replication A21).
    AlreadyExists,
}

/// What a listing or a head says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: TimestampNs,
    /// What the store calls these bytes (ETag): other bytes of the same key have another one. `None`: it does not say.
    pub tag: Option<String>,
}

impl Store {
    /// The same store for another class of work.
    pub fn of(&self, class: Class) -> Self {
        Self { inner: Arc::clone(&self.inner), class }
    }

    /// Asks for an object's length and date.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let op = Operation::Attributes;
        let path = parse(op, key)?;
        self.observed(op, key, |_: &ObjectInfo| 0, async {
            let meta = self.exchange(op, self.inner.backend.head(&path)).await;
            Ok(self.info(&meta.map_err(|e| StoreError::from_backend(op, key, e))?))
        })
        .await
    }

    /// Whether an object exists.
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, replacing one of the same key. For keys that nobody else writes. On `Ok` it is durable.
    pub async fn put(&self, key: &str, payload: impl Into<Payload>) -> Result<(), StoreError> {
        let op = Operation::Upload;
        let path = parse(op, key)?;
        let payload = payload.into();
        let (bytes, store) = (payload.len(), self.clone());
        let owned = key.to_owned();
        let write = async move {
            if bytes > MULTIPART_ABOVE_BYTES && store.inner.folder.is_none() {
                return store.put_in_parts(&path, &owned, payload).await;
            }
            let body = PutPayload::from_iter(payload.0);
            let put = store.inner.writer(&owned).put_opts(&path, body, PutMode::Overwrite.into());
            store.exchange(op, put).await.map(|_| ()).map_err(|e| StoreError::from_backend(op, &owned, e))
        };
        self.observed_write(op, key, bytes as u64, write).await
    }

    async fn put_in_parts(&self, path: &Path, key: &str, payload: Payload) -> Result<(), StoreError> {
        let op = Operation::Upload;
        let failed = |e| StoreError::from_backend(op, key, e);
        let bytes = payload.len() as u64;
        let begin = self.exchange(op, self.inner.writer(key).put_multipart(path));
        let mut upload = begin.await.map_err(failed)?;
        let parts = cut(payload.0, PART_BYTES).into_iter();
        let parts: Vec<_> = parts.map(|part| self.exchange(op, upload.put_part(part))).collect();
        let sent = futures::stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await;
        let done = match sent {
            Ok(_) => self.complete(path, key, &mut upload, bytes).await,
            Err(error) => Err(failed(error)),
        };
        if done.is_err() {
            // The store's own clean-up of unfinished uploads is the fallback.
            let _ = self.exchange(op, upload.abort()).await;
        }
        done
    }

    /// Writes an object unless one of that key exists. An error with [`StoreError::outcome_unknown`] means that it may
    /// exist now, or later.
    pub async fn put_if_absent(
        &self,
        key: &str,
        payload: impl Into<Payload>,
    ) -> Result<PutOutcome, StoreError> {
        let op = Operation::Create;
        let path = parse(op, key)?;
        let payload = payload.into();
        let (bytes, store, owned) = (payload.len(), self.clone(), key.to_owned());
        let write = async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let body = PutPayload::from_iter(payload.0);
            match store.exchange(op, store.inner.writer(&owned).put_opts(&path, body, options)).await {
                Ok(_) => Ok(PutOutcome::Created),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    Ok(PutOutcome::AlreadyExists)
                }
                Err(error) => Err(StoreError::from_backend(op, &owned, error)),
            }
        };
        self.observed_write(op, key, bytes as u64, write).await
    }

    /// All objects below a prefix of whole segments, sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let op = Operation::Iter;
        let path = parse(op, prefix)?;
        self.observed(op, prefix, |_: &Vec<ObjectInfo>| 0, async {
            let listing = async {
                let mut all = Vec::new();
                let mut entries = self.inner.backend.list(Some(&path));
                while let Some(meta) = entries.next().await {
                    match meta {
                        Ok(meta) => all.push(self.info(&meta)),
                        // Removed between the folder's listing and the look at the file.
                        Err(object_store::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                    if all.len() > LIST_MAX {
                        break;
                    }
                }
                Ok(all)
            };
            let listed = self.exchange(op, listing).await;
            let mut all = listed.map_err(|e| StoreError::from_backend(op, prefix, e))?;
            if all.len() > LIST_MAX {
                let kind = StoreErrorKind::TooLarge { bytes: all.len() as u64, limit: LIST_MAX as u64 };
                return Err(StoreError::new(op, prefix, kind));
            }
            all.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(all)
        })
        .await
    }

    /// The names of the folders directly below a prefix, sorted.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let op = Operation::Iter;
        let path = parse(op, prefix)?;
        self.observed(op, prefix, |_: &Vec<String>| 0, async {
            let listing = self.inner.backend.list_with_delimiter(Some(&path));
            let listed = match self.exchange(op, listing).await {
                Ok(listed) => listed,
                Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(StoreError::from_backend(op, prefix, error)),
            };
            let name = |path: &Path| path.filename().map(str::to_owned);
            let mut names: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
            names.sort();
            Ok(names)
        })
        .await
    }

    /// Removes objects one after the other, in the order given: when it stops with an error, everything before is gone
    /// and everything behind is there. Objects that do not exist are no error.
    pub async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let op = Operation::Delete;
        for key in keys {
            let path = parse(op, key)?;
            let (store, owned) = (self.clone(), key.clone());
            let remove = async move {
                match store.exchange(op, store.inner.backend.delete(&path)).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(StoreError::from_backend(op, &owned, error)),
                }
            };
            self.observed_write(op, key, 0, remove).await?;
        }
        Ok(())
    }

    /// Removes what writers that died left below a prefix of whole segments and that never became an object, if it was begun
    /// before a time; says how many files. Only a folder keeps such files where we can see them: for a bucket, give it a
    /// lifecycle rule that aborts unfinished uploads.
    pub async fn remove_unfinished(&self, prefix: &str, before: TimestampNs) -> Result<u64, StoreError> {
        let op = Operation::Delete;
        let Some(folder) = &self.inner.folder else { return Ok(0) };
        let path = parse(op, prefix)?;
        let dir = folder.path_to_filesystem(&path).map_err(|e| StoreError::from_backend(op, prefix, e))?;
        let root = dir.ancestors().nth(path.parts().count()).map_or_else(|| dir.clone(), PathBuf::from);
        let before = UNIX_EPOCH + Duration::from_nanos(u64::try_from(before.0).unwrap_or(0));
        let owned = prefix.to_owned();
        let remove = async move {
            let removed = folder::blocking(move || folder::remove_unfinished(&root, dir, before)).await;
            removed.map_err(|e| local(op, &owned, e))
        };
        self.observed_write(op, prefix, 0, remove).await
    }

    /// Adds this store's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
        self.inner.traffic.register(registry);
    }

    /// A read: decides its fault, counts it, measures it.
    pub(crate) async fn observed<T>(
        &self,
        op: Operation,
        key: &str,
        bytes: impl Fn(&T) -> u64,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = self.inner.options.clock.monotonic();
        let result = match self.fault(op, key).await {
            Fault::None => call.await,
            _ => Err(injected(op, key)),
        };
        let took = self.inner.options.clock.monotonic().saturating_sub(started);
        let failed = result.as_ref().is_err_and(|e| !e.is_not_found());
        let bytes = result.as_ref().map_or(0, bytes);
        self.inner.metrics.record(op, took, failed, bytes);
        self.inner.traffic.moved(op, self.class, bytes);
        result
    }

    /// A write: as a read, but it may be applied although it fails.
    pub(crate) async fn observed_write<T: Injected>(
        &self,
        op: Operation,
        key: &str,
        bytes: u64,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let started = self.inner.options.clock.monotonic();
        let result = match self.fault(op, key).await {
            Fault::None => call.await,
            Fault::FailBefore => Err(injected(op, key)),
            Fault::FailAfter => call.await.and_then(|_| Err(injected(op, key))),
            Fault::ReportExists => call.await.and_then(|_| T::exists().ok_or_else(|| injected(op, key))),
            Fault::FailThenApply { turns } => {
                tokio::spawn(async move {
                    for _ in 0..turns {
                        tokio::task::yield_now().await;
                    }
                    let _ = call.await;
                });
                Err(injected(op, key))
            }
        };
        let took = self.inner.options.clock.monotonic().saturating_sub(started);
        let bytes = if result.is_ok() { bytes } else { 0 };
        self.inner.metrics.record(op, took, result.is_err(), bytes);
        self.inner.traffic.moved(op, self.class, bytes);
        result
    }

    async fn fault(&self, op: Operation, key: &str) -> Fault {
        match &self.inner.options.faults {
            Some(faults) => faults.next(op, key).await,
            None => Fault::None,
        }
    }
}

/// The answer of a write under [`Fault::ReportExists`].
pub(crate) trait Injected: Send + 'static {
    /// `None`: such a write never says so.
    fn exists() -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

impl Injected for () {}

impl Injected for u64 {}

impl Injected for std::fs::File {}

impl Injected for Box<dyn object_store::MultipartUpload> {}

impl Injected for PutOutcome {
    fn exists() -> Option<Self> {
        Some(Self::AlreadyExists)
    }
}

fn injected(op: Operation, key: &str) -> StoreError {
    StoreError::caused(op, key, StoreErrorKind::Unavailable, "injected fault")
}

pub(crate) fn parse(op: Operation, key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|e| StoreError::caused(op, key, StoreErrorKind::InvalidKey, e))
}

pub(crate) fn local(op: Operation, key: &str, error: folder::LocalError) -> StoreError {
    match error.1 {
        Some(source) => StoreError::caused(op, key, error.0, source),
        None => StoreError::new(op, key, error.0),
    }
}

impl Store {
    fn info(&self, meta: &object_store::ObjectMeta) -> ObjectInfo {
        let key = meta.location.to_string();
        let ns = meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
        let modified = TimestampNs(ns);
        let other = self.inner.options.faults.as_ref().and_then(|faults| faults.modified(&key));
        let (bytes, modified, tag) = (meta.size, other.unwrap_or(modified), meta.e_tag.clone());
        ObjectInfo { key, bytes, modified, tag }
    }
}

/// Cuts buffers into payloads of `part_bytes`, the last one shorter, without copying.
fn cut(buffers: Vec<Bytes>, part_bytes: usize) -> Vec<PutPayload> {
    let mut parts = Vec::new();
    let (mut part, mut filled) = (Vec::new(), 0);
    for mut buffer in buffers {
        while !buffer.is_empty() {
            let taken = buffer.split_to(buffer.len().min(part_bytes - filled));
            filled += taken.len();
            part.push(taken);
            if filled == part_bytes {
                parts.push(PutPayload::from_iter(std::mem::take(&mut part)));
                filled = 0;
            }
        }
    }
    if !part.is_empty() {
        parts.push(PutPayload::from_iter(part));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_every_byte_in_order() {
        let buffers: Vec<Bytes> =
            [3usize, 0, 10, 1, 7].iter().map(|n| Bytes::from(vec![*n as u8; *n])).collect();
        let whole: Vec<u8> = buffers.concat();
        let parts = cut(buffers, 4);
        let lengths: Vec<usize> = parts.iter().map(PutPayload::content_length).collect();
        assert_eq!(lengths, [4, 4, 4, 4, 4, 1]);
        let joined: Vec<u8> = parts.iter().flat_map(|p| p.iter()).flat_map(|b| b.to_vec()).collect();
        assert_eq!(joined, whole);
    }
}
