//! Parts of blocks on a local disk: what was read of an object once is not asked of the store again by a querier that has been
//! restarted, or that has less memory than blocks.
//!
//! Parts are never wrong, as objects never change; a part that the disk gives back damaged is one that is not there. Must not
//! know what is in a part. The disk is the cache of another's making (`foyer`): a log of parts, the oldest go first.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, Error, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, RecoverMode,
};
use futures::future::{BoxFuture, join_all};
use hearth_common::{BoxError, RangeRead};
use hearth_node::{FolderLock, NodeError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::OnceCell;

/// A part that is longer is not kept: the disk is cut into pieces of so much, each of which goes as a whole.
const PIECE_BYTES: usize = 16 << 20;
/// What a piece holds beside parts, at most.
const PIECE_HEAD_BYTES: usize = 1 << 20;
/// The smallest disk that is of use: some pieces to read while others are written.
const DISK_BYTES_MIN: u64 = 8 * PIECE_BYTES as u64;
/// Parts that wait in memory to be written; what comes beyond is not kept.
const WAITING_BYTES: usize = 32 << 20;
/// Parts that are kept in memory beside: open blocks have a cache of their own.
const MEMORY_BYTES: usize = 4 << 20;

/// A folder for parts of blocks, of this process alone.
#[derive(Debug)]
pub struct DiskCache {
    folder: PathBuf,
    bytes: u64,
    _lock: FolderLock,
}

impl DiskCache {
    /// Makes the folder if it is missing, and takes it. `bytes` is what it may take of the disk; less than 128 MiB are of no
    /// use, and it takes those.
    pub fn take(folder: &Path, bytes: u64) -> Result<Self, NodeError> {
        let lock = FolderLock::take(folder)?;
        Ok(Self { folder: folder.join("parts"), bytes: bytes.max(DISK_BYTES_MIN), _lock: lock })
    }
}

#[derive(Debug, Clone, Default)]
struct Metrics {
    hits: Counter,
    misses: Counter,
    hit_bytes: Counter,
    failed: Counter,
}

/// Parts on one disk. The folder is opened, and what is in it found again, when the first part is asked for.
pub(crate) struct Parts {
    cache: DiskCache,
    disk: OnceCell<Option<HybridCache<String, Bytes>>>,
    metrics: Metrics,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Parts {
    pub(crate) fn new(cache: DiskCache) -> Self {
        Self { cache, disk: OnceCell::new(), metrics: Metrics::default() }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier_disk_cache");
        let Metrics { hits, misses, hit_bytes, failed } = &self.metrics;
        registry.register("hits", "Parts of blocks that were found on the local disk", hits.clone());
        registry.register("misses", "Parts of blocks that were asked of the store", misses.clone());
        registry.register("hit_bytes", "Bytes that were found on the local disk", hit_bytes.clone());
        let help = "Reads of the local disk that failed; the store was asked instead";
        registry.register("failures", help, failed.clone());
    }

    /// Reads an object through the disk. `key` names the object for ever.
    pub(crate) fn reader(self: &Arc<Self>, key: String, store: Arc<dyn RangeRead>) -> Arc<dyn RangeRead> {
        Arc::new(KeptReader { parts: Arc::clone(self), key, store })
    }

    /// The disk; `None` if it cannot be used: queries go on without.
    async fn disk(&self) -> Option<&HybridCache<String, Bytes>> {
        let open = async || {
            // On its own: opening panics where a folder or a file cannot be made.
            let opened = tokio::spawn(open(self.cache.folder.clone(), self.cache.bytes)).await;
            let error = match opened {
                Ok(Ok(disk)) => return Some(disk),
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            self.metrics.failed.inc();
            let folder = self.cache.folder.display();
            tracing::error!(%folder, error, "the disk cache cannot be opened: blocks are read from the store only");
            None
        };
        self.disk.get_or_init(open).await.as_ref()
    }

    async fn find(&self, disk: &HybridCache<String, Bytes>, key: &str, len: u64) -> Option<Bytes> {
        match disk.get(key).await {
            // The length is a part of the key, too: no other can come.
            Ok(Some(found)) if found.value().len() as u64 == len => {
                self.metrics.hits.inc();
                self.metrics.hit_bytes.inc_by(len);
                return Some(found.value().clone());
            }
            Ok(_) => {}
            Err(error) => {
                self.metrics.failed.inc();
                tracing::debug!(key, %error, "a part of a block cannot be read from the disk cache");
            }
        }
        self.metrics.misses.inc();
        None
    }
}

async fn open(folder: PathBuf, bytes: u64) -> Result<HybridCache<String, Bytes>, Error> {
    let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
    let device = FsDeviceBuilder::new(folder).with_capacity(capacity).build()?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(PIECE_BYTES)
        .with_buffer_pool_size(WAITING_BYTES)
        .with_submit_queue_size_threshold(WAITING_BYTES);
    HybridCacheBuilder::new()
        .with_name("parts")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(MEMORY_BYTES)
        .with_weighter(|key: &String, part: &Bytes| key.len() + part.len())
        .storage()
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .build()
        .await
}

/// One object.
#[derive(Debug)]
struct KeptReader {
    parts: Arc<Parts>,
    key: String,
    store: Arc<dyn RangeRead>,
}

impl KeptReader {
    fn key(&self, range: &Range<u64>) -> String {
        format!("{}@{}-{}", self.key, range.start, range.end)
    }

    async fn read_through(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BoxError> {
        let Some(disk) = self.parts.disk().await else { return self.store.read(ranges).await };
        let keep = |len: u64| len > 0 && len <= (PIECE_BYTES - PIECE_HEAD_BYTES) as u64;
        let found = join_all(ranges.iter().map(async |range| {
            let len = range.end.saturating_sub(range.start);
            if keep(len) { self.parts.find(disk, &self.key(range), len).await } else { None }
        }));
        let mut found = found.await;
        let missing: Vec<usize> = (0..ranges.len()).filter(|at| found[*at].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<Range<u64>> = missing.iter().map(|at| ranges[*at].clone()).collect();
            let read = self.store.read(&wanted).await?;
            if read.len() != wanted.len() {
                return Err(format!("{} ranges were asked for, {} came", wanted.len(), read.len()).into());
            }
            for ((at, range), part) in missing.into_iter().zip(&wanted).zip(read) {
                if keep(part.len() as u64) {
                    disk.insert(self.key(range), part.clone());
                }
                found[at] = Some(part);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

impl RangeRead for KeptReader {
    fn len_hint(&self) -> Option<u64> {
        self.store.len_hint()
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        Box::pin(self.read_through(ranges))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hearth_common::range_read::InMemory;

    use super::*;

    /// Counts the ranges that are asked for.
    #[derive(Debug)]
    struct Counted(InMemory, AtomicUsize);

    impl RangeRead for Counted {
        fn len_hint(&self) -> Option<u64> {
            self.0.len_hint()
        }

        fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
            self.1.fetch_add(ranges.len(), Ordering::Relaxed);
            self.0.read(ranges)
        }
    }

    fn object() -> (Bytes, Arc<Counted>) {
        let bytes: Bytes =
            (0..20_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        (bytes.clone(), Arc::new(Counted(InMemory(bytes), AtomicUsize::new(0))))
    }

    fn parts(folder: &Path) -> Arc<Parts> {
        Arc::new(Parts::new(DiskCache::take(folder, 0).expect("free")))
    }

    const RANGES: [Range<u64>; 4] = [0..10, 0..0, 5_000_000..11_000_000, 7..1_000_007];

    async fn check(reader: &Arc<dyn RangeRead>, object: &Bytes, ranges: &[Range<u64>]) {
        let read = reader.read(ranges).await.expect("reads");
        let wanted: Vec<Bytes> =
            ranges.iter().map(|range| object.slice(range.start as usize..range.end as usize)).collect();
        assert!(read == wanted);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_read_is_found_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, store) = object();
        for round in 0..2 {
            let parts = parts(folder.path());
            let reader = parts.reader("t/blocks/1/index".to_owned(), Arc::clone(&store) as _);
            check(&reader, &bytes, &RANGES).await;
            // The empty range is nothing to keep.
            let asked = store.1.load(Ordering::Relaxed);
            assert_eq!(asked, 4 + round, "all at first, then what is not kept");
            assert_eq!(parts.metrics.hits.get(), 3 * round as u64);
            // Another object has parts of its own.
            let other = parts.reader("t/blocks/2/index".to_owned(), Arc::new(InMemory(bytes.slice(1..))));
            check(&other, &bytes.slice(1..), &RANGES[..1]).await;
            parts.disk().await.expect("open").close().await.expect("closes");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_disk_is_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, store) = object();
        for round in 0..2 {
            let parts = parts(folder.path());
            let reader = parts.reader("a".to_owned(), Arc::clone(&store) as _);
            check(&reader, &bytes, &RANGES).await;
            assert_eq!(store.1.load(Ordering::Relaxed), 4 * (round + 1));
            parts.disk().await.expect("open").close().await.expect("closes");
            for file in std::fs::read_dir(folder.path().join("parts")).expect("lists") {
                let path = file.expect("lists").path();
                let mut content = std::fs::read(&path).expect("reads");
                content.iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x55);
                std::fs::write(&path, content).expect("writes");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_disk_the_store_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("parts"), "no folder").expect("writes");
        let (bytes, store) = object();
        let parts = parts(folder.path());
        let reader = parts.reader("a".to_owned(), store);
        check(&reader, &bytes, &RANGES).await;
        check(&reader, &bytes, &RANGES).await;
        assert_eq!(parts.metrics.failed.get(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_oldest_go_when_the_disk_is_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, store) = object();
        let parts = parts(folder.path());
        for at in 0..40 {
            let reader = parts.reader(format!("{at}"), Arc::clone(&store) as _);
            check(&reader, &bytes, std::slice::from_ref(&(0..8_000_000))).await;
        }
        let on_disk: u64 = std::fs::read_dir(folder.path().join("parts"))
            .expect("lists")
            .map(|file| file.expect("lists").metadata().expect("is there").len())
            .sum();
        assert!(on_disk <= DISK_BYTES_MIN + (1 << 20), "{on_disk}");
    }
}
