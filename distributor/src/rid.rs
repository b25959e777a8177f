//! The identity of a record: a hash of what was sent, so that a retry counts once (design: replication B1).
//!
//! No clock, limit, host or relabelling rule enters.

use hashbrown::HashMap;
use hearth_common::{Rid, TenantId};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::distributor::PushSeries;
use crate::reject::{Reason, Rejected};

/// How a profile came in, as far as its identity depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The push RPC.
    Push,
    /// `/ingest`: the parameters as sent.
    Ingest {
        /// `name`.
        name: &'a str,
        /// `from`.
        from: &'a str,
        /// `until`.
        until: &'a str,
        /// `format`.
        format: &'a str,
    },
    /// OTLP: which profile of which export. Its bytes mean nothing without those of the whole export.
    Otlp {
        /// Hash of the whole export, decompressed.
        export: u128,
        /// Number of the profile in it.
        profile: u32,
    },
}

/// Identity of one part of a request, before its occurrence number.
pub fn part(
    origin: Origin<'_>,
    tenant: &TenantId,
    client_id: &str,
    labels: &[(&str, &str)],
    decoded: &[u8],
) -> u128 {
    let mut hash = Xxh3::new();
    match origin {
        Origin::Push => text(&mut hash, "push.pprof.1"),
        Origin::Ingest { name, from, until, format } => {
            text(&mut hash, "ingest.1");
            [name, from, until, format].into_iter().for_each(|part| text(&mut hash, part));
        }
        Origin::Otlp { export, profile } => {
            text(&mut hash, "otlp.profiles.1");
            hash.update(&export.to_le_bytes());
            hash.update(&profile.to_le_bytes());
        }
    }
    text(&mut hash, tenant.as_str());
    text(&mut hash, client_id);
    let mut sorted: Vec<(&str, &str)> = labels.to_vec();
    sorted.sort_unstable();
    pairs(&mut hash, &sorted);
    hash.update(&xxh3_128(decoded).to_le_bytes());
    hash.digest128()
}

/// The hash of an export for [`Origin::Otlp`].
pub fn export(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// Numbers equal parts of one request: 0, 1, 2 …
#[derive(Debug, Default)]
pub struct Occurrences(HashMap<u128, u32>);

impl Occurrences {
    /// How many equal parts came before.
    pub fn next(&mut self, part: u128) -> u32 {
        let count = self.0.entry(part).or_insert(0);
        *count += 1;
        *count - 1
    }
}

/// Identity of a record: its part, the part's occurrence number, and the sample labels that its group was split off by.
pub fn record(part: u128, occurrence: u32, split_key: &[(&str, &str)]) -> Rid {
    let mut hash = Xxh3::new();
    hash.update(&part.to_le_bytes());
    hash.update(&occurrence.to_le_bytes());
    pairs(&mut hash, split_key);
    Rid(hash.digest128())
}

/// The hash of a service's name in a record's header.
pub fn service_hash(service: &str) -> u64 {
    xxh3_64(service.as_bytes())
}

/// The hash of a label set in a record's header.
pub fn series_hash<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hash = Xxh3::new();
    for (name, value) in labels {
        text(&mut hash, name);
        text(&mut hash, value);
    }
    hash.digest()
}

fn pairs(hash: &mut Xxh3, pairs: &[(&str, &str)]) {
    hash.update(&(pairs.len() as u64).to_le_bytes());
    for (name, value) in pairs {
        text(hash, name);
        text(hash, value);
    }
}

/// With its length, so that no two lists of texts hash alike.
fn text(hash: &mut Xxh3, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Most bytes of labels that are read for the profiles of one push: each is identified by all labels of its series.
const IDENTITY_BYTES_MAX: usize = 1 << 30;
/// What a label counts for beside its texts.
const LABEL_BYTES: usize = 64;

/// Refuses many profiles of a series with many or long labels, which would be read for each.
pub(crate) fn bounded(series: &[PushSeries<'_>]) -> Result<(), Rejected> {
    let of_series = |series: &PushSeries<'_>| {
        let labels = series.labels.iter().map(|(name, value)| LABEL_BYTES + name.len() + value.len());
        labels.sum::<usize>().saturating_mul(series.samples.len())
    };
    let bytes = series.iter().map(of_series).fold(0, usize::saturating_add);
    if bytes <= IDENTITY_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the labels of the request's series come to {bytes} bytes, counted once for each profile, more than \
         {IDENTITY_BYTES_MAX}: send fewer profiles at once, or fewer and shorter labels"
    );
    Err(Rejected::invalid(Reason::BodySizeLimitExceeded, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_sent_separates_and_nothing_else() {
        let tenant = TenantId::anonymous();
        let labels = [("b", "2"), ("a", "1")];
        let base = part(Origin::Push, &tenant, "", &labels, b"profile");
        assert_eq!(base, part(Origin::Push, &tenant, "", &[("a", "1"), ("b", "2")], b"profile"));
        let other = TenantId::parse("other").expect("valid");
        let ingest = Origin::Ingest { name: "n", from: "1", until: "2", format: "pprof" };
        let later = Origin::Ingest { name: "n", from: "1", until: "3", format: "pprof" };
        let mut all = vec![
            base,
            part(Origin::Push, &other, "", &labels, b"profile"),
            part(Origin::Push, &tenant, "id", &labels, b"profile"),
            part(Origin::Push, &tenant, "", &labels, b"profilf"),
            part(Origin::Push, &tenant, "", &[("a", "1b"), ("", "2")], b"profile"),
            part(Origin::Push, &tenant, "", &labels[..1], b"profile"),
            part(ingest, &tenant, "", &labels, b"profile"),
            part(later, &tenant, "", &labels, b"profile"),
            part(Origin::Otlp { export: export(b"profile"), profile: 0 }, &tenant, "", &labels, b""),
            part(Origin::Otlp { export: export(b"profile"), profile: 1 }, &tenant, "", &labels, b""),
            part(Origin::Otlp { export: export(b"profilf"), profile: 0 }, &tenant, "", &labels, b""),
        ];
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(record(base, 0, &[("a", "b")]), record(base, 0, &[("a", "b")]));
        assert_ne!(record(base, 0, &[("a", "b")]), record(base, 1, &[("a", "b")]));
        assert_ne!(record(base, 0, &[("a", "b")]), record(base, 0, &[]));
        let mut seen = Occurrences::default();
        assert_eq!([seen.next(1), seen.next(2), seen.next(1)], [0, 0, 1]);
    }

    /// The identity is kept in stored data: it may not change with a version.
    #[test]
    fn the_identity_is_fixed() {
        let tenant = TenantId::anonymous();
        let part = part(Origin::Push, &tenant, "id", &[("service_name", "a")], b"profile");
        assert_eq!(record(part, 0, &[]).to_string(), "ab0a1ea291fc1787749d98e175459a97");
    }
}
