//! What can go wrong with a block: bad input, a limit of the format, damaged bytes, a failed read.

use hearth_common::{BoxError, Classify, ErrorKind};
use hearth_model::AnswerError;

/// An error of the block format.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// What the writer was given breaks its contract: a defect of the caller.
    #[error("a block cannot be written from this input: {0}")]
    Input(String),
    /// A count does not fit in the format.
    #[error("{what}: {value} is more than {limit}, the most that a block can hold: cut the head earlier")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The count.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes of an object are not what a writer can have written.
    #[error("object {object} of the block is damaged at byte {offset}: {what}")]
    Damaged {
        /// Name of the object.
        object: String,
        /// Where in the object, as near as is known.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// A newer format than this reader knows.
    #[error(
        "the block needs features {features:#x} (format {major}) that this version does not know: upgrade it"
    )]
    Unsupported {
        /// Major version of the format.
        major: u16,
        /// Required-feature bits that are not known.
        features: u64,
    },
    /// Reading bytes failed.
    #[error("reading object {object} of the block failed")]
    Read {
        /// Name of the object.
        object: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Encoding failed: a defect.
    #[error("encoding {object} failed: {what}")]
    Encode {
        /// Name of the object.
        object: &'static str,
        /// Why.
        what: String,
    },
    /// The answer cannot be given.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Classify for BlockError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Input(_) | Self::Encode { .. } => ErrorKind::Internal,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::Unsupported { .. } => ErrorKind::FailedPrecondition,
            Self::Read { .. } => ErrorKind::Unavailable,
            Self::Answer(error) => error.kind(),
        }
    }
}

impl BlockError {
    /// Damage in the `index` object.
    pub(crate) fn index(offset: u64, what: impl Into<String>) -> Self {
        Self::damaged(crate::INDEX, offset, what)
    }

    /// Damage in any object.
    pub(crate) fn damaged(object: &str, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { object: object.to_owned(), offset, what: what.into() }
    }

    /// Turns an error of the parquet crate while writing into ours.
    pub(crate) fn encode(object: &'static str) -> impl Fn(parquet::errors::ParquetError) -> Self {
        move |error| Self::Encode { object, what: error.to_string() }
    }
}
