//! Other queriers read a part of a large question's blocks, each those that it keeps in memory (common/query `share`).
//!
//! A part is answered once, by whoever answers it first and whole: its owner, the one that takes over when the owner is
//! late or fails, or this process. Nothing of the others is merged. Must not know: how peers are reached.

mod delay;
mod metrics;
mod peers;
mod race;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join;
use futures::{StreamExt, TryStreamExt};
use hearth_block::BlockEntry;
use hearth_common::{Clock, InstanceId};
use hearth_internode::{BlocksAnswer, BlocksError, BlocksRequest};
use hearth_model::Question;
use hearth_query::share::{Split, Threshold, split};
use hearth_ring::Ring;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use peers::ClusterPeers;

use crate::gather::Gather;
use crate::reading::{ReadError, Reader, Reading};
use delay::Delays;
use metrics::Metrics;
use rest::Resting;

/// Parts of one query that are asked for at once: enough to keep some queriers busy, and less than one of them serves.
const PARTS_AT_ONCE: usize = 16;

/// The queriers of the cluster.
#[async_trait]
pub trait BlockPeers: Send + Sync + std::fmt::Debug {
    /// Those that are alive and can be asked, and this process.
    fn ring(&self) -> Arc<Ring>;
    /// Asks one of them, within `request.timeout`.
    async fn blocks(&self, peer: &InstanceId, request: &BlocksRequest) -> Result<BlocksAnswer, BlocksError>;
}

/// What sharing is made of.
#[derive(Debug)]
pub struct SharingDeps {
    /// This process.
    pub me: InstanceId,
    /// The others.
    pub peers: Arc<dyn BlockPeers>,
    /// Time, for how long a peer that failed is left alone.
    pub clock: Arc<dyn Clock>,
    /// Sizes and times.
    pub options: SharingOptions,
}

/// Sizes and times of sharing.
#[derive(Debug, Clone, Copy)]
pub struct SharingOptions {
    /// Smaller questions are not shared.
    pub threshold: Threshold,
    /// Most blocks that one call asks for.
    pub part_blocks_max: usize,
    /// Calls to peers at once, over all queries; beyond it parts are read here.
    pub calls_max: usize,
    /// A part is never asked for a second time before this …
    pub hedge_min: Duration,
    /// … and may be after this. Between them: when its owner is later than 95 of 100 answers of that size. It always is
    /// after this, or after twice that time where that is longer.
    pub hedge_max: Duration,
}

impl Default for SharingOptions {
    fn default() -> Self {
        Self {
            threshold: Threshold { blocks: 16, bytes: 16 << 20 },
            part_blocks_max: 64,
            calls_max: 256,
            hedge_min: Duration::from_millis(50),
            hedge_max: Duration::from_secs(2),
        }
    }
}

/// Shares blocks with other queriers.
#[derive(Debug)]
pub(crate) struct Sharing {
    me: InstanceId,
    peers: Arc<dyn BlockPeers>,
    options: SharingOptions,
    calls: Semaphore,
    delays: Delays,
    resting: Resting,
    metrics: Metrics,
}

impl Sharing {
    pub(crate) fn new(deps: SharingDeps) -> Self {
        let SharingDeps { me, peers, clock, options } = deps;
        Self {
            me,
            peers,
            calls: Semaphore::new(options.calls_max),
            delays: Delays::new(options.hedge_min, options.hedge_max),
            resting: Resting::new(clock),
            metrics: Metrics::default(),
            options,
        }
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Who reads what; `None` when all of it is to be read here.
    pub(crate) fn split(&self, question: &Question, blocks: &[Arc<BlockEntry>]) -> Option<Split> {
        if !self.options.threshold.is_reached(question, blocks) {
            return None;
        }
        let (ring, options) = (self.peers.ring(), &self.options);
        let avoid = |peer: &InstanceId| self.resting.rests(peer);
        let split = split(blocks, &ring, &self.me, avoid, options.part_blocks_max);
        (!split.parts.is_empty()).then_some(split)
    }

    /// Adds the answers of all blocks to `gather`, each once, or fails.
    pub(crate) async fn read(
        &self,
        reader: &Reader,
        reading: &Reading<'_>,
        deadline: Instant,
        split: Split,
        gather: &Arc<Gather>,
    ) -> Result<(), ReadError> {
        self.metrics.queries.inc();
        let own = reader.read(reading, split.own, gather);
        let parts = split.parts.into_iter().map(|part| async move {
            let won = self.race(reader, reading, deadline, &part).await?;
            reading.budget.take(won.fetched_bytes)?;
            reading.skipped.join(won.skipped);
            Ok::<_, ReadError>(reader.add(reading.tenant, won.partial, gather).await?)
        });
        let parts = futures::stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>();
        try_join(own, parts).await.map(drop)
    }
}
