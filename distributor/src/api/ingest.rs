//! `/ingest` over HTTP (api-semantics §3.12): 400 for what the parameters say, 422 for what the body says.

mod jfr;
mod speedscope;
mod text;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use bytes::Bytes;
use hearth_common::{ErrorKind, TenantId};
use hearth_formats::app_name::AppName;
use hearth_model::labels::SERVICE_NAME;
use hearth_rpc::{HttpError, RequestContext};
use http::{HeaderMap, header};

use super::{form, limited_body, say_delay};
use crate::Distributor;
use crate::distributor::{DistributeError, Prepared, Sent};
use crate::ingest::SeriesLabels;
use crate::ingest::params::{Format, Params};
use crate::ingest::pprof::{Quirks, TypeConfigs, mend_time, name};
use crate::ratelimit::without_gzip;
use crate::reject::Rejected;
use crate::rid::Origin;
use crate::scratch::{Scratch, decoded, in_turn};
use crate::validate::sample_types;

/// Takes one profile; the answer is headers alone.
pub(crate) async fn ingest(
    State(distributor): State<Arc<Distributor>>,
    context: RequestContext,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<HeaderMap, HttpError> {
    let tenant = context.tenants.single().map_err(HttpError::from)?;
    let params = Params::new(&query);
    params.app().map_err(|error| HttpError::with_status(400, format!("name: {error}")))?;
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = limited_body(&distributor, tenant, body).await?;
    let ingest = Ingest { distributor: &distributor, tenant, params: &params };
    let Some(prepared) = ingest.prepare(content_type, body).await? else { return Ok(HeaderMap::new()) };
    say_delay(&context, distributor.send(tenant, prepared).await.map_err(status)?);
    Ok(context.response_headers())
}

impl Distributor {
    /// Works on the body of a request to `/ingest`, given its query and content type, as [`Self::prepare`] does on a push.
    /// `None`: a form that holds no profile. Needs a runtime of several threads.
    pub async fn prepare_ingest(
        &self,
        tenant: &TenantId,
        query: &[(String, String)],
        content_type: &str,
        body: Bytes,
    ) -> Result<Option<Prepared>, HttpError> {
        let params = Params::new(query);
        Ingest { distributor: self, tenant, params: &params }.prepare(content_type, body).await
    }
}

/// Limits are 429 and outages 5xx; everything else is the client's, 422.
fn status(error: DistributeError) -> HttpError {
    match error {
        DistributeError::Rejected(Rejected { kind: ErrorKind::InvalidArgument, message, .. })
        | DistributeError::Refused { kind: ErrorKind::InvalidArgument, message } => {
            HttpError::with_status(422, message)
        }
        error => HttpError::from(error),
    }
}

fn rejected(error: Rejected) -> HttpError {
    status(error.into())
}

/// A request whose parameters are read.
struct Ingest<'a> {
    distributor: &'a Distributor,
    tenant: &'a TenantId,
    params: &'a Params,
}

impl Ingest<'_> {
    /// What a body holds, by what its format is said to be; `None` for a form without a profile.
    async fn prepare(&self, content_type: &str, body: Bytes) -> Result<Option<Prepared>, HttpError> {
        let turn = self.distributor.turn(self.tenant).await;
        match self.params.format(content_type) {
            Format::Jfr => self.jfr_request(&turn, content_type, body).await,
            Format::Pprof => in_turn(&turn, body.len(), || self.pprof(&body, None)),
            Format::PprofForm => {
                let files = form::files(content_type, body).await.map_err(|error| {
                    let message = format!("failed to parse pprof /ingest multipart form {error}");
                    HttpError::with_status(422, message)
                })?;
                let Some((profile, configs)) = self.form(files)? else { return Ok(None) };
                in_turn(&turn, profile.len(), || self.pprof(&profile, configs.as_ref()))
            }
            Format::Groups => in_turn(&turn, body.len(), || self.stacks(&body, text::groups)),
            Format::Lines => in_turn(&turn, body.len(), || self.stacks(&body, text::lines)),
            Format::Tree => in_turn(&turn, body.len(), || self.stacks(&body, text::tree)),
            Format::Trie => in_turn(&turn, body.len(), || self.stacks(&body, text::trie)),
            Format::Speedscope => in_turn(&turn, body.len(), || self.speedscope(&body)),
        }
        .map(Some)
    }

    fn app(&self) -> Result<AppName<'_>, HttpError> {
        self.params.app().map_err(|error| HttpError::with_status(400, format!("name: {error}")))
    }

    fn origin(&self) -> Origin<'_> {
        let Params { name, from, until, format, .. } = self.params;
        Origin::Ingest { name, from, until, format }
    }

    /// The profile of a form and what it says of sample types; `None` when there is no profile.
    fn form(&self, files: Vec<(String, Bytes)>) -> Result<Option<(Bytes, Option<TypeConfigs>)>, HttpError> {
        let (mut profile, mut configs) = (None, None);
        for (field, bytes) in files {
            match field.as_str() {
                "profile" => profile = Some(bytes),
                "sample_type_config" => {
                    configs = Some(serde_json::from_slice(&bytes).map_err(|error| {
                        HttpError::with_status(422, format!("failed to parse sample_type_config: {error}"))
                    })?);
                }
                "prev_profile" => {
                    let message = "failed to parse pprof /ingest multipart form: unsupported client version: \
                                   cumulative pairs of profiles are not taken any more, update the client";
                    return Err(HttpError::with_status(422, message));
                }
                _ => {}
            }
        }
        Ok(profile.map(|profile| (profile, configs)))
    }

    fn pprof(&self, profile: &[u8], configs: Option<&TypeConfigs>) -> Result<Prepared, HttpError> {
        let mut request = self.distributor.request(self.tenant).map_err(rejected)?;
        if profile.is_empty() {
            return Ok(request.finish());
        }
        let app = self.app()?;
        let clock = &self.distributor.clock;
        let from = self.params.times(clock.now()).0;
        request.isolated(profile.len(), |request, scratch| {
            let Scratch { inflater, raw, pprof: kept, work } = scratch;
            self.distributor.check_rate(request, without_gzip(profile.len()))?;
            let raw = decoded(inflater, profile, &request.limits, raw)?;
            request.decoded(raw.len());
            let started = clock.monotonic();
            let mut pprof = std::mem::take(kept).recycle();
            pprof
                .parse(raw)
                .map_err(|error| Rejected::malformed(format!("failed to parse profile: {error}")))?;
            let parse_seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
            sample_types(&pprof)?;
            mend_time(&mut pprof, from);
            let mut labels = SeriesLabels::new(&name(&pprof, configs), &self.params.spy, &app);
            if !labels.has(SERVICE_NAME) {
                labels.set(SERVICE_NAME, app.app);
            }
            let labels = labels.pairs();
            let sent = Sent {
                origin: self.origin(),
                client_id: "",
                labels: &labels,
                compressed_bytes: profile.len(),
                size_bytes: raw.len(),
                identity: raw,
                raw,
                parse_seconds,
            };
            let quirks = Quirks::new(&pprof, &self.params.spy, configs)?;
            quirks.apply(&mut pprof);
            let outcome = self.distributor.part(request, work, &mut pprof, &sent);
            *kept = pprof.recycle();
            outcome
        });
        Ok(request.finish())
    }
}
