//! What a querier gives its peers: answers of blocks that it reads itself. It asks nobody for them, so no call goes on.

use std::sync::Arc;

use async_trait::async_trait;
use hearth_block::BlockError;
use hearth_common::error::chain;
use hearth_internode::{BlocksAnswer, BlocksRequest, QuerierApi, Refusal, RefusalWhy};
use hearth_model::{Answer, AnswerError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::error::QueryError;
use crate::gather::Gather;
use crate::reading::{Budget, FETCHES_AT_ONCE, ReadError, Reader, Reading};
use crate::skipped::{May, Skipped};

/// Calls of peers that are served at once; more are refused, and the asker goes elsewhere.
pub(crate) const SERVED_AT_ONCE: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Serves peers.
#[derive(Debug)]
pub(crate) struct Serving {
    reader: Arc<Reader>,
    room: Semaphore,
    query_bytes_max: u64,
    calls: Family<Outcome, Counter>,
    blocks: Counter,
}

impl Serving {
    pub(crate) fn new(reader: Arc<Reader>, query_bytes_max: u64) -> Self {
        let room = Semaphore::new(SERVED_AT_ONCE);
        Self { reader, room, query_bytes_max, calls: Family::default(), blocks: Counter::default() }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("hearth_querier_served");
        let help = "Calls of other queriers for blocks, by how they ended; given_up: the asker went away";
        registry.register("calls", help, self.calls.clone());
        registry.register("blocks", "Blocks that were read for other queriers", self.blocks.clone());
    }

    async fn read(&self, request: &BlocksRequest) -> Result<BlocksAnswer, Refusal> {
        let Ok(_room) = self.room.try_acquire() else {
            let why = format!("{SERVED_AT_ONCE} calls of other queriers are served here, which is the limit");
            return Err(Refusal::new(RefusalWhy::Busy, why));
        };
        let BlocksRequest { tenant, question, blocks, deletions, bytes_max, .. } = request;
        let budget = Budget::new(self.query_bytes_max.min(*bytes_max));
        let fetches = Semaphore::new(FETCHES_AT_ONCE);
        // The asker knows what its answer may lack, and reads itself what cannot be read here.
        let skipped = Skipped::new(May::Nothing);
        let reading =
            Reading { tenant, question, deletions, budget: &budget, skipped: &skipped, fetches: &fetches };
        let gather = Arc::new(Gather::default());
        let read = self.reader.read(&reading, blocks.clone(), &gather).await;
        // Beyond a limit of our own the asker has to read itself: its limit may be greater.
        read.map_err(|error| refusal(error, *bytes_max <= self.query_bytes_max))?;
        self.blocks.inc_by(blocks.len() as u64);
        let partial = gather.take().unwrap_or_else(|| Answer::empty(question));
        Ok(BlocksAnswer { partial, fetched_bytes: budget.used(), wire_bytes: 0 })
    }
}

fn refusal(error: ReadError, limit_of_the_query: bool) -> Refusal {
    let (why, error) = match error {
        // The asker reads it.
        ReadError::Unreadable(error) | ReadError::Again(error) => (RefusalWhy::Unreadable, error),
        ReadError::Failed(error) => {
            let why = match &error {
                QueryError::Bytes { .. } if limit_of_the_query => RefusalWhy::Bytes,
                QueryError::Answer(AnswerError::Overflow)
                | QueryError::Block { source: BlockError::Answer(AnswerError::Overflow), .. } => {
                    RefusalWhy::Overflow
                }
                _ => RefusalWhy::Failed,
            };
            (why, error)
        }
    };
    Refusal::new(why, chain(&error))
}

/// Counts a call that is dropped before it has ended.
struct Counting<'a> {
    calls: &'a Family<Outcome, Counter>,
    outcome: &'static str,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.calls.get_or_create(&Outcome { outcome: self.outcome }).inc();
    }
}

#[async_trait]
impl QuerierApi for Serving {
    async fn blocks(&self, request: BlocksRequest) -> Result<BlocksAnswer, Refusal> {
        let mut counting = Counting { calls: &self.calls, outcome: "given_up" };
        let read = self.read(&request).await;
        counting.outcome = match &read {
            Ok(_) => "answered",
            Err(refusal) if refusal.why == RefusalWhy::Busy => "busy",
            Err(refusal) if refusal.why == RefusalWhy::Bytes => "bytes",
            Err(_) => "failed",
        };
        read
    }
}
