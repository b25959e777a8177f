//! Classes of work: what a request is for decides how many of its kind run at once, and how many may be tried again.
//!
//! A query that reads a thousand ranges must not keep the block of an ingester from being published, and neither must wait
//! for a merge. Must not know what a request is.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::open::RemoteOptions;
use crate::traffic::Traffic;

/// What requests are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Class {
    /// Blocks, pages, roots, the roster: what makes data published, and known. Requests that are few and small.
    #[default]
    Publish,
    /// Reads of blocks for questions.
    Query,
    /// Merges, retention, collection.
    Compaction,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Publish, Self::Query, Self::Compaction];

    /// The value of the label `class`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Query => "query",
            Self::Compaction => "compaction",
        }
    }
}

/// The shared state of all classes of one store.
#[derive(Debug)]
pub(crate) struct Lanes([Lane; 3]);

/// The shared state of one class.
#[derive(Debug)]
pub(crate) struct Lane {
    permits: Semaphore,
    pub(crate) budget: Budget,
}

impl Lanes {
    pub(crate) fn new(options: &RemoteOptions) -> Self {
        Self(Class::ALL.map(|class| {
            let requests_max = match class {
                Class::Publish => options.publish_requests_max,
                Class::Query => options.query_requests_max,
                Class::Compaction => options.compaction_requests_max,
            };
            Lane {
                permits: Semaphore::new(requests_max.clamp(1, Semaphore::MAX_PERMITS)),
                budget: Budget::new(options.retry_budget),
            }
        }))
    }

    pub(crate) fn of(&self, class: Class) -> &Lane {
        match class {
            Class::Publish => &self.0[0],
            Class::Query => &self.0[1],
            Class::Compaction => &self.0[2],
        }
    }
}

/// A place among the requests of a class; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    in_flight: Gauge,
}

impl<'a> Place<'a> {
    fn new(permit: Option<SemaphorePermit<'a>>, in_flight: Gauge) -> Self {
        in_flight.inc();
        Self { _permit: permit, in_flight }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// Counts who waits; a caller that goes away waits no more.
struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Lane {
    /// A place, when there is one; first come, first served.
    pub(crate) async fn place(&self, class: Class, traffic: &Traffic) -> Place<'_> {
        let in_flight = traffic.in_flight(class);
        if let Ok(permit) = self.permits.try_acquire() {
            return Place::new(Some(permit), in_flight);
        }
        traffic.waited(class);
        let waiting = traffic.waiting(class);
        waiting.inc();
        let _waiting = Waiting(waiting);
        // Never closed.
        Place::new(self.permits.acquire().await.ok(), in_flight)
    }
}

/// How many requests of a class may be tried again.
///
/// A retry takes one from the budget. It is put back if the request succeeds after all, and a request that succeeds at once
/// puts back a tenth. So a store that fails now and then costs nothing, and one that is away is not asked several times as
/// often as one that is well: once the budget is used up, requests fail at their first try until some succeed.
#[derive(Debug)]
pub(crate) struct Budget {
    tenths: AtomicU64,
    tenths_max: u64,
}

/// One retry, in the unit of the budget.
const RETRY_TENTHS: u64 = 10;

impl Budget {
    fn new(retries: u32) -> Self {
        let tenths_max = u64::from(retries) * RETRY_TENTHS;
        Self { tenths: AtomicU64::new(tenths_max), tenths_max }
    }

    /// Takes a retry out, if one is left.
    pub(crate) fn take(&self) -> bool {
        let less = |tenths: u64| tenths.checked_sub(RETRY_TENTHS);
        self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// A request succeeded after so many retries.
    pub(crate) fn succeeded(&self, retries: u64) {
        let back = if retries == 0 { 1 } else { retries * RETRY_TENTHS };
        let more = |tenths: u64| Some(tenths.saturating_add(back).min(self.tenths_max));
        // It always answers.
        let _ = self.tenths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_by_failures_only() {
        let budget = Budget::new(3);
        for _ in 0..100 {
            assert!(budget.take(), "a retry that succeeds is put back");
            budget.succeeded(1);
        }
        assert!(budget.take() && budget.take() && budget.take());
        assert!(!budget.take());
        for _ in 0..9 {
            budget.succeeded(0);
            assert!(!budget.take(), "ten that succeed at once pay for one");
        }
        budget.succeeded(0);
        assert!(budget.take() && !budget.take());
        budget.succeeded(1000);
        assert!(budget.take() && budget.take() && budget.take() && !budget.take(), "it has a bound");
        assert!(!Budget::new(0).take());
    }

    #[tokio::test]
    async fn classes_do_not_wait_for_each_other() {
        let options = RemoteOptions { query_requests_max: 1, ..RemoteOptions::default() };
        let (lanes, traffic) = (Lanes::new(&options), Traffic::new());
        let query = lanes.of(Class::Query).place(Class::Query, &traffic).await;
        let publish = lanes.of(Class::Publish).place(Class::Publish, &traffic).await;
        let lane = lanes.of(Class::Query);
        let mut second = Box::pin(lane.place(Class::Query, &traffic));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!((traffic.in_flight(Class::Query).get(), traffic.waiting(Class::Query).get()), (1, 1));
        drop(query);
        let second = second.await;
        assert_eq!((traffic.in_flight(Class::Query).get(), traffic.waiting(Class::Query).get()), (1, 0));
        drop((second, publish));
        assert_eq!((traffic.in_flight(Class::Query).get(), traffic.in_flight(Class::Publish).get()), (0, 0));
    }
}
