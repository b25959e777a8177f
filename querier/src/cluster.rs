//! Asks the cells of a cluster for what roots do not cover (design: replication B9, A29 to A32; ADR 5).
//!
//! What has to be asked comes from the roster, not from who is alive. Each cell is answered exactly once, by its leader, or
//! the query fails and says which cell is missing and why. Must not know: blocks, how a cell keeps its log.

mod asking;
mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_common::{CellId, Clock, TenantId, TimestampNs};
use hearth_internode::cells::{Cells, View};
use hearth_query::FetchRequest;
use hearth_query::heads::{Beyond, Heads, HeadsError, judge_cells};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::recent::Recent;
use asking::Asking;
use metrics::Metrics;

/// In a cluster of more cells, only those are asked on which the schedule places the tenant.
const ASK_ALL_MAX: usize = 64;
/// Time of a query in which cells are not waited for any more.
const RESERVE_MAX: Duration = Duration::from_millis(200);
/// How often a query looks at a newer roster.
const ROSTERS_MAX: u32 = 4;

/// What asking cells is made of.
pub struct ClusterHeadsDeps {
    /// Who keeps which cell, and where they are.
    pub cells: Arc<Cells>,
    /// The time, for what the schedule places.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for pauses.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Times, and what to do without a cell.
    pub options: ClusterHeadsOptions,
}

/// Times of asking cells.
#[derive(Debug, Clone, Copy)]
pub struct ClusterHeadsOptions {
    /// A cell that nobody leads is waited for so long, as in an election; never beyond the query's own time.
    pub election_max: Duration,
    /// After so long without an answer the next member is asked, too; the first may still answer. Sooner when it is later
    /// than 99 of 100 of the last answers: who leads is confirmed by a majority, so asking twice is safe, …
    pub silence: Duration,
    /// … but not before this.
    pub silence_min: Duration,
    /// A newer roster that ingesters have is waited for so long.
    pub roster_max: Duration,
    /// Rows that are not published are at most so old, by the time of their profiles: no less than the greatest
    /// `reject_older_than` of any tenant and the longest time that publishing may take. Counts in clusters of more than 64
    /// cells.
    pub window: Duration,
    /// Cells that cannot be had are left out of every query, and the answer says so. Otherwise a query fails that does not
    /// allow it itself.
    pub allow_partial: bool,
}

impl Default for ClusterHeadsOptions {
    fn default() -> Self {
        Self {
            election_max: Duration::from_secs(8),
            silence: Duration::from_millis(1500),
            silence_min: Duration::from_millis(100),
            roster_max: Duration::from_secs(5),
            window: Duration::from_secs(24 * 3600),
            allow_partial: false,
        }
    }
}

/// The cells of a cluster as one source of unpublished rows.
pub struct ClusterHeads {
    cells: Arc<Cells>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Fn() -> u128 + Send + Sync>,
    options: ClusterHeadsOptions,
    metrics: Metrics,
    /// How long leaders took to answer.
    took: Recent,
}

/// Of a hundred answers so many came before a member counts as silent.
const SILENT_AFTER_PERCENTILE: usize = 99;

impl std::fmt::Debug for ClusterHeads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHeads").field("cells", &self.cells).field("options", &self.options).finish()
    }
}

impl ClusterHeads {
    /// Nobody is asked yet.
    pub fn new(deps: ClusterHeadsDeps) -> Self {
        let ClusterHeadsDeps { cells, clock, random, options } = deps;
        Self { cells, clock, random, options, metrics: Metrics::default(), took: Recent::default() }
    }

    /// Adds its metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// How long a member may say nothing before another one is asked, too.
    fn silence(&self) -> Duration {
        let ClusterHeadsOptions { silence, silence_min, .. } = self.options;
        let usual = self.took.percentile(SILENT_AFTER_PERCENTILE).unwrap_or(silence);
        usual.clamp(silence_min.min(silence), silence)
    }

    fn view(&self) -> Result<Arc<View>, HeadsError> {
        self.cells.view().map_err(|error| HeadsError::NoCells(error.to_string()))
    }

    fn obligations(&self, view: &View, tenant: &TenantId) -> BTreeSet<CellId> {
        let window_ns = i64::try_from(self.options.window.as_nanos()).unwrap_or(i64::MAX);
        let from = TimestampNs(self.clock.now().0.saturating_sub(window_ns));
        obligations(view, tenant, from)
    }
}

/// The cells that may hold unpublished rows of a tenant, of profiles not before `from`.
fn obligations(view: &View, tenant: &TenantId, from: TimestampNs) -> BTreeSet<CellId> {
    let mut cells: BTreeSet<CellId> = view.roster.cells_to_ask().map(|cell| cell.id.clone()).collect();
    if cells.len() > ASK_ALL_MAX {
        let placed = view.homes.cells_since(tenant, from);
        cells.retain(|cell| placed.binary_search(cell).is_ok());
    }
    cells
}

#[async_trait]
impl Heads for ClusterHeads {
    async fn ask(&self, request: FetchRequest, allow_partial: bool) -> Result<Beyond, HeadsError> {
        // A little less than all of it: an error that names the cell is to be had before the query's own time is over.
        let reserve = RESERVE_MAX.min(request.timeout / 10);
        let deadline = Instant::now() + request.timeout.saturating_sub(reserve);
        let mut view = self.view()?;
        let mut wanted = self.obligations(&view, &request.tenant);
        let allow_partial = allow_partial || self.options.allow_partial;
        let mut asking = Asking::new(self, &request, &view, deadline, allow_partial);
        asking.add(&wanted, &view);
        for _ in 0..ROSTERS_MAX {
            if let Some(journal) = asking.run().await? {
                return Ok(Beyond::Stale(journal));
            }
            let heard = asking.newest_roster;
            if heard <= view.roster.version {
                let (answers, left_out) = asking.finish();
                return self.judge(&request, &view, &wanted, &left_out, answers);
            }
            // Somebody knows cells that we do not: they may have rows (A29).
            self.metrics.rosters.inc();
            let until = deadline.min(Instant::now() + self.options.roster_max);
            if !self.cells.reaches(heard, until).await {
                return Err(HeadsError::OldRoster { known: view.roster.version, heard });
            }
            view = self.view()?;
            let more: BTreeSet<CellId> =
                self.obligations(&view, &request.tenant).difference(&wanted).cloned().collect();
            asking.add(&more, &view);
            wanted.extend(more);
        }
        Err(HeadsError::OldRoster { known: view.roster.version, heard: asking.newest_roster })
    }

    fn count(&self) -> usize {
        self.cells.view().map_or(0, |view| view.roster.cells_to_ask().count())
    }
}

impl ClusterHeads {
    fn judge(
        &self,
        request: &FetchRequest,
        view: &View,
        wanted: &BTreeSet<CellId>,
        left_out: &BTreeMap<CellId, String>,
        answers: Vec<hearth_query::heads::CellsAnswer>,
    ) -> Result<Beyond, HeadsError> {
        self.metrics.left_out.inc_by(left_out.len() as u64);
        let mut beyond = judge_cells(request, wanted, left_out, answers)?;
        if let Beyond::Complete { inexact, .. } = &mut beyond {
            inexact.extend(
                view.roster
                    .open_losses()
                    .map(|loss| format!("records of cell {} may be lost: {}", loss.cell.0, loss.text)),
            );
        }
        Ok(beyond)
    }
}

#[cfg(test)]
#[path = "cluster/tests.rs"]
mod tests;
