//! Threads that compute, lent to tenants in turn: one that asks for a thousand things does not keep another waiting for longer
//! than one of them takes.
//!
//! Who is served next is the tenant that holds the fewest turns; of those that hold as many, the one that was served longest ago.
//! Of one tenant, who came first. Tenants that took much more than their share of late have a row of turns of their own, behind
//! the others', whose work runs where it gives way ([`GiveWay`]): a turn is not interrupted, so that otherwise even a small
//! request would wait for the end of a large one. Knows no runtime: whoever waits is woken by a channel. Who is next depends on
//! no clock: time is counted in turns; one is read only for whoever wants to know how long was waited.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;

use crate::clock::Clock;
use crate::ids::TenantId;

/// What tenants took counts half after so many turns, a quarter after twice as many.
const HALVED_AFTER_TURNS: u64 = 1024;
/// A tenant that took more than so many times its share stands in the row behind.
const SHARES_MAX: f64 = 1.5;

/// Runs work on a thread that gives way to others, and returns when it is done.
pub type GiveWay = Arc<dyn Fn(&mut (dyn FnMut() + Send)) + Send + Sync>;

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

struct Shared {
    state: Mutex<State>,
    give_way: Option<GiveWay>,
}

#[derive(Debug, Default)]
struct State {
    /// Turns that are free, of each row.
    free: [usize; 2],
    /// Whether there is a row behind.
    is_double: bool,
    /// Tenants that hold turns or wait for one.
    tenants: BTreeMap<TenantId, Queue>,
    /// Turns given so far.
    given: u64,
    taken: Taken,
}

#[derive(Debug, Default)]
struct Queue {
    held: usize,
    /// `given` when this tenant was served last.
    served: u64,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// What tenants took of late, in turns.
#[derive(Debug, Default)]
struct Taken {
    of: BTreeMap<TenantId, u64>,
    all: u64,
}

impl Taken {
    fn count(&mut self, tenant: &TenantId, given: u64) {
        *self.of.entry(tenant.clone()).or_default() += 1;
        self.all += 1;
        if given.is_multiple_of(HALVED_AFTER_TURNS) {
            self.of.retain(|_, taken| {
                *taken /= 2;
                *taken > 0
            });
            self.all = self.of.values().sum();
        }
    }

    /// Whether a tenant took much more than its share.
    fn is_much(&self, tenant: &TenantId) -> bool {
        let taken = self.of.get(tenant).copied().unwrap_or(0);
        taken as f64 * self.of.len() as f64 > SHARES_MAX * self.all as f64
    }
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

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&*self.lock()).finish()
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("row", &self.row).finish_non_exhaustive()
    }
}

impl Turns {
    /// So many turns at once, in one row; at least one.
    pub fn new(at_once: usize) -> Self {
        Self::made(State { free: [at_once.max(1), 0], ..State::default() }, None)
    }

    /// So many turns at once for tenants that keep to their share, and as many behind them; at least one each. Work of the row
    /// behind runs by `give_way`.
    pub fn in_two_rows(at_once: usize, give_way: Option<GiveWay>) -> Self {
        let free = [at_once.max(1); 2];
        Self::made(State { free, is_double: true, ..State::default() }, give_way)
    }

    fn made(state: State, give_way: Option<GiveWay>) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state), give_way }), watch: None }
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
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free turns to those who wait.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while let Some((tenant, row, send)) = state.next() {
            state.give(&tenant, row);
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
    fn row(&self, tenant: &TenantId) -> Row {
        if self.is_double && self.taken.is_much(tenant) { Row::Behind } else { Row::Front }
    }

    fn give(&mut self, tenant: &TenantId, row: Row) {
        self.free[row as usize] -= 1;
        self.given += 1;
        let queue = self.tenants.entry(tenant.clone()).or_default();
        queue.held += 1;
        queue.served = self.given;
        if self.is_double {
            self.taken.count(tenant, self.given);
        }
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
    fn next(&mut self) -> Option<(TenantId, Row, oneshot::Sender<Turn>)> {
        if self.free == [0, 0] {
            return None;
        }
        let waiting = self.tenants.iter().filter(|(_, queue)| !queue.waiting.is_empty());
        let waiting = waiting.map(|(tenant, queue)| (tenant, queue, self.row(tenant)));
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
        self.give_way().is_some()
    }

    /// Runs work where its turn stands: here, or where it gives way. Blocks until it is done.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(give_way) = self.give_way() else { return work() };
        let (mut work, mut done) = (Some(work), None);
        give_way(&mut || done = work.take().map(|work| work()));
        done.expect("work that gives way is run")
    }

    fn give_way(&self) -> Option<&GiveWay> {
        let (turns, _) = self.of.as_ref().filter(|_| self.row == Row::Behind)?;
        turns.give_way.as_ref()
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

    /// Takes and gives back so many turns, one after the other.
    fn use_turns(turns: &Turns, of: &TenantId, count: u64) {
        for _ in 0..count {
            futures::executor::block_on(turns.take(of));
        }
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

    #[test]
    fn a_tenant_that_takes_much_more_than_its_share_gives_way() {
        let aside = Arc::new(Mutex::new(0));
        let counting = Arc::clone(&aside);
        let give_way: GiveWay = Arc::new(move |work| {
            *counting.lock().expect("no panic") += 1;
            work();
        });
        let turns = Turns::in_two_rows(1, Some(give_way));
        let (flood, quiet) = (tenant("flood"), tenant("quiet"));
        let ran = |of: &TenantId| {
            let turn = futures::executor::block_on(turns.take(of));
            let before = *aside.lock().expect("no panic");
            assert_eq!(turn.run(|| 7), 7);
            *aside.lock().expect("no panic") > before
        };
        // Alone, everything is its share.
        use_turns(&turns, &flood, 100);
        assert!(!ran(&flood));
        assert!(!ran(&quiet));
        assert!(ran(&flood) && !ran(&quiet));
        // Work behind does not keep the row in front waiting.
        let mut behind: Waiting<'_> = Box::pin(turns.take(&flood));
        let held = poll(&mut behind).expect("free");
        let mut next: Waiting<'_> = Box::pin(turns.take(&flood));
        assert!(poll(&mut next).is_none());
        assert!(!ran(&quiet));
        drop(held);
        assert!(poll(&mut next).is_some());
        // What was taken long ago does not count any more.
        use_turns(&turns, &quiet, 8 * HALVED_AFTER_TURNS);
        assert!(!ran(&flood) && ran(&quiet));
    }

    #[test]
    fn equal_tenants_all_stand_in_front() {
        let turns = Turns::in_two_rows(1, None);
        for round in 0..3000 {
            for id in ["a", "b", "c"] {
                let turn = futures::executor::block_on(turns.take(&tenant(id)));
                assert!(round < 2 || turn.row == Row::Front, "{id} in round {round}");
            }
        }
    }
}
