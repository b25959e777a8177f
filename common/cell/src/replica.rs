//! One member's part in the protocol.
//!
//! Owns the state that all roles share and the inputs; `election` makes leaders, `follow` and `lead` are the two sides of
//! replication, `members` changes who belongs to the cell. Must not know entries' bytes beyond passing them on.

mod disk;
mod election;
mod follow;
mod lead;
mod members;
mod status;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use hearth_common::{MemberId, Position};

use crate::bug::{Bug, Bugs};
use crate::effects::{Effects, Invariant, Role, RoleChange, Send, Write};
use crate::log::Log;
use crate::message::{AppendHead, Message};
use crate::options::Options;
use crate::rids::Rids;
use crate::rng::Rng;
use crate::types::{Entry, EntryKind, EntryMeta, Membership, Pledge, Probe, Saved, Term, WriteNo};

use disk::Disk;
pub use lead::Proposed;
use lead::Reign;
pub use members::Change;

/// A member of a cell.
#[derive(Clone, Hash, Debug)]
pub struct Replica {
    me: MemberId,
    options: Options,
    bugs: Bugs,
    rng: Rng,
    /// The greatest time that an input carried.
    now: Duration,
    /// As last handed out to be written.
    pledge: Pledge,
    /// The write that holds it.
    pledge_write: WriteNo,
    /// The write that holds its life: nothing is said of the log before it is on disk.
    life_write: WriteNo,
    log: Log,
    rids: Rids,
    disk: Disk,
    commit: Position,
    released: Position,
    role: RoleState,
    leader: Option<MemberId>,
    /// When the leader was last heard.
    heard_at: Option<Duration>,
    /// When a follower or candidate loses its patience.
    deadline: Duration,
    /// Up to here the log is the same as that of the leader of this term.
    agreed: Position,
    /// The newest probe of this term's leader.
    probe_heard: Probe,
    /// A damaged member is whole again when it is durable up to here: what the leader had committed after it had learnt
    /// of this life, so that later commits count no acknowledgement of a former one.
    heal_at: Option<Position>,
    /// This term's leader has told this life of all records up to its base or further.
    reminded: bool,
    /// Who keeps the cell now, as far as the shell has heard: asked for news only, counted for nothing.
    rumoured: BTreeSet<MemberId>,
    /// Messages that wait for a write.
    held: VecDeque<(WriteNo, MemberId, Message)>,
    effects: Effects,
    /// An invariant broke: no input counts any more.
    stopped: bool,
}

/// What only one role needs.
#[derive(Clone, Hash, Debug)]
enum RoleState {
    Follower,
    PreCandidate { votes: BTreeSet<MemberId> },
    Candidate { votes: BTreeSet<MemberId> },
    Leader(Box<Reign>),
}

impl Replica {
    /// Starts a member from what is on its disk. `now` is any monotonic time; later inputs carry later ones.
    pub fn new(me: MemberId, options: Options, saved: Saved, now: Duration) -> Self {
        let Saved { mut pledge, base, entries, remembered } = saved;
        pledge.life = pledge.life.next();
        if options.accept_damage {
            pledge.damaged = false;
        }
        let timing = options.timing;
        let base_position = base.position;
        let mut rids = Rids::new(base_position, timing.rid_horizon, options.limits.remembered_rids);
        rids.restore(remembered, now);
        let mut log = Log::new(base);
        for entry in &entries {
            log.push(entry);
            rids.push(entry.rid());
        }
        let disk = Disk::new(log.end());
        let mut replica = Self {
            me,
            options,
            bugs: Bugs::default(),
            rng: Rng::new(options.seed),
            now,
            pledge,
            pledge_write: WriteNo(0),
            life_write: WriteNo(0),
            log,
            rids,
            disk,
            commit: base_position,
            released: base_position,
            role: RoleState::Follower,
            leader: None,
            heard_at: None,
            deadline: now,
            agreed: base_position,
            probe_heard: Probe(0),
            heal_at: None,
            reminded: false,
            rumoured: BTreeSet::new(),
            held: VecDeque::new(),
            effects: Effects::default(),
            stopped: false,
        };
        replica.write_pledge();
        replica.life_write = replica.pledge_write;
        replica.wait_for_leader();
        replica
    }

    /// Time has passed. To be called at [`Self::wake_at`] or more often.
    pub fn tick(&mut self, now: Duration) {
        if !self.begin(now) {
            return;
        }
        self.rids.forget(self.now);
        if matches!(self.role, RoleState::Leader(_)) {
            self.tick_leader();
        } else if self.now >= self.deadline {
            self.wait_for_leader();
            if !self.waits_for_own_vote() {
                self.pre_campaign();
            }
        }
    }

    /// A message came.
    pub fn step(&mut self, from: &MemberId, message: Message, now: Duration) {
        if !self.begin(now) {
            return;
        }
        match message {
            Message::Append { head, entries } => self.on_append(from, &head, entries),
            Message::AppendReply(reply) => self.on_append_reply(from, &reply),
            Message::Vote(request) => self.on_vote_request(from, &request),
            Message::VoteReply(reply) => self.on_vote_reply(from, &reply),
            Message::Snapshot { head, rids } => self.on_snapshot(from, head, rids),
            Message::Remember { head, rids } => self.on_remember(from, &head, rids),
            Message::TimeoutNow { term } => self.on_timeout_now(from, term),
            Message::Removed { at, at_term, .. } => self.on_removed(at, at_term),
        }
    }

    /// All writes up to this number are on disk.
    pub fn durable(&mut self, upto: WriteNo) {
        if self.stopped || !self.disk.durable(upto) {
            return;
        }
        while self.held.front().is_some_and(|(write, ..)| *write <= upto) {
            if let Some((_, to, message)) = self.held.pop_front() {
                self.effects.sends.push(Send::Message { to, message });
            }
        }
        match &mut self.role {
            RoleState::Leader(_) => self.advance_commit(),
            RoleState::Candidate { .. } => self.own_vote_if_durable(),
            RoleState::PreCandidate { .. } => {}
            RoleState::Follower => {
                self.heal();
                self.reply_held();
            }
        }
    }

    /// A connection to a member was refused: a hint, no more. A follower whose leader is gone campaigns soon.
    pub fn peer_unreachable(&mut self, member: &MemberId, now: Duration) {
        if self.begin(now) && self.leader.as_ref() == Some(member) && *member != self.me {
            self.heard_at = None;
            let soon = self.rng.between(Duration::ZERO, self.options.timing.heartbeat);
            self.deadline = self.deadline.min(self.now + soon);
        }
    }

    /// Everything at or below a committed position is covered by committed roots. Only a leader's word counts; followers
    /// hear it from their leader.
    pub fn release(&mut self, upto: Position) {
        if self.stopped || upto <= self.released || !matches!(self.role, RoleState::Leader(_)) {
            return;
        }
        if upto > self.commit {
            return self.violate(Invariant::Order {
                released: upto,
                commit: self.commit,
                end: self.log.end(),
            });
        }
        self.set_released(upto);
    }

    /// Drops entries up to a released position from the log. The shell deletes their segments when the write of the new
    /// base is on disk. A position that is not released is cut down to the released one.
    pub fn drop_upto(&mut self, position: Position) {
        let position = position.min(self.released);
        if self.stopped || position <= self.log.base().position {
            return;
        }
        let base = self.log.drop_upto(position);
        let rids = self.rids.drop_upto(position, self.now);
        self.write(Write::Base { base, reset: false, rids });
    }

    /// What is to be done since the last call. Entries that wait for a peer are sent by this call, so that records that
    /// were proposed together travel together.
    pub fn effects(&mut self) -> Effects {
        if !self.stopped {
            self.pump();
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`Self::tick`] is due.
    pub fn wake_at(&self) -> Duration {
        match &self.role {
            RoleState::Leader(reign) => reign.heartbeat_at.min(reign.look_at),
            _ => self.deadline,
        }
    }

    /// Whether an append that this replica asked to send may still be sent. The shell asks after it has filled in the
    /// entries: a log that is no leader's any more may be cut and overwritten.
    pub fn is_current(&self, head: &AppendHead) -> bool {
        !self.stopped && head.term == self.pledge.term && matches!(self.role, RoleState::Leader(_))
    }

    /// Who this is.
    pub fn me(&self) -> &MemberId {
        &self.me
    }

    /// The role.
    pub fn role(&self) -> Role {
        match self.role {
            RoleState::Follower => Role::Follower,
            RoleState::PreCandidate { .. } => Role::PreCandidate,
            RoleState::Candidate { .. } => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// The term.
    pub fn term(&self) -> Term {
        self.pledge.term
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    /// Up to here everything is known to be committed.
    pub fn commit(&self) -> Position {
        self.commit
    }

    /// Up to here everything is released.
    pub fn released(&self) -> Position {
        self.released
    }

    /// The last position of the log.
    pub fn end(&self) -> Position {
        self.log.end()
    }

    /// The end of what was dropped.
    pub fn base(&self) -> Position {
        self.log.base().position
    }

    /// The members as the log says, committed or not.
    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }

    /// The records that are known.
    pub fn rids(&self) -> &Rids {
        &self.rids
    }

    /// Takes the time of an input. False: no input counts any more.
    fn begin(&mut self, now: Duration) -> bool {
        self.now = self.now.max(now);
        !self.stopped
    }

    fn has(&self, bug: Bug) -> bool {
        self.bugs.has(bug)
    }

    #[cfg(test)]
    pub(crate) fn plant(&mut self, bug: Option<Bug>) {
        self.bugs.plant(bug);
    }

    /// Loses patience at once.
    #[cfg(test)]
    pub(crate) fn campaign_now(&mut self) {
        if self.may_lead() {
            self.campaign(false);
        }
    }

    #[cfg(test)]
    pub(crate) fn pledge(&self) -> &Pledge {
        &self.pledge
    }

    #[cfg(test)]
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn violate(&mut self, invariant: Invariant) {
        self.effects.violation.get_or_insert(invariant);
        self.stopped = true;
        self.role = RoleState::Follower;
        self.leader = None;
        self.note_role();
    }

    fn note_role(&mut self) {
        self.effects.role =
            Some(RoleChange { role: self.role(), term: self.pledge.term, leader: self.leader.clone() });
    }

    fn send(&mut self, to: &MemberId, message: Message) {
        self.effects.sends.push(Send::Message { to: to.clone(), message });
    }

    /// Sends a message when a write is on disk.
    fn send_after(&mut self, write: WriteNo, to: &MemberId, message: Message) {
        if self.disk.durable_no() >= write {
            self.send(to, message);
        } else {
            self.held.push_back((write, to.clone(), message));
        }
    }

    fn write(&mut self, write: Write) -> WriteNo {
        let no = self.disk.issue(self.log.end());
        self.effects.writes.push((no, write));
        no
    }

    /// Hands the pledge out to be written, in the place of one that was not drained yet.
    fn write_pledge(&mut self) {
        let pledge = self.pledge.clone();
        match self.effects.writes.last_mut() {
            Some((_, Write::Pledge(waiting))) => *waiting = pledge,
            _ => self.pledge_write = self.write(Write::Pledge(pledge)),
        }
    }

    /// Appends an entry to the log and to the writes.
    fn append(&mut self, entry: Entry) -> Position {
        let meta = entry.meta();
        let position = self.log.push(&meta);
        self.rids.push(meta.rid());
        match self.effects.writes.last_mut() {
            Some((no, Write::Entries { first, entries })) if first.0 + entries.len() as u64 == position.0 => {
                entries.push(entry);
                self.disk.extend(*no, position);
            }
            _ => {
                self.write(Write::Entries { first: position, entries: vec![entry] });
            }
        }
        position
    }

    /// Cuts the log off at `from`. False if that would cut off what is committed.
    fn truncate(&mut self, from: Position) -> bool {
        if from <= self.commit {
            self.violate(Invariant::Truncated { term: self.pledge.term, from, commit: self.commit });
            return false;
        }
        self.log.truncate(from);
        if !self.has(Bug::RidsKeptAtTruncation) {
            self.rids.truncate(from);
        }
        self.disk.truncate(from);
        true
    }

    fn set_commit(&mut self, commit: Position) {
        if commit <= self.commit {
            return;
        }
        self.commit = commit;
        if commit > self.log.end() {
            let end = self.log.end();
            return self.violate(Invariant::Order { released: self.released, commit, end });
        }
        self.effects.committed = Some(commit);
    }

    fn set_released(&mut self, released: Position) {
        let released = released.min(self.commit);
        if released > self.released {
            self.released = released;
            self.effects.released = Some(released);
        }
    }
}

impl EntryMeta {
    fn rid(&self) -> Option<hearth_common::Rid> {
        match &self.kind {
            EntryKind::Record(rid) => Some(*rid),
            EntryKind::Begin | EntryKind::Members(_) => None,
        }
    }
}
