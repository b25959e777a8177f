//! `/ingest` of flight recordings: the whole body, or a form with the recording and the labels of its contexts.

use bytes::Bytes;
use hearth_common::Turn;
use hearth_common::units::si_bytes;
use hearth_formats::gunzip::is_gzip;
use hearth_formats::jfr::Recording;
use hearth_formats::jfr::snapshot::LabelsSnapshot;
use hearth_formats::pprof::Pprof;
use hearth_model::labels::SERVICE_NAME;
use hearth_rpc::HttpError;

use super::{Ingest, form, rejected};
use crate::distributor::{Prepared, Sent};
use crate::ingest::SeriesLabels;
use crate::ingest::jfr::{Timing, profiles};
use crate::reject::{Reason, Rejected};
use crate::scratch::{Scratch, body_limit_bytes, decoded, in_turn};

/// The label that says what the profiler samples by.
const JFR_EVENT: &str = "jfr_event";
/// How much a gzipped recording grows, about.
const GROWTH: usize = 4;

impl Ingest<'_> {
    /// A recording as it comes in a request.
    pub(super) async fn jfr_request(
        &self,
        turn: &Turn,
        content_type: &str,
        body: Bytes,
    ) -> Result<Prepared, HttpError> {
        if !content_type.contains("multipart/form-data") {
            if is_gzip(&body) {
                let message = "the body is gzip: a recording that is the whole body is sent uncompressed; in a form \
                               (file part 'jfr') it may be gzip";
                return Err(HttpError::with_status(422, message));
            }
            return in_turn(turn, body.len(), || self.jfr(&body, None));
        }
        let refuse = |error: &str| {
            HttpError::with_status(422, format!("failed to parse jfr /ingest multipart form: {error}"))
        };
        let files = form::files(content_type, body).await.map_err(|error| refuse(&error))?;
        let file =
            |name: &str| files.iter().rfind(|(field, _)| field == name).map(|(_, bytes)| bytes.clone());
        let Some(recording) = file("jfr") else {
            let message = "the file part 'jfr' is missing (a part is a file when it has a filename)";
            return Err(refuse(message));
        };
        let labels = file("labels");
        in_turn(turn, recording.len().saturating_mul(GROWTH), || self.jfr(&recording, labels.as_deref()))
    }

    /// All profiles of a recording, or none. `labels` is a snapshot; both may be gzip.
    fn jfr(&self, recording: &[u8], labels: Option<&[u8]>) -> Result<Prepared, HttpError> {
        let mut request = self.distributor.request(self.tenant).map_err(rejected)?;
        if recording.is_empty() {
            return Ok(request.finish());
        }
        let app = self.params.app().map_err(|error| HttpError::with_status(400, format!("name: {error}")))?;
        let clock = &self.distributor.clock;
        let timing = Timing { times: self.params.times(clock.now()), sample_rate: self.params.sample_rate };
        request.isolated(recording.len(), |request, scratch| {
            let Scratch { inflater, raw, work, .. } = scratch;
            let (mut snapshot_bytes, limits) = (Vec::new(), std::sync::Arc::clone(&request.limits));
            let snapshot = match labels {
                Some(labels) => decoded(inflater, labels, &limits, &mut snapshot_bytes)?,
                None => &[],
            };
            let raw = decoded(inflater, recording, &limits, raw)?;
            request.decoded(raw.len());
            let started = clock.monotonic();
            let malformed = |error: String| Rejected::malformed(format!("failed to parse jfr: {error}"));
            let snapshot = LabelsSnapshot::parse(snapshot).map_err(|error| malformed(error.to_string()))?;
            let read = Recording::parse(raw).map_err(|error| malformed(error.to_string()))?;
            let own = limits.max_profile_size_bytes;
            let limit = if own == 0 { body_limit_bytes(&limits) } else { own };
            let profiles = profiles(&read, &snapshot, timing, limit).map_err(|(name, error)| {
                let limit = si_bytes(error.limit_bytes as u64);
                let message = format!(
                    "the {name} profile of the recording is larger than the limit of a profile, {limit}: upload more often"
                );
                Rejected::invalid(Reason::ProfileSizeLimit, message)
            })?;
            // The recording is counted once, with the first of its profiles.
            let mut compressed_bytes = recording.len();
            let mut parse_seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
            for profile in &profiles {
                let mut pprof = Pprof::default();
                pprof.parse(&profile.pprof).map_err(|error| malformed(error.to_string()))?;
                let mut labels = SeriesLabels::new(profile.name, &self.params.spy, &app);
                if !read.event().is_empty() {
                    labels.set(JFR_EVENT, read.event());
                }
                labels.set(if labels.has(SERVICE_NAME) { "app_name" } else { SERVICE_NAME }, app.app);
                let labels = labels.pairs();
                let sent = Sent {
                    origin: self.origin(),
                    client_id: "",
                    labels: &labels,
                    compressed_bytes: std::mem::take(&mut compressed_bytes),
                    size_bytes: profile.pprof.len(),
                    identity: &profile.pprof,
                    raw: &profile.pprof,
                    parse_seconds: std::mem::take(&mut parse_seconds),
                };
                self.distributor.part(request, work, &mut pprof, &sent)?;
            }
            Ok(())
        });
        Ok(request.finish())
    }
}
