//! Over how many cells a service is spread, by how much is pushed of it. Pure.
//!
//! One cell takes all records of a service unless that is more than its leader should work on. A change places records
//! anew, so it is not made for a little more or less.

use std::collections::BTreeMap;

use hearth_common::TenantId;
use hearth_ring::ServiceShards;

use super::homes::service_key;

/// Most services that have several shards; of more, those of which most is pushed.
pub(crate) const SHARDED_MAX: usize = 1_000;
/// A service loses shards when less is pushed than a third of what they are for.
const SHRINK_BELOW: u64 = 3;

/// How much is pushed of a service, as one leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// The tenant.
    pub tenant: TenantId,
    /// Hash of the service's name, as headers of records have it.
    pub service_hash: u64,
    /// Bytes of records a second, over a minute or so.
    pub bytes_per_second: u64,
}

/// The shards that services should have: `current` if that will do. `per_shard` bytes a second are one shard's share, at
/// least 1; no service has more shards than there are cells.
pub(super) fn shards(
    current: &ServiceShards,
    volumes: &[Volume],
    cells: usize,
    per_shard: u64,
) -> ServiceShards {
    let mut sums: BTreeMap<(&TenantId, String), u64> = BTreeMap::new();
    for (tenant, services) in current {
        sums.extend(services.keys().map(|service| ((tenant, service.clone()), 0)));
    }
    for volume in volumes {
        let sum = sums.entry((&volume.tenant, service_key(volume.service_hash))).or_default();
        *sum = sum.saturating_add(volume.bytes_per_second);
    }
    let most = u32::try_from(cells).unwrap_or(u32::MAX).max(1);
    let mut wanted: Vec<(u64, &TenantId, String, u32)> = Vec::new();
    for ((tenant, service), volume) in sums {
        let has = current.get(tenant).and_then(|services| services.get(&service)).copied().unwrap_or(1);
        let shards = shards_of(has, volume, per_shard.max(1)).min(most);
        if shards > 1 {
            wanted.push((volume, tenant, service, shards));
        }
    }
    wanted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
    let mut shards = ServiceShards::new();
    for (_, tenant, service, count) in wanted.into_iter().take(SHARDED_MAX) {
        shards.entry(tenant.clone()).or_default().insert(service, count);
    }
    shards
}

fn shards_of(has: u32, volume: u64, per_shard: u64) -> u32 {
    let needed = u32::try_from(volume.div_ceil(per_shard)).unwrap_or(u32::MAX).max(1);
    let shrinks = volume.saturating_mul(SHRINK_BELOW) < per_shard.saturating_mul(u64::from(has));
    if needed > has || shrinks { needed } else { has }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn volume(tenant: &str, service_hash: u64, bytes_per_second: u64) -> Volume {
        Volume { tenant: TenantId::parse(tenant).expect("valid"), service_hash, bytes_per_second }
    }

    fn check(has: u32, pushed: u64, expect: u32) {
        let mut current = ServiceShards::new();
        let tenant = TenantId::parse("t").expect("valid");
        current.entry(tenant.clone()).or_default().insert(service_key(7), has);
        let volumes = [volume("t", 7, pushed / 2), volume("t", 7, pushed - pushed / 2)];
        let shards = shards(&current, &volumes, 6, 4 * MIB);
        let got = shards.get(&tenant).and_then(|services| services.get(&service_key(7))).copied();
        assert_eq!(got.unwrap_or(1), expect, "{has} shards, {pushed} bytes a second");
    }

    #[test]
    fn shards_follow_what_is_pushed_and_not_every_wave() {
        check(1, 0, 1);
        check(1, 4 * MIB, 1);
        check(1, 4 * MIB + 1, 2);
        check(1, 17 * MIB, 5);
        check(1, 1000 * MIB, 6);
        check(5, 17 * MIB, 5);
        check(5, 8 * MIB, 5);
        check(5, 6 * MIB, 2);
        check(5, 0, 1);
    }

    fn volumes() -> impl Strategy<Value = Vec<Volume>> {
        let one = ("[a-c]", 0_u64..6, 0_u64..100)
            .prop_map(|(tenant, service, mib)| volume(&tenant, service, mib * MIB));
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn what_was_decided_is_decided_again(volumes in volumes(), cells in 1_usize..9) {
            let first = shards(&ServiceShards::new(), &volumes, cells, 4 * MIB);
            prop_assert_eq!(&shards(&first, &volumes, cells, 4 * MIB), &first);
            for count in first.values().flat_map(|services| services.values()) {
                prop_assert!((2..=cells as u32).contains(count));
            }
        }

        #[test]
        fn nobody_gets_more_shards_by_pushing_less(volumes in volumes()) {
            let less: Vec<Volume> = volumes
                .iter()
                .map(|volume| Volume { bytes_per_second: volume.bytes_per_second / 2, ..volume.clone() })
                .collect();
            let (more, less) = (
                shards(&ServiceShards::new(), &volumes, 100, 4 * MIB),
                shards(&ServiceShards::new(), &less, 100, 4 * MIB),
            );
            for (tenant, services) in &less {
                for (service, count) in services {
                    prop_assert!(more[tenant][service] >= *count);
                }
            }
        }
    }
}
