//! Sends records to the cells that take them (design: replication B2, B4; ADR 5).
//!
//! Each record goes to its home cell, to whoever leads it, again and again until it is acknowledged or refused for good, so
//! that a client sees no failure when a leader dies. A record has its rid, so a retry counts once. Must not know: what is in
//! a record behind its header, how a cell keeps its log.

mod batch;
mod metrics;
mod place;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use hearth_cluster::push::{PushError, PushOutcome, PushTarget};
use hearth_common::units::iec_bytes;
use hearth_common::{CellId, Clock, TenantId};
use hearth_formats::record;
use hearth_internode::cells::{Cells, View};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use place::place;

use batch::{Batch, Sent};
use metrics::Metrics;

/// How often the records of one push are placed: once, and again on newer rosters.
const PLACINGS_MAX: u32 = 4;
/// Most records in one message; the internal port takes 65,536.
const BATCH_RECORDS_MAX: usize = 16_384;

/// What sending to cells is made of.
pub struct ClusterPushDeps {
    /// Who keeps which cell, and where they are.
    pub cells: Arc<Cells>,
    /// The time, for profiles dated ahead.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for pauses.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Sizes and times.
    pub options: ClusterPushOptions,
}

/// Sizes and times of sending to cells.
#[derive(Debug, Clone, Copy)]
pub struct ClusterPushOptions {
    /// A push that is not done by then fails.
    pub deadline: Duration,
    /// A member that says nothing for so long is left for the next; longer for large batches and in later rounds.
    pub silence: Duration,
    /// Bytes of records that may be in flight; a push beyond it is refused.
    pub in_flight_bytes_max: usize,
    /// Bytes of records in one message, unless one record is larger.
    pub batch_bytes_max: usize,
}

impl Default for ClusterPushOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            silence: Duration::from_millis(1500),
            in_flight_bytes_max: 256 << 20,
            batch_bytes_max: 16 << 20,
        }
    }
}

/// The cells of a cluster as one target of records.
pub struct ClusterPush {
    cells: Arc<Cells>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Fn() -> u128 + Send + Sync>,
    options: ClusterPushOptions,
    in_flight_bytes: AtomicUsize,
    metrics: Metrics,
}

impl std::fmt::Debug for ClusterPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterPush").field("cells", &self.cells).field("options", &self.options).finish()
    }
}

/// Bytes in flight, until it is dropped.
struct InFlight<'p> {
    push: &'p ClusterPush,
    bytes: usize,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.push.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.push.metrics.in_flight_bytes.dec_by(self.bytes as i64);
    }
}

impl ClusterPush {
    /// A target; nothing is sent yet.
    pub fn new(deps: ClusterPushDeps) -> Self {
        let ClusterPushDeps { cells, clock, random, options } = deps;
        let metrics = Metrics::default();
        Self { cells, clock, random, options, in_flight_bytes: AtomicUsize::new(0), metrics }
    }

    /// Adds its metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Makes room for bytes in flight. A push that is too large on its own is taken when nothing else is in flight.
    fn admit(&self, bytes: usize) -> Result<InFlight<'_>, PushError> {
        let limit = self.options.in_flight_bytes_max;
        let room = |held: usize| (held == 0 || held + bytes <= limit).then_some(held + bytes);
        match self.in_flight_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => {
                self.metrics.in_flight_bytes.inc_by(bytes as i64);
                Ok(InFlight { push: self, bytes })
            }
            Err(held) => {
                self.metrics.refused.inc();
                Err(PushError::Unavailable(format!(
                    "{} of records are on their way to ingesters already, limit {}: ingesters are slow or away",
                    iec_bytes(held as u64),
                    iec_bytes(limit as u64)
                )))
            }
        }
    }

    fn view(&self) -> Result<Arc<View>, PushError> {
        self.cells.view().map_err(|error| PushError::Unavailable(hearth_common::error::chain(&error)))
    }

    /// Records by their cell, in messages of bounded size.
    fn batches(&self, view: &View, records: &[Bytes], wanted: &[usize]) -> Result<Vec<Batch>, PushError> {
        let now = self.clock.now();
        let mut tenants: BTreeMap<&str, TenantId> = BTreeMap::new();
        let mut open: BTreeMap<CellId, Batch> = BTreeMap::new();
        let mut batches = Vec::new();
        for at in wanted {
            let malformed = |what: String| PushError::Malformed(what);
            let (header, _) = record::peek(&records[*at]).map_err(|error| malformed(error.to_string()))?;
            let tenant = match tenants.get(header.tenant) {
                Some(tenant) => tenant.clone(),
                None => {
                    let tenant =
                        TenantId::parse(header.tenant).map_err(|error| malformed(error.to_string()))?;
                    tenants.insert(header.tenant, tenant.clone());
                    tenant
                }
            };
            let cell = place(&view.homes, &tenant, &header, now).cell;
            let batch = open.entry(cell.clone()).or_insert_with(|| Batch::new(cell.clone()));
            let bytes = records[*at].len();
            let full = batch.bytes + bytes > self.options.batch_bytes_max
                || batch.records.len() >= BATCH_RECORDS_MAX;
            if full && !batch.records.is_empty() {
                batches.push(std::mem::replace(batch, Batch::new(cell)));
            }
            batch.records.push(*at);
            batch.bytes += bytes;
        }
        batches.extend(open.into_values());
        Ok(batches)
    }
}

#[async_trait]
impl PushTarget for ClusterPush {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        let _in_flight = self.admit(records.iter().map(Bytes::len).sum())?;
        let deadline = Instant::now() + self.options.deadline;
        let mut outcomes: Vec<Option<PushOutcome>> = vec![None; records.len()];
        let mut left: Vec<usize> = (0..records.len()).collect();
        for _ in 0..PLACINGS_MAX {
            let view = self.view()?;
            let batches = self.batches(&view, &records, &left)?;
            left.clear();
            let sent = batches.into_iter().map(|batch| self.send(batch, &view, &records, deadline));
            let mut newer = 0;
            // Every batch comes to its end first: what can be stored is stored, and a retry of the client finds it.
            for sent in join_all(sent).await {
                let Sent { done, misplaced, roster_version } = sent?;
                done.into_iter().for_each(|(at, outcome)| outcomes[at] = Some(outcome));
                left.extend(misplaced);
                newer = newer.max(roster_version);
            }
            if left.is_empty() {
                let all: Option<Vec<PushOutcome>> = outcomes.into_iter().collect();
                return all.ok_or_else(|| PushError::Malformed("a record has no outcome".to_owned()));
            }
            left.sort_unstable();
            if !self.cells.reaches(newer, deadline).await {
                return Err(PushError::Unavailable(format!(
                    "ingesters have version {newer} of the roster and this distributor has {}",
                    view.roster.version
                )));
            }
        }
        Err(PushError::Unavailable(format!(
            "the roster changed {PLACINGS_MAX} times while records were sent"
        )))
    }
}
