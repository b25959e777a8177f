//! One request: its parts one after the other through the pipeline, then all records in one push (api-semantics §3.2).
//!
//! Must not know: wire messages.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use hearth_cluster::push::{PushError, PushOutcome, PushTarget};
use hearth_common::units::si_bytes;
use hearth_common::{Classify, Clock, ErrorKind, LimitsSource, TenantId, TenantLimits};
use hearth_formats::gunzip::{InflateError, Inflater, is_gzip};
use hearth_formats::pprof::Pprof;
use hearth_model::labels::NAME;
use prometheus_client::registry::Registry;

use crate::labels;
use crate::metrics::Metrics;
use crate::pipeline::{Part, TenantRules, Work};
use crate::records::PartId;
use crate::reject::{Reason, Rejected};
use crate::rid::{self, Occurrences, Origin};
use crate::tenant::{Compiled, Tenant, TenantStates};

/// A request of at least so many bytes is worked on apart from the threads that serve sockets.
const INLINE_BYTES_MAX: usize = 1 << 20;
/// Buffers of a thread that have grown beyond this are given back.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// What a distributor is made of.
#[derive(Debug)]
pub struct DistributorDeps {
    /// Takes the records.
    pub target: Arc<dyn PushTarget>,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Takes pushes. Stateless but for rate limits.
#[derive(Debug)]
pub struct Distributor {
    target: Arc<dyn PushTarget>,
    limits: Arc<dyn LimitsSource>,
    pub(crate) clock: Arc<dyn Clock>,
    tenants: TenantStates,
    metrics: Metrics,
}

/// A series of a push: labels as sent, and its profiles.
#[derive(Debug, Clone)]
pub struct PushSeries<'a> {
    /// In any order.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Profiles (pprof, gzipped or plain) and the id that the client gave each, or "".
    pub samples: Vec<(&'a [u8], &'a str)>,
}

/// Why a request, or a part of it, was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DistributeError {
    /// By this distributor's rules.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// By an ingester's limits.
    #[error("{message}")]
    Refused {
        /// What the ingester says.
        kind: ErrorKind,
        /// For people.
        message: String,
    },
    /// No ingester could take it.
    #[error("profiles were not stored: {message}")]
    Target {
        /// What the target says.
        kind: ErrorKind,
        /// For people.
        message: String,
    },
}

impl Classify for DistributeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Rejected(rejected) => rejected.kind,
            Self::Refused { kind, .. } | Self::Target { kind, .. } => *kind,
        }
    }
}

impl From<PushError> for DistributeError {
    fn from(error: PushError) -> Self {
        Self::Target { kind: error.kind(), message: error.to_string() }
    }
}

/// Records of the good parts of a request, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct Prepared {
    records: Vec<Bytes>,
    /// The part of each record.
    parts: Vec<u32>,
    /// Decompressed bytes of each part.
    bytes: Vec<usize>,
    /// The first part that was rejected.
    error: Option<(u32, Rejected)>,
}

impl Prepared {
    /// The records so far.
    pub fn records(&self) -> &[Bytes] {
        &self.records
    }

    /// The first error so far.
    pub fn error(&self) -> Option<&Rejected> {
        self.error.as_ref().map(|(_, error)| error)
    }
}

/// A request in work: what its parts share.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    pub(crate) tenant: &'r TenantId,
    pub(crate) state: Arc<Tenant>,
    pub(crate) limits: Arc<TenantLimits>,
    rules: Arc<Compiled>,
    occurrences: Occurrences,
    prepared: Prepared,
}

/// A profile that is parsed, with all that was sent along.
#[derive(Debug)]
pub(crate) struct Sent<'a> {
    /// How it came.
    pub(crate) origin: Origin<'a>,
    /// The client's id, or "".
    pub(crate) client_id: &'a str,
    /// Labels as sent.
    pub(crate) labels: &'a [(&'a str, &'a str)],
    /// Bytes of the profile as sent.
    pub(crate) compressed_bytes: usize,
    /// Bytes of the profile as a pprof, decoded.
    pub(crate) size_bytes: usize,
    /// What tells it from other profiles: what was sent, decoded.
    pub(crate) identity: &'a [u8],
    /// The bytes that its strings borrow from.
    pub(crate) raw: &'a [u8],
    /// Seconds that parsing took.
    pub(crate) parse_seconds: f64,
}

/// Buffers of a thread.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) inflater: Inflater,
    pub(crate) raw: Vec<u8>,
    pub(crate) pprof: Pprof<'static>,
    pub(crate) work: Work,
}

impl Distributor {
    /// A distributor.
    pub fn new(deps: DistributorDeps) -> Self {
        let DistributorDeps { target, limits, clock } = deps;
        Self { target, limits, clock, tenants: TenantStates::default(), metrics: Metrics::default() }
    }

    /// Adds this distributor's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Every method and path that a distributor serves.
    pub fn routes(self: Arc<Self>) -> hearth_rpc::Routes {
        crate::api::routes(self)
    }

    /// The limits of a tenant.
    pub(crate) fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        self.limits.limits(tenant)
    }

    /// Works on all parts of a push. An error refuses the whole; errors of parts stand in the result. Blocks for as long as
    /// parsing takes.
    pub fn prepare(&self, tenant: &TenantId, series: &[PushSeries<'_>]) -> Result<Prepared, Rejected> {
        let mut request = self.request(tenant)?;
        if series.is_empty() {
            return Err(Rejected::invalid(Reason::Unknown, "no profiles received"));
        }
        request.state.metrics.batch_series.observe(series.len() as f64);
        let body_max = body_limit_bytes(&request.limits);
        let mut total = 0usize;
        for series in series {
            for (profile, client_id) in &series.samples {
                let read = self.pprof_part(&mut request, &series.labels, profile, client_id);
                total = total.saturating_add(read);
                if total > body_max {
                    let message = format!(
                        "uncompressed batched profile payload size exceeds limit of {}",
                        si_bytes(body_max as u64)
                    );
                    let parts = request.prepared.bytes.len();
                    request.state.metrics.discard_several(Reason::BodySizeLimitExceeded, parts, total);
                    return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
                }
            }
        }
        Ok(request.prepared)
    }

    /// Sends what was prepared; the first error of any part is the answer.
    pub async fn send(&self, tenant: &TenantId, prepared: Prepared) -> Result<(), DistributeError> {
        let Prepared { records, parts, bytes, error } = prepared;
        let mut first = error.map(|(part, error)| (part, DistributeError::from(error)));
        if !records.is_empty() {
            let outcomes = self.target.push(records).await?;
            let state = self.tenants.of(tenant, &self.metrics)?;
            let mut counted = None;
            for (part, outcome) in parts.into_iter().zip(outcomes) {
                let PushOutcome::Refused { kind, reason, message } = outcome else { continue };
                if counted.replace(part) != Some(part) {
                    let reason = if reason == "series_limit" { Reason::SeriesLimit } else { Reason::Unknown };
                    state.metrics.discard(reason, bytes.get(part as usize).copied().unwrap_or(0));
                }
                if first.as_ref().is_none_or(|(other, _)| part < *other) {
                    first = Some((part, DistributeError::Refused { kind, message }));
                }
            }
        }
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Starts a request of a tenant.
    pub(crate) fn request<'r>(&self, tenant: &'r TenantId) -> Result<Request<'r>, Rejected> {
        let state = self.tenants.of(tenant, &self.metrics)?;
        let limits = self.limits.limits(tenant);
        let rules = state.rules(tenant, &limits)?;
        Ok(Request {
            tenant,
            state,
            limits,
            rules,
            occurrences: Occurrences::default(),
            prepared: Prepared::default(),
        })
    }

    /// One profile of a push; returns its decompressed size.
    fn pprof_part(
        &self,
        request: &mut Request<'_>,
        labels: &[(&str, &str)],
        profile: &[u8],
        client_id: &str,
    ) -> usize {
        let origin = Origin::Push;
        request.isolated(profile.len(), |request, scratch| {
            let Scratch { inflater, raw, pprof: kept, work } = scratch;
            let raw = decoded(inflater, profile, &request.limits, raw)?;
            request.decoded(raw.len());
            let started = self.clock.monotonic();
            let mut pprof = std::mem::take(kept).recycle();
            pprof
                .parse(raw)
                .map_err(|error| Rejected::malformed(format!("failed to parse profile: {error}")))?;
            let parse_seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
            let sent = Sent {
                origin,
                client_id,
                labels,
                compressed_bytes: profile.len(),
                size_bytes: raw.len(),
                identity: raw,
                raw,
                parse_seconds,
            };
            let outcome = self.part(request, work, &mut pprof, &sent);
            *kept = pprof.recycle();
            outcome
        });
        request.prepared.bytes.last().copied().unwrap_or(0)
    }

    /// A parsed profile through the limits and the pipeline.
    pub(crate) fn part<'a, 'r: 'a>(
        &self,
        request: &mut Request<'r>,
        work: &mut Work,
        pprof: &mut Pprof<'a>,
        sent: &Sent<'a>,
    ) -> Result<(), Rejected> {
        let series = labels::with_defaults(sent.labels);
        let label_bytes: usize = series.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = label_bytes + sent.size_bytes;
        let state = Arc::clone(&request.state);
        let metrics = state.metrics.of_type(labels::get(&series, NAME).unwrap_or_default());
        metrics.compressed.observe(sent.compressed_bytes as f64);
        metrics.decompressed.observe(bytes as f64);
        metrics.samples.observe(pprof.samples.len() as f64);
        metrics.samples_bytes.observe((pprof.location_ids.len() * 2 + pprof.values.len() * 3) as f64);
        metrics.parse_seconds.observe(sent.parse_seconds);
        state.metrics.received_stage.observe(bytes as f64);
        state.metrics.received.inc();
        let (rate, burst) = (request.limits.ingestion_rate_mb, request.limits.ingestion_burst_size_mb);
        state.bucket.lock().take(bytes, rate, burst, self.clock.monotonic())?;
        let hash = rid::part(sent.origin, request.tenant, sent.client_id, sent.labels, sent.identity);
        let occurrence = request.occurrences.next(hash);
        let id = PartId { tenant: request.tenant, hash, occurrence };
        let part = Part { id, series, size_bytes: sent.size_bytes, raw: sent.raw };
        let rules = TenantRules {
            limits: &request.limits,
            series: &request.rules.series,
            sample_types: request.rules.sample_types.as_ref(),
            now: self.clock.now(),
        };
        let done = work.run(pprof, &part, rules, &mut request.prepared.records)?;
        metrics.symbols_bytes.observe(done.symbols_bytes as f64);
        state.metrics.normalized_stage.observe(done.record_bytes as f64);
        if done.groups_dropped > 0 {
            let bytes = if done.records == 0 { sent.size_bytes } else { 0 };
            state.metrics.discard_several(Reason::DroppedByRelabelRules, done.groups_dropped, bytes);
        }
        Ok(())
    }
}

impl Request<'_> {
    /// Runs one part with this thread's buffers; its error, or its panic, does not touch the other parts.
    pub(crate) fn isolated(
        &mut self,
        bytes: usize,
        work: impl FnOnce(&mut Self, &mut Scratch) -> Result<(), Rejected>,
    ) {
        let part = self.prepared.bytes.len() as u32;
        let records = self.prepared.records.len();
        self.prepared.bytes.push(bytes);
        let outcome = catch_unwind(AssertUnwindSafe(|| with_scratch(|scratch| work(self, scratch))));
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(tenant = %self.tenant, "a profile made the distributor panic; it is refused");
            Err(Rejected {
                kind: ErrorKind::Internal,
                reason: Reason::Unknown,
                message: "the profile could not be worked on: a defect of the server".to_owned(),
            })
        });
        if let Err(error) = outcome {
            self.prepared.records.truncate(records);
            self.state.metrics.discard(error.reason, self.prepared.bytes[part as usize]);
            self.prepared.error.get_or_insert((part, error));
        }
        self.prepared.parts.resize(self.prepared.records.len(), part);
    }

    /// Says how large the part in work is, decoded.
    pub(crate) fn decoded(&mut self, bytes: usize) {
        if let Some(last) = self.prepared.bytes.last_mut() {
            *last = bytes;
        }
    }

    /// Whether a part was refused.
    pub(crate) fn has_failed(&self) -> bool {
        self.prepared.error.is_some()
    }

    /// What came of all parts.
    pub(crate) fn finish(self) -> Prepared {
        self.prepared
    }
}

/// The bytes of a profile: inflated into `buffer` when they are gzip.
pub(crate) fn decoded<'b>(
    inflater: &mut Inflater,
    profile: &'b [u8],
    limits: &TenantLimits,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Rejected> {
    let limit = profile_limit_bytes(limits);
    let too_large = || too_large(limit);
    if !is_gzip(profile) {
        return if profile.len() > limit { Err(too_large()) } else { Ok(profile) };
    }
    match inflater.inflate(profile, limit, buffer) {
        Ok(()) => Ok(buffer),
        Err(InflateError::TooLarge { .. }) => Err(too_large()),
        Err(error) => Err(Rejected::malformed(format!("failed to decompress profile: {error}"))),
    }
}

/// Bytes of a decoded profile.
pub(crate) fn profile_limit_bytes(limits: &TenantLimits) -> usize {
    let own = limits.max_profile_size_bytes;
    if own == 0 { body_limit_bytes(limits) } else { own }
}

/// A profile is larger than its limit.
pub(crate) fn too_large(limit_bytes: usize) -> Rejected {
    let message =
        format!("uncompressed profile payload size exceeds limit of {}", si_bytes(limit_bytes as u64));
    Rejected::invalid(Reason::ProfileSizeLimit, message)
}

/// Bytes of a request body; `usize::MAX` when the limit is off.
pub(crate) fn body_limit_bytes(limits: &TenantLimits) -> usize {
    let bytes = limits.ingestion_body_limit_mb * 1_048_576.0;
    if bytes > 0.0 { bytes as usize } else { usize::MAX }
}

/// Runs work that may take long: where it is, when it is short or when the runtime has one thread.
pub(crate) fn blocking<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let several = |handle: tokio::runtime::Handle| {
        handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
    };
    if bytes >= INLINE_BYTES_MAX && tokio::runtime::Handle::try_current().is_ok_and(several) {
        return tokio::task::block_in_place(work);
    }
    work()
}

thread_local! {
    static SCRATCH: RefCell<Option<Box<Scratch>>> = const { RefCell::new(None) };
}

/// Lends the buffers of this thread; they are lost when `work` panics.
fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|kept| {
        let mut scratch = kept.borrow_mut().take().unwrap_or_default();
        let out = work(&mut scratch);
        if scratch.raw.capacity() <= KEPT_BYTES_MAX {
            *kept.borrow_mut() = Some(scratch);
        }
        out
    })
}
