//! Who belongs to the cell, and who leads it by wish (thesis §3.10, §4.1, §4.2.1, §4.2.2).
//!
//! One member at a time, so that any two majorities of neighbouring memberships meet; a new one first learns the log.

use hearth_common::{MemberId, Position};

use super::{Replica, RoleState};
use crate::bug::Bug;
use crate::error::ChangeError;
use crate::message::Message;
use crate::types::{Body, Entry};

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
                let matched = reign.peers.get(member).map(|peer| peer.matched).unwrap_or_default();
                let lag = end.0.saturating_sub(matched.0);
                if lag > limit {
                    return Err(ChangeError::Behind { member: member.clone(), lag, limit });
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
}
