//! What other roles call: pushes and questions for cells, and how this member is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use hearth_cell::{Role, Status, Term};
use hearth_cluster::PushError;
use hearth_cluster::roster::{Homes, Roster, Volume};
use hearth_common::{CellId, ErrorKind};
use hearth_internode::api::{
    CellStatus, ControlError, Fetch, FetchOutcome, Fetched, IngesterApi, MemberStatus, NotReady, Outcome,
    PeerStatus, Push, Pushed, Retry, RetryWhy,
};
use hearth_internode::cells::Cells;
use hearth_model::Answer;
use hearth_query::{FetchAnswer, FetchError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::placement::{doubtful, misplaced};
use crate::host::Cell;
use crate::lead::Lead;
use crate::planted::Bug;
use crate::service::{Elsewhere, Ingester};

/// Services that a status names.
const VOLUMES_MAX: usize = 1_000;

/// An ingester as a member of a cluster.
pub struct Member {
    ingester: Arc<Ingester>,
    cluster_id: String,
    roster_version: AtomicU64,
    /// Where that roster places records.
    homes: RwLock<Option<Arc<Homes>>>,
    /// Whom to tell of newer versions, to look for them.
    cells: OnceLock<Arc<Cells>>,
    /// The newest version that another member was heard to have.
    heard: AtomicU64,
    /// For cells, the term that they were first asked in, and the version without which nothing is taken in it.
    needed: Mutex<BTreeMap<CellId, (Term, u64)>>,
    leave: Notify,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("ingester", &self.ingester).finish_non_exhaustive()
    }
}

impl Member {
    /// Serves an ingester in a cluster of that name.
    pub fn new(ingester: Arc<Ingester>, cluster_id: String) -> Arc<Self> {
        Arc::new(Self {
            ingester,
            cluster_id,
            roster_version: AtomicU64::new(0),
            homes: RwLock::default(),
            cells: OnceLock::new(),
            heard: AtomicU64::new(0),
            needed: Mutex::default(),
            leave: Notify::new(),
        })
    }

    /// Says whom to tell of newer versions of the roster. Once.
    pub fn look_by(&self, cells: &Arc<Cells>) {
        self.cells.get_or_init(|| Arc::clone(cells));
    }

    /// Another member acts on this version of the roster.
    pub fn heard_roster(&self, version: u64) {
        if self.heard.fetch_max(version, Ordering::Relaxed) < version {
            self.look_for(version);
        }
    }

    fn look_for(&self, version: u64) {
        if let Some(cells) = self.cells.get().filter(|_| version > self.roster_version()) {
            cells.heard(version);
        }
    }

    /// A leader must know what those know that voted for it: before a change of placement holds, the leader of each cell knows
    /// of it, and of those whose votes make another leader at least one. `false`: it has to learn that first.
    fn knows_enough(&self, lead: &Lead, own: u64) -> bool {
        let mut needed = self.needed.lock();
        let heard = self.heard.load(Ordering::Relaxed);
        let of_term = needed.entry(lead.cell.id.clone()).or_insert((lead.term, heard));
        if of_term.0 != lead.term {
            *of_term = (lead.term, heard);
        }
        of_term.1 <= own
    }

    /// The roster that this member acts on from now on.
    pub fn set_roster(&self, roster: &Roster) {
        match Homes::new(roster) {
            Ok(homes) => *self.homes.write() = Some(Arc::new(homes)),
            // A roster that places nothing was refused when it was read.
            Err(error) => tracing::error!(version = roster.version, %error, "the roster places no records"),
        }
        self.roster_version.fetch_max(roster.version, Ordering::Relaxed);
    }

    /// Takes the records that belong to the cell. Those that a newer roster than the sender's places elsewhere are sent back to
    /// be placed by it; those of which this member cannot be sure are to come again.
    async fn push_placed(&self, lead: &Lead, push: &Push) -> Result<Vec<Outcome>, PushError> {
        let (now, count) = (self.ingester.now(), push.records.len());
        let Some(homes) = self.homes.read().clone() else {
            return Ok(vec![again(RetryWhy::NotReady, self.not_sure(&push.cell)); count]);
        };
        let planted = &self.ingester.common.planted;
        self.look_for(push.roster_version);
        let older = push.roster_version < homes.version() && !planted.has(Bug::MisplacedAccepted);
        let apart = match older {
            true => misplaced(&homes, &push.cell, &push.records, now),
            false => vec![false; count],
        };
        let doubts = match (planted.has(Bug::DoubtIgnored), self.knows_enough(lead, homes.version())) {
            (true, _) => vec![false; count],
            (false, true) => doubtful(&homes, &push.cell, &push.records, now),
            (false, false) => vec![true; count],
        };
        if !apart.contains(&true) && !doubts.contains(&true) {
            return self.take(lead, &push.records).await;
        }
        let right = |at: usize| !apart[at] && !doubts[at];
        let taken: Vec<Bytes> =
            (0..count).filter(|at| right(*at)).map(|at| push.records[at].clone()).collect();
        let mut done = self.take(lead, &taken).await?.into_iter();
        let outcome = |at: usize| match (apart[at], doubts[at]) {
            (true, _) => Some(again(RetryWhy::OldRoster, self.places_elsewhere(&push.cell))),
            (false, true) => Some(again(RetryWhy::NotReady, self.not_sure(&push.cell))),
            (false, false) => done.next(),
        };
        let outcomes: Option<Vec<Outcome>> = (0..count).map(outcome).collect();
        outcomes.ok_or_else(|| PushError::Malformed("a record has no outcome".to_owned()))
    }

    async fn take(&self, lead: &Lead, records: &[Bytes]) -> Result<Vec<Outcome>, PushError> {
        Ok(lead.push(records).await?.into_iter().map(Outcome::Done).collect())
    }

    fn places_elsewhere(&self, cell: &CellId) -> String {
        format!("version {} of the roster places it in another cell than {}", self.roster_version(), cell.0)
    }

    fn not_sure(&self, cell: &CellId) -> String {
        format!(
            "placement changes, and this member has not learned yet from the object store whether cell {} takes it",
            cell.0
        )
    }

    /// Returns when somebody wishes that this member leaves the cluster for good.
    pub async fn leave_wished(&self) {
        self.leave.notified().await;
    }

    fn roster_version(&self) -> u64 {
        self.roster_version.load(Ordering::Relaxed)
    }

    fn answer(&self, outcome: FetchOutcome) -> Fetched {
        Fetched { outcome, roster_version: self.roster_version() }
    }
}

/// A record is to be tried again.
fn again(why: RetryWhy, message: String) -> Outcome {
    Outcome::Retry(Retry { why, message, leader: None })
}

/// All records of a push are to be tried again.
fn all_again(count: usize, elsewhere: Elsewhere) -> Vec<Outcome> {
    let why = match elsewhere {
        Elsewhere { stopping: true, .. } => RetryWhy::Stopping,
        Elsewhere { member: false, .. } => RetryWhy::NotMember,
        Elsewhere { reading: true, .. } => RetryWhy::NotReady,
        _ => RetryWhy::NotLeader,
    };
    let retry = Retry { why, message: elsewhere.why, leader: elsewhere.leader };
    vec![Outcome::Retry(retry); count]
}

#[async_trait]
impl IngesterApi for Member {
    async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        let count = push.records.len();
        let outcomes = match self.ingester.lead_of(&push.cell) {
            Err(elsewhere) => all_again(count, elsewhere),
            Ok(lead) => match self.push_placed(&lead, &push).await {
                Ok(outcomes) => outcomes,
                Err(PushError::Unavailable(message)) => match self.ingester.lead_of(&push.cell) {
                    Ok(still) if still.term == lead.term => {
                        vec![again(RetryWhy::Full, message); count]
                    }
                    Ok(_) => vec![again(RetryWhy::NotReady, message); count],
                    Err(elsewhere) => all_again(count, elsewhere),
                },
                Err(error) => return Err(error),
            },
        };
        Ok(Pushed { outcomes, roster_version: self.roster_version() })
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, FetchError> {
        let Fetch { request, cells, .. } = fetch;
        let mut leads: Vec<Arc<Lead>> = Vec::new();
        let mut elsewhere = Vec::new();
        if cells.is_empty() {
            leads = self.ingester.leads();
        }
        for cell in cells {
            match self.ingester.lead_of(&cell) {
                Ok(lead) => leads.push(lead),
                Err(Elsewhere { why, leader, .. }) => {
                    elsewhere.push(NotReady { cell: Some(cell), why, leader });
                }
            }
        }
        let answers = join_all(leads.iter().map(|lead| lead.fetch(request.clone()))).await;
        let (mut journals, mut inexact, mut answered) = (Vec::new(), None, Vec::new());
        let mut sum = Answer::empty(&request.question);
        for (lead, answer) in leads.iter().zip(answers) {
            match answer? {
                FetchAnswer::Answered { journals: of_cell, partial, inexact: why } => {
                    journals.extend(of_cell);
                    sum = sum.join(partial)?;
                    inexact = inexact.or(why);
                    answered.push(lead.cell.id.clone());
                }
                FetchAnswer::NotReady(why) => {
                    let leader = self.ingester.leader_of(&lead.cell.id);
                    elsewhere.push(NotReady { cell: Some(lead.cell.id.clone()), why, leader });
                }
                FetchAnswer::NeedFresh { journal, retained_after } => {
                    return Ok(self.answer(FetchOutcome::NeedFresh { journal, retained_after }));
                }
            }
        }
        let outcome = FetchOutcome::Answered { journals, partial: sum, inexact, cells: answered, elsewhere };
        Ok(self.answer(outcome))
    }

    async fn status(&self) -> Result<MemberStatus, ControlError> {
        let mut cells = self.ingester.host_now().map_or_else(Vec::new, |host| host.cells());
        // A seat that was left says nothing any more; one that is to be taken waits for the leader.
        cells.retain(|cell| !cell.is_blank() || self.ingester.is_wanted(&cell.id));
        let state = match self.ingester.ready() {
            Ok(()) => "active".to_owned(),
            Err(why) => format!("not ready: {why}"),
        };
        Ok(MemberStatus {
            cluster_id: self.cluster_id.clone(),
            member: self.ingester.member().clone(),
            roster_version: self.roster_version(),
            wall_ns: self.ingester.now().0,
            state,
            cells: cells.iter().map(|cell| cell_status(cell)).collect(),
            volumes: loudest(self.ingester.leads().iter().flat_map(|lead| lead.volumes()).collect()),
        })
    }

    async fn flush(&self) -> Result<(), ControlError> {
        let flushed = self.ingester.flush().await;
        flushed.map_err(|message| ControlError { kind: ErrorKind::Unavailable, message })
    }

    async fn leave(&self) -> Result<(), ControlError> {
        self.leave.notify_one();
        Ok(())
    }
}

/// As many as a status may name.
fn loudest(mut volumes: Vec<Volume>) -> Vec<Volume> {
    volumes.sort_by(|a, b| b.bytes_per_second.cmp(&a.bytes_per_second).then_with(|| a.cmp(b)));
    volumes.truncate(VOLUMES_MAX);
    volumes
}

fn cell_status(cell: &Cell) -> CellStatus {
    let status: Status = cell.status();
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::PreCandidate | Role::Candidate => "candidate",
    };
    let standing = match () {
        () if status.membership.voters.contains(&status.me) => "voter",
        () if status.membership.learners.contains(&status.me) => "learner",
        () => "none",
    };
    let peer = |peer: hearth_cell::PeerStatus| PeerStatus {
        member: peer.member,
        voter: peer.voter,
        matched: peer.matched,
        last_heard_ms: peer.heard_ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
    };
    CellStatus {
        cell: cell.id.clone(),
        log: cell.log,
        role: role.to_owned(),
        term: status.term.0,
        leader: status.leader,
        durable_end: status.durable_end,
        committed: status.commit,
        // What is released is what committed roots cover.
        covered: status.released,
        released: status.released,
        base: status.base,
        peers: status.peers.into_iter().map(peer).collect(),
        waits_for: status.waits_for,
        standing: standing.to_owned(),
        damaged: status.damaged,
    }
}
