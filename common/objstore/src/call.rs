//! One exchange with a remote store: the requests that are made for it, of which all but the first are retries.
//!
//! The client of `object_store` repeats requests by itself and tells nobody. Its transport asks here before each request:
//! here retries are counted, and refused when the budget of their class is used up.

use std::sync::{Arc, Mutex, PoisonError};

use crate::class::Class;
use crate::metrics::Operation;
use crate::store::{Inner, Store};
use crate::traffic::Ending;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// What is known of an exchange that is under way.
#[derive(Debug)]
pub(crate) struct Call {
    inner: Arc<Inner>,
    operation: Operation,
    class: Class,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Method and address of the last request: the next one of the same is a retry.
    target: String,
    /// How that ended.
    answer: String,
    status: Option<u16>,
    retries: u64,
    /// Retries that were taken from the budget and not put back.
    taken: u64,
}

/// A retry is not made.
#[derive(Debug, thiserror::Error)]
#[error("not tried again, the retry budget of class '{}' is used up; the last try: {last}", class.as_str())]
pub(crate) struct BudgetEmpty {
    class: Class,
    last: String,
}

#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "only remote stores make requests"))]
impl Call {
    /// The exchange that this task is in.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CALL.try_with(Arc::clone).ok()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a request.
    pub(crate) fn begin(&self, target: String) -> Result<(), BudgetEmpty> {
        let (traffic, budget) = (&self.inner.traffic, &self.inner.lanes.of(self.class).budget);
        let mut state = self.state();
        if state.target != target {
            state.target = target;
            return Ok(());
        }
        if !budget.take() {
            traffic.budget_refused(self.class);
            return Err(BudgetEmpty { class: self.class, last: state.answer.clone() });
        }
        state.retries += 1;
        state.taken += 1;
        traffic.retry(self.operation, self.class);
        Ok(())
    }

    /// After it.
    pub(crate) fn ended(&self, status: Option<u16>, answer: String) {
        let ending = status.map_or(Ending::Unanswered, Ending::of);
        self.inner.traffic.request(self.operation, self.class, ending);
        let mut state = self.state();
        (state.status, state.answer) = (status, answer);
        if matches!(ending, Ending::Ok | Ending::Refused) {
            self.inner.lanes.of(self.class).budget.succeeded(std::mem::take(&mut state.taken));
        }
    }
}

/// What an exchange gave, and the status of its last answer.
pub(crate) struct Exchanged<T> {
    pub(crate) result: object_store::Result<T>,
    pub(crate) status: Option<u16>,
}

impl Store {
    /// Makes one exchange with the backend, when there is a place for it.
    pub(crate) async fn exchange<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        self.exchange_status(operation, request).await.result
    }

    /// As [`Store::exchange`], with the status.
    pub(crate) async fn exchange_status<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Exchanged<T> {
        let (inner, class) = (Arc::clone(&self.inner), self.class);
        let _place = self.inner.lanes.of(class).place(class, &self.inner.traffic).await;
        let call = Arc::new(Call { inner, operation, class, state: Mutex::default() });
        let result = CALL.scope(Arc::clone(&call), request).await;
        let state = call.state();
        if state.retries > 0 && result.as_ref().is_err_and(is_failure) {
            self.inner.traffic.exhausted(operation, class);
        }
        Exchanged { status: state.status, result }
    }
}

/// Whether an error is one of the store, and no answer.
fn is_failure(error: &object_store::Error) -> bool {
    use object_store::Error;
    !matches!(error, Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. })
}
