//! The network: how messages travel, calls to ingesters, and the links between them. What arrives is decided here; what it
//! does is the roles' business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hearth_cell::Message;
use hearth_common::{CellId, Classify, LogId, MemberId};
use hearth_ingester::Post;
use hearth_ingester::api::{Member, Neighbours};
use hearth_ingester::simulated::Ways;
use hearth_internode::api::MemberStatus;
use hearth_internode::{CallError, Fetch, Fetched, IngesterApi, IngesterCalls, Push, Pushed, Reach};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Plant;
use crate::world::{Life, World};

/// Clients are beyond the cluster.
pub(crate) const CLIENTS: usize = 99;

/// What the network does to messages between two places.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) loss_percent: u64,
    /// Who hears no gossip until then.
    pub(crate) deaf: BTreeMap<usize, Instant>,
    /// A stream keeps its order.
    last: BTreeMap<(usize, usize), Instant>,
}

impl Net {
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.deaf.clear();
        self.loss_percent = 0;
    }
}

impl World {
    /// The way of one message, if it arrives. Who stands still neither sends nor receives.
    pub(crate) async fn travel(&self, from: usize, to: usize) -> bool {
        let at = {
            let mut net = self.net.lock();
            if net.cut.contains(&(from, to)) || self.dice.chance(net.loss_percent) {
                return false;
            }
            let slow = self.dice.chance(2);
            let delay_ms = 1 + self.dice.below(if slow { 800 } else { 8 });
            let mut at = Instant::now() + Duration::from_millis(delay_ms);
            for place in [from, to] {
                at = at.max(self.paused_until(place).unwrap_or(at));
            }
            if let Some(last) = net.last.get(&(from, to)) {
                at = at.max(*last + Duration::from_micros(100));
            }
            net.last.insert((from, to), at);
            at
        };
        tokio::time::sleep_until(at).await;
        if let Some(until) = self.paused_until(to) {
            tokio::time::sleep_until(until).await;
        }
        !self.net.lock().cut.contains(&(from, to))
    }
}

/// The ways of one process to ingesters.
#[derive(Debug)]
pub(crate) struct SimReach {
    pub(crate) world: Weak<World>,
    pub(crate) from: usize,
}

impl Reach for SimReach {
    fn ingester(&self, address: &str) -> Result<Arc<dyn IngesterCalls>, CallError> {
        let world = self.world.upgrade();
        let to = world.as_ref().and_then(|world| world.at_address(address));
        let Some(to) = to else {
            return Err(CallError::Unreachable { peer: address.to_owned(), why: "no such place".to_owned() });
        };
        Ok(Arc::new(SimCalls {
            world: Weak::clone(&self.world),
            from: self.from,
            to,
            peer: address.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct SimCalls {
    world: Weak<World>,
    from: usize,
    to: usize,
    peer: String,
}

impl SimCalls {
    /// There, the work, and back. What is lost on the way is noticed when the time is over.
    async fn call<T, E: Classify + 'static>(
        &self,
        timeout: Duration,
        work: impl AsyncFnOnce(Arc<Member>) -> Result<T, E>,
    ) -> Result<T, CallError> {
        let called = async {
            let world = self.world.upgrade()?;
            if !world.travel(self.from, self.to).await {
                std::future::pending::<()>().await;
            }
            let refused = || Err(CallError::Refused(self.peer.clone()));
            let Some(life) = world.life(self.to) else { return Some(refused()) };
            let Some(member) = life.member() else { return Some(refused()) };
            let done = tokio::select! {
                biased;
                () = life.dead() => {
                    let why = "the process died".to_owned();
                    return Some(Err(CallError::Lost { peer: self.peer.clone(), why }));
                }
                done = work(member) => done,
            };
            if !world.travel(self.to, self.from).await {
                std::future::pending::<()>().await;
            }
            let answered = |error: E| CallError::Answered {
                kind: error.kind(),
                message: hearth_common::error::chain(&error),
            };
            Some(done.map_err(answered))
        };
        match tokio::time::timeout(timeout, called).await {
            Ok(Some(done)) => done,
            Ok(None) | Err(_) => Err(CallError::TimedOut(self.peer.clone())),
        }
    }

    fn plant(&self) -> Plant {
        self.world.upgrade().map_or(Plant::Nothing, |world| world.plant)
    }
}

#[async_trait]
impl IngesterCalls for SimCalls {
    async fn push(&self, push: Push, timeout: Duration) -> Result<Pushed, CallError> {
        self.call(timeout, async |member| member.push(push).await).await
    }

    async fn fetch(&self, mut fetch: Fetch) -> Result<Fetched, CallError> {
        let timeout = fetch.request.timeout;
        if self.plant() == Plant::CoverageNotSent {
            fetch.request.coverage.clear();
        }
        let mut fetched = self.call(timeout, async |member| member.fetch(fetch).await).await?;
        if self.plant() == Plant::RosterVersionIgnored {
            fetched.roster_version = 0;
        }
        Ok(fetched)
    }

    async fn status(&self, timeout: Duration) -> Result<MemberStatus, CallError> {
        self.call(timeout, async |member| member.status().await).await
    }
}

/// Messages between members of cells.
#[derive(Debug)]
pub(crate) struct SimLinks {
    pub(crate) world: Weak<World>,
    pub(crate) from: usize,
    pub(crate) me: MemberId,
    /// Those with which cells are kept.
    neighbours: Mutex<BTreeSet<MemberId>>,
    /// Others that asked, and are answered.
    asked: Mutex<BTreeSet<MemberId>>,
    roster_version: AtomicU64,
}

impl SimLinks {
    pub(crate) fn new(world: Weak<World>, from: usize, me: MemberId) -> Self {
        Self {
            world,
            from,
            me,
            neighbours: Mutex::default(),
            asked: Mutex::default(),
            roster_version: AtomicU64::new(0),
        }
    }

    pub(crate) fn note_asked(&self, by: &MemberId) {
        self.asked.lock().insert(by.clone());
    }
}

impl Ways for SimLinks {
    fn meet(self: Arc<Self>, neighbours: &Neighbours) {
        *self.neighbours.lock() = neighbours.keys().cloned().collect();
    }

    fn set_roster_version(&self, version: u64) {
        self.roster_version.fetch_max(version, Ordering::Relaxed);
    }
}

impl Post for SimLinks {
    fn send(&self, to: &MemberId, cell: &CellId, log: LogId, message: Message) {
        let Some(world) = self.world.upgrade() else { return };
        if !self.neighbours.lock().contains(to) && !self.asked.lock().contains(to) {
            return;
        }
        let Some(at) = world.at_name(&to.instance) else { return };
        let Some(sender) = world.life(self.from) else { return };
        let version = self.roster_version.load(Ordering::Relaxed);
        let (from, me, to, cell) = (self.from, self.me.clone(), to.clone(), cell.clone());
        tokio::spawn(async move {
            if !sender.is_alive() || !world.travel(from, at).await {
                return;
            }
            match world.life(at) {
                Some(life) => deliver(&life, (&me, &to), version, &cell, log, message),
                None if world.dice.chance(50) => sender.unreachable(&to),
                None => {}
            }
        });
    }
}

fn deliver(
    life: &Life,
    (from, to): (&MemberId, &MemberId),
    roster_version: u64,
    cell: &CellId,
    log: LogId,
    message: Message,
) {
    let Some((process, links)) = life.ingester() else { return };
    // A link says Hello first: another disk is another member.
    if links.me != *to {
        return;
    }
    links.note_asked(from);
    process.member.heard_roster(roster_version);
    process.receive(from, cell, log, message);
}
