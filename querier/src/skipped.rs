//! Blocks that an answer is given without: damaged ones, where the asker takes a partial answer. Otherwise a query of a block
//! that cannot be read fails, and names it.

use hearth_block::BlockError;
use hearth_common::error::chain;
use parking_lot::Mutex;

use crate::engine::Marks;

/// Blocks that a mark names; of more it says how many.
const NAMED_MAX: usize = 8;

/// Which blocks may be left out of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    /// None.
    Nothing,
    /// Those whose bytes are wrong.
    Damaged,
    /// Those that cannot be read, too: the newest root has them, so that they should be there.
    Unreadable,
}

/// Blocks that were left out of one answer.
#[derive(Debug)]
pub(crate) struct Skipped {
    may: May,
    /// The first ones in words, and how many there are.
    left_out: Mutex<(Vec<String>, usize)>,
}

impl Skipped {
    pub(crate) fn new(may: May) -> Self {
        Self { may, left_out: Mutex::default() }
    }

    /// Of another part of the same query.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.may)
    }

    /// Whether something may be left out.
    pub(crate) fn may_skip(&self) -> bool {
        self.may != May::Nothing
    }

    /// Leaves a block out, if that is allowed after such an error.
    pub(crate) fn skip(&self, folder: &str, error: &BlockError) -> bool {
        let may = match error {
            BlockError::Damaged { .. } => self.may_skip(),
            BlockError::Read { .. } => self.may == May::Unreadable,
            _ => false,
        };
        if may {
            let why = chain(error);
            tracing::warn!(
                block = folder,
                error = why,
                "a block is left out of an answer, as the asker allows it"
            );
            let mut left_out = self.left_out.lock();
            if left_out.0.len() < NAMED_MAX {
                left_out.0.push(format!("block {folder} is left out: {why}"));
            }
            left_out.1 += 1;
        }
        may
    }

    /// Takes what another part left out.
    pub(crate) fn join(&self, other: Self) {
        let (words, count) = other.left_out.into_inner();
        let mut left_out = self.left_out.lock();
        let room = NAMED_MAX.saturating_sub(left_out.0.len());
        left_out.0.extend(words.into_iter().take(room));
        left_out.1 += count;
    }

    /// What the answer lacks.
    pub(crate) fn marks(self) -> Marks {
        let (mut inexact, count) = self.left_out.into_inner();
        if count > inexact.len() {
            inexact.push(format!("{} more blocks are left out", count - inexact.len()));
        }
        Marks { partial: count > 0, inexact }
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.left_out.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged() -> BlockError {
        BlockError::Damaged { object: "index".to_owned(), offset: 7, what: "a wrong checksum".to_owned() }
    }

    fn unreadable() -> BlockError {
        BlockError::Read { object: "index".to_owned(), source: "no such object".into() }
    }

    #[test]
    fn only_what_the_asker_allows_is_left_out() {
        let skips = |may, error: &BlockError| Skipped::new(may).skip("t/1", error);
        assert_eq!(
            [May::Nothing, May::Damaged, May::Unreadable].map(|may| skips(may, &damaged())),
            [false, true, true]
        );
        assert_eq!(
            [May::Nothing, May::Damaged, May::Unreadable].map(|may| skips(may, &unreadable())),
            [false, false, true]
        );
        assert!(
            !skips(May::Unreadable, &BlockError::Unsupported { major: 9, features: 1 }),
            "to be upgraded"
        );
    }

    #[test]
    fn marks_name_some_and_count_all() {
        let (skipped, other) = (Skipped::new(May::Damaged), Skipped::new(May::Damaged));
        assert_eq!(other.apart().marks(), Marks::default());
        (0..5).for_each(|at| _ = skipped.skip(&format!("t/{at}"), &damaged()));
        (5..11).for_each(|at| _ = other.skip(&format!("t/{at}"), &damaged()));
        skipped.join(other);
        assert_eq!(skipped.count(), 11);
        let marks = skipped.marks();
        assert!(marks.partial && marks.inexact.len() == NAMED_MAX + 1, "{marks:?}");
        assert_eq!(marks.inexact[0], format!("block t/0 is left out: {}", damaged()));
        assert_eq!(marks.inexact[NAMED_MAX], "3 more blocks are left out");
    }
}
