//! Parts of blocks on a local disk: what was read of an object once is not asked of the store again by a querier that has been
//! restarted, or that has less memory than blocks.
//!
//! Parts do not go stale, as objects never change; a part that the disk gives back damaged is one that is not there. One that
//! was wrong when it was kept is found out by whoever decodes it: then the parts of its block are not asked for any more
//! ([`Parts::distrust`]). Must not know what is in a part. The disk is the cache of another's making (`foyer`): a log of parts,
//! the oldest go first.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, Error, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, RecoverMode,
};
use futures::future::{BoxFuture, join_all};
use hearth_common::{BoxError, RangeRead};
use hearth_node::{FolderLock, NodeError};
use parking_lot::Mutex;
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
/// How often the parts of one block are dropped. Beyond it the store is to blame, and reading twice is of no use.
const DROPS_MAX: u32 = 3;
/// Blocks with dropped parts that are remembered. Beyond it all are forgotten, and found wrong once more.
const DROPPED_MAX: usize = 1024;

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
    dropped: Counter,
}

/// Where the bytes of one open block come from. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// How often parts of the block had been dropped when it was opened.
    drops: u32,
    /// Whether some of them came from the disk.
    from_disk: Arc<AtomicBool>,
}

impl Origin {
    /// Whether `self` may have bytes that `other` was found to have wrong.
    pub(crate) fn is_as_old_as(&self, other: &Self) -> bool {
        self.drops <= other.drops
    }
}

/// Parts on one disk. The folder is opened, and what is in it found again, when the first part is asked for.
pub(crate) struct Parts {
    cache: DiskCache,
    disk: OnceCell<Option<HybridCache<String, Bytes>>>,
    /// By the folder of a block, how often its parts were dropped.
    dropped: Mutex<HashMap<String, u32>>,
    metrics: Metrics,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Parts {
    pub(crate) fn new(cache: DiskCache) -> Self {
        Self { cache, disk: OnceCell::new(), dropped: Mutex::default(), metrics: Metrics::default() }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier_disk_cache");
        let Metrics { hits, misses, hit_bytes, failed, dropped } = &self.metrics;
        registry.register("hits", "Parts of blocks that were found on the local disk", hits.clone());
        registry.register("misses", "Parts of blocks that were asked of the store", misses.clone());
        registry.register("hit_bytes", "Bytes that were found on the local disk", hit_bytes.clone());
        let help = "Reads of the local disk that failed; the store was asked instead";
        registry.register("failures", help, failed.clone());
        let help = "Times that parts of a block on the local disk were wrong and were dropped";
        registry.register("drops", help, dropped.clone());
    }

    /// For a block that is to be opened, by its folder.
    pub(crate) fn origin(&self, folder: &str) -> Origin {
        let drops = self.dropped.lock().get(folder).copied().unwrap_or_default();
        Origin { drops, from_disk: Arc::default() }
    }

    /// Reads an object through the disk. `key` names the object for ever.
    pub(crate) fn reader(
        self: &Arc<Self>,
        key: String,
        origin: &Origin,
        store: Arc<dyn RangeRead>,
    ) -> Arc<dyn RangeRead> {
        Arc::new(KeptReader { parts: Arc::clone(self), key, origin: origin.clone(), store })
    }

    /// Bytes of a block were wrong: its parts are not asked for any more by whoever opens it from now on. `false`: none of the
    /// bytes came from the disk, or that was tried often enough, so that it is of no use to read them again.
    pub(crate) fn distrust(&self, folder: &str, origin: &Origin) -> bool {
        if !origin.from_disk.load(Ordering::Relaxed) {
            return false;
        }
        let mut dropped = self.dropped.lock();
        let next = origin.drops + 1;
        if dropped.get(folder).is_some_and(|drops| *drops >= next) {
            // Somebody else found it out.
            return true;
        }
        if next > DROPS_MAX {
            return false;
        }
        if dropped.len() >= DROPPED_MAX {
            dropped.clear();
        }
        dropped.insert(folder.to_owned(), next);
        self.metrics.dropped.inc();
        true
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
    origin: Origin,
    store: Arc<dyn RangeRead>,
}

impl KeptReader {
    /// What was dropped has another key: it goes with the oldest.
    fn key(&self, range: &Range<u64>) -> String {
        match self.origin.drops {
            0 => format!("{}@{}-{}", self.key, range.start, range.end),
            drops => format!("{}~{drops}@{}-{}", self.key, range.start, range.end),
        }
    }

    async fn read_through(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BoxError> {
        let Some(disk) = self.parts.disk().await else { return self.store.read(ranges).await };
        let keep = |len: u64| len > 0 && len <= (PIECE_BYTES - PIECE_HEAD_BYTES) as u64;
        let found = join_all(ranges.iter().map(async |range| {
            let len = range.end.saturating_sub(range.start);
            if keep(len) { self.parts.find(disk, &self.key(range), len).await } else { None }
        }));
        let mut found = found.await;
        if found.iter().any(Option::is_some) {
            self.origin.from_disk.store(true, Ordering::Relaxed);
        }
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
    use std::sync::atomic::AtomicUsize;

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
            let origin = Origin::default();
            let reader = parts.reader("t/blocks/1/index".to_owned(), &origin, Arc::clone(&store) as _);
            check(&reader, &bytes, &RANGES).await;
            // The empty range is nothing to keep.
            let asked = store.1.load(Ordering::Relaxed);
            assert_eq!(asked, 4 + round, "all at first, then what is not kept");
            assert_eq!(parts.metrics.hits.get(), 3 * round as u64);
            // Another object has parts of its own.
            let store = Arc::new(InMemory(bytes.slice(1..)));
            let other = parts.reader("t/blocks/2/index".to_owned(), &origin, store);
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
            let reader = parts.reader("a".to_owned(), &Origin::default(), Arc::clone(&store) as _);
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

    /// The store gave other bytes once.
    #[tokio::test(flavor = "multi_thread")]
    async fn wrong_parts_are_dropped_a_bounded_number_of_times() {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, store) = object();
        let wrong = Bytes::from(vec![0; bytes.len()]);
        let parts = parts(folder.path());
        let first = parts.origin("t/1");
        let reader = parts.reader("t/1/index".to_owned(), &first, Arc::new(InMemory(wrong.clone())));
        check(&reader, &wrong, &RANGES[..1]).await;
        assert!(!parts.distrust("t/1", &first), "nothing came from the disk");
        check(&reader, &wrong, &RANGES[..1]).await;
        assert!(parts.distrust("t/1", &first) && parts.distrust("t/1", &first), "by whoever finds it out");
        for drops in 1..=DROPS_MAX {
            let origin = parts.origin("t/1");
            assert!(origin.drops == drops && first.is_as_old_as(&origin) && !origin.is_as_old_as(&first));
            let reader = parts.reader("t/1/index".to_owned(), &origin, Arc::clone(&store) as _);
            check(&reader, &bytes, &RANGES[..1]).await;
            assert_eq!(store.1.load(Ordering::Relaxed), drops as usize, "asked of the store");
            assert!(!parts.distrust("t/1", &origin));
            check(&reader, &bytes, &RANGES[..1]).await;
            assert_eq!(parts.distrust("t/1", &origin), drops < DROPS_MAX);
        }
        assert_eq!(parts.metrics.dropped.get(), u64::from(DROPS_MAX));
        assert_eq!(parts.origin("t/2").drops, 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_disk_the_store_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("parts"), "no folder").expect("writes");
        let (bytes, store) = object();
        let parts = parts(folder.path());
        let reader = parts.reader("a".to_owned(), &Origin::default(), store);
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
            let reader = parts.reader(format!("{at}"), &Origin::default(), Arc::clone(&store) as _);
            check(&reader, &bytes, std::slice::from_ref(&(0..8_000_000))).await;
        }
        let on_disk: u64 = std::fs::read_dir(folder.path().join("parts"))
            .expect("lists")
            .map(|file| file.expect("lists").metadata().expect("is there").len())
            .sum();
        assert!(on_disk <= DISK_BYTES_MIN + (1 << 20), "{on_disk}");
    }
}
