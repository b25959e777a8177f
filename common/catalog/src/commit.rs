//! Makes a plan true: uploads pages, puts the next root if it is absent, and finds out whether that worked (design:
//! replication B8).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_block::BlockEntry;
use hearth_common::TenantId;
use hearth_objstore::{PutOutcome, StoreError};

use crate::Catalog;
use crate::cache::Known;
use crate::error::CatalogError;
use crate::json::{encode_page, encode_root};
use crate::keys::{page_key, parse_root_key, root_key, roots};
use crate::plan::{Commit, Edit, NextRoot, Planned, Publication, plan_commit, plan_edit};
use crate::root::{PageRef, Root};
use crate::view::{Page, RootView};

/// Races for the next version that a commit may lose.
const RACES_MAX: u32 = 32;
/// How often the same bytes are put, or the fate of a put is asked for.
const PUTS_MAX: u32 = 6;
/// The first pause after a lost race or a failed put; doubles, with jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What became of one attempt.
pub(crate) enum Fate<T> {
    Committed(T),
    /// Another root is at that version.
    Lost,
    /// Our root came where nobody looks any more: its base was collected. The newest is found by listing only.
    Void,
}

/// The version that a new root follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaseIs {
    /// 0: none.
    pub(crate) version: u64,
    /// Whose write it was; `None` = it cannot be read.
    pub(crate) nonce: Option<u128>,
}

impl Catalog {
    /// Publishes a cut. Safe to repeat after any error and from anywhere: the coverage in the root decides. Commits of
    /// one tenant within this process wait for each other.
    pub async fn publish(&self, tenant: &TenantId, commit: &Commit) -> Result<Publication, CatalogError> {
        let slot = self.cache.slot(tenant);
        let _turn = slot.committing.lock().await;
        let mut base = self.likely_newest(tenant).await?;
        for race in 0..RACES_MAX {
            let view = base.unwrap_or_else(|| Arc::new(RootView::empty()));
            let planned = match plan_commit(tenant, &view, commit) {
                // The first base may be old: a refusal counts only on the newest.
                Err(_) if race == 0 => {
                    base = self.look(tenant, slot.known()).await?.view;
                    continue;
                }
                planned => planned?,
            };
            match planned {
                // What is in memory may be old, but coverage never falls: this stays true.
                Planned::AlreadyCovered => return Ok(Publication::AlreadyCovered(view)),
                Planned::CoverageAhead => return Ok(Publication::CoverageAhead(view)),
                // Deletions come and go: only the newest root tells.
                Planned::OtherDeletions if race == 0 => base = self.look(tenant, slot.known()).await?.view,
                Planned::OtherDeletions => return Ok(Publication::CoverageAhead(view)),
                Planned::Write(next) => {
                    let start = match self.attempt(tenant, &view, *next).await? {
                        Fate::Committed(view) => return Ok(Publication::Published(view)),
                        Fate::Lost => slot.known(),
                        Fate::Void => None,
                    };
                    self.pause(race).await;
                    base = self.look(tenant, start).await?.view;
                }
            }
        }
        Err(CatalogError::Contended { attempts: RACES_MAX })
    }

    /// Changes the root by other means than publishing. `decide` sees the newest root, is asked again whenever somebody
    /// else was first, and ends the matter with an empty edit or an error. Returns the root after the edit, or `None`
    /// if there was nothing to do.
    pub async fn edit(
        &self,
        tenant: &TenantId,
        decide: impl FnMut(&RootView) -> Result<Edit, CatalogError>,
    ) -> Result<Option<Arc<RootView>>, CatalogError> {
        self.edit_on(tenant, false, decide).await
    }

    /// As [`Catalog::edit`]; with `begin` a tenant without a root gets one.
    pub(crate) async fn edit_on(
        &self,
        tenant: &TenantId,
        begin: bool,
        mut decide: impl FnMut(&RootView) -> Result<Edit, CatalogError>,
    ) -> Result<Option<Arc<RootView>>, CatalogError> {
        let slot = self.cache.slot(tenant);
        let _turn = slot.committing.lock().await;
        // Removals must be decided on what is: ask.
        let mut base = self.newest(tenant, Duration::ZERO).await?;
        for race in 0..RACES_MAX {
            let base_or_none = base.or_else(|| begin.then(|| Arc::new(RootView::empty())));
            let Some(view) = base_or_none else { return Ok(None) };
            let edit = decide(&view)?;
            if edit.is_empty() {
                return Ok(None);
            }
            let next = plan_edit(tenant, &view, &edit, self.clock.now())?;
            let start = match self.attempt(tenant, &view, next).await? {
                Fate::Committed(view) => return Ok(Some(view)),
                Fate::Lost => slot.known(),
                Fate::Void => None,
            };
            self.pause(race).await;
            base = self.look(tenant, start).await?.view;
        }
        Err(CatalogError::Contended { attempts: RACES_MAX })
    }

    /// One try to make `next` the version after `base`.
    async fn attempt(
        &self,
        tenant: &TenantId,
        base: &RootView,
        next: NextRoot,
    ) -> Result<Fate<Arc<RootView>>, CatalogError> {
        let NextRoot { mut root, days, added } = next;
        self.check_objects(tenant, &added).await?;
        root.version = base.version() + 1;
        root.parent = base.root.nonce;
        root.nonce = (self.rng)();
        let mut pages = base.pages.clone();
        for (day, blocks) in days {
            root.pages.remove(&day);
            pages.remove(&day);
            if !blocks.is_empty() {
                let (page_ref, page) = self.write_page(tenant, day, blocks).await?;
                root.pages.insert(day, page_ref);
                pages.insert(day, Arc::new(page));
            }
        }
        if !root.coverage.contains(&base.root.coverage) {
            return Err(CatalogError::Invalid(format!("coverage would fall in version {}", root.version)));
        }
        let object = Bytes::from(encode_root(&root)?);
        let at = self.now();
        let after = BaseIs { version: base.version(), nonce: Some(base.root.nonce) };
        match self.put_root(tenant, after, &root, &object).await? {
            Fate::Lost => Ok(Fate::Lost),
            Fate::Void => Ok(Fate::Void),
            Fate::Committed(()) => {
                let view = Arc::new(RootView::new(root, pages, object.len() as u64));
                self.cache.learn(tenant, Known { view: Some(Arc::clone(&view)), at });
                Ok(Fate::Committed(view))
            }
        }
    }

    /// The blocks' objects must be there *after* the base was read. Else a publisher could sleep through the whole life of
    /// a condemnation (condemned, deleted, entry dropped) and name objects that are gone: the entry in the base tells
    /// nothing then. Deletion empties the folder before the entry is dropped, so one object of a block tells for all.
    async fn check_objects(&self, tenant: &TenantId, added: &[Arc<BlockEntry>]) -> Result<(), CatalogError> {
        for block in added {
            let Some(object) = block.objects.first() else {
                return Err(CatalogError::Invalid(format!("block {} has no object", block.id)));
            };
            let key = format!("{}/{}", block.folder(tenant), object.name);
            match self.store.head(&key).await {
                Ok(found) if found.bytes == object.bytes => {}
                Ok(_) => {
                    return Err(CatalogError::Damaged {
                        key,
                        why: "its length is not the entry's".to_owned(),
                    });
                }
                Err(error) if error.is_not_found() => return Err(CatalogError::ObjectMissing { key }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(crate) async fn write_page(
        &self,
        tenant: &TenantId,
        day: i32,
        blocks: Vec<Arc<BlockEntry>>,
    ) -> Result<(PageRef, Page), CatalogError> {
        let unique = (self.rng)();
        let object = Bytes::from(encode_page(day, &blocks)?);
        let page_ref = PageRef {
            unique,
            bytes: object.len() as u64,
            crc32c: crc32c::crc32c(&object),
            blocks: blocks.len() as u32,
        };
        let key = page_key(tenant, day, unique);
        for put in 0..PUTS_MAX {
            match self.store.put(&key, object.clone()).await {
                Ok(()) => break,
                // Nobody else writes this key: the same bytes once more do no harm.
                Err(error) if error.outcome_unknown() && put + 1 < PUTS_MAX => self.pause(put).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((page_ref, Page { day, unique, blocks }))
    }

    /// Puts the root and finds out what became of it. "Failed" is never concluded from an error.
    pub(crate) async fn put_root(
        &self,
        tenant: &TenantId,
        base: BaseIs,
        root: &Root,
        object: &Bytes,
    ) -> Result<Fate<()>, CatalogError> {
        let key = root_key(tenant, root.version);
        let mut last_error: Option<StoreError> = None;
        for put in 0..PUTS_MAX {
            match self.store.put_if_absent(&key, object.clone()).await {
                Ok(PutOutcome::Created) => return self.confirm(tenant, base, root).await,
                Ok(PutOutcome::AlreadyExists) => {}
                Err(error) if error.outcome_unknown() => last_error = Some(error),
                Err(error) => return Err(error.into()),
            }
            match self.read_root(tenant, root.version).await {
                Ok(Some((found, _))) if found.nonce == root.nonce => {
                    return self.confirm(tenant, base, root).await;
                }
                Ok(Some(_)) => return Ok(Fate::Lost),
                // Absent: the same bytes again.
                Ok(None) => {}
                Err(CatalogError::Store(error)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
            self.pause(put).await;
        }
        Err(CatalogError::OutcomeUnknown { version: root.version, attempts: PUTS_MAX, source: last_error })
    }

    /// The root exists. It counts only if its base does: else versions up to it were collected and it was made anew where
    /// nobody looks (design: replication A22). Versions are deleted in ascending order, so the base tells; by its nonce, for
    /// what is there may have been made anew itself.
    async fn confirm(&self, tenant: &TenantId, base: BaseIs, root: &Root) -> Result<Fate<()>, CatalogError> {
        let mut last_error = None;
        for ask in 0..PUTS_MAX {
            let follows = match base {
                BaseIs { version: 0, .. } => self.is_first(tenant, root).await,
                BaseIs { version, nonce: None } => {
                    self.store.exists(&root_key(tenant, version)).await.map_err(CatalogError::from)
                }
                BaseIs { version, nonce: Some(nonce) } => {
                    let found = self.read_root(tenant, version).await;
                    found.map(|found| found.is_some_and(|(found, _)| found.nonce == nonce))
                }
            };
            match follows {
                Ok(true) => return Ok(Fate::Committed(())),
                Ok(false) => {
                    tracing::warn!(%tenant, version = root.version, "a root came after its base was collected; it is void");
                    return Ok(Fate::Void);
                }
                Err(CatalogError::Store(error)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
            self.pause(ask).await;
        }
        Err(CatalogError::OutcomeUnknown { version: root.version, attempts: PUTS_MAX, source: last_error })
    }

    /// Version 1 has no base to look at. It is the first only if the chain goes on from it: nothing newer exists, or
    /// version 2 follows it. (Version 1 itself was just written, so a chain whose versions 1 to k were collected shows
    /// either no version 2, or one that follows another version 1.)
    async fn is_first(&self, tenant: &TenantId, root: &Root) -> Result<bool, CatalogError> {
        let listed = self.store.list(&roots(tenant)).await?;
        let newer = listed.iter().filter_map(|o| parse_root_key(tenant, &o.key)).any(|v| v > root.version);
        if !newer {
            return Ok(true);
        }
        let second = self.read_root(tenant, root.version + 1).await?;
        Ok(second.is_some_and(|(second, _)| second.parent == root.nonce))
    }

    async fn pause(&self, attempt: u32) {
        let longest = PAUSE_FIRST.saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX);
        let jitter = ((self.rng)() % 1024) as u32;
        tokio::time::sleep(longest * jitter / 1024).await;
    }
}
