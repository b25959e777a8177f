//! Bodies of stacks: folded, lines, tree and trie.

use hearth_formats::gunzip::is_gzip;
use hearth_formats::stacks::{StackLimits, StackTree};
use hearth_formats::{folded, tree, trie};
use hearth_model::labels::SERVICE_NAME;
use hearth_rpc::HttpError;

use super::{Ingest, rejected};
use crate::distributor::{Prepared, Request, Sent};
use crate::ingest::text::{TextProfile, Values, to_pprof};
use crate::ingest::{SeriesLabels, profile_type};
use crate::reject::Rejected;
use crate::scratch::{Scratch, profile_limit_bytes, too_large};

/// Reads a body; an error says what is wrong with it and where.
pub(super) type Parse = fn(&[u8], StackLimits) -> Result<StackTree, String>;

pub(super) fn groups(body: &[u8], limits: StackLimits) -> Result<StackTree, String> {
    folded::parse_groups(body, limits).map_err(|error| format!("failed to parse stacks: {error}"))
}

pub(super) fn lines(body: &[u8], limits: StackLimits) -> Result<StackTree, String> {
    folded::parse_lines(body, limits).map_err(|error| format!("failed to parse stacks: {error}"))
}

pub(super) fn tree(body: &[u8], limits: StackLimits) -> Result<StackTree, String> {
    tree::parse(body, limits).map_err(|error| format!("failed to parse tree: {error}"))
}

pub(super) fn trie(body: &[u8], limits: StackLimits) -> Result<StackTree, String> {
    trie::parse(body, limits).map_err(|error| format!("failed to parse trie: {error}"))
}

/// Stacks that are read, with all that makes a profile of them.
pub(super) struct TextPart<'a> {
    pub(super) stacks: &'a StackTree,
    pub(super) profile: TextProfile,
    pub(super) labels: &'a SeriesLabels,
    /// Bytes that were sent.
    pub(super) sent_bytes: usize,
    /// What tells it from other profiles.
    pub(super) identity: &'a [u8],
}

impl Ingest<'_> {
    /// A body that is one profile.
    pub(super) fn stacks(&self, body: &[u8], parse: Parse) -> Result<Prepared, HttpError> {
        let mut request = self.distributor.request(self.tenant).map_err(rejected)?;
        let app = self.app()?;
        let (service, ty) = profile_type::of_app(app.app).map_err(|error| {
            let message = format!("pyroscopeIngesterAdapter failed to convert metadata: {error}");
            HttpError::with_status(400, message)
        })?;
        if self.is_span_profile() {
            return Ok(request.finish());
        }
        refuse_gzip(body)?;
        let mut labels = SeriesLabels::new(ty.name, &self.params.spy, &app);
        labels.set(if labels.has(SERVICE_NAME) { "app_name" } else { SERVICE_NAME }, service);
        let values = Values::Samples(self.params.sample_rate);
        let profile = TextProfile { ty, values, times: self.params.times(self.distributor.clock.now()) };
        request.isolated(body.len(), |request, scratch| {
            let stacks = parse(body, limits_of(request)).map_err(Rejected::malformed)?;
            let part = TextPart {
                stacks: &stacks,
                profile,
                labels: &labels,
                sent_bytes: body.len(),
                identity: body,
            };
            self.text_part(request, scratch, &part).map(drop)
        });
        Ok(request.finish())
    }

    /// Stacks through the pipeline; returns their size as a pprof.
    pub(super) fn text_part(
        &self,
        request: &mut Request<'_>,
        scratch: &mut Scratch,
        part: &TextPart<'_>,
    ) -> Result<usize, Rejected> {
        let limit = profile_limit_bytes(&request.limits);
        let (mut pprof, size_bytes) =
            to_pprof(part.stacks, part.profile, limit).map_err(|_| too_large(limit))?;
        request.decoded(size_bytes);
        let labels = part.labels.pairs();
        let sent = Sent {
            origin: self.origin(),
            client_id: "",
            labels: &labels,
            compressed_bytes: part.sent_bytes,
            size_bytes,
            identity: part.identity,
            raw: part.stacks.text().as_bytes(),
            parse_seconds: 0.0,
        };
        self.distributor.part(request, &mut scratch.work, &mut pprof, &sent)?;
        Ok(size_bytes)
    }

    /// Span profiles of old clients came this way; the reference takes and forgets them.
    pub(super) fn is_span_profile(&self) -> bool {
        self.params.app().is_ok_and(|app| app.labels.iter().any(|(name, _)| *name == "profile_id"))
    }
}

/// The bounds of what a body may be read into.
pub(super) fn limits_of(request: &Request<'_>) -> StackLimits {
    StackLimits {
        size_bytes_max: profile_limit_bytes(&request.limits),
        name_bytes_max: request.limits.max_profile_symbol_value_length,
        children_max: request.limits.max_profile_stacktrace_samples,
    }
}

pub(super) fn refuse_gzip(body: &[u8]) -> Result<(), HttpError> {
    if is_gzip(body) {
        let message = "the body is gzip: only pprof and JFR may be compressed, send it as it is";
        return Err(HttpError::with_status(422, message));
    }
    Ok(())
}
