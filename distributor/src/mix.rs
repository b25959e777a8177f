//! The hash of the tables that live for one profile. Seeded at random, so that nobody can send colliding stacks; nothing
//! that leaves the process depends on it.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0u8) | 1);

/// Multiplies to 128 bits and folds.
#[inline(always)]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd1b5_4a32_d192_ed03);
    product as u64 ^ (product >> 64) as u64
}

/// The seed of this process.
pub(crate) fn seed() -> u64 {
    *SEED
}

/// Hash of a stack; two lanes, so that multiplications overlap.
#[inline]
pub(crate) fn stack(frames: &[u32], seed: u64) -> u64 {
    let mut lanes = (seed, seed.rotate_left(32));
    let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    let mut take = |c: &[u32; 8]| {
        lanes.0 = mix(lanes.0 ^ pair(c[0], c[1]), seed ^ pair(c[2], c[3]));
        lanes.1 = mix(lanes.1 ^ pair(c[4], c[5]), seed ^ pair(c[6], c[7]));
    };
    let (chunks, rest) = frames.as_chunks::<8>();
    chunks.iter().for_each(&mut take);
    if !rest.is_empty() {
        // Zeros at the end are told apart by the length.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        take(&last);
    }
    mix(lanes.0 ^ frames.len() as u64, lanes.1)
}
