//! Answers a question from blocks and heads together (design: replication B9): newest root, plan, ask, merge; again on a
//! newer root when the data moved meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join;
use hearth_block::Deletion;
use hearth_catalog::{Catalog, RootView};
use hearth_common::{JournalId, Position, TenantId};
use hearth_model::{Answer, Question};
use hearth_query::FetchRequest;
use hearth_query::heads::{Beyond, Heads, HeadsError, ROUNDS_MAX};
use hearth_query::plan::plan;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::error::QueryError;
use crate::gather::Gather;
use crate::metrics::Metrics;
use crate::reading::{Budget, FETCHES_AT_ONCE, ReadError, Reader, Reading};
use crate::share::Sharing;
use crate::skipped::{May, Skipped};

/// Answers questions.
pub(crate) struct Engine {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) heads: Arc<dyn Heads>,
    pub(crate) reader: Arc<Reader>,
    /// Other queriers, if they are asked for blocks.
    pub(crate) sharing: Option<Sharing>,
    pub(crate) query_bytes_max: u64,
    /// How old a root the first round may plan on: heads answer for what it does not cover.
    pub(crate) root_age: Duration,
    /// Every answer may lack something.
    pub(crate) allow_partial: bool,
    pub(crate) metrics: Metrics,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("heads", &self.heads).finish_non_exhaustive()
    }
}

/// The answer to one question of one tenant.
#[derive(Debug)]
pub(crate) struct Answered {
    /// From published blocks.
    pub(crate) blocks: Answer,
    /// From ingesters.
    pub(crate) heads: Answer,
    /// What it may miss.
    pub(crate) marks: Marks,
    /// Up to where rows of the tenant stand, by journal.
    pub(crate) rows_end: BTreeMap<JournalId, Position>,
}

/// What an answer may miss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// In words; empty = it is exact.
    pub inexact: Vec<String>,
    /// Something was left out because the asker allows it.
    pub partial: bool,
}

impl Marks {
    /// Takes those of another part of the answer.
    pub(crate) fn join(&mut self, other: Self) {
        self.inexact.extend(other.inexact);
        self.partial |= other.partial;
    }
}

/// How long a question may take, and what its answer may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Time.
    pub timeout: Duration,
    /// Cells that cannot be asked, and damaged blocks, are left out, and the answer is marked; otherwise there is no answer.
    pub allow_partial: bool,
}

impl From<Duration> for Terms {
    fn from(timeout: Duration) -> Self {
        Self { timeout, allow_partial: false }
    }
}

/// Why a round came to no end.
enum Round {
    /// The root was too old.
    Stale(JournalId),
    /// A block could not be read; a newer root may not have it any more.
    Unreadable(QueryError),
    /// The local disk had a block wrong; the next round reads it of the store.
    Again(QueryError),
    Failed(QueryError),
}

impl<E: Into<QueryError>> From<E> for Round {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ReadError> for Round {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unreadable(error) => Self::Unreadable(error),
            ReadError::Again(error) => Self::Again(error),
            ReadError::Failed(error) => Self::Failed(error),
        }
    }
}

impl Engine {
    /// Asks everything that the tenant has.
    pub(crate) async fn ask(
        &self,
        tenant: &TenantId,
        question: &Question,
        terms: Terms,
    ) -> Result<Answered, QueryError> {
        let deadline = Instant::now() + terms.timeout;
        let mut max_age = self.root_age;
        // With the version of the root that must have changed for another round to be of use.
        let mut unreadable: Option<(Option<u64>, QueryError)> = None;
        let mut stale = None;
        let terms = Terms { allow_partial: terms.allow_partial || self.allow_partial, ..terms };
        let mut may = if terms.allow_partial { May::Damaged } else { May::Nothing };
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                self.metrics.replans.inc();
            }
            let view = self.catalog.newest(tenant, max_age).await?;
            let view = view.unwrap_or_else(|| Arc::new(RootView::empty()));
            if let Some((version, error)) = unreadable.take()
                && version == Some(view.version())
            {
                if !terms.allow_partial || may == May::Unreadable {
                    return Err(error);
                }
                may = May::Unreadable;
            }
            match self.round(tenant, question, &view, (terms, may), deadline).await {
                Ok(answered) => return Ok(answered),
                Err(Round::Failed(error)) => return Err(error),
                Err(Round::Unreadable(error)) => unreadable = Some((Some(view.version()), error)),
                Err(Round::Again(error)) => unreadable = Some((None, error)),
                Err(Round::Stale(journal)) => stale = Some(journal),
            }
            max_age = Duration::ZERO;
        }
        match (unreadable, stale) {
            (Some((_, error)), _) => Err(error),
            (None, Some(journal)) => Err(HeadsError::Stale(journal).into()),
            (None, None) => Err(QueryError::Worker),
        }
    }

    async fn round(
        &self,
        tenant: &TenantId,
        question: &Question,
        view: &RootView,
        (terms, may): (Terms, May),
        deadline: Instant,
    ) -> Result<Answered, Round> {
        // A later round has less time.
        let terms = Terms { timeout: deadline.saturating_duration_since(Instant::now()), ..terms };
        let deletions = view.deletions(tenant)?;
        let ((blocks, skipped), (partials, mut marks, rows_end)) = try_join(
            self.ask_blocks(tenant, question, (view, &deletions), may, deadline),
            self.ask_heads(tenant, question, (view, &deletions), terms),
        )
        .await?;
        self.metrics.skipped.inc_by(skipped.count() as u64);
        marks.join(skipped.marks());
        let mut heads = Answer::empty(question);
        for partial in partials {
            heads = heads.join(partial)?;
        }
        Ok(Answered { blocks, heads, marks, rows_end })
    }

    async fn ask_heads(
        &self,
        tenant: &TenantId,
        question: &Question,
        (view, deletions): (&RootView, &[Deletion]),
        terms: Terms,
    ) -> Result<(Vec<Answer>, Marks, BTreeMap<JournalId, Position>), Round> {
        let coverage: BTreeMap<JournalId, Position> =
            view.root.coverage.positions().map(|(journal, upto)| (journal.clone(), upto)).collect();
        let request = FetchRequest {
            tenant: tenant.clone(),
            question: question.clone(),
            root_version: view.version(),
            coverage,
            drained: view.root.coverage.drained().map(|(owner, upto)| (owner.to_owned(), upto)).collect(),
            deletions: Vec::new(),
            timeout: terms.timeout,
        };
        let request = FetchRequest { deletions: beyond(deletions, &request), ..request };
        match self.heads.ask(request, terms.allow_partial).await? {
            Beyond::Complete { partials, inexact, partial, rows_end } => {
                Ok((partials, Marks { inexact, partial }, rows_end))
            }
            Beyond::Stale(journal) => Err(Round::Stale(journal)),
        }
    }

    async fn ask_blocks(
        &self,
        tenant: &TenantId,
        question: &Question,
        (view, deletions): (&RootView, &[Deletion]),
        may: May,
        deadline: Instant,
    ) -> Result<(Answer, Skipped), Round> {
        let plan = plan(question, &view.blocks, deletions)?;
        let gather = Arc::new(Gather::default());
        let (budget, fetches) = (Budget::new(self.query_bytes_max), Semaphore::new(FETCHES_AT_ONCE));
        let skipped = Skipped::new(may);
        let reading =
            Reading { tenant, question, deletions, budget: &budget, skipped: &skipped, fetches: &fetches };
        self.reader.refuse_too_much(&reading, &plan.read).await?;
        let shared = self.sharing.as_ref().and_then(|sharing| {
            let split = sharing.split(question, &plan.read)?;
            Some((sharing, split))
        });
        match shared {
            Some((sharing, split)) => {
                sharing.read(&self.reader, &reading, deadline, split, &gather).await?;
            }
            None => self.reader.read(&reading, plan.read, &gather).await?,
        }
        let answer = match gather.take() {
            Some(answer) => answer.join(plan.known)?,
            None => plan.known,
        };
        Ok((answer, skipped))
    }
}

/// What heads need of the deletions: those that reach beyond the coverage.
fn beyond(deletions: &[Deletion], request: &FetchRequest) -> Vec<Deletion> {
    let reaches =
        |deletion: &&Deletion| deletion.upto.iter().any(|(journal, upto)| *upto > request.covered(journal));
    let for_heads = |deletion: &Deletion| Deletion { blocks: BTreeSet::new(), ..deletion.clone() };
    deletions.iter().filter(reaches).map(for_heads).collect()
}
