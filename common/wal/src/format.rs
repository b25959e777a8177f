//! The bytes of a segment: its header with the preamble, and the header of an entry. Pure.

use crate::SegmentNo;

/// Version of the segment format.
pub const FORMAT_VERSION: u32 = 1;
/// Length of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 24;
/// Longest entry, head and body together.
pub const MAX_ENTRY_BYTES: usize = 128 << 20;
/// Longest preamble.
pub const MAX_PREAMBLE_BYTES: usize = 1 << 20;
/// Length of a segment's header without the preamble.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 56;
/// Longest segment file that is read: a full segment, and one entry longer than a segment.
pub(crate) const MAX_FILE_BYTES: u64 = MAX_SEGMENT_BYTES + MAX_ENTRY_BYTES as u64 + (2 << 20);
/// Largest `segment_bytes`.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// Smallest `segment_bytes`.
pub(crate) const MIN_SEGMENT_BYTES: u64 = 1 << 10;

const MAGIC: [u8; 8] = *b"HEARTHWL";
const SUFFIX: &str = ".wal";
/// Ending of files that are not finished; removed at open.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: SegmentNo,
    /// The first segment of the life that wrote this one.
    pub(crate) life: SegmentNo,
    /// Number of the first entry.
    pub(crate) first_lsn: u64,
    pub(crate) salt: u32,
    pub(crate) preamble: Vec<u8>,
}

/// The file name of a segment.
pub(crate) fn file_name(segment: SegmentNo) -> String {
    format!("{segment}{SUFFIX}")
}

/// The segment that a file name stands for.
pub(crate) fn parse_file_name(name: &str) -> Option<SegmentNo> {
    let digits = name.strip_suffix(SUFFIX)?;
    let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten().map(SegmentNo)
}

impl SegmentHeader {
    /// Length of the encoded header.
    pub(crate) fn len(&self) -> usize {
        SEGMENT_HEADER_BYTES + self.preamble.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.life.0.to_le_bytes());
        out.extend_from_slice(&self.first_lsn.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&0u64.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), &self.preamble);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.preamble);
        out
    }

    /// Reads a header from the start of a file; `None` if it is not one of ours, is damaged or is cut short.
    pub(crate) fn decode(file: &[u8]) -> Option<Self> {
        let fixed = file.get(..SEGMENT_HEADER_BYTES)?;
        if fixed[..8] != MAGIC || u32_at(fixed, 8) != FORMAT_VERSION {
            return None;
        }
        let len = u32_at(fixed, 12) as usize;
        if !(SEGMENT_HEADER_BYTES..=SEGMENT_HEADER_BYTES + MAX_PREAMBLE_BYTES).contains(&len) {
            return None;
        }
        let preamble = file.get(SEGMENT_HEADER_BYTES..len)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&fixed[..SEGMENT_HEADER_BYTES - 4]), preamble);
        (crc == u32_at(fixed, SEGMENT_HEADER_BYTES - 4)).then(|| Self {
            segment: SegmentNo(u64_at(fixed, 16)),
            life: SegmentNo(u64_at(fixed, 24)),
            first_lsn: u64_at(fixed, 32),
            salt: u32_at(fixed, 40),
            preamble: preamble.to_vec(),
        })
    }
}

/// What stands before each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    pub(crate) lsn: u64,
    /// How many entries of the same group stand before this one: entries before the group were durable when this one was
    /// written.
    pub(crate) index_in_group: u32,
}

impl EntryHeader {
    pub(crate) fn encode(&self, salt: u32) -> [u8; ENTRY_HEADER_BYTES] {
        let mut out = [0; ENTRY_HEADER_BYTES];
        out[..4].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        out[16..20].copy_from_slice(&self.index_in_group.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &out[..20]);
        out[20..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` if its checksum or its length is wrong.
    pub(crate) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        let bytes = bytes.get(..ENTRY_HEADER_BYTES)?;
        let header = Self {
            payload_bytes: u32_at(bytes, 0),
            payload_crc: u32_at(bytes, 4),
            lsn: u64_at(bytes, 8),
            index_in_group: u32_at(bytes, 16),
        };
        let valid = header.lsn > 0
            && header.payload_bytes as usize <= MAX_ENTRY_BYTES
            && crc32c::crc32c_append(salt, &bytes[..20]) == u32_at(bytes, 20);
        valid.then_some(header)
    }

    /// Number of the first entry of the group.
    pub(crate) fn group_first(&self) -> u64 {
        self.lsn.saturating_sub(u64::from(self.index_in_group))
    }
}

/// The caller has checked that four bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The caller has checked that eight bytes are there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_a_changed_bit_is_seen() {
        let header = SegmentHeader {
            segment: SegmentNo(7),
            life: SegmentNo(5),
            first_lsn: 42,
            salt: 0xdead_beef,
            preamble: b"journals".to_vec(),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), None, "bit {bit}");
        }
        let entry = EntryHeader { payload_bytes: 9, payload_crc: 8, lsn: 77, index_in_group: 3 };
        assert_eq!(EntryHeader::decode(&entry.encode(1), 1), Some(entry));
        assert_eq!(EntryHeader::decode(&entry.encode(1), 2), None);
        assert_eq!(entry.group_first(), 74);
    }

    #[test]
    fn file_names_read_back() {
        assert_eq!(parse_file_name(&file_name(SegmentNo(12))), Some(SegmentNo(12)));
        for other in
            ["12.wal", "0000000000000000001x.wal", "00000000000000000012.tmp", "99999999999999999999.wal"]
        {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
