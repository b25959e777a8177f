//! A replica's [`Status`].

use super::{Replica, RoleState};
use crate::status::{PeerStatus, Status};

impl Replica {
    /// Whether the disk lost entries and has not got them back.
    pub fn is_damaged(&self) -> bool {
        self.pledge.damaged
    }

    /// Whether a leader sends the log to this member and does not count it yet.
    pub fn is_learning(&self) -> bool {
        self.leader.is_some() && self.log.membership().learners.contains(&self.me)
    }

    /// What this replica knows and waits for.
    pub fn status(&self) -> Status {
        let uncommitted_bytes = match &self.role {
            RoleState::Leader(reign) => reign.uncommitted_bytes,
            _ => 0,
        };
        Status {
            me: self.me.clone(),
            role: self.role(),
            term: self.pledge.term,
            life: self.pledge.life,
            leader: self.leader.clone(),
            membership: self.log.membership().clone(),
            base: self.base(),
            released: self.released,
            commit: self.commit,
            durable_end: self.disk.durable_end(),
            end: self.end(),
            damaged: self.pledge.damaged,
            rids: self.rids.len(),
            uncommitted_bytes,
            peers: self.peers(),
            waits_for: self.waits_for(),
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let RoleState::Leader(reign) = &self.role else { return Vec::new() };
        let peer = |(member, progress): (&hearth_common::MemberId, &crate::progress::Progress)| PeerStatus {
            member: member.clone(),
            voter: self.log.membership().voters.contains(member),
            matched: progress.matched,
            lag_entries: self.end().0.saturating_sub(progress.matched.0),
            flight_bytes: progress.flight_bytes(),
            heard_ago: progress.heard_at.map(|at| self.now.saturating_sub(at)),
        };
        reign.peers.iter().map(peer).collect()
    }

    fn waits_for(&self) -> String {
        let membership = self.log.membership();
        match &self.role {
            _ if self.stopped => "a restart: an invariant broke".to_owned(),
            RoleState::Leader(reign) if self.commit < reign.begin => {
                format!(
                    "{} of {} voters to have its first entry",
                    membership.quorum(),
                    membership.voters.len()
                )
            }
            RoleState::Leader(reign) => match &reign.transfer {
                Some((heir, _)) => format!("'{}' to take over", heir.instance),
                None if self.commit < self.end() => {
                    let entries = self.end().0 - self.commit.0;
                    format!(
                        "{} of {} voters to have {entries} entries",
                        membership.quorum(),
                        membership.voters.len()
                    )
                }
                None => String::new(),
            },
            RoleState::PreCandidate { votes } | RoleState::Candidate { votes } => {
                format!("votes: {} of {} are there", votes.len(), membership.quorum())
            }
            RoleState::Follower if self.leader.is_none() => "a leader".to_owned(),
            RoleState::Follower if self.pledge.damaged => "entries that its disk lost".to_owned(),
            RoleState::Follower => String::new(),
        }
    }
}
