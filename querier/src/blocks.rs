//! Open blocks, kept within a number of bytes.

use std::sync::Arc;

use hearth_block::{BlockEntry, BlockError, BlockReader};
use hearth_common::TenantId;
use hearth_objstore::Store;
use prometheus_client::registry::Registry;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::metrics::Metrics;
use crate::parts::{Origin, Parts};

/// Blocks that the cache expects to hold.
const BLOCKS_EXPECTED: usize = 256;
/// Few shards: each can hold only its share of the bytes, and a block may be large.
const SHARDS: usize = 2;
/// A block is weighed anew when it has grown by more than this share of its weight …
const REWEIGH_SHARE: u64 = 8;
/// … and by more than this.
const REWEIGH_BYTES: u64 = 256 << 10;

/// An open block with the weight that it has in the cache, which must not change while it is there.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) reader: Arc<BlockReader>,
    pub(crate) origin: Origin,
    weight: u64,
}

impl Open {
    fn new(reader: Arc<BlockReader>, origin: Origin) -> Self {
        let weight = reader.cached_bytes() as u64;
        Self { reader, origin, weight }
    }
}

#[derive(Debug, Clone, Copy)]
struct ByBytes;

impl Weighter<String, Open> for ByBytes {
    fn weight(&self, folder: &String, open: &Open) -> u64 {
        open.weight + folder.len() as u64 + 256
    }
}

/// Open blocks by folder: the folder names tenant, block and attempt.
#[derive(Debug)]
pub(crate) struct Blocks {
    store: Store,
    parts: Option<Arc<Parts>>,
    open: Cache<String, Open, ByBytes>,
}

impl Blocks {
    pub(crate) fn new(store: Store, cache_bytes: u64, parts: Option<Parts>) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(BLOCKS_EXPECTED)
            .weight_capacity(cache_bytes.max(1))
            .build()
            .expect("all required options are given");
        let open =
            Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { store, parts: parts.map(Arc::new), open }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        if let Some(parts) = &self.parts {
            parts.register_metrics(registry);
        }
    }

    /// Opens a block, once however many ask at the same time. What the local disk has wrong of it is read of the store.
    pub(crate) async fn open(
        &self,
        tenant: &TenantId,
        entry: &Arc<BlockEntry>,
        metrics: &Metrics,
    ) -> Result<Open, BlockError> {
        let folder = entry.folder(tenant);
        let origin = self.origin(&folder);
        match self.open_from(&folder, entry, &origin, metrics).await {
            Err(BlockError::Damaged { .. }) if self.distrust(&folder, &origin) => {
                self.open_from(&folder, entry, &self.origin(&folder), metrics).await
            }
            opened => opened,
        }
    }

    fn origin(&self, folder: &str) -> Origin {
        self.parts.as_ref().map(|parts| parts.origin(folder)).unwrap_or_default()
    }

    async fn open_from(
        &self,
        folder: &str,
        entry: &Arc<BlockEntry>,
        origin: &Origin,
        metrics: &Metrics,
    ) -> Result<Open, BlockError> {
        let open = async {
            metrics.opens.inc();
            let objects = |name: &str| {
                let bytes = entry.object(name).map(|object| object.bytes);
                let key = format!("{folder}/{name}");
                let reader = self.store.range_reader(key.clone(), bytes);
                match &self.parts {
                    Some(parts) => parts.reader(key, origin, reader),
                    None => reader,
                }
            };
            let reader = BlockReader::open(Arc::clone(entry), objects).await?;
            Ok(Open::new(Arc::new(reader), origin.clone()))
        };
        self.open.get_or_insert_async(folder, open).await
    }

    /// Bytes of a block were wrong. `true`: some of them came from the local disk, which is not asked for them any more, so that
    /// the block is to be opened and read again.
    pub(crate) fn distrust(&self, folder: &str, origin: &Origin) -> bool {
        let again = self.parts.as_ref().is_some_and(|parts| parts.distrust(folder, origin));
        if again {
            tracing::warn!(
                block = folder,
                "what the disk cache has of a block is wrong: it is read of the store"
            );
            self.open.remove_if(folder, |open| open.origin.is_as_old_as(origin));
        }
        again
    }

    /// Weighs a block anew after a question: it may keep more symbols than before.
    pub(crate) fn used(&self, folder: String, open: &Open) {
        let now = open.reader.cached_bytes() as u64;
        if now > open.weight + (open.weight / REWEIGH_SHARE).max(REWEIGH_BYTES) {
            self.open.insert(folder, Open::new(Arc::clone(&open.reader), open.origin.clone()));
        }
    }

    /// Bytes that all open blocks take, as last weighed.
    pub(crate) fn bytes(&self) -> u64 {
        self.open.weight()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}
