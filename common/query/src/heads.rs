//! What the answers of all ingesters mean together (design: replication B9): complete, stale, or no answer at all.

use std::collections::BTreeSet;

use hearth_common::{Classify, ErrorKind, JournalId};
use hearth_model::Answer;

use crate::fetch::{FetchAnswer, FetchError, FetchRequest};

/// How often a query is planned: once, and again on newer roots.
pub const ROUNDS_MAX: u32 = 3;

/// Why the heads gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// An ingester still reads its journal.
    #[error("an ingester is not ready to answer: {0}; try again in a moment")]
    NotReady(String),
    /// An ingester failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Two ingesters answered for one journal: its rows would count twice.
    #[error(
        "two ingesters answered for journal {0}: the query was given up, since its rows would count twice"
    )]
    Twice(JournalId),
    /// The root fell behind again and again.
    #[error(
        "the published data moved {ROUNDS_MAX} times while the query was planned (journal {0}); try again"
    )]
    Stale(JournalId),
}

impl Classify for HeadsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady(_) | Self::Stale(_) => ErrorKind::Unavailable,
            Self::Fetch(error) => error.kind(),
            Self::Twice(_) => ErrorKind::Internal,
        }
    }
}

/// The answers of one round.
#[derive(Debug)]
pub enum Heads {
    /// Everything beyond the coverage.
    Complete {
        /// To be merged with the blocks' answers.
        partials: Vec<Answer>,
        /// Why the answer may miss something.
        inexact: Vec<String>,
    },
    /// The root is too old for this journal: plan anew on the newest one.
    Stale(JournalId),
}

/// Judges the answers to one request that every ingester got. An error of one is an error of all.
pub fn judge(
    request: &FetchRequest,
    answers: Vec<Result<FetchAnswer, FetchError>>,
) -> Result<Heads, HeadsError> {
    let mut seen = BTreeSet::new();
    let (mut partials, mut inexact, mut stale) = (Vec::new(), Vec::new(), None);
    for answer in answers {
        match answer? {
            FetchAnswer::NotReady(why) => return Err(HeadsError::NotReady(why)),
            FetchAnswer::NeedFresh { journal, .. } => stale = Some(journal),
            FetchAnswer::Answered { journals, partial, inexact: why } => {
                for answered in journals {
                    let covered = request.covered(&answered.journal);
                    if answered.after > covered && answered.visible_end > covered {
                        // Rows between the two would be missing.
                        stale = Some(answered.journal.clone());
                    }
                    if !seen.insert(answered.journal.clone()) {
                        return Err(HeadsError::Twice(answered.journal));
                    }
                }
                partials.push(partial);
                inexact.extend(why);
            }
        }
    }
    Ok(stale.map_or(Heads::Complete { partials, inexact }, Heads::Stale))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use hearth_common::{Incarnation, Position, TenantId};
    use hearth_model::Question;
    use hearth_model::question::Stats;

    use super::*;
    use crate::fetch::JournalAnswer;

    fn request() -> FetchRequest {
        FetchRequest {
            tenant: TenantId::anonymous(),
            question: Question::Stats,
            root_version: 1,
            coverage: BTreeMap::from([(journal("a"), Position(5))]),
            drained: BTreeMap::from([(format!("d/1/d/{:032x}", 7), Incarnation(1))]),
            timeout: Duration::from_secs(1),
        }
    }

    fn journal(name: &str) -> JournalId {
        JournalId::parse(&format!("{name}/1/{name}/{:032x}/1", 7)).expect("valid")
    }

    fn answered(name: &str, after: u64, end: u64) -> Result<FetchAnswer, FetchError> {
        let answer =
            JournalAnswer { journal: journal(name), after: Position(after), visible_end: Position(end) };
        let partial = Answer::Stats(Stats::default());
        Ok(FetchAnswer::Answered { journals: vec![answer], partial, inexact: None })
    }

    fn verdict(answers: Vec<Result<FetchAnswer, FetchError>>) -> Result<usize, String> {
        match judge(&request(), answers) {
            Ok(Heads::Complete { partials, .. }) => Ok(partials.len()),
            Ok(Heads::Stale(journal)) => Err(format!("stale {}", journal.cell.0)),
            Err(error) => Err(format!("{:?}", error.kind())),
        }
    }

    #[test]
    fn a_drained_owner_covers_its_earlier_lives_and_no_later_one() {
        let request = request();
        assert_eq!(request.covered(&journal("a")), Position(5));
        assert_eq!(request.covered(&journal("b")), Position(0));
        assert_eq!(request.covered(&journal("d")), Position(u64::MAX));
        let later = JournalId { incarnation: Incarnation(2), ..journal("d") };
        assert_eq!(request.covered(&later), Position(0));
    }

    #[test]
    fn every_ingester_must_answer_for_its_own_journals_from_the_coverage_on() {
        assert_eq!(verdict(vec![answered("a", 5, 9), answered("b", 0, 3)]), Ok(2));
        assert_eq!(verdict(vec![answered("a", 6, 9)]), Err("stale a".to_owned()));
        assert_eq!(verdict(vec![answered("b", 0, 3), answered("b", 0, 3)]), Err("Internal".to_owned()));
        let fresh = FetchAnswer::NeedFresh { journal: journal("a"), retained_after: Position(8) };
        assert_eq!(verdict(vec![answered("b", 0, 3), Ok(fresh)]), Err("stale a".to_owned()));
        let not_ready = Ok(FetchAnswer::NotReady("replaying".to_owned()));
        assert_eq!(verdict(vec![not_ready]), Err("Unavailable".to_owned()));
        let failed = Err(FetchError::Unavailable("gone".to_owned()));
        assert_eq!(verdict(vec![failed]), Err("Unavailable".to_owned()));
    }
}
