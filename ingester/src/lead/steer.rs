//! Brings the members of a cell that is led here to what the roster wants, one step at a time. The decision is pure.
//!
//! New members first, so that a cell never has fewer copies on the way than before; then those that are not wanted go;
//! then leadership goes home.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_cell::{Change, Role, Status};
use hearth_common::{MemberId, Position};

use super::Lead;

/// A home that was heard this lately is well enough to lead.
const HEARD_LATELY: Duration = Duration::from_secs(1);

/// How long the heads may take to be published before leadership is handed over.
const FLUSH_FIRST: Duration = Duration::from_secs(5);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Change a member.
    Change(Change),
    /// Let this member lead.
    HandOver(MemberId),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Change(Change::AddLearner(member)) => write!(f, "{} learns the log", member.instance),
            Self::Change(Change::Promote(member)) => write!(f, "{} becomes a voter", member.instance),
            Self::Change(Change::Remove(member)) => write!(f, "{} is removed", member.instance),
            Self::HandOver(home) => write!(f, "{} is to lead", home.instance),
        }
    }
}

/// The next step from what the log says towards what is wanted (home first); `None` = nothing to do, or not here. A home
/// that is to lead must have everything up to `settled` on disk: what was committed a while ago.
pub(crate) fn next_step(status: &Status, wanted: &[MemberId], settled: Position) -> Option<Step> {
    if status.role != Role::Leader || wanted.is_empty() {
        return None;
    }
    let members = &status.membership;
    let change = |change| Some(Step::Change(change));
    if let Some(learner) = members.learners.iter().find(|learner| !wanted.contains(learner)) {
        return change(Change::Remove(learner.clone()));
    }
    // A learner that is wanted is promoted; the replica refuses as long as it is behind.
    if let Some(learner) = members.learners.iter().next() {
        return change(Change::Promote(learner.clone()));
    }
    if let Some(new) = wanted.iter().find(|member| !members.voters.contains(member)) {
        return change(Change::AddLearner(new.clone()));
    }
    // Others first: a leader that removes itself ends its reign.
    let gone = members.voters.iter().filter(|voter| !wanted.contains(voter));
    let mut gone: Vec<&MemberId> = gone.collect();
    gone.sort_by_key(|voter| **voter == status.me);
    if let Some(voter) = gone.first() {
        return change(Change::Remove((*voter).clone()));
    }
    let home = &wanted[0];
    let peer = status.peers.iter().find(|peer| peer.member == *home && peer.voter)?;
    let well = peer.heard_ago.is_some_and(|ago| ago <= HEARD_LATELY) && peer.matched >= settled;
    well.then(|| Step::HandOver(home.clone()))
}

impl Lead {
    /// Takes the next step, if there is one.
    pub(crate) async fn steer(&self, wanted: &[MemberId]) {
        let status = self.cell.status();
        let settled = Position(self.settled.swap(status.commit.0, Ordering::Relaxed));
        if !self.cell.has_room() {
            // Others may have room: a leader that can write nothing would stop the cell.
            return self.hand_over();
        }
        let Some(step) = next_step(&status, wanted, settled) else { return };
        if matches!(step, Step::HandOver(_)) {
            if !self.progress.borrow().done {
                return;
            }
            // The next leader has to build what is not published, and answers nothing until then. Without a store it has to
            // build more: no reason to wait.
            match tokio::time::timeout(FLUSH_FIRST, self.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(cell = %self.cell.id.0, error, "not published before the hand-over")
                }
                Err(_) => {
                    tracing::debug!(cell = %self.cell.id.0, "not published in time before the hand-over")
                }
            }
        }
        let done = match &step {
            Step::Change(change) => self.cell.change(|replica| replica.change_members(change).map(drop)),
            Step::HandOver(home) => self.cell.change(|replica| replica.transfer_to(home)),
        };
        match done {
            Ok(()) => tracing::info!(cell = %self.cell.id.0, %step, "the cell changes"),
            Err(error) => {
                tracing::debug!(cell = %self.cell.id.0, %step, %error, "the cell cannot change yet")
            }
        }
    }

    /// Hands leadership to the voter that lacks the least, if there is one: before a stop.
    pub(crate) fn hand_over(&self) {
        let status = self.cell.status();
        let heirs = status
            .peers
            .iter()
            .filter(|peer| peer.voter && peer.heard_ago.is_some_and(|ago| ago <= HEARD_LATELY));
        let Some(heir) = heirs.min_by_key(|peer| peer.lag_entries) else { return };
        if let Err(error) = self.cell.change(|replica| replica.transfer_to(&heir.member)) {
            tracing::debug!(cell = %self.cell.id.0, %error, "leadership cannot be handed over");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_cell::{Life, Membership, PeerStatus, Term};
    use hearth_common::{DiskId, InstanceId};

    use super::*;

    fn member(name: &str) -> MemberId {
        MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(1) }
    }

    fn members(names: &str) -> Vec<MemberId> {
        names.split_whitespace().map(member).collect()
    }

    /// A leader `me` of a cell with these voters and learners, all of them well.
    fn leader(me: &str, voters: &str, learners: &str) -> Status {
        let membership = Membership {
            voters: members(voters).into_iter().collect(),
            learners: members(learners).into_iter().collect(),
        };
        let me = member(me);
        let others = membership.members().filter(|other| **other != me);
        let peers = others
            .map(|other| PeerStatus {
                member: other.clone(),
                voter: membership.voters.contains(other),
                matched: Position(9),
                lag_entries: 0,
                flight_bytes: 0,
                heard_ago: Some(Duration::from_millis(100)),
            })
            .collect();
        Status {
            me: me.clone(),
            role: Role::Leader,
            term: Term(3),
            life: Life(1),
            leader: Some(me),
            membership,
            base: Position(0),
            released: Position(0),
            commit: Position(9),
            durable_end: Position(9),
            end: Position(9),
            damaged: false,
            rids: 0,
            uncommitted_bytes: 0,
            peers,
            waits_for: String::new(),
        }
    }

    fn check(status: &Status, wanted: &str, expect: Option<Step>) {
        assert_eq!(next_step(status, &members(wanted), Position(9)), expect);
    }

    #[test]
    fn a_member_is_replaced_before_it_goes() {
        let step = |change| Some(Step::Change(change));
        check(&leader("a", "a b c", ""), "a b d", step(Change::AddLearner(member("d"))));
        check(&leader("a", "a b c", "d"), "a b d", step(Change::Promote(member("d"))));
        check(&leader("a", "a b c d", ""), "a b d", step(Change::Remove(member("c"))));
        check(&leader("a", "a b d", ""), "a b d", None);
        check(&leader("a", "a b", "x"), "a b", step(Change::Remove(member("x"))));
    }

    #[test]
    fn a_leader_removes_itself_last() {
        let status = leader("b", "a b c d", "");
        check(&status, "a d", Some(Step::Change(Change::Remove(member("c")))));
        check(&leader("b", "a b d", ""), "a d", Some(Step::Change(Change::Remove(member("b")))));
    }

    #[test]
    fn leadership_goes_home_when_the_home_is_well() {
        let mut status = leader("b", "a b c", "");
        check(&status, "a b c", Some(Step::HandOver(member("a"))));
        check(&status, "b a c", None);
        status.peers[0].matched = Position(8);
        check(&status, "a b c", None);
        status.peers[0].matched = Position(9);
        status.peers[0].heard_ago = Some(Duration::from_secs(5));
        check(&status, "a b c", None);
        status.peers[0].heard_ago = None;
        check(&status, "a b c", None);
        status.role = Role::Follower;
        check(&status, "a b d", None);
    }
}
