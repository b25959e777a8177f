//! A small generator of random delays (SplitMix64; Steele, Lea & Flood 2014). Not for secrets.

use std::time::Duration;

/// The generator.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A delay in `min .. max`, or `min` if there is no room between them.
    pub(crate) fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let span_ns = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX);
        // The state stays as it is when there is nothing to choose: small worlds without time repeat their states.
        if span_ns == 0 { min } else { min + Duration::from_nanos(self.next() % span_ns) }
    }
}
