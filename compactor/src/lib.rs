//! Merges blocks of a day into fewer and larger ones, enforces retention, and collects what no root names any more.
//!
//! The order that makes it safe (design: replication B8): a merge is uploaded before the root names it; a path is condemned in
//! a committed root, its objects are deleted after a delay that outlasts every query, then the entry leaves the root. Versions
//! of roots go in ascending order. Must not know journals, how rows are merged, or who publishes. Sums by time come later
//! (issue 5).

mod decide;
mod merging;
mod metrics;
mod owners;
pub mod plan;
pub mod process;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::{BlockEntry, BlockRef, Catalog, CatalogError, Edit, expired_versions};
use hearth_common::{Classify, Clock, ErrorKind, LimitsSource, Pulse, Retry, TenantId, TimestampNs, Workers};
use prometheus_client::registry::Registry;

pub use decide::expired_blocks;
pub use merging::MergingOptions;
use merging::{Aside, Looked};
pub use metrics::Metrics;
pub use owners::{Alone, Owners, Shared};
pub use plan::PlanOptions;
pub use verify::verify_block;

/// Random numbers, passed in.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// When things go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactorOptions {
    /// Pause between two rounds over all tenants.
    pub run_every: Duration,
    /// Versions of a root that are younger stay; no less than [`Catalog::versions_kept_least`].
    pub keep_versions_for: Duration,
    /// So many of the newest versions stay in any case; at least 2.
    pub keep_versions: usize,
    /// Blocks and pages that no root names are condemned when they are older: an upload may be waiting for its commit.
    pub orphan_grace: Duration,
    /// From condemned to deleted: longer than the longest query.
    pub deletion_delay: Duration,
    /// When blocks are merged.
    pub plan: PlanOptions,
    /// How.
    pub merging: MergingOptions,
}

impl Default for CompactorOptions {
    fn default() -> Self {
        Self {
            run_every: Duration::from_secs(15 * 60),
            keep_versions_for: Duration::from_secs(24 * 3600),
            keep_versions: 100,
            orphan_grace: Duration::from_secs(24 * 3600),
            deletion_delay: Duration::from_secs(2 * 3600),
            plan: PlanOptions::default(),
            merging: MergingOptions::default(),
        }
    }
}

/// What one run over a tenant did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blocks that left the root because all their profiles are older than the retention period.
    pub expired_blocks: u64,
    /// Blocks and pages without a root that were condemned.
    pub condemned_orphans: u64,
    /// Condemned paths whose objects are deleted now.
    pub deleted_paths: u64,
    /// Objects deleted.
    pub deleted_objects: u64,
    /// Versions of the root deleted.
    pub deleted_versions: u64,
    /// Deletions by users that every block has applied, and that left the root.
    pub finished_deletions: u64,
    /// Files of a folder that writers which died never finished.
    pub unfinished_files: u64,
}

/// Why a run over a tenant stopped. The next run goes on.
#[derive(Debug, thiserror::Error)]
#[error("the data of tenant {tenant} cannot be looked after")]
pub struct CompactorError {
    tenant: TenantId,
    #[source]
    source: CatalogError,
}

impl Classify for CompactorError {
    fn kind(&self) -> ErrorKind {
        self.source.kind()
    }

    fn retry(&self) -> Retry {
        self.source.retry()
    }
}

/// What a compactor works with.
#[derive(Clone)]
pub struct CompactorDeps {
    /// Published data; share it with the publishers of this process.
    pub catalog: Arc<Catalog>,
    /// Limits of tenants.
    pub limits: Arc<dyn LimitsSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Random numbers: names of attempts.
    pub rng: Random,
    /// Threads for merges: their jobs must not run on the thread that gives them, as they use the runtime of the caller. None:
    /// a merge runs where it is awaited, as in a simulation.
    pub workers: Option<Workers>,
    /// Which days of which tenants are merged here.
    pub owners: Arc<dyn Owners>,
    /// What its loops tell of themselves.
    pub pulses: Pulses,
}

/// What the loops of a compactor tell of themselves; the default is watched by nobody.
#[derive(Debug, Clone, Default)]
pub struct Pulses {
    /// Retention and collection.
    pub collecting: Pulse,
    /// Merges: each read and each write of one is progress.
    pub merging: Pulse,
}

impl std::fmt::Debug for CompactorDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompactorDeps").finish_non_exhaustive()
    }
}

/// The compactor of one process. Several may work on one tenant at once: each step is decided by the root.
pub struct Compactor {
    catalog: Arc<Catalog>,
    limits: Arc<dyn LimitsSource>,
    clock: Arc<dyn Clock>,
    rng: Random,
    workers: Option<Workers>,
    owners: Arc<dyn Owners>,
    pulses: Pulses,
    options: CompactorOptions,
    metrics: Metrics,
    aside: Aside,
    looked: Looked,
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Compactor {
    /// A compactor over a catalog.
    pub fn new(deps: CompactorDeps, options: CompactorOptions) -> Self {
        let CompactorDeps { catalog, limits, clock, rng, workers, owners, pulses } = deps;
        let options = CompactorOptions {
            keep_versions: options.keep_versions.max(2),
            keep_versions_for: options.keep_versions_for.max(catalog.versions_kept_least()),
            ..options
        };
        Self {
            catalog,
            limits,
            clock,
            rng,
            workers,
            owners,
            pulses,
            options,
            metrics: Metrics::default(),
            aside: Aside::default(),
            looked: Looked::default(),
        }
    }

    /// Adds the compactor's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Collects and merges for all tenants again and again, until `shutdown` is done. What has begun is cut off in the
    /// middle, which is safe anywhere.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let pause = || tokio::time::sleep(self.options.run_every);
        let collects = async {
            loop {
                let work = self.pulses.collecting.work();
                self.run_all().await;
                drop(work);
                pause().await;
            }
        };
        // On its own: a long merge must not keep what is deleted from being deleted.
        let merges = async {
            loop {
                let work = self.pulses.merging.work();
                self.merge_all().await;
                drop(work);
                pause().await;
            }
        };
        tokio::select! {
            () = collects => {}
            () = merges => {}
            () = shutdown => {}
        }
    }

    /// One round over all tenants; what fails is logged and counted.
    pub async fn run_all(&self) {
        let tenants = match self.catalog.tenants().await {
            Ok(tenants) => tenants,
            Err(error) => {
                self.metrics.failed();
                tracing::warn!(error = %hearth_common::error::chain(&error), "cannot list the tenants");
                return;
            }
        };
        self.metrics.stored.keep_only(&tenants);
        let mut all_succeeded = true;
        for tenant in tenants {
            self.pulses.collecting.beat();
            match self.run_once(&tenant).await {
                Ok(collected) if collected == Collected::default() => {}
                Ok(collected) => tracing::info!(%tenant, ?collected, "collected"),
                Err(error) => {
                    all_succeeded = false;
                    tracing::warn!(%tenant, error = %hearth_common::error::chain(&error), "collection failed");
                }
            }
        }
        if all_succeeded {
            self.metrics.round_succeeded(self.clock.now());
        }
    }

    /// One run over one tenant: retention, orphans, deletions that are due, old versions of the root.
    pub async fn run_once(&self, tenant: &TenantId) -> Result<Collected, CompactorError> {
        let done = self.collect(tenant).await;
        match &done {
            Ok(collected) => self.metrics.done(collected),
            Err(_) => self.metrics.failed(),
        }
        done.map_err(|source| CompactorError { tenant: tenant.clone(), source })
    }

    async fn collect(&self, tenant: &TenantId) -> Result<Collected, CatalogError> {
        let mut collected = Collected::default();
        self.condemn(tenant, &mut collected).await?;
        self.pulses.collecting.beat();
        self.delete_due(tenant, &mut collected).await?;
        self.delete_versions(tenant, &mut collected).await?;
        self.pulses.collecting.beat();
        let grace_ns = i64::try_from(self.options.orphan_grace.as_nanos()).unwrap_or(i64::MAX);
        let before = TimestampNs(self.clock.now().0.saturating_sub(grace_ns));
        collected.unfinished_files = self.catalog.remove_unfinished(tenant, before).await?;
        Ok(collected)
    }

    async fn condemn(&self, tenant: &TenantId, collected: &mut Collected) -> Result<(), CatalogError> {
        // Listed before the root is read: what is committed meanwhile is named by the root then.
        let stored = self.catalog.stored_paths(tenant).await?;
        let now = self.clock.now();
        let retention = self.limits.limits(tenant).compactor_blocks_retention_period;
        let (mut expired, mut orphans, mut finished) = (Vec::new(), 0, 0);
        let edited = self.catalog.edit(tenant, |view| {
            expired = expired_blocks(&view.blocks, now, retention);
            let remove = expired.iter().map(|block| BlockRef::of(block)).collect();
            let condemn = decide::orphans(tenant, view, &stored, now, self.options.orphan_grace);
            let (released, unbury) = (merging::out_of_reach(view), view.spent_deletions());
            (orphans, finished) = (condemn.len() as u64, unbury.len() as u64);
            Ok(Edit { remove, condemn, released, unbury, ..Edit::default() })
        });
        if edited.await?.is_some() {
            (collected.expired_blocks, collected.condemned_orphans) = (expired.len() as u64, orphans);
            collected.finished_deletions = finished;
            self.report_expired(tenant, &expired);
        }
        Ok(())
    }

    /// What went by retention, for whoever asks later: one line a block.
    fn report_expired(&self, tenant: &TenantId, blocks: &[Arc<BlockEntry>]) {
        for block in blocks {
            let (bytes, day, newest_ms) = (block.bytes(), block.day, block.max_time.as_ms());
            self.metrics.expired(block.profiles, bytes);
            let (folder, profiles) = (block.folder(tenant), block.profiles);
            tracing::info!(%tenant, block = folder, day, profiles, bytes, newest_ms, "a block is older than it is kept");
        }
    }

    async fn delete_due(&self, tenant: &TenantId, collected: &mut Collected) -> Result<(), CatalogError> {
        let Some(view) = self.catalog.newest(tenant, Duration::ZERO).await? else { return Ok(()) };
        self.metrics.stored.set(tenant, &view.blocks);
        let due = decide::due(&view.root.condemned, self.clock.now(), self.options.deletion_delay);
        let mut deleted = Vec::new();
        let mut failure = None;
        for path in due {
            self.pulses.collecting.beat();
            match self.catalog.delete_condemned(tenant, &view, &path).await {
                Ok(objects) => {
                    collected.deleted_objects += objects;
                    deleted.push(path);
                }
                // The entry stays, so the next run tries again.
                Err(error) => failure = Some(error),
            }
        }
        if !deleted.is_empty() {
            self.pulses.collecting.beat();
            collected.deleted_paths = deleted.len() as u64;
            let forget = |view: &hearth_catalog::RootView| {
                let left = deleted.iter().filter(|path| view.root.condemned.contains_key(*path));
                Ok(Edit { forget: left.cloned().collect(), ..Edit::default() })
            };
            self.catalog.edit(tenant, forget).await?;
        }
        failure.map_or(Ok(()), Err)
    }

    async fn delete_versions(
        &self,
        tenant: &TenantId,
        collected: &mut Collected,
    ) -> Result<(), CatalogError> {
        let versions = self.catalog.versions(tenant).await?;
        let CompactorOptions { keep_versions_for, keep_versions, .. } = self.options;
        let expired = expired_versions(&versions, self.clock.now(), keep_versions_for, keep_versions);
        self.catalog.delete_versions(tenant, &expired).await?;
        collected.deleted_versions = expired.len() as u64;
        Ok(())
    }
}
