//! One cell on this member: its replica, where its entries lie, and the carrying out of what the replica wants.
//!
//! Inputs take the lock, feed the replica and carry out its effects before they let go, so that writes reach the log in
//! the replica's order. Must not know: profiles, tenants, what a record says, sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_cell::{
    Body, Effects, Entry, EntryKind, Membership, Message, NotLeader, Options, Positions, ProposeError,
    Proposed, Replica, Role, Saved, Send, Status, Term, Write, WriteNo,
};
use hearth_common::error::chain;
use hearth_common::{CellId, JournalId, LogId, MemberId, Position, Rid};
use hearth_wal::{Lsn, WalError};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Shared;
use super::codec::{self, CellNumber, ENTRY_HEAD_BYTES, Logged, What};
use super::load::Slot;
use super::news::News;
use super::places::Places;

/// A member with less room than this in its log is not to lead.
const ROOM_BYTES: usize = 1 << 20;

/// Why a record is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Propose(#[from] ProposeError),
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// A cell that this member keeps.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: CellId,
    pub(crate) log: LogId,
    /// What roots call its log.
    pub(crate) journal: JournalId,
    pub(super) number: CellNumber,
    core: Mutex<Core>,
    news: watch::Sender<News>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Core {
    replica: Replica,
    places: Places,
    /// The log is on disk up to here.
    durable: Lsn,
    /// Writes that are not on disk, by the last entry of the log that they took.
    pending: VecDeque<(Lsn, WriteNo)>,
    /// Records whose entries were dropped and which are in no saved list yet.
    unsaved: Vec<u128>,
}

impl Cell {
    pub(super) fn new(
        (id, log, number): (CellId, LogId, CellNumber),
        (saved, slots): (Saved, Vec<Slot>),
        options: Options,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let base = saved.base.position;
        let replica = Replica::new(shared.me.clone(), options, saved, shared.monotonic());
        let core = Core {
            replica,
            places: Places::new(base, slots),
            durable: Lsn(0),
            pending: VecDeque::new(),
            unsaved: Vec::new(),
        };
        let news = News::new(base);
        let journal = JournalId::of_log(&id, log);
        let cell =
            Self { id, log, journal, number, core: Mutex::new(core), news: watch::channel(news).0, shared };
        cell.with(|_| ());
        Arc::new(cell)
    }

    /// Feeds the replica and carries out what it wants.
    fn with<T>(&self, input: impl FnOnce(&mut Replica) -> T) -> T {
        let mut core = self.core.lock();
        let out = input(&mut core.replica);
        self.carry_out(&mut core);
        out
    }

    /// Time has passed. A replica that cannot write any more falls silent: a leader's heartbeats would keep the others from
    /// electing one that can.
    pub(super) fn tick(&self) {
        if self.is_stopped() {
            return;
        }
        let now = self.shared.monotonic();
        self.with(|replica| {
            if replica.wake_at() <= now {
                replica.tick(now);
            }
        });
    }

    /// Whether the log takes records: there is room for a large one.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.wal.check_room(ROOM_BYTES).is_ok()
    }

    /// A message of another member came. Entries for which the log has no room are left out: the leader sends them again.
    pub(super) fn step(&self, from: &MemberId, mut message: Message) {
        if self.is_stopped() {
            return;
        }
        if matches!(message, Message::TimeoutNow { .. }) && !self.has_room() {
            // It would lead and could write nothing.
            return;
        }
        if let Message::Append { entries, .. } = &mut message {
            let fit = self.fitting(entries);
            if fit < entries.len() {
                self.shared.metrics.no_room.inc();
                entries.truncate(fit);
            }
        }
        let now = self.shared.monotonic();
        self.with(|replica| replica.step(from, message, now));
    }

    /// How many of these entries, from the first on, the log has room for. What elections and changes of members write is
    /// small and always taken: where nothing can be committed, nothing can be published, and no room is ever made.
    fn fitting(&self, entries: &[Entry]) -> usize {
        let bytes = |entry: &Entry| match entry.body {
            Body::Record { .. } => entry.meta().bytes as usize + ENTRY_HEAD_BYTES,
            Body::Begin | Body::Members(_) => 0,
        };
        let has_room = |bytes: usize| bytes == 0 || self.shared.wal.check_room(bytes).is_ok();
        if has_room(entries.iter().map(bytes).sum()) {
            return entries.len();
        }
        let mut sum = 0;
        let fits = |entry: &&Entry| {
            let own = bytes(entry);
            sum += own;
            own == 0 || has_room(sum)
        };
        entries.iter().take_while(fits).count()
    }

    /// The log is on disk up to here.
    pub(super) fn durable(&self, upto: Lsn) {
        let mut core = self.core.lock();
        core.durable = upto;
        let mut reached = None;
        while let Some((lsn, write)) = core.pending.front()
            && *lsn <= upto
        {
            reached = Some(*write);
            core.pending.pop_front();
        }
        let Some(write) = reached else { return };
        core.replica.durable(write);
        self.carry_out(&mut core);
    }

    /// Takes a record, unless it is known: it may be acknowledged when its place is committed in this term. Whoever leads in
    /// another term by now builds what its log held when it began, and would not build this.
    pub(crate) fn propose(&self, term: Term, rid: Rid, bytes: &Bytes) -> Result<Proposed, Refusal> {
        let mut core = self.core.lock();
        if core.replica.term() != term {
            let leader = core.replica.leader().cloned();
            return Err(ProposeError::from(NotLeader { leader }).into());
        }
        self.shared.wal.check_room(bytes.len() + ENTRY_HEAD_BYTES)?;
        let proposed = core.replica.propose(rid, bytes.clone())?;
        self.carry_out(&mut core);
        Ok(proposed)
    }

    /// Waits until this member is confirmed to lead after now, and says up to where everything is committed; else why not.
    pub(crate) async fn confirm(&self, term: Term) -> Result<Position, String> {
        let probe = self.with(Replica::read).map_err(|error| error.to_string())?;
        let mut news = self.news.subscribe();
        let reached = news.wait_for(|news| !news.leads(term) || news.confirmed.probe >= probe).await;
        match reached {
            Ok(news) if news.leads(term) => Ok(news.confirmed.upto.max(news.committed)),
            Ok(news) => Err(why_not(&news)),
            Err(_) => Err("the cell is gone".to_owned()),
        }
    }

    /// Waits until a place is committed while this member leads in the term; else says why not.
    pub(crate) async fn committed(&self, position: Position, term: Term) -> Result<(), String> {
        let mut news = self.news.subscribe();
        let reached = news.wait_for(|news| news.committed >= position || !news.leads(term)).await;
        match reached {
            Ok(news) if news.leads(term) => Ok(()),
            Ok(news) => Err(why_not(&news)),
            Err(_) => Err("the cell is gone".to_owned()),
        }
    }

    /// Waits at most so long until a place is committed while this member leads in the term, and says what is; else why not.
    pub(crate) async fn committed_within(
        &self,
        position: Position,
        term: Term,
        patience: Duration,
    ) -> Result<Position, String> {
        let waited = tokio::time::timeout(patience, self.committed(position, term)).await;
        waited.unwrap_or(Ok(()))?;
        let news = self.news.borrow();
        if news.leads(term) { Ok(news.committed) } else { Err(why_not(&news)) }
    }

    /// Whether another member leads it, as far as is known here.
    pub(crate) fn is_led_by_another(&self) -> bool {
        let news = self.news.borrow();
        news.stopped.is_none() && news.leader.as_ref().is_some_and(|leader| *leader != self.shared.me)
    }

    /// What happens.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// The last place of the log.
    pub(crate) fn end(&self) -> Position {
        self.core.lock().replica.end()
    }

    /// The places behind the base.
    pub(crate) fn kept(&self) -> Positions {
        let core = self.core.lock();
        Positions { first: core.places.base().next(), last: core.replica.end() }
    }

    /// Everything up to here is covered by committed roots: no copy is needed any more. Beyond the last record there may be
    /// entries of the log's own that are not committed yet: they stay. Nothing is done in another term: who led in this one does
    /// not know what came since.
    pub(crate) fn release(&self, term: Term, upto: Position) {
        self.with(|replica| {
            if replica.term() != term {
                return;
            }
            let upto = upto.min(replica.commit());
            replica.release(upto);
            replica.drop_upto(upto);
        });
    }

    /// The end of what was dropped.
    pub(super) fn base(&self) -> Position {
        self.core.lock().places.base()
    }

    /// The other member cannot be reached: a hint.
    pub(super) fn unreachable(&self, member: &MemberId) {
        let now = self.shared.monotonic();
        self.with(|replica| replica.peer_unreachable(member, now));
    }

    /// Whether nothing of its log is here: this member was not added yet, or has left.
    pub(crate) fn is_blank(&self) -> bool {
        self.core.lock().replica.is_blank()
    }

    /// Who keeps the cell now, by the roster.
    pub(crate) fn hear_of(&self, members: &[MemberId]) {
        self.with(|replica| replica.hear_of(members.iter().cloned()));
    }

    /// Whether the copy here does not count yet, in words: another member of the cell must not go meanwhile.
    pub(crate) fn why_not_whole(&self) -> Option<String> {
        let core = self.core.lock();
        let (id, at) = (&self.id.0, core.replica.end().0);
        if core.replica.is_damaged() {
            return Some(format!(
                "the disk lost a part of the log of cell {id}: the other members send it, {at} entries are here"
            ));
        }
        core.replica
            .is_learning()
            .then(|| format!("the log of cell {id} is being copied to this member, {at} entries are here"))
    }

    /// For pages and metrics.
    pub(crate) fn status(&self) -> Status {
        self.core.lock().replica.status()
    }

    /// The members as the log says.
    pub(crate) fn membership(&self) -> Membership {
        self.core.lock().replica.membership().clone()
    }

    /// Changes members or hands leadership over.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Replica) -> T) -> T {
        self.with(change)
    }

    /// Takes out records that must be in a saved list before segments go; [`Cell::put_back`] undoes it.
    pub(super) fn take_unsaved(&self) -> Vec<u128> {
        std::mem::take(&mut self.core.lock().unsaved)
    }

    pub(super) fn put_back(&self, ids: Vec<u128>) {
        self.core.lock().unsaved.extend(ids);
    }

    /// The record at a place, from memory or disk: `Ok(None)` if there is none, or it is lost. Blocks on the disk.
    pub(crate) fn record_at(&self, position: Position) -> Result<Option<Bytes>, WalError> {
        match self.entry_at(position)? {
            Some(Entry { body: Body::Record { bytes, .. }, .. }) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// The entry at a place that is in the log.
    fn entry_at(&self, position: Position) -> Result<Option<Entry>, WalError> {
        let (meta, location) = {
            let core = self.core.lock();
            match core.places.get(position) {
                None => return Ok(None),
                Some(kept) => {
                    if let Some(entry) = kept.in_memory() {
                        return Ok(Some(entry));
                    }
                    (kept.slot.meta.clone(), kept.slot.location)
                }
            }
        };
        let Some(location) = location else { return Ok(None) };
        let bytes = self.shared.wal.read(location)?;
        let body = match (codec::read(&bytes), meta.kind) {
            (Some((_, Logged::Entry { what: What::Record(bytes), .. })), EntryKind::Record(rid)) => {
                Body::Record { rid, bytes }
            }
            _ => return Ok(None),
        };
        Ok(Some(Entry { term: meta.term, body }))
    }

    fn carry_out(&self, core: &mut Core) {
        let effects = core.replica.effects();
        if effects.is_empty() {
            return;
        }
        let Effects { writes, sends, committed, released, role, confirmed, violation } = effects;
        for (write_no, write) in writes {
            match self.write(core, write) {
                Ok(lsn) => core.pending.push_back((lsn, write_no)),
                // Nothing is acknowledged that depends on it.
                Err(error) => self.stop(&chain(&error)),
            }
        }
        if let Some(violation) = violation {
            tracing::error!(cell = %self.id.0, error = %violation, "a rule of the protocol broke: the cell stops");
            self.stop(&violation.to_string());
        }
        let alone = core.replica.membership().members().count() <= 1;
        core.places.forget_recent(alone, core.durable);
        if committed.is_some() || role.is_some() || confirmed.is_some() {
            self.news.send_modify(|news| news.note(committed, role, confirmed));
        }
        for send in sends {
            self.send(core, send);
        }
        // A follower drops what its leader released; a leader does so itself.
        if let Some(released) = released
            && core.replica.role() != Role::Leader
        {
            core.replica.drop_upto(released);
            self.carry_out(core);
        }
    }

    /// Why nothing is written or answered any more, if so.
    pub(crate) fn why_stopped(&self) -> Option<Arc<str>> {
        self.news.borrow().stopped.clone()
    }

    /// Ends everything that waits for the cell.
    pub(super) fn stop(&self, why: &str) {
        self.news.send_modify(|news| _ = news.stopped.get_or_insert_with(|| Arc::from(why)));
    }

    /// An entry cannot be read back. As after a failed write the log is given up until the process starts again: it reads
    /// the log anew then, knows what is lost, and gets that from the other members.
    pub(crate) fn give_up(&self, position: Position, error: &WalError) {
        let why = format!(
            "the entry of cell {} at {} cannot be read back: {}",
            self.id.0,
            position.0,
            chain(error)
        );
        if self.shared.unreadable.set(Arc::from(&*why)).is_ok() {
            tracing::error!(error = %why, "the log is given up until the process restarts");
        }
        self.stop(&why);
    }

    fn is_stopped(&self) -> bool {
        self.news.borrow().stopped.is_some()
    }

    fn write(&self, core: &mut Core, write: Write) -> Result<Lsn, WalError> {
        match write {
            Write::Pledge(pledge) => self.shared.pledge(self.number, pledge),
            Write::Base { base, reset, rids } => {
                let ids: Vec<u128> = rids.iter().map(|(rid, _)| rid.0).collect();
                if reset {
                    // No segment of this disk has them.
                    self.shared.save_ids(self.number, &ids)?;
                } else {
                    core.unsaved.extend(ids);
                }
                core.places.rebase(base.position, reset);
                self.shared.base(self.number, base, reset)
            }
            Write::Remember { rids } => {
                let ids: Vec<u128> = rids.iter().map(|(rid, _)| rid.0).collect();
                self.shared.save_ids(self.number, &ids)?;
                // The list is on disk by now; the log says nothing of it.
                Ok(self.shared.wal.stats().appended)
            }
            Write::Entries { first, entries } => {
                core.places.cut(first);
                let mut last = Lsn(0);
                for (position, entry) in (first.0..).map(Position).zip(entries) {
                    let (head, body) = codec::entry(self.number, position, &entry);
                    let appended = self.shared.append(self.number, position, &head, body)?;
                    last = appended.lsn;
                    core.places.push(position, &entry, &appended);
                }
                Ok(last)
            }
        }
    }

    fn send(&self, core: &Core, send: Send) {
        let post = &self.shared.post;
        match send {
            Send::Message { to, message } => post.send(&to, &self.id, self.log, message),
            Send::Snapshot { to, head } => {
                let rids = core.replica.rids().remembered().collect();
                post.send(&to, &self.id, self.log, Message::Snapshot { head, rids });
            }
            Send::Remember { to, head } => {
                let rids = core.replica.rids().known_upto(head.upto).collect();
                post.send(&to, &self.id, self.log, Message::Remember { head, rids });
            }
            Send::Append { to, head, entries } => {
                let in_memory: Option<Vec<Entry>> =
                    entries.iter().map(|position| core.places.get(position)?.in_memory()).collect();
                match in_memory {
                    Some(entries) => post.send(&to, &self.id, self.log, Message::Append { head, entries }),
                    None => self.shared.send_from_disk(self.id.clone(), to, head, entries),
                }
            }
        }
    }

    /// Fills an append with entries from the disk, and sends it if that is still right.
    pub(super) fn send_from_disk(&self, to: &MemberId, head: hearth_cell::AppendHead, wanted: Positions) {
        let mut entries = Vec::new();
        for position in wanted.iter() {
            match self.entry_at(position) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(cell = %self.id.0, position = position.0, error = chain(&error),
                        "an entry could not be read back for another member");
                    break;
                }
            }
        }
        if self.core.lock().replica.is_current(&head) {
            self.shared.post.send(to, &self.id, self.log, Message::Append { head, entries });
        }
    }
}

fn why_not(news: &News) -> String {
    match (&news.stopped, &news.leader) {
        (Some(why), _) => format!("the write-ahead log has failed: {why}"),
        (None, Some(leader)) => format!("'{}' leads the cell now", leader.instance),
        (None, None) => "the cell has no leader at the moment".to_owned(),
    }
}
