//! Brings back what the cell's log holds beyond what is published, when this member begins to lead.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use hearth_cell::Positions;
use hearth_common::{Position, TenantId};
use hearth_formats::record;

use super::Lead;
use super::push::Buffers;

/// Threads that build records.
const BUILDERS: usize = 2;
/// Records that wait for a builder.
const QUEUE: usize = 64;
/// How often the catalog is asked again while it cannot be read.
const RETRY: Duration = Duration::from_secs(2);

/// How far it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Everything is in the heads.
    pub(crate) done: bool,
    /// It ended before it was done, and never will be.
    pub(crate) ended: bool,
    /// Records built so far.
    pub(crate) entries: u64,
}

/// A record and its place.
type Placed = (Position, Bytes);

impl Lead {
    /// `held`: what the log had when the reign began.
    pub(super) fn spawn_rebuild(self: Arc<Self>, held: Positions) {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let started = self.common.deps.clock.monotonic();
            self.rebuild(held, &runtime);
            if self.has_ended() {
                return;
            }
            self.progress.send_modify(|progress| progress.done = true);
            let Progress { entries, .. } = *self.progress.borrow();
            let took_ms = (self.common.deps.clock.monotonic() - started).as_millis() as u64;
            if entries > 0 {
                tracing::info!(cell = %self.cell.id.0, records = entries, took_ms, "the log is built into heads");
            }
        });
    }

    fn rebuild(&self, held: Positions, runtime: &tokio::runtime::Handle) {
        std::thread::scope(|scope| {
            let mut queues: Vec<SyncSender<Placed>> = Vec::new();
            for _ in 0..BUILDERS {
                let (send, receive) = sync_channel(QUEUE);
                queues.push(send);
                scope.spawn(move || self.build_all(&receive));
            }
            for position in held.iter() {
                if self.has_ended() {
                    return;
                }
                let record = match self.cell.record_at(position) {
                    Ok(Some(record)) => record,
                    Ok(None) => continue,
                    Err(error) => {
                        let error = hearth_common::error::chain(&error);
                        self.common.report_damage(&format!("the record at {} is lost: {error}", position.0));
                        continue;
                    }
                };
                let Ok((header, _)) = record::peek(&record) else {
                    self.common.report_damage(&format!("the record at {} has no valid header", position.0));
                    continue;
                };
                let Ok(tenant) = TenantId::parse(header.tenant) else { continue };
                let service_hash = header.service_hash;
                if position <= runtime.block_on(self.covered(&tenant)) {
                    continue;
                }
                // All records of a service go to one builder: they share a lock.
                let queue = &queues[service_hash as usize % BUILDERS];
                if queue.send((position, record)).is_err() {
                    return;
                }
            }
        });
    }

    /// How far the tenant's rows of this cell are published. The first time, its root is read, however long that takes.
    pub(super) async fn covered(&self, id: &TenantId) -> Position {
        if let Some(tenant) = self.find(id).filter(|tenant| tenant.is_known()) {
            return tenant.state.read().dropped;
        }
        let view = loop {
            if self.has_ended() {
                return Position(u64::MAX);
            }
            match self.common.deps.catalog.newest(id, Duration::ZERO).await {
                Ok(view) => break view,
                Err(error) => {
                    let error = hearth_common::error::chain(&error);
                    tracing::warn!(tenant = %id, error, "the tenant's root cannot be read yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let covered = view.map_or(Position(0), |view| view.coverage(&self.cell.journal));
        let Some(tenant) = self.tenant(id.as_str()) else { return covered };
        let mut state = tenant.state.write();
        state.cut = state.cut.max(covered);
        state.dropped = state.dropped.max(covered);
        tenant.set_known();
        covered
    }

    fn build_all(&self, queue: &Receiver<Placed>) {
        let mut buffers = Buffers::default();
        while let Ok((position, bytes)) = queue.recv() {
            let done = buffers.with(&bytes, |header, record, scratch| {
                let Some(tenant) = self.tenant(header.tenant) else { return };
                let state = tenant.state.read();
                let head = Arc::clone(&state.live);
                if !self.build(&tenant, &head, position, header, record, scratch) {
                    self.common.keep_aside(&bytes);
                }
            });
            if let Err(error) = done {
                let text = format!("the record at position {} cannot be read: {error}", position.0);
                self.common.report_damage(&text);
                self.common.keep_aside(&bytes);
                // Counted as built, or it could never be released.
                let tenant = record::peek(&bytes).ok().and_then(|(header, _)| self.tenant(header.tenant));
                if let Some(tenant) = tenant {
                    let _state = tenant.state.read();
                    tenant.note(position);
                }
            }
            self.progress.send_modify(|progress| progress.entries += 1);
        }
    }
}
