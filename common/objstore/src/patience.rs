//! Uploads in pieces go on for as long as the store may be away: what they carry took minutes to make.
//!
//! Beneath, each request has its retries already; what is here begins anew after them, slowly, with new credentials.

use std::time::Duration;

use object_store::PutMultipartOptions;

use crate::error::StoreError;
use crate::store::Store;

/// The pause before the first new beginning; doubles with each.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pause after so many failures; `None` once the patience is over.
fn pause(failures: u32, elapsed: Duration, patience: Duration) -> Option<Duration> {
    let doubled = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8));
    let pause = doubled.min(PAUSE_MAX);
    (elapsed + pause <= patience).then_some(pause)
}

impl Store {
    /// Does a step of an upload again and again while the store does not answer, for as long as uploads may take.
    pub(crate) async fn patiently<T, F>(&self, mut step: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (clock, patience) = (&self.inner.options.clock, self.inner.options.remote.upload_retry_for);
        let (started, mut failures) = (clock.monotonic(), 0);
        loop {
            let error = match step().await {
                Err(error) if error.outcome_unknown() => error,
                done => return done,
            };
            failures += 1;
            match pause(failures, clock.monotonic().saturating_sub(started), patience) {
                Some(pause) => self.wait_for_store(hearth_common::error::chain(&error), pause).await,
                None => return Err(error),
            }
        }
    }

    async fn wait_for_store(&self, error: String, pause: Duration) {
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(error, pause_ms, "an upload waits for the object store");
        self.inner.traffic.upload_retry(self.class);
        tokio::time::sleep(pause).await;
    }

    /// How an upload in parts is begun.
    #[cfg(not(feature = "cloud"))]
    pub(crate) fn multipart_options(&self) -> PutMultipartOptions {
        PutMultipartOptions::default()
    }

    /// How an upload in parts is begun.
    #[cfg(feature = "cloud")]
    pub(crate) fn multipart_options(&self) -> PutMultipartOptions {
        PutMultipartOptions::default()
            .with_retry_policy(std::sync::Arc::new(cloud::PartRetry { store: self.clone() }))
    }
}

#[cfg(feature = "cloud")]
mod cloud {
    use async_trait::async_trait;
    use object_store::retry::{RetryContext, RetryFailure, RetryPolicy};

    use super::pause;
    use crate::store::Store;

    /// What a part does when all retries of its request failed.
    #[derive(Debug)]
    pub(super) struct PartRetry {
        pub(super) store: Store,
    }

    #[async_trait]
    impl RetryPolicy for PartRetry {
        async fn retry(&self, context: RetryContext) -> bool {
            let helps = match context.failure {
                RetryFailure::Transport(_) => true,
                // Credentials end while a part is tried again with them; new ones are fetched, once.
                RetryFailure::Status(status) => match status.as_u16() {
                    400 | 401 | 403 => context.attempt == 1,
                    status => status == 408 || status == 429 || status >= 500,
                },
                _ => false,
            };
            let failures = u32::try_from(context.attempt).unwrap_or(u32::MAX);
            let patience = self.store.inner.options.remote.upload_retry_for;
            match pause(failures, context.elapsed, patience) {
                Some(pause) if helps => {
                    let why = format!("a part failed after its retries: {:?}", context.failure);
                    self.store.wait_for_store(why, pause).await;
                    true
                }
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_common::{Clock, TimestampNs};

    use super::*;
    use crate::error::StoreErrorKind;
    use crate::metrics::Operation;
    use crate::open::{RemoteOptions, StoreOptions};

    /// The time of a paused runtime.
    #[derive(Debug)]
    struct Paused(tokio::time::Instant);

    impl Clock for Paused {
        fn now(&self) -> TimestampNs {
            TimestampNs(0)
        }

        fn monotonic(&self) -> Duration {
            self.0.elapsed()
        }
    }

    async fn tries(upload_retry_for: Duration, kind: StoreErrorKind) -> (u32, Duration) {
        let remote = RemoteOptions { upload_retry_for, ..RemoteOptions::default() };
        let clock = Arc::new(Paused(tokio::time::Instant::now()));
        let options = StoreOptions { clock: Arc::<Paused>::clone(&clock), remote, ..StoreOptions::default() };
        let store = Store::open("memory:", options).expect("opens");
        let mut tries = 0;
        let step = || {
            tries += 1;
            std::future::ready(Err::<(), _>(StoreError::new(Operation::Upload, "x", kind.clone())))
        };
        store.patiently(step).await.expect_err("it always fails");
        (tries, clock.monotonic())
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_is_tried_for_as_long_as_it_may_and_no_longer() {
        let (tried, took) = tries(Duration::from_secs(100), StoreErrorKind::Unavailable).await;
        // After 1, 2, 4, 8, 16, 30 and 30 seconds.
        assert_eq!((tried, took.as_secs()), (8, 91));
        assert_eq!(tries(Duration::ZERO, StoreErrorKind::Unavailable).await.0, 1);
        assert_eq!(tries(Duration::from_secs(100), StoreErrorKind::Denied).await.0, 1);
    }
}
