//! A cell with its clients, its object store and its troubles, driven by a seed.
//!
//! Time passes in steps of ten milliseconds. First there are faults, then there are none, and everything must come right.

use std::time::Duration;

use bytes::Bytes;
use hearth_common::{MemberId, Rid};

use super::Dice;
use super::checker::Checker;
use super::faults::Mover;
use super::member;
use super::net::{Letter, Net, Weather};
use super::node::{Node, Question, Waiter};
use super::root::Root;
use crate::bug::Bug;
use crate::{Base, EntryKind, Membership, NotLeader, Options, ProposeError, Replica, Role, Timing};

pub(super) const STEP_MS: u64 = 10;
const FAULTS_MS: u64 = 16_000;
const CALM_MS: u64 = 20_000;
pub(super) const TENANTS: usize = 2;

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Planted {
    /// In the replica.
    Replica(Bug),
    /// A record is acknowledged when it is appended.
    AckBeforeCommit,
    /// An answer holds what is not committed.
    ServeAboveCommit,
    /// A member with an empty disk returns under its old identity.
    EmptyDiskUnderOldName,
    /// The records of the log are not known again after a restart.
    RidsNotLoaded,
    /// Entries are released that only some tenants' roots cover.
    ReleaseBeyondLeast,
}

/// A record and its client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) rid: Rid,
    pub(super) next_try_ms: u64,
    pub(super) done: bool,
}

/// What a history is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) members: usize,
    pub(super) planted: Option<Planted>,
}

/// What differs from history to history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Most time that a write takes to reach the disk.
    pub(super) sync_ms: u64,
    /// The least election timeout.
    patience_ms: u64,
    /// The first member is the home.
    home: bool,
    /// Faults, compared with the quietest history.
    pub(super) faults: u64,
    /// How often a new leader gets into trouble, of 10,000.
    pub(super) short_reigns: u64,
    /// How often a voter falls right after its vote, of 10,000.
    pub(super) stumbles: u64,
    /// Most entries in an append.
    batch_entries: usize,
}

impl Habits {
    fn draw(dice: &mut Dice) -> Self {
        let drawn = Self {
            sync_ms: [10, 30, 300][dice.index(3)],
            patience_ms: [60, 100, 200][dice.index(3)],
            home: dice.chance(5_000),
            faults: 1 + dice.below(3),
            short_reigns: [1_000, 3_000, 8_000][dice.index(3)],
            stumbles: [0, 1_500, 8_000][dice.index(3)],
            batch_entries: [1, 1, 2, 6][dice.index(4)],
        };
        match dice.chance(2_000) {
            // Hardly a leader gets its first entry to everybody.
            true => Self { short_reigns: 9_000, sync_ms: 300, patience_ms: 60, batch_entries: 1, ..drawn },
            false => drawn,
        }
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) dice: Dice,
    pub(super) now_ms: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) net: Net,
    pub(super) movers: Vec<Mover>,
    pub(super) checker: Checker,
    pub(super) roots: Vec<Root>,
    pub(super) clients: Vec<Client>,
    questions: Vec<Question>,
    pub(super) habits: Habits,
    pub(super) calm: bool,
}

/// What a history came to.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) failure: Option<String>,
    /// The failure is that nothing went on.
    pub(super) stuck: bool,
    pub(super) answers: u64,
    pub(super) terms: u64,
    pub(super) committed: u64,
    pub(super) members: usize,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let weather = Weather::draw(&mut dice);
        let membership = Membership::of((0..plan.members).map(member));
        let base = Base { membership, ..Base::default() };
        let image = super::disk::Image { base, ..Default::default() };
        let records = 30 + dice.index(60);
        let clients = (0..records).map(|number| Client {
            rid: Rid(number as u128 + 1),
            next_try_ms: dice.below(FAULTS_MS),
            done: false,
        });
        let clients = clients.collect();
        Self {
            plan,
            now_ms: 0,
            nodes: (0..plan.members).map(|number| Node::new(member(number), image.clone())).collect(),
            net: Net::new(weather),
            movers: Vec::new(),
            checker: Checker::default(),
            roots: (0..TENANTS).map(|_| Root::new()).collect(),
            clients,
            questions: Vec::new(),
            habits: Habits::draw(&mut dice),
            calm: false,
            dice,
        }
    }

    /// Lives through the whole history.
    pub(super) fn run(mut self) -> Story {
        while self.now_ms < FAULTS_MS && self.checker.failure.is_none() {
            self.faults();
            self.step();
        }
        self.come_to_rest();
        let end_ms = FAULTS_MS + CALM_MS;
        while self.now_ms < end_ms && self.checker.failure.is_none() && !self.is_settled() {
            self.step();
        }
        let safe = self.checker.failure.is_none();
        if safe {
            self.must_be_settled();
        }
        let replicas = || self.nodes.iter().filter_map(|node| node.replica.as_ref());
        Story {
            answers: self.checker.answers,
            terms: replicas().map(|replica| replica.term().0).max().unwrap_or(0),
            committed: replicas().map(|replica| replica.commit().0).max().unwrap_or(0),
            members: self.nodes.len(),
            stuck: safe && self.checker.failure.is_some(),
            failure: self.checker.failure,
        }
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        while let Some(letter) = self.net.due(self.now_ms) {
            self.deliver(letter);
        }
        self.clients();
        self.ask_questions();
        self.move_members();
        self.spread_rumours();
        for index in 0..self.nodes.len() {
            self.restart_if_due(index);
            self.sync_if_due(index);
            self.publish(index);
            self.tick(index);
        }
        if self.dice.chance(200) || self.calm && self.dice.chance(2_000) {
            let images: Vec<_> = self.nodes.iter().filter(|node| !node.gone).map(|node| &node.live).collect();
            self.checker.logs_match(&images);
        }
    }

    /// Sometimes a member hears who is there.
    fn spread_rumours(&mut self) {
        if !self.dice.chance(if self.calm { 1_000 } else { 100 }) {
            return;
        }
        let there: Vec<MemberId> =
            self.nodes.iter().filter(|node| !node.gone).map(|node| node.id.clone()).collect();
        let index = self.dice.index(self.nodes.len());
        if let Some(replica) = &mut self.nodes[index].replica {
            replica.hear_of(there);
        }
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms)
    }

    fn deliver(&mut self, letter: Letter) {
        let now = self.now();
        let node = &mut self.nodes[letter.to];
        if node.paused_until_ms > self.now_ms {
            let due_ms = node.paused_until_ms + 1;
            return self.net.put_back(letter, due_ms);
        }
        let from = self.nodes[letter.from].id.clone();
        if let Some(replica) = &mut self.nodes[letter.to].replica {
            replica.step(&from, letter.message, now);
            self.drain(letter.to);
        }
    }

    fn tick(&mut self, index: usize) {
        let now = self.now();
        let is_due = |replica: &Replica| replica.wake_at() <= now;
        let node = &mut self.nodes[index];
        if node.runs(self.now_ms)
            && let Some(replica) = node.replica.as_mut().filter(|replica| is_due(replica))
        {
            replica.tick(now);
            self.drain(index);
        }
    }

    fn restart_if_due(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.gone || node.replica.is_some() || node.restart_at_ms > self.now_ms {
            return;
        }
        let mut options = Options::new(self.plan.seed ^ self.now_ms << 20 ^ index as u64);
        options.preferred = index == 0 && self.habits.home;
        let patience_ms = self.habits.patience_ms;
        options.timing = Timing {
            heartbeat: Duration::from_millis(patience_ms / 4),
            election_min: Duration::from_millis(patience_ms),
            election_max: Duration::from_millis(patience_ms * 5 / 2),
            resend: Duration::from_millis(200),
            rid_horizon: Duration::from_secs(3_600),
        };
        options.limits.batch_entries = self.habits.batch_entries;
        options.limits.flight_batches = 1 + self.dice.index(4);
        let now = Duration::from_millis(self.now_ms);
        let mut saved = node.disk.image.saved();
        if self.plan.planted == Some(Planted::RidsNotLoaded) {
            saved.entries.iter_mut().for_each(|entry| entry.kind = EntryKind::Begin);
        }
        let mut replica = Replica::new(node.id.clone(), options, saved, now);
        if let Some(Planted::Replica(bug)) = self.plan.planted {
            replica.plant(Some(bug));
        }
        node.commit = replica.commit();
        node.replica = Some(replica);
        self.drain(index);
    }

    fn sync_if_due(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.runs(self.now_ms) || node.sync_at_ms.is_none_or(|at| at > self.now_ms) {
            return;
        }
        node.sync_at_ms = None;
        let count = 1 + self.dice.index(node.disk.pending());
        let upto = node.disk.sync(count.min(node.disk.pending()));
        if let (Some(replica), Some(upto)) = (&mut node.replica, upto) {
            replica.durable(upto);
        }
        self.drain(index);
    }

    fn clients(&mut self) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.done || client.next_try_ms > self.now_ms {
                continue;
            }
            client.next_try_ms = self.now_ms + 50 + self.dice.below(400);
            let rid = client.rid;
            let index = self.dice.index(self.nodes.len());
            if let Some(leader) = self.push(index, rid) {
                let leader = self.nodes.iter().position(|node| node.id == leader);
                leader.and_then(|leader| self.push(leader, rid));
            }
        }
    }

    /// Pushes a record at a member; says where to go instead, if that is known.
    fn push(&mut self, index: usize, rid: Rid) -> Option<MemberId> {
        let node = &mut self.nodes[index];
        let replica = node.replica.as_mut().filter(|_| node.paused_until_ms <= self.now_ms)?;
        let proposed = match replica.propose(rid, Bytes::from(rid.0.to_le_bytes().to_vec())) {
            Ok(proposed) => proposed,
            Err(ProposeError::NotLeader(NotLeader { leader })) => return leader,
            Err(_) => return None,
        };
        let waiter = Waiter { term: replica.term(), position: proposed.position(), rid };
        node.waiters.push(waiter);
        if self.plan.planted == Some(Planted::AckBeforeCommit) {
            self.ack(rid);
        }
        self.drain(index);
        self.acknowledge(index);
        None
    }

    fn ask_questions(&mut self) {
        if self.dice.chance(300) {
            let behind = self.dice.index(3);
            let roots = self.roots.iter().map(|root| root.older(behind)).collect();
            let ask_at_ms = self.now_ms + self.dice.below(600);
            self.questions.push(Question { must: self.checker.acked_so_far(), roots, ask_at_ms });
        }
        let now_ms = self.now_ms;
        for at in (0..self.questions.len()).rev() {
            if self.questions[at].ask_at_ms <= now_ms {
                let question = self.questions.swap_remove(at);
                self.ask(question);
            }
        }
    }

    /// Asks some member that believes it leads.
    fn ask(&mut self, question: Question) {
        let leads = |node: &Node| {
            node.runs(self.now_ms) && node.replica.as_ref().is_some_and(|r| r.role() == Role::Leader)
        };
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|index| leads(&self.nodes[*index])).collect();
        if leaders.is_empty() {
            return;
        }
        let index = leaders[self.dice.index(leaders.len())];
        let node = &mut self.nodes[index];
        if let Some(replica) = &mut node.replica
            && let Ok(probe) = replica.read()
        {
            node.questions.push((probe, replica.term(), question));
            self.drain(index);
        }
    }

    /// Whether everything is acknowledged, moved and known to all.
    fn is_settled(&self) -> bool {
        let mut commits = self.running().map(Replica::commit).collect::<Vec<_>>();
        commits.dedup();
        let whole = |replica: &Replica| !replica.pledge().damaged && replica.commit() == replica.end();
        let acked = self.clients.iter().all(|client| client.done && self.checker.is_acked(client.rid));
        let led = self.running().filter(|replica| replica.role() == Role::Leader).count() == 1;
        acked
            && led
            && self.movers.is_empty()
            && commits.len() == 1
            && self.running().all(whole)
            && self.removed().all(Replica::is_blank)
    }

    /// The members that belong to the cell.
    fn running(&self) -> impl Iterator<Item = &Replica> {
        self.nodes.iter().filter(|node| !node.gone && !node.removed).filter_map(|node| node.replica.as_ref())
    }

    /// Those that were removed and run on.
    fn removed(&self) -> impl Iterator<Item = &Replica> {
        self.nodes.iter().filter(|node| !node.gone && node.removed).filter_map(|node| node.replica.as_ref())
    }

    /// The end of a history: a last question must be answered, with everything.
    fn must_be_settled(&mut self) {
        if !self.is_settled() {
            let of = |replica: &Replica| {
                let status = replica.status();
                format!(
                    "{} {:?} term {} commit {} end {} of {:?}, damaged {}, waits for {:?}",
                    status.me.instance,
                    status.role,
                    status.term,
                    status.commit.0,
                    status.end.0,
                    status.membership.voters.iter().map(|m| m.disk.0).collect::<Vec<_>>(),
                    status.damaged,
                    status.waits_for
                )
            };
            let states: Vec<String> = self.running().chain(self.removed()).map(of).collect();
            let missing = self.clients.iter().filter(|client| !client.done).count();
            return self.checker.fail(format!(
                "no progress after the faults ended: {missing} records are not taken, {} moves are open, {states:#?}",
                self.movers.len()
            ));
        }
        let answers = self.checker.answers;
        for _ in 0..200 {
            let roots = self.roots.iter().map(|root| root.older(0)).collect();
            self.ask(Question { must: self.checker.acked_so_far(), roots, ask_at_ms: 0 });
            self.step();
            if self.checker.answers > answers {
                return;
            }
        }
        self.checker.fail("a calm cell does not answer".to_owned());
    }
}
