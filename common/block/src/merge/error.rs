//! What can stop a merge: an input (named), the output's limits, the sink, the memory budget.

use hearth_common::{BlockId, BoxError, Classify, ErrorKind};

use crate::error::BlockError;
use crate::read::BlockReader;

/// An error of a merge. Nothing that the sink got before it is a block.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input cannot be read: set it aside and merge the others.
    #[error("block {block} cannot be merged")]
    Input {
        /// The input.
        block: BlockId,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// The inputs do not belong together: a defect of the caller.
    #[error("these blocks cannot be merged: {0}")]
    Plan(String),
    /// The output breaks a limit of the format.
    #[error("the merged block cannot be written")]
    Output(#[source] BlockError),
    /// The sink failed.
    #[error("storing object {object} of the merged block failed")]
    Sink {
        /// Name of the object.
        object: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Fewer inputs, or a larger budget.
    #[error(
        "merging {blocks} blocks takes about {needed_bytes} bytes of memory, the budget is {budget_bytes}: merge fewer at a time"
    )]
    Memory {
        /// How many inputs there are.
        blocks: usize,
        /// The estimate.
        needed_bytes: u64,
        /// The budget.
        budget_bytes: u64,
    },
    /// Rows got lost or were made up: a defect. The output must not be published.
    #[error("the merge does not add up: {0}")]
    Balance(String),
}

impl Classify for MergeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { source, .. } | Self::Output(source) => source.kind(),
            Self::Plan(_) | Self::Balance(_) => ErrorKind::Internal,
            Self::Sink { .. } => ErrorKind::Unavailable,
            Self::Memory { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

impl From<BlockError> for MergeError {
    /// Errors of inputs are named by [`OfBlock::of`]; what is left comes from writing.
    fn from(error: BlockError) -> Self {
        Self::Output(error)
    }
}

/// Names the block that an error comes from.
pub(super) trait OfBlock<T> {
    fn of(self, block: &BlockReader) -> Result<T, MergeError>;
}

impl<T> OfBlock<T> for Result<T, BlockError> {
    fn of(self, block: &BlockReader) -> Result<T, MergeError> {
        self.map_err(|source| MergeError::Input { block: block.entry().id, source })
    }
}
