//! One ring: from a key to the instance whose token follows it. `hashring` is the O(log n) lookup and nothing more.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashring::HashRing;
use hearth_common::{InstanceId, TenantId};
use xxhash_rust::xxh3::Xxh3;

use crate::tokens::tokens;

/// What is placed: all series of one shard of a service, so that its symbols are stored once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The key of a shard of a service.
    pub fn new(tenant: &TenantId, service: &str, shard: u32) -> Self {
        let mut hash = Xxh3::new();
        for part in [tenant.as_str().as_bytes(), service.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(&shard.to_le_bytes());
        Self((hash.digest() >> 32) as u32)
    }
}

/// Hands back the one u32 that was written, in the upper half: the ring is ordered by tokens themselves.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.is_empty(), "only write_u32 is used");
    }

    fn write_u32(&mut self, token: u32) {
        self.0 = u64::from(token) << 32;
    }
}

/// A token and whose it is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    token: u32,
    owner: u32,
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.token);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0);
    }
}

/// A ring over a set of instances.
#[derive(Debug)]
pub struct Ring {
    instances: Vec<InstanceId>,
    slots: HashRing<Slot, BuildHasherDefault<Identity>>,
}

impl Ring {
    /// The ring of a set of instances. Where two instances have one token, the lesser id keeps it.
    pub fn new(instances: impl IntoIterator<Item = InstanceId>) -> Self {
        let instances: Vec<InstanceId> = instances.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mut taken = BTreeSet::new();
        let mut all = Vec::with_capacity(instances.len() * crate::tokens::TOKENS_PER_INSTANCE as usize);
        for (owner, instance) in (0u32..).zip(&instances) {
            all.extend(
                tokens(instance).filter(|token| taken.insert(*token)).map(|token| Slot { token, owner }),
            );
        }
        let mut slots = HashRing::with_hasher(BuildHasherDefault::default());
        slots.batch_add(all);
        Self { instances, slots }
    }

    /// The instance that owns a key; `None` on an empty ring.
    pub fn owner(&self, key: Key) -> Option<&InstanceId> {
        self.slots.get(&key).map(|slot| &self.instances[slot.owner as usize])
    }

    /// Who is on the ring, sorted.
    pub fn instances(&self) -> &[InstanceId] {
        &self.instances
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn instance(n: usize) -> InstanceId {
        InstanceId(Arc::from(format!("ingester-{n}")))
    }

    fn owners(ring: &Ring, keys: u32) -> Vec<InstanceId> {
        let tenant = TenantId::anonymous();
        (0..keys)
            .map(|k| ring.owner(Key::new(&tenant, &format!("svc-{k}"), 0)).expect("not empty").clone())
            .collect()
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        assert!(Ring::new([]).owner(Key(7)).is_none());
    }

    #[test]
    fn the_owner_is_the_next_token_and_the_ring_is_closed() {
        let ring = Ring::new([instance(0), instance(1)]);
        let mut all: Vec<(u32, usize)> =
            (0..2).flat_map(|n| tokens(&instance(n)).map(move |t| (t, n)).collect::<Vec<_>>()).collect();
        all.sort_unstable();
        for pair in all.windows(2) {
            assert_eq!(ring.owner(Key(pair[0].0.wrapping_add(1))), Some(&instance(pair[1].1)));
        }
        let last = all.last().expect("tokens").0;
        assert_eq!(ring.owner(Key(last.wrapping_add(1))), Some(&instance(all[0].1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_join_moves_only_what_the_newcomer_takes_and_about_its_share(members in 2usize..12) {
            let before = owners(&Ring::new((0..members).map(instance)), 4000);
            let after = owners(&Ring::new((0..=members).map(instance)), 4000);
            let newcomer = instance(members);
            let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            prop_assert!(before.iter().zip(&after).all(|(b, a)| b == a || *a == newcomer));
            let share = 4000 / (members + 1);
            prop_assert!(moved < share * 3 / 2, "moved {moved}, fair share {share}");
        }

        #[test]
        fn the_order_in_which_members_are_given_does_not_matter(mut order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle()) {
            let shuffled = owners(&Ring::new(order.iter().map(|n| instance(*n))), 200);
            order.sort_unstable();
            prop_assert_eq!(shuffled, owners(&Ring::new(order.into_iter().map(instance)), 200));
        }
    }
}
