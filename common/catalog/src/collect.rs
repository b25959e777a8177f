//! What the collector needs to know of the store's content, and the deletions that only the catalog may do.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_common::{TenantId, TimestampNs};

use crate::Catalog;
use crate::error::CatalogError;
use crate::keys::{
    block_path, blocks, condemned_path, folder, page_key, pages, parse_root_key, root_key, roots,
};
use crate::view::RootView;

/// A version of a root as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When it was written, by the store's clock.
    pub written: TimestampNs,
}

/// A block's folder or a page as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPath {
    /// Folder of a block, with a slash at the end, or key of a page: the form in which it is condemned.
    pub path: String,
    /// When the last of its objects was written, by the store's clock.
    pub written: TimestampNs,
    /// All its bytes.
    pub bytes: u64,
}

/// Which versions may go: older than `keep_for` and not among the newest `keep_at_least`. Ascending, and without holes:
/// it ends at the first version that must stay. Pure.
pub fn expired_versions(
    versions: &[Version],
    now: TimestampNs,
    keep_for: Duration,
    keep_at_least: usize,
) -> Vec<u64> {
    let mut sorted = versions.to_vec();
    sorted.sort_by_key(|v| v.version);
    let spare = sorted.len().saturating_sub(keep_at_least);
    let keep_ns = keep_for.as_nanos() as i128;
    let old = |v: &&Version| i128::from(now.0) - i128::from(v.written.0) > keep_ns;
    sorted[..spare].iter().take_while(old).map(|v| v.version).collect()
}

impl RootView {
    /// Whether the newest root names the path: such an object must never be condemned.
    pub fn names(&self, tenant: &TenantId, path: &str) -> bool {
        self.blocks.iter().any(|block| block_path(tenant, block) == path)
            || self.root.pages.iter().any(|(day, page)| page_key(tenant, *day, page.unique) == path)
    }
}

impl Catalog {
    /// All versions of a tenant's root, ascending. Lists.
    pub async fn versions(&self, tenant: &TenantId) -> Result<Vec<Version>, CatalogError> {
        let listed = self.store.list(&roots(tenant)).await?;
        let version = |o: &hearth_objstore::ObjectInfo| {
            parse_root_key(tenant, &o.key).map(|version| Version { version, written: o.modified })
        };
        let mut versions: Vec<Version> = listed.iter().filter_map(version).collect();
        versions.sort_by_key(|v| v.version);
        Ok(versions)
    }

    /// Deletes versions one after the other in ascending order, as [`expired_versions`] chose them.
    pub async fn delete_versions(&self, tenant: &TenantId, versions: &[u64]) -> Result<(), CatalogError> {
        let mut sorted = versions.to_vec();
        sorted.sort_unstable();
        let keys: Vec<String> = sorted.into_iter().map(|version| root_key(tenant, version)).collect();
        Ok(self.store.delete(&keys).await?)
    }

    /// All blocks' folders and all pages of a tenant that are in the store, named by a root or not. Lists.
    pub async fn stored_paths(&self, tenant: &TenantId) -> Result<Vec<StoredPath>, CatalogError> {
        let mut paths: BTreeMap<String, StoredPath> = BTreeMap::new();
        for prefix in [blocks(tenant), pages(tenant)] {
            for object in self.store.list(&prefix).await? {
                let Some(path) = condemned_path(tenant, &object.key) else { continue };
                let new = || StoredPath { path: path.clone(), written: object.modified, bytes: 0 };
                let stored = paths.entry(path.clone()).or_insert_with(new);
                stored.written = stored.written.max(object.modified);
                stored.bytes += object.bytes;
            }
        }
        Ok(paths.into_values().collect())
    }

    /// Removes files of a tenant that writers which died never finished; says how many. See [`hearth_objstore::Store::remove_unfinished`].
    pub async fn remove_unfinished(
        &self,
        tenant: &TenantId,
        before: TimestampNs,
    ) -> Result<u64, CatalogError> {
        Ok(self.store.remove_unfinished(&folder(tenant), before).await?)
    }

    /// Deletes the objects of a path that is condemned in a committed root; returns how many there were. Refuses any other
    /// path.
    pub async fn delete_condemned(
        &self,
        tenant: &TenantId,
        view: &RootView,
        path: &str,
    ) -> Result<u64, CatalogError> {
        if !view.root.condemned.contains_key(path) || view.names(tenant, path) {
            return Err(CatalogError::Invalid(format!(
                "'{path}' is not condemned in version {}",
                view.version()
            )));
        }
        let keys = match path.strip_suffix('/') {
            Some(folder) => self.store.list(folder).await?.into_iter().map(|o| o.key).collect(),
            None => vec![path.to_owned()],
        };
        self.store.delete(&keys).await?;
        Ok(keys.len() as u64)
    }
}
