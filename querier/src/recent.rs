//! How long the last answers took: what "later than usual" means.

use std::time::Duration;

use parking_lot::Mutex;

/// Answers that are remembered.
const KEPT: usize = 256;
/// Of fewer answers nothing is concluded.
const ENOUGH: usize = 16;

/// The times of the last answers.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// At most [`KEPT`].
    took: Vec<Duration>,
    /// Where the next one goes when there are so many.
    next: usize,
}

impl Recent {
    /// Takes the time of an answer, or of waiting for one in vain.
    pub(crate) fn add(&self, took: Duration) {
        let mut times = self.0.lock();
        if times.took.len() < KEPT {
            times.took.push(took);
            return;
        }
        let at = times.next;
        times.took[at] = took;
        times.next = (at + 1) % KEPT;
    }

    /// The time within which so many of a hundred answers came; `None` while too few are known.
    pub(crate) fn percentile(&self, of_hundred: usize) -> Option<Duration> {
        let mut took = self.0.lock().took.clone();
        if took.len() < ENOUGH {
            return None;
        }
        let at = (took.len() * of_hundred / 100).min(took.len() - 1);
        Some(*took.select_nth_unstable(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn of_few_answers_nothing_is_concluded() {
        let recent = Recent::default();
        (1..16).for_each(|n| recent.add(ms(n)));
        assert_eq!(recent.percentile(95), None);
        recent.add(ms(16));
        assert_eq!((recent.percentile(0), recent.percentile(95)), (Some(ms(1)), Some(ms(16))));
    }

    #[test]
    fn the_last_answers_count() {
        let recent = Recent::default();
        (1..=256).for_each(|n| recent.add(ms(n)));
        assert_eq!((recent.percentile(50), recent.percentile(95)), (Some(ms(129)), Some(ms(244))));
        (0..300).for_each(|_| recent.add(ms(7)));
        assert_eq!((recent.percentile(0), recent.percentile(100)), (Some(ms(7)), Some(ms(7))));
    }
}
