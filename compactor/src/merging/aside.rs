//! Blocks that this process does not merge: damaged ones, and such as do not fit in its memory.
//!
//! Kept in memory: a process that is started again tries each once more, which costs one failed job.

use std::collections::{BTreeMap, BTreeSet};

use hearth_catalog::{BlockEntry, RootView};
use hearth_common::TenantId;
use parking_lot::Mutex;

/// Most blocks that are remembered. Beyond it a bad block fails a job in each round.
const ASIDE_MAX: usize = 10_000;

/// Folders of blocks, by tenant.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<BTreeMap<TenantId, BTreeSet<String>>>);

impl Aside {
    /// Remembers a block; `false` if it was known, or there is no room.
    pub(crate) fn put(&self, tenant: &TenantId, block: &BlockEntry) -> bool {
        let mut all = self.0.lock();
        let count: usize = all.values().map(BTreeSet::len).sum();
        count < ASIDE_MAX && all.entry(tenant.clone()).or_default().insert(block.folder(tenant))
    }

    /// Those of a tenant, without what has left the root since.
    pub(crate) fn of(&self, tenant: &TenantId, view: &RootView) -> BTreeSet<String> {
        let mut all = self.0.lock();
        let Some(known) = all.get_mut(tenant) else { return BTreeSet::new() };
        let named: BTreeSet<String> = view.blocks.iter().map(|block| block.folder(tenant)).collect();
        known.retain(|folder| named.contains(folder));
        let left = known.clone();
        if left.is_empty() {
            all.remove(tenant);
        }
        left
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().values().map(BTreeSet::len).sum()
    }
}
