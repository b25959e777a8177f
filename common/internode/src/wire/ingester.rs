//! Pushes and fetches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hearth_cluster::PushOutcome;
use hearth_common::{ErrorKind, Incarnation, JournalId, Position, TenantId};
use hearth_model::{Answer, answer_bytes};
use hearth_query::fetch::{FetchRequest, JournalAnswer};
use parking_lot::Mutex;

use super::{
    LIST_MAX, Malformed, cell, cell_text, cells, deletion, journal, leader_text, malformed, must,
    optional_name, pb, question, short,
};
use crate::api::{Fetch, FetchOutcome, Fetched, NotReady, Outcome, Push, Pushed, Retry, RetryWhy};
use crate::packed;
use crate::status::{code_of_kind, kind_of_code};

/// Longest time that a request may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

pub(crate) fn push_to(push: Push) -> pb::PushRequest {
    pb::PushRequest {
        records: push.records,
        cell: cell_text(&push.cell),
        roster_version: push.roster_version,
    }
}

pub(crate) fn push(push: pb::PushRequest) -> Result<Push, Malformed> {
    short(push.records.len(), "records")?;
    Ok(Push { cell: cell(&push.cell)?, roster_version: push.roster_version, records: push.records })
}

pub(crate) fn pushed_to(pushed: Pushed) -> pb::PushResponse {
    pb::PushResponse {
        outcomes: pushed.outcomes.into_iter().map(outcome_to).collect(),
        roster_version: pushed.roster_version,
    }
}

pub(crate) fn pushed(pushed: pb::PushResponse, records: usize) -> Result<Pushed, Malformed> {
    if pushed.outcomes.len() != records {
        return malformed(format!("{} outcomes of {records} records", pushed.outcomes.len()));
    }
    let outcomes = pushed.outcomes.into_iter().map(outcome).collect::<Result<_, _>>()?;
    Ok(Pushed { outcomes, roster_version: pushed.roster_version })
}

fn outcome_to(outcome: Outcome) -> pb::PushOutcome {
    use pb::push_outcome::{Acked, Outcome as Kind, Refused};
    let outcome = match outcome {
        Outcome::Done(PushOutcome::Acked) => Kind::Acked(Acked {}),
        Outcome::Done(PushOutcome::Refused { kind, reason, message }) => {
            Kind::Refused(Refused { code: code_of_kind(kind), reason: reason.to_owned(), message })
        }
        Outcome::Retry(Retry { why, message, leader }) => {
            Kind::Retry(pb::Retry { why: why_to(why).into(), message, leader: leader_text(leader.as_ref()) })
        }
    };
    pb::PushOutcome { outcome: Some(outcome) }
}

fn outcome(outcome: pb::PushOutcome) -> Result<Outcome, Malformed> {
    use pb::push_outcome::Outcome as Kind;
    Ok(match must(outcome.outcome, "outcome")? {
        Kind::Acked(_) => Outcome::Done(PushOutcome::Acked),
        Kind::Refused(refused) => Outcome::Done(PushOutcome::Refused {
            kind: kind_of_code(refused.code).unwrap_or(ErrorKind::Unknown),
            reason: interned(&refused.reason),
            message: refused.message,
        }),
        Kind::Retry(retry) => Outcome::Retry(Retry {
            why: why(retry.why()),
            leader: optional_name(&retry.leader)?,
            message: retry.message,
        }),
    })
}

fn why_to(why: RetryWhy) -> pb::retry::Why {
    use pb::retry::Why;
    match why {
        RetryWhy::NotLeader => Why::NotLeader,
        RetryWhy::NotMember => Why::NotMember,
        RetryWhy::NotReady => Why::NotReady,
        RetryWhy::Full => Why::Full,
        RetryWhy::Stopping => Why::Stopping,
        RetryWhy::OldRoster => Why::OldRoster,
    }
}

/// A reason of a later version means what it says to everybody: not now.
fn why(why: pb::retry::Why) -> RetryWhy {
    use pb::retry::Why;
    match why {
        Why::NotLeader => RetryWhy::NotLeader,
        Why::NotMember => RetryWhy::NotMember,
        Why::Full => RetryWhy::Full,
        Why::Stopping => RetryWhy::Stopping,
        Why::OldRoster => RetryWhy::OldRoster,
        Why::NotReady | Why::Unspecified => RetryWhy::NotReady,
    }
}

/// Most different reasons that are kept, and how long one may be.
const REASONS_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 64;

/// Reasons are labels of metrics: few words, which our own processes send. What goes beyond the limits is `other`.
fn interned(reason: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock();
    if let Some(known) = known.get(reason) {
        return known;
    }
    if known.len() >= REASONS_MAX || reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        return "other";
    }
    let reason: &'static str = Box::leak(reason.to_owned().into_boxed_str());
    known.insert(reason);
    reason
}

pub(crate) fn fetch_to(fetch: &Fetch) -> pb::FetchRequest {
    let request = &fetch.request;
    let covered = |(journal, position): (&JournalId, &Position)| pb::Covered {
        journal: journal.to_string(),
        position: position.0,
    };
    let drained = |(owner, incarnation): (&String, &Incarnation)| pb::Drained {
        owner: owner.clone(),
        incarnation: incarnation.0,
    };
    pb::FetchRequest {
        tenant: request.tenant.to_string(),
        question: Some(question::encode(&request.question)),
        coverage: request.coverage.iter().map(covered).collect(),
        root_version: request.root_version,
        drained: request.drained.iter().map(drained).collect(),
        roster_version: fetch.roster_version,
        cells: fetch.cells.iter().map(cell_text).collect(),
        deletions: deletion::encode(&request.deletions),
        timeout_ms: u64::try_from(request.timeout.min(TIMEOUT_MAX).as_millis()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn fetch(fetch: pb::FetchRequest) -> Result<Fetch, Malformed> {
    let tenant = TenantId::parse(&fetch.tenant).map_err(|error| Malformed(error.to_string()))?;
    let mut coverage = BTreeMap::new();
    for covered in &fetch.coverage {
        coverage.insert(journal(&covered.journal)?, Position(covered.position));
    }
    let drained = fetch.drained.into_iter().map(|d| (d.owner, Incarnation(d.incarnation))).collect();
    let request = FetchRequest {
        tenant,
        question: question::decode(must(fetch.question, "question")?)?,
        root_version: fetch.root_version,
        coverage,
        drained,
        deletions: deletion::decode(fetch.deletions)?,
        timeout: Duration::from_millis(fetch.timeout_ms).min(TIMEOUT_MAX),
    };
    Ok(Fetch { request, roster_version: fetch.roster_version, cells: cells(&fetch.cells)? })
}

/// Answers are encoded by [`encode_answer`] before: that may take long, and fails on its own.
pub(crate) fn fetched_to(fetched: Fetched, answer: Vec<u8>) -> pb::FetchResponse {
    use pb::fetch_response::Outcome as Kind;
    let outcome = match fetched.outcome {
        FetchOutcome::Answered { journals, partial: _, inexact, cells, elsewhere } => {
            Kind::Answered(pb::Answered {
                journals: journals.iter().map(journal_to).collect(),
                answer: answer.into(),
                inexact,
                cells: cells.iter().map(cell_text).collect(),
                elsewhere: elsewhere.into_iter().map(not_ready_to).collect(),
            })
        }
        FetchOutcome::NotReady(not_ready) => Kind::NotReady(not_ready_to(not_ready)),
        FetchOutcome::NeedFresh { journal, retained_after } => {
            Kind::NeedFresh(pb::NeedFresh { journal: journal.to_string(), retained_after: retained_after.0 })
        }
    };
    pb::FetchResponse { outcome: Some(outcome), roster_version: fetched.roster_version }
}

/// A partial answer, packed.
pub(crate) fn encode_answer(outcome: &FetchOutcome) -> Result<Vec<u8>, AnswerEncodeError> {
    match outcome {
        FetchOutcome::Answered { partial, .. } => Ok(packed::pack(&answer_bytes::encode(partial)?)?),
        _ => Ok(Vec::new()),
    }
}

/// An answer cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerEncodeError {
    #[error(transparent)]
    Answer(#[from] answer_bytes::EncodeError),
    #[error("the answer is too large to be sent: {0}")]
    Packed(#[from] packed::PackedError),
}

impl hearth_common::Classify for AnswerEncodeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Answer(error) => error.kind(),
            Self::Packed(_) => ErrorKind::ResourceExhausted,
        }
    }
}

fn decode_answer(packed: &[u8]) -> Result<Answer, Malformed> {
    let content = packed::unpack(packed).map_err(|error| Malformed(error.to_string()))?;
    answer_bytes::decode(&content).map_err(|error| Malformed(error.to_string()))
}

pub(crate) fn fetched(fetched: pb::FetchResponse) -> Result<Fetched, Malformed> {
    use pb::fetch_response::Outcome as Kind;
    let outcome = match must(fetched.outcome, "outcome")? {
        Kind::Answered(answered) => FetchOutcome::Answered {
            partial: decode_answer(&answered.answer)?,
            journals: answered.journals.iter().map(journal_answer).collect::<Result<_, _>>()?,
            inexact: answered.inexact,
            cells: cells(&answered.cells)?,
            elsewhere: elsewhere(answered.elsewhere)?,
        },
        Kind::NotReady(ready) => FetchOutcome::NotReady(not_ready(ready)?),
        Kind::NeedFresh(fresh) => FetchOutcome::NeedFresh {
            journal: journal(&fresh.journal)?,
            retained_after: Position(fresh.retained_after),
        },
    };
    Ok(Fetched { outcome, roster_version: fetched.roster_version })
}

fn journal_to(answer: &JournalAnswer) -> pb::answered::Journal {
    pb::answered::Journal {
        journal: answer.journal.to_string(),
        after: answer.after.0,
        visible_end: answer.visible_end.0,
        rows_end: Some(answer.rows_end.0),
    }
}

fn journal_answer(answer: &pb::answered::Journal) -> Result<JournalAnswer, Malformed> {
    Ok(JournalAnswer {
        journal: journal(&answer.journal)?,
        after: Position(answer.after),
        visible_end: Position(answer.visible_end),
        rows_end: Position(answer.rows_end.unwrap_or(answer.visible_end)),
    })
}

fn not_ready_to(not_ready: NotReady) -> pb::NotReady {
    pb::NotReady {
        cell: not_ready.cell.as_ref().map_or_else(String::new, cell_text),
        why: not_ready.why,
        leader: leader_text(not_ready.leader.as_ref()),
    }
}

fn not_ready(not_ready: pb::NotReady) -> Result<NotReady, Malformed> {
    Ok(NotReady {
        cell: optional_name(&not_ready.cell)?.map(hearth_common::CellId),
        leader: optional_name(&not_ready.leader)?,
        why: not_ready.why,
    })
}

fn elsewhere(elsewhere: Vec<pb::NotReady>) -> Result<Vec<NotReady>, Malformed> {
    if elsewhere.len() > LIST_MAX {
        return malformed("too many cells");
    }
    elsewhere.into_iter().map(not_ready).collect()
}
