//! The asking for one query: whom for which cells, and what came back.
//!
//! Cells that have one leader go in one request, so their rows come merged. An answer counts only if none of its cells is
//! answered yet: two answers never overlap (A32).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearth_common::{CellId, InstanceId, JournalId};
use hearth_internode::api::NotReady;
use hearth_internode::cells::{Said, Trail, View, pause};
use hearth_internode::{CallError, Fetch, FetchOutcome, Fetched};
use hearth_query::heads::{CellsAnswer, HeadsError};
use hearth_query::{FetchError, FetchRequest};
use tokio::time::Instant;

use super::ClusterHeads;

/// Something happened.
enum Event {
    /// A member answered, or cannot.
    Said(u64, Box<Result<Fetched, CallError>>),
    /// A member has not answered so far.
    Silence(u64),
    /// The pause after a round is over.
    Rested(CellId),
}

/// What is being done for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: the next member is to be asked.
    Idle,
    /// A member is asked.
    Asked,
    /// All were asked; a pause goes by, or one may still answer.
    Resting,
}

/// A cell that is not answered yet.
#[derive(Debug)]
struct Pending {
    trail: Trail,
    state: State,
    /// The round is over.
    again: bool,
    /// Who is asked for it now.
    asked: BTreeSet<InstanceId>,
}

/// A request in flight.
#[derive(Debug)]
struct Call {
    member: InstanceId,
    cells: Vec<CellId>,
    began: Instant,
}

/// What to do next for an idle cell.
enum Choice {
    Ask(InstanceId),
    Rest(Duration),
    /// Somebody may still answer.
    Wait,
    GiveUp,
    /// The newest roster does not have it any more.
    Gone,
}

/// The cells of one query.
pub(super) struct Asking<'a> {
    heads: &'a ClusterHeads,
    request: &'a FetchRequest,
    deadline: Instant,
    begun: Instant,
    /// What was planned on.
    view: Arc<View>,
    pending: BTreeMap<CellId, Pending>,
    calls: BTreeMap<u64, Call>,
    calls_made: u64,
    events: FuturesUnordered<BoxFuture<'a, Event>>,
    answers: Vec<CellsAnswer>,
    left_out: BTreeMap<CellId, String>,
    allow_partial: bool,
    /// The newest version of the roster that an answer spoke of.
    pub(super) newest_roster: u64,
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        heads: &'a ClusterHeads,
        request: &'a FetchRequest,
        view: &Arc<View>,
        deadline: Instant,
        allow_partial: bool,
    ) -> Self {
        Self {
            heads,
            allow_partial,
            request,
            deadline,
            begun: Instant::now(),
            view: Arc::clone(view),
            pending: BTreeMap::new(),
            calls: BTreeMap::new(),
            calls_made: 0,
            events: FuturesUnordered::new(),
            answers: Vec::new(),
            left_out: BTreeMap::new(),
            newest_roster: 0,
        }
    }

    /// Adds cells of a roster that were not asked before.
    pub(super) fn add(&mut self, cells: &BTreeSet<CellId>, view: &Arc<View>) {
        self.view = Arc::clone(view);
        self.begun = Instant::now();
        for cell in cells {
            let pending =
                Pending { trail: Trail::default(), state: State::Idle, again: true, asked: BTreeSet::new() };
            self.pending.insert(cell.clone(), pending);
        }
    }

    /// What came together.
    pub(super) fn finish(self) -> (Vec<CellsAnswer>, BTreeMap<CellId, String>) {
        (self.answers, self.left_out)
    }

    /// Asks until every cell is answered or left out. A journal in return: the root is too old for it.
    pub(super) async fn run(&mut self) -> Result<Option<JournalId>, HeadsError> {
        loop {
            if let Some(stale) = self.launch()? {
                return Ok(Some(stale));
            }
            if self.pending.is_empty() {
                return Ok(None);
            }
            match tokio::time::timeout_at(self.deadline, self.events.next()).await {
                Ok(Some(event)) => {
                    if let Some(stale) = self.take(event)? {
                        return Ok(Some(stale));
                    }
                }
                Ok(None) | Err(_) => {
                    let cells: Vec<CellId> = self.pending.keys().cloned().collect();
                    cells.iter().try_for_each(|cell| self.give_up(cell))?;
                }
            }
        }
    }

    /// Asks for all cells that are idle, in one request a member.
    fn launch(&mut self) -> Result<Option<JournalId>, HeadsError> {
        let idle = self.pending.iter().filter(|(_, pending)| pending.state == State::Idle);
        let idle: Vec<CellId> = idle.map(|(cell, _)| cell.clone()).collect();
        let mut wanted: BTreeMap<InstanceId, Vec<CellId>> = BTreeMap::new();
        for cell in idle {
            match self.choose(&cell) {
                Choice::Ask(member) => wanted.entry(member).or_default().push(cell),
                Choice::Rest(pause) => {
                    self.heads.metrics.waits.inc();
                    self.rest(&cell);
                    self.events.push(tokio::time::sleep(pause).map(move |()| Event::Rested(cell)).boxed());
                }
                Choice::Wait => self.rest(&cell),
                Choice::GiveUp => self.give_up(&cell)?,
                Choice::Gone => return self.gone(&cell).map(Some),
            }
        }
        for (member, cells) in wanted {
            self.call(member, cells);
        }
        Ok(None)
    }

    fn choose(&mut self, cell: &CellId) -> Choice {
        let heads = self.heads;
        let Some(pending) = self.pending.get_mut(cell) else { return Choice::Wait };
        if std::mem::take(&mut pending.again) {
            pending.trail.begin(heads.cells.order(cell));
            if pending.trail.peek().is_none() {
                return Choice::Gone;
            }
        }
        while let Some(member) = pending.trail.take() {
            if !pending.asked.contains(&member) {
                return Choice::Ask(member);
            }
        }
        let over = self.begun.elapsed() >= heads.options.election_max;
        match (over, pending.asked.is_empty()) {
            (true, true) => Choice::GiveUp,
            (true, false) => Choice::Wait,
            (false, true) => Choice::Rest(pause(pending.trail.rounds(), (heads.random)())),
            // Whoever is asked may only be slow, or another one leads soon: each round is longer, to a bound, for an election
            // takes a second or two.
            (false, false) => {
                let doubled = 1 << pending.trail.rounds().saturating_sub(1).min(8);
                let most = heads.options.silence / 4;
                Choice::Rest(heads.silence().saturating_mul(doubled).min(most))
            }
        }
    }

    fn rest(&mut self, cell: &CellId) {
        if let Some(pending) = self.pending.get_mut(cell) {
            (pending.state, pending.again) = (State::Resting, true);
        }
    }

    /// Leaves a cell out, or fails.
    fn give_up(&mut self, cell: &CellId) -> Result<(), HeadsError> {
        let Some(pending) = self.pending.remove(cell) else { return Ok(()) };
        let seconds = self.begun.elapsed().as_secs_f64();
        let why = format!("{} (asked for {seconds:.1} s)", pending.trail.words());
        if !self.allow_partial {
            return Err(HeadsError::Cell { cell: cell.clone(), why });
        }
        self.left_out.insert(cell.clone(), why);
        Ok(())
    }

    /// A cell that the newest roster does not have is drained: a newer root covers all of its log.
    fn gone(&self, cell: &CellId) -> Result<JournalId, HeadsError> {
        let known = self.view.roster.cell(cell).ok_or_else(|| HeadsError::Cell {
            cell: cell.clone(),
            why: "the roster does not have it".to_owned(),
        })?;
        Ok(JournalId::of_log(cell, known.log))
    }

    fn call(&mut self, member: InstanceId, cells: Vec<CellId>) {
        self.calls_made += 1;
        let call = self.calls_made;
        for cell in &cells {
            if let Some(pending) = self.pending.get_mut(cell) {
                pending.state = State::Asked;
                pending.asked.insert(member.clone());
            }
        }
        let timeout = self.deadline.saturating_duration_since(Instant::now());
        let fetch = Fetch {
            request: FetchRequest { timeout, ..self.request.clone() },
            roster_version: self.view.roster.version,
            cells: cells.clone(),
        };
        let client = self.heads.cells.client(&member);
        let asked = async move {
            let said = match client {
                Ok(client) => client.fetch(fetch).await,
                Err(error) => Err(error),
            };
            Event::Said(call, Box::new(said))
        };
        self.events.push(asked.boxed());
        let silence = tokio::time::sleep(self.heads.silence());
        self.events.push(silence.map(move |()| Event::Silence(call)).boxed());
        self.calls.insert(call, Call { member, cells, began: Instant::now() });
    }

    fn take(&mut self, event: Event) -> Result<Option<JournalId>, HeadsError> {
        match event {
            Event::Rested(cell) => {
                if let Some(pending) = self.pending.get_mut(&cell)
                    && pending.state == State::Resting
                {
                    pending.state = State::Idle;
                }
            }
            Event::Silence(call) => self.silent(call),
            Event::Said(call, said) => {
                let Some(Call { member, cells, began }) = self.calls.remove(&call) else { return Ok(None) };
                if matches!(&*said, Ok(Fetched { outcome: FetchOutcome::Answered { cells, .. }, .. }) if !cells.is_empty())
                {
                    self.heads.took.add(began.elapsed());
                }
                for cell in &cells {
                    if let Some(pending) = self.pending.get_mut(cell) {
                        pending.asked.remove(&member);
                    }
                }
                return self.said(&member, &cells, *said);
            }
        }
        Ok(None)
    }

    /// A member that is asked says nothing: others may know who leads now.
    fn silent(&mut self, call: u64) {
        let Some(Call { member, cells, .. }) = self.calls.get(&call) else { return };
        self.heads.metrics.silences.inc();
        for cell in cells {
            if let Some(pending) = self.pending.get_mut(cell)
                && pending.state == State::Asked
            {
                pending.trail.heard(member, Said::Nothing, "no answer so far");
                pending.state = State::Idle;
            }
        }
    }

    fn said(
        &mut self,
        member: &InstanceId,
        cells: &[CellId],
        said: Result<Fetched, CallError>,
    ) -> Result<Option<JournalId>, HeadsError> {
        let metrics = &self.heads.metrics;
        let Fetched { outcome, roster_version } = match said {
            Ok(fetched) => fetched,
            Err(error) => {
                metrics.fetched(error.outcome());
                return self.failed(member, cells, error).map(|()| None);
            }
        };
        self.newest_roster = self.newest_roster.max(roster_version);
        match outcome {
            FetchOutcome::NeedFresh { journal, .. } => {
                metrics.fetched("need_fresh");
                return Ok(Some(journal));
            }
            FetchOutcome::NotReady(not_ready) => {
                metrics.fetched("not_here");
                cells.iter().for_each(|cell| self.not_here(member, cell, &not_ready));
            }
            FetchOutcome::Answered { journals, partial, inexact, cells: answered, elsewhere } => {
                let answer = CellsAnswer { cells: answered, journals, partial, inexact };
                self.answered(member, cells, answer, &elsewhere);
            }
        }
        Ok(None)
    }

    fn answered(
        &mut self,
        member: &InstanceId,
        asked: &[CellId],
        answer: CellsAnswer,
        elsewhere: &[NotReady],
    ) {
        if answer.cells.is_empty() || !answer.cells.iter().all(|cell| asked.contains(cell)) {
            return self.answered_nothing(member, asked, elsewhere);
        }
        answer.cells.iter().for_each(|cell| self.heads.cells.leads(cell, member));
        // Its rows are merged, so of an answer for cells of which one is answered already nothing can be kept.
        let all_new = answer.cells.iter().all(|cell| self.pending.contains_key(cell));
        self.heads.metrics.fetched(if all_new { "answered" } else { "dropped" });
        for cell in asked {
            if answer.cells.contains(cell) {
                if all_new {
                    self.pending.remove(cell);
                } else if let Some(pending) = self.pending.get_mut(cell) {
                    // Asked for without the others, it will be answered.
                    pending.trail.heard(member, Said::Later, "it answers");
                    (pending.state, pending.again) = (State::Idle, true);
                }
                continue;
            }
            self.not_here(member, cell, &of_cell(elsewhere, cell));
        }
        if all_new {
            self.answers.push(answer);
        }
    }

    /// The member leads none of the cells, or speaks of others.
    fn answered_nothing(&mut self, member: &InstanceId, asked: &[CellId], elsewhere: &[NotReady]) {
        self.heads.metrics.fetched("not_here");
        asked.iter().for_each(|cell| self.not_here(member, cell, &of_cell(elsewhere, cell)));
    }

    fn not_here(&mut self, member: &InstanceId, cell: &CellId, not_ready: &NotReady) {
        let said = match &not_ready.leader {
            // It leads, and has to catch up first.
            Some(leader) if leader == member => Said::Later,
            other => {
                self.heads.cells.leads_not(cell, member);
                if let Some(leader) = other {
                    self.heads.cells.leads(cell, leader);
                }
                Said::Elsewhere(other.clone())
            }
        };
        self.next(member, cell, said, &not_ready.why);
    }

    fn failed(&mut self, member: &InstanceId, cells: &[CellId], error: CallError) -> Result<(), HeadsError> {
        let said = match &error {
            CallError::TimedOut(_) | CallError::Unreachable { .. } => Said::Nothing,
            _ => Said::Elsewhere(None),
        };
        let words = error.to_string();
        match FetchError::from(error) {
            FetchError::Unavailable(_) => {
                for cell in cells {
                    self.heads.cells.leads_not(cell, member);
                    self.next(member, cell, said.clone(), &words);
                }
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    fn next(&mut self, member: &InstanceId, cell: &CellId, said: Said, words: &str) {
        if let Some(pending) = self.pending.get_mut(cell) {
            pending.trail.heard(member, said, words);
            // Another member may be asked at this moment: whichever answers.
            pending.state = State::Idle;
        }
    }
}

/// What a member says of a cell that it did not answer for.
fn of_cell(elsewhere: &[NotReady], cell: &CellId) -> NotReady {
    let said = elsewhere.iter().find(|not_ready| not_ready.cell.as_ref() == Some(cell)).cloned();
    said.unwrap_or_else(|| NotReady {
        cell: Some(cell.clone()),
        why: "its answer does not speak of the cell".to_owned(),
        leader: None,
    })
}
