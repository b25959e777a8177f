//! Walks the entries in the bytes of one segment, and finds the next intact entry behind damage. Pure.

use std::ops::Range;

use crate::error::DamageKind;
use crate::format::{ENTRY_HEADER_BYTES, EntryHeader, u64_at};

/// What stands next in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An intact entry; the range is that of its payload.
    Entry { header: EntryHeader, payload: Range<usize> },
    /// Bytes (or, with an empty range, entries) that are missing.
    Bad { range: Range<usize>, kind: DamageKind },
}

#[derive(Debug, Clone)]
pub(crate) struct Scan {
    salt: u32,
    at: usize,
    /// The number that the next entry must have.
    pub(crate) expected: u64,
}

impl Scan {
    pub(crate) fn new(salt: u32, first_byte: usize, first_lsn: u64) -> Self {
        Self { salt, at: first_byte, expected: first_lsn }
    }

    /// The next entry or damage; `None` at the end of the file.
    pub(crate) fn next(&mut self, file: &[u8]) -> Option<Found> {
        let at = self.at;
        if at >= file.len() {
            return None;
        }
        let header = EntryHeader::decode(&file[at..], self.salt).filter(|h| h.lsn >= self.expected);
        let Some(header) = header else {
            return Some(self.resync(file));
        };
        if header.lsn > self.expected {
            let kind = DamageKind::Gap { first: self.expected, last: header.lsn - 1 };
            self.expected = header.lsn;
            return Some(Found::Bad { range: at..at, kind });
        }
        let payload = at + ENTRY_HEADER_BYTES..at + ENTRY_HEADER_BYTES + header.payload_bytes as usize;
        self.expected += 1;
        self.at = payload.end.min(file.len());
        let Some(bytes) = file.get(payload.clone()) else {
            return Some(Found::Bad { range: at..file.len(), kind: DamageKind::Short });
        };
        if crc32c::crc32c(bytes) != header.payload_crc {
            let kind = DamageKind::Payload { lsn: header.lsn };
            return Some(Found::Bad { range: at..payload.end, kind });
        }
        Some(Found::Entry { header, payload })
    }

    /// Moves to the next place that holds an intact entry with a number that can follow.
    fn resync(&mut self, file: &[u8]) -> Found {
        let from = self.at;
        let most = self.expected + ((file.len() - from) / ENTRY_HEADER_BYTES) as u64;
        let kind =
            if file.len() - from < ENTRY_HEADER_BYTES { DamageKind::Short } else { DamageKind::EntryHeader };
        let mut at = from + 1;
        while at + ENTRY_HEADER_BYTES <= file.len() {
            let lsn = u64_at(file, at + 8);
            if (self.expected..=most).contains(&lsn) && self.intact(file, at) {
                self.expected = lsn;
                self.at = at;
                return Found::Bad { range: from..at, kind };
            }
            at += 1;
        }
        self.at = file.len();
        Found::Bad { range: from..file.len(), kind }
    }

    fn intact(&self, file: &[u8], at: usize) -> bool {
        let Some(header) = EntryHeader::decode(&file[at..], self.salt) else { return false };
        let start = at + ENTRY_HEADER_BYTES;
        let payload = file.get(start..start + header.payload_bytes as usize);
        payload.is_some_and(|bytes| crc32c::crc32c(bytes) == header.payload_crc)
    }
}
