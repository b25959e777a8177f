//! A member with its shell: what an ingester does around a replica.

use std::collections::BTreeSet;

use hearth_common::{MemberId, Position, Rid};

use super::disk::{Disk, Image};
use super::root::Version;
use crate::{Probe, Replica, Term};

/// A client's push that waits for its commit.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) term: Term,
    pub(super) position: Position,
    pub(super) rid: Rid,
}

/// A question under way.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What was acknowledged before it began.
    pub(super) must: BTreeSet<Rid>,
    /// The roots it was planned on, by tenant.
    pub(super) roots: Vec<Version>,
    /// When the leader is asked.
    pub(super) ask_at_ms: u64,
}

/// A publication under way.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) tenant: usize,
    pub(super) from: Position,
    pub(super) upto: Position,
    pub(super) records: Vec<Rid>,
    pub(super) due_ms: u64,
}

/// What is about to happen to a node at the worst time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// It crashes and is back at once.
    Stumble,
    /// It is cut off, pauses or crashes.
    Any,
}

/// A member of the cell, running or not.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: MemberId,
    pub(super) replica: Option<Replica>,
    pub(super) disk: Disk,
    /// What is on disk when all pending writes are.
    pub(super) live: Image,
    /// The disk is gone, or the member was removed and shut down: it never comes back.
    pub(super) gone: bool,
    /// It was removed and runs on: it finds out by itself.
    pub(super) removed: bool,
    pub(super) restart_at_ms: u64,
    pub(super) paused_until_ms: u64,
    /// Something happens to it then.
    pub(super) trouble: Option<(u64, Trouble)>,
    pub(super) sync_at_ms: Option<u64>,
    /// What the shell has seen committed in this life.
    pub(super) commit: Position,
    pub(super) waiters: Vec<Waiter>,
    pub(super) questions: Vec<(Probe, Term, Question)>,
    pub(super) publication: Option<Publication>,
}

impl Node {
    pub(super) fn new(id: MemberId, image: Image) -> Self {
        Self {
            id,
            replica: None,
            disk: Disk::holding(image.clone()),
            live: image,
            gone: false,
            removed: false,
            restart_at_ms: 0,
            paused_until_ms: 0,
            trouble: None,
            sync_at_ms: None,
            commit: Position(0),
            waiters: Vec::new(),
            questions: Vec::new(),
            publication: None,
        }
    }

    /// Power goes. Of the pending writes the first `kept` had reached the disk.
    pub(super) fn crash(&mut self, kept: usize, restart_at_ms: u64) {
        self.disk.crash(kept);
        self.live = self.disk.image.clone();
        self.replica = None;
        self.sync_at_ms = None;
        self.restart_at_ms = restart_at_ms;
        self.paused_until_ms = 0;
        self.trouble = None;
        self.forget_clients();
    }

    /// Whoever waits here is told to go elsewhere.
    pub(super) fn forget_clients(&mut self) {
        self.waiters.clear();
        self.questions.clear();
    }

    pub(super) fn runs(&self, now_ms: u64) -> bool {
        self.replica.is_some() && self.paused_until_ms <= now_ms
    }
}
