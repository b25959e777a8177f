//! What goes wrong in a world, and who repairs the cell: an operator that replaces members.

use hearth_common::MemberId;

use super::disk::Image;
use super::member;
use super::net::Weather;
use super::node::{Node, Trouble};
use super::world::{Planted, STEP_MS, World};
use crate::{Change, Membership, Role};

/// A member takes the place of another, one change after the other.
#[derive(Debug)]
pub(super) struct Mover {
    pub(super) old: usize,
    pub(super) new: usize,
}

impl World {
    /// Maybe something goes wrong now.
    pub(super) fn faults(&mut self) {
        let nodes = self.nodes.len();
        let now_ms = self.now_ms;
        for index in 0..nodes {
            let trouble = self.nodes[index].trouble.take_if(|(at, _)| *at <= now_ms);
            match trouble.map(|(_, trouble)| (trouble, self.dice.below(4))) {
                None => {}
                Some((Trouble::Any, 0 | 1)) => {
                    self.net.mend();
                    self.net.cut_off(&[index], nodes, &mut self.dice);
                }
                Some((Trouble::Any, 2)) => {
                    self.nodes[index].paused_until_ms = now_ms + self.dice.below(900);
                }
                Some((Trouble::Any, _)) => self.crash(index),
                Some((Trouble::Stumble, _)) => {
                    self.crash(index);
                    self.nodes[index].restart_at_ms = now_ms;
                }
            }
        }
        (0..self.habits.faults).for_each(|_| self.fault());
    }

    fn fault(&mut self) {
        let nodes = self.nodes.len();
        let at = self.dice.index(nodes);
        match self.dice.below(10_000) / 10 {
            0..8 => self.crash(at),
            8 => (0..nodes).for_each(|index| self.crash(index)),
            9..16 => {
                let node = &mut self.nodes[at];
                let most_ms = if self.dice.chance(2_000) { 3_000 } else { 600 };
                node.paused_until_ms = self.now_ms + self.dice.below(most_ms);
            }
            16..22 => self.net.cut_off(&[at], nodes, &mut self.dice),
            22..24 => self.net.cut_off(&[at, (at + 1) % nodes], nodes, &mut self.dice),
            24..38 => self.net.mend(),
            38..40 => self.net.weather = Weather::draw(&mut self.dice),
            40..44 => self.damage(at),
            44..46 => self.lose_disk(at),
            46..53 => self.begin_move(at),
            53..56 => self.hand_over(at),
            56..60 => self.hint_unreachable(at),
            _ => {}
        }
    }

    /// Ends all faults.
    pub(super) fn come_to_rest(&mut self) {
        self.calm = true;
        self.net.mend();
        self.net.weather = Weather::FINE;
        self.habits.sync_ms = 10;
        for node in &mut self.nodes {
            node.restart_at_ms = node.restart_at_ms.min(self.now_ms + STEP_MS);
            node.paused_until_ms = node.paused_until_ms.min(self.now_ms + STEP_MS);
        }
    }

    fn crash(&mut self, index: usize) {
        if self.nodes[index].gone || self.nodes[index].replica.is_none() {
            return;
        }
        let kept = self.dice.index(self.nodes[index].disk.pending() + 1);
        let most_ms = [20, 20, 400, 400, 3_000][self.dice.index(5)];
        let restart_at_ms = self.now_ms + self.dice.below(most_ms);
        self.nodes[index].crash(kept, restart_at_ms);
        if self.dice.chance(3_000) {
            (0..self.nodes.len()).for_each(|other| self.hint_unreachable(other));
        }
    }

    /// Whether a member lacks what it acknowledged. A second one would lose data for good, as in any protocol.
    fn is_broken(&self) -> bool {
        let lost = self.movers.iter().any(|mover| self.nodes[mover.old].gone);
        lost || self.nodes.iter().any(|node| !node.gone && self.is_damaged(node))
    }

    fn is_damaged(&self, node: &Node) -> bool {
        node.disk.image.pledge.damaged || node.replica.as_ref().is_some_and(|r| r.pledge().damaged)
    }

    /// A crash, after which old entries cannot be read.
    fn damage(&mut self, index: usize) {
        if self.plan.members < 3 || self.nodes[index].gone || self.nodes[index].removed || self.is_broken() {
            return;
        }
        self.crash(index);
        let node = &mut self.nodes[index];
        let image = &mut node.disk.image;
        let readable = self.dice.index(image.entries.len() + 1);
        image.entries.truncate(readable);
        // What was dropped lately is known from the log only.
        let forgotten = self.dice.index(image.remembered.len() + 1);
        image.remembered.truncate(forgotten);
        image.pledge.damaged = true;
        node.live = image.clone();
        // Some send again late what was taken long ago.
        for client in self.clients.iter_mut().filter(|client| client.done) {
            if self.dice.chance(3_000) {
                client.done = false;
                client.next_try_ms = self.now_ms + 500 + self.dice.below(5_000);
            }
        }
    }

    /// A disk is gone for good. Its instance comes back as another member, and the operator replaces the old one.
    fn lose_disk(&mut self, index: usize) {
        let out = self.nodes[index].gone || self.nodes[index].removed;
        if self.plan.members < 3 || out || self.is_broken() || !self.movers.is_empty() {
            return;
        }
        self.crash(index);
        if self.plan.planted == Some(Planted::EmptyDiskUnderOldName) {
            let membership = Membership::of((0..self.plan.members).map(member));
            let node = &mut self.nodes[index];
            node.disk.image = Image::default();
            node.disk.image.base.membership = membership;
            node.live = node.disk.image.clone();
            return;
        }
        self.nodes[index].gone = true;
        self.replace(index);
    }

    fn begin_move(&mut self, index: usize) {
        let moves = if self.plan.members < 3 { 0 } else { 1 };
        let busy = self.movers.iter().any(|mover| mover.old == index || mover.new == index);
        if self.nodes[index].gone
            || self.nodes[index].removed
            || self.is_broken()
            || busy
            || self.movers.len() > moves
        {
            return;
        }
        self.replace(index);
    }

    fn replace(&mut self, old: usize) {
        let again =
            (0..self.nodes.len()).find(|index| self.nodes[*index].removed && !self.nodes[*index].gone);
        let new = match again.filter(|index| *index != old && self.dice.chance(9_000)) {
            Some(again) => again,
            None => {
                let mut node = Node::new(member(self.nodes.len()), Image::default());
                node.restart_at_ms = self.now_ms + self.dice.below(200);
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[new].removed = false;
        self.movers.push(Mover { old, new });
    }

    fn hand_over(&mut self, index: usize) {
        let to = self.nodes[self.dice.index(self.nodes.len())].id.clone();
        if let Some(replica) = &mut self.nodes[index].replica {
            let _refused_is_fine = replica.transfer_to(&to);
            self.drain(index);
        }
    }

    fn hint_unreachable(&mut self, index: usize) {
        let now = self.now();
        let leader = self.nodes[index].replica.as_ref().and_then(|replica| replica.leader().cloned());
        if let (Some(replica), Some(leader)) = (&mut self.nodes[index].replica, leader) {
            replica.peer_unreachable(&leader, now);
            self.drain(index);
        }
    }

    /// The operator's next steps: whatever a leader says is missing to each replacement.
    pub(super) fn move_members(&mut self) {
        for at in (0..self.movers.len()).rev() {
            let Mover { old, new } = self.movers[at];
            let (old_id, new_id) = (self.nodes[old].id.clone(), self.nodes[new].id.clone());
            for index in 0..self.nodes.len() {
                if !self.nodes[index].runs(self.now_ms) || !self.dice.chance(500) {
                    continue;
                }
                let Some(replica) = self.nodes[index].replica.as_mut() else { continue };
                if replica.role() != Role::Leader {
                    continue;
                }
                let settled = replica.log().membership_position() <= replica.commit();
                match next_change(replica.membership(), &old_id, &new_id) {
                    Some(change) => {
                        let _refused_is_fine = replica.change_members(&change);
                        self.drain(index);
                    }
                    None if settled => {
                        self.retire(old);
                        self.movers.remove(at);
                        break;
                    }
                    None => {}
                }
            }
        }
    }

    /// A removed member is shut down, or runs on and has to find out; then it may be added again.
    fn retire(&mut self, index: usize) {
        if !self.nodes[index].gone && self.dice.chance(8_000) {
            self.nodes[index].removed = true;
            return;
        }
        let pending = self.nodes[index].disk.pending();
        self.nodes[index].crash(pending, u64::MAX);
        self.nodes[index].gone = true;
    }
}

pub(super) fn next_change(membership: &Membership, old: &MemberId, new: &MemberId) -> Option<Change> {
    if membership.learners.contains(new) {
        Some(Change::Promote(new.clone()))
    } else if !membership.voters.contains(new) {
        Some(Change::AddLearner(new.clone()))
    } else {
        membership.contains(old).then(|| Change::Remove(old.clone()))
    }
}
