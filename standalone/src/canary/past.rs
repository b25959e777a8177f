//! What was pushed and acknowledged before: it has to be there later, too, when it was published, merged, and read from blocks.

use std::collections::VecDeque;
use std::time::Duration;

use super::known::Known;

/// Ages at which a profile is read again, and their names in metrics.
pub(super) const AGES: [(&str, Duration); 5] = [
    ("1m", Duration::from_secs(60)),
    ("10m", Duration::from_secs(600)),
    ("1h", Duration::from_secs(3600)),
    ("6h", Duration::from_secs(6 * 3600)),
    ("1d", Duration::from_secs(86_400)),
];
/// Most that is remembered: a day of one each ten seconds. Beyond it, the oldest are forgotten.
const KEPT_MAX: usize = 8640;

/// The oldest first.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<Known>);

impl Past {
    pub(super) fn keep(&mut self, known: Known) {
        if self.0.len() == KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(known);
    }

    /// The youngest that is at least as old as the age says, and not twice as old.
    pub(super) fn of_age(&self, age: usize, now_ns: i64) -> Option<Known> {
        let age_ns = i64::try_from(AGES[age].1.as_nanos()).ok()?;
        let old_enough = self.0.partition_point(|known| now_ns - known.time_ns >= age_ns);
        let known = *self.0.get(old_enough.checked_sub(1)?)?;
        (now_ns - known.time_ns < 2 * age_ns).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_that_is_old_enough() {
        let mut past = Past::default();
        let s = 1_000_000_000;
        for at in 0..100 {
            past.keep(Known::of(at * 10 * s));
        }
        let now = 1000 * s;
        assert_eq!(past.of_age(0, now).map(|known| known.time_ns), Some(940 * s));
        assert_eq!(past.of_age(1, now).map(|known| known.time_ns), Some(400 * s));
        assert_eq!(past.of_age(2, now), None);
        // A canary that could not push for long has nothing of this age.
        assert_eq!(past.of_age(0, now + 200 * s), None);
        for at in 0..2 * KEPT_MAX as i64 {
            past.keep(Known::of(now + at));
        }
        assert_eq!(past.0.len(), KEPT_MAX);
    }
}
