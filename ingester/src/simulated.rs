//! What a simulation needs of an ingester: a log without a thread, a network without sockets, an end without a stop.
//!
//! Compiled for the simulation only. Knows nothing of what is simulated.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hearth_cell::{Message, Status};
use hearth_common::{CellId, LogId, MemberId};
use hearth_node::Membership;
use hearth_telemetry::Readiness;
use hearth_wal::Disk;
use tokio::task::JoinHandle;

use crate::api::Member;
use crate::options::{IngesterDeps, IngesterOptions, StartError};
pub use crate::planted::Bug;
use crate::planted::Planted;
pub use crate::process::Ways;
use crate::process::{Follower, watch_ready};
use crate::service::Ingester;

/// Milliseconds between two writes: 3, and at most so many more.
const WRITE_MS_MAX: u128 = 12;

/// What a simulated process is made of.
pub struct Parts {
    /// Where the log is.
    pub disk: Arc<dyn Disk>,
    /// Settings.
    pub options: IngesterOptions,
    /// Surroundings.
    pub deps: IngesterDeps,
    /// The roster and the others.
    pub membership: Arc<Membership>,
    /// Where readiness is noted.
    pub readiness: Readiness,
    /// Which members messages reach.
    pub ways: Arc<dyn Ways>,
    /// A rule to break.
    pub bug: Option<Bug>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("options", &self.options).finish_non_exhaustive()
    }
}

/// An ingester process from its start to its end.
#[derive(Debug)]
pub struct Process {
    /// What it keeps.
    pub ingester: Arc<Ingester>,
    /// What others call.
    pub member: Arc<Member>,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    /// As the process does it, with a log written by a task instead of a thread.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { disk, options, deps, membership, readiness, ways, bug } = parts;
        let cluster_id = membership.options().plan.cluster_id.clone();
        let ingester = Ingester::start_with(options, deps, Some(disk), Planted { bug })?;
        let member = Member::new(Arc::clone(&ingester), cluster_id);
        let gate = readiness.gate("cells", "the cells of the roster are not open yet");
        let follower =
            Follower { ingester: Arc::clone(&ingester), ways, member: Arc::clone(&member), membership, gate };
        let mut tasks = follower.begin();
        let gate = readiness.gate("ingester", "the write-ahead log is being replayed");
        tasks.push(tokio::spawn(watch_ready(Arc::clone(&ingester), gate)));
        Ok(Self { ingester, member, tasks })
    }

    /// A message of another member came.
    pub fn receive(&self, from: &MemberId, cell: &CellId, log: LogId, message: Message) {
        if let Some(host) = self.ingester.host_now() {
            host.receive(from, cell, log, message);
        }
    }

    /// A member refused a connection.
    pub fn unreachable(&self, member: &MemberId) {
        if let Some(host) = self.ingester.host_now() {
            host.unreachable(member);
        }
    }

    /// Why the log takes nothing more, if so.
    pub fn failure(&self) -> Option<String> {
        let failed = self.ingester.failed.lock().clone();
        failed.or_else(|| self.ingester.host_now()?.failure().map(|why| why.to_string()))
    }

    /// How its copies of cells are.
    pub fn cells(&self) -> Vec<(CellId, Status)> {
        let cells = self.ingester.host_now().map_or_else(Vec::new, |host| host.cells());
        cells.iter().map(|cell| (cell.id.clone(), cell.status())).collect()
    }

    /// Ends without a word to anybody and without writing anything, as a killed process does.
    pub fn abandon(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.ingester.closed.store(true, Ordering::SeqCst);
        self.ingester.stop.send_replace(true);
        std::mem::take(&mut *self.ingester.leads.write()).into_values().for_each(|lead| lead.end());
        self.ingester.host.send_replace(None);
    }
}

/// Writes a log that has no thread, with the time that a quick disk takes, until its ingester is gone.
pub(crate) async fn write_log(ingester: Weak<Ingester>) {
    loop {
        let Some(ingester) = ingester.upgrade().filter(|ingester| !*ingester.stop.borrow()) else { return };
        let wait_ms = 3 + (ingester.common.deps.rng)() % WRITE_MS_MAX;
        if let Some(host) = ingester.host_now() {
            host.shared.wal.write_queued();
        }
        drop(ingester);
        tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
    }
}
