//! The writer, most often a thread: takes everything queued for one segment, writes it with few calls, syncs once, reports.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use crate::disk::{Disk, SegmentFile};
use crate::error::WalError;
use crate::format::{ENTRY_HEADER_BYTES, EntryHeader, SegmentHeader, TEMPORARY_SUFFIX, file_name};
use crate::log::Shared;
use crate::options::{GroupWritten, WalEvents};
use crate::state::{End, Pending, State};
use crate::{Lsn, SegmentNo};

/// Most bytes written between two syncs: bounds how long the first entry of a group waits for the last.
const GROUP_BYTES: usize = 16 << 20;
/// Bodies up to this length are copied into one buffer with the headers; longer ones are written from where they are.
const COPY_BYTES: usize = 8 << 10;
/// Parts in one write call (Linux takes 1,024).
const PARTS_PER_WRITE: usize = 1024;
/// The buffer of headers and small bodies gives memory back above this.
const STAGE_KEEP_BYTES: usize = 4 << 20;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    events: Arc<dyn WalEvents>,
    life: SegmentNo,
    file: Option<Box<dyn SegmentFile>>,
    name: String,
    stage: Vec<u8>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A part of a group, in file order.
enum Part<'a> {
    Staged(Range<usize>),
    Body(&'a [u8]),
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        events: Arc<dyn WalEvents>,
        life: SegmentNo,
    ) -> Self {
        Self { shared, disk, events, life, file: None, name: String::new(), stage: Vec::new() }
    }

    pub(crate) fn run(mut self) {
        while let Some(group) = self.wait_for_group() {
            if !self.write(&group) {
                return;
            }
        }
    }

    /// Everything that is queued, without waiting for more.
    pub(crate) fn write_queued(&mut self) {
        loop {
            let group = next_group(&mut self.shared.state.lock());
            let Some(group) = group else { return };
            if !self.write(&group) {
                return;
            }
        }
    }

    /// Whether more can be written.
    fn write(&mut self, group: &[Pending]) -> bool {
        if group.is_empty() {
            self.look_at_free_space(0);
            return true;
        }
        match self.write_group(group) {
            Ok(written) => self.report(group, written),
            Err(error) => {
                self.stop(&error);
                return false;
            }
        }
        true
    }

    /// Waits for work. `None` at the end.
    fn wait_for_group(&self) -> Option<Vec<Pending>> {
        let mut state = self.shared.state.lock();
        loop {
            if let Some(group) = next_group(&mut state) {
                return Some(group);
            }
            if state.end.is_some() {
                return None;
            }
            self.shared.work.wait(&mut state);
        }
    }

    fn write_group(&mut self, group: &[Pending]) -> Result<GroupWritten, WalError> {
        let pulse = self.shared.options.pulse.clone();
        let _work = pulse.work();
        if let Some(first) = group.first()
            && let Some(preamble) = &first.opens
        {
            self.begin_segment(first, preamble.to_vec())?;
            pulse.beat();
        }
        let clock = Arc::clone(&self.shared.options.clock);
        let started = clock.monotonic();
        let stage = std::mem::take(&mut self.stage);
        let (stage, parts) = lay_out(stage, group, self.shared.options.salt);
        let Some(file) = self.file.as_mut() else {
            let missing = io::Error::other("no segment is open");
            return Err(WalError::io("write", &self.name, missing));
        };
        let bytes =
            write_all(&mut **file, &stage, &parts).map_err(|e| WalError::io("write", &self.name, e))?;
        drop(parts);
        self.stage = stage;
        self.stage.shrink_to(STAGE_KEEP_BYTES);
        let written = clock.monotonic();
        pulse.beat();
        file.sync_data().map_err(|e| WalError::io("sync", &self.name, e))?;
        let synced = clock.monotonic();
        Ok(GroupWritten {
            entries: group.len() as u64,
            bytes,
            write: written - started,
            sync: synced - written,
        })
    }

    /// A segment appears under its name only when its header is on disk, so that a damaged header is never taken for one
    /// that was being written.
    fn begin_segment(&mut self, first: &Pending, preamble: Vec<u8>) -> Result<(), WalError> {
        let header = SegmentHeader {
            segment: first.segment,
            life: self.life,
            first_lsn: first.lsn,
            salt: self.shared.options.salt,
            preamble,
        }
        .encode();
        self.name = file_name(first.segment);
        let temporary = format!("{}{TEMPORARY_SUFFIX}", self.name);
        let failed = |doing| move |error| WalError::io(doing, &temporary, error);
        let mut file =
            self.disk.create(&format!("{}{TEMPORARY_SUFFIX}", self.name)).map_err(failed("create"))?;
        let whole = 0..header.len();
        write_all(&mut *file, &header, &[Part::Staged(whole)])
            .map_err(|e| WalError::io("write", &self.name, e))?;
        file.sync_data().map_err(|e| WalError::io("sync", &self.name, e))?;
        self.disk
            .rename(&format!("{}{TEMPORARY_SUFFIX}", self.name), &self.name)
            .map_err(|e| WalError::io("rename", &self.name, e))?;
        self.disk.sync_dir().map_err(|e| WalError::io("sync the folder of", &self.name, e))?;
        self.file = Some(file);
        Ok(())
    }

    fn report(&mut self, group: &[Pending], written: GroupWritten) {
        let upto = group.last().map_or(0, |p| p.lsn);
        let bytes: usize = group.iter().map(Pending::bytes).sum();
        {
            let mut state = self.shared.state.lock();
            state.durable = upto;
            state.waiting_bytes -= bytes;
            state.groups += 1;
            state.written_bytes += written.bytes;
        }
        self.look_at_free_space(bytes);
        self.events.group(written);
        self.events.durable(Lsn(upto));
    }

    /// One statvfs: microseconds beside a sync.
    fn look_at_free_space(&self, _written: usize) {
        match self.disk.free_bytes() {
            Ok(free) => {
                let mut state = self.shared.state.lock();
                state.free_bytes = free;
                // What is queued is not on disk yet.
                state.taken_since = state.waiting_bytes as u64;
            }
            Err(error) => tracing::warn!(%error, "cannot read the free space of the log's disk"),
        }
    }

    fn stop(&self, error: &WalError) {
        let cause: Arc<str> = hearth_common::error::chain(error).into();
        {
            let mut state = self.shared.state.lock();
            state.end = Some(End::Failed(Arc::clone(&cause)));
            state.queue.clear();
        }
        tracing::error!(%cause, "the log failed; nothing more is taken until the process restarts");
        self.events.failed(error);
    }
}

/// What to write next; an empty group when only the free space is asked for.
fn next_group(state: &mut State) -> Option<Vec<Pending>> {
    if state.look_again {
        state.look_again = false;
        return Some(Vec::new());
    }
    let segment = state.queue.front()?.segment;
    let mut bytes = 0;
    let mut group = Vec::new();
    while let Some(next) = state.queue.front()
        && next.segment == segment
        && (group.is_empty() || bytes + next.bytes() <= GROUP_BYTES)
    {
        bytes += next.bytes();
        group.extend(state.queue.pop_front());
    }
    Some(group)
}

/// Headers, heads and small bodies go to one buffer, large bodies stay where they are.
fn lay_out<'a>(mut stage: Vec<u8>, group: &'a [Pending], salt: u32) -> (Vec<u8>, Vec<Part<'a>>) {
    stage.clear();
    let mut parts = Vec::new();
    let mut from = 0;
    for (index, entry) in group.iter().enumerate() {
        let header = EntryHeader {
            payload_bytes: (entry.bytes() - ENTRY_HEADER_BYTES) as u32,
            payload_crc: entry.payload_crc,
            lsn: entry.lsn,
            index_in_group: index as u32,
        };
        stage.extend_from_slice(&header.encode(salt));
        stage.extend_from_slice(&entry.head);
        if entry.body.len() <= COPY_BYTES {
            stage.extend_from_slice(&entry.body);
        } else {
            parts.push(Part::Staged(from..stage.len()));
            parts.push(Part::Body(&entry.body));
            from = stage.len();
        }
    }
    if from < stage.len() {
        parts.push(Part::Staged(from..stage.len()));
    }
    (stage, parts)
}

/// Writes all parts in order with as few calls as the limit of parts allows; returns the bytes written.
fn write_all(file: &mut dyn SegmentFile, stage: &[u8], parts: &[Part<'_>]) -> io::Result<u64> {
    let bytes_of = |part: &Part<'_>| match part {
        Part::Staged(range) => range.len(),
        Part::Body(body) => body.len(),
    };
    let mut total = 0;
    for parts in parts.chunks(PARTS_PER_WRITE) {
        let mut slices: Vec<IoSlice<'_>> = parts
            .iter()
            .map(|part| match part {
                Part::Staged(range) => IoSlice::new(&stage[range.clone()]),
                Part::Body(body) => IoSlice::new(body),
            })
            .collect();
        let mut left: usize = parts.iter().map(bytes_of).sum();
        total += left as u64;
        let mut slices = &mut slices[..];
        while left > 0 {
            match file.append(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    left = left
                        .checked_sub(taken)
                        .ok_or_else(|| io::Error::other("more was written than given"))?;
                    IoSlice::advance_slices(&mut slices, taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(total)
}
