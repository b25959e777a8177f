//! Quotas that are used up: what is refused, and the trickle that is taken all the same.

use std::time::{Duration, UNIX_EPOCH};

use hashbrown::HashMap;
use hearth_common::limits::raise;
use hearth_common::limits::usage::{IngestionLimit, Trickle};
use hearth_common::units::iec_bytes;
use serde_json::json;

use super::{Annotation, Matched, THROTTLED};
use crate::reject::{Reason, Rejected};

/// Usage groups of a tenant of which a trickle is counted; more share one.
const COUNTED_MAX: usize = 256;

/// The end of the year 9999: later times cannot be written.
const RFC3339_SECONDS_MAX: u64 = 253_402_300_799;

/// What was taken of each quota in the present period, in this process. A quota is named by its group; "" is the tenant's.
#[derive(Debug, Default)]
pub(crate) struct Trickles {
    taken: HashMap<String, (Duration, u32)>,
    /// When the last of these periods ends.
    until: Duration,
}

impl Trickles {
    /// Takes one more of a quota, if its trickle has room.
    fn take(&mut self, group: &str, trickle: Trickle, now: Duration) -> bool {
        if trickle.num_requests == 0 || trickle.period.is_zero() {
            return false;
        }
        let is_counted = self.taken.len() < COUNTED_MAX || self.taken.contains_key(group);
        let (began, taken) = self.taken.entry_ref(if is_counted { group } else { "" }).or_insert((now, 0));
        if now.saturating_sub(*began) >= trickle.period.0 {
            (*began, *taken) = (now, 0);
        }
        self.until = self.until.max(began.saturating_add(trickle.period.0));
        *taken = taken.saturating_add(1);
        *taken <= trickle.num_requests
    }

    /// Whether all periods have ended in which something was taken: nothing is lost when they are forgotten.
    pub(crate) fn are_over(&self, now: Duration) -> bool {
        now >= self.until
    }
}

/// Refuses what is beyond a quota, or says how the profile is marked that is taken all the same.
pub(super) fn check(
    limit: &IngestionLimit,
    groups: &Matched,
    trickles: &mut Trickles,
    now: Duration,
) -> Result<Option<Annotation>, Rejected> {
    let reached = if limit.limit_reached {
        Some((None, limit.period_limit_mb))
    } else {
        // The quota of a group may be given for the name as configured, or for the one with values in it.
        groups.members().iter().find_map(|member| {
            let quota = limit.usage_groups.get(&member.resolved);
            let quota = quota.or_else(|| limit.usage_groups.get(&member.configured))?;
            quota.limit_reached.then_some((Some(member.resolved.as_str()), quota.period_limit_mb))
        })
    };
    let Some((group, limit_mb)) = reached else { return Ok(None) };
    if trickles.take(group.unwrap_or_default(), limit.sampling, now) {
        return Ok(Some((THROTTLED, annotation(limit, group, limit_mb))));
    }
    let reset_s = u64::try_from(limit.limit_reset_time).unwrap_or_default().min(RFC3339_SECONDS_MAX);
    let reset = UNIX_EPOCH + Duration::from_secs(reset_s);
    let message = format!(
        "limit of {}/{} reached{}, next reset at {}{}",
        iec_bytes(limit_mb.saturating_mul(1 << 20)),
        limit.period_type,
        group.map(|group| format!(" by usage group '{group}'")).unwrap_or_default(),
        humantime::format_rfc3339_seconds(reset),
        raise("ingestion_limit"),
    );
    Err(Rejected::exhausted(Reason::IngestLimitReached, message))
}

fn annotation(limit: &IngestionLimit, group: Option<&str>, limit_mb: u64) -> String {
    let body = json!({
        "periodType": limit.period_type,
        "periodLimitMb": limit_mb,
        "limitResetTime": limit.limit_reset_time,
        "samplingPeriodSec": limit.sampling.period.0.as_secs(),
        "samplingRequests": limit.sampling.num_requests,
        "usageGroup": group.unwrap_or_default(),
    });
    json!({ "body": body }).to_string()
}

#[cfg(test)]
mod tests {
    use hearth_common::limits::usage::GroupLimit;
    use hearth_common::units::GoDuration;

    use super::super::UsageGroups;
    use super::*;

    fn limit() -> IngestionLimit {
        IngestionLimit {
            period_type: "hour".to_owned(),
            period_limit_mb: 128,
            limit_reset_time: 1_737_721_086,
            limit_reached: true,
            ..IngestionLimit::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_quota_that_is_used_up_refuses_until_the_reset() {
        let refused =
            check(&limit(), &Matched::default(), &mut Trickles::default(), at(0)).expect_err("used up");
        let want = "limit of 128 MiB/hour reached, next reset at 2025-01-24T12:18:06Z; ingestion_limit";
        assert!(refused.message.starts_with(want), "{}", refused.message);
        assert_eq!(refused.reason, Reason::IngestLimitReached);
        let far = IngestionLimit { limit_reset_time: i64::MAX, ..limit() };
        let refused = check(&far, &Matched::default(), &mut Trickles::default(), at(0)).expect_err("used up");
        assert!(refused.message.contains("next reset at 9999-12-31T23:59:59Z"), "{}", refused.message);
        let open = IngestionLimit { limit_reached: false, ..limit() };
        assert_eq!(check(&open, &Matched::default(), &mut Trickles::default(), at(0)), Ok(None));
    }

    #[test]
    fn a_trickle_is_taken_and_marked() {
        let sampling = Trickle { num_requests: 2, period: GoDuration::from_secs(60) };
        let (limit, mut trickles) = (IngestionLimit { sampling, ..limit() }, Trickles::default());
        let mut taken = |seconds| check(&limit, &Matched::default(), &mut trickles, at(seconds)).is_ok();
        let times = [100, 101, 102, 159, 160, 161, 162, 1000];
        assert_eq!(times.map(&mut taken), [true, true, false, false, true, true, false, true]);
        assert!(!trickles.are_over(at(1059)) && trickles.are_over(at(1060)));
        let marked = check(&limit, &Matched::default(), &mut Trickles::default(), at(0));
        let Ok(Some((key, json))) = marked else { panic!("{marked:?}") };
        assert_eq!(key, "pyroscope.ingest.throttled");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(
            (&json["body"]["periodLimitMb"], &json["body"]["samplingRequests"]),
            (&json!(128), &json!(2))
        );
    }

    #[test]
    fn groups_have_quotas_of_their_own() {
        let groups = [("team/${labels.team}".to_owned(), "{}".to_owned())].into_iter().collect();
        let groups = UsageGroups::compile(&groups).expect("valid");
        let of = |team: &'static str| groups.of(&[("team".into(), team.into())]);
        let quota = GroupLimit { period_limit_mb: 1, limit_reached: true };
        let check = |name: &str, team| {
            let usage_groups = [(name.to_owned(), quota)].into_iter().collect();
            let limit = IngestionLimit { limit_reached: false, usage_groups, ..limit() };
            check(&limit, &of(team), &mut Trickles::default(), at(0))
        };
        let refused = check("team/a", "a").expect_err("used up").message;
        assert!(
            refused.starts_with("limit of 1.0 MiB/hour reached by usage group 'team/a', next"),
            "{refused}"
        );
        assert_eq!(check("team/a", "b"), Ok(None));
        assert!(check("team/${labels.team}", "b").is_err(), "all groups of the name");
    }
}
