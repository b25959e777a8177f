//! The log as its owner holds it: append, release, close.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, Folder};
use crate::error::WalError;
use crate::format::{
    ENTRY_HEADER_BYTES, MAX_PREAMBLE_BYTES, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, file_name,
};
use crate::options::{WalEvents, WalOptions};
use crate::recover::recover;
use crate::replay::Replay;
use crate::state::{End, State};
use crate::writer::Writer;
use crate::{Appended, Location, Lsn, SegmentNo};

/// An open log. Appending never blocks on the disk; dropping it closes it.
#[derive(Debug)]
pub struct Wal {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    writer: Mutex<How>,
}

/// Who writes.
#[derive(Debug)]
enum How {
    /// A thread of its own.
    Thread(JoinHandle<()>),
    /// Whoever calls [`Wal::write_queued`].
    Caller(Box<Writer>),
    /// Nobody any more.
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: WalOptions,
    pub(crate) state: Mutex<State>,
    /// Signalled when there is work for the writer.
    pub(crate) work: Condvar,
}

/// A segment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub segment: SegmentNo,
    /// Its first entry; `None` if an earlier life wrote it.
    pub first_lsn: Option<Lsn>,
    /// Its length, queued entries included.
    pub bytes: u64,
}

/// Figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes of all segments, queued entries included.
    pub bytes: u64,
    /// The quota that `bytes` may not pass.
    pub quota_bytes: u64,
    /// Bytes free on its disk when something was written last.
    pub free_bytes: u64,
    /// Bytes that must stay free.
    pub reserve_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Bytes accepted and not yet durable.
    pub waiting_bytes: u64,
    /// The last entry accepted.
    pub appended: Lsn,
    /// The last entry on disk.
    pub durable: Lsn,
    /// Groups written by this process.
    pub groups: u64,
    /// Bytes written by this process.
    pub written_bytes: u64,
    /// Whether a write or fsync failed.
    pub failed: bool,
}

impl Wal {
    /// Opens the log in `options.dir`: repairs the torn tail of the last segment, and starts the writer thread. The log
    /// takes entries at once, while the replay is still being read; new entries go to new segments, which the replay does
    /// not show.
    ///
    /// `preamble` is written at the start of every segment from now on ([`Wal::set_preamble`] changes it) and returned by
    /// a later replay before the segment's entries.
    pub fn open(
        options: WalOptions,
        preamble: Vec<u8>,
        events: Arc<dyn WalEvents>,
    ) -> Result<(Self, Replay), WalError> {
        let disk = Folder::open(&options.dir)
            .map_err(|error| WalError::io("create", &options.dir.to_string_lossy(), error))?;
        Self::open_on(Arc::new(disk), options, preamble, events)
    }

    /// As [`Wal::open`], on any disk; `options.dir` is not looked at.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        preamble: Vec<u8>,
        events: Arc<dyn WalEvents>,
    ) -> Result<(Self, Replay), WalError> {
        let (wal, replay) = Self::open_without_thread(disk, options, preamble, events)?;
        {
            let mut how = wal.writer.lock();
            if let How::Caller(writer) = std::mem::replace(&mut *how, How::Nobody) {
                let handle = std::thread::Builder::new()
                    .name("wal-writer".to_owned())
                    .spawn(move || writer.run())
                    .map_err(|error| WalError::io("start the writer thread of", "", error))?;
                *how = How::Thread(handle);
            }
        }
        Ok((wal, replay))
    }

    /// As [`Wal::open_on`], but nothing is written until [`Wal::write_queued`] is called, or the log is closed: for
    /// simulations, in which no thread may run beside the simulated time.
    pub fn open_without_thread(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        preamble: Vec<u8>,
        events: Arc<dyn WalEvents>,
    ) -> Result<(Self, Replay), WalError> {
        check_options(&options, &preamble)?;
        let recovered = recover(&*disk)?;
        let free_bytes =
            disk.free_bytes().map_err(|error| WalError::io("ask for the free space of", "", error))?;
        let state = State {
            queue: std::collections::VecDeque::new(),
            waiting_bytes: 0,
            next_lsn: 1,
            durable: 0,
            preamble: preamble.into(),
            total_bytes: recovered.segments.values().map(|s| s.bytes).sum(),
            next_segment: recovered.next_segment(),
            current: None,
            free_bytes,
            taken_since: 0,
            look_again: false,
            end: None,
            groups: 0,
            written_bytes: 0,
            segments: recovered.segments.clone(),
        };
        let life = state.next_segment;
        let shared = Arc::new(Shared { options, state: Mutex::new(state), work: Condvar::new() });
        let writer = Box::new(Writer::new(Arc::clone(&shared), Arc::clone(&disk), events, life));
        let replay = Replay::new(Arc::clone(&disk), recovered);
        Ok((Self { shared, disk, writer: Mutex::new(How::Caller(writer)) }, replay))
    }

    /// Writes and syncs what is queued, if the log has no thread that does. Blocks on the disk.
    pub fn write_queued(&self) {
        if let How::Caller(writer) = &mut *self.writer.lock() {
            writer.write_queued();
        }
    }

    /// Appends one entry if there is room for it: `head` and `body` one after the other. `head` is copied, `body` is not.
    /// Returns its number and place; the entry is on disk when [`WalEvents::durable`] reports that number or a greater one.
    /// Never blocks on the disk.
    pub fn append(&self, head: &[u8], body: Bytes) -> Result<Appended, WalError> {
        self.take(head, body, true)
    }

    /// As [`Wal::append`], for entries that must be written although the log has no room left: those that make room, and
    /// those for which [`Wal::check_room`] was asked before. How far they pass the bounds is their caller's to bound.
    pub fn append_admitted(&self, head: &[u8], body: Bytes) -> Result<Appended, WalError> {
        self.take(head, body, false)
    }

    fn take(&self, head: &[u8], body: Bytes, check: bool) -> Result<Appended, WalError> {
        // Outside of the lock: the only work here that grows with the entry.
        let payload_crc = crc32c::crc32c_append(crc32c::crc32c(head), &body);
        let options = &self.shared.options;
        let accepted = {
            let mut state = self.shared.state.lock();
            let room = if check { state.check(options, head.len() + body.len()) } else { Ok(()) };
            room.and_then(|()| state.accept(options, head, body, payload_crc))
        };
        // Also after a refusal: the writer may have been asked to look at the free space.
        self.shared.work.notify_one();
        accepted
    }

    /// Whether [`Wal::append`] would take an entry of this many bytes now.
    pub fn check_room(&self, bytes: usize) -> Result<(), WalError> {
        let room = self.shared.state.lock().check(&self.shared.options, bytes);
        if room.is_err() {
            self.shared.work.notify_one();
        }
        room
    }

    /// Reads the payload of an entry that is durable. Blocks on the disk. Fails when its segment is gone, the entry is not
    /// what lies there, or its bytes are damaged.
    pub fn read(&self, location: Location) -> Result<Bytes, WalError> {
        read_entry(&*self.disk, location)
    }

    /// Sets the preamble of the segments that begin from now on.
    pub fn set_preamble(&self, preamble: Vec<u8>) -> Result<(), WalError> {
        check_preamble(&preamble)?;
        self.shared.state.lock().preamble = preamble.into();
        Ok(())
    }

    /// The next append begins a new segment, so that the current one can be removed.
    pub fn roll(&self) {
        self.shared.state.lock().current = None;
    }

    /// All segments, oldest first; the last one may still grow.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.shared.state.lock();
        let info = |(segment, s): (&SegmentNo, &crate::state::Segment)| SegmentInfo {
            segment: *segment,
            first_lsn: s.first_lsn.map(Lsn),
            bytes: s.bytes,
        };
        state.segments.iter().map(info).collect()
    }

    /// Removes the files of all segments with numbers ≤ `upto`, oldest first, and makes that durable. The segment that is
    /// being written, and those with entries that are not durable yet, stay; after [`Wal::sync_and_close`] none does.
    /// Returns how many were removed.
    pub fn remove_segments_upto(&self, upto: SegmentNo) -> Result<u64, WalError> {
        let removable: Vec<SegmentNo> = {
            let state = self.shared.state.lock();
            let first_kept = state.first_kept();
            state.segments.keys().copied().filter(|n| *n <= upto && *n < first_kept).collect()
        };
        for number in &removable {
            let name = file_name(*number);
            match self.disk.remove(&name) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(WalError::io("remove", &name, error)),
            }
            self.shared.state.lock().forget(*number);
        }
        if !removable.is_empty() {
            self.disk.sync_dir().map_err(|error| WalError::io("sync the folder of", "", error))?;
            self.shared.state.lock().look_again = true;
            self.shared.work.notify_one();
        }
        Ok(removable.len() as u64)
    }

    /// Bytes of all segments, queued entries included.
    pub fn bytes(&self) -> u64 {
        self.shared.state.lock().total_bytes
    }

    /// Figures for metrics.
    pub fn stats(&self) -> WalStats {
        let state = self.shared.state.lock();
        WalStats {
            bytes: state.total_bytes,
            quota_bytes: self.shared.options.quota_bytes,
            free_bytes: state.free_bytes,
            reserve_bytes: self.shared.options.reserve_bytes,
            segments: state.segments.len() as u64,
            waiting_bytes: state.waiting_bytes as u64,
            appended: Lsn(state.next_lsn - 1),
            durable: Lsn(state.durable),
            groups: state.groups,
            written_bytes: state.written_bytes,
            failed: matches!(state.end, Some(End::Failed(_))),
        }
    }

    /// Takes nothing more, writes what is queued, and waits until that is on disk. Blocks. An error says that something
    /// failed now or before; what `durable` reported holds in any case.
    pub fn sync_and_close(&self) -> Result<(), WalError> {
        {
            let mut state = self.shared.state.lock();
            if state.end.is_none() {
                state.end = Some(End::Closing);
            }
        }
        self.shared.work.notify_one();
        let joined = match std::mem::replace(&mut *self.writer.lock(), How::Nobody) {
            How::Thread(handle) => handle.join(),
            How::Caller(writer) => {
                writer.run();
                Ok(())
            }
            How::Nobody => Ok(()),
        };
        if joined.is_err() {
            return Err(WalError::Stopped { cause: "the writer thread panicked".into() });
        }
        match &self.shared.state.lock().end {
            Some(End::Failed(cause)) => Err(WalError::Stopped { cause: Arc::clone(cause) }),
            _ => Ok(()),
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Err(error) = self.sync_and_close() {
            tracing::warn!(%error, "the log was closed after a failure");
        }
    }
}

/// The entry's header stands right before its payload and names its length and checksum.
fn read_entry(disk: &dyn Disk, location: Location) -> Result<Bytes, WalError> {
    let name = file_name(location.segment);
    let (header_bytes, payload_bytes) = (ENTRY_HEADER_BYTES as u64, location.bytes as usize);
    let damaged = |what: &str| WalError::io("read", &name, std::io::Error::other(what.to_owned()));
    let start = location.offset.checked_sub(header_bytes).ok_or_else(|| damaged("no entry begins there"))?;
    let bytes = disk
        .read_range(&name, start, ENTRY_HEADER_BYTES + payload_bytes)
        .map_err(|error| WalError::io("read", &name, error))?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (length, crc) = (word(0) as usize, word(4));
    if length != payload_bytes {
        return Err(damaged("another entry lies there"));
    }
    let payload = Bytes::from(bytes).slice(ENTRY_HEADER_BYTES..);
    if crc32c::crc32c(&payload) != crc {
        return Err(damaged("the entry is damaged"));
    }
    Ok(payload)
}

fn check_options(options: &WalOptions, preamble: &[u8]) -> Result<(), WalError> {
    let bad = |name, value, must| Err(WalError::Option { name, value, must });
    if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&options.segment_bytes) {
        return bad("segment_bytes", options.segment_bytes, "must lie between 1 KiB and 1 GiB");
    }
    if options.queue_bytes == 0 {
        return bad("queue_bytes", 0, "must not be 0");
    }
    if options.quota_bytes < options.segment_bytes {
        return bad("quota_bytes", options.quota_bytes, "must hold at least one segment");
    }
    check_preamble(preamble)
}

fn check_preamble(preamble: &[u8]) -> Result<(), WalError> {
    if preamble.len() > MAX_PREAMBLE_BYTES {
        let must = "must not exceed 1 MiB";
        return Err(WalError::Option { name: "preamble length", value: preamble.len() as u64, must });
    }
    Ok(())
}
