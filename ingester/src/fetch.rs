//! Answers questions with exactly what a root does not cover (design: replication B9).

use std::sync::Arc;

use async_trait::async_trait;
use hearth_common::{Position, TenantId};
use hearth_model::Answer;
use hearth_query::{FetchAnswer, FetchError, FetchRequest, HeadSource, JournalAnswer};

use crate::answer::answer;
use crate::head::{Filter, Head};
use crate::replay::Progress;
use crate::service::Ingester;
use crate::tenant::Tenant;

#[async_trait]
impl HeadSource for Ingester {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        if let Progress { done: false, entries, .. } = *self.progress.borrow() {
            let text = format!("the write-ahead log is being replayed, {entries} records so far");
            return Ok(FetchAnswer::NotReady(text));
        }
        let tenant = self.find(&request.tenant);
        let (filter, journals, heads) = match self.snapshot(tenant.as_deref(), &request) {
            Ok(snapshot) => snapshot,
            Err(need_fresh) => return Ok(*need_fresh),
        };
        let question = request.question;
        let partial = match heads.is_empty() {
            true => Answer::empty(&question),
            false => {
                let work = move || answer(&question, &heads, &filter);
                let done = tokio::task::spawn_blocking(work).await;
                done.map_err(|error| FetchError::Read(Box::new(error)))??
            }
        };
        Ok(FetchAnswer::Answered { journals, partial, inexact: self.inexact.lock().clone() })
    }
}

/// What a question is answered from.
type Snapshot = (Filter, Vec<JournalAnswer>, Vec<Arc<Head>>);

impl Ingester {
    fn find(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().get(id).map(Arc::clone)
    }

    /// The heads at one moment, and which of their rows the request asks for.
    fn snapshot(
        &self,
        tenant: Option<&Tenant>,
        request: &FetchRequest,
    ) -> Result<Snapshot, Box<FetchAnswer>> {
        let state = tenant.map(|tenant| tenant.state.read());
        let mut filter = Filter::default();
        let mut journals = Vec::with_capacity(self.journals.len());
        for (at, journal) in self.journals.iter().enumerate() {
            let after = request.covered(journal);
            let dropped =
                state.as_ref().and_then(|state| state.dropped.get(&(at as u32))).copied().unwrap_or(0);
            if dropped > after.0 {
                let retained_after = Position(dropped);
                return Err(Box::new(FetchAnswer::NeedFresh { journal: journal.clone(), retained_after }));
            }
            // Journals of earlier lives are complete; of the live one only what is on disk counts.
            let visible_end = if at == 0 { self.journal.visible() } else { Position(u64::MAX) };
            filter.0.push((after.0, visible_end.0));
            journals.push(JournalAnswer { journal: journal.clone(), after, visible_end });
        }
        let mut heads = Vec::new();
        if let Some(state) = &state {
            heads.extend(state.sealed.iter().map(|sealed| Arc::clone(&sealed.head)));
            heads.push(Arc::clone(&state.live));
            heads.retain(|head| head.sizes().records > 0);
        }
        Ok((filter, journals, heads))
    }
}
