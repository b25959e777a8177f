//! Brings back what the cell's log holds beyond what is published, when this member begins to lead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, try_join_all};
use hearth_catalog::CatalogError;
use hearth_cell::Positions;
use hearth_common::work::{Lost, away};
use hearth_common::{Classify, Position, Retry, TenantId};
use hearth_formats::record;

use super::Lead;
use super::push::{BUFFERS, Buffers};
use crate::planted::Bug;

/// Jobs that build records at once.
const BUILDERS: usize = 2;
/// Most records that are read before they are built.
const PIECE_RECORDS: usize = 512;
/// … and their bytes, but for the last.
const PIECE_BYTES: usize = 8 << 20;
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

/// Records that are built at once.
#[derive(Debug)]
struct Piece {
    /// With their tenants and the hashes of their services.
    records: Vec<(Position, Bytes, TenantId, u64)>,
    /// What comes after them.
    left: Positions,
}

impl Lead {
    /// `held`: what the log had when the reign began.
    pub(super) fn spawn_rebuild(self: Arc<Self>, held: Positions) {
        tokio::spawn(async move {
            let started = self.common.deps.clock.monotonic();
            if let Err(lost) = self.rebuild(held).await {
                tracing::error!(cell = %self.cell.id.0, error = %lost, "the log is not built into heads");
                return;
            }
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

    /// The next piece is read while one is built.
    async fn rebuild(self: &Arc<Self>, held: Positions) -> Result<(), Lost> {
        if self.common.planted.has(Bug::RebuildSkipped) {
            return Ok(());
        }
        let workers = &self.common.deps.workers;
        let read = |left: Positions| {
            let lead = Arc::clone(self);
            away(workers, move || lead.read_piece(left))
        };
        let mut piece = read(held).await?;
        while !self.has_ended() {
            let Piece { records, left } = piece;
            let mut parts: [Vec<Placed>; BUILDERS] = Default::default();
            for (position, bytes, tenant, service_hash) in records {
                if position > self.covered(&tenant).await {
                    // All records of a service go to one builder: they share a lock.
                    parts[service_hash as usize % BUILDERS].push((position, bytes));
                }
            }
            let build = parts.map(|part| {
                let lead = Arc::clone(self);
                away(workers, move || lead.build_all(&part))
            });
            if left.is_empty() {
                return try_join_all(build).await.map(drop);
            }
            let (built, next) = join(try_join_all(build), read(left)).await;
            built?;
            piece = next?;
        }
        Ok(())
    }

    /// Reads records from the beginning of `left` on, as many as are built at once. Blocks on the disk.
    fn read_piece(&self, left: Positions) -> Piece {
        let Positions { first, last } = left;
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, first);
        for position in left.iter() {
            if records.len() >= PIECE_RECORDS || bytes >= PIECE_BYTES || self.has_ended() {
                break;
            }
            next = position.next();
            let record = match self.cell.record_at(position) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    self.cell.give_up(position, &error);
                    self.end();
                    break;
                }
            };
            let Ok((header, _)) = record::peek(&record) else {
                self.common.report_damage(&format!("the record at {} has no valid header", position.0));
                continue;
            };
            let Ok(tenant) = TenantId::parse(header.tenant) else { continue };
            let service_hash = header.service_hash;
            bytes += record.len();
            records.push((position, record, tenant, service_hash));
        }
        Piece { records, left: Positions { first: next, last } }
    }

    /// How far the tenant's rows of this cell are published, as far as its root tells. The first time it is read, however long
    /// that takes. A root that waiting does not mend must not keep the other tenants of the cell away: the tenant's records
    /// are all built, and what is published of them is asked again before anything is published.
    async fn covered(&self, id: &TenantId) -> Position {
        loop {
            if self.has_ended() {
                return Position(u64::MAX);
            }
            if self.find(id).is_some_and(|tenant| tenant.is_unreadable()) {
                return Position(0);
            }
            let error = match self.look_up(id).await {
                Ok(covered) => return covered,
                Err(error) => error,
            };
            let text = hearth_common::error::chain(&error);
            if error.retry() == Retry::Never {
                tracing::error!(tenant = %id, error = text,
                    "the tenant's root cannot be read: nothing of it is published until that is mended");
                if let Some(tenant) = self.tenant(id.as_str()) {
                    tenant.set_unreadable();
                }
                return Position(0);
            }
            tracing::warn!(tenant = %id, error = text, "the tenant's root cannot be read yet");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// How far the tenant's rows of this cell are published: asked of the store once.
    pub(super) async fn look_up(&self, id: &TenantId) -> Result<Position, CatalogError> {
        if let Some(tenant) = self.find(id).filter(|tenant| tenant.is_known()) {
            return Ok(tenant.state.read().dropped);
        }
        let view = self.common.deps.catalog.newest(id, Duration::ZERO).await?;
        let covered = view.map_or(Position(0), |view| view.coverage(&self.cell.journal));
        let Some(tenant) = self.tenant(id.as_str()) else { return Ok(covered) };
        let mut state = tenant.state.write();
        state.cut = state.cut.max(covered);
        state.dropped = state.dropped.max(covered);
        tenant.set_known();
        Ok(covered)
    }

    /// Builds records. Computes for long.
    fn build_all(&self, records: &[Placed]) {
        for (position, bytes) in records {
            if self.has_ended() {
                return;
            }
            BUFFERS.with_borrow_mut(|buffers| self.build_one(*position, bytes, buffers));
            self.progress.send_modify(|progress| progress.entries += 1);
        }
    }

    fn build_one(&self, position: Position, bytes: &Bytes, buffers: &mut Buffers) {
        let done = buffers.with(bytes, |header, record, scratch| {
            let Some(tenant) = self.tenant(header.tenant) else { return };
            let state = tenant.state.read();
            let head = Arc::clone(&state.live);
            if !self.build(&tenant, &head, position, header, record, scratch) {
                self.common.keep_aside(bytes);
            }
        });
        if let Err(error) = done {
            let text = format!("the record at position {} cannot be read: {error}", position.0);
            self.common.report_damage(&text);
            self.common.keep_aside(bytes);
            // Counted as built, or it could never be released.
            let tenant = record::peek(bytes).ok().and_then(|(header, _)| self.tenant(header.tenant));
            if let Some(tenant) = tenant {
                let _state = tenant.state.read();
                tenant.note(position);
            }
        }
    }
}
