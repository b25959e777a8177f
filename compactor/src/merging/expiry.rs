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
const LOOKED_MAX: usize = 100_000;

/// What came of a look into a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It has rows of the selector.
    Holds,
    /// It has none.
    Nothing,
    /// It could not be read.
    Failed,
}

/// What was looked into: folder of the block → selectors. Blocks do not change, so that each look is done once.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<BTreeMap<String, BTreeMap<String, Seen>>>);

impl Looked {
    fn get(&self, folder: &str, selector: &str) -> Option<Seen> {
        self.0.lock().get(folder).and_then(|selectors| selectors.get(selector).copied())
    }

    fn put(&self, folder: String, selector: String, seen: Seen) {
        let mut known = self.0.lock();
        if known.len() >= LOOKED_MAX {
            known.clear();
        }
        known.entry(folder).or_default().insert(selector, seen);
    }
}

/// A block to be looked into.
#[derive(Debug)]
struct Look<'v> {
    block: &'v Arc<BlockEntry>,
    expiry: &'v Expiry,
    folder: String,
    selector: String,
}

/// Blocks with profiles to leave out now. A block is rewritten for them once, when all that it holds of a selector is too
/// old: not every day anew. Reads the index of blocks that were not looked into before; one that cannot be read now is
/// looked into again.
pub(super) async fn expired(
    store: &Store,
    tenant: &TenantId,
    view: &RootView,
    expiries: &[Expiry],
    looked: &Looked,
) -> BTreeSet<BlockId> {
    let (mut found, looks) = due(tenant, &view.blocks, expiries, looked);
    for Look { block, expiry, folder, selector } in looks {
        if found.contains(&block.id) {
            continue;
        }
        let seen = match holds(store, tenant, block, expiry).await {
            Ok(true) => Seen::Holds,
            Ok(false) => Seen::Nothing,
            // A merge that needs the block will tell.
            Err(error) => {
                tracing::debug!(%tenant, block = folder, %error, "a block cannot be looked into");
                Seen::Failed
            }
        };
        if seen == Seen::Holds {
            found.insert(block.id);
        }
        looked.put(folder, selector, seen);
    }
    found
}

/// Blocks that are known to have such profiles, and what is to be looked into in this turn. What is known takes no look from
/// what is not, as it may stay: a merge of it may fail each time. Of the rest, what could not be read comes last.
fn due<'v>(
    tenant: &TenantId,
    blocks: &'v [Arc<BlockEntry>],
    expiries: &'v [Expiry],
    looked: &Looked,
) -> (BTreeSet<BlockId>, Vec<Look<'v>>) {
    let named: Vec<(String, &'v Expiry)> =
        expiries.iter().map(|expiry| (format!("{:?}", expiry.selector), expiry)).collect();
    let (mut found, mut looks, mut failed) = (BTreeSet::new(), Vec::new(), Vec::new());
    for block in blocks {
        for &(ref selector, expiry) in named.iter().filter(|named| block.max_time < named.1.before) {
            let folder = block.folder(tenant);
            let seen = looked.get(&folder, selector);
            let look = Look { block, expiry, folder, selector: selector.clone() };
            match seen {
                Some(Seen::Holds) => _ = found.insert(block.id),
                Some(Seen::Failed) if failed.len() < LOOKS_MAX => failed.push(look),
                None if looks.len() < LOOKS_MAX => looks.push(look),
                _ => {}
            }
        }
    }
    looks.extend(failed);
    looks.truncate(LOOKS_MAX);
    (found, looks)
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

#[cfg(test)]
mod tests {
    use hearth_common::TimestampNs;
    use hearth_model::Selector;

    use super::*;

    const BEFORE: TimestampNs = TimestampNs(1000);

    fn block(id: u128, newest_ns: i64) -> Arc<BlockEntry> {
        let max_time = TimestampNs(newest_ns);
        Arc::new(BlockEntry { id: BlockId(id), max_time, ..BlockEntry::default() })
    }

    /// As many blocks as one turn looks into are known already, as `seen`; more are not.
    fn due_with(seen: Seen) -> (Vec<u128>, Vec<u128>) {
        let tenant = TenantId::anonymous();
        let selector = Selector::parse(r#"{env="dev"}"#).expect("valid");
        let expiries = [Expiry { selector, before: BEFORE }];
        let mut blocks: Vec<Arc<BlockEntry>> = (0..LOOKS_MAX as u128 + 3).map(|id| block(id, 5)).collect();
        // Some of what is in it is not too old.
        blocks.insert(0, block(900, BEFORE.0));
        let looked = Looked::default();
        for block in blocks.iter().filter(|block| block.id.0 < LOOKS_MAX as u128) {
            looked.put(block.folder(&tenant), format!("{:?}", expiries[0].selector), seen);
        }
        let (found, looks) = due(&tenant, &blocks, &expiries, &looked);
        (found.iter().map(|id| id.0).collect(), looks.iter().map(|look| look.block.id.0).collect())
    }

    #[test]
    fn what_is_known_takes_no_look_from_what_is_not() {
        let known: Vec<u128> = (0..LOOKS_MAX as u128).collect();
        let rest: Vec<u128> = (known.len() as u128..).take(3).collect();
        assert_eq!(due_with(Seen::Holds), (known.clone(), rest.clone()));
        assert_eq!(due_with(Seen::Nothing), (Vec::new(), rest.clone()));
        let mut looks = rest;
        looks.extend(&known[..LOOKS_MAX - 3]);
        assert_eq!(due_with(Seen::Failed), (Vec::new(), looks), "what could not be read comes last");
    }
}
