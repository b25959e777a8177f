//! The reader: opens a block's index, fetches what a question needs, answers.

use std::sync::Arc;

use hearth_common::RangeRead;
use hearth_model::{Answer, Question};

use crate::entry::BlockEntry;
use crate::error::BlockError;

/// An open block. Cheap to share (`Arc`); keeps decoded symbols and series, counted by [`BlockReader::cached_bytes`].
#[derive(Debug)]
pub struct BlockReader {
    entry: Arc<BlockEntry>,
}

/// A question with all the bytes that its answer needs. Does not borrow from the reader.
#[derive(Debug)]
pub struct Prepared {}

impl BlockReader {
    /// Reads the tail of the index (all of it when ≤ 1 MiB). `objects` gives access to an object by its name in the block.
    pub async fn open(
        entry: Arc<BlockEntry>,
        _objects: impl Fn(&str) -> Arc<dyn RangeRead>,
    ) -> Result<Self, BlockError> {
        Ok(Self { entry })
    }

    /// The block's entry.
    pub fn entry(&self) -> &Arc<BlockEntry> {
        &self.entry
    }

    /// Bytes of memory that the open block and its cached symbols take. Grows with use, up to a bound.
    pub fn cached_bytes(&self) -> usize {
        0
    }

    /// Prunes, and fetches what is left, in few large ranges. Does no heavy work on the calling thread.
    pub async fn prepare(&self, _question: &Question) -> Result<Prepared, BlockError> {
        Ok(Prepared {})
    }
}

impl Prepared {
    /// Bytes that were fetched for this question.
    pub fn fetched_bytes(&self) -> u64 {
        0
    }

    /// Rows of `samples` (or of `profiles`, when only those are read) that [`Prepared::run`] decodes: a measure of its cost.
    pub fn rows(&self) -> u64 {
        0
    }

    /// Answers: CPU only, never waits. Uses up to 2 threads when there are many rows.
    pub fn run(self) -> Result<Answer, BlockError> {
        Err(BlockError::Input("not written yet".to_owned()))
    }
}
