//! Who pushes: usage groups of a tenant, their quotas, and what of them is kept (api-semantics §3.3 steps 4, 6, 7; §3.10).
//!
//! Pure: rules and labels in, a verdict out; the clock and what a profile's chance is come from outside. Must not know: the
//! pipeline, the wire.

mod groups;
mod quota;
mod sampling;

use std::time::Duration;

use hearth_common::TenantLimits;

use crate::mix::mix;
use crate::reject::Rejected;
pub(crate) use groups::{InvalidGroup, Matched, UsageGroups};
pub(crate) use quota::Trickles;

/// The annotation of a profile that was taken although a quota is used up.
const THROTTLED: &str = "pyroscope.ingest.throttled";
/// The annotation of a profile of a group of which a share is kept.
const SAMPLED: &str = "pyroscope.ingest.sampled";

/// An annotation of a profile: key and JSON.
pub(crate) type Annotation = (&'static str, String);

/// What becomes of a profile.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is kept, and annotated.
    Keep(Vec<Annotation>),
    /// Its totals are kept, without stacks, and the client is told that all is well.
    Totals(Vec<Annotation>),
    /// It is not stored, and the client is told that all is well.
    Drop,
}

/// Decides by quotas and sampling. `now` is monotonic, `chance` is that of the profile: the same for each try of a push, evenly
/// spread from 0 to below 1.
pub(crate) fn decide(
    limits: &TenantLimits,
    groups: &Matched,
    trickles: &mut Trickles,
    (now, chance): (Duration, f64),
) -> Result<Verdict, Rejected> {
    let mut annotations = Vec::new();
    if let Some(limit) = &limits.ingestion_limit {
        annotations.extend(quota::check(limit, groups, trickles, now)?);
    }
    match limits.distributor_sampling.as_ref().and_then(|rules| sampling::of(rules, groups)) {
        Some(sampled) if chance >= sampled.probability => {
            return Ok(match limits.keep_stripped_profiles {
                true => Verdict::Totals(annotations),
                false => Verdict::Drop,
            });
        }
        Some(sampled) => annotations.push((SAMPLED, sampled.annotation())),
        None => {}
    }
    Ok(Verdict::Keep(annotations))
}

/// A delay that is a tenth more or less than wished for, so that clients do not come in step; `number` is that of the request.
pub(crate) fn spread(delay: Duration, number: u64) -> Duration {
    let hash = mix(number, 0);
    delay.mul_f64(0.9 + 0.2 * (hash >> 11) as f64 / (1u64 << 53) as f64)
}

/// A number from 0 to below 1 that is the same for each try of a push.
pub(crate) fn chance(hash: u128) -> f64 {
    // As many bits as a float has.
    (hash >> 75) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_and_chances_are_spread_over_their_range() {
        let delays: Vec<f64> = (0..1000).map(|n| spread(Duration::from_secs(10), n).as_secs_f64()).collect();
        assert!(delays.iter().all(|delay| (9.0..=11.0).contains(delay)));
        let mean = delays.iter().sum::<f64>() / 1000.0;
        assert!((9.9..10.1).contains(&mean), "{mean}");
        assert_eq!((chance(0), chance(u128::MAX) < 1.0, chance(1 << 127)), (0.0, true, 0.5));
    }
}
