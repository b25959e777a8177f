//! Why a query got no answer.

use std::time::Duration;

use hearth_block::BlockError;
use hearth_catalog::CatalogError;
use hearth_common::units::iec_bytes;
use hearth_common::{Classify, ErrorKind, Retry};
use hearth_model::AnswerError;
use hearth_query::ask::AskError;
use hearth_query::heads::HeadsError;
use hearth_query::nodes::NodesError;
use hearth_query::range::RangeError;

/// When a tenant with too many queries may ask again.
const OUTSTANDING_PAUSE: Duration = Duration::from_secs(1);

/// What a query would read of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRead {
    /// Bytes.
    pub bytes: u64,
    /// Of so many blocks.
    pub blocks: usize,
}

impl std::fmt::Display for PlannedRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} blocks", iec_bytes(self.bytes), self.blocks)
    }
}

/// A query that failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The request is refused.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Which blocks exist is unknown.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An ingester gave no answer.
    #[error(transparent)]
    Heads(#[from] HeadsError),
    /// A block gave no answer.
    #[error("block {block} gave no answer")]
    Block {
        /// Its folder.
        block: String,
        /// Why.
        #[source]
        source: BlockError,
    },
    /// The sum cannot be told.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It reads too much.
    #[error(
        "the query {} {}, the limit of one query (query_bytes_max): ask for a shorter range or fewer series",
        match .planned {
            Some(planned) => format!("would read {planned}: more than"),
            None => "reads more than".to_owned(),
        },
        iec_bytes(*.limit)
    )]
    Bytes {
        /// The limit.
        limit: u64,
        /// What it would have read, if that was known before it read anything.
        planned: Option<PlannedRead>,
    },
    /// The tenant asks for too much at once.
    #[error(
        "too many outstanding requests: {} queries of the tenant are being answered here: ask again when some are done",
        crate::outstanding::OUTSTANDING_MAX
    )]
    Outstanding,
    /// Time is over.
    #[error(
        "request timed out after {:.1}s, decrease the duration of the request or add more label matchers to narrow it",
        .0.as_secs_f64()
    )]
    Deadline(Duration),
    /// A thread that worked on it panicked.
    #[error("a worker thread of the query panicked")]
    Worker,
}

impl Classify for QueryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Ask(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
            Self::Heads(error) => error.kind(),
            Self::Block { source, .. } => source.kind(),
            Self::Answer(error) => error.kind(),
            Self::Bytes { .. } | Self::Outstanding => ErrorKind::ResourceExhausted,
            Self::Deadline(_) => ErrorKind::DeadlineExceeded,
            Self::Worker => ErrorKind::Internal,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Catalog(error) => error.retry(),
            Self::Heads(error) => error.retry(),
            Self::Block { source, .. } => source.retry(),
            Self::Outstanding => Retry::After(OUTSTANDING_PAUSE),
            _ => Retry::Never,
        }
    }
}

impl From<RangeError> for QueryError {
    fn from(error: RangeError) -> Self {
        Self::Ask(error.into())
    }
}

impl From<NodesError> for QueryError {
    fn from(error: NodesError) -> Self {
        Self::Ask(error.into())
    }
}

#[cfg(test)]
mod tests {
    use hearth_rpc::{HttpError, RpcError};

    use super::*;

    #[test]
    fn who_asks_too_much_is_told_when_to_ask_again() {
        let error = RpcError::from(QueryError::Outstanding);
        assert_eq!((error.status().as_u16(), error.retry), (429, Retry::After(OUTSTANDING_PAUSE)));
        let plain = HttpError::from(error);
        assert_eq!(plain.retry_after().and_then(|pause| pause.to_str().ok()), Some("1"));
    }
}
