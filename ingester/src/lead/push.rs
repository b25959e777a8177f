//! Takes records: checked, proposed to the cell, built into the head, and acknowledged when they are committed (design:
//! storage B5; ADR 5).

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use hearth_cell::Proposed;
use hearth_cluster::{PushError, PushOutcome};
use hearth_common::{ErrorKind, Position, TenantLimits};
use hearth_formats::record::{self, Record, RecordHeader};

use super::Lead;
use super::tenant::Tenant;
use crate::head::{Head, Place, Scratch};
use crate::planted::Bug;

/// Buffers of a thread: decoding and building allocate nothing once warm.
#[derive(Default)]
pub(crate) struct Buffers {
    record: Record<'static>,
    pub(crate) scratch: Scratch,
}

impl Buffers {
    /// Decodes a record and works on it.
    pub(crate) fn with<T>(
        &mut self,
        bytes: &[u8],
        work: impl FnOnce(&RecordHeader<'_>, &Record<'_>, &mut Scratch) -> T,
    ) -> Result<T, record::RecordError> {
        let mut decoded = std::mem::take(&mut self.record).recycle();
        let done =
            record::decode(bytes, &mut decoded).map(|header| work(&header, &decoded, &mut self.scratch));
        self.record = decoded.recycle();
        done
    }
}

thread_local! {
    pub(super) static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What became of one record before it was committed.
enum Taken {
    /// Acknowledged once this position is committed.
    At(Position),
    Refused(PushOutcome),
}

impl Lead {
    /// Takes records; one outcome for each. An error is one of all: whether they are in the log is then not known.
    pub(crate) async fn push(&self, records: &[Bytes]) -> Result<Vec<PushOutcome>, PushError> {
        let mut taken = Vec::with_capacity(records.len());
        for record in records {
            taken.push(BUFFERS.with_borrow_mut(|buffers| self.take(record, buffers))?);
        }
        let last = taken.iter().filter_map(|t| if let Taken::At(at) = t { Some(*at) } else { None }).max();
        if let Some(last) = last.filter(|_| !self.common.planted.has(Bug::AckBeforeCommit)) {
            self.cell.committed(last, self.term).await.map_err(PushError::Unavailable)?;
        }
        Ok(taken
            .into_iter()
            .map(|t| if let Taken::Refused(outcome) = t { outcome } else { PushOutcome::Acked })
            .collect())
    }

    fn take(&self, bytes: &Bytes, buffers: &mut Buffers) -> Result<Taken, PushError> {
        let taken =
            buffers.with(bytes, |header, record, scratch| self.take_decoded(bytes, header, record, scratch));
        taken.unwrap_or_else(|error| Err(PushError::Malformed(hearth_common::error::chain(&error))))
    }

    fn take_decoded(
        &self,
        bytes: &Bytes,
        header: &RecordHeader<'_>,
        record: &Record<'_>,
        scratch: &mut Scratch,
    ) -> Result<Taken, PushError> {
        let tenant =
            self.tenant(header.tenant).ok_or_else(|| PushError::Malformed("tenant id".to_owned()))?;
        if let Some(refused) = self.admit(&tenant, header, record) {
            return Ok(Taken::Refused(refused));
        }
        // Held until the record is built: a cut waits for everything that is proposed.
        let state = tenant.state.read();
        let proposed = self.cell.propose(self.term, header.rid, bytes).map_err(|error| {
            self.common.metrics.wal_refused.inc();
            PushError::Unavailable(hearth_common::error::chain(&error))
        })?;
        match proposed {
            Proposed::Known(position) => {
                self.common.metrics.duplicates.inc();
                Ok(Taken::At(position))
            }
            Proposed::New(position) => {
                if !tenant.volumes.lock().add(header.service_hash, bytes.len()) {
                    self.common.metrics.services_unmeasured.inc();
                }
                let head = Arc::clone(&state.live);
                if self.build(&tenant, &head, position, header, record, scratch) {
                    return Ok(Taken::At(position));
                }
                self.common.keep_aside(bytes);
                let message = format!(
                    "record {} could not be built into the head; its bytes are kept in the data folder",
                    header.rid
                );
                let kind = ErrorKind::Internal;
                Ok(Taken::Refused(PushOutcome::Refused { kind, reason: "quarantined", message }))
            }
        }
    }

    /// Counts the record's series; the refusal if they are too many.
    fn admit(&self, tenant: &Tenant, header: &RecordHeader<'_>, record: &Record<'_>) -> Option<PushOutcome> {
        let limits = self.common.deps.limits.limits(&tenant.id);
        let types = record.sample_types.len() as u32;
        let now = self.common.now();
        let full = tenant.admit(header.series_hash, types, series_limit(&limits), now).err()?;
        self.common.metrics.series_refused.inc();
        let (active, limit) = (full.active, full.limit);
        let message = format!(
            "Maximum active series limit exceeded ({active}/{limit}), reduce the number of active streams (reduce \
             labels or reduce label values), or raise max_global_series_per_tenant, and max_local_series_per_tenant if \
             it is set"
        );
        let kind = ErrorKind::ResourceExhausted;
        Some(PushOutcome::Refused { kind, reason: "series_limit", message })
    }

    /// Builds a record into a head; whether that worked. The caller holds the tenant's read lock.
    pub(crate) fn build(
        &self,
        tenant: &Tenant,
        head: &Head,
        position: Position,
        header: &RecordHeader<'_>,
        record: &Record<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let place = Place { journal: 0, position: position.0 };
        let built = std::panic::catch_unwind(AssertUnwindSafe(|| head.add(place, header, record, scratch)));
        tenant.note(position);
        match built {
            Ok(added) => {
                self.common.metrics.records.inc();
                self.common.metrics.values.inc_by(added.values);
                true
            }
            Err(_) => {
                // The caller keeps the bytes; answers say that they may miss it (design: replication A35).
                *scratch = Scratch::default();
                let text = format!("record {} of tenant {} could not be built", header.rid, tenant.id);
                tracing::error!("{text}");
                self.common.report_damage(&text);
                false
            }
        }
    }
}

/// The smaller of the two limits that is set; with one ingester both mean the same. 0 = none.
fn series_limit(limits: &TenantLimits) -> usize {
    let set = [limits.max_local_series_per_tenant, limits.max_global_series_per_tenant];
    set.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
}
