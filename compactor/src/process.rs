//! The compactor as a process: its tasks, from start to stop.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::BoxError;
use hearth_common::error::chain;
use hearth_node::{Membership, Node, Routes, Running};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{
    Alone, Compactor, CompactorDeps, CompactorOptions, MergingOptions, Owners, PlanOptions, Pulses, Shared,
};

/// How long a stop waits: whatever is under way can be cut off anywhere.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The running tasks.
#[derive(Debug)]
pub struct Upkeep {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Makes a compactor out of a process.
pub fn start(node: &mut Node) -> Result<Running, BoxError> {
    let membership = Arc::clone(node.cluster()?);
    let owners = Arc::new(Shared::new(node.instance.clone(), membership.peers()));
    let mut upkeep = Upkeep::start_with(node, owners);
    if !node.settings.compactor.interval.is_zero() {
        upkeep.collect_rosters(membership, node.settings.compactor.interval.0);
    }
    let running = Running::stateless(Routes::new());
    Ok(Running { stop: Box::pin(upkeep.stop()), ..running })
}

fn options(settings: &hearth_settings::Compactor) -> CompactorOptions {
    CompactorOptions {
        run_every: settings.interval.0,
        orphan_grace: settings.orphan_grace.0,
        deletion_delay: settings.deletion_delay.0,
        plan: PlanOptions {
            merge_blocks: settings.merge_blocks,
            merge_age: settings.merge_age.0,
            day_age: settings.day_age.0,
            settle_age: settings.settle_age.0,
            inputs_max: settings.inputs_max,
        },
        merging: MergingOptions {
            memory_budget_bytes: settings.memory_budget.0,
            target_output_bytes: settings.block_bytes.0,
        },
        ..CompactorOptions::default()
    }
}

impl Upkeep {
    /// Starts the rounds over all tenants of a process that is alone, unless settings switch them off.
    pub fn start(node: &mut Node) -> Self {
        Self::start_with(node, Arc::new(Alone))
    }

    fn start_with(node: &mut Node, owners: Arc<dyn Owners>) -> Self {
        let mut this = Self { stop: watch::Sender::new(false), tasks: Vec::new() };
        let run_every = node.settings.compactor.interval.0;
        if run_every.is_zero() {
            return this;
        }
        let deps = CompactorDeps {
            catalog: Arc::clone(&node.catalog),
            limits: Arc::clone(&node.limits),
            clock: Arc::clone(&node.clock),
            rng: Arc::clone(&node.rng),
            workers: Some(hearth_node::workers()),
            owners,
            pulses: Pulses {
                collecting: node.watch_with_store("collecting"),
                merging: node.watch_with_store("merging"),
            },
        };
        let compactor = Compactor::new(deps, options(&node.settings.compactor));
        compactor.register_metrics(&mut node.registry);
        let stopped = this.stopped();
        this.tasks.push(tokio::spawn(async move { compactor.run(stopped).await }));
        this
    }

    /// Deletes versions of the roster that nobody needs, every so often.
    fn collect_rosters(&mut self, membership: Arc<Membership>, every: Duration) {
        let stopped = self.stopped();
        let rounds = async move {
            loop {
                match collect(&membership).await {
                    Ok(0) => {}
                    Ok(versions) => tracing::info!(versions, "old versions of the roster deleted"),
                    Err(error) => tracing::warn!(error, "old versions of the roster cannot be deleted"),
                }
                tokio::time::sleep(every).await;
            }
        };
        self.tasks.push(tokio::spawn(async move {
            tokio::select! {
                () = rounds => {}
                () = stopped => {}
            }
        }));
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stop.subscribe();
        // An error means that the sender is gone, which is a stop as well.
        async move { drop(stopped.wait_for(|stop| *stop).await) }
    }

    /// Ends all tasks, within a bounded time.
    pub async fn stop(self) -> Result<(), String> {
        self.stop.send_replace(true);
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            tracing::warn!("the compactor did not stop in time");
        }
        Ok(())
    }
}

async fn collect(membership: &Membership) -> Result<usize, String> {
    let store = membership.store();
    let versions = store.collectable().await.map_err(|error| chain(&error))?;
    store.delete_versions(&versions).await.map_err(|error| chain(&error))?;
    Ok(versions.len())
}
