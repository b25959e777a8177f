//! Tokens of an instance: a fixed function of its id, so that nobody has to gossip or store them.

use hearth_common::InstanceId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Tokens of one instance on the ring. 512 keep the largest share within about a tenth of the mean.
pub const TOKENS_PER_INSTANCE: u32 = 512;

/// The tokens of an instance, in no order. The same on every machine and in every version: changing this function moves
/// every key.
pub fn tokens(instance: &InstanceId) -> impl Iterator<Item = u32> + '_ {
    (0..TOKENS_PER_INSTANCE).map(|n| (xxh3_64_with_seed(instance.0.as_bytes(), u64::from(n)) >> 32) as u32)
}
