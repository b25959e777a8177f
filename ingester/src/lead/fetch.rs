//! Answers questions with exactly what a root does not cover (design: replication B9).

use std::sync::Arc;

use hearth_block::Deletion;
use hearth_common::work::away;
use hearth_common::{JournalId, Position};
use hearth_model::Answer;
use hearth_query::{FetchAnswer, FetchError, FetchRequest, JournalAnswer};

use super::Lead;
use super::rebuild::Progress;
use super::tenant::Tenant;
use crate::answer::answer;
use crate::head::{Deleted, Filter, Head};
use crate::planted::Bug;

/// What a question is answered from.
type Snapshot = (Filter, JournalAnswer, Vec<Arc<Head>>);

impl Lead {
    /// Answers for this cell. A member that leads no more answers nothing: a quorum is asked after the question came.
    pub(crate) async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        if let Progress { done: false, entries, .. } = *self.progress.borrow() {
            let text = format!("the write-ahead log is being replayed, {entries} records so far");
            return Ok(FetchAnswer::NotReady(text));
        }
        let confirmed = match self.common.planted.has(Bug::ReadWithoutProbe) {
            true => Ok(self.cell.status().commit),
            false => self.cell.confirm(self.term).await,
        };
        let visible_end = match confirmed {
            Ok(committed) => committed,
            Err(why) => return Ok(FetchAnswer::NotReady(why)),
        };
        let tenant = self.find(&request.tenant);
        let gone = match self.published_before(tenant.as_deref(), &request).await {
            Ok(gone) => gone,
            Err(why) => return Ok(FetchAnswer::NotReady(why)),
        };
        let (filter, journal, heads) = match self.snapshot(tenant.as_deref(), &request, (gone, visible_end)) {
            Ok(snapshot) => snapshot,
            Err(need_fresh) => return Ok(*need_fresh),
        };
        let question = request.question;
        let partial = match heads.is_empty() {
            true => Answer::empty(&question),
            false => {
                let turn = self.common.deps.turns.take(&request.tenant).await;
                let work = move || turn.run(|| answer(&question, &heads, &filter));
                let done = away(&self.common.deps.workers, work).await;
                done.map_err(|error| FetchError::Read(Box::new(error)))??
            }
        };
        let inexact = self.common.inexact.lock().clone();
        Ok(FetchAnswer::Answered { journals: vec![journal], partial, inexact })
    }

    /// Up to where rows of a tenant may have been published and dropped before this reign began. The log may have held none
    /// of them any more, so that nothing here tells of them; a root that does not cover them must not be answered.
    async fn published_before(
        &self,
        tenant: Option<&Tenant>,
        request: &FetchRequest,
    ) -> Result<Position, String> {
        let looked_up = tenant.is_some_and(Tenant::is_known);
        if self.common.planted.has(Bug::DroppedBeforeIgnored)
            || looked_up
            || request.covered(&self.cell.journal) >= self.dropped_before
        {
            return Ok(Position(0));
        }
        let deps = &self.common.deps;
        let reign = deps.clock.monotonic().saturating_sub(self.began);
        let view = deps.catalog.newest(&request.tenant, reign).await;
        let view = view.map_err(|error| {
            format!("what is published cannot be read: {}", hearth_common::error::chain(&error))
        })?;
        Ok(view.map_or(Position(0), |view| view.coverage(&self.cell.journal)))
    }

    /// The heads at one moment, and which of their rows the request asks for.
    fn snapshot(
        &self,
        tenant: Option<&Tenant>,
        request: &FetchRequest,
        (gone, visible_end): (Position, Position),
    ) -> Result<Snapshot, Box<FetchAnswer>> {
        let state = tenant.map(|tenant| tenant.state.read());
        let journal = self.cell.journal.clone();
        let after = match self.common.planted.has(Bug::CoverageIgnored) {
            true => Position(0),
            false => request.covered(&journal),
        };
        let retained_after = state.as_ref().map_or(gone, |state| state.dropped.max(gone));
        if retained_after > request.covered(&journal) && !self.common.planted.has(Bug::DroppedIgnored) {
            return Err(Box::new(FetchAnswer::NeedFresh { journal, retained_after }));
        }
        let mut heads = Vec::new();
        if let Some(state) = &state {
            heads.extend(state.sealed.iter().map(|sealed| Arc::clone(&sealed.head)));
            heads.push(Arc::clone(&state.live));
            heads.retain(|head| head.sizes().records > 0);
        }
        let rows_end = state.as_ref().map_or(gone, |state| {
            let sealed = state.sealed.last().map_or(Position(0), |sealed| sealed.upto);
            let live = tenant.and_then(|tenant| *tenant.live.lock()).map_or(Position(0), |(_, last)| last);
            sealed.max(live).max(state.dropped).max(gone)
        });
        let rows_end = rows_end.min(visible_end);
        let deleted = deleted_beyond(&request.deletions, &journal, after);
        let filter = Filter::new(vec![(after.0, visible_end.0)]).without(deleted);
        Ok((filter, JournalAnswer { journal, after, visible_end, rows_end }, heads))
    }
}

/// The deletions that reach beyond a position of the journal, as heads take them.
pub(super) fn deleted_beyond(deletions: &[Deletion], journal: &JournalId, after: Position) -> Vec<Deleted> {
    let reach = deletions.iter().map(|deletion| (deletion, deletion.upto(journal)));
    let beyond = reach.filter(|(_, upto)| *upto > after);
    beyond.map(|(d, upto)| Deleted { hidden: Arc::clone(&d.hidden), upto: vec![upto.0] }).collect()
}
