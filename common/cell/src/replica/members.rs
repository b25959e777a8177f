//! Who belongs to the cell, and who leads it by wish (thesis §3.10, §4.1, §4.2.1, §4.2.2).
//!
//! One member at a time, so that any two majorities of neighbouring memberships meet; a new one first learns the log.
//!
//! Beyond Raft: who was removed while it was away is told so when it next asks for votes, and then lets go of its log. Its
//! vote and its term stay: it may be added again.

use std::collections::BTreeSet;

use hearth_common::{MemberId, Position};

use super::{Replica, RoleState};
use crate::bug::Bug;
use crate::effects::Write;
use crate::error::ChangeError;
use crate::log::Log;
use crate::message::{Message, VoteKind};
use crate::rids::Rids;
use crate::types::{Base, Body, Entry, Mark, Term};

/// Members of which a replica has heard and which its log does not name.
const RUMOURED_MAX: usize = 16;

/// A change of one member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// It gets the log and does not count.
    AddLearner(MemberId),
    /// A learner that has caught up becomes a voter.
    Promote(MemberId),
    /// It gets nothing more. A leader may remove itself: it leads until that is committed.
    Remove(MemberId),
}

impl Replica {
    /// Begins a change of the members; it is in force at once and done when its position is committed.
    pub fn change_members(&mut self, change: &Change) -> Result<Position, ChangeError> {
        let (commit, end) = (self.commit, self.end());
        let settled = self.log.membership_position() <= commit || self.has(Bug::TwoChangesAtOnce);
        let limit = self.options.limits.promote_lag_entries;
        let (now, lately) = (self.now, self.options.timing.election_min);
        let mut membership = self.log.membership().clone();
        let reign = self.reign_mut()?;
        if let Some((to, _)) = &reign.transfer {
            return Err(ChangeError::HandingOver(to.clone()));
        }
        if !settled || commit < reign.begin {
            return Err(ChangeError::NotCommitted);
        }
        let wrong = |member: &MemberId, why| Err(ChangeError::Member { member: member.clone(), why });
        match change {
            Change::AddLearner(member) if membership.contains(member) => {
                return wrong(member, "belongs to the cell already");
            }
            Change::AddLearner(member) => {
                membership.learners.insert(member.clone());
            }
            Change::Promote(member) => {
                if !membership.learners.remove(member) {
                    return wrong(member, "is no learner of the cell");
                }
                let peer = reign.peers.get(member);
                let matched = peer.map(|peer| peer.matched).unwrap_or_default();
                let lag = end.0.saturating_sub(matched.0);
                if lag > limit {
                    return Err(ChangeError::Behind { member: member.clone(), lag, limit });
                }
                let heard_at = peer.and_then(|peer| peer.heard_at);
                if heard_at.is_none_or(|at| now.saturating_sub(at) >= lately) {
                    return Err(ChangeError::Silent(member.clone()));
                }
                membership.voters.insert(member.clone());
            }
            Change::Remove(member) => {
                if !membership.learners.remove(member) && !membership.voters.remove(member) {
                    return wrong(member, "does not belong to the cell");
                }
                if membership.voters.is_empty() {
                    return wrong(member, "is the only voter of the cell");
                }
            }
        }
        let position = self.lead_with(Entry { term: self.pledge.term, body: Body::Members(membership) });
        self.meet_peers();
        // Fewer voters may commit more than before.
        self.advance_commit();
        Ok(position)
    }

    /// Hands leadership to a voter: takes no more records, waits until that member has everything, lets it campaign at
    /// once. Gives up after the greatest election timeout, and takes records again.
    pub fn transfer_to(&mut self, member: &MemberId) -> Result<(), ChangeError> {
        let is_voter = self.log.membership().voters.contains(member) && *member != self.me;
        let until = self.now + self.options.timing.election_max;
        let reign = self.reign_mut()?;
        if !is_voter {
            return Err(ChangeError::Member { member: member.clone(), why: "is no other voter of the cell" });
        }
        if let Some((to, _)) = &reign.transfer {
            return Err(ChangeError::HandingOver(to.clone()));
        }
        reign.transfer = Some((member.clone(), until));
        self.hand_over_if_ready();
        Ok(())
    }

    /// Tells the heir to campaign when it has everything. Told again with each of its answers: a message may be lost.
    pub(super) fn hand_over_if_ready(&mut self) {
        let (term, end) = (self.pledge.term, self.end());
        let RoleState::Leader(reign) = &self.role else { return };
        let Some((heir, _)) = reign.transfer.clone() else { return };
        if reign.peers.get(&heir).is_some_and(|peer| peer.matched == end) {
            self.send(&heir, Message::TimeoutNow { term });
        }
    }

    /// Tells a member that asks for votes that it does not belong to the cell. Only what is committed is told: a removal
    /// that is not may never have been, and then the log of whoever let go of it is missing.
    pub(super) fn tell_if_removed(&mut self, asks: &MemberId) {
        let membership = self.log.membership();
        let settled = self.log.membership_position() <= self.commit;
        // Without voters this member was never told who belongs to the cell, or let go of its log itself.
        if !settled || membership.contains(asks) || membership.voters.is_empty() {
            return;
        }
        let at = self.commit.max(self.log.membership_position());
        let Some(at_term) = self.log.term_at(at) else { return };
        self.send(asks, Message::Removed { term: self.pledge.term, at, at_term });
    }

    /// A member that may not lead, and has heard no leader for long, may have been removed while it was away. A question
    /// for votes that counts none finds out.
    pub(super) fn ask_whether_removed(&mut self) {
        if self.is_blank() {
            return;
        }
        self.ask_all();
    }

    /// Who keeps the cell now, by hearsay. A member that was away for long may know only of others that are gone.
    pub fn hear_of(&mut self, members: impl IntoIterator<Item = MemberId>) {
        self.rumoured = members.into_iter().filter(|member| *member != self.me).take(RUMOURED_MAX).collect();
    }

    /// A question for votes to all who may know better, whether or not their votes count.
    pub(super) fn ask_all(&mut self) {
        let request = self.vote_request(VoteKind::Pre, false);
        let asked: BTreeSet<MemberId> =
            self.other_voters().into_iter().chain(self.rumoured.clone()).collect();
        for member in asked {
            self.send(&member, Message::Vote(request));
        }
    }

    /// As of a committed entry this member does not belong to the cell. That is news if its own log knows of no later change
    /// of members: one that added it again would be in it, as nothing else counts it.
    pub(super) fn on_removed(&mut self, at: Position, at_term: Term) {
        let known = self.log.membership_position();
        let known = Mark { term: self.log.term_at(known).unwrap_or_default(), position: known };
        let at = Mark { term: at_term, position: at };
        let is_old = at < known && !self.has(Bug::OldRemovalCounts);
        if matches!(self.role, RoleState::Leader(_)) || self.is_blank() || is_old {
            return;
        }
        self.retire(at);
    }

    /// Lets go of the log, as one life ends and another begins: what this member said of its log is said no more.
    fn retire(&mut self, at: Mark) {
        self.pledge.life = self.pledge.life.next();
        self.pledge.left = self.pledge.left.max(Some(at));
        self.become_follower(self.pledge.term, None);
        self.write_pledge();
        self.life_write = self.pledge_write;
        self.log = Log::new(Base::default());
        self.rids =
            Rids::new(Position(0), self.options.timing.rid_horizon, self.options.limits.remembered_rids);
        self.disk.truncate(Position(0));
        (self.commit, self.released, self.agreed) = Default::default();
        (self.heal_at, self.heard_at, self.reminded) = (None, None, false);
        self.write(Write::Base { base: Base::default(), reset: true, rids: Vec::new() });
        self.wait_for_leader();
    }

    /// Whether this member has nothing of the cell's log: it was not added yet, or let go of it.
    pub fn is_blank(&self) -> bool {
        self.end() == Position(0) && self.log.membership().voters.is_empty()
    }
}
