//! Which writes are on disk, and how much of the log that makes durable.

use std::collections::VecDeque;

use hearth_common::Position;

use crate::types::WriteNo;

/// What a replica knows of its disk.
#[derive(Clone, Hash, Debug)]
pub(super) struct Disk {
    issued: WriteNo,
    durable: WriteNo,
    /// (write, the log is on disk up to here once it is).
    pending: VecDeque<(WriteNo, Position)>,
    durable_end: Position,
}

impl Disk {
    /// A disk that holds the log up to `end`.
    pub(super) fn new(end: Position) -> Self {
        Self { issued: WriteNo(0), durable: WriteNo(0), pending: VecDeque::new(), durable_end: end }
    }

    /// A write is handed out; the log ends at `end`.
    pub(super) fn issue(&mut self, end: Position) -> WriteNo {
        self.issued = self.issued.next();
        self.pending.push_back((self.issued, end));
        self.issued
    }

    /// The write holds entries up to `end` by now.
    pub(super) fn extend(&mut self, write: WriteNo, end: Position) {
        if let Some((last, upto)) = self.pending.back_mut()
            && *last == write
        {
            *upto = end;
        }
    }

    /// The log was cut at `from`: what is on disk behind it does not belong to it any more.
    pub(super) fn truncate(&mut self, from: Position) {
        let end = Position(from.0.saturating_sub(1));
        self.durable_end = self.durable_end.min(end);
        for (_, upto) in &mut self.pending {
            *upto = (*upto).min(end);
        }
    }

    /// Writes up to `upto` are on disk. Says whether that is news.
    pub(super) fn durable(&mut self, upto: WriteNo) -> bool {
        if upto <= self.durable || upto > self.issued {
            return false;
        }
        self.durable = upto;
        while let Some((write, end)) = self.pending.front().copied()
            && write <= upto
        {
            self.durable_end = self.durable_end.max(end);
            self.pending.pop_front();
        }
        true
    }

    /// The last write on disk.
    pub(super) fn durable_no(&self) -> WriteNo {
        self.durable
    }

    /// The last write handed out.
    pub(super) fn issued_no(&self) -> WriteNo {
        self.issued
    }

    /// The log is on disk up to here.
    pub(super) fn durable_end(&self) -> Position {
        self.durable_end
    }
}
