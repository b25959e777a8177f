//! Joins partial answers as they come, on the threads that bring them.

use hearth_model::{Answer, AnswerError};
use parking_lot::Mutex;

/// At most one answer waits here; who finds one takes it along, before a block is read to it or after. So partial answers
/// join on several threads, and never more of them are in memory than threads work.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    waiting: Mutex<Option<Answer>>,
}

impl Gather {
    pub(crate) fn add(&self, mut mine: Answer) -> Result<(), AnswerError> {
        loop {
            let other = {
                let mut waiting = self.waiting.lock();
                match waiting.take() {
                    Some(other) => other,
                    None => {
                        *waiting = Some(mine);
                        return Ok(());
                    }
                }
            };
            mine = mine.join(other)?;
        }
    }

    /// What waits, to be added again with more in it; the sum, when all have added theirs.
    pub(crate) fn take(&self) -> Option<Answer> {
        self.waiting.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_model::NameTree;

    use super::*;

    #[test]
    fn nothing_is_lost_whoever_comes_when() {
        let gather = Arc::new(Gather::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let gather = Arc::clone(&gather);
                scope.spawn(move || {
                    for at in 0..200 {
                        let mut tree = NameTree::new();
                        tree.add_stack(&[format!("f{}", at % (thread + 2))], 1);
                        gather.add(Answer::Tree(tree)).expect("small");
                    }
                });
            }
        });
        let Some(Answer::Tree(tree)) = gather.take() else { panic!("no tree") };
        assert_eq!((tree.checked_total(), tree.len()), (Ok(800), 6));
        assert!(gather.take().is_none());
    }
}
