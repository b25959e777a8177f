//! Which cores the server and its clients run on, so that the figures of one do not hold what the other takes.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::server::OwnServer;

/// The lowest there is.
const NICE_MAX: i32 = 19;

/// A server on the first half of the cores that this process may use; this thread, and those that it starts, keep to the others.
pub(super) fn server_apart(folder: &Path) -> Result<OwnServer> {
    let all = sched_getaffinity(None).context("the kernel does not say which cores may be used")?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
    if cores.len() < 2 {
        bail!("--apart needs two cores, and this process may use {}", cores.len());
    }
    let (server, clients) = cores.split_at(cores.len() / 2);
    // A process begins on the cores of the thread that starts it.
    keep_to(server)?;
    let started = OwnServer::start(folder)?;
    keep_to(clients)?;
    Ok(started)
}

fn keep_to(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot keep to the cores {cores:?}"))
}

/// The calling thread gives way to others: what makes the load is not what is measured.
pub(super) fn give_way() {
    // Where it is refused, the figures are worse than they could be.
    _ = rustix::process::setpriority_process(None, NICE_MAX);
}
