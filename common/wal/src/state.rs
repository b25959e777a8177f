//! What appenders and the writer thread share: the queue, the plan of segments, room, and the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::WalError;
use crate::format::{ENTRY_HEADER_BYTES, MAX_ENTRY_BYTES, SEGMENT_HEADER_BYTES};
use crate::{Appended, Location, Lsn, SegmentNo, WalOptions};

/// An entry that waits for the writer. Its segment was decided when it was appended.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) lsn: u64,
    pub(crate) segment: SegmentNo,
    /// The preamble, if the entry is the first of its segment.
    pub(crate) opens: Option<Arc<[u8]>>,
    pub(crate) head: Box<[u8]>,
    pub(crate) body: Bytes,
    pub(crate) payload_crc: u32,
}

impl Pending {
    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + self.head.len() + self.body.len()
    }
}

/// Why nothing is taken any more.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// `sync_and_close`: the writer drains the queue, then leaves.
    Closing,
    /// A write or fsync failed.
    Failed(Arc<str>),
}

/// A segment file as the owner sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Number of its first entry; `None` if an earlier life wrote it.
    pub(crate) first_lsn: Option<u64>,
    /// Bytes on disk and queued.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: VecDeque<Pending>,
    /// Bytes accepted and not durable, those in the writer's hands included.
    pub(crate) waiting_bytes: usize,
    pub(crate) next_lsn: u64,
    pub(crate) durable: u64,
    pub(crate) preamble: Arc<[u8]>,
    /// Every segment that exists or is planned.
    pub(crate) segments: BTreeMap<SegmentNo, Segment>,
    pub(crate) total_bytes: u64,
    /// The segment that the next entry goes to, unless it is full; `None` until the first append and after a roll.
    pub(crate) current: Option<SegmentNo>,
    pub(crate) next_segment: SegmentNo,
    pub(crate) free_bytes: u64,
    /// Bytes accepted since `free_bytes` was read.
    pub(crate) taken_since: u64,
    /// An appender found too little room: the writer looks again.
    pub(crate) look_again: bool,
    pub(crate) end: Option<End>,
    pub(crate) groups: u64,
    pub(crate) written_bytes: u64,
}

impl State {
    /// Takes an entry, whether there is room or not; refuses only when nothing is taken any more or the entry is too long.
    pub(crate) fn accept(
        &mut self,
        options: &WalOptions,
        head: &[u8],
        body: Bytes,
        payload_crc: u32,
    ) -> Result<Appended, WalError> {
        let payload = head.len() + body.len();
        self.check_open(payload)?;
        let bytes = (ENTRY_HEADER_BYTES + payload) as u64;
        let lsn = self.next_lsn;
        self.next_lsn += 1;
        let (segment, opens) = self.place(options, bytes, lsn);
        let end = self.segments.get(&segment).map_or(0, |segment| segment.bytes);
        self.waiting_bytes += bytes as usize;
        self.taken_since += bytes;
        self.queue.push_back(Pending { lsn, segment, opens, head: head.into(), body, payload_crc });
        let location = Location { segment, offset: end - payload as u64, bytes: payload as u32 };
        Ok(Appended { lsn: Lsn(lsn), location })
    }

    fn check_open(&self, payload: usize) -> Result<(), WalError> {
        match &self.end {
            Some(End::Closing) => return Err(WalError::Closed),
            Some(End::Failed(cause)) => return Err(WalError::Stopped { cause: Arc::clone(cause) }),
            None => {}
        }
        if payload > MAX_ENTRY_BYTES {
            return Err(WalError::TooLong { bytes: payload, limit: MAX_ENTRY_BYTES });
        }
        Ok(())
    }

    /// Whether an entry would be taken, and there is room for it. Nothing is changed by a refusal, except that the writer
    /// may be asked to look at the free space again.
    pub(crate) fn check(&mut self, options: &WalOptions, payload: usize) -> Result<(), WalError> {
        self.check_open(payload)?;
        let bytes = ENTRY_HEADER_BYTES + payload;
        let queued = self.waiting_bytes + bytes;
        // One entry longer than the queue may pass alone, or it never could.
        if queued > options.queue_bytes && self.waiting_bytes > 0 {
            return Err(WalError::QueueFull { queued, limit: options.queue_bytes });
        }
        let total = self.total_bytes + bytes as u64;
        if total > options.quota_bytes {
            return Err(WalError::Full { bytes: total, quota: options.quota_bytes });
        }
        let free = self.free_bytes.saturating_sub(self.taken_since);
        if free < options.reserve_bytes.saturating_add(bytes as u64) {
            self.look_again = true;
            return Err(WalError::DiskFull { free, reserve: options.reserve_bytes });
        }
        Ok(())
    }

    fn place(&mut self, options: &WalOptions, bytes: u64, lsn: u64) -> (SegmentNo, Option<Arc<[u8]>>) {
        if let Some(current) = self.current
            && let Some(segment) = self.segments.get_mut(&current)
            && segment.bytes + bytes <= options.segment_bytes
        {
            segment.bytes += bytes;
            self.total_bytes += bytes;
            return (current, None);
        }
        let number = self.next_segment;
        self.next_segment = SegmentNo(number.0 + 1);
        self.current = Some(number);
        let bytes = bytes + (SEGMENT_HEADER_BYTES + self.preamble.len()) as u64;
        self.total_bytes += bytes;
        self.segments.insert(number, Segment { first_lsn: Some(lsn), bytes });
        (number, Some(Arc::clone(&self.preamble)))
    }

    /// The oldest segment that must not be removed: that of the next entry to become durable, or the one that grows.
    pub(crate) fn first_kept(&self) -> SegmentNo {
        let waiting = self.durable + 1;
        if waiting < self.next_lsn {
            let holds = |s: &Segment| s.first_lsn.is_some_and(|first| first <= waiting);
            let oldest = self.segments.iter().rev().find(|(_, s)| holds(s)).map(|(number, _)| *number);
            return oldest.unwrap_or_default();
        }
        match self.current {
            Some(current) if !matches!(self.end, Some(End::Closing)) => current,
            _ => self.next_segment,
        }
    }

    /// Forgets a segment whose file was removed.
    pub(crate) fn forget(&mut self, number: SegmentNo) {
        if let Some(segment) = self.segments.remove(&number) {
            self.total_bytes -= segment.bytes;
        }
    }
}
