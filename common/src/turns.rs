//! Threads that compute, lent to tenants in turn: one that asks for a thousand things does not keep another waiting for longer
//! than one of them takes.
//!
//! Who is served next is the tenant that holds the fewest turns; of those that hold as many, the one that was served longest ago.
//! Of one tenant, who came first. While several tenants come and go, the last free turn is left to one that holds none: work that
//! has begun is not interrupted, so that otherwise even a small request would wait for the end of a large one. Knows no runtime:
//! whoever waits is woken by a channel; and no clock: time is counted in turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use crate::ids::TenantId;

/// A tenant that was served within the last so many turns may come again soon.
const RECENT_TURNS: u64 = 1024;

/// A number of turns at once.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    at_once: usize,
    free: usize,
    /// Tenants that hold turns or wait for one.
    tenants: BTreeMap<TenantId, Queue>,
    /// Turns given so far.
    given: u64,
    waiting: usize,
    /// The tenant that was served last, and the last one before it that was another, each with the number of its turn.
    recent: [Option<(TenantId, u64)>; 2],
}

#[derive(Debug, Default)]
struct Queue {
    held: usize,
    /// `given` when this tenant was served last.
    served: u64,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A turn; given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// `None`: it never reached anybody.
    of: Option<(Turns, TenantId)>,
}

impl Turns {
    /// So many turns at once; at least one.
    pub fn new(at_once: usize) -> Self {
        let at_once = at_once.max(1);
        let (tenants, recent) = (BTreeMap::new(), [None, None]);
        let state = State { at_once, free: at_once, tenants, given: 0, waiting: 0, recent };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a turn. Whoever stops waiting loses nothing for others.
    pub async fn take(&self, tenant: &TenantId) -> Turn {
        loop {
            let wait = {
                let mut state = self.lock();
                // Whoever waits beside a free turn may not have it.
                if state.free > 0
                    && state.may_have(tenant, state.tenants.get(tenant).map_or(0, |queue| queue.held))
                {
                    state.give(tenant);
                    return self.turn(tenant);
                }
                let (send, wait) = oneshot::channel();
                state.waiting += 1;
                state.tenants.entry(tenant.clone()).or_default().waiting.push_back(send);
                wait
            };
            if let Ok(turn) = wait.await {
                return turn;
            }
        }
    }

    fn turn(&self, tenant: &TenantId) -> Turn {
        Turn { of: Some((self.clone(), tenant.clone())) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, tenant: &TenantId) {
        let mut state = self.lock();
        state.free += 1;
        if let Some(queue) = state.tenants.get_mut(tenant) {
            queue.held = queue.held.saturating_sub(1);
            if queue.held == 0 && queue.waiting.is_empty() {
                state.tenants.remove(tenant);
            }
        }
        while state.free > 0 {
            let Some((next, send)) = state.next() else { return };
            state.give(&next);
            // Whoever does not wait any more leaves the turn to the next.
            if let Err(mut unheard) = send.send(self.turn(&next)) {
                unheard.of = None;
                state.take_back(&next);
            }
        }
    }
}

impl State {
    fn give(&mut self, tenant: &TenantId) {
        self.free -= 1;
        self.given += 1;
        let queue = self.tenants.entry(tenant.clone()).or_default();
        queue.held += 1;
        queue.served = self.given;
        let turn = Some((tenant.clone(), self.given));
        match &self.recent[0] {
            Some((last, _)) if last == tenant => self.recent[0] = turn,
            _ => self.recent = [turn, self.recent[0].take()],
        }
    }

    /// Whether a tenant that holds so many turns may have a free one.
    fn may_have(&self, tenant: &TenantId, held: usize) -> bool {
        let other = self.recent.iter().flatten().find(|(other, _)| other != tenant);
        let is_shared = other.is_some_and(|(_, turn)| self.given - turn < RECENT_TURNS);
        held == 0 || self.free > 1 || self.at_once == 1 || !is_shared
    }

    fn take_back(&mut self, tenant: &TenantId) {
        self.free += 1;
        if let Some(queue) = self.tenants.get_mut(tenant) {
            queue.held -= 1;
            if queue.held == 0 && queue.waiting.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Who is served next.
    fn next(&mut self) -> Option<(TenantId, oneshot::Sender<Turn>)> {
        let waits = |(tenant, queue): &(&TenantId, &Queue)| {
            !queue.waiting.is_empty() && self.may_have(tenant, queue.held)
        };
        let waiting = self.tenants.iter().filter(waits);
        let (tenant, _) = waiting.min_by_key(|(_, queue)| (queue.held, queue.served))?;
        let tenant = tenant.clone();
        let send = self.tenants.get_mut(&tenant)?.waiting.pop_front()?;
        self.waiting -= 1;
        Some((tenant, send))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, tenant)) = self.of.take() {
            turns.give_back(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::Pin;
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
        let state = turns.lock();
        assert_eq!((state.waiting, state.free, state.tenants.len()), (0, at_once, 0));
        order.into_inner()
    }

    #[test]
    fn one_tenant_does_not_keep_another_waiting() {
        assert_eq!(served(1, &["a", "a", "a", "a", "b", "c", "b"]), "abcabaa");
        assert_eq!(served(2, &["a", "a", "a", "a", "b", "b"]), "aababa");
        // Work of a has begun twice before b came; then one of two turns is left to whoever has none.
        assert_eq!(served(2, &["b", "a", "a", "a", "c"]), "bacaa");
        assert_eq!(served(3, &["a", "b"]), "ab");
        assert_eq!(served(1, &[]), "");
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
        let state = turns.lock();
        assert_eq!((state.waiting, state.free, state.tenants.len()), (0, 1, 0));
    }
}
