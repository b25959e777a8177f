//! What happens at open, before the first append: unfinished files go, the torn tail of the last segment is cut, and its
//! last group is written once more.
//!
//! Why once more: when the sync of that group failed in the life before, the kernel may hold the bytes as clean pages that
//! never reached the disk. Reading them back proves nothing; only writing and syncing them does. Groups before the last
//! are known to be durable, because one failed sync ends writing.

use std::collections::BTreeMap;
use std::io;

use crate::SegmentNo;
use crate::disk::Disk;
use crate::error::WalError;
use crate::format::{MAX_FILE_BYTES, SegmentHeader, TEMPORARY_SUFFIX, file_name, parse_file_name};
use crate::scan::{Found, Scan};
use crate::state::Segment;

/// The log as it was found and repaired.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovered {
    pub(crate) segments: BTreeMap<SegmentNo, Segment>,
    /// Where the last segment was cut, and how many bytes went.
    pub(crate) torn: Option<(SegmentNo, u64, u64)>,
}

impl Recovered {
    pub(crate) fn next_segment(&self) -> SegmentNo {
        SegmentNo(self.segments.keys().next_back().map_or(1, |last| last.0 + 1))
    }
}

pub(crate) fn recover(disk: &dyn Disk) -> Result<Recovered, WalError> {
    let mut recovered = Recovered::default();
    let mut removed = false;
    for name in disk.list().map_err(|e| WalError::io("list", "", e))? {
        if let Some(segment) = parse_file_name(&name) {
            let bytes = disk.len(&name).map_err(|e| WalError::io("ask for the length of", &name, e))?;
            recovered.segments.insert(segment, Segment { first_lsn: None, bytes });
        } else if name.ends_with(TEMPORARY_SUFFIX) {
            disk.remove(&name).map_err(|e| WalError::io("remove", &name, e))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir().map_err(|e| WalError::io("sync the folder of", "", e))?;
    }
    if let Some(last) = recovered.segments.keys().next_back().copied() {
        repair_last(disk, last, &mut recovered)?;
    }
    Ok(recovered)
}

/// Where the readable part of a segment ends, and where its last group begins.
struct Tail {
    end: usize,
    last_group: usize,
}

fn repair_last(disk: &dyn Disk, last: SegmentNo, recovered: &mut Recovered) -> Result<(), WalError> {
    let name = file_name(last);
    let Ok(bytes) = disk.read(&name, MAX_FILE_BYTES + 1) else {
        return Ok(()); // Replay reads it again and reports the damage.
    };
    let Some(header) = SegmentHeader::decode(&bytes).filter(|h| h.segment == last) else {
        return Ok(()); // As above: a header is complete before the file gets its name.
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Ok(());
    }
    let tail = find_tail(&bytes, &header);
    let repair = || -> io::Result<()> {
        let mut file = disk.open(&name)?;
        if tail.end < bytes.len() {
            file.truncate(tail.end as u64)?;
        }
        if tail.last_group < tail.end {
            file.rewrite(tail.last_group as u64, &bytes[tail.last_group..tail.end])?;
        }
        file.sync_data()
    };
    if tail.end < bytes.len() || tail.last_group < tail.end {
        repair().map_err(|e| WalError::io("repair", &name, e))?;
    }
    let cut = (bytes.len() - tail.end) as u64;
    if cut > 0 {
        tracing::warn!(segment = %last, offset = tail.end, bytes = cut, "cut the torn tail of the log");
        recovered.torn = Some((last, tail.end as u64, cut));
    }
    if let Some(segment) = recovered.segments.get_mut(&last) {
        segment.bytes = tail.end as u64;
    }
    Ok(())
}

fn find_tail(bytes: &[u8], header: &SegmentHeader) -> Tail {
    let mut scan = Scan::new(header.salt, header.len(), header.first_lsn);
    let mut tail = Tail { end: header.len(), last_group: header.len() };
    let mut group_first = 0;
    while let Some(found) = scan.next(bytes) {
        let Found::Entry { header: entry, payload } = found else { continue };
        let start = payload.start - crate::format::ENTRY_HEADER_BYTES;
        if entry.group_first() > group_first {
            group_first = entry.group_first();
            // Behind damage the group's start may be lost: then from here, which is all that can be read.
            tail.last_group = start;
        }
        tail.end = payload.end;
    }
    tail
}
