//! A follower's side of replication (Raft §5.3, §7).
//!
//! A follower takes what agrees with its log, cuts off what does not, and says what it has on disk.

use hearth_common::{MemberId, Position, Rid};

use super::{Replica, RoleState};
use crate::bug::Bug;
use crate::effects::Write;
use crate::log::Log;
use crate::message::{AppendHead, AppendReply, Message, Outcome, RememberHead, SnapshotHead};
use crate::types::{Entry, Pledge};

impl Replica {
    pub(super) fn on_append(&mut self, from: &MemberId, head: &AppendHead, entries: Vec<Entry>) {
        if !self.follow(from, head.term) {
            return self.reply(from, Outcome::Stale);
        }
        let probe_is_new = head.probe > self.probe_heard;
        self.probe_heard = self.probe_heard.max(head.probe);
        // What is dropped here was committed, so it is in every leader's log.
        let agrees = head.prev < self.base() || self.log.term_at(head.prev) == Some(head.prev_term);
        if !agrees {
            let (hint, hint_term) = self.log.may_agree(head.prev, head.prev_term);
            return self.reply(from, Outcome::Missing { prev: head.prev, hint, hint_term });
        }
        let writes = self.disk.issued_no();
        let last = Position(head.prev.0 + entries.len() as u64);
        if !self.take(head.prev.next(), entries) {
            return;
        }
        self.agreed = self.agreed.max(last);
        self.set_commit(head.commit.min(self.agreed));
        self.set_released(head.released);
        if head.life == self.pledge.life {
            self.heal_at = Some(self.heal_at.map_or(head.commit, |at| at.max(head.commit)));
        }
        self.heal();
        // An answer will follow from the disk; another one now would say nothing new.
        let disk_will_say = self.disk.issued_no() != writes && !self.has(Bug::ReplyBeforeDisk);
        if probe_is_new || !disk_will_say {
            self.reply_held();
        }
    }

    /// Takes entries from `first` on: skips those that it has, replaces those that differ. False if that broke a rule.
    fn take(&mut self, first: Position, entries: Vec<Entry>) -> bool {
        for (position, entry) in (first.0..).map(Position).zip(entries) {
            if position <= self.base() || self.log.term_at(position) == Some(entry.term) {
                continue;
            }
            if position <= self.end() && !self.truncate(position) {
                return false;
            }
            self.append(entry);
        }
        true
    }

    pub(super) fn on_snapshot(&mut self, from: &MemberId, head: SnapshotHead, rids: Vec<(Rid, Position)>) {
        if !self.follow(from, head.term) {
            return self.reply(from, Outcome::Stale);
        }
        let base = head.base;
        let position = base.position;
        if position > self.commit && self.log.term_at(position) != Some(base.term) {
            let rids = if self.has(Bug::RidsLostAtSnapshot) { Vec::new() } else { rids };
            self.log = Log::new(base.clone());
            let rids = self.rids.reset(position, rids, self.now);
            self.disk.truncate(Position(0));
            self.write(Write::Base { base, reset: true, rids });
        }
        self.agreed = self.agreed.max(position);
        self.set_commit(position);
        self.set_released(position);
        self.heal();
        self.reply_held();
    }

    /// Takes note of records whose entries it dropped and may have forgotten since. Those behind its base come with their
    /// entries.
    pub(super) fn on_remember(
        &mut self,
        from: &MemberId,
        head: &RememberHead,
        mut rids: Vec<(Rid, Position)>,
    ) {
        if !self.follow(from, head.term) || head.life != self.pledge.life {
            return;
        }
        let base = self.base();
        rids.retain(|(_, position)| *position <= base);
        let rids = self.rids.restore(rids, self.now);
        if !rids.is_empty() {
            self.write(Write::Remember { rids });
        }
        self.reminded |= head.upto >= base;
        self.heal();
    }

    /// Tells the leader how much of its log is on disk here. Nothing is said before this life is on disk: the leader
    /// must be able to tell its words from those of an earlier life.
    pub(super) fn reply_held(&mut self) {
        let Some(leader) = self.leader.clone().filter(|leader| *leader != self.me) else { return };
        let durable = if self.has(Bug::ReplyBeforeDisk) { self.log.end() } else { self.disk.durable_end() };
        self.reply(&leader, Outcome::Held { durable_end: durable.min(self.agreed) });
    }

    fn reply(&mut self, to: &MemberId, outcome: Outcome) {
        if self.disk.durable_no() < self.life_write || self.stopped {
            return;
        }
        let Pledge { term, life, damaged, .. } = self.pledge;
        let reply = AppendReply { term, life, probe: self.probe_heard, damaged, outcome };
        self.send(to, Message::AppendReply(reply));
    }

    /// A damaged member is whole again when it has on disk all that a leader had committed after it had learnt of this
    /// life, up to the leader's first entry at least: up to there the leader may not know what is committed. And when it
    /// knows the records that it dropped: who leads answers their retries.
    pub(super) fn heal(&mut self) {
        let Some(commit) = self.heal_at.filter(|_| self.pledge.damaged) else { return };
        let base = self.log.base();
        let dropped = (base.term == self.pledge.term).then_some(base.position);
        let Some(begin) = dropped.or_else(|| self.log.first_of_term(self.pledge.term)) else { return };
        if !matches!(self.role, RoleState::Follower) || self.leader.is_none() {
            return;
        }
        let reminded = self.reminded || self.has(Bug::HealsWithoutRids);
        if reminded && self.disk.durable_end().min(self.agreed) >= commit.max(begin) {
            self.pledge.damaged = false;
            self.write_pledge();
        }
    }
}
