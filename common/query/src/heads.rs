//! What the answers of all ingesters mean together (design: replication B9): complete, stale, or no answer at all.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hearth_common::{CellId, Classify, ErrorKind, JournalId, Position};
use hearth_model::Answer;

use crate::fetch::{FetchAnswer, FetchError, FetchRequest, JournalAnswer};

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
    /// The same for one cell.
    #[error("two answers for cell {}: the query was given up, since its rows would count twice", .0.0)]
    CellTwice(CellId),
    /// Nobody answered for a cell.
    #[error("nobody answered for cell {}: {why}", .cell.0)]
    Cell {
        /// The cell.
        cell: CellId,
        /// What its members said.
        why: String,
    },
    /// Which cells there are is not known.
    #[error("the ingesters cannot be asked: {0}")]
    NoCells(String),
    /// A cell that this querier does not know may hold rows.
    #[error(
        "ingesters have version {heard} of the roster and this querier has {known}; try again in a moment"
    )]
    OldRoster {
        /// Our version.
        known: u64,
        /// The newest version that was heard of.
        heard: u64,
    },
    /// The root fell behind again and again.
    #[error(
        "the published data moved {ROUNDS_MAX} times while the query was planned (journal {0}); try again"
    )]
    Stale(JournalId),
}

impl Classify for HeadsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady(_)
            | Self::Stale(_)
            | Self::Cell { .. }
            | Self::NoCells(_)
            | Self::OldRoster { .. } => ErrorKind::Unavailable,
            Self::Fetch(error) => error.kind(),
            Self::Twice(_) | Self::CellTwice(_) => ErrorKind::Internal,
        }
    }
}

/// Everything that holds rows beyond the roots' coverage: the ingesters of this process, or the cells of a cluster.
#[async_trait]
pub trait Heads: Send + Sync + std::fmt::Debug {
    /// Asks for exactly what lies beyond the request's coverage, within its timeout. What cannot be had is left out only if
    /// the asker allows it, and then the answer names it; else there is no answer.
    async fn ask(&self, request: FetchRequest, allow_partial: bool) -> Result<Beyond, HeadsError>;

    /// How many ingesters or cells there are, for people.
    fn count(&self) -> usize;
}

/// The answers of one round.
#[derive(Debug)]
pub enum Beyond {
    /// Everything beyond the coverage.
    Complete {
        /// To be merged with the blocks' answers.
        partials: Vec<Answer>,
        /// Why the answer may miss something.
        inexact: Vec<String>,
        /// Whether something was left out because the asker allows it.
        partial: bool,
        /// Up to where rows of the tenant stand, by journal ([`JournalAnswer::rows_end`]).
        rows_end: BTreeMap<JournalId, Position>,
    },
    /// The root is too old for this journal: plan anew on the newest one.
    Stale(JournalId),
}

/// What one process answered for cells that it leads.
#[derive(Debug)]
pub struct CellsAnswer {
    /// The cells that it speaks for.
    pub cells: Vec<CellId>,
    /// What was read of each journal.
    pub journals: Vec<JournalAnswer>,
    /// Merged over these journals.
    pub partial: Answer,
    /// Why the answer may miss something.
    pub inexact: Option<String>,
}

/// Judges the answers to one request that every ingester got. An error of one is an error of all.
pub fn judge(
    request: &FetchRequest,
    answers: Vec<Result<FetchAnswer, FetchError>>,
) -> Result<Beyond, HeadsError> {
    let mut sum = Sum::default();
    for answer in answers {
        match answer? {
            FetchAnswer::NotReady(why) => return Err(HeadsError::NotReady(why)),
            FetchAnswer::NeedFresh { journal, .. } => sum.stale = Some(journal),
            FetchAnswer::Answered { journals, partial, inexact } => {
                sum.add(request, journals, partial, inexact)?;
            }
        }
    }
    Ok(sum.beyond())
}

/// Judges the answers of cells against the obligations: each cell is answered exactly once, or stands in `left_out` with
/// the reason, which makes the answer inexact.
pub fn judge_cells(
    request: &FetchRequest,
    obligations: &BTreeSet<CellId>,
    left_out: &BTreeMap<CellId, String>,
    answers: Vec<CellsAnswer>,
) -> Result<Beyond, HeadsError> {
    let mut sum = Sum::default();
    let mut answered: BTreeSet<CellId> = BTreeSet::new();
    for CellsAnswer { cells, journals, partial, inexact } in answers {
        if let Some(foreign) = journals.iter().find(|answer| !cells.contains(&answer.journal.cell)) {
            let why = format!("journal {} came with an answer for other cells", foreign.journal);
            return Err(HeadsError::Cell { cell: foreign.journal.cell.clone(), why });
        }
        for cell in cells {
            if left_out.contains_key(&cell) || !answered.insert(cell.clone()) {
                return Err(HeadsError::CellTwice(cell));
            }
        }
        sum.add(request, journals, partial, inexact)?;
    }
    for cell in obligations {
        if let Some(why) = left_out.get(cell) {
            sum.inexact.push(format!("cell {} was left out: {why}", cell.0));
        } else if !answered.contains(cell) {
            return Err(HeadsError::Cell { cell: cell.clone(), why: "it was not asked".to_owned() });
        }
    }
    let mut beyond = sum.beyond();
    if let Beyond::Complete { partial, .. } = &mut beyond {
        *partial = !left_out.is_empty();
    }
    Ok(beyond)
}

/// Answers so far.
#[derive(Debug, Default)]
struct Sum {
    seen: BTreeSet<JournalId>,
    partials: Vec<Answer>,
    inexact: Vec<String>,
    rows_end: BTreeMap<JournalId, Position>,
    stale: Option<JournalId>,
}

impl Sum {
    fn add(
        &mut self,
        request: &FetchRequest,
        journals: Vec<JournalAnswer>,
        partial: Answer,
        inexact: Option<String>,
    ) -> Result<(), HeadsError> {
        for answered in journals {
            let covered = request.covered(&answered.journal);
            if answered.after > covered && answered.visible_end > covered {
                // Rows between the two would be missing.
                self.stale = Some(answered.journal.clone());
            }
            self.rows_end.insert(answered.journal.clone(), answered.rows_end);
            if !self.seen.insert(answered.journal.clone()) {
                return Err(HeadsError::Twice(answered.journal));
            }
        }
        self.partials.push(partial);
        self.inexact.extend(inexact);
        Ok(())
    }

    fn beyond(self) -> Beyond {
        let Self { partials, inexact, rows_end, stale, .. } = self;
        let complete = Beyond::Complete { partials, inexact, partial: false, rows_end };
        stale.map_or(complete, Beyond::Stale)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hearth_common::{Incarnation, InstanceId, TenantId};
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
            deletions: Vec::new(),
            timeout: Duration::from_secs(1),
        }
    }

    fn journal(name: &str) -> JournalId {
        JournalId::parse(&format!("{name}/1/{name}/{:032x}/1", 7)).expect("valid")
    }

    fn answered(name: &str, after: u64, end: u64) -> Result<FetchAnswer, FetchError> {
        let answer = JournalAnswer {
            journal: journal(name),
            after: Position(after),
            visible_end: Position(end),
            rows_end: Position(end),
        };
        let partial = Answer::Stats(Stats::default());
        Ok(FetchAnswer::Answered { journals: vec![answer], partial, inexact: None })
    }

    fn verdict(answers: Vec<Result<FetchAnswer, FetchError>>) -> Result<usize, String> {
        match judge(&request(), answers) {
            Ok(Beyond::Complete { partials, .. }) => Ok(partials.len()),
            Ok(Beyond::Stale(journal)) => Err(format!("stale {}", journal.cell.0)),
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

    fn set(names: &str) -> BTreeSet<CellId> {
        names.split_whitespace().map(|name| CellId(InstanceId(Arc::from(name)))).collect()
    }

    /// Each answer: cells, and a journal with its positions after and end.
    fn check_cells(answers: &[(&str, &str, u64, u64)], left_out: &str, expect: Result<usize, &str>) {
        let answer = |(cells, name, after, end): &(&str, &str, u64, u64)| CellsAnswer {
            cells: set(cells).into_iter().collect(),
            journals: vec![JournalAnswer {
                journal: journal(name),
                after: Position(*after),
                visible_end: Position(*end),
                rows_end: Position(*end),
            }],
            partial: Answer::Stats(Stats::default()),
            inexact: None,
        };
        let left_out: BTreeMap<CellId, String> =
            set(left_out).into_iter().map(|cell| (cell, "gone".to_owned())).collect();
        let answers = answers.iter().map(answer).collect();
        let got = match judge_cells(&request(), &set("a b"), &left_out, answers) {
            Ok(Beyond::Complete { partials, inexact, .. }) => Ok(partials.len() + 10 * inexact.len()),
            Ok(Beyond::Stale(journal)) => Err(format!("stale {}", journal.cell.0)),
            Err(HeadsError::Cell { cell, .. }) => Err(format!("cell {}", cell.0)),
            Err(HeadsError::CellTwice(cell)) => Err(format!("twice {}", cell.0)),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(got, expect.map_err(str::to_owned), "left out: {left_out:?}");
    }

    #[test]
    fn every_cell_is_answered_exactly_once() {
        check_cells(&[("a", "a", 5, 9), ("b", "b", 0, 3)], "", Ok(2));
        check_cells(&[("a b", "b", 0, 3)], "", Ok(1));
        check_cells(&[("a", "a", 5, 9)], "", Err("cell b"));
        check_cells(&[("a", "a", 5, 9)], "b", Ok(11));
        check_cells(&[("a b", "a", 5, 9), ("b", "b", 0, 3)], "", Err("twice b"));
        check_cells(&[("a b", "a", 5, 9)], "b", Err("twice b"));
        check_cells(&[("a", "b", 0, 3), ("b", "a", 5, 9)], "", Err("cell b"));
        check_cells(&[("a b", "a", 6, 9)], "", Err("stale a"));
    }
}
