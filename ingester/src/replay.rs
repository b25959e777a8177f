//! Brings back what earlier lives had acknowledged and not published: first the headers, so that pushes can be taken, then
//! the records, so that questions can be answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use hearth_common::{Position, TenantId};
use hearth_formats::record;
use hearth_wal::{Replay, Replayed, SegmentNo};

use crate::journal::{ENTRY_HEAD_BYTES, KIND_DATA};
use crate::push::Buffers;
use crate::service::Ingester;

/// Threads that build records.
const BUILDERS: usize = 2;
/// Records that wait for a builder.
const QUEUE: usize = 64;
/// How often the catalog is asked again while it cannot be read.
const RETRY: Duration = Duration::from_secs(2);

/// How far a replay is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// It is known which records were taken before.
    pub(crate) headers: bool,
    /// Everything is in the heads.
    pub(crate) done: bool,
    /// Records built so far.
    pub(crate) entries: u64,
}

/// A segment of an earlier life: by tenant and journal the last position in it.
#[derive(Debug)]
pub(crate) struct OldSegment {
    pub(crate) segment: SegmentNo,
    pub(crate) entries: HashMap<(TenantId, u32), u64>,
}

/// An entry of the log, taken apart.
struct Entry {
    position: u64,
    record: Bytes,
}

fn parse_entry(bytes: &Bytes) -> Option<Entry> {
    let (head, _) = bytes.split_first_chunk::<ENTRY_HEAD_BYTES>()?;
    let (kind, position) = head.split_first()?;
    let position = u64::from_le_bytes(position.try_into().ok()?);
    (*kind == KIND_DATA).then(|| Entry { position, record: bytes.slice(ENTRY_HEAD_BYTES..) })
}

impl Ingester {
    pub(crate) fn spawn_replay(self: Arc<Self>, replay: Replay) {
        let runtime = tokio::runtime::Handle::current();
        let horizon = i64::try_from(self.options.remember_pushes.as_nanos()).unwrap_or(i64::MAX);
        tokio::task::spawn_blocking(move || {
            let now = self.now();
            let since = hearth_common::TimestampNs(now.0.saturating_sub(horizon));
            for (time, ids) in self.dir.load_ids(since) {
                ids.into_iter().for_each(|rid| self.journal.remember(hearth_common::Rid(rid), time));
            }
            self.read_headers(replay.clone());
            self.progress.send_modify(|progress| progress.headers = true);
            runtime.block_on(self.read_coverage());
            let started = self.deps.clock.monotonic();
            self.rebuild(replay);
            self.progress.send_modify(|progress| progress.done = true);
            let Progress { entries, .. } = *self.progress.borrow();
            let took_ms = (self.deps.clock.monotonic() - started).as_millis() as u64;
            if entries > 0 {
                tracing::info!(records = entries, took_ms, "the write-ahead log is replayed");
            }
        });
    }

    fn journal_of(&self, preamble: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(preamble).ok()?;
        self.journals.iter().position(|journal| journal.to_string() == text).map(|at| at as u32)
    }

    fn read_headers(&self, replay: Replay) {
        let now = self.now();
        let mut journal = None;
        let mut old: Vec<OldSegment> = Vec::new();
        for item in replay {
            match item {
                Ok(Replayed::Segment { segment, preamble }) => {
                    journal = self.journal_of(&preamble);
                    old.push(OldSegment { segment, entries: HashMap::new() });
                }
                Ok(Replayed::Entry { bytes, .. }) => {
                    let Some((entry, journal)) = parse_entry(&bytes).zip(journal) else { continue };
                    let Ok((header, _)) = record::peek(&entry.record) else { continue };
                    self.journal.remember_and_save(header.rid, now);
                    let Some(tenant) = self.tenant(header.tenant) else { continue };
                    if let Some(segment) = old.last_mut() {
                        let last = segment.entries.entry((tenant.id.clone(), journal)).or_default();
                        *last = entry.position.max(*last);
                    }
                }
                Err(damage) => {
                    tracing::error!(%damage, "the write-ahead log is damaged");
                    self.metrics.damaged.inc();
                    self.report_damage(&damage.to_string());
                }
            }
        }
        *self.old_segments.lock() = old;
    }

    /// What of the earlier journals is published already.
    async fn read_coverage(&self) {
        for tenant in self.all_tenants() {
            let view = loop {
                match self.deps.catalog.newest(&tenant.id, Duration::ZERO).await {
                    Ok(view) => break view,
                    Err(error) => {
                        let error = hearth_common::error::chain(&error);
                        tracing::warn!(tenant = %tenant.id, error, "the tenant's root cannot be read yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            };
            let Some(view) = view else { continue };
            let mut state = tenant.state.write();
            for (at, journal) in self.journals.iter().enumerate().skip(1) {
                let covered = view.coverage(journal).0;
                if covered > 0 {
                    state.cut.insert(at as u32, covered);
                    state.dropped.insert(at as u32, covered);
                }
            }
        }
    }

    fn rebuild(&self, replay: Replay) {
        std::thread::scope(|scope| {
            let mut queues: Vec<SyncSender<(u32, u64, Bytes)>> = Vec::new();
            for _ in 0..BUILDERS {
                let (send, receive) = sync_channel(QUEUE);
                queues.push(send);
                scope.spawn(move || self.build_all(&receive));
            }
            let covered = self.covered();
            let mut journal = None;
            for item in replay {
                match item {
                    Ok(Replayed::Segment { preamble, .. }) => journal = self.journal_of(&preamble),
                    Ok(Replayed::Entry { bytes, location }) => {
                        let segment = location.segment;
                        let Some((entry, journal)) = parse_entry(&bytes).zip(journal) else {
                            self.report_damage(&format!(
                                "an entry of segment {segment} belongs to no journal"
                            ));
                            continue;
                        };
                        let Ok((header, _)) = record::peek(&entry.record) else {
                            self.report_damage(&format!("a record in segment {segment} has no valid header"));
                            continue;
                        };
                        let upto = covered.get(header.tenant).and_then(|by| by.get(&journal)).copied();
                        if entry.position > upto.unwrap_or(0) {
                            // All records of a service go to one builder: they share a lock.
                            let queue = &queues[header.service_hash as usize % BUILDERS];
                            if queue.send((journal, entry.position, entry.record)).is_err() {
                                return;
                            }
                        }
                    }
                    // Reported when the headers were read.
                    Err(_) => {}
                }
            }
        });
    }

    fn covered(&self) -> HashMap<String, BTreeMap<u32, u64>> {
        let tenants = self.all_tenants();
        tenants.iter().map(|tenant| (tenant.id.to_string(), tenant.state.read().dropped.clone())).collect()
    }

    fn build_all(&self, queue: &Receiver<(u32, u64, Bytes)>) {
        let mut buffers = Buffers::default();
        while let Ok((journal, position, bytes)) = queue.recv() {
            let done = buffers.with(&bytes, |header, record, scratch| {
                let Some(tenant) = self.tenant(header.tenant) else { return };
                let state = tenant.state.read();
                let head = Arc::clone(&state.live);
                if !self.build(&tenant, &head, journal, Position(position), header, record, scratch) {
                    self.keep_aside(&bytes);
                }
            });
            if let Err(error) = done {
                self.report_damage(&format!("the record at position {position} cannot be read: {error}"));
                self.keep_aside(&bytes);
                // Counted as built, or the segments from here on could never be removed.
                let tenant = record::peek(&bytes).ok().and_then(|(header, _)| self.tenant(header.tenant));
                if let Some(tenant) = tenant {
                    let _state = tenant.state.read();
                    tenant.note(journal, position);
                }
            }
            self.progress.send_modify(|progress| progress.entries += 1);
        }
    }
}
