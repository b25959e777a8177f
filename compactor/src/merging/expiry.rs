//! Profiles of a selector that are kept for a shorter time than their block: which blocks have some to leave out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_block::merge::Expiry;
use hearth_block::{BlockError, BlockReader};
use hearth_catalog::{BlockEntry, RootView};
use hearth_common::{BlockId, TenantId};
use hearth_model::{Answer, Question};
use hearth_objstore::Store;
use parking_lot::Mutex;

/// Blocks of one tenant that are looked into in one turn: the rest waits for the next.
const LOOKS_MAX: usize = 64;
/// Most blocks that are remembered as looked into. Beyond it they are looked into again.
const CLEAN_MAX: usize = 100_000;

/// What was looked into and had nothing: folder of the block → selectors.
#[derive(Debug, Default)]
pub(crate) struct Clean(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Clean {
    fn has(&self, folder: &str, selector: &str) -> bool {
        self.0.lock().get(folder).is_some_and(|selectors| selectors.contains(selector))
    }

    fn put(&self, folder: String, selector: String) {
        let mut known = self.0.lock();
        if known.len() >= CLEAN_MAX {
            known.clear();
        }
        known.entry(folder).or_default().insert(selector);
    }
}

/// Blocks with profiles to leave out now. A block is rewritten for them once, when all that it holds of a selector is too
/// old: not every day anew. Reads the index of blocks that were not looked into before; one that cannot be read now is
/// looked into again.
pub(super) async fn expired(
    store: &Store,
    tenant: &TenantId,
    view: &RootView,
    expiries: &[Expiry],
    clean: &Clean,
) -> BTreeSet<BlockId> {
    let mut found = BTreeSet::new();
    let mut looks = 0;
    for block in &view.blocks {
        for expiry in expiries.iter().filter(|expiry| block.max_time < expiry.before) {
            let (folder, selector) = (block.folder(tenant), format!("{:?}", expiry.selector));
            if found.contains(&block.id) || looks == LOOKS_MAX || clean.has(&folder, &selector) {
                continue;
            }
            looks += 1;
            match holds(store, tenant, block, expiry).await {
                Ok(true) => _ = found.insert(block.id),
                Ok(false) => clean.put(folder, selector),
                // A merge that needs the block will tell.
                Err(error) => {
                    tracing::debug!(%tenant, block = folder, %error, "a block cannot be looked into")
                }
            }
        }
    }
    found
}

async fn holds(
    store: &Store,
    tenant: &TenantId,
    entry: &Arc<BlockEntry>,
    expiry: &Expiry,
) -> Result<bool, BlockError> {
    let folder = entry.folder(tenant);
    let objects = |name: &str| {
        let bytes = entry.object(name).map(|object| object.bytes);
        store.range_reader(format!("{folder}/{name}"), bytes)
    };
    let reader = BlockReader::open(Arc::clone(entry), objects).await?;
    let matchers = vec![expiry.selector.clone()];
    let question = Question::Series { range: None, matchers, label_names: Vec::new() };
    match reader.prepare(&question).await?.run()? {
        Answer::Series(series) => Ok(!series.is_empty()),
        _ => Ok(false),
    }
}
