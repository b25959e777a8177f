//! Makes a root again from what the store still holds, when the newest one or a page of it is damaged or lost.
//!
//! The base is the newest version that can be read. Pages are immutable and say all of their blocks, so pages that were
//! written later tell what was published later. Of a day the newest page counts, and of older ones the blocks whose journal
//! entries no chosen block holds: replaced blocks stay out, because their entries lie in what replaced them. Parts of one
//! merge stand or fall together: if one is lost and the merge's inputs are all there, the inputs come back instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hearth_block::BlockEntry;
use hearth_common::{TenantId, TimestampNs};
use hearth_objstore::ObjectInfo;

use crate::audit::{Finding, is_damage};
use crate::commit::{BaseIs, Fate};
use crate::error::CatalogError;
use crate::json::{decode_page, encode_root};
use crate::keys::{block_path, blocks, condemned_path, page_key, pages, parse_page_key, root_key};
use crate::load::{Miss, OBJECT_MAX_BYTES};
use crate::ranges::{Held, by_merge, overlap, same_merge};
use crate::root::Root;
use crate::view::Page;
use crate::{Catalog, Version};

/// A root as it would be, or was, made again.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt {
    /// The version that was written, or would be.
    pub version: u64,
    /// The version that it starts from; `None`: no version can be read.
    pub base: Option<u64>,
    /// Blocks by it.
    pub blocks: u64,
    /// Profiles in them.
    pub profiles: u64,
    /// What cannot be brought back.
    pub lost: Vec<Finding>,
    /// Whether it is written.
    pub written: bool,
}

/// A page with the time of its writing.
struct Dated {
    written: TimestampNs,
    page: Page,
}

/// What a rebuild starts from.
struct Base {
    root: Root,
    /// When the root was written; `None`: there is no readable root.
    written: Option<TimestampNs>,
}

impl Catalog {
    /// Plans a new root from what can be read, and writes it if `write` says so. Refuses when the newest root and all its
    /// pages are sound. No other process may publish meanwhile, and all must be started anew afterwards: what they
    /// remember leads to the damaged version.
    pub async fn rebuild(&self, tenant: &TenantId, write: bool) -> Result<Rebuilt, CatalogError> {
        let versions = self.versions(tenant).await?;
        let newest = versions.last().map_or(0, |v| v.version);
        let mut rebuilt = Rebuilt { version: newest + 1, ..Rebuilt::default() };
        let base = self.newest_readable(tenant, &versions, &mut rebuilt).await?;
        let sound = rebuilt.lost.is_empty() && base.written.is_some();
        let dated = self.dated_pages(tenant).await?;
        if sound && self.pages_are_sound(tenant, &base.root).await? {
            let version = base.root.version;
            return Err(CatalogError::Invalid(format!(
                "version {version} and its pages are sound: there is nothing to rebuild"
            )));
        }
        let stored: Vec<ObjectInfo> = self.store.list(&blocks(tenant)).await?;
        let read: BTreeSet<u128> = dated.iter().map(|dated| dated.page.unique).collect();
        let mut days = choose(tenant, &base, dated, &stored, &mut rebuilt.lost);
        for (&day, _) in base.root.pages.iter().filter(|(_, page)| !read.contains(&page.unique)) {
            let mut chosen = days.remove(&day).unwrap_or_default();
            self.recover_day(tenant, &base.root, day, &stored, &mut chosen).await?;
            if !chosen.is_empty() {
                days.insert(day, chosen);
            }
        }
        report_strangers(tenant, &base.root, &days, &stored, &mut rebuilt.lost);
        let all = || days.values().flatten();
        rebuilt.blocks = all().count() as u64;
        rebuilt.profiles = all().map(|block| block.profiles).sum();
        if write {
            self.write_rebuilt(tenant, newest, base.root, days).await?;
            rebuilt.written = true;
        }
        Ok(rebuilt)
    }

    async fn newest_readable(
        &self,
        tenant: &TenantId,
        versions: &[Version],
        rebuilt: &mut Rebuilt,
    ) -> Result<Base, CatalogError> {
        for version in versions.iter().rev() {
            match self.read_root(tenant, version.version).await {
                Ok(Some((root, _))) => {
                    rebuilt.base = Some(root.version);
                    return Ok(Base { root, written: Some(version.written) });
                }
                Ok(None) => {}
                // To overwrite what a newer version said would lose what this one does not know.
                Err(error @ CatalogError::NewerFormat { .. }) => return Err(error),
                Err(error) if is_damage(&error) => {
                    let path = root_key(tenant, version.version);
                    rebuilt.lost.push(Finding { path, what: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Base { root: Root::empty(), written: None })
    }

    async fn pages_are_sound(&self, tenant: &TenantId, root: &Root) -> Result<bool, CatalogError> {
        for (day, page) in &root.pages {
            match self.read_page(tenant, *day, page).await {
                Ok(_) => {}
                Err(Miss::Gone) => return Ok(false),
                Err(Miss::Error(error)) if is_damage(&error) => return Ok(false),
                Err(Miss::Error(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// All pages in the store that can be read.
    async fn dated_pages(&self, tenant: &TenantId) -> Result<Vec<Dated>, CatalogError> {
        let mut dated = Vec::new();
        for object in self.store.list(&pages(tenant)).await? {
            let Some((day, unique)) = parse_page_key(tenant, &object.key) else { continue };
            let bytes = match self.store.get(&object.key, OBJECT_MAX_BYTES).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            match decode_page(&object.key, unique, &bytes) {
                Ok(page) if page.day == day => dated.push(Dated { written: object.modified, page }),
                Ok(_) => {}
                Err(error @ CatalogError::NewerFormat { .. }) => return Err(error),
                // The page is passed over; what only it named is reported as blocks that no page describes.
                Err(_) => {}
            }
        }
        Ok(dated)
    }

    async fn write_rebuilt(
        &self,
        tenant: &TenantId,
        newest: u64,
        mut root: Root,
        days: BTreeMap<i32, Vec<Arc<BlockEntry>>>,
    ) -> Result<(), CatalogError> {
        let parent = if root.version == newest { root.nonce } else { 0 };
        root.pages.clear();
        for (day, blocks) in days {
            for source in blocks.iter().flat_map(|block| &block.sources) {
                root.coverage.raise(&source.journal, source.upto);
            }
            let (page_ref, _) = self.write_page(tenant, day, blocks).await?;
            root.pages.insert(day, page_ref);
        }
        let coverage = &root.coverage;
        root.voids.retain(|journal, positions| {
            let upto = coverage.of(journal);
            positions.retain(|position| *position > upto);
            !positions.is_empty()
        });
        (root.version, root.parent, root.nonce) = (newest + 1, parent, (self.rng)());
        let object = Bytes::from(encode_root(&root)?);
        // Only the version of the base is looked at: it must still be there when the new root is.
        let base = BaseIs { version: newest, nonce: None };
        match self.put_root(tenant, base, &root, &object).await? {
            Fate::Committed(()) => Ok(()),
            Fate::Lost | Fate::Void => Err(CatalogError::Contended { attempts: 1 }),
        }
    }
}

/// The blocks of each day by the rule of the module. Pure.
fn choose(
    tenant: &TenantId,
    base: &Base,
    dated: Vec<Dated>,
    stored: &[ObjectInfo],
    lost: &mut Vec<Finding>,
) -> BTreeMap<i32, Vec<Arc<BlockEntry>>> {
    let mut by_day: BTreeMap<i32, Vec<Dated>> = BTreeMap::new();
    for page in dated {
        by_day.entry(page.page.day).or_default().push(page);
    }
    for (day, page) in &base.root.pages {
        let known = by_day.get(day).is_some_and(|of_day| of_day.iter().any(|d| d.page.unique == page.unique));
        if !known {
            let path = page_key(tenant, *day, page.unique);
            let what = "the root names it, and it cannot be read; older pages of its day, and what blocks say of themselves, are used".to_owned();
            lost.push(Finding { path, what });
        }
    }
    let sizes: BTreeMap<&str, u64> = stored.iter().map(|o| (o.key.as_str(), o.bytes)).collect();
    let mut days = BTreeMap::new();
    for (day, mut of_day) in by_day {
        let named = base.root.pages.get(&day).map(|page| page.unique);
        let from = of_day.iter().find(|d| Some(d.page.unique) == named).map(|d| d.written);
        // The base knows the day: what is older than its page was replaced. It knew the day to be empty: what is older
        // than the base was removed. Its page cannot be read: all pages of the day tell something.
        let from = if named.is_some() { from } else { base.written };
        of_day.retain(|d| from.is_none_or(|from| d.written >= from));
        of_day.sort_by_key(|d| (std::cmp::Reverse(d.written), Some(d.page.unique) != named, d.page.unique));
        let mut of_day_chosen =
            Chosen { tenant, base: &base.root, sizes: &sizes, chosen: Vec::new(), broken: Vec::new() };
        of_day.iter().for_each(|dated| of_day_chosen.page(&dated.page.blocks));
        let mut chosen = of_day_chosen.end(lost);
        if !chosen.is_empty() {
            chosen.sort_by_key(|block| (block.min_time, block.id));
            days.insert(day, chosen);
        }
    }
    days
}

/// Blocks of a day that are chosen, from newer to older pages.
struct Chosen<'a> {
    tenant: &'a TenantId,
    base: &'a Root,
    sizes: &'a BTreeMap<&'a str, u64>,
    chosen: Vec<Arc<BlockEntry>>,
    /// Merges of which not all parts are in the store.
    broken: Vec<Vec<Arc<BlockEntry>>>,
}

impl Chosen<'_> {
    /// Parts of one merge are taken together or not at all: as long as its inputs are there, they stand for a merge of which
    /// a part is lost. What two newer pages say of one merge is not mixed, either.
    fn page(&mut self, blocks: &[Arc<BlockEntry>]) {
        let newer = self.chosen.len();
        for merge in by_merge(blocks) {
            let replaced = |block: &Arc<BlockEntry>| {
                let by = |c: &Arc<BlockEntry>| c.id == block.id || overlap(&c.sources, &block.sources);
                self.chosen[..newer].iter().any(by)
            };
            let condemned =
                |b: &Arc<BlockEntry>| self.base.condemned.contains_key(&block_path(self.tenant, b));
            let left: Vec<Arc<BlockEntry>> =
                merge.into_iter().filter(|block| !replaced(block) && !condemned(block)).collect();
            if left.iter().all(|block| is_whole(self.tenant, block, self.sizes)) {
                self.chosen.extend(left);
            } else if !self.broken.iter().any(|known| same_merge(&known[0], &left[0])) {
                self.broken.push(left);
            }
        }
    }

    /// Decides on the merges of which a part is lost, and reports what is.
    fn end(mut self, lost: &mut Vec<Finding>) -> Vec<Arc<BlockEntry>> {
        for merge in std::mem::take(&mut self.broken) {
            let overlaps = |c: &&Arc<BlockEntry>| overlap(&c.sources, &merge[0].sources);
            let inputs = Held::of(self.chosen.iter().filter(overlaps).flat_map(|c| &c.sources));
            if merge[0].sources.iter().all(|source| inputs.holds(source)) {
                continue;
            }
            let (whole, gone): (Vec<_>, Vec<_>) =
                merge.iter().cloned().partition(|block| is_whole(self.tenant, block, self.sizes));
            for block in gone {
                let path = block_path(self.tenant, &block);
                let what = "a page names this block, and its objects are not all in the store".to_owned();
                lost.push(Finding { path, what });
            }
            let of_inputs: u64 = self.chosen.iter().filter(overlaps).map(|c| c.profiles).sum();
            // Whichever holds more; never both, or their rows would count twice.
            if whole.iter().map(|block| block.profiles).sum::<u64>() > of_inputs {
                self.chosen.retain(|c| !overlap(&c.sources, &merge[0].sources));
                self.chosen.extend(whole);
            }
        }
        self.chosen
    }
}

fn is_whole(tenant: &TenantId, block: &BlockEntry, sizes: &BTreeMap<&str, u64>) -> bool {
    let folder = block.folder(tenant);
    block.objects.iter().all(|o| sizes.get(format!("{folder}/{}", o.name).as_str()) == Some(&o.bytes))
}

/// Blocks in the store that the new root does not name and that are not condemned. They may be replaced ones; without a
/// page nothing tells.
fn report_strangers(
    tenant: &TenantId,
    root: &Root,
    days: &BTreeMap<i32, Vec<Arc<BlockEntry>>>,
    stored: &[ObjectInfo],
    lost: &mut Vec<Finding>,
) {
    let mut strangers: BTreeSet<String> =
        stored.iter().filter_map(|o| condemned_path(tenant, &o.key)).collect();
    for block in days.values().flatten() {
        strangers.remove(&block_path(tenant, block));
    }
    strangers.retain(|path| {
        !root.condemned.contains_key(path) && !lost.iter().any(|finding| finding.path == *path)
    });
    let what = "it is in the store and not in the new root: replaced, never published, or its page is lost";
    lost.extend(strangers.into_iter().map(|path| Finding { path, what: what.to_owned() }));
}
