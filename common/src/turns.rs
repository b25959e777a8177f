//! Threads that compute, lent to tenants in turn: one that asks for a thousand things does not keep another waiting for longer
//! than one of them takes.
//!
//! Who is served next is the tenant that holds the fewest turns; of those that hold as many, the one that was served longest ago.
//! Of one tenant, who came first. Tenants that took much more than their share of late ([`Aside`]) have a row of turns of their
//! own, behind the others', whose work gives way: a turn is not interrupted, so that otherwise even a small request would wait
//! for the end of a large one. Knows no runtime: whoever waits is woken by a channel. Who is next depends on no clock: time is
//! counted in turns; one is read only for whoever wants to know how long was waited.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;

use crate::aside::{Aside, GiveWay};
use crate::clock::Clock;
use crate::ids::TenantId;

/// A number of turns at once.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Shared>,
    watch: Option<Watch>,
}

/// Is told who waits for a turn.
pub trait TurnWatch: Send + Sync + std::fmt::Debug {
    /// One more waits.
    fn waits(&self);
    /// One waits no more: it has its turn, or gave up.
    fn ends(&self);
    /// A turn was given after so long (zero when it was free), in the row behind or not.
    fn given(&self, after: Duration, is_behind: bool);
}

#[derive(Debug, Clone)]
struct Watch {
    clock: Arc<dyn Clock>,
    told: Arc<dyn TurnWatch>,
}

/// Somebody who waits, until this is dropped.
struct Waits<'a>(&'a dyn TurnWatch);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Who stands in the row behind; `None`: there is none.
    aside: Option<Aside>,
}

#[derive(Debug, Default)]
struct State {
    /// Turns that are free, of each row.
    free: [usize; 2],
    /// Tenants that hold turns or wait for one.
    tenants: BTreeMap<TenantId, Queue>,
    /// Turns given so far.
    given: u64,
}

#[derive(Debug, Default)]
struct Queue {
    held: usize,
    /// `given` when this tenant was served last.
    served: u64,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Front,
    Behind,
}

/// A turn; given back when it is dropped.
pub struct Turn {
    /// `None`: it never reached anybody.
    of: Option<(Arc<Shared>, TenantId)>,
    row: Row,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("row", &self.row).finish_non_exhaustive()
    }
}

impl Turns {
    /// So many turns at once, in one row; at least one.
    pub fn new(at_once: usize) -> Self {
        Self::made([at_once.max(1), 0], None)
    }

    /// So many turns at once for tenants that keep to their share, and as many behind them for the others; at least one each.
    pub fn in_two_rows(at_once: usize, aside: Aside) -> Self {
        Self::made([at_once.max(1); 2], Some(aside))
    }

    fn made(free: [usize; 2], aside: Option<Aside>) -> Self {
        let state = Mutex::new(State { free, ..State::default() });
        Self { shared: Arc::new(Shared { state, aside }), watch: None }
    }

    /// Turns of something that needs no thread, in as many rows, by the same account of tenants.
    #[must_use]
    pub fn beside(&self, at_once: usize) -> Self {
        match &self.shared.aside {
            Some(aside) => Self::in_two_rows(at_once, aside.without_way()),
            None => Self::new(at_once),
        }
    }

    /// The same turns, and `told` hears of those who wait.
    #[must_use]
    pub fn watched(&self, clock: Arc<dyn Clock>, told: Arc<dyn TurnWatch>) -> Self {
        Self { watch: Some(Watch { clock, told }), ..self.clone() }
    }

    /// Waits for a turn. Whoever stops waiting loses nothing for others.
    pub async fn take(&self, tenant: &TenantId) -> Turn {
        let Some(Watch { clock, told }) = &self.watch else { return self.queued(tenant).await };
        let since = clock.monotonic();
        let waits = Waits(&**told);
        told.waits();
        let turn = self.queued(tenant).await;
        drop(waits);
        told.given(clock.monotonic().saturating_sub(since), turn.row == Row::Behind);
        turn
    }

    async fn queued(&self, tenant: &TenantId) -> Turn {
        loop {
            if let Ok(turn) = self.wait(tenant).await {
                return turn;
            }
        }
    }

    fn wait(&self, tenant: &TenantId) -> oneshot::Receiver<Turn> {
        let (send, wait) = oneshot::channel();
        let mut state = self.shared.lock();
        state.tenants.entry(tenant.clone()).or_default().waiting.push_back(send);
        self.shared.serve(&mut state);
        wait
    }
}

impl Shared {
    fn row(&self, tenant: &TenantId) -> Row {
        let is_much = self.aside.as_ref().is_some_and(|aside| aside.is_much(tenant));
        if is_much { Row::Behind } else { Row::Front }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free turns to those who wait.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while let Some((tenant, row, send)) = state.next(|tenant| self.row(tenant)) {
            state.give(&tenant, row);
            if let Some(aside) = &self.aside {
                aside.count(&tenant);
            }
            // Whoever does not wait any more leaves the turn to the next.
            if let Err(mut unheard) = send.send(Turn { of: Some((Arc::clone(self), tenant)), row })
                && let Some((_, tenant)) = unheard.of.take()
            {
                state.take_back(&tenant, row);
            }
        }
    }
}

impl State {
    fn give(&mut self, tenant: &TenantId, row: Row) {
        self.free[row as usize] -= 1;
        self.given += 1;
        let queue = self.tenants.entry(tenant.clone()).or_default();
        queue.held += 1;
        queue.served = self.given;
    }

    fn take_back(&mut self, tenant: &TenantId, row: Row) {
        self.free[row as usize] += 1;
        if let Some(queue) = self.tenants.get_mut(tenant) {
            queue.held = queue.held.saturating_sub(1);
            if queue.held == 0 && queue.waiting.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Who is served next, if a turn is free.
    fn next(&mut self, row: impl Fn(&TenantId) -> Row) -> Option<(TenantId, Row, oneshot::Sender<Turn>)> {
        if self.free == [0, 0] {
            return None;
        }
        let waiting = self.tenants.iter().filter(|(_, queue)| !queue.waiting.is_empty());
        let waiting = waiting.map(|(tenant, queue)| (tenant, queue, row(tenant)));
        let may = waiting.filter(|(_, _, row)| self.free[*row as usize] > 0);
        let (tenant, _, row) = may.min_by_key(|(_, queue, row)| (*row as usize, queue.held, queue.served))?;
        let tenant = tenant.clone();
        let send = self.tenants.get_mut(&tenant)?.waiting.pop_front()?;
        Some((tenant, row, send))
    }
}

impl Turn {
    /// Whether its work runs elsewhere, where it gives way.
    pub fn gives_way(&self) -> bool {
        self.way().is_some()
    }

    /// Runs work where its turn stands: here, or where it gives way. Blocks until it is done.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(way) = self.way() else { return work() };
        let (mut work, mut done) = (Some(work), None);
        way.run(&mut || done = work.take().map(|work| work()));
        done.expect("work that gives way is run")
    }

    fn way(&self) -> Option<&dyn GiveWay> {
        let (turns, _) = self.of.as_ref().filter(|_| self.row == Row::Behind)?;
        turns.aside.as_ref()?.way()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, tenant)) = self.of.take() {
            let mut state = turns.lock();
            state.take_back(&tenant, self.row);
            turns.serve(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::task::{Context, Poll};

    use futures::task::noop_waker;

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).expect("valid")
    }

    fn poll(waiting: &mut Waiting<'_>) -> Option<Turn> {
        match waiting.as_mut().poll(&mut Context::from_waker(&noop_waker())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    /// The order in which tenants are served that ask in the order of `asks`, one at a time.
    fn served(at_once: usize, asks: &[&str]) -> String {
        let turns = Turns::new(at_once);
        let ids: Vec<TenantId> = asks.iter().map(|id| tenant(id)).collect();
        let mut waiting: Vec<(usize, Waiting<'_>)> =
            ids.iter().enumerate().map(|(at, id)| (at, Box::pin(turns.take(id)) as Waiting<'_>)).collect();
        let (order, held) = (RefCell::new(String::new()), RefCell::new(VecDeque::new()));
        let mut look = || {
            waiting.retain_mut(|(at, wait)| match poll(wait) {
                Some(turn) => {
                    order.borrow_mut().push_str(asks[*at]);
                    held.borrow_mut().push_back(turn);
                    false
                }
                None => true,
            });
        };
        look();
        loop {
            let first = held.borrow_mut().pop_front();
            if first.is_none() {
                break;
            }
            drop(first);
            look();
        }
        let state = turns.shared.lock();
        assert_eq!((state.free, state.tenants.len()), ([at_once, 0], 0));
        drop(state);
        order.into_inner()
    }

    #[test]
    fn one_tenant_does_not_keep_another_waiting() {
        assert_eq!(served(1, &["a", "a", "a", "a", "b", "c", "b"]), "abcabaa");
        assert_eq!(served(2, &["a", "a", "a", "a", "b", "b"]), "aababa");
        assert_eq!(served(3, &["a", "b"]), "ab");
        assert_eq!(served(1, &[]), "");
    }

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> crate::TimestampNs {
            crate::TimestampNs(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    #[derive(Debug, Default)]
    struct Told {
        waiting: AtomicI64,
        given: Mutex<Vec<u64>>,
    }

    impl TurnWatch for Told {
        fn waits(&self) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }

        fn ends(&self) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }

        fn given(&self, after: Duration, _is_behind: bool) {
            self.given.lock().expect("not poisoned").push(after.as_secs());
        }
    }

    #[test]
    fn who_waits_and_for_how_long_is_told() {
        let (hand, told) = (Arc::new(Hand::default()), Arc::new(Told::default()));
        let turns = Turns::new(1).watched(Arc::<Hand>::clone(&hand), Arc::<Told>::clone(&told));
        let waiting = || told.waiting.load(Ordering::SeqCst);
        let (a, b) = (tenant("a"), tenant("b"));
        let mut first: Waiting<'_> = Box::pin(turns.take(&a));
        let held = poll(&mut first).expect("free");
        assert_eq!(waiting(), 0);
        let mut second: Waiting<'_> = Box::pin(turns.take(&b));
        let mut third: Waiting<'_> = Box::pin(turns.take(&b));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        assert_eq!(waiting(), 2);
        drop(third);
        assert_eq!(waiting(), 1, "it gave up");
        hand.0.store(7, Ordering::SeqCst);
        drop(held);
        let turn = poll(&mut second).expect("free again");
        assert_eq!((waiting(), &*told.given.lock().expect("not poisoned")), (0, &vec![0, 7]));
        drop(turn);
    }

    #[test]
    fn whoever_stops_waiting_loses_nothing_for_others() {
        let turns = Turns::new(1);
        let (a, b) = (tenant("a"), tenant("b"));
        let mut first: Waiting<'_> = Box::pin(turns.take(&a));
        let held = poll(&mut first).expect("free");
        let mut gone: Waiting<'_> = Box::pin(turns.take(&b));
        let mut left: Waiting<'_> = Box::pin(turns.take(&b));
        let mut next: Waiting<'_> = Box::pin(turns.take(&a));
        assert!(poll(&mut gone).is_none() && poll(&mut left).is_none() && poll(&mut next).is_none());
        drop(gone);
        drop(held);
        // `left` was given the turn, and nobody asks it any more.
        drop(left);
        let turn = poll(&mut next).expect("free again");
        drop(turn);
        let state = turns.shared.lock();
        assert_eq!((state.free, state.tenants.len()), ([1, 0], 0));
    }

    /// Counts what is run there.
    #[derive(Default)]
    struct Elsewhere(AtomicU64);

    impl GiveWay for Elsewhere {
        fn run(&self, work: &mut (dyn FnMut() + Send)) {
            self.0.fetch_add(1, Ordering::SeqCst);
            work();
        }

        fn spawn(&self, _future: futures::future::BoxFuture<'static, ()>) {}
    }

    #[test]
    fn a_tenant_that_takes_much_more_than_its_share_gives_way() {
        let elsewhere = Arc::new(Elsewhere::default());
        let turns = Turns::in_two_rows(1, Aside::new(Arc::<Elsewhere>::clone(&elsewhere)));
        let (flood, quiet) = (tenant("flood"), tenant("quiet"));
        let ran_elsewhere = |of: &TenantId| {
            let turn = futures::executor::block_on(turns.take(of));
            let before = elsewhere.0.load(Ordering::SeqCst);
            assert_eq!(turn.run(|| 7), 7);
            elsewhere.0.load(Ordering::SeqCst) > before
        };
        for _ in 0..100 {
            assert!(!ran_elsewhere(&flood), "alone");
        }
        assert!(!ran_elsewhere(&quiet));
        assert!(ran_elsewhere(&flood) && !ran_elsewhere(&quiet));
        // Work behind does not keep the row in front waiting.
        let mut behind: Waiting<'_> = Box::pin(turns.take(&flood));
        let held = poll(&mut behind).expect("free");
        let mut next: Waiting<'_> = Box::pin(turns.take(&flood));
        assert!(poll(&mut next).is_none());
        assert!(!ran_elsewhere(&quiet));
        drop(held);
        assert!(poll(&mut next).is_some());
        // By the same account, but not elsewhere.
        let beside = turns.beside(1);
        let turn = futures::executor::block_on(beside.take(&flood));
        assert!(turn.row == Row::Behind && !turn.gives_way());
    }
}
