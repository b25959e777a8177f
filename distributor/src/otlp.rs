//! An OTLP export through the pipeline: decoded once, each of its profiles a part of one push.
//!
//! Must not know: HTTP, gRPC.

use hearth_common::TenantId;
use hearth_common::units::si_bytes;
use hearth_formats::otlp::{Otlp, OtlpError, json};
use hearth_formats::pprof::Pprof;

use crate::Distributor;
use crate::distributor::{Prepared, Request, Sent};
use crate::ingest::otlp::{self, Converter, PARTS_MAX, Part, ScopeLabels, Siblings, Texts, WrongTypes};
use crate::reject::{Reason, Rejected};
use crate::rid::{self, Origin};
use crate::scratch::{Scratch, body_limit_bytes};

/// Bytes of one profile, as pprof, whatever the tenant's limits.
const PROFILE_BYTES_MAX: usize = 128 << 20;

/// How the bytes of an export are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Protobuf.
    Protobuf,
    /// JSON as protobuf maps it.
    Json,
}

/// What an export held, beside its records.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Profiles that have samples.
    pub(crate) profiles: usize,
    /// Samples that mean nothing.
    pub(crate) unusable_samples: u64,
    /// The profiles of each part.
    of_part: Vec<Siblings>,
}

impl Report {
    /// How many profiles these parts are of.
    pub(crate) fn profiles_of(&self, parts: &[u32]) -> usize {
        let mut profiles: Vec<_> = parts
            .iter()
            .filter_map(|part| self.of_part.get(*part as usize))
            .map(|siblings| (siblings.first, siblings.count))
            .collect();
        profiles.sort_unstable();
        profiles.dedup();
        profiles.iter().map(|(_, count)| *count as usize).sum()
    }
}

/// Works on all profiles of an export. An error refuses the whole; errors of profiles stand in the result. Blocks for as long
/// as parsing takes.
pub(crate) fn prepare(
    distributor: &Distributor,
    tenant: &TenantId,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<(Prepared, Report), Rejected> {
    let request = distributor.request(tenant)?;
    let state = std::sync::Arc::clone(&request.state);
    let outcome = decode(distributor, request, bytes, encoding);
    if let Err(error) = &outcome {
        state.metrics.discard(error.reason, bytes.len());
    }
    outcome
}

fn decode(
    distributor: &Distributor,
    request: Request<'_>,
    bytes: &[u8],
    encoding: Encoding,
) -> Result<(Prepared, Report), Rejected> {
    let body_max = body_limit_bytes(&request.limits);
    if bytes.len() > body_max {
        let limit = si_bytes(body_max as u64);
        let message = format!("the export exceeds the limit of {limit}: send fewer profiles at once");
        return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
    }
    let started = distributor.clock.monotonic();
    let protobuf;
    let otlp = match encoding {
        Encoding::Protobuf => Otlp::parse(bytes),
        Encoding::Json => {
            let (translated, layout) =
                json::to_protobuf(bytes).map_err(|error| Rejected::malformed(error.to_string()))?;
            protobuf = translated;
            json::parse(&protobuf, layout)
        }
    };
    let otlp = otlp.map_err(unreadable)?;
    let parse_seconds = distributor.clock.monotonic().saturating_sub(started).as_secs_f64();
    let texts = Texts::new(&otlp);
    let own = request.limits.max_profile_size_bytes;
    let bytes_max = if own == 0 { body_max } else { own }.min(PROFILE_BYTES_MAX);
    let mut export = Export {
        distributor,
        otlp: &otlp,
        texts: &texts,
        converter: Converter::new(&otlp, &texts, request.limits.max_profile_stacktrace_depth, bytes_max),
        hash: rid::export(bytes),
        sent_bytes: bytes.len(),
        parse_seconds,
        bytes_max,
        body_max,
        total_bytes: 0,
        request,
        report: Report::default(),
    };
    export.profiles()?;
    Ok((export.request.finish(), export.report))
}

/// An export that was not read to its end.
fn unreadable(error: OtlpError) -> Rejected {
    let reason = match error {
        OtlpError::Arrays { .. } => Reason::BodySizeLimitExceeded,
        _ => Reason::MalformedProfile,
    };
    Rejected::invalid(reason, error.to_string())
}

/// An export in work.
struct Export<'o, 'r> {
    distributor: &'o Distributor,
    otlp: &'o Otlp<'o>,
    texts: &'o Texts,
    converter: Converter<'o>,
    hash: u128,
    sent_bytes: usize,
    parse_seconds: f64,
    bytes_max: usize,
    body_max: usize,
    /// Of all profiles so far, as pprof.
    total_bytes: usize,
    request: Request<'r>,
    report: Report,
}

impl<'o, 'r: 'o> Export<'o, 'r> {
    fn profiles(&mut self) -> Result<(), Rejected> {
        let (otlp, texts) = (self.otlp, self.texts);
        let series = otlp.profiles.len() as f64;
        self.request.state.metrics.batch_series.observe(series);
        let mut labels: Option<(u32, Result<ScopeLabels<'o>, String>)> = None;
        for siblings in otlp::siblings(otlp) {
            let profile = &otlp.profiles[siblings.first as usize];
            self.report.profiles += siblings.count as usize;
            if labels.as_ref().is_none_or(|(scope, _)| *scope != profile.scope) {
                labels = Some((profile.scope, ScopeLabels::new(otlp, texts, profile)));
            }
            let named = match &labels {
                Some((_, Ok(labels))) => Ok(labels),
                Some((_, Err(what))) => Err(what.clone()),
                None => continue,
            };
            let planned = named.map_err(WrongTypes::from).and_then(|labels| {
                let parts = otlp::parts(otlp, texts, profile, labels.is_named())?;
                Ok((labels, self.converter.name(siblings)?, parts))
            });
            match planned {
                Ok((labels, name, parts)) => {
                    for part in &parts {
                        self.part(siblings, name, labels, part)?;
                    }
                }
                Err(WrongTypes { reason, what }) => {
                    self.next_part(siblings)?;
                    self.request
                        .isolated(0, |_, _| Err(Rejected { reason, ..otlp::refused(otlp, siblings, what) }));
                }
            }
        }
        Ok(())
    }

    fn next_part(&mut self, siblings: Siblings) -> Result<(), Rejected> {
        if self.report.of_part.len() >= PARTS_MAX {
            let message =
                format!("the export has more than {PARTS_MAX} profiles and services: send fewer at once");
            return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
        }
        self.report.of_part.push(siblings);
        Ok(())
    }

    fn part(
        &mut self,
        siblings: Siblings,
        name: &'o str,
        labels: &ScopeLabels<'o>,
        part: &Part<'o>,
    ) -> Result<(), Rejected> {
        self.next_part(siblings)?;
        let service_name = labels.service(part.service);
        let labels = labels.with(name, part.service, &service_name);
        let Self { distributor, otlp, ref mut converter, bytes_max, .. } = *self;
        let origin = Origin::Otlp { export: self.hash, profile: siblings.first };
        // The bytes and the time of the whole are shared out evenly: nothing says which profile they belong to.
        let share = f64::from(siblings.count) / otlp.profiles.len().max(1) as f64;
        let compressed_bytes = (self.sent_bytes as f64 * share) as usize;
        let parse_seconds = self.parse_seconds * share;
        let mut filled = otlp::Filled::default();
        self.request.isolated(0, |request, scratch| {
            let Scratch { pprof: kept, work, .. } = scratch;
            // How large the export was as sent says nothing: a part of its tables may be all that its profiles use.
            let least =
                converter.least_bytes(siblings, part).map_err(|what| otlp::refused(otlp, siblings, what))?;
            if least <= bytes_max {
                request.decoded(least);
                distributor.check_rate(request, least)?;
            }
            let mut pprof: Pprof<'_> = std::mem::take(kept).recycle();
            filled = converter
                .fill(siblings, part, &mut pprof)
                .map_err(|what| otlp::refused(otlp, siblings, what))?;
            request.decoded(filled.bytes);
            if filled.bytes > bytes_max {
                let message = format!("as pprof it exceeds the size limit of {}", si_bytes(bytes_max as u64));
                let refused = otlp::refused(otlp, siblings, message);
                return Err(Rejected { reason: Reason::ProfileSizeLimit, ..refused });
            }
            if pprof.samples.is_empty() {
                let unusable = std::mem::take(&mut filled.unusable);
                let what = format!("none of its {unusable} samples has a value or a timestamp");
                return Err(otlp::refused(otlp, siblings, what));
            }
            let sent = Sent {
                origin,
                client_id: "",
                labels: &labels,
                compressed_bytes,
                size_bytes: filled.bytes,
                // The origin tells it from others.
                identity: &[],
                raw: &[],
                parse_seconds,
            };
            let outcome = distributor.part(request, work, &mut pprof, &sent);
            *kept = pprof.recycle();
            outcome
        });
        self.report.unusable_samples += u64::from(filled.unusable);
        self.total_bytes = self.total_bytes.saturating_add(filled.bytes);
        if self.total_bytes > self.body_max {
            let limit = si_bytes(self.body_max as u64);
            let message =
                format!("the profiles of the export exceed, as pprof, the limit of {limit} together");
            return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
        }
        Ok(())
    }
}
