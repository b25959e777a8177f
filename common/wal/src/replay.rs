//! Reads a log back: segments in order, each with its preamble and its entries, and every damage in its place.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::{Damage, DamageKind};
use crate::format::{MAX_FILE_BYTES, MAX_PREAMBLE_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, file_name};
use crate::recover::Recovered;
use crate::scan::{Found, Scan};
use crate::{Location, SegmentNo};

/// Something that the log held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// A segment begins.
    Segment {
        /// Its number.
        segment: SegmentNo,
        /// The preamble that was in force when it was begun.
        preamble: Bytes,
    },
    /// An entry.
    Entry {
        /// Where it lies.
        location: Location,
        /// Head and body as appended. A slice of the whole segment: keep it only for as long as the segment's memory may
        /// stay, or copy it.
        bytes: Bytes,
    },
}

/// Iterates over what the log held when it was opened. One segment is in memory at a time. Damage is an item like others:
/// reading goes on behind it.
#[derive(Debug, Clone)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    left: VecDeque<SegmentNo>,
    bytes_left: u64,
    torn: Option<(SegmentNo, u64, u64)>,
    open: Option<Open>,
    previous: Option<Previous>,
    ready: VecDeque<Result<Replayed, Damage>>,
}

#[derive(Debug, Clone)]
struct Open {
    segment: SegmentNo,
    file: Bytes,
    scan: Scan,
    life: SegmentNo,
    /// The segment's end is damaged: how many entries it held is not known.
    open_end: bool,
}

/// How the segment before ended.
#[derive(Debug, Clone, Copy)]
struct Previous {
    segment: SegmentNo,
    /// Its life and the number that its life goes on with; `None` if its header could not be read.
    life: Option<(SegmentNo, u64)>,
}

impl Replay {
    pub(crate) fn new(disk: Arc<dyn Disk>, recovered: Recovered) -> Self {
        Self {
            disk,
            left: recovered.segments.keys().copied().collect(),
            bytes_left: recovered.segments.values().map(|s| s.bytes).sum(),
            torn: recovered.torn,
            open: None,
            previous: None,
            ready: VecDeque::new(),
        }
    }

    /// Bytes of the segments that were not begun yet: for progress.
    pub fn bytes_left(&self) -> u64 {
        self.bytes_left
    }

    /// The torn tail that was cut at open: segment, offset, bytes. Nothing in it was ever reported durable, unless the
    /// disk lost what it had acknowledged.
    pub fn torn_tail(&self) -> Option<(SegmentNo, u64, u64)> {
        self.torn
    }

    /// The preambles of all segments that are left and readable, oldest first, without reading any entry.
    pub fn preambles(&self) -> Vec<(SegmentNo, Bytes)> {
        let limit = (SEGMENT_HEADER_BYTES + MAX_PREAMBLE_BYTES) as u64;
        let read = |segment: &SegmentNo| {
            let start = self.disk.read(&file_name(*segment), limit).ok()?;
            let header = SegmentHeader::decode(&start).filter(|h| h.segment == *segment)?;
            Some((*segment, Bytes::from(header.preamble)))
        };
        self.left.iter().filter_map(read).collect()
    }

    fn open_next(&mut self, segment: SegmentNo) {
        if let Some(previous) = self.previous
            && segment.0 > previous.segment.0 + 1
        {
            let missing = SegmentNo(previous.segment.0 + 1);
            self.damage(missing, 0, 0, DamageKind::Missing { upto: SegmentNo(segment.0 - 1) });
            self.previous = None;
        }
        match self.read_segment(segment) {
            Ok(open) => self.open = Some(open),
            Err((kind, bytes)) => {
                self.damage(segment, 0, bytes, kind);
                self.previous = Some(Previous { segment, life: None });
            }
        }
    }

    fn read_segment(&mut self, segment: SegmentNo) -> Result<Open, (DamageKind, u64)> {
        let name = file_name(segment);
        let len = self.disk.len(&name).map_err(|e| (DamageKind::Unreadable(e.to_string()), 0))?;
        self.bytes_left = self.bytes_left.saturating_sub(len);
        if len > MAX_FILE_BYTES {
            return Err((DamageKind::Unreadable(format!("{len} bytes long, limit {MAX_FILE_BYTES}")), len));
        }
        let bytes = self.disk.read(&name, len).map_err(|e| (DamageKind::Unreadable(e.to_string()), len))?;
        let header = SegmentHeader::decode(&bytes).filter(|h| h.segment == segment);
        let Some(header) = header else {
            return Err((DamageKind::Header, len));
        };
        let start = header.len();
        if let Some(Previous { life: Some((life, next)), .. }) = self.previous
            && life == header.life
            && next < header.first_lsn
        {
            let kind = DamageKind::Gap { first: next, last: header.first_lsn - 1 };
            self.damage(segment, start as u64, 0, kind);
        }
        let scan = Scan::new(header.salt, start, header.first_lsn);
        self.ready.push_back(Ok(Replayed::Segment { segment, preamble: Bytes::from(header.preamble) }));
        Ok(Open { segment, file: Bytes::from(bytes), scan, life: header.life, open_end: false })
    }

    fn damage(&mut self, segment: SegmentNo, offset: u64, bytes_skipped: u64, kind: DamageKind) {
        let damage = Damage { segment, offset, bytes_skipped, kind };
        tracing::error!(%damage, "the log is damaged");
        self.ready.push_back(Err(damage));
    }
}

impl Iterator for Replay {
    type Item = Result<Replayed, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let Some(open) = &mut self.open else {
                let segment = self.left.pop_front()?;
                self.open_next(segment);
                continue;
            };
            let segment = open.segment;
            match open.scan.next(&open.file) {
                Some(Found::Entry { payload, .. }) => {
                    let (offset, bytes) = (payload.start as u64, payload.len() as u32);
                    let location = Location { segment, offset, bytes };
                    return Some(Ok(Replayed::Entry { location, bytes: open.file.slice(payload) }));
                }
                Some(Found::Bad { range, kind }) => {
                    open.open_end |= range.end == open.file.len();
                    self.damage(segment, range.start as u64, range.len() as u64, kind);
                }
                None => {
                    let life = (!open.open_end).then_some((open.life, open.scan.expected));
                    self.previous = Some(Previous { segment, life });
                    self.open = None;
                }
            }
        }
    }
}
