//! A world without time, small enough to try everything that can happen in it.
//!
//! All timers are zero, so that a tick means "the timer fired", and equal situations are equal states.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_common::{Position, Rid};

use super::disk::{Disk, Image};
use super::faults::next_change;
use super::member;
use crate::bug::Bug;
use crate::{
    Base, Body, Effects, Entry, Membership, Message, Options, Probe, Replica, Role, Send, Term, Timing,
};

const NOW: Duration = Duration::ZERO;

/// How much may happen.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Budget {
    /// Candidacies.
    pub(super) campaigns: u8,
    /// Pushes of a record, retries included.
    pub(super) pushes: u8,
    /// Different records.
    pub(super) records: u8,
    /// Crashes, each with all or nothing of the unreported writes on disk.
    pub(super) crashes: u8,
    /// Times that a leader's timer fires.
    pub(super) ticks: u8,
    /// Questions.
    pub(super) reads: u8,
    /// Changes of members.
    pub(super) changes: u8,
    /// Messages under way at once; the oldest is lost when there are more.
    pub(super) letters: usize,
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Deliver(usize),
    Sync(usize),
    Campaign(usize),
    Push(usize, u8),
    Crash(usize, bool),
    Tick(usize),
    Read(usize),
    Change(usize),
}

#[derive(PartialEq, Hash, Debug)]
struct Letter {
    from: usize,
    to: usize,
    message: Message,
}

#[derive(Clone, Hash, Debug)]
struct Node {
    replica: Replica,
    disk: Disk,
    live: Image,
    commit: Position,
    waiters: Vec<(Term, Position, Rid)>,
    questions: Vec<(Probe, Term, BTreeSet<Rid>)>,
}

#[derive(Clone, Debug)]
pub(super) struct Small {
    /// With their digests. Shared between worlds: a step changes one of them.
    nodes: Vec<(Arc<Node>, u64)>,
    /// With their digests, the oldest first.
    letters: Vec<(Arc<Letter>, u64)>,
    pub(super) budget: Budget,
    bug: Option<Bug>,
    committed: Vec<Entry>,
    leaders: BTreeMap<Term, usize>,
    acked: BTreeSet<Rid>,
    pub(super) failure: Option<String>,
}

impl Small {
    /// A cell of the first `voters` members, led by member 0 in term 1, and as many learners that have its log.
    pub(super) fn new(voters: usize, learners: usize, bug: Option<Bug>) -> Self {
        let membership = Membership {
            voters: (0..voters).map(member).collect(),
            learners: (voters..voters + learners).map(member).collect(),
        };
        let image = Image { base: Base { membership, ..Base::default() }, ..Image::default() };
        let node = |number: usize| Node {
            replica: Replica::new(member(number), options(), image.saved(), NOW),
            disk: Disk::holding(image.clone()),
            live: image.clone(),
            commit: Position(0),
            waiters: Vec::new(),
            questions: Vec::new(),
        };
        let budget = Budget {
            campaigns: 0,
            pushes: 0,
            records: 0,
            crashes: 0,
            ticks: 0,
            reads: 0,
            changes: 0,
            letters: 100,
        };
        let mut small = Self {
            nodes: (0..voters + learners).map(|number| (Arc::new(node(number)), 0)).collect(),
            letters: Vec::new(),
            budget,
            bug,
            committed: Vec::new(),
            leaders: BTreeMap::new(),
            acked: BTreeSet::new(),
            failure: None,
        };
        (0..small.nodes.len()).for_each(|at| small.drain(at));
        small.quiet();
        small.node(0).replica.campaign_now();
        small.drain(0);
        small.quiet();
        small.node(0).replica.tick(NOW);
        small.drain(0);
        small.quiet();
        assert_eq!(small.nodes[0].0.replica.role(), Role::Leader, "the first member leads at first");
        (0..small.nodes.len()).for_each(|at| small.node(at).replica.plant(bug));
        small
    }

    /// Delivers and syncs everything.
    fn quiet(&mut self) {
        loop {
            let sync = (0..self.nodes.len()).find(|at| self.nodes[*at].0.disk.pending() > 0);
            match sync {
                Some(at) => self.act(Step::Sync(at)),
                None if !self.letters.is_empty() => self.act(Step::Deliver(0)),
                None => return,
            }
        }
    }

    /// What can happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = (0..self.letters.len()).map(Step::Deliver).collect();
        let budget = &self.budget;
        for (at, (node, _)) in self.nodes.iter().enumerate() {
            let leads = node.replica.role() == Role::Leader;
            if node.disk.pending() > 0 {
                steps.push(Step::Sync(at));
            }
            if budget.campaigns > 0 && !leads {
                steps.push(Step::Campaign(at));
            }
            if budget.crashes > 0 {
                steps.push(Step::Crash(at, false));
                if node.disk.pending() > 0 {
                    steps.push(Step::Crash(at, true));
                }
            }
            if leads && budget.pushes > 0 {
                steps.extend((1..=budget.records).map(|record| Step::Push(at, record)));
            }
            if leads && budget.ticks > 0 {
                steps.push(Step::Tick(at));
            }
            if leads && budget.reads > 0 {
                steps.push(Step::Read(at));
            }
            if leads && budget.changes > 0 {
                steps.push(Step::Change(at));
            }
        }
        steps
    }

    /// The world after a step.
    pub(super) fn after(&self, step: Step) -> Self {
        let mut next = self.clone();
        next.act(step);
        next.drop_letters();
        // When no crash can come, a slow disk is the same as a slow message.
        while next.budget.crashes == 0
            && let Some(at) = (0..next.nodes.len()).find(|at| next.nodes[*at].0.disk.pending() > 0)
        {
            next.act(Step::Sync(at));
        }
        next.drop_letters();
        next.logs_match();
        for ((now, known), (before, _)) in next.nodes.iter_mut().zip(&self.nodes) {
            if !Arc::ptr_eq(now, before) {
                *known = digest(now);
            }
        }
        next
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Deliver(index) => {
                let (letter, _) = self.letters.remove(index);
                let (from, to, message) = (letter.from, letter.to, letter.message.clone());
                self.node(to).replica.step(&member(from), message, NOW);
                self.drain(to);
            }
            Step::Sync(at) => {
                let node = self.node(at);
                if let Some(upto) = node.disk.sync(node.disk.pending()) {
                    node.replica.durable(upto);
                }
                self.drain(at);
            }
            Step::Campaign(at) => {
                self.budget.campaigns -= 1;
                self.node(at).replica.campaign_now();
                self.drain(at);
            }
            Step::Push(at, record) => {
                self.budget.pushes -= 1;
                let node = self.node(at);
                let rid = Rid(record.into());
                if let Ok(proposed) = node.replica.propose(rid, Bytes::new()) {
                    node.waiters.push((node.replica.term(), proposed.position(), rid));
                }
                self.drain(at);
                self.acknowledge(at);
            }
            Step::Crash(at, kept) => self.crash(at, kept),
            Step::Tick(at) => {
                self.budget.ticks -= 1;
                self.node(at).replica.tick(NOW);
                self.drain(at);
            }
            Step::Read(at) => {
                self.budget.reads -= 1;
                let must = self.acked.clone();
                let node = self.node(at);
                if let Ok(probe) = node.replica.read() {
                    node.questions.push((probe, node.replica.term(), must));
                }
                self.drain(at);
            }
            Step::Change(at) => {
                self.budget.changes -= 1;
                let (old, new) = (member(self.nodes.len() - 2), member(self.nodes.len() - 1));
                let replica = &mut self.node(at).replica;
                if let Some(change) = next_change(replica.membership(), &old, &new) {
                    let _refused_is_fine = replica.change_members(&change);
                }
                self.drain(at);
            }
        }
    }

    fn crash(&mut self, at: usize, kept: bool) {
        self.budget.crashes -= 1;
        let bug = self.bug;
        let node = self.node(at);
        node.disk.crash(if kept { node.disk.pending() } else { 0 });
        node.live = node.disk.image.clone();
        node.replica = Replica::new(member(at), options(), node.live.saved(), NOW);
        node.replica.plant(bug);
        node.commit = node.replica.commit();
        node.waiters.clear();
        node.questions.clear();
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        let node = self.node(at);
        let Effects { writes, sends, committed, role, confirmed, violation, .. } = node.replica.effects();
        if let Some(violation) = violation {
            self.fail(format!("node {at}: {violation}"));
        }
        let node = self.node(at);
        for (no, write) in writes {
            node.live.apply(&write);
            node.disk.push(no, write);
        }
        for send in sends {
            self.post(at, send);
        }
        if let Some(role) = role {
            let node = self.node(at);
            node.waiters.clear();
            node.questions.clear();
            if role.role == Role::Leader
                && let Some(other) = self.leaders.insert(role.term, at).filter(|other| *other != at)
            {
                self.fail(format!("nodes {other} and {at} lead in term {}", role.term));
            }
        }
        if let Some(commit) = committed {
            self.committed(at, commit);
            self.acknowledge(at);
        }
        if let Some(confirmed) = confirmed {
            self.answer(at, confirmed.probe);
        }
    }

    fn post(&mut self, from: usize, send: Send) {
        let node = &self.nodes[from].0;
        let (to, message) = match send {
            Send::Append { to, head, entries } => {
                let entries = entries.iter().filter_map(|at| node.live.entry(at).cloned()).collect();
                (to, Message::Append { head, entries })
            }
            Send::Snapshot { to, head } => (to, Message::Snapshot { head, rids: Vec::new() }),
            Send::Remember { to, head } => (to, Message::Remember { head, rids: Vec::new() }),
            Send::Message { to, message } => (to, message),
        };
        let Some(to) = (0..self.nodes.len()).find(|at| member(*at) == to) else { return };
        let letter = Letter { from, to, message };
        let digest = digest(&letter);
        // The same words twice are the same as once: repetition shows with replies and restarts.
        if self.letters.iter().all(|(_, other)| *other != digest) {
            self.letters.push((Arc::new(letter), digest));
        }
    }

    /// Letters beyond the bound are lost, and those that could only be answered with "stale", and refusals.
    fn drop_letters(&mut self) {
        let nodes = &self.nodes;
        self.letters.retain(|(letter, _)| {
            let no = matches!(&letter.message, Message::VoteReply(reply) if !reply.granted);
            !no && letter.message.term() >= nodes[letter.to].0.replica.term()
        });
        let beyond = self.letters.len().saturating_sub(self.budget.letters);
        self.letters.drain(..beyond);
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn committed(&mut self, at: usize, commit: Position) {
        let node = self.node(at);
        let from = std::mem::replace(&mut node.commit, commit);
        let news: Vec<(Position, Entry)> =
            node.live.behind(from, commit).map(|(position, entry)| (position, entry.clone())).collect();
        for (position, entry) in news {
            match self.committed.get(usize::try_from(position.0 - 1).expect("a small log")) {
                Some(known) if *known == entry => {}
                Some(_) => self.fail(format!("node {at} commits something else at {}", position.0)),
                None if matches!(entry.body, Body::Record { .. })
                    && self.committed.iter().any(|known| known.body == entry.body) =>
                {
                    self.fail("a record is in the log twice".to_owned());
                }
                None => self.committed.push(entry),
            }
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let node = &self.nodes[at].0;
        let (term, commit) = (node.replica.term(), node.replica.commit());
        let is_done = |waiter: &(Term, Position, Rid)| waiter.0 == term && waiter.1 <= commit;
        if node.replica.role() != Role::Leader || !node.waiters.iter().any(is_done) {
            return;
        }
        let done = node.waiters.iter().filter(|waiter| is_done(waiter)).map(|(.., rid)| *rid);
        self.acked.extend(done);
        self.node(at).waiters.retain(|waiter| !is_done(waiter));
    }

    fn answer(&mut self, at: usize, probe: Probe) {
        let node = &self.nodes[at].0;
        let rids = node.live.behind(Position(0), node.commit).filter_map(|(_, entry)| match entry.body {
            Body::Record { rid, .. } => Some(rid),
            _ => None,
        });
        let answer: BTreeSet<Rid> = rids.collect();
        let ready = |question: &&(Probe, Term, BTreeSet<Rid>)| question.0 <= probe;
        let lacks = node.questions.iter().filter(ready).any(|(_, _, must)| !must.is_subset(&answer));
        if lacks {
            self.fail(format!("an answer of node {at} lacks what was acknowledged before it began"));
        }
        self.node(at).questions.retain(|(asked, ..)| *asked > probe);
    }

    /// Logs that have the same term somewhere are the same up to there.
    fn logs_match(&mut self) {
        for at in 1..self.nodes.len() {
            for other in 0..at {
                let (a, b) = (&self.nodes[at].0.live.entries, &self.nodes[other].0.live.entries);
                let last = a.iter().zip(b).rposition(|(a, b)| a.term == b.term);
                if last.is_some_and(|last| a[..=last] != b[..=last]) {
                    return self.fail(format!("the logs of nodes {at} and {other} do not match"));
                }
            }
        }
    }

    /// Equal for equal situations; how they came about does not count.
    pub(super) fn digest(&self) -> u64 {
        let nodes: Vec<u64> = self.nodes.iter().map(|(_, digest)| *digest).collect();
        let letters: BTreeSet<u64> = self.letters.iter().map(|(_, digest)| *digest).collect();
        digest(&(nodes, letters, &self.budget, &self.committed, &self.leaders, &self.acked))
    }

    /// A node that is about to change.
    fn node(&mut self, at: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[at].0)
    }

    /// A step in words.
    pub(super) fn told(&self, step: Step) -> String {
        match step {
            Step::Deliver(index) => format!("{:?}", self.letters[index].0),
            other => format!("{other:?}"),
        }
    }
}

fn digest(value: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

fn options() -> Options {
    let mut options = Options::new(0);
    options.timing = Timing {
        heartbeat: NOW,
        election_min: NOW,
        election_max: NOW,
        resend: NOW,
        rid_horizon: Duration::from_secs(3_600),
    };
    options.limits.batch_entries = 1;
    options
}
