//! Tenants that took much more than their share of the threads, and where their work runs meanwhile: aside, so that it gives way.
//!
//! What a tenant took is counted in turns ([`Turns`](crate::Turns)), over all kinds of a process. Knows no threads and no runtime:
//! whoever has some that give way brings them as [`GiveWay`].

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};

use crate::ids::TenantId;
use crate::work::Lost;

/// What tenants took counts half after so many turns, a quarter after twice as many: a flood is seen within a fraction of a second,
/// and forgotten as fast.
const HALVED_AFTER_TURNS: u64 = 128;
/// A tenant that took more than so many times its share works aside …
const SHARES_MAX: f64 = 1.5;
/// … unless it took fewer turns than this: the shares of hundreds of tenants are too small to tell them apart by.
const TURNS_MIN: u64 = 32;

/// Threads that rest whenever others of the process want a core.
pub trait GiveWay: Send + Sync {
    /// Runs work there, and returns when it is done.
    fn run(&self, work: &mut (dyn FnMut() + Send));
    /// Lets a future make its progress there.
    fn spawn(&self, future: BoxFuture<'static, ()>);
}

/// Who works aside, and where. Clones share what is counted.
#[derive(Clone, Default)]
pub struct Aside {
    taken: Arc<Mutex<Taken>>,
    way: Option<Arc<dyn GiveWay>>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Aside").field(&*self.lock()).finish()
    }
}

/// What tenants took of late, in turns.
#[derive(Debug, Default)]
struct Taken {
    of: BTreeMap<TenantId, u64>,
    all: u64,
    /// Turns since it was halved.
    counted: u64,
}

impl Aside {
    /// Nobody has taken anything yet.
    pub fn new(way: Arc<dyn GiveWay>) -> Self {
        Self { way: Some(way), ..Self::default() }
    }

    /// The same account of tenants; work that stands behind runs where others' does.
    #[must_use]
    pub fn without_way(&self) -> Self {
        Self { way: None, ..self.clone() }
    }

    pub(crate) fn way(&self) -> Option<&dyn GiveWay> {
        self.way.as_deref()
    }

    /// A tenant takes a turn.
    pub(crate) fn count(&self, tenant: &TenantId) {
        let mut taken = self.lock();
        *taken.of.entry(tenant.clone()).or_default() += 1;
        taken.all += 1;
        taken.counted += 1;
        if taken.counted == HALVED_AFTER_TURNS {
            taken.halve();
        }
    }

    /// Whether a tenant took much more than its share.
    pub fn is_much(&self, tenant: &TenantId) -> bool {
        let taken = self.lock();
        let own = taken.of.get(tenant).copied().unwrap_or(0);
        own >= TURNS_MIN && own as f64 * taken.of.len() as f64 > SHARES_MAX * taken.all as f64
    }

    /// Whether work for these tenants should run aside: one of them took much more than its share, and there is a place.
    pub fn is_for(&self, tenants: &[TenantId]) -> bool {
        self.way.is_some() && tenants.iter().any(|tenant| self.is_much(tenant))
    }

    /// Runs a future to its end where it gives way; it is dropped when nobody waits any more. A panic goes on here.
    pub async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Lost> {
        let Some(way) = self.way() else { return Ok(future.await) };
        let (mut done, wait) = oneshot::channel();
        way.spawn(Box::pin(async move {
            let work = pin!(AssertUnwindSafe(future).catch_unwind());
            let ended = match select(work, done.cancellation()).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => return,
            };
            // Nobody may be waiting any more.
            _ = done.send(ended);
        }));
        match wait.await.map_err(|_| Lost)? {
            Ok(out) => Ok(out),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        // No code panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn halve(&mut self) {
        self.of.retain(|_, taken| {
            *taken /= 2;
            *taken > 0
        });
        self.all = self.of.values().sum();
        self.counted = 0;
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).expect("valid")
    }

    fn count(aside: &Aside, of: &str, turns: u64) {
        for _ in 0..turns {
            aside.count(&tenant(of));
        }
    }

    #[test]
    fn shares_are_of_those_who_came_of_late() {
        let aside = Aside::default();
        let much = |of: &str| aside.is_much(&tenant(of));
        count(&aside, "flood", 100);
        assert!(!much("flood") && !much("new"), "alone, everything is its share");
        count(&aside, "quiet", 1);
        assert!(much("flood") && !much("quiet"));
        for _ in 0..2000 {
            count(&aside, "a", 1);
            count(&aside, "b", 1);
            count(&aside, "c", 1);
            assert!(!much("b") && !much("c"));
        }
        assert!(!much("a") && !much("b") && !much("c") && !much("flood"));
        count(&aside, "quiet", 8 * HALVED_AFTER_TURNS);
        count(&aside, "flood", 1);
        assert!(much("quiet") && !much("flood"), "what was taken long ago does not count");
        count(&aside, "flood", 3 * HALVED_AFTER_TURNS);
        assert!(much("flood") && !much("quiet"), "within a few hundred turns");
        for at in 0..1000 {
            count(&aside, &format!("t{}", at % 100), 1);
            count(&aside, "t0", u64::from(at % 10 == 0));
        }
        assert!(!much("t0"), "a little more than the little that each of many takes");
    }

    /// Runs futures on a thread each.
    struct Threads;

    impl GiveWay for Threads {
        fn run(&self, work: &mut (dyn FnMut() + Send)) {
            work();
        }

        fn spawn(&self, future: BoxFuture<'static, ()>) {
            std::thread::spawn(move || block_on(future));
        }
    }

    #[test]
    fn a_future_ends_aside_or_with_whoever_waits() {
        let aside = Aside::new(Arc::new(Threads));
        let here = std::thread::current().id();
        let there = block_on(aside.run(async { std::thread::current().id() })).expect("ends");
        assert_ne!(there, here);
        assert_eq!(block_on(aside.without_way().run(async { std::thread::current().id() })), Ok(here));
        let panics = AssertUnwindSafe(aside.run(async { panic!("it is meant to") })).catch_unwind();
        assert!(block_on(panics).is_err());
        let (held, dropped) = oneshot::channel::<()>();
        let waits = aside.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(waits.now_or_never().is_none());
        assert!(block_on(dropped).is_err(), "it is dropped");
    }
}
