//! One request: its parts one after the other through the pipeline, then all records in one push (api-semantics §3.2).
//!
//! Must not know: wire messages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hearth_cluster::push::{PushOutcome, PushTarget};
use hearth_common::limits::raise;
use hearth_common::units::si_bytes;
use hearth_common::{Clock, ErrorKind, LimitsSource, TenantId, TenantLimits, Turn, Turns};
use hearth_formats::pprof::Pprof;
use hearth_model::labels::NAME;
use prometheus_client::registry::Registry;

pub use crate::error::DistributeError;
use crate::labels;
use crate::metrics::Metrics;
use crate::otlp;
use crate::pipeline::{Done, Part, TenantRules, Work};
use crate::ratelimit::{Rate, without_gzip};
use crate::records::PartId;
use crate::reject::{Reason, Rejected};
use crate::rid::{self, Occurrences, Origin};
use crate::scratch::{Scratch, body_limit_bytes, decoded, with_scratch};
use crate::tenant::{Compiled, Tenant, TenantStates};
use crate::usage::{self, Verdict};

/// How many distributors a tenant's pushes are spread over; each lets its share of the rate through.
pub type Replicas = Arc<dyn Fn() -> usize + Send + Sync>;

/// What a distributor is made of.
pub struct DistributorDeps {
    /// Takes the records.
    pub target: Arc<dyn PushTarget>,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many there are.
    pub replicas: Replicas,
    /// Of requests that are parsed.
    pub parsing: Turns,
}

impl std::fmt::Debug for DistributorDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DistributorDeps").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Takes pushes. Stateless but for rate limits.
pub struct Distributor {
    target: Arc<dyn PushTarget>,
    limits: Arc<dyn LimitsSource>,
    pub(crate) clock: Arc<dyn Clock>,
    tenants: TenantStates,
    metrics: Metrics,
    replicas: Replicas,
    /// Threads that parse.
    parsing: Turns,
    /// Requests that were delayed.
    delayed: AtomicU64,
}

impl std::fmt::Debug for Distributor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distributor").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A series of a push: labels as sent, and its profiles.
#[derive(Debug, Clone)]
pub struct PushSeries<'a> {
    /// In any order.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Profiles (pprof, gzipped or plain) and the id that the client gave each, or "".
    pub samples: Vec<(&'a [u8], &'a str)>,
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
    /// The first that was rejected for what is not the client's mistake.
    passing: Option<Rejected>,
    /// All parts that were rejected.
    failed: Vec<u32>,
    /// Until this time of the clock the answer waits, if all is well.
    not_before: Duration,
}

/// What became of a push, part by part.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// The error of the first part that has one.
    pub(crate) first: Option<DistributeError>,
    /// The first error that may pass, if the same is sent once more: a limit, or a defect.
    pub(crate) passing: Option<DistributeError>,
    /// The parts that have one; a part may be named twice.
    pub(crate) failed: Vec<u32>,
    /// How long the answer was held back because the tenant's limits want it.
    pub(crate) delayed: Duration,
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
    rate: Rate,
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
    /// Bytes of the profile as a pprof, decoded, or what they would be.
    pub(crate) size_bytes: usize,
    /// What tells it from other profiles beside its origin: what was sent, decoded.
    pub(crate) identity: &'a [u8],
    /// The bytes that its strings borrow from; empty when it has none of its own.
    pub(crate) raw: &'a [u8],
    /// Seconds that parsing took.
    pub(crate) parse_seconds: f64,
}

impl Distributor {
    /// A distributor.
    pub fn new(deps: DistributorDeps) -> Self {
        let DistributorDeps { target, limits, clock, replicas, parsing } = deps;
        let (tenants, metrics, delayed) = (TenantStates::default(), Metrics::default(), AtomicU64::new(0));
        let parsing = parsing.watched(Arc::clone(&clock), metrics.turns.of("parsing"));
        Self { target, limits, clock, tenants, metrics, replicas, parsing, delayed }
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

    /// A turn to parse a request of a tenant; held while it is parsed.
    pub(crate) async fn turn(&self, tenant: &TenantId) -> Turn {
        self.parsing.take(tenant).await
    }

    /// Works on all parts of a push. An error refuses the whole; errors of parts stand in the result. Blocks for as long as
    /// parsing takes.
    pub fn prepare(&self, tenant: &TenantId, series: &[PushSeries<'_>]) -> Result<Prepared, Rejected> {
        let mut request = self.request(tenant)?;
        if series.is_empty() {
            return Err(Rejected::invalid(Reason::Unknown, "no profiles received"));
        }
        request.state.metrics.batch_series.observe(series.len() as f64);
        rid::bounded(series)?;
        let body_max = body_limit_bytes(&request.limits);
        let mut total = 0usize;
        for series in series {
            for (profile, client_id) in &series.samples {
                let read = self.pprof_part(&mut request, &series.labels, profile, client_id);
                total = total.saturating_add(read);
                if total > body_max {
                    let message = format!(
                        "uncompressed batched profile payload size exceeds limit of {}{}",
                        si_bytes(body_max as u64),
                        raise("ingestion_body_limit_mb")
                    );
                    let parts = request.prepared.bytes.len();
                    request.state.metrics.discard_several(Reason::BodySizeLimitExceeded, parts, total);
                    return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
                }
            }
        }
        Ok(request.prepared)
    }

    /// Works on all profiles of an OTLP export in protobuf, as [`Self::prepare`] does on those of a push.
    pub fn prepare_otlp(&self, tenant: &TenantId, export: &[u8]) -> Result<Prepared, Rejected> {
        otlp::prepare(self, tenant, export, otlp::Encoding::Protobuf).map(|(prepared, _)| prepared)
    }

    /// Counts a body that was given up at its limit.
    pub(crate) fn discarded_body(&self, tenant: &TenantId, bytes: usize) {
        if let Ok(state) = self.tenants.of(tenant, &self.metrics, self.clock.monotonic()) {
            state.metrics.discard(Reason::BodySizeLimitExceeded, bytes);
        }
    }

    /// Sends what was prepared; the first error of any part is the answer. Says how long the answer was held back because the
    /// tenant's limits want it.
    pub async fn send(&self, tenant: &TenantId, prepared: Prepared) -> Result<Duration, DistributeError> {
        let delivery = self.deliver(tenant, prepared).await?;
        delivery.first.map_or(Ok(delivery.delayed), Err)
    }

    /// Sends what was prepared; errors of parts stand in the result.
    pub(crate) async fn deliver(
        &self,
        tenant: &TenantId,
        prepared: Prepared,
    ) -> Result<Delivery, DistributeError> {
        let Prepared { records, parts, bytes, error, passing, failed, not_before } = prepared;
        let mut first = error.map(|(part, error)| (part, DistributeError::from(error)));
        let passing = passing.map(DistributeError::from);
        let mut delivery = Delivery { passing, failed, ..Delivery::default() };
        if !records.is_empty() {
            let outcomes = self.target.push(records).await?;
            let state = self.tenants.of(tenant, &self.metrics, self.clock.monotonic())?;
            let mut counted = None;
            for (part, outcome) in parts.into_iter().zip(outcomes) {
                let PushOutcome::Refused { kind, reason, message } = outcome else { continue };
                if counted.replace(part) != Some(part) {
                    let reason = if reason == "series_limit" { Reason::SeriesLimit } else { Reason::Unknown };
                    state.metrics.discard(reason, bytes.get(part as usize).copied().unwrap_or(0));
                }
                let error = DistributeError::Refused { kind, message };
                delivery.failed.push(part);
                if kind != ErrorKind::InvalidArgument && delivery.passing.is_none() {
                    delivery.passing = Some(error.clone());
                }
                if first.as_ref().is_none_or(|(other, _)| part < *other) {
                    first = Some((part, error));
                }
            }
        }
        delivery.first = first.map(|(_, error)| error);
        let wait = not_before.saturating_sub(self.clock.monotonic());
        if delivery.first.is_none() && !wait.is_zero() {
            tokio::time::sleep(wait).await;
            delivery.delayed = wait;
        }
        Ok(delivery)
    }

    /// Starts a request of a tenant.
    pub(crate) fn request<'r>(&self, tenant: &'r TenantId) -> Result<Request<'r>, Rejected> {
        let state = self.tenants.of(tenant, &self.metrics, self.clock.monotonic())?;
        let limits = self.limits.limits(tenant);
        let rules = state.rules(tenant, &limits)?;
        let delay = limits.ingestion_artificial_delay.0;
        let not_before = match delay.is_zero() {
            true => Duration::ZERO,
            false => {
                self.clock.monotonic() + usage::spread(delay, self.delayed.fetch_add(1, Ordering::Relaxed))
            }
        };
        let rate = Rate {
            limit_mb: limits.ingestion_rate_mb,
            burst_mb: limits.ingestion_burst_size_mb,
            replicas: (self.replicas)(),
        };
        Ok(Request {
            tenant,
            state,
            limits,
            rate,
            rules,
            occurrences: Occurrences::default(),
            prepared: Prepared { not_before, ..Prepared::default() },
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
            self.check_rate(request, without_gzip(profile.len()))?;
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

    /// Refuses a part of which no fewer bytes than these will be counted, if they alone go over the tenant's rate: before
    /// anything is inflated or converted.
    pub(crate) fn check_rate(&self, request: &Request<'_>, least_bytes: usize) -> Result<(), Rejected> {
        request.state.bucket.lock().check(least_bytes, request.rate, self.clock.monotonic())
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
        let groups = request.rules.usage_groups.of(&series);
        groups.counted().for_each(|group| state.metrics.group_received(&metrics.name, group, bytes));
        let taken = self.taken(request, work, pprof, sent, (series, &groups, bytes));
        let done = match taken {
            Ok(Some(done)) => done,
            Ok(None) => {
                left_out(&state, &groups, bytes);
                return Ok(());
            }
            Err(rejected) => {
                let reason = rejected.reason;
                groups.counted().for_each(|group| state.metrics.group_discarded(reason, group, bytes));
                return Err(rejected);
            }
        };
        metrics.symbols_bytes.observe(done.symbols_bytes as f64);
        state.metrics.normalized_stage.observe(done.record_bytes as f64);
        if done.groups_dropped > 0 {
            let bytes = if done.records == 0 { sent.size_bytes } else { 0 };
            state.metrics.discard_several(Reason::DroppedByRelabelRules, done.groups_dropped, bytes);
        }
        Ok(())
    }

    /// A profile through the limits, and if it is kept through the pipeline; `None` = a rule of sampling drops it.
    fn taken<'a, 'r: 'a>(
        &self,
        request: &mut Request<'r>,
        work: &mut Work,
        pprof: &mut Pprof<'a>,
        sent: &Sent<'a>,
        (series, groups, bytes): (Vec<labels::Label<'a>>, &usage::Matched, usize),
    ) -> Result<Option<Done>, Rejected> {
        let (state, limits, now) = (&request.state, &request.limits, self.clock.monotonic());
        let hash = rid::part(sent.origin, request.tenant, sent.client_id, sent.labels, sent.identity);
        let verdict = usage::decide(limits, groups, &mut state.trickles.lock(), (now, usage::chance(hash)))?;
        state.bucket.lock().take(bytes, request.rate, now)?;
        let (annotations, totals_only) = match verdict {
            Verdict::Keep(annotations) => (annotations, false),
            Verdict::Totals(annotations) => (annotations, true),
            Verdict::Drop => return Ok(None),
        };
        let occurrence = request.occurrences.next(hash);
        let id = PartId { tenant: request.tenant, hash, occurrence };
        let Sent { raw, size_bytes, .. } = *sent;
        let part = Part { id, series, raw, size_bytes, annotations, totals_only };
        let rules = TenantRules {
            limits: &request.limits,
            series: &request.rules.series,
            sample_types: request.rules.sample_types.as_ref(),
            now: self.clock.now(),
        };
        let done = work.run(pprof, &part, rules, &mut request.prepared.records)?;
        if totals_only {
            left_out(state, groups, bytes);
        }
        Ok(Some(done))
    }
}

/// Counts a profile that a rule of sampling has left out, as a whole or all but its totals.
fn left_out(state: &Tenant, groups: &usage::Matched, bytes: usize) {
    let reason = Reason::DroppedBySamplingRules;
    state.metrics.discard(reason, bytes);
    groups.counted().for_each(|group| state.metrics.group_discarded(reason, group, bytes));
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
            self.prepared.failed.push(part);
            if error.kind != ErrorKind::InvalidArgument && self.prepared.passing.is_none() {
                self.prepared.passing = Some(error.clone());
            }
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
