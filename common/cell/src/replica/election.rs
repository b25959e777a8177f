//! How a leader is made: patience, pre-votes, votes (Raft §5.2, §5.4.1; pre-vote and forced votes: Ongaro's thesis §4.2.3,
//! §9.6, §3.10).
//!
//! Beyond Raft: a member whose disk is damaged gives no vote. That a candidate's log is no shorter than what is left of
//! its own proves nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_common::MemberId;

use super::{Replica, RoleState};
use crate::bug::Bug;
use crate::effects::{Invariant, Role};
use crate::message::{Message, VoteKind, VoteReply, VoteRequest};
use crate::types::{Mark, Probe, Term};

impl Replica {
    /// Draws the time until which a leader must be heard.
    pub(super) fn wait_for_leader(&mut self) {
        let voters = &self.log.membership().voters;
        if voters.len() == 1 && voters.contains(&self.me) && self.is_back() {
            // Nobody else can lead: there is nothing to wait for.
            self.deadline = self.now;
            return;
        }
        let timing = self.options.timing;
        let middle = (timing.election_min + timing.election_max) / 2;
        let (min, max) = if self.options.preferred {
            (timing.election_min, middle)
        } else {
            (middle, timing.election_max)
        };
        let votes = self.log.membership().voters.contains(&self.me);
        let spared = if votes { Duration::ZERO } else { 4 * timing.election_max };
        self.deadline = self.now + spared + self.rng.between(min, max);
    }

    /// Enters a term as a follower, or stays in its own. Leadership and candidacies end.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<MemberId>) {
        let before = (self.role(), self.pledge.term, self.leader.clone());
        if term > self.pledge.term {
            self.pledge.term = term;
            self.pledge.vote = None;
            self.write_pledge();
            self.enter_term();
        }
        if self.leader != leader {
            (self.heal_at, self.reminded) = (None, false);
        }
        self.role = RoleState::Follower;
        self.leader = leader;
        if before.0 != Role::Follower {
            self.wait_for_leader();
        }
        if before != (self.role(), self.pledge.term, self.leader.clone()) {
            self.note_role();
        }
    }

    /// Forgets what was known of the last term's leader.
    fn enter_term(&mut self) {
        self.agreed = self.commit;
        self.probe_heard = Probe(0);
        (self.heal_at, self.reminded) = (None, false);
        self.heard_at = None;
        self.held.clear();
    }

    /// Takes a message of a leader: enters its term if need be. False if the message is of an older term, or the leader
    /// cannot be one.
    pub(super) fn follow(&mut self, leader: &MemberId, term: Term) -> bool {
        if term < self.pledge.term {
            return false;
        }
        let known = self.leader.as_ref();
        if term == self.pledge.term && known.is_some_and(|known| known != leader) {
            self.violate(Invariant::TwoLeaders { term, other: leader.clone() });
            return false;
        }
        let is_news = known != Some(leader) || !matches!(self.role, RoleState::Follower);
        if is_news || term > self.pledge.term {
            self.become_follower(term, Some(leader.clone()));
        }
        self.heard_at = Some(self.now);
        self.wait_for_leader();
        true
    }

    /// Asks the others whether they would vote for this member.
    pub(super) fn pre_campaign(&mut self) {
        if !self.may_lead() {
            return self.ask_whether_removed();
        }
        self.leader = None;
        self.role = RoleState::PreCandidate { votes: BTreeSet::from([self.me.clone()]) };
        self.note_role();
        self.ask_all();
        self.count_votes();
    }

    /// Begins a term and asks for votes, as soon as the vote for itself is on disk: a later life that does not remember
    /// this candidacy, and has a shorter log, must not collect its votes.
    pub(super) fn campaign(&mut self, forced: bool) {
        self.pledge.term = self.pledge.term.next();
        self.pledge.vote = Some(self.me.clone());
        self.write_pledge();
        self.enter_term();
        self.leader = None;
        self.role = RoleState::Candidate { votes: BTreeSet::new() };
        self.wait_for_leader();
        self.note_role();
        let request = self.vote_request(VoteKind::Real, forced);
        for voter in self.other_voters() {
            self.send_after(self.pledge_write, &voter, Message::Vote(request));
        }
    }

    /// Whether this is a candidate that has asked nobody yet: its disk is slower than its patience. Another term would
    /// only wait behind this one.
    pub(super) fn waits_for_own_vote(&self) -> bool {
        matches!(self.role, RoleState::Candidate { .. }) && self.disk.durable_no() < self.pledge_write
    }

    /// The candidate's own vote counts when it is on disk.
    pub(super) fn own_vote_if_durable(&mut self) {
        if self.disk.durable_no() < self.pledge_write {
            return;
        }
        if let RoleState::Candidate { votes } = &mut self.role {
            votes.insert(self.me.clone());
            self.count_votes();
        }
    }

    pub(super) fn on_timeout_now(&mut self, from: &MemberId, term: Term) {
        if self.follow(from, term) && self.may_lead() {
            self.campaign(true);
        }
    }

    pub(super) fn on_vote_request(&mut self, from: &MemberId, request: &VoteRequest) {
        let granted = match request.kind {
            // Whoever hears a leader lets nobody disturb it, and does not even look at the term.
            _ if self.hears_leader() && !request.forced => false,
            VoteKind::Pre => request.term > self.pledge.term && self.approves(request),
            VoteKind::Real => self.vote(from, request),
        };
        let term = if granted { request.term } else { self.pledge.term };
        let reply = Message::VoteReply(VoteReply { term, kind: request.kind, granted });
        let promises = granted && request.kind == VoteKind::Real;
        self.tell_if_removed(from);
        if promises && !self.has(Bug::VoteNotPersisted) {
            self.send_after(self.pledge_write, from, reply);
        } else {
            self.send(from, reply);
        }
    }

    /// Gives the vote of the term, if it is still free and the candidate's log is good enough.
    fn vote(&mut self, candidate: &MemberId, request: &VoteRequest) -> bool {
        if request.term < self.pledge.term {
            return false;
        }
        if request.term > self.pledge.term {
            self.become_follower(request.term, None);
        }
        let free = self.pledge.vote.as_ref().is_none_or(|vote| vote == candidate);
        let granted = free && self.approves(request);
        if granted && self.pledge.vote.is_none() {
            self.pledge.vote = Some(candidate.clone());
            if !self.has(Bug::VoteNotPersisted) {
                self.write_pledge();
            }
            self.wait_for_leader();
        }
        granted
    }

    /// Whether a candidate with this log has everything that this member ever acknowledged.
    fn approves(&self, request: &VoteRequest) -> bool {
        let asks = Mark { term: request.last_term, position: request.last };
        let complete = asks >= self.log_end() && Some(asks) >= self.pledge.left;
        (complete || self.has(Bug::VoteForShorterLog)) && self.is_whole()
    }

    pub(super) fn on_vote_reply(&mut self, from: &MemberId, reply: &VoteReply) {
        if !reply.granted {
            if reply.term > self.pledge.term {
                self.become_follower(reply.term, None);
            }
            return;
        }
        let term = self.pledge.term;
        match (&mut self.role, reply.kind) {
            (RoleState::PreCandidate { votes }, VoteKind::Pre) if reply.term == term.next() => {
                votes.insert(from.clone());
            }
            (RoleState::Candidate { votes }, VoteKind::Real) if reply.term == term => {
                votes.insert(from.clone());
            }
            _ => return,
        }
        self.count_votes();
    }

    /// Goes on if a majority is for it.
    fn count_votes(&mut self) {
        let membership = self.log.membership();
        let (RoleState::PreCandidate { votes } | RoleState::Candidate { votes }) = &self.role else { return };
        if votes.intersection(&membership.voters).count() < membership.quorum() {
            return;
        }
        match self.role {
            RoleState::PreCandidate { .. } => self.campaign(false),
            _ => self.become_leader(),
        }
    }

    pub(super) fn vote_request(&self, kind: VoteKind, forced: bool) -> VoteRequest {
        let term = match kind {
            VoteKind::Pre => self.pledge.term.next(),
            VoteKind::Real => self.pledge.term,
        };
        VoteRequest { term, kind, forced, last: self.log.end(), last_term: self.log.end_term() }
    }

    pub(super) fn other_voters(&self) -> Vec<MemberId> {
        self.log.membership().voters.iter().filter(|voter| **voter != self.me).cloned().collect()
    }

    /// Whether this member may campaign. A learner may, and one whose removal may not be committed: it can be the only one
    /// whose log is good enough (thesis §4.2.2). Its own vote does not count then, it is slow to try, and it hands over
    /// when its log is committed.
    pub(super) fn may_lead(&self) -> bool {
        let mut memberships = self.log.memberships_since(self.commit);
        self.is_whole()
            && self.is_back()
            && !matches!(self.role, RoleState::Leader(_))
            && memberships.any(|membership| membership.contains(&self.me))
    }

    /// Whether the log, of which this member once let go, is here again.
    fn is_back(&self) -> bool {
        Some(self.log_end()) >= self.pledge.left || self.has(Bug::ForgetsThatItLeft)
    }

    fn log_end(&self) -> Mark {
        Mark { term: self.log.end_term(), position: self.log.end() }
    }

    /// Whether the disk has everything that it ever acknowledged.
    fn is_whole(&self) -> bool {
        !self.pledge.damaged || self.has(Bug::DamagedVotes)
    }

    /// Whether a leader was heard within the least election timeout. A leader hears itself while a quorum hears it.
    fn hears_leader(&self) -> bool {
        let heard_at = match &self.role {
            RoleState::Leader(reign) => Some(reign.quorum_at),
            _ => self.heard_at,
        };
        heard_at.is_some_and(|at| self.now.saturating_sub(at) < self.options.timing.election_min)
    }
}
