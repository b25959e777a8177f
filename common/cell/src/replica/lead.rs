//! A leader's side: records in, entries out, commit by quorum, confirmed reads (Raft §5.3, §5.4.2; ReadIndex: thesis §6.4).
//!
//! Entries go to the peers in the same moment as to the leader's own disk. The leader counts like any member: when its
//! disk has reported.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hearth_common::{MemberId, Position, Rid};

use super::{Replica, RoleState};
use crate::bug::Bug;
use crate::effects::{Confirmed, Send};
use crate::error::{NotLeader, ProposeError};
use crate::message::{AppendHead, AppendReply, Message, Outcome, RememberHead, SnapshotHead};
use crate::progress::{Mode, Progress};
use crate::types::{Body, Entry, Positions, Probe};

/// What a leader knows.
#[derive(Clone, Hash, Debug)]
pub(super) struct Reign {
    /// The others.
    pub(super) peers: BTreeMap<MemberId, Progress>,
    /// The first entry of the term: nothing is known to be committed before this one is.
    pub(super) begin: Position,
    /// The newest round of questions to the peers.
    pub(super) probe: Probe,
    /// Somebody waits for a round that has not begun.
    pub(super) wanted: bool,
    /// The newest round that a quorum answered.
    pub(super) confirmed: Probe,
    /// When the peers are to hear of this leader.
    pub(super) heartbeat_at: Duration,
    /// When it is to look at the time: questions put the heartbeat off for as long as they come.
    pub(super) look_at: Duration,
    /// When a quorum was last heard.
    pub(super) quorum_at: Duration,
    /// To whom leadership is being handed, and until when that is tried.
    pub(super) transfer: Option<(MemberId, Duration)>,
    /// Bytes of entries of this reign that are not committed. What older terms left is on disk here and grows no more: after
    /// a restart it may be the whole log, until the first entry of the reign is committed with it.
    pub(super) uncommitted_bytes: u64,
}

/// Where a record is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Proposed {
    /// It was appended here.
    New(Position),
    /// It was in the log already, or was before its entry was dropped.
    Known(Position),
}

impl Proposed {
    /// The record counts when this position is committed.
    pub fn position(self) -> Position {
        match self {
            Self::New(position) | Self::Known(position) => position,
        }
    }
}

impl Replica {
    /// Takes a record, unless it is known. It may be acknowledged when its position is committed while this replica leads
    /// in the same term.
    pub fn propose(&mut self, rid: Rid, bytes: Bytes) -> Result<Proposed, ProposeError> {
        let entry = Entry { term: self.pledge.term, body: Body::Record { rid, bytes } };
        let known = self.rids.find(rid);
        let limit = self.options.limits.uncommitted_bytes;
        let reign = self.reign_mut()?;
        if let Some((to, _)) = &reign.transfer {
            return Err(ProposeError::HandingOver(to.clone()));
        }
        if let Some(position) = known {
            return Ok(Proposed::Known(position));
        }
        let waiting = reign.uncommitted_bytes;
        let bytes = waiting + entry.meta().bytes;
        if waiting > 0 && bytes > limit {
            return Err(ProposeError::Uncommitted { bytes, limit });
        }
        Ok(Proposed::New(self.lead_with(entry)))
    }

    /// A question came. It may be answered when [`crate::Effects::confirmed`] names this probe or a greater one. All
    /// questions that come while a round is under way share the next one.
    pub fn read(&mut self) -> Result<Probe, NotLeader> {
        let upto = self.commit;
        let unasked = self.has(Bug::ReadWithoutProbe);
        let reign = self.reign_mut()?;
        reign.wanted = true;
        let probe = reign.probe.next();
        if unasked {
            self.effects.confirmed = Some(Confirmed { probe, upto });
        }
        Ok(probe)
    }

    pub(super) fn reign_mut(&mut self) -> Result<&mut Reign, NotLeader> {
        match &mut self.role {
            RoleState::Leader(reign) => Ok(reign),
            _ => Err(NotLeader { leader: self.leader.clone() }),
        }
    }

    /// Begins to lead. The first entry commits those of older terms with itself.
    pub(super) fn become_leader(&mut self) {
        let begin = self.end().next();
        self.leader = Some(self.me.clone());
        // Probes are counted anew.
        self.effects.confirmed = None;
        self.role = RoleState::Leader(Box::new(Reign {
            peers: BTreeMap::new(),
            begin,
            probe: Probe(0),
            wanted: false,
            confirmed: Probe(0),
            heartbeat_at: self.now + self.options.timing.heartbeat,
            look_at: self.now + self.options.timing.resend / 2,
            quorum_at: self.now,
            transfer: None,
            uncommitted_bytes: 0,
        }));
        self.note_role();
        self.lead_with(Entry { term: self.pledge.term, body: Body::Begin });
        self.meet_peers();
    }

    /// Keeps one progress for each other member of the cell. A new one is sent the last entry first: its answer shows what
    /// it has.
    pub(super) fn meet_peers(&mut self) {
        let (now, next) = (self.now, self.end());
        let RoleState::Leader(reign) = &mut self.role else { return };
        let membership = self.log.membership();
        reign.peers.retain(|peer, _| membership.contains(peer));
        for member in membership.members().filter(|member| **member != self.me) {
            reign.peers.entry(member.clone()).or_insert_with(|| Progress::new(next, now));
        }
    }

    /// Appends an entry as leader.
    pub(super) fn lead_with(&mut self, entry: Entry) -> Position {
        let bytes = entry.meta().bytes;
        if let RoleState::Leader(reign) = &mut self.role {
            reign.uncommitted_bytes += bytes;
        }
        self.append(entry)
    }

    pub(super) fn on_append_reply(&mut self, from: &MemberId, reply: &AppendReply) {
        if reply.term > self.pledge.term {
            return self.become_follower(reply.term, None);
        }
        let (now, end, base) = (self.now, self.end(), self.base());
        let RoleState::Leader(reign) = &mut self.role else { return };
        let newest_probe = reign.probe;
        let Some(peer) = reign.peers.get_mut(from) else { return };
        if reply.term < self.pledge.term || !peer.is_of_life(reply.life, now) {
            return;
        }
        peer.heard_at = Some(now);
        peer.echoed = peer.echoed.max(reply.probe.min(newest_probe));
        match reply.outcome {
            Outcome::Held { durable_end } => {
                if peer.held(durable_end.min(end), base, now) {
                    self.advance_commit();
                }
            }
            Outcome::Missing { prev, hint, hint_term } => {
                let (agree, _) = self.log.may_agree(hint, hint_term);
                peer.missing(prev, agree, now);
            }
            Outcome::Stale => {}
        }
        if reply.damaged {
            self.remind(from);
        }
        self.hear_quorum();
        self.confirm_reads();
        self.hand_over_if_ready();
    }

    /// Tells a damaged peer which records were taken, every so often until it is whole. Not before an entry of this term is
    /// committed: until then the leader may know less to be committed than the peer has dropped.
    fn remind(&mut self, to: &MemberId) {
        let (now, resend) = (self.now, self.options.timing.resend);
        let RoleState::Leader(reign) = &mut self.role else { return };
        let begun = self.commit >= reign.begin;
        let Some(peer) = reign.peers.get_mut(to).filter(|_| begun) else { return };
        if peer.reminded_at.is_none_or(|at| now.saturating_sub(at) >= resend) {
            peer.reminded_at = Some(now);
            let head = RememberHead { term: self.pledge.term, life: peer.life, upto: self.commit };
            self.effects.sends.push(Send::Remember { to: to.clone(), head });
        }
    }

    /// Commits what a quorum of the voters has on disk, if its last entry is of this term (Raft §5.4.2).
    pub(super) fn advance_commit(&mut self) {
        let RoleState::Leader(reign) = &self.role else { return };
        let own = if self.has(Bug::LeaderCountsBeforeDisk) { self.end() } else { self.disk.durable_end() };
        let have = |member: &MemberId| match reign.peers.get(member) {
            Some(peer) => peer.matched,
            None if *member == self.me => own,
            None => Position(0),
        };
        let reached = self.log.membership().reached_by_quorum(have);
        let own_term = self.log.term_at(reached) == Some(self.pledge.term);
        if reached <= self.commit || !(own_term || self.has(Bug::CommitOlderTerm)) {
            return;
        }
        let settled = Positions { first: self.commit.next().max(reign.begin), last: reached };
        let bytes: u64 = settled.iter().map(|position| self.log.length_at(position)).sum();
        if let RoleState::Leader(reign) = &mut self.role {
            reign.uncommitted_bytes = reign.uncommitted_bytes.saturating_sub(bytes);
        }
        self.set_commit(reached);
        self.confirm_reads();
        self.leave_if_removed();
    }

    /// Notes when a quorum was last heard.
    fn hear_quorum(&mut self) {
        let (now, me) = (self.now, self.me.clone());
        let membership = self.log.membership();
        let RoleState::Leader(reign) = &mut self.role else { return };
        let heard = membership.reached_by_quorum(|member| match reign.peers.get(member) {
            Some(peer) => peer.heard_at.unwrap_or_default(),
            None if *member == me => now,
            None => Duration::ZERO,
        });
        reign.quorum_at = reign.quorum_at.max(heard);
    }

    /// Questions are answerable once a quorum has answered a round that began after they came, and an entry of this term
    /// is committed: before that, this leader may not know all that is.
    fn confirm_reads(&mut self) {
        let (commit, me) = (self.commit, self.me.clone());
        let membership = self.log.membership();
        let RoleState::Leader(reign) = &mut self.role else { return };
        let echoed = membership.reached_by_quorum(|member| match reign.peers.get(member) {
            Some(peer) => peer.echoed,
            None if *member == me => reign.probe,
            None => Probe(0),
        });
        if echoed > reign.confirmed && commit >= reign.begin {
            reign.confirmed = echoed;
            self.effects.confirmed = Some(Confirmed { probe: echoed, upto: commit });
        }
    }

    pub(super) fn tick_leader(&mut self) {
        let timing = self.options.timing;
        let now = self.now;
        self.hear_quorum();
        let RoleState::Leader(reign) = &mut self.role else { return };
        reign.look_at = now + timing.resend / 2;
        if now.saturating_sub(reign.quorum_at) > timing.election_max {
            // Nobody hears it: its shell must not let pushes and questions wait for nothing.
            return self.become_follower(self.pledge.term, None);
        }
        if reign.transfer.as_ref().is_some_and(|(_, until)| now >= *until) {
            reign.transfer = None;
        }
        for peer in reign.peers.values_mut() {
            if peer.is_silent(timing.resend, now) {
                peer.start_over(now);
            }
        }
        if now >= reign.heartbeat_at {
            if std::mem::take(&mut reign.wanted) {
                reign.probe = reign.probe.next();
            }
            self.heartbeat();
        }
    }

    /// Tells every peer that this leader is there.
    pub(super) fn heartbeat(&mut self) {
        let RoleState::Leader(reign) = &mut self.role else { return };
        reign.heartbeat_at = self.now + self.options.timing.heartbeat;
        let peers: Vec<(MemberId, Position)> =
            reign.peers.iter().map(|(peer, progress)| (peer.clone(), progress.matched)).collect();
        for (to, matched) in peers {
            // Position 0 is in every log: a peer of which nothing is known can take such an append, too.
            let prev = if self.log.term_at(matched).is_some() { matched } else { Position(0) };
            let head = self.append_head(&to, prev);
            self.effects.sends.push(Send::Append { to, head, entries: Positions::none_at(prev.next()) });
        }
    }

    /// Begins a round of questions if one is wanted and none is under way, and sends what the peers can take.
    pub(super) fn pump(&mut self) {
        let RoleState::Leader(reign) = &mut self.role else { return };
        if reign.wanted && reign.confirmed == reign.probe {
            reign.wanted = false;
            reign.probe = reign.probe.next();
            self.heartbeat();
            self.confirm_reads();
        }
        let RoleState::Leader(reign) = &self.role else { return };
        let peers: Vec<MemberId> = reign.peers.keys().cloned().collect();
        for peer in peers {
            while self.send_next(&peer) {}
        }
    }

    /// Sends a peer its next entries, or the base if those are dropped. False if there is nothing to send now.
    fn send_next(&mut self, to: &MemberId) -> bool {
        let (now, limits) = (self.now, self.options.limits);
        let (base, end) = (self.base(), self.end());
        let RoleState::Leader(reign) = &mut self.role else { return false };
        let Some(peer) = reign.peers.get_mut(to) else { return false };
        if peer.next > end || !peer.has_room(&limits) {
            return false;
        }
        let first = peer.next;
        if first <= base {
            peer.sent_snapshot(now);
            let head = SnapshotHead { term: self.pledge.term, base: self.log.base().clone() };
            self.effects.sends.push(Send::Snapshot { to: to.clone(), head });
            return false;
        }
        let (entries, bytes) = self.log.batch(first, limits.batch_bytes, limits.batch_entries);
        peer.sent(entries, bytes, now);
        let head = self.append_head(to, Position(first.0 - 1));
        self.effects.sends.push(Send::Append { to: to.clone(), head, entries });
        peer_goes_on(&self.role, to)
    }

    fn append_head(&self, to: &MemberId, prev: Position) -> AppendHead {
        let (probe, life) = match &self.role {
            RoleState::Leader(reign) => {
                (reign.probe, reign.peers.get(to).map(|peer| peer.life).unwrap_or_default())
            }
            _ => Default::default(),
        };
        AppendHead {
            term: self.pledge.term,
            prev,
            prev_term: self.log.term_at(prev).unwrap_or_default(),
            commit: self.commit,
            released: self.released,
            probe,
            life,
        }
    }

    /// A leader that is no voter leads until the membership that says so is committed, then lets the best voter go on.
    fn leave_if_removed(&mut self) {
        let RoleState::Leader(reign) = &self.role else { return };
        let membership = self.log.membership();
        if membership.voters.contains(&self.me) || self.log.membership_position() > self.commit {
            return;
        }
        let voters = reign.peers.iter().filter(|(peer, _)| membership.voters.contains(peer));
        let heir = voters.max_by_key(|(_, progress)| progress.matched).map(|(peer, _)| peer.clone());
        self.heartbeat();
        if let Some(heir) = heir {
            self.send(&heir, Message::TimeoutNow { term: self.pledge.term });
        }
        self.become_follower(self.pledge.term, None);
    }
}

fn peer_goes_on(role: &RoleState, peer: &MemberId) -> bool {
    let RoleState::Leader(reign) = role else { return false };
    reign.peers.get(peer).is_some_and(|progress| progress.mode == Mode::Streaming)
}
