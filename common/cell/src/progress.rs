//! How far one peer is: what it has on disk, what is under way to it, when it was heard.
//!
//! Owned by a leader for each other member, in one term. Decides what to send next, and sends nothing.

use std::collections::VecDeque;
use std::time::Duration;

use hearth_common::Position;

use crate::options::Limits;
use crate::types::{Life, Positions, Probe};

/// How entries are sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Mode {
    /// One append at a time, until the place is found where the logs agree.
    Searching,
    /// Appends follow each other without waiting.
    Streaming,
    /// It was sent the leader's base.
    Snapshot,
}

/// An append under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Flight {
    entries: Positions,
    bytes: u64,
}

/// How far a peer is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Progress {
    /// Its newest life that was heard of.
    pub(crate) life: Life,
    /// It has the leader's log on disk up to here.
    pub(crate) matched: Position,
    /// The next entry to be sent.
    pub(crate) next: Position,
    pub(crate) mode: Mode,
    flight: VecDeque<Flight>,
    flight_bytes: u64,
    /// When `matched` last moved, or something was sent to a peer to which nothing was under way.
    moved_at: Duration,
    /// When it last answered.
    pub(crate) heard_at: Option<Duration>,
    /// The newest probe that it answered.
    pub(crate) echoed: Probe,
    /// When it was last sent the records that it may have lost.
    pub(crate) reminded_at: Option<Duration>,
}

impl Progress {
    /// A peer of which nothing is known.
    pub(crate) fn new(next: Position, now: Duration) -> Self {
        Self {
            life: Life(0),
            matched: Position(0),
            next,
            mode: Mode::Searching,
            flight: VecDeque::new(),
            flight_bytes: 0,
            moved_at: now,
            heard_at: None,
            echoed: Probe(0),
            reminded_at: None,
        }
    }

    /// Whether another append may be sent now.
    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        match self.mode {
            Mode::Searching => self.flight.is_empty(),
            Mode::Streaming => {
                self.flight_bytes < limits.flight_bytes && self.flight.len() < limits.flight_batches
            }
            Mode::Snapshot => false,
        }
    }

    /// Entries were sent.
    pub(crate) fn sent(&mut self, entries: Positions, bytes: u64, now: Duration) {
        if self.flight.is_empty() {
            self.moved_at = now;
        }
        self.flight.push_back(Flight { entries, bytes });
        self.flight_bytes += bytes;
        self.next = entries.last.next();
    }

    /// The base was sent.
    pub(crate) fn sent_snapshot(&mut self, now: Duration) {
        self.start_over(now);
        self.mode = Mode::Snapshot;
    }

    /// The peer answers in this life. False if the answer is of a former one and counts for nothing.
    pub(crate) fn is_of_life(&mut self, life: Life, now: Duration) -> bool {
        if life > self.life {
            if self.life > Life(0) {
                // What it acknowledged before may be lost: count only what it says now. The last entry of that is sent
                // again, so that it says so even if there is nothing new to send.
                self.start_over(now);
                self.next = self.next.min(self.matched).max(Position(1));
                self.matched = Position(0);
            }
            self.life = life;
            self.reminded_at = None;
        }
        life == self.life
    }

    /// The peer has the log on disk up to here. Says whether that is news.
    pub(crate) fn held(&mut self, durable_end: Position, base: Position, now: Duration) -> bool {
        let moved = durable_end > self.matched;
        if moved {
            self.matched = durable_end;
            self.moved_at = now;
        }
        while self.flight.front().is_some_and(|flight| flight.entries.last <= durable_end) {
            self.flight_bytes -= self.flight.pop_front().map_or(0, |flight| flight.bytes);
            self.mode = Mode::Streaming;
        }
        if self.next <= self.matched {
            self.next = self.matched.next();
        }
        if self.mode == Mode::Snapshot && self.matched >= base {
            self.mode = Mode::Streaming;
            self.next = self.matched.next();
        }
        moved
    }

    /// The peer cannot take an append behind `prev`; the logs may agree at `agree` at best.
    pub(crate) fn missing(&mut self, prev: Position, agree: Position, now: Duration) {
        let stale = match self.mode {
            Mode::Searching => self.flight.front().is_none_or(|flight| flight.entries.first.0 - 1 != prev.0),
            Mode::Streaming => prev <= self.matched || prev >= self.next,
            Mode::Snapshot => true,
        };
        if !stale {
            self.start_over(now);
            self.next = agree.min(Position(prev.0.saturating_sub(1))).max(self.matched).next();
        }
    }

    /// Whether something is under way and nothing has been acknowledged for too long.
    pub(crate) fn is_silent(&self, resend: Duration, now: Duration) -> bool {
        let waiting = self.mode == Mode::Snapshot || !self.flight.is_empty();
        waiting && now.saturating_sub(self.moved_at) >= resend
    }

    /// Forgets what is under way and goes back to what the peer is known to have.
    pub(crate) fn start_over(&mut self, now: Duration) {
        if self.matched > Position(0) {
            self.next = self.matched.next();
        } else if let Some(flight) = self.flight.front() {
            self.next = flight.entries.first;
        }
        self.mode = Mode::Searching;
        self.flight.clear();
        self.flight_bytes = 0;
        self.moved_at = now;
    }

    /// Bytes under way.
    pub(crate) fn flight_bytes(&self) -> u64 {
        self.flight_bytes
    }
}
