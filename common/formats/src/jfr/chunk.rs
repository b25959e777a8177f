//! Chunks: their headers, and the walk over the events of one.

use super::cursor::Cursor;
use super::{Broken, Fault};

const MAGIC: &[u8; 4] = b"FLR\0";
/// Bytes of a chunk's header.
pub(super) const HEADER_BYTES: usize = 68;
/// The version that is read; minor versions differ in streaming only.
const MAJOR: u16 = 2;
/// The bit of the features that says that integers are compressed.
const COMPRESSED: u32 = 1;

/// One chunk: it knows all that its events need.
pub(super) struct Chunk<'a> {
    /// From its header to its end.
    pub(super) bytes: &'a [u8],
    /// Where its metadata stand.
    pub(super) metadata: usize,
    compressed: bool,
}

impl<'a> Chunk<'a> {
    /// The chunk with which `bytes` begin.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Broken> {
        let at = |at, fault| Err(Broken { at, fault });
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return at(0, Fault::Magic(magic.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
        if bytes.len() < HEADER_BYTES {
            return at(bytes.len(), Fault::CutOff);
        }
        let mut header = Cursor::new(bytes, MAGIC.len(), false);
        let (major, minor) = (header.number(2)? as u16, header.number(2)? as u16);
        if major != MAJOR {
            return at(MAGIC.len(), Fault::Version { major, minor });
        }
        let size_at = header.at();
        let size = header.long()?;
        // A chunk that is still being written has no size.
        let size = match usize::try_from(size) {
            Ok(size) if size >= HEADER_BYTES && size <= bytes.len() => size,
            _ => return at(size_at, Fault::ChunkSize { size, left: bytes.len() }),
        };
        header.skip(8)?;
        let metadata_at = header.at();
        let metadata = header.long()?;
        let metadata = match usize::try_from(metadata) {
            Ok(metadata) if (HEADER_BYTES..size).contains(&metadata) => metadata,
            _ => return at(metadata_at, Fault::MetadataOffset { offset: metadata, size }),
        };
        let features = header.from(HEADER_BYTES - 4).number(4)? as u32;
        Ok(Self { bytes: &bytes[..size], metadata, compressed: features & COMPRESSED != 0 })
    }

    /// A place in it.
    pub(super) fn cursor(&self, at: usize) -> Cursor<'a> {
        Cursor::new(self.bytes, at, self.compressed)
    }

    /// Calls `each` with the type and the body of every event, metadata and checkpoints among them.
    pub(super) fn events(
        &self,
        mut each: impl FnMut(i64, Cursor<'a>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut cursor = self.cursor(HEADER_BYTES);
        while cursor.left() > 0 {
            let end = event(&mut cursor, &mut each)?;
            cursor = cursor.from(end);
        }
        Ok(())
    }
}

/// Reads the head of one event, hands out its body, and returns where it ends.
pub(super) fn event<'a>(
    cursor: &mut Cursor<'a>,
    each: &mut impl FnMut(i64, Cursor<'a>) -> Result<(), Broken>,
) -> Result<usize, Broken> {
    let start = *cursor;
    let size = cursor.number(4)?;
    let ty = cursor.long()?;
    let head = cursor.at() - start.at();
    match usize::try_from(size) {
        Ok(bytes) if bytes >= head && bytes <= start.left() => {
            let end = start.at() + bytes;
            each(ty, cursor.up_to(end))?;
            Ok(end)
        }
        _ => Err(start.broken(Fault::EventSize { size, ty, left: start.left() })),
    }
}
