//! Where merged blocks go: the seam to whoever uploads, and a sink in memory.

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_common::BoxError;

use super::error::MergeError;
use crate::entry::{BlockEntry, ObjectEntry};
use crate::write::EncodedBlock;
use crate::write::outgoing::Outgoing;

/// Parts of an object are at least this long, but for its last.
pub const PART_BYTES: usize = 1 << 20;

/// Takes merged blocks, one after the other. Objects of a block are written side by side, in parts that come in order;
/// `index` ends last. A block exists for nobody before the caller has published its entry.
pub trait BlockSink: Send {
    /// A block begins. Its entry has what determines the folder, and nothing of its content.
    fn begin<'a>(&'a mut self, block: &'a BlockEntry) -> BoxFuture<'a, Result<(), BoxError>>;
    /// The next bytes of an object.
    fn part<'a>(&'a mut self, object: &'static str, bytes: Bytes) -> BoxFuture<'a, Result<(), BoxError>>;
    /// An object is complete.
    fn end<'a>(
        &'a mut self,
        object: &'static str,
        entry: &'a ObjectEntry,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// Keeps blocks in memory.
#[derive(Debug, Default)]
pub struct MemorySink {
    /// The blocks so far. Their entries are complete once the merge has given them.
    pub blocks: Vec<EncodedBlock>,
    open: Vec<(&'static str, Vec<u8>)>,
}

impl BlockSink for MemorySink {
    fn begin<'a>(&'a mut self, block: &'a BlockEntry) -> BoxFuture<'a, Result<(), BoxError>> {
        self.blocks.push(EncodedBlock { entry: block.clone(), objects: Vec::new() });
        Box::pin(std::future::ready(Ok(())))
    }

    fn part<'a>(&'a mut self, object: &'static str, bytes: Bytes) -> BoxFuture<'a, Result<(), BoxError>> {
        match self.open.iter_mut().find(|(open, _)| *open == object) {
            Some((_, all)) => all.extend_from_slice(&bytes),
            None => self.open.push((object, bytes.to_vec())),
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn end<'a>(
        &'a mut self,
        object: &'static str,
        entry: &'a ObjectEntry,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        let at = self.open.iter().position(|(open, _)| *open == object);
        let bytes = at.map(|at| self.open.remove(at).1).unwrap_or_default();
        let done = match self.blocks.last_mut() {
            Some(block) if bytes.len() as u64 == entry.bytes => {
                block.entry.objects.push(entry.clone());
                block.objects.push((object.to_owned(), bytes.into()));
                Ok(())
            }
            _ => {
                Err(format!("{} bytes of {object} came, {} were announced", bytes.len(), entry.bytes).into())
            }
        };
        Box::pin(std::future::ready(done))
    }
}

fn failed(object: &str) -> impl Fn(BoxError) -> MergeError {
    move |source| MergeError::Sink { object: object.to_owned(), source }
}

pub(super) async fn begin(sink: &mut dyn BlockSink, block: &BlockEntry) -> Result<(), MergeError> {
    sink.begin(block).await.map_err(failed("folder"))
}

/// Hands over what waits, if it is enough for a part.
pub(super) async fn drain(
    sink: &mut dyn BlockSink,
    object: &'static str,
    out: &mut Outgoing,
) -> Result<(), MergeError> {
    if out.waiting() < PART_BYTES {
        return Ok(());
    }
    sink.part(object, out.take()).await.map_err(failed(object))
}

/// Hands over the rest of an object.
pub(super) async fn end(
    sink: &mut dyn BlockSink,
    object: &'static str,
    mut out: Outgoing,
) -> Result<ObjectEntry, MergeError> {
    if out.waiting() > 0 {
        sink.part(object, out.take()).await.map_err(failed(object))?;
    }
    let entry = out.entry(object);
    sink.end(object, &entry).await.map_err(failed(object))?;
    Ok(entry)
}
