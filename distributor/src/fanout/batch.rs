//! One message to one cell, sent until each record in it has its outcome or the time is over.

use std::time::Duration;

use bytes::Bytes;
use hearth_cluster::push::{PushError, PushOutcome};
use hearth_common::{CellId, ErrorKind, InstanceId};
use hearth_internode::api::RetryWhy;
use hearth_internode::cells::{Said, Trail, View, pause};
use hearth_internode::{CallError, Outcome, Push, Pushed};
use tokio::time::Instant;

use super::ClusterPush;
use super::metrics::Again;

/// A member may take a second longer for so many bytes.
const BYTES_PER_SECOND_LEAST: usize = 8 << 20;

/// Records of one cell.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) cell: CellId,
    /// Their places in the push.
    pub(super) records: Vec<usize>,
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) fn new(cell: CellId) -> Self {
        Self { cell, records: Vec::new(), bytes: 0 }
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) done: Vec<(usize, PushOutcome)>,
    /// Records that a newer roster places, …
    pub(super) misplaced: Vec<usize>,
    /// … of at least this version.
    pub(super) roster_version: u64,
}

/// What one answer means for the records that are left.
enum Next {
    /// Ask whom the trail says.
    Go,
    /// Place them anew, with a roster of this version.
    Place(u64),
    /// Nobody else will say anything else.
    Fail(PushError),
}

impl ClusterPush {
    /// Sends a batch to whoever leads its cell, through elections, until the deadline.
    pub(super) async fn send(
        &self,
        batch: Batch,
        view: &View,
        records: &[Bytes],
        deadline: Instant,
    ) -> Result<Sent, PushError> {
        let Batch { cell, records: mut left, bytes } = batch;
        let mut sent = Sent::default();
        let mut trail = Trail::default();
        while !left.is_empty() {
            if Instant::now() >= deadline {
                self.metrics.pushed(&cell, "unavailable");
                return Err(self.nobody(&cell, &trail));
            }
            let Some(member) = trail.take() else {
                self.round(&cell, &mut trail, deadline).await;
                if trail.peek().is_none() {
                    // The newest roster has no such cell.
                    (sent.misplaced, sent.roster_version) = (left, view.roster.version + 1);
                    self.metrics.pushed(&cell, "misplaced");
                    return Ok(sent);
                }
                continue;
            };
            let push = Push {
                cell: cell.clone(),
                roster_version: view.roster.version,
                records: left.iter().map(|at| records[*at].clone()).collect(),
            };
            let timeout = self.patience(trail.rounds(), bytes);
            let asked = self.ask(&member, push, timeout, deadline).await;
            let next = match asked {
                Ok(pushed) => self.answered(&cell, &member, pushed, &mut left, &mut sent, &mut trail),
                Err(error) => self.failed(&cell, &member, error, &mut trail),
            };
            match next {
                Next::Go => {}
                Next::Place(version) if version > view.roster.version => {
                    (sent.misplaced, sent.roster_version) = (left, version);
                    self.metrics.pushed(&cell, "misplaced");
                    return Ok(sent);
                }
                // It has no newer roster than we have: it is the one that has to learn.
                Next::Place(_) => {}
                Next::Fail(error) => {
                    self.metrics.pushed(&cell, "failed");
                    return Err(error);
                }
            }
        }
        self.metrics.pushed(&cell, "ok");
        Ok(sent)
    }

    /// Begins a round over the members of a cell, after a pause if it is not the first.
    async fn round(&self, cell: &CellId, trail: &mut Trail, deadline: Instant) {
        if trail.rounds() > 0 {
            self.metrics.waits.inc();
            let until = Instant::now() + pause(trail.rounds(), (self.random)());
            tokio::time::sleep_until(until.min(deadline)).await;
        }
        trail.begin(self.cells.order(cell));
    }

    async fn ask(
        &self,
        member: &InstanceId,
        push: Push,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Pushed, CallError> {
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        let pushed = self.cells.client(member)?.push(push, timeout.min(left)).await;
        self.metrics.called(pushed.is_ok(), started.elapsed());
        pushed
    }

    /// How long a member may say nothing. A leader that is slow but alive is given more time in each round.
    fn patience(&self, rounds: u32, bytes: usize) -> Duration {
        let grown = self.options.silence.saturating_mul(1 << rounds.saturating_sub(1).min(6));
        grown + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND_LEAST as f64)
    }

    /// Sorts out which records are done; one of the others says how to go on.
    fn answered(
        &self,
        cell: &CellId,
        member: &InstanceId,
        pushed: Pushed,
        left: &mut Vec<usize>,
        sent: &mut Sent,
        trail: &mut Trail,
    ) -> Next {
        let mut retry = None;
        let mut again = Vec::new();
        for (at, outcome) in left.drain(..).zip(pushed.outcomes) {
            match outcome {
                Outcome::Done(outcome) => sent.done.push((at, outcome)),
                Outcome::Retry(why) => {
                    again.push(at);
                    retry.get_or_insert(why);
                }
            }
        }
        *left = again;
        self.cells.heard(pushed.roster_version);
        let Some(retry) = retry else {
            self.cells.leads(cell, member);
            return Next::Go;
        };
        self.metrics.again(Again::Told(retry.why));
        let said = match retry.why {
            RetryWhy::Full => {
                self.cells.leads(cell, member);
                Said::Later
            }
            // It leads: where records belong is what it knows better.
            RetryWhy::OldRoster => Said::Later,
            _ => {
                self.cells.leads_not(cell, member);
                let other = retry.leader.filter(|leader| leader != member);
                if let Some(leader) = &other {
                    self.cells.leads(cell, leader);
                }
                Said::Elsewhere(other)
            }
        };
        trail.heard(member, said, &retry.message);
        if retry.why == RetryWhy::OldRoster { Next::Place(pushed.roster_version) } else { Next::Go }
    }

    fn failed(&self, cell: &CellId, member: &InstanceId, error: CallError, trail: &mut Trail) -> Next {
        self.metrics.again(Again::Failed(error.outcome()));
        self.cells.leads_not(cell, member);
        let said = match &error {
            CallError::TimedOut(_) | CallError::Unreachable { .. } => Said::Nothing,
            CallError::Answered {
                kind: ErrorKind::Internal | ErrorKind::InvalidArgument | ErrorKind::OutOfRange,
                message,
            } => return Next::Fail(PushError::Malformed(format!("cell {}, {member}: {message}", cell.0))),
            _ => Said::Elsewhere(None),
        };
        trail.heard(member, said, &error.to_string());
        Next::Go
    }

    fn nobody(&self, cell: &CellId, trail: &Trail) -> PushError {
        PushError::Unavailable(format!(
            "no member of cell {} took the records within {:.1} s ({})",
            cell.0,
            self.options.deadline.as_secs_f64(),
            trail.words()
        ))
    }
}
