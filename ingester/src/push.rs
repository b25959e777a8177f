//! Takes records: checked, appended, built into the head, and acknowledged when they are on disk (design: storage B5).

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::{PushError, PushOutcome, PushTarget};
use hearth_common::{ErrorKind, Position, TenantLimits};
use hearth_formats::record::{self, Record, RecordHeader};

use crate::head::{Place, Scratch};
use crate::journal::Appended;
use crate::service::Ingester;
use crate::tenant::Tenant;

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
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// What became of one record before its fsync.
enum Taken {
    /// Acknowledged once this position is on disk (0: it is).
    At(Position),
    Refused(PushOutcome),
}

#[async_trait]
impl PushTarget for Ingester {
    async fn push(&self, records: Vec<Bytes>) -> Result<Vec<PushOutcome>, PushError> {
        let unavailable = |why: String| Err(PushError::Unavailable(why));
        if self.closed.load(Ordering::Relaxed) {
            return unavailable("it is stopping".to_owned());
        }
        if let Some(why) = self.journal.failure() {
            return unavailable(format!("its write-ahead log has failed: {why}"));
        }
        if !self.progress.borrow().headers {
            // Only the headers of the log are awaited: they say which records were taken before.
            let mut progress = self.progress.subscribe();
            drop(progress.wait_for(|progress| progress.headers).await);
        }
        let mut taken = Vec::with_capacity(records.len());
        for record in &records {
            taken.push(BUFFERS.with_borrow_mut(|buffers| self.take(record, buffers))?);
        }
        let last = taken.iter().filter_map(|t| if let Taken::At(at) = t { Some(*at) } else { None }).max();
        if let Some(last) = last.filter(|last| last.0 > 0)
            && let Err(why) = self.journal.wait(last).await
        {
            return unavailable(format!("its write-ahead log has failed: {why}"));
        }
        Ok(taken
            .into_iter()
            .map(|t| if let Taken::Refused(outcome) = t { outcome } else { PushOutcome::Acked })
            .collect())
    }
}

impl Ingester {
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
        let now = self.now();
        let limits = self.deps.limits.limits(&tenant.id);
        let types = record.sample_types.len() as u32;
        if let Err(full) = tenant.admit(header.series_hash, types, series_limit(&limits), now) {
            self.metrics.series_refused.inc();
            let (active, limit) = (full.active, full.limit);
            let message = format!(
                "Maximum active series limit exceeded ({active}/{limit}), reduce the number of active streams (reduce \
                 labels or reduce label values), or raise max_global_series_per_tenant"
            );
            let kind = ErrorKind::ResourceExhausted;
            return Ok(Taken::Refused(PushOutcome::Refused { kind, reason: "series_limit", message }));
        }
        // Held until the record is built: a cut waits for everything that is appended.
        let state = tenant.state.read();
        let appended = self.journal.append(header.rid, bytes, now).map_err(|error| {
            self.metrics.wal_refused.inc();
            PushError::Unavailable(hearth_common::error::chain(&error))
        })?;
        match appended {
            Appended::Known(position) => {
                self.metrics.duplicates.inc();
                Ok(Taken::At(position))
            }
            Appended::New(position) => {
                let head = Arc::clone(&state.live);
                match self.build(&tenant, &head, 0, position, header, record, scratch) {
                    true => Ok(Taken::At(position)),
                    false => {
                        self.keep_aside(bytes);
                        let message = format!(
                            "record {} could not be built into the head; its bytes are kept in the data folder",
                            header.rid
                        );
                        let kind = ErrorKind::Internal;
                        Ok(Taken::Refused(PushOutcome::Refused { kind, reason: "quarantined", message }))
                    }
                }
            }
        }
    }

    /// Builds a record into a head; whether that worked. The caller holds the tenant's read lock.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call from pushes, one from replay; a struct would only rename them"
    )]
    pub(crate) fn build(
        &self,
        tenant: &Tenant,
        head: &crate::head::Head,
        journal: u32,
        position: Position,
        header: &RecordHeader<'_>,
        record: &Record<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let place = Place { journal, position: position.0 };
        let built = std::panic::catch_unwind(AssertUnwindSafe(|| head.add(place, header, record, scratch)));
        tenant.note(journal, position.0);
        match built {
            Ok(added) => {
                self.metrics.records.inc();
                self.metrics.values.inc_by(added.values);
                true
            }
            Err(_) => {
                // The caller keeps the bytes; answers say that they may miss it (design: replication A35).
                *scratch = Scratch::default();
                let text = format!("record {} of tenant {} could not be built", header.rid, tenant.id);
                tracing::error!("{text}");
                self.report_damage(&text);
                false
            }
        }
    }

    /// Keeps the bytes of a record that cannot be read or built: the log's segment goes when its other entries are
    /// published.
    pub(crate) fn keep_aside(&self, bytes: &[u8]) {
        if let Err(error) = self.dir.keep_aside(bytes) {
            tracing::error!(%error, "a record that could not be built was not kept");
        }
    }

    /// Marks answers as possibly incomplete, also in later lives.
    pub(crate) fn report_damage(&self, text: &str) {
        if let Err(error) = self.dir.report_damage(text) {
            tracing::error!(%error, "damage could not be written down");
        }
        let mut inexact = self.inexact.lock();
        match &mut *inexact {
            Some(known) if known.contains(text) => {}
            Some(known) => known.push_str(&format!("; {text}")),
            none => *none = Some(text.to_owned()),
        }
    }
}

/// The smaller of the two limits that is set; with one ingester both mean the same. 0 = none.
fn series_limit(limits: &TenantLimits) -> usize {
    let set = [limits.max_local_series_per_tenant, limits.max_global_series_per_tenant];
    set.into_iter().filter(|limit| *limit > 0).min().unwrap_or(0)
}
