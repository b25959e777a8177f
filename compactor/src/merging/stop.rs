//! Reads of inputs on another thread: tried again when the store fails, ended when nobody waits for the work any more. Each
//! look at whether to stop says that the work gets on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_common::{BoxError, Classify, Pulse, RangeRead, Retry};
use hearth_objstore::StoreError;

/// How often a read is tried.
const READS_MAX: u32 = 4;
/// The pause after the first try; doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Whether to stop; clones are told together. Looked at wherever the work reads or writes.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    set: Arc<AtomicBool>,
    pulse: Pulse,
}

impl Stop {
    /// Not yet.
    pub(super) fn new(pulse: Pulse) -> Self {
        Self { set: Arc::default(), pulse }
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> Result<(), BoxError> {
        self.pulse.beat();
        if self.is_set() { Err("the compactor is stopping".into()) } else { Ok(()) }
    }

    /// Tells all clones to stop when it is dropped.
    pub(super) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    /// An object whose reads are tried again, and fail from the stop on.
    pub(super) fn reading(&self, object: Arc<dyn RangeRead>) -> Arc<dyn RangeRead> {
        Arc::new(Reading { object, stop: self.clone() })
    }
}

#[derive(Debug)]
pub(super) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Reading {
    object: Arc<dyn RangeRead>,
    stop: Stop,
}

impl RangeRead for Reading {
    fn len_hint(&self) -> Option<u64> {
        self.object.len_hint()
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        Box::pin(async move {
            let mut pause = PAUSE_FIRST;
            for _ in 1..READS_MAX {
                self.stop.check()?;
                match self.object.read(ranges).await {
                    Err(error) if passes(&error) => tokio::time::sleep(pause).await,
                    read => return read,
                }
                pause *= 2;
            }
            self.stop.check()?;
            self.object.read(ranges).await
        })
    }
}

/// A merge makes so many reads that one of them fails in a store that is only a little ill.
fn passes(error: &BoxError) -> bool {
    error.downcast_ref::<StoreError>().is_some_and(|error| error.retry() != Retry::Never)
}
