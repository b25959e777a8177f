//! One part of a query, until it is answered: by its owner, by whoever comes next when that one is late or fails, or here.
//! The first whole answer wins, and what the others do ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearth_block::Deletion;
use hearth_common::{BlockId, ErrorKind, InstanceId};
use hearth_internode::{BlocksAnswer, BlocksError, BlocksRequest, CallError, RefusalWhy};
use hearth_model::{Answer, AnswerError};
use hearth_query::share::{Part, heirs};
use tokio::time::Instant;

use super::Sharing;
use crate::gather::Gather;
use crate::reading::{ReadError, Reader, Reading};
use crate::skipped::Skipped;

/// Peers that are asked for one part beside its owner, before it is read here.
const HEIRS_MAX: usize = 1;

/// The answer to a part.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) partial: Answer,
    pub(super) fetched_bytes: u64,
    /// What it lacks.
    pub(super) skipped: Skipped,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Runner {
    Peer(InstanceId),
    Here,
}

/// What became of asking.
enum Ended {
    Won(Box<Won>),
    /// Nobody can do better.
    Lost(ReadError),
    /// Somebody else may.
    Next,
    /// Only reading it here tells why.
    Here,
}

/// A part and all who are asked for it.
struct Race<'a> {
    sharing: &'a Sharing,
    reader: &'a Reader,
    reading: &'a Reading<'a>,
    part: &'a Part,
    deadline: Instant,
    /// Who is not asked yet.
    next: VecDeque<Runner>,
    /// Peers that are asked and have not answered.
    asked: Vec<(InstanceId, Instant)>,
    running: FuturesUnordered<BoxFuture<'a, (Runner, Ended)>>,
    /// When the next one is asked although one is asked: only if calls may be made twice …
    usual: Instant,
    /// … and whatever it costs.
    longest: Instant,
    hedging_is_refused: bool,
}

impl Sharing {
    /// Answers a part, once.
    pub(super) async fn race(
        &self,
        reader: &Reader,
        reading: &Reading<'_>,
        deadline: Instant,
        part: &Part,
    ) -> Result<Won, ReadError> {
        let now = Instant::now();
        let mut race = Race {
            sharing: self,
            reader,
            reading,
            part,
            deadline,
            next: self.runners(part),
            asked: Vec::new(),
            running: FuturesUnordered::new(),
            usual: now,
            longest: now,
            hedging_is_refused: false,
        };
        let won = race.run().await;
        race.note_late();
        won
    }

    /// The owner, who takes its blocks over when it is gone, and this process.
    fn runners(&self, part: &Part) -> VecDeque<Runner> {
        let mut runners = VecDeque::from([Runner::Peer(part.owner.clone())]);
        let ring = self.peers.ring();
        if let Some(block) = part.blocks.first() {
            let others = heirs(&ring, block.id).filter(|peer| **peer != part.owner);
            let others = others.filter(|peer| **peer == self.me || !self.resting.rests(peer));
            let others = others.take(HEIRS_MAX).take_while(|peer| **peer != self.me);
            runners.extend(others.cloned().map(Runner::Peer));
        }
        runners.push_back(Runner::Here);
        runners
    }
}

impl Race<'_> {
    async fn run(&mut self) -> Result<Won, ReadError> {
        self.start_next();
        loop {
            let alarm = if self.hedging_is_refused { self.longest } else { self.usual };
            let more = !self.next.is_empty();
            let ended = tokio::select! {
                // An answer that is there counts before the alarm.
                biased;
                ended = self.running.next() => ended,
                () = tokio::time::sleep_until(alarm), if more => {
                    self.alarm();
                    continue;
                }
            };
            let Some((runner, ended)) = ended else {
                // Not reached: this process is the last one asked, and always ends the race.
                return Err(ReadError::Failed(crate::QueryError::Worker));
            };
            if let Runner::Peer(peer) = &runner {
                self.asked.retain(|(asked, _)| asked != peer);
            }
            match ended {
                Ended::Won(won) => return Ok(*won),
                Ended::Lost(error) => return Err(error),
                Ended::Next if self.running.is_empty() => self.start_next(),
                Ended::Next => {}
                Ended::Here => {
                    self.next.retain(|runner| *runner == Runner::Here);
                    self.start_next();
                }
            }
        }
    }

    /// Whoever was asked last is late.
    fn alarm(&mut self) {
        let forced = Instant::now() >= self.longest;
        if !forced && !self.sharing.delays.may_hedge() {
            self.hedging_is_refused = true;
            return;
        }
        self.sharing.metrics.hedges.inc();
        self.start_next();
    }

    fn start_next(&mut self) {
        let Some(runner) = self.next.pop_front() else { return };
        let now = Instant::now();
        let (delays, question) = (&self.sharing.delays, self.reading.question);
        self.usual = now + delays.usual(question, self.part.blocks.len());
        self.longest = now + delays.longest(question, self.part.blocks.len());
        self.hedging_is_refused = false;
        match runner {
            Runner::Peer(peer) => {
                self.asked.push((peer.clone(), now));
                let asking = ask(self.sharing, self.reading, self.part, self.deadline, peer.clone());
                self.running.push(asking.map(move |ended| (Runner::Peer(peer), ended)).boxed());
            }
            Runner::Here => {
                self.sharing.metrics.local_parts.inc();
                let reading = read_here(self.reader, self.reading, self.part);
                self.running.push(reading.map(|ended| (Runner::Here, ended)).boxed());
            }
        }
    }

    /// Peers that have not answered when the part is over: somebody else overtook them. What is known of their time is that
    /// it is longer.
    fn note_late(&self) {
        let sharing = self.sharing;
        for (peer, since) in &self.asked {
            sharing.delays.took(self.reading.question, self.part.blocks.len(), since.elapsed());
            sharing.metrics.called("late");
            sharing.resting.silent(peer);
        }
    }
}

/// Asks a peer.
async fn ask(
    sharing: &Sharing,
    reading: &Reading<'_>,
    part: &Part,
    deadline: Instant,
    peer: InstanceId,
) -> Ended {
    let Ok(_call) = sharing.calls.try_acquire() else {
        sharing.metrics.called("crowded");
        return Ended::Next;
    };
    sharing.delays.called();
    let began = Instant::now();
    let request = BlocksRequest {
        tenant: reading.tenant.clone(),
        question: reading.question.clone(),
        blocks: part.blocks.clone(),
        deletions: deletions_of(reading.deletions, part),
        bytes_max: reading.budget.left(),
        timeout: deadline.saturating_duration_since(began),
    };
    let answer = match sharing.peers.blocks(&peer, &request).await {
        Ok(answer) => answer,
        Err(error) => return failed(sharing, reading, &peer, error),
    };
    sharing.resting.well(&peer);
    sharing.delays.took(reading.question, part.blocks.len(), began.elapsed());
    let metrics = &sharing.metrics;
    metrics.called("answered");
    metrics.blocks.inc_by(part.blocks.len() as u64);
    metrics.block_bytes.inc_by(answer.fetched_bytes);
    metrics.answer_bytes.inc_by(answer.wire_bytes);
    let BlocksAnswer { partial, fetched_bytes, .. } = answer;
    Ended::Won(Box::new(Won { partial, fetched_bytes, skipped: reading.skipped.apart() }))
}

/// What a peer needs of the deletions: those of the part's blocks.
fn deletions_of(deletions: &[Deletion], part: &Part) -> Vec<Deletion> {
    let of_part = |deletion: &Deletion| {
        let hiding = part.blocks.iter().filter(|block| deletion.hides_in(block)).map(|block| block.id);
        let blocks: BTreeSet<BlockId> = hiding.collect();
        let hidden = Arc::clone(&deletion.hidden);
        (!blocks.is_empty()).then_some(Deletion { id: deletion.id, hidden, upto: BTreeMap::new(), blocks })
    };
    deletions.iter().filter_map(of_part).collect()
}

fn failed(sharing: &Sharing, reading: &Reading<'_>, peer: &InstanceId, error: BlocksError) -> Ended {
    sharing.metrics.called(error.outcome());
    let resting = &sharing.resting;
    let refusal = match error {
        BlocksError::Refused(refusal) => refusal,
        BlocksError::Call(error) => {
            tracing::debug!(%peer, %error, "a querier did not answer for its blocks; others do");
            match error {
                CallError::TooLarge { .. } => {}
                // It is of a version that does not know the call, or gives other answers.
                CallError::Answered {
                    kind: ErrorKind::Unimplemented | ErrorKind::InvalidArgument, ..
                }
                | CallError::Malformed { .. } => resting.strange(peer),
                _ => resting.failed(peer),
            }
            return Ended::Next;
        }
    };
    if refusal.why == RefusalWhy::Stranger {
        resting.strange(peer);
    } else {
        resting.well(peer);
    }
    match refusal.why {
        RefusalWhy::Busy | RefusalWhy::Stranger | RefusalWhy::Failed => Ended::Next,
        RefusalWhy::Bytes => Ended::Lost(reading.budget.exceeded().into()),
        RefusalWhy::Overflow => Ended::Lost(AnswerError::Overflow.into()),
        RefusalWhy::Unreadable => Ended::Here,
    }
}

/// Reads a part in this process, apart from everything else of the query until it has won.
async fn read_here(reader: &Reader, reading: &Reading<'_>, part: &Part) -> Ended {
    let (gather, budget) = (Arc::new(Gather::default()), reading.budget.rest());
    let skipped = reading.skipped.apart();
    let apart = Reading { budget: &budget, skipped: &skipped, ..*reading };
    if let Err(error) = reader.read(&apart, part.blocks.clone(), &gather).await {
        return Ended::Lost(error);
    }
    let partial = gather.take().unwrap_or_else(|| Answer::empty(reading.question));
    Ended::Won(Box::new(Won { partial, fetched_bytes: budget.used(), skipped }))
}
