//! Limits of a query over several tenants: the strictest of them (api-semantics §2.2).

use std::sync::Arc;

use hearth_common::TenantLimits;
use hearth_common::units::GoDuration;

/// The limits of one tenant, or for several the smallest that is not off of each limit on queries.
pub fn strictest(all: &[Arc<TenantLimits>]) -> Arc<TenantLimits> {
    if let [one] = all {
        return Arc::clone(one);
    }
    let duration = |of: fn(&TenantLimits) -> GoDuration| {
        all.iter().map(|limits| of(limits)).filter(|limit| !limit.is_zero()).min().unwrap_or_default()
    };
    let nodes = |of: fn(&TenantLimits) -> i64| {
        all.iter().map(|limits| of(limits)).filter(|limit| *limit > 0).min().unwrap_or_default()
    };
    Arc::new(TenantLimits {
        max_query_lookback: duration(|limits| limits.max_query_lookback),
        max_query_length: duration(|limits| limits.max_query_length),
        max_flamegraph_nodes_default: nodes(|limits| limits.max_flamegraph_nodes_default),
        max_flamegraph_nodes_max: nodes(|limits| limits.max_flamegraph_nodes_max),
        max_flamegraph_nodes_on_select_merge_profile: all
            .iter()
            .any(|limits| limits.max_flamegraph_nodes_on_select_merge_profile),
        ..TenantLimits::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_off_and_the_smallest_of_the_rest_counts() {
        let with = |secs| {
            Arc::new(TenantLimits {
                max_query_length: GoDuration::from_secs(secs),
                max_query_lookback: GoDuration::from_secs(0),
                ..TenantLimits::default()
            })
        };
        let limits = strictest(&[with(0), with(50), with(20)]);
        assert_eq!(limits.max_query_length, GoDuration::from_secs(20));
        assert!(limits.max_query_lookback.is_zero());
    }
}
