//! What an ingester does around its replica: writes, sends, acknowledges, answers, publishes.

use hearth_common::{Position, Rid};

use super::net::Letter;
use super::node::{Node, Publication, Question, Trouble};
use super::world::{Planted, TENANTS, World};
use crate::{Body, Effects, Message, Role, RoleChange, Send, VoteKind};

impl World {
    /// Carries out what the replica wants.
    pub(super) fn drain(&mut self, index: usize) {
        let Some(replica) = &mut self.nodes[index].replica else { return };
        let effects = replica.effects();
        let Effects { writes, sends, committed, released: _, role, confirmed, violation } = effects;
        if let Some(violation) = violation {
            self.checker.fail(format!("node {index}: {violation}"));
        }
        let node = &mut self.nodes[index];
        for (no, write) in writes {
            node.live.apply(&write);
            if node.live.end() < node.commit {
                // It was removed, and let go of its log.
                node.commit = node.live.end();
            }
            node.disk.push(no, write);
        }
        if node.disk.pending() > 0 && node.sync_at_ms.is_none() {
            let slow = !self.calm && self.dice.chance(300);
            node.sync_at_ms =
                Some(self.now_ms + self.dice.below(if slow { 400 } else { self.habits.sync_ms }));
        }
        for send in sends {
            self.post(index, send);
        }
        if let Some(role) = role {
            self.note_role(index, &role);
        }
        if let Some(commit) = committed {
            let node = &mut self.nodes[index];
            if commit < node.commit {
                self.checker
                    .fail(format!("node {index}: commit falls from {} to {}", node.commit.0, commit.0));
            }
            self.checker.committed(index, &node.live, node.commit, commit);
            node.commit = commit;
            self.acknowledge(index);
            if self.dice.chance(self.habits.short_reigns / 50) {
                self.trouble(index, 20, Trouble::Any);
            }
        }
        if let Some(confirmed) = confirmed {
            self.answer(index, confirmed.probe);
        }
    }

    /// Something will happen to a node soon.
    fn trouble(&mut self, index: usize, most_ms: u64, trouble: Trouble) {
        if !self.calm {
            self.nodes[index].trouble = Some((self.now_ms + self.dice.below(most_ms), trouble));
        }
    }

    /// Fills in what only the shell has, and sends.
    fn post(&mut self, from: usize, send: Send) {
        let node = &self.nodes[from];
        let (to, message) = match send {
            Send::Append { to, head, entries } => {
                let filled: Vec<_> = entries.iter().filter_map(|at| node.live.entry(at).cloned()).collect();
                let current = node.replica.as_ref().is_some_and(|replica| replica.is_current(&head));
                // The last sign of a leader that steps down may be lost like any other message.
                if !current {
                    return;
                }
                assert_eq!(filled.len(), entries.iter().count(), "a leader has what it sends");
                (to, Message::Append { head, entries: filled })
            }
            Send::Snapshot { to, head } => {
                let Some(replica) = &node.replica else { return };
                (to, Message::Snapshot { head, rids: replica.rids().remembered().collect() })
            }
            Send::Remember { to, head } => {
                let Some(replica) = &node.replica else { return };
                (to, Message::Remember { head, rids: replica.rids().known_upto(head.upto).collect() })
            }
            Send::Message { to, message } => {
                // A voter that falls and rises before the next candidate asks must remember.
                let votes =
                    matches!(&message, Message::VoteReply(r) if r.granted && r.kind == VoteKind::Real);
                if votes && self.dice.chance(self.habits.stumbles) {
                    self.trouble(from, 20, Trouble::Stumble);
                }
                (to, message)
            }
        };
        // The transport knows the member with its disk: nobody else gets what is meant for it.
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        self.net.send(Letter { from, to, message }, self.now_ms, &mut self.dice);
    }

    fn note_role(&mut self, index: usize, change: &RoleChange) {
        if change.role == Role::Leader {
            self.checker.leads(index, change.term);
            // Most rules are about leaders that do not get far.
            if self.dice.chance(self.habits.short_reigns) {
                let most_ms = [20, 60, 200][self.dice.index(3)];
                self.trouble(index, most_ms, Trouble::Any);
                let client = self.dice.index(self.clients.len());
                self.clients[client].next_try_ms = self.now_ms;
            }
        } else {
            self.nodes[index].forget_clients();
        }
    }

    pub(super) fn acknowledge(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_ref().filter(|replica| replica.role() == Role::Leader) else {
            return;
        };
        let (term, commit) = (replica.term(), replica.commit());
        let mut acked = Vec::new();
        node.waiters.retain(|waiter| {
            let done = waiter.term == term && waiter.position <= commit;
            if done {
                acked.push(waiter.rid);
            }
            !done
        });
        acked.into_iter().for_each(|rid| self.ack(rid));
    }

    pub(super) fn ack(&mut self, rid: Rid) {
        self.checker.acked(rid);
        // An answer may get lost, and some clients send again although it came.
        let lost = !self.calm && self.dice.chance(2_000);
        if let Some(client) = self.clients.iter_mut().find(|client| client.rid == rid) {
            client.done = !lost;
            client.next_try_ms = self.now_ms + self.dice.below(4_000);
        }
    }

    /// Answers what a quorum has confirmed.
    fn answer(&mut self, index: usize, probe: crate::Probe) {
        let node = &mut self.nodes[index];
        let Some(replica) = &node.replica else { return };
        let term = replica.term();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut node.questions).into_iter().partition(|(p, t, _)| *p <= probe && *t == term);
        node.questions = waiting;
        for (_, _, question) in ready {
            self.answer_one(index, question);
        }
    }

    fn answer_one(&mut self, index: usize, mut question: Question) {
        let node = &self.nodes[index];
        let above = self.plan.planted == Some(Planted::ServeAboveCommit);
        let upto = if above { node.live.end() } else { node.commit };
        let mut answer = Vec::new();
        for (tenant, root) in self.roots.iter().enumerate() {
            let version = &mut question.roots[tenant];
            if version.coverage < node.live.base.position {
                // The rows are gone here: the question is planned anew on the newest root.
                *version = root.newest();
            }
            answer.extend(root.records(*version));
            answer.extend(records_of(tenant, node, version.coverage, upto));
        }
        self.checker.answered(index, &answer, &question.must);
    }

    /// A leader publishes, releases what all roots cover, and everybody drops what is released.
    pub(super) fn publish(&mut self, index: usize) {
        if self.nodes[index].publication.as_ref().is_some_and(|publication| publication.due_ms <= self.now_ms)
        {
            self.put_root(index);
        }
        let least = self.roots.iter().map(|root| root.newest().coverage).min().unwrap_or_default();
        let most = self.roots.iter().map(|root| root.newest().coverage).max().unwrap_or_default();
        let beyond = self.plan.planted == Some(Planted::ReleaseBeyondLeast);
        let node = &mut self.nodes[index];
        let Some(replica) = node.replica.as_mut().filter(|_| node.paused_until_ms <= self.now_ms) else {
            return;
        };
        if replica.role() == Role::Leader && self.dice.chance(500) {
            replica.release((if beyond { most } else { least }).min(replica.commit()));
        }
        if replica.released() > replica.base() && self.dice.chance(400) {
            let span = replica.released().0 - replica.base().0;
            replica.drop_upto(Position(replica.base().0 + 1 + self.dice.below(span)));
        }
        if replica.role() == Role::Leader && node.publication.is_none() && self.dice.chance(400) {
            let tenant = self.dice.index(TENANTS);
            let from = self.roots[tenant].newest().coverage;
            let span = node.commit.0.saturating_sub(from.0);
            if from >= node.live.base.position && span > 0 {
                let upto = Position(from.0 + 1 + self.dice.below(span));
                let records = records_of(tenant, node, from, upto).collect();
                let due_ms = self.now_ms + self.dice.below(500);
                node.publication = Some(Publication { tenant, from, upto, records, due_ms });
            }
        }
        self.drain(index);
    }

    /// The put of the next root reaches the store. Its outcome is not trusted: the next cut starts from what is there.
    fn put_root(&mut self, index: usize) {
        let Some(put) = self.nodes[index].publication.take() else { return };
        let lost = self.dice.chance(1_000);
        if !lost {
            self.roots[put.tenant].commit(put.from, put.upto, &put.records);
        }
        if self.dice.chance(1_000) {
            // It was reported as failed, and is tried again as it was.
            let due_ms = self.now_ms + self.dice.below(500);
            self.nodes[index].publication = Some(Publication { due_ms, ..put });
        }
    }
}

fn records_of(tenant: usize, node: &Node, from: Position, upto: Position) -> impl Iterator<Item = Rid> {
    node.live.behind(from, upto).filter_map(move |(_, entry)| match &entry.body {
        Body::Record { rid, .. } if rid.0 % TENANTS as u128 == tenant as u128 => Some(*rid),
        _ => None,
    })
}
