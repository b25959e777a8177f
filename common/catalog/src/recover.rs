//! Blocks whose page is lost: what they say of themselves makes their entries again.
//!
//! Only for days whose page the root still names: it condemns every block that was replaced or expired, and says what is
//! published, so that of all blocks in the store those can be told that the page named. Others lie there because a compactor
//! died, or an upload is on its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_block::{BlockEntry, BlockError, OBJECTS, recover_entry};
use hearth_common::TenantId;
use hearth_objstore::ObjectInfo;

use crate::Catalog;
use crate::error::CatalogError;
use crate::keys::{block_path, blocks, condemned_path};
use crate::ranges::{Held, by_merge, overlap};
use crate::root::Root;

impl Catalog {
    /// Adds to the chosen blocks of a day what only its lost page named. Reads the blocks in question.
    pub(crate) async fn recover_day(
        &self,
        tenant: &TenantId,
        root: &Root,
        day: i32,
        stored: &[ObjectInfo],
        chosen: &mut Vec<Arc<BlockEntry>>,
    ) -> Result<(), CatalogError> {
        let mut known: BTreeSet<String> = chosen.iter().map(|block| block_path(tenant, block)).collect();
        known.extend(root.condemned.keys().cloned());
        let prefix = format!("{}/{day}/", blocks(tenant));
        let mut folders: BTreeMap<String, Vec<&ObjectInfo>> = BTreeMap::new();
        for object in stored.iter().filter(|object| object.key.starts_with(&prefix)) {
            if let Some(path) = condemned_path(tenant, &object.key).filter(|path| !known.contains(path)) {
                folders.entry(path).or_default().push(object);
            }
        }
        let mut found = Vec::new();
        for (path, objects) in folders {
            found.extend(self.recover(tenant, &path, &objects).await?);
        }
        found.retain(|block| block.day == day && is_published(root, block));
        add_found(chosen, found);
        Ok(())
    }

    /// The entry of a block by what its objects say; `None` if they do not say that they are this block.
    async fn recover(
        &self,
        tenant: &TenantId,
        path: &str,
        stored: &[&ObjectInfo],
    ) -> Result<Option<Arc<BlockEntry>>, CatalogError> {
        let folder = path.trim_end_matches('/');
        let Some((_, attempt)) = folder.rsplit_once('.') else { return Ok(None) };
        let length =
            |name: &str| stored.iter().find(|o| o.key == format!("{folder}/{name}")).map(|o| o.bytes);
        let objects: Vec<(String, u64)> =
            OBJECTS.iter().filter_map(|name| Some(((*name).to_owned(), length(name)?))).collect();
        let open = |name: &str| self.store.range_reader(format!("{folder}/{name}"), length(name));
        match recover_entry(tenant, attempt, &objects, open).await {
            Ok(entry) if block_path(tenant, &entry) == path => Ok(Some(Arc::new(entry))),
            Err(BlockError::Read { source, .. }) => match source.downcast::<hearth_objstore::StoreError>() {
                Ok(error) if !error.is_not_found() => Err((*error).into()),
                _ => Ok(None),
            },
            // It stays among those that are reported.
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

/// Whether all that a block holds was published: else its journal still has it, and publishes it.
fn is_published(root: &Root, block: &BlockEntry) -> bool {
    !block.sources.is_empty()
        && block.sources.iter().all(|source| source.upto <= root.coverage.of(&source.journal))
}

/// Which of the blocks that were found were in the page. Pure.
///
/// What is chosen already was in it: whatever holds the same entries is garbage. So is a merge all of whose inputs are found,
/// because inputs are condemned by the commit of their merge. Of several attempts at one merge the one with most profiles is
/// complete.
fn add_found(chosen: &mut Vec<Arc<BlockEntry>>, found: Vec<Arc<BlockEntry>>) {
    let certain = chosen.len();
    let mut merges = Vec::new();
    for merge in by_merge(&found) {
        let mut attempts: BTreeMap<&str, Vec<Arc<BlockEntry>>> = BTreeMap::new();
        for block in &merge {
            attempts.entry(&block.attempt).or_default().push(Arc::clone(block));
        }
        let profiles = |blocks: &Vec<Arc<BlockEntry>>| blocks.iter().map(|b| b.profiles).sum::<u64>();
        merges.extend(attempts.into_values().min_by_key(|blocks| Reverse(profiles(blocks))));
    }
    merges.sort_by_key(|merge| merge[0].level);
    for merge in merges {
        let overlaps = |block: &Arc<BlockEntry>| overlap(&block.sources, &merge[0].sources);
        let held = Held::of(chosen.iter().filter(|block| overlaps(block)).flat_map(|block| &block.sources));
        let has_inputs = merge[0].sources.iter().all(|source| held.holds(source));
        if has_inputs || chosen[..certain].iter().any(overlaps) {
            continue;
        }
        chosen.retain(|block| !overlaps(block));
        chosen.extend(merge);
    }
}
