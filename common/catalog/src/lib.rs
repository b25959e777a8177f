//! Which blocks exist: the root of a tenant, its pages, and the commit that publishes.
//!
//! Owns `docs/formats/root.md` and the rules of design replication B8. What to publish, to merge or to drop is decided
//! elsewhere; here a decision becomes true exactly once, or not at all. Must not know journals' contents, how blocks are
//! written or read, queries, or which process it runs in.

mod audit;
mod cache;
mod collect;
mod commit;
mod coverage;
mod deletion;
mod envelope;
mod error;
mod json;
mod keys;
mod load;
mod plan;
mod ranges;
mod rebuild;
mod record;
mod recover;
mod retention;
mod root;
mod view;

use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, TenantId};
use hearth_objstore::Store;

pub use audit::{Audit, Finding};
pub use collect::{StoredPath, Version, expired_versions};
pub use coverage::Coverage;
pub use deletion::{BLOCKS_MAX, Burial, PENDING_MAX, Progress};
pub use error::CatalogError;
pub use hearth_block::{BlockEntry, ObjectEntry, SourceRange};
pub use keys::{block_path, page_key, root_key, tenant_prefix};
pub use plan::{BlockRef, Commit, Edit, Publication};
pub use rebuild::Rebuilt;
pub use record::{DeletionRecord, RECORDS_MAX, Taken};
pub use retention::{InvalidRetention, RETENTION_RULES_MAX, expiries};
pub use root::{Condemned, PageRef, ROOT_FORMAT, Root, Tombstone};
pub use view::RootView;

use cache::Cache;

/// Where nonces and unique names come from.
pub type Rng = Arc<dyn Fn() -> u128 + Send + Sync>;

/// How a catalog behaves.
#[derive(Debug, Clone, Copy)]
pub struct CatalogOptions {
    /// This process is the only one that commits, through this one catalog (Hearth on one machine): what is in memory is
    /// never stale, and the store is not asked again.
    pub only_publisher: bool,
    /// Bytes of roots and pages that stay in memory (counted as they are encoded; in memory they take about twice that).
    /// The tenant in use stays in any case.
    pub cache_bytes: u64,
    /// A version that was last seen to be the newest longer ago than this is no start for steps: versions may have been
    /// collected and, by a publisher that slept, one of them made anew (design: replication A22). Versions must be kept for
    /// much longer.
    pub confirmed_for: Duration,
}

impl Default for CatalogOptions {
    fn default() -> Self {
        Self { only_publisher: false, cache_bytes: 64 << 20, confirmed_for: Duration::from_secs(3600) }
    }
}

/// Versions are kept so many times as long as they are steps' starts: clocks may differ by an hour, publishers may sleep.
const VERSIONS_KEPT_TIMES: u32 = 8;

/// The roots of all tenants of one store. Share one catalog in a process: what it commits is at once what it reads.
pub struct Catalog {
    store: Store,
    rng: Rng,
    clock: Arc<dyn Clock>,
    options: CatalogOptions,
    cache: Cache,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Catalog {
    /// A catalog over a store. Nothing is read yet.
    pub fn new(store: Store, rng: Rng, clock: Arc<dyn Clock>, options: CatalogOptions) -> Self {
        Self { store, rng, clock, options, cache: Cache::new(options.cache_bytes) }
    }

    /// The store that the roots lie in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Collection keeps versions of roots for no less than this: many times as long as anybody steps on from one.
    pub fn versions_kept_least(&self) -> Duration {
        self.options.confirmed_for * VERSIONS_KEPT_TIMES
    }

    /// All tenants with a folder in the store, sorted. Lists.
    pub async fn tenants(&self) -> Result<Vec<TenantId>, CatalogError> {
        let names = self.store.list_folders(keys::TENANTS).await?;
        Ok(names.iter().filter_map(|name| TenantId::parse(name).ok()).collect())
    }
}
