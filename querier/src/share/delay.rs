//! When a part that is not answered yet is asked for a second time: later than usual for calls of its size, and for few
//! calls only. When all are slow, asking twice would make them slower.

use std::time::Duration;

use hearth_model::Question;
use parking_lot::Mutex;

use crate::recent::Recent;

/// Of a hundred answers so many came earlier.
const PERCENTILE: usize = 95;
/// So many times the usual time is far too long, …
const FAR_LATER: u32 = 2;
/// … and this always is, where more is not allowed by the settings.
const LONGEST_MAX: Duration = Duration::from_secs(15);
/// Sizes of calls that are told apart, by powers of two of their blocks.
const SIZES: usize = 8;
/// Of so many calls one may be made twice before the longest delay, …
const CALLS_A_HEDGE: u32 = 10;
/// … and so many in a row, as when a querier has just died.
const HEDGES_MAX: u32 = 10;

/// Times of answers by the size of calls, and what may be asked for twice.
#[derive(Debug)]
pub(super) struct Delays {
    min: Duration,
    max: Duration,
    /// Of questions on profiles, and on labels.
    took: [[Recent; SIZES]; 2],
    /// In calls.
    saved: Mutex<u32>,
}

impl Delays {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, took: Default::default(), saved: Mutex::new(CALLS_A_HEDGE * HEDGES_MAX) }
    }

    /// All sizes of such questions, and which one this is.
    fn of(&self, question: &Question, blocks: usize) -> (&[Recent; SIZES], usize) {
        let size = (blocks.max(1).ilog2() as usize).min(SIZES - 1);
        (&self.took[usize::from(question.profile_query().is_none())], size)
    }

    /// The time of most calls of that size; while too few are known, of the next larger size that is, then of smaller ones.
    fn of_most(&self, question: &Question, blocks: usize) -> Option<Duration> {
        let (sizes, size) = self.of(question, blocks);
        let nearest = sizes[size..].iter().chain(sizes[..size].iter().rev());
        nearest.filter_map(|recent| recent.percentile(PERCENTILE)).next()
    }

    /// Takes how long a call took, or how long it was waited for in vain.
    pub(super) fn took(&self, question: &Question, blocks: usize, took: Duration) {
        let (sizes, size) = self.of(question, blocks);
        sizes[size].add(took);
    }

    /// How long to wait for a call of that size; as long as may be while little is known.
    pub(super) fn usual(&self, question: &Question, blocks: usize) -> Duration {
        let usual = self.of_most(question, blocks).unwrap_or(self.max);
        usual.clamp(self.min, self.max.max(self.min))
    }

    /// After this a call of that size is made twice whatever it costs: far later than usual, so that slow ones of a slow
    /// store are not.
    pub(super) fn longest(&self, question: &Question, blocks: usize) -> Duration {
        let usual = self.of_most(question, blocks).unwrap_or_default();
        usual.saturating_mul(FAR_LATER).min(LONGEST_MAX).max(self.max)
    }

    /// A call was made.
    pub(super) fn called(&self) {
        let mut saved = self.saved.lock();
        *saved = (*saved + 1).min(CALLS_A_HEDGE * HEDGES_MAX);
    }

    /// Whether one more call may be made twice.
    pub(super) fn may_hedge(&self) -> bool {
        let mut saved = self.saved.lock();
        match saved.checked_sub(CALLS_A_HEDGE) {
            Some(left) => {
                *saved = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_delay_follows_calls_of_the_same_size_within_its_bounds() {
        let delays = Delays::new(ms(50), ms(2000));
        let (labels, stats) = (Question::LabelNames { range: None, matchers: Vec::new() }, Question::Stats);
        assert_eq!(
            (delays.usual(&labels, 8), delays.longest(&labels, 8)),
            (ms(2000), ms(2000)),
            "nothing is known"
        );
        (0..100).for_each(|n| delays.took(&labels, 8 + n % 8, ms(300)));
        assert_eq!(delays.usual(&stats, 15), ms(300));
        (0..100).for_each(|_| delays.took(&labels, 32, ms(700)));
        let nearest = [1, 7, 16, 31, 63, 64, 1000].map(|blocks| delays.usual(&labels, blocks).as_millis());
        assert_eq!(nearest, [300, 300, 700, 700, 700, 700, 700], "larger ones first");
        (0..300).for_each(|_| delays.took(&labels, 8, ms(1)));
        assert_eq!(delays.usual(&labels, 8), ms(50), "never sooner");
        (0..300).for_each(|_| delays.took(&labels, 8, ms(60_000)));
        assert_eq!(
            (delays.usual(&labels, 8), delays.longest(&labels, 8)),
            (ms(2000), ms(15_000)),
            "never later"
        );
        (0..300).for_each(|_| delays.took(&labels, 8, ms(3000)));
        assert_eq!((delays.usual(&labels, 8), delays.longest(&labels, 8)), (ms(2000), ms(6000)));
        delays.took(&labels, 1 << 20, ms(1));
    }

    #[test]
    fn one_call_of_ten_is_made_twice() {
        let delays = Delays::new(ms(1), ms(2));
        let hedges = |calls: usize| {
            (0..calls).filter(|_| {
                delays.called();
                delays.may_hedge()
            })
        };
        // And what is saved up at the beginning; the first call finds no room for its part.
        assert_eq!(hedges(1000).count(), 100 + 10 - 1);
        (0..1000).for_each(|_| delays.called());
        assert_eq!((0..100).filter(|_| delays.may_hedge()).count(), 10, "no more are saved up");
    }
}
