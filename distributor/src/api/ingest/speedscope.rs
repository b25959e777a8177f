//! Documents of speedscope: each group of profiles is a profile of its own.
//!
//! Where the reference loses or changes values it is not followed (docs/clients.md).

use hearth_common::units::si_bytes;
use hearth_formats::speedscope::{Document, Group, Unit};
use hearth_model::labels::SERVICE_NAME;
use hearth_rpc::HttpError;
use xxhash_rust::xxh3::xxh3_128;

use super::text::{TextPart, limits_of, refuse_gzip};
use super::{Ingest, rejected};
use crate::distributor::Prepared;
use crate::ingest::text::{TextProfile, Values};
use crate::ingest::{SeriesLabels, profile_type};
use crate::reject::{Reason, Rejected};
use crate::scratch::body_limit_bytes;

/// The label that tells the profiles of a document apart.
const PROFILE_NAME: &str = "profile_name";

impl Ingest<'_> {
    /// A document; the first profile that is refused ends it.
    pub(super) fn speedscope(&self, body: &[u8]) -> Result<Prepared, HttpError> {
        let mut request = self.distributor.request(self.tenant).map_err(rejected)?;
        let app = self.app()?;
        if self.is_span_profile() {
            return Ok(request.finish());
        }
        refuse_gzip(body)?;
        let document = match Document::parse(body) {
            Ok(document) => document,
            Err(error) => {
                request.isolated(body.len(), |_, _| Err(Rejected::malformed(error.to_string())));
                return Ok(request.finish());
            }
        };
        // Hashing the whole body for each of its profiles would take quadratic time.
        let identity = xxh3_128(body).to_le_bytes();
        let times = self.params.times(self.distributor.clock.now());
        let mut size_bytes = 0usize;
        for group in document.groups() {
            let typed = typed(app.app, group, document.groups().len() > 1);
            request.isolated(body.len(), |request, scratch| {
                let (service, ty) = profile_type::of_app(&typed)
                    .map_err(|error| Rejected::malformed(format!("profile {:?}: {error}", group.name)))?;
                let (values, worth) = worth(ty, group.unit, self.params.sample_rate);
                let stacks = document.stacks(group, worth, limits_of(request)).map_err(|error| {
                    let message = format!("profile {:?}: {error}", group.name);
                    Rejected::invalid(Reason::ProfileSizeLimit, message)
                })?;
                let mut labels = SeriesLabels::new(ty.name, &self.params.spy, &app);
                labels.set(if labels.has(SERVICE_NAME) { "app_name" } else { SERVICE_NAME }, service);
                if !group.name.is_empty() {
                    labels.set(PROFILE_NAME, &group.name);
                }
                let profile = TextProfile { ty, values, times };
                let part = TextPart {
                    stacks: &stacks,
                    profile,
                    labels: &labels,
                    sent_bytes: body.len(),
                    identity: &identity,
                };
                size_bytes += self.text_part(request, scratch, &part)?;
                // As for a push of several profiles: one document may not become more than a body may be.
                let limit = body_limit_bytes(&request.limits);
                if size_bytes > limit {
                    let limit = si_bytes(limit as u64);
                    let message =
                        format!("uncompressed batched profile payload size exceeds limit of {limit}");
                    return Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message));
                }
                Ok(())
            });
            if request.has_failed() {
                break;
            }
        }
        Ok(request.finish())
    }
}

/// The application with the suffix that says the type of a group's values: profiles of several kinds are told apart by their
/// units. Bytes are never time, whatever the application does not say.
fn typed(app: &str, group: &Group, several: bool) -> String {
    let named = several && group.unit != Unit::None || group.unit == Unit::Bytes && !app.contains('.');
    if named { format!("{app}.{}", group.unit.as_str()) } else { app.to_owned() }
}

/// What values are after they were multiplied by the number.
fn worth(ty: profile_type::TextType, unit: Unit, sample_rate: u32) -> (Values, f64) {
    if !ty.timed {
        let is_ns = ty.unit == "nanoseconds";
        return (Values::Samples(0), unit.ns().filter(|_| is_ns).unwrap_or(1.0));
    }
    match (unit, Values::Samples(sample_rate).ns()) {
        (Unit::None, Some(ns)) => (Values::Ns, ns as f64),
        (Unit::None | Unit::Bytes, _) => (Values::Samples(0), 1.0),
        (unit, _) => (Values::Ns, unit.ns().unwrap_or(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_values_are_worth() {
        let check = |app: &str, unit: Unit, rate: u32, values: Values, want: f64| {
            let (_, ty) = profile_type::of_app(app).expect("known");
            assert_eq!(worth(ty, unit, rate), (values, want), "{app} {unit:?} {rate}");
        };
        check("a", Unit::None, 100, Values::Ns, 1e7);
        check("a", Unit::None, 0, Values::Samples(0), 1.0);
        check("a", Unit::Seconds, 100, Values::Ns, 1e9);
        check("a", Unit::Seconds, 0, Values::Ns, 1e9);
        check("a.wall", Unit::Nanoseconds, 49, Values::Ns, 1.0);
        check("a.cpu", Unit::Bytes, 100, Values::Samples(0), 1.0);
        check("a.bytes", Unit::Bytes, 100, Values::Samples(0), 1.0);
        check("a.mutex_duration", Unit::Milliseconds, 100, Values::Samples(0), 1e6);
        check("a.goroutines", Unit::None, 100, Values::Samples(0), 1.0);
    }
}
