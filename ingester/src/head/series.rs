//! The rows of one series: sealed chunks that readers share, and an open one.

use std::sync::Arc;

use hearth_common::TimestampNs;
use hearth_model::Labels;

use super::rows::RowHead;

/// A chunk is sealed from this length on, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// The open chunk grows by this much.
const STEP_BYTES: usize = 8 << 10;

/// What is known of a chunk without walking its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) rows: u32,
    pub(crate) min_time: TimestampNs,
    pub(crate) max_time: TimestampNs,
    /// The journal of all rows, with the least and the greatest position; `None` when there are several journals.
    pub(crate) positions: Option<(u32, u64, u64)>,
    /// Bit by number of a type in the unit; complete only when the unit has at most 64 types.
    pub(crate) types: u64,
}

impl ChunkMeta {
    fn of(head: &RowHead, types: u64) -> Self {
        Self {
            rows: 1,
            min_time: head.time,
            max_time: head.time,
            positions: Some((head.journal, head.position, head.position)),
            types,
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.min_time = self.min_time.min(other.min_time);
        self.max_time = self.max_time.max(other.max_time);
        self.positions = match (self.positions, other.positions) {
            (Some(a), Some(b)) if a.0 == b.0 => Some((a.0, a.1.min(b.1), a.2.max(b.2))),
            _ => None,
        };
        self.types |= other.types;
    }
}

/// Rows of one series that do not change any more.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) meta: ChunkMeta,
    pub(crate) bytes: Arc<[u8]>,
}

/// A label set and its rows.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    sealed: Vec<Chunk>,
    sealed_bytes: usize,
    open: Vec<u8>,
    open_meta: Option<ChunkMeta>,
}

impl Series {
    pub(crate) fn new(labels: Labels) -> Self {
        Self { labels, sealed: Vec::new(), sealed_bytes: 0, open: Vec::new(), open_meta: None }
    }

    /// Where the next row is written.
    pub(crate) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// Makes room for a row of about so many bytes, without doubling.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        let needed = self.open.len() + bytes;
        if needed > self.open.capacity() {
            let wanted = needed.next_multiple_of(STEP_BYTES.min(self.open.capacity().max(512)));
            self.open.reserve_exact(wanted - self.open.len());
        }
    }

    /// Counts the row that was written; seals the chunk when it is long enough.
    pub(crate) fn added(&mut self, head: &RowHead, types: u64) {
        let own = ChunkMeta::of(head, types);
        match &mut self.open_meta {
            Some(meta) => meta.add(&own),
            None => self.open_meta = Some(own),
        }
        if self.open.len() >= CHUNK_BYTES {
            self.seal();
        }
    }

    /// Makes the open chunk one that readers share.
    pub(crate) fn seal(&mut self) {
        if let Some(meta) = self.open_meta.take() {
            self.sealed_bytes += self.open.len();
            self.sealed.push(Chunk { meta, bytes: Arc::from(self.open.as_slice()) });
            // Not kept: most series rest after a burst.
            self.open = Vec::new();
        }
    }

    /// All rows so far; the open chunk is copied.
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        let open = self.open_meta.map(|meta| Chunk { meta, bytes: Arc::from(self.open.as_slice()) });
        self.sealed.iter().cloned().chain(open).collect()
    }

    /// Bytes of memory without the labels.
    pub(crate) fn bytes(&self) -> usize {
        self.sealed_bytes + self.open.capacity()
    }
}
