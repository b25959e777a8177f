//! The directory of cells: who keeps a cell, in which order to ask them, and where they are.
//!
//! The roster says who keeps a cell, gossip says where they are and who is probably alive, and answers say who leads. A
//! hint only, all of it: a cell's log decides who leads, so whoever is asked may say no. Must not know: what is asked.

mod trail;

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_cluster::gossip::Peers;
use hearth_cluster::roster::{CellState, Homes, Roster};
use hearth_common::{CellId, Classify, ErrorKind, InstanceId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

pub use trail::{Said, Trail, pause};

use crate::client::{IngesterCalls, Reach};
use crate::error::CallError;

/// Most cells whose leader is remembered; a roster has no more members.
const LEADERS_MAX: usize = 10_000;

/// What a directory is made of.
#[derive(Debug)]
pub struct CellsParts {
    /// The newest roster that is known.
    pub roster: watch::Receiver<Option<Arc<Roster>>>,
    /// Everybody that is known.
    pub peers: watch::Receiver<Arc<Peers>>,
    /// Told of versions of the roster that others have: whoever follows the roster looks at the store then.
    pub hint: watch::Sender<u64>,
    /// Ways to ingesters.
    pub reach: Arc<dyn Reach>,
}

/// One version of the roster, and the placement that it describes.
#[derive(Debug)]
pub struct View {
    /// The roster.
    pub roster: Arc<Roster>,
    /// Which cell takes a record.
    pub homes: Homes,
}

/// No cell is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCells {
    /// Nothing was read from the store yet, or no ingester has begun the cluster.
    #[error(
        "no roster of the cluster is known yet: no ingester has begun it, or the object store cannot be read"
    )]
    NoRoster,
    /// It places nothing.
    #[error("the roster places nothing: {0}")]
    Schedule(String),
}

impl Classify for NoCells {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoster => ErrorKind::Unavailable,
            Self::Schedule(_) => ErrorKind::FailedPrecondition,
        }
    }
}

/// The directory. One for a process: all that ask share what is known of leaders.
#[derive(Debug)]
pub struct Cells {
    roster: watch::Receiver<Option<Arc<Roster>>>,
    peers: watch::Receiver<Arc<Peers>>,
    hint: watch::Sender<u64>,
    reach: Arc<dyn Reach>,
    view: Mutex<Option<Arc<View>>>,
    leaders: Mutex<BTreeMap<CellId, InstanceId>>,
}

impl Cells {
    /// A directory; nobody is asked yet.
    pub fn new(parts: CellsParts) -> Self {
        let CellsParts { roster, peers, hint, reach } = parts;
        Self { roster, peers, hint, reach, view: Mutex::default(), leaders: Mutex::default() }
    }

    /// The newest roster that is known, with its placement, which is built once a version.
    pub fn view(&self) -> Result<Arc<View>, NoCells> {
        let roster = self.roster.borrow().clone().ok_or(NoCells::NoRoster)?;
        let mut view = self.view.lock();
        if let Some(view) = view.as_ref().filter(|view| Arc::ptr_eq(&view.roster, &roster)) {
            return Ok(Arc::clone(view));
        }
        let homes = Homes::new(&roster).map_err(|error| NoCells::Schedule(error.to_string()))?;
        Ok(Arc::clone(view.insert(Arc::new(View { roster, homes }))))
    }

    /// Says that somebody has this version of the roster.
    pub fn heard(&self, version: u64) {
        self.hint.send_if_modified(|known| {
            let newer = version > *known;
            *known = version.max(*known);
            newer
        });
    }

    /// Waits until a roster of at least this version is known; `false` if the deadline passes before.
    pub async fn reaches(&self, version: u64, deadline: Instant) -> bool {
        self.heard(version);
        let mut roster = self.roster.clone();
        let there = roster.wait_for(|roster| roster.as_ref().is_some_and(|known| known.version >= version));
        matches!(tokio::time::timeout_at(deadline, there).await, Ok(Ok(_)))
    }

    /// The members of a cell in the order in which to ask them: who led last, the home, the others; those that gossip does
    /// not see come last. Empty if the newest roster does not have the cell, or has it as
    /// drained.
    pub fn order(&self, cell: &CellId) -> Vec<InstanceId> {
        let Some(roster) = self.roster.borrow().clone() else { return Vec::new() };
        let open = roster.cell(cell).filter(|cell| cell.state != CellState::Drained);
        let Some(known) = open else { return Vec::new() };
        let mut order: Vec<InstanceId> = self.leader(cell).into_iter().collect();
        // The members of the log follow what is wanted, and may still be the founders.
        for member in known.wanted.iter().chain(&known.founders) {
            if !order.contains(&member.instance) {
                order.push(member.instance.clone());
            }
        }
        let peers = self.peers.borrow().clone();
        order.sort_by_key(|instance| peers.by_instance(instance).is_none());
        order
    }

    /// Who led a cell when somebody last said so.
    pub fn leader(&self, cell: &CellId) -> Option<InstanceId> {
        self.leaders.lock().get(cell).cloned()
    }

    /// Remembers who leads a cell.
    pub fn leads(&self, cell: &CellId, instance: &InstanceId) {
        let mut leaders = self.leaders.lock();
        if leaders.get(cell) == Some(instance) {
            return;
        }
        if leaders.len() >= LEADERS_MAX {
            leaders.clear();
        }
        leaders.insert(cell.clone(), instance.clone());
    }

    /// Forgets that an instance leads a cell: it refused, or said nothing.
    pub fn leads_not(&self, cell: &CellId, instance: &InstanceId) {
        let mut leaders = self.leaders.lock();
        if leaders.get(cell) == Some(instance) {
            leaders.remove(cell);
        }
    }

    /// A connection to an instance, where gossip sees it or saw it last.
    pub fn client(&self, instance: &InstanceId) -> Result<Arc<dyn IngesterCalls>, CallError> {
        let peers = self.peers.borrow().clone();
        let alive = peers.by_instance(instance).map(|peer| peer.said.cluster_addr);
        let address = alive.or_else(|| {
            // Gossip may be wrong about who is gone.
            let lives = peers.gone().filter(|gone| gone.said.instance == *instance);
            lives.max_by_key(|gone| gone.last_seen).map(|gone| gone.said.cluster_addr)
        });
        match address {
            Some(address) => self.reach.ingester(&address.to_string()),
            None => Err(CallError::Unreachable {
                peer: instance.to_string(),
                why: "its address is not known: gossip has not seen it".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
#[path = "cells/tests.rs"]
mod tests;
