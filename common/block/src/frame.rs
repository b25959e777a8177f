//! The container of the `index` object: compressed frames of sections, a directory of them, and a trailer.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::FORMAT_MAJOR;
use crate::codec::{Cursor, put_varint};
use crate::error::BlockError;
use crate::write::outgoing::Outgoing;

/// Most raw bytes that the writer puts in a frame (but for a single element that is larger).
pub(crate) const FRAME_RAW: usize = 128 << 10;
/// Most raw bytes of a frame that a reader accepts.
pub(crate) const FRAME_RAW_MAX: usize = 1 << 20;
/// Most raw bytes of a directory that a reader accepts: over a million frames.
pub(crate) const DIRECTORY_RAW_MAX: usize = 64 << 20;
/// Length of the trailer.
pub(crate) const TRAILER_BYTES: usize = 64;
/// A feature that a reader must know to read the block: pages may be of split bytes.
const FEATURE_SPLIT: u64 = 1;
/// All features that this version reads.
const KNOWN_FEATURES: u64 = FEATURE_SPLIT;

const MAGIC: &[u8; 8] = b"HEARTHIX";
const MINOR: u16 = 0;
const LEVEL: i32 = 9;
/// Stands in the directory for "no unit": shared sections.
pub(crate) const NO_UNIT: u32 = u32::MAX;

/// Kinds of sections. A reader ignores kinds that it does not know.
pub(crate) mod section {
    pub(crate) const STRINGS: u32 = 1;
    pub(crate) const FUNCTIONS: u32 = 2;
    pub(crate) const MAPPINGS: u32 = 3;
    pub(crate) const LOCATIONS: u32 = 4;
    pub(crate) const TREE: u32 = 5;
    pub(crate) const UNITS: u32 = 16;
    pub(crate) const TYPES: u32 = 17;
    pub(crate) const LABELS: u32 = 18;
    pub(crate) const SERIES: u32 = 19;
    pub(crate) const DATASETS: u32 = 20;
    pub(crate) const PAGES: u32 = 21;
    pub(crate) const ANNOTATIONS: u32 = 22;
    pub(crate) const ORIGIN: u32 = 23;
    pub(crate) const ROLLUPS: u32 = 24;
    /// From this kind on a section belongs to the tail, which a reader decodes when it opens the block.
    pub(crate) const FIRST_OF_TAIL: u32 = UNITS;
}

/// One entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) section: u32,
    pub(crate) unit: u32,
    /// Index of its first element in the section (of the unit).
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) offset: u64,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
    pub(crate) checksum: u64,
}

impl Frame {
    /// Where the frame lies.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + u64::from(self.stored)
    }

    /// Checks and inflates the frame.
    pub(crate) fn inflate(&self, stored: &[u8]) -> Result<Vec<u8>, BlockError> {
        let damaged = |what: String| BlockError::index(self.offset, what);
        if stored.len() != self.stored as usize || xxh3_64(stored) != self.checksum {
            return Err(damaged("the checksum of a frame does not match".to_owned()));
        }
        inflate(stored, self.raw as usize, FRAME_RAW_MAX).map_err(damaged)
    }
}

fn inflate(stored: &[u8], raw: usize, limit: usize) -> Result<Vec<u8>, String> {
    if raw > limit {
        return Err(format!("a frame inflates to {raw} bytes, the limit is {limit}"));
    }
    let inflated =
        zstd::bulk::decompress(stored, raw).map_err(|e| format!("a frame cannot be inflated: {e}"))?;
    if inflated.len() != raw {
        return Err(format!("a frame inflates to {} bytes, the directory says {raw}", inflated.len()));
    }
    Ok(inflated)
}

/// Builds the object.
pub(crate) struct IndexWriter {
    out: Outgoing,
    frames: Vec<Frame>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl IndexWriter {
    pub(crate) fn new() -> Result<Self, BlockError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(|e| encode(&e))?;
        Ok(Self { out: Outgoing::default(), frames: Vec::new(), compressor })
    }

    /// Appends one frame of `count` elements.
    pub(crate) fn frame(
        &mut self,
        section: u32,
        unit: u32,
        first: u64,
        count: u32,
        raw: &[u8],
    ) -> Result<(), BlockError> {
        if raw.len() > FRAME_RAW_MAX {
            let (value, limit) = (raw.len() as u64, FRAME_RAW_MAX as u64);
            return Err(BlockError::Limit { what: "bytes of one element of the index", value, limit });
        }
        let stored = self.compressor.compress(raw).map_err(|e| encode(&e))?;
        self.frames.push(Frame {
            section,
            unit,
            first,
            count,
            offset: self.out.bytes(),
            stored: stored.len() as u32,
            raw: raw.len() as u32,
            checksum: xxh3_64(&stored),
        });
        self.out.append(&stored);
        Ok(())
    }

    /// Appends a byte stream as frames; its elements are bytes.
    pub(crate) fn stream(&mut self, section: u32, raw: &[u8]) -> Result<(), BlockError> {
        let mut first = 0u64;
        for part in raw.chunks(FRAME_RAW) {
            self.frame(section, NO_UNIT, first, part.len() as u32, part)?;
            first += part.len() as u64;
        }
        Ok(())
    }

    /// What was written so far, to be taken away in parts.
    pub(crate) fn out(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    /// Appends directory and trailer; gives the object and the offset of its directory.
    pub(crate) fn finish(mut self) -> Result<(Outgoing, u64), BlockError> {
        let mut raw = Vec::new();
        put_varint(self.frames.len() as u64, &mut raw);
        for frame in &self.frames {
            put_varint(u64::from(frame.section), &mut raw);
            put_varint(u64::from(frame.unit.wrapping_add(1)), &mut raw);
            put_varint(frame.first, &mut raw);
            put_varint(u64::from(frame.count), &mut raw);
            put_varint(u64::from(frame.stored), &mut raw);
            put_varint(u64::from(frame.raw), &mut raw);
            raw.extend_from_slice(&frame.checksum.to_le_bytes());
        }
        let directory = self.compressor.compress(&raw).map_err(|e| encode(&e))?;
        let offset = self.out.bytes();
        self.out.append(&directory);
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(MAGIC);
        trailer.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        trailer.extend_from_slice(&MINOR.to_le_bytes());
        trailer.extend_from_slice(&(directory.len() as u32).to_le_bytes());
        trailer.extend_from_slice(&FEATURE_SPLIT.to_le_bytes());
        trailer.extend_from_slice(&offset.to_le_bytes());
        trailer.extend_from_slice(&(raw.len() as u64).to_le_bytes());
        trailer.extend_from_slice(&xxh3_64(&directory).to_le_bytes());
        trailer.extend_from_slice(&(self.out.bytes() + TRAILER_BYTES as u64).to_le_bytes());
        let checksum = xxh3_64(&trailer);
        trailer.extend_from_slice(&checksum.to_le_bytes());
        self.out.append(&trailer);
        Ok((self.out, offset))
    }
}

fn encode(error: &std::io::Error) -> BlockError {
    BlockError::Encode { object: crate::INDEX, what: error.to_string() }
}

/// The trailer's content that a reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) directory_offset: u64,
    pub(crate) directory_bytes: u32,
    directory_raw: u64,
    directory_checksum: u64,
}

impl Trailer {
    /// Reads the last [`TRAILER_BYTES`] of an object of `object_bytes`.
    pub(crate) fn read(trailer: &[u8], object_bytes: u64) -> Result<Self, BlockError> {
        let at = object_bytes.saturating_sub(TRAILER_BYTES as u64);
        let damaged = |what: String| BlockError::index(at, what);
        if trailer.len() != TRAILER_BYTES || &trailer[..8] != MAGIC {
            return Err(damaged("there is no index trailer".to_owned()));
        }
        let number = |from: usize, length: usize| {
            let mut word = [0u8; 8];
            word[..length].copy_from_slice(&trailer[from..from + length]);
            u64::from_le_bytes(word)
        };
        if number(56, 8) != xxh3_64(&trailer[..56]) {
            return Err(damaged("the checksum of the trailer does not match".to_owned()));
        }
        let (major, features) = (number(8, 2) as u16, number(16, 8));
        if major != FORMAT_MAJOR || features & !KNOWN_FEATURES != 0 {
            return Err(BlockError::Unsupported { major, features });
        }
        let found = Self {
            directory_offset: number(24, 8),
            directory_bytes: number(12, 4) as u32,
            directory_raw: number(32, 8),
            directory_checksum: number(40, 8),
        };
        let end = found.directory_offset.checked_add(u64::from(found.directory_bytes));
        if number(48, 8) != object_bytes || end != Some(at) {
            return Err(damaged(format!("the trailer is that of an object of {} bytes", number(48, 8))));
        }
        Ok(found)
    }

    /// Reads the directory; every frame lies before it.
    pub(crate) fn directory(&self, stored: &[u8]) -> Result<Vec<Frame>, BlockError> {
        let damaged = |what: String| BlockError::index(self.directory_offset, what);
        if xxh3_64(stored) != self.directory_checksum {
            return Err(damaged("the checksum of the directory does not match".to_owned()));
        }
        let raw_bytes = usize::try_from(self.directory_raw).unwrap_or(usize::MAX);
        let raw = inflate(stored, raw_bytes, DIRECTORY_RAW_MAX).map_err(damaged)?;
        let frames = read_frames(&raw).map_err(damaged)?;
        let end = frames.last().map_or(0, |f| f.range().end);
        if end != self.directory_offset {
            return Err(damaged(format!("the frames end at {end}")));
        }
        Ok(frames)
    }
}

fn read_frames(raw: &[u8]) -> Result<Vec<Frame>, String> {
    let mut cursor = Cursor::new(raw);
    let count = cursor.count()?;
    let mut frames = Vec::with_capacity(count);
    let mut offset = 0u64;
    for _ in 0..count {
        let frame = Frame {
            section: cursor.varint_u32()?,
            unit: cursor.varint_u32()?.wrapping_sub(1),
            first: cursor.varint()?,
            count: cursor.varint_u32()?,
            offset,
            stored: cursor.varint_u32()?,
            raw: cursor.varint_u32()?,
            checksum: cursor.u64()?,
        };
        offset = frame.range().end;
        frames.push(frame);
    }
    cursor.end()?;
    Ok(frames)
}

/// Joins the frames of a stream.
pub(crate) fn join_stream<'a>(
    frames: impl Iterator<Item = (&'a Frame, Bytes)>,
    limit: usize,
) -> Result<Vec<u8>, BlockError> {
    let mut out = Vec::new();
    for (frame, stored) in frames {
        if frame.first != out.len() as u64
            || frame.count != frame.raw
            || out.len() + frame.raw as usize > limit
        {
            return Err(BlockError::index(
                frame.offset,
                "a frame of a stream is out of place or the stream too long",
            ));
        }
        out.extend_from_slice(&frame.inflate(&stored)?);
    }
    Ok(out)
}
