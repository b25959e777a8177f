//! Compares a tenant's newest root, its pages, and what the store holds: what an operator's check of a bucket stands on.
//!
//! Reads roots and pages and lists; contents of blocks are checked elsewhere. Goes on behind damage, so that one look finds
//! all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_block::BlockEntry;
use hearth_common::TenantId;

use crate::Catalog;
use crate::error::CatalogError;
use crate::keys::{block_path, blocks, condemned_path, page_key, pages, root_key};
use crate::load::Miss;
use crate::ranges::{by_merge, part_of};
use crate::root::Root;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Key of the object, or folder of the block with a slash at its end.
    pub path: String,
    /// What is wrong, in words.
    pub what: String,
}

/// What a tenant's part of the store looks like.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Newest version of the root; 0: there is none.
    pub version: u64,
    /// Versions that are kept.
    pub versions: u64,
    /// Pages that the root names.
    pub pages: u64,
    /// Blocks that its readable pages name.
    pub blocks: Vec<Arc<BlockEntry>>,
    /// Deletions that blocks have not applied.
    pub tombstones: u64,
    /// Paths that are condemned.
    pub condemned: u64,
    /// Blocks and pages that the root neither names nor condemns: uploads on their way, replaced pages, or garbage.
    pub unnamed: u64,
    /// Their bytes.
    pub unnamed_bytes: u64,
    /// Damage, in the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Audit {
    fn damage(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { path: path.into(), what: what.into() });
    }
}

/// Whether the object itself is bad: another look will not help.
pub(crate) fn is_damage(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Damaged { .. } | CatalogError::NewerFormat { .. })
}

impl Catalog {
    /// Checks the newest root of a tenant against its pages and the store's listing. Damage is reported, not an error.
    /// While others write, an object may be replaced meanwhile: ask again before you believe a finding.
    pub async fn audit(&self, tenant: &TenantId) -> Result<Audit, CatalogError> {
        let versions = self.versions(tenant).await?;
        let Some(newest) = versions.last().map(|v| v.version) else { return Ok(Audit::default()) };
        let mut audit = Audit { version: newest, versions: versions.len() as u64, ..Audit::default() };
        let root = match self.read_root(tenant, newest).await {
            Ok(Some((root, _))) => root,
            Ok(None) => return Err(CatalogError::Contended { attempts: 1 }),
            Err(error) if is_damage(&error) => {
                audit.damage(root_key(tenant, newest), error.to_string());
                return Ok(audit);
            }
            Err(error) => return Err(error),
        };
        self.audit_parent(tenant, &root, &versions, &mut audit).await?;
        self.audit_pages(tenant, &root, &mut audit).await?;
        audit.tombstones = root.tombstones.len() as u64;
        audit.condemned = root.condemned.len() as u64;
        let found = check_entries(tenant, &root, &audit.blocks);
        audit.findings.extend(found);
        self.audit_objects(tenant, &root, &mut audit).await?;
        Ok(audit)
    }

    async fn audit_parent(
        &self,
        tenant: &TenantId,
        root: &Root,
        versions: &[crate::Version],
        audit: &mut Audit,
    ) -> Result<(), CatalogError> {
        let before = root.version - 1;
        if !versions.iter().any(|v| v.version == before) {
            return Ok(());
        }
        match self.read_root(tenant, before).await {
            Ok(Some((parent, _))) if parent.nonce != root.parent => {
                let what = format!("version {} does not follow it", root.version);
                audit.damage(root_key(tenant, before), what);
            }
            Ok(Some((parent, _))) if !root.coverage.contains(&parent.coverage) => {
                let what = format!("it covers less of a journal than version {before}");
                audit.damage(root_key(tenant, root.version), what);
            }
            Ok(_) => {}
            Err(error) if is_damage(&error) => audit.damage(root_key(tenant, before), error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn audit_pages(
        &self,
        tenant: &TenantId,
        root: &Root,
        audit: &mut Audit,
    ) -> Result<(), CatalogError> {
        for (day, page) in &root.pages {
            audit.pages += 1;
            let key = page_key(tenant, *day, page.unique);
            match self.read_page(tenant, *day, page).await {
                Ok(page) => audit.blocks.extend(page.blocks.iter().map(Arc::clone)),
                Err(Miss::Gone) => audit.damage(key, "the root names it, and it is not in the store"),
                Err(Miss::Error(error)) if is_damage(&error) => audit.damage(key, error.to_string()),
                Err(Miss::Error(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Each object of each block is there with its length; what else is there is counted.
    async fn audit_objects(
        &self,
        tenant: &TenantId,
        root: &Root,
        audit: &mut Audit,
    ) -> Result<(), CatalogError> {
        let mut stored: BTreeMap<String, u64> = BTreeMap::new();
        for prefix in [blocks(tenant), pages(tenant)] {
            stored.extend(self.store.list(&prefix).await?.into_iter().map(|o| (o.key, o.bytes)));
        }
        let mut named: BTreeSet<String> =
            root.pages.iter().map(|(day, page)| page_key(tenant, *day, page.unique)).collect();
        for block in audit.blocks.clone() {
            let folder = block.folder(tenant);
            for object in &block.objects {
                let key = format!("{folder}/{}", object.name);
                match stored.get(&key) {
                    None => audit.damage(key, "its block is published, and it is not in the store"),
                    Some(bytes) if *bytes != object.bytes => {
                        let what = format!("it has {bytes} bytes, its page says {}", object.bytes);
                        audit.damage(key, what);
                    }
                    Some(_) => {}
                }
            }
            named.insert(block_path(tenant, &block));
        }
        let mut unnamed = BTreeSet::new();
        for (key, bytes) in stored {
            let Some(path) = condemned_path(tenant, &key) else {
                audit.damage(key, "it lies where no block and no page may lie");
                continue;
            };
            if !named.contains(&path) && !root.condemned.contains_key(&path) {
                audit.unnamed_bytes += bytes;
                unnamed.insert(path);
            }
        }
        audit.unnamed = unnamed.len() as u64;
        Ok(())
    }
}

/// What root and entries say must fit together. Pure.
fn check_entries(tenant: &TenantId, root: &Root, blocks: &[Arc<BlockEntry>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ids = BTreeSet::new();
    for block in blocks {
        let path = block_path(tenant, block);
        let mut find = |what: String| findings.push(Finding { path: path.clone(), what });
        if !ids.insert(block.id) {
            find("its id is in the root twice".to_owned());
        }
        if root.condemned.contains_key(&path) {
            find("it is published and condemned at once".to_owned());
        }
        if block.min_time > block.max_time
            || block.min_time.day() != block.day
            || block.max_time.day() != block.day
        {
            find(format!("its profiles are not all of day {}", block.day));
        }
        for source in &block.sources {
            if root.coverage.of(&source.journal) < source.upto {
                let (journal, upto) = (&source.journal, source.upto.0);
                find(format!("it holds {journal} up to {upto}, and the root covers less of it"));
            }
        }
    }
    findings.extend(held_twice(tenant, blocks));
    findings
}

/// Entries that two blocks of a day hold, unless they are parts of one merge. Blocks of several days share entries: a push
/// may have profiles of both.
fn held_twice(tenant: &TenantId, blocks: &[Arc<BlockEntry>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut days: BTreeMap<i32, Vec<Arc<BlockEntry>>> = BTreeMap::new();
    for block in blocks {
        days.entry(block.day).or_default().push(Arc::clone(block));
    }
    for of_day in days.values() {
        let merges = by_merge(of_day);
        let mut ranges: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, merge) in merges.iter().enumerate() {
            for source in &merge[0].sources {
                ranges.entry(&source.journal).or_default().push((source.after, source.upto, at));
            }
            let stranger = merge.iter().find(|block| merge.len() > 1 && part_of(tenant, block).is_none());
            if let Some(block) = stranger {
                let other = merge.iter().find(|other| !Arc::ptr_eq(other, block)).unwrap_or(block);
                let what = format!(
                    "it and {} both hold the same entries, and it is no part of one merge",
                    block_path(tenant, other)
                );
                findings.push(Finding { path: block_path(tenant, block), what });
            }
        }
        for (journal, mut of_journal) in ranges {
            of_journal.sort_unstable();
            for pair in of_journal.windows(2).filter(|pair| pair[1].0 < pair[0].1) {
                let (one, other) = (&merges[pair[0].2][0], &merges[pair[1].2][0]);
                let what =
                    format!("it and {} both hold the same entries of {journal}", block_path(tenant, one));
                findings.push(Finding { path: block_path(tenant, other), what });
            }
        }
    }
    findings
}
