//! The live journal: positions, the log behind them, and what of it is on disk.

use std::sync::Arc;

use bytes::Bytes;
use hearth_common::{Position, Rid, TimestampNs};
use hearth_wal::{Lsn, Wal, WalError, WalEvents};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::rid_index::RidIndex;

/// What an entry of the log is: written before the record.
pub(crate) const KIND_DATA: u8 = 1;
/// Kind and position.
pub(crate) const ENTRY_HEAD_BYTES: usize = 9;

/// What is known of the log's end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// All entries up to here are on disk.
    pub(crate) upto: u64,
    /// Writing has ended for good.
    pub(crate) failed: Option<Arc<str>>,
}

/// Receives what the log reports.
#[derive(Debug)]
pub(crate) struct Reports(pub(crate) watch::Sender<Durable>);

impl WalEvents for Reports {
    fn durable(&self, upto: Lsn) {
        self.0.send_modify(|durable| durable.upto = upto.0);
    }

    fn failed(&self, error: &WalError) {
        let text: Arc<str> = hearth_common::error::chain(error).into();
        tracing::error!(error = %text, "the write-ahead log takes nothing more: restart the process");
        self.0.send_modify(|durable| durable.failed = Some(text));
    }
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is the entry at this position.
    New(Position),
    /// The same record was taken before, at this position (0: durable).
    Known(Position),
}

#[derive(Debug)]
struct State {
    last: Position,
    rids: RidIndex,
    /// Taken in this life and not yet in a saved list: (position, rid).
    unsaved: Vec<(u64, u128)>,
}

/// The journal of this life.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) wal: Wal,
    state: Mutex<State>,
    pub(crate) durable: watch::Receiver<Durable>,
}

impl Journal {
    pub(crate) fn new(wal: Wal, rids: RidIndex, durable: watch::Receiver<Durable>) -> Self {
        let state = State { last: Position(0), rids, unsaved: Vec::new() };
        Self { wal, state: Mutex::new(state), durable }
    }

    /// Appends a record unless it is known. Positions are the numbers of the log's entries: nothing else is appended.
    pub(crate) fn append(&self, rid: Rid, record: &Bytes, now: TimestampNs) -> Result<Appended, WalError> {
        let mut state = self.state.lock();
        if let Some(position) = state.rids.find(rid) {
            return Ok(Appended::Known(position));
        }
        let position = state.last.next();
        let mut head = [KIND_DATA; ENTRY_HEAD_BYTES];
        head[1..].copy_from_slice(&position.0.to_le_bytes());
        let lsn = self.wal.append(&head, record.clone())?.lsn;
        assert_eq!(lsn.0, position.0, "only the journal appends to its log");
        state.last = position;
        state.rids.insert(rid, position, now);
        state.unsaved.push((position.0, rid.0));
        Ok(Appended::New(position))
    }

    /// Remembers a record of an earlier life.
    pub(crate) fn remember(&self, rid: Rid, now: TimestampNs) {
        self.state.lock().rids.insert(rid, Position(0), now);
    }

    /// Remembers a record of an earlier life that must be in the next saved list, too.
    pub(crate) fn remember_and_save(&self, rid: Rid, now: TimestampNs) {
        let mut state = self.state.lock();
        state.rids.insert(rid, Position(0), now);
        state.unsaved.push((0, rid.0));
    }

    /// The last position given out.
    pub(crate) fn last(&self) -> Position {
        self.state.lock().last
    }

    /// The last position on disk.
    pub(crate) fn visible(&self) -> Position {
        Position(self.durable.borrow().upto)
    }

    /// Why nothing more is written, if so.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.durable.borrow().failed.clone()
    }

    /// Waits until a position is on disk.
    pub(crate) async fn wait(&self, position: Position) -> Result<(), String> {
        let mut durable = self.durable.clone();
        let reached =
            durable.wait_for(|durable| durable.upto >= position.0 || durable.failed.is_some()).await;
        match reached {
            Ok(durable) if durable.upto >= position.0 => Ok(()),
            Ok(durable) => Err(durable.failed.as_deref().unwrap_or_default().to_owned()),
            Err(_) => Err("the write-ahead log is closed".to_owned()),
        }
    }

    /// Takes out the records that are on disk and in no saved list; [`Journal::put_back`] undoes it.
    pub(crate) fn take_unsaved(&self) -> Vec<(u64, u128)> {
        let durable = self.visible().0;
        let mut state = self.state.lock();
        let (taken, kept) =
            std::mem::take(&mut state.unsaved).into_iter().partition(|(at, _)| *at <= durable);
        state.unsaved = kept;
        taken
    }

    /// See [`Journal::take_unsaved`].
    pub(crate) fn put_back(&self, taken: Vec<(u64, u128)>) {
        self.state.lock().unsaved.extend(taken);
    }

    /// Forgets old records; returns how many are known.
    pub(crate) fn forget(&self, now: TimestampNs) -> usize {
        let mut state = self.state.lock();
        state.rids.forget(now);
        state.rids.len()
    }
}
