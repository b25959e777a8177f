//! Where a merge writes to: objects of the store, piece by piece.

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_block::merge::BlockSink;
use hearth_block::{BlockEntry, OBJECTS, ObjectEntry, ROLLUP_LEVEL_MIN, ROLLUP_OBJECTS};
use hearth_common::{BoxError, TenantId};
use hearth_objstore::{Store, UPLOAD_MEMORY_BYTES, Upload};

use super::stop::Stop;

/// Memory of the objects that are open at once: all that a block of the level can have.
pub(super) fn sink_memory_bytes(level: u8) -> u64 {
    let rollups = if level < ROLLUP_LEVEL_MIN { ROLLUP_OBJECTS.len() } else { 0 };
    (OBJECTS.len() - rollups) as u64 * UPLOAD_MEMORY_BYTES
}

/// Uploads the blocks of a merge.
#[derive(Debug)]
pub(super) struct StoreSink {
    store: Store,
    tenant: TenantId,
    stop: Stop,
    folder: String,
    open: Vec<(&'static str, Upload)>,
}

impl StoreSink {
    pub(super) fn new(store: Store, tenant: TenantId, stop: Stop) -> Self {
        Self { store, tenant, stop, folder: String::new(), open: Vec::new() }
    }

    /// Gives up what is open; what is complete stays as garbage that the collector takes.
    pub(super) async fn abort(self) {
        for (_, upload) in self.open {
            upload.abort().await;
        }
    }

    fn open(&mut self, object: &'static str) -> &mut Upload {
        let at = self.open.iter().position(|(open, _)| *open == object).unwrap_or_else(|| {
            let upload = self.store.upload(format!("{}/{object}", self.folder));
            self.open.push((object, upload));
            self.open.len() - 1
        });
        &mut self.open[at].1
    }
}

impl BlockSink for StoreSink {
    fn begin<'a>(&'a mut self, block: &'a BlockEntry) -> BoxFuture<'a, Result<(), BoxError>> {
        self.folder = block.folder(&self.tenant);
        Box::pin(std::future::ready(Ok(())))
    }

    fn part<'a>(&'a mut self, object: &'static str, bytes: Bytes) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            self.stop.check()?;
            Ok(self.open(object).write(bytes).await?)
        })
    }

    fn end<'a>(
        &'a mut self,
        object: &'static str,
        entry: &'a ObjectEntry,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            self.stop.check()?;
            self.open(object);
            let at = self.open.iter().position(|(open, _)| *open == object).unwrap_or_default();
            let bytes = self.open.swap_remove(at).1.finish().await?;
            if bytes != entry.bytes {
                return Err(format!("{bytes} bytes were stored, {} were announced", entry.bytes).into());
            }
            Ok(())
        })
    }
}
