//! Finds and loads the newest root: forward from what is known, by listing when nothing is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hearth_common::{TenantId, TimestampNs};

use crate::Catalog;
use crate::cache::Known;
use crate::error::CatalogError;
use crate::json::{decode_page, decode_root};
use crate::keys::{page_key, parse_root_key, root_key, roots};
use crate::root::{PageRef, Root};
use crate::view::{Page, RootView};

/// Longest root or page that is read.
pub(crate) const OBJECT_MAX_BYTES: u64 = 256 << 20;
/// Steps forward from a known version before a listing is cheaper.
const STEPS_MAX: u32 = 16;
/// Pages fetched at once.
const PAGES_AT_ONCE: usize = 16;
/// How often a look starts again because roots or pages went away under it.
const LOOKS_MAX: u32 = 8;

/// The object went away while it was needed: look again.
pub(crate) enum Miss {
    Gone,
    Error(CatalogError),
}

impl<E: Into<CatalogError>> From<E> for Miss {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Catalog {
    /// The tenant's newest root, or `None` if nothing was ever committed. What is in memory is taken if it was the newest
    /// at most `max_age` ago, or if this process is the only publisher; else the store is asked: two small requests when
    /// nothing changed.
    pub async fn newest(
        &self,
        tenant: &TenantId,
        max_age: Duration,
    ) -> Result<Option<Arc<RootView>>, CatalogError> {
        let slot = self.cache.slot(tenant);
        let asked = self.clock.monotonic();
        if let Some(known) = slot.known().filter(|known| self.is_fresh(known, asked, max_age)) {
            return Ok(known.view);
        }
        let _turn = slot.looking.lock().await;
        // Somebody else may have looked while this call waited; what began after it was asked is fresh enough.
        if let Some(known) = slot.known().filter(|known| self.is_fresh(known, asked, max_age)) {
            return Ok(known.view);
        }
        Ok(self.look(tenant, slot.known()).await?.view)
    }

    /// Without asking the store, if possible: for a commit, which finds out by itself whether its base is the newest. Not one
    /// that was seen long ago: the versions behind it may be collected, and a root put there is void.
    pub(crate) async fn likely_newest(
        &self,
        tenant: &TenantId,
    ) -> Result<Option<Arc<RootView>>, CatalogError> {
        match self.cache.slot(tenant).known() {
            Some(known) if known.view.is_some() && self.confirmed_lately(&known) => Ok(known.view),
            _ => self.newest(tenant, Duration::ZERO).await,
        }
    }

    fn is_fresh(&self, known: &Known, asked: Duration, max_age: Duration) -> bool {
        self.options.only_publisher || known.at.0.saturating_add(max_age) > asked
    }

    pub(crate) fn now(&self) -> (Duration, TimestampNs) {
        (self.clock.monotonic(), self.clock.now())
    }

    fn confirmed_lately(&self, known: &Known) -> bool {
        let (monotonic, wall) = self.now();
        let wall_ns = i128::from(wall.0) - i128::from(known.at.1.0);
        let most = self.options.confirmed_for;
        monotonic.saturating_sub(known.at.0) < most && wall_ns < most.as_nanos() as i128
    }

    /// Asks the store, starting from what is known, and remembers the answer.
    pub(crate) async fn look(&self, tenant: &TenantId, known: Option<Known>) -> Result<Known, CatalogError> {
        let mut start = known.filter(|known| self.confirmed_lately(known)).and_then(|known| known.view);
        for _ in 0..LOOKS_MAX {
            let at = self.now();
            let found = match &start {
                Some(view) => self.step_forward(tenant, Arc::clone(view)).await,
                None => self.list_and_load(tenant).await,
            };
            match found {
                Ok(view) => return Ok(self.cache.learn(tenant, Known { view, at })),
                Err(Miss::Gone) => start = None,
                Err(Miss::Error(error)) => return Err(error),
            }
        }
        Err(CatalogError::Contended { attempts: LOOKS_MAX })
    }

    /// 404 on v + 1, and after that v still there: v was the newest at the first call.
    async fn step_forward(
        &self,
        tenant: &TenantId,
        from: Arc<RootView>,
    ) -> Result<Option<Arc<RootView>>, Miss> {
        let mut newest: Option<(Root, u64)> = None;
        let (mut version, mut nonce) = (from.version(), from.root.nonce);
        for _ in 0..STEPS_MAX {
            let Some((next, bytes)) = self.read_root(tenant, version + 1).await? else {
                if !self.store.exists(&root_key(tenant, version)).await? {
                    return Err(Miss::Gone);
                }
                return match newest {
                    None => Ok(Some(from)),
                    Some((root, bytes)) => {
                        Ok(Some(Arc::new(self.load_pages(tenant, root, bytes, Some(&from)).await?)))
                    }
                };
            };
            if next.parent != nonce {
                tracing::warn!(%tenant, version = next.version, "a root does not follow the one before; listing");
                return Err(Miss::Gone);
            }
            (version, nonce) = (next.version, next.nonce);
            newest = Some((next, bytes));
        }
        Err(Miss::Gone)
    }

    async fn list_and_load(&self, tenant: &TenantId) -> Result<Option<Arc<RootView>>, Miss> {
        let listed = self.store.list(&roots(tenant)).await?;
        let Some(version) = listed.iter().filter_map(|o| parse_root_key(tenant, &o.key)).max() else {
            return Ok(None);
        };
        let (root, bytes) = self.read_root(tenant, version).await?.ok_or(Miss::Gone)?;
        let view = Arc::new(self.load_pages(tenant, root, bytes, None).await?);
        // The listing may have begun before the newest commit.
        self.step_forward(tenant, view).await
    }

    /// One version of a root and its length; `None` if it does not exist.
    pub(crate) async fn read_root(
        &self,
        tenant: &TenantId,
        version: u64,
    ) -> Result<Option<(Root, u64)>, CatalogError> {
        let key = root_key(tenant, version);
        let object = match self.store.get(&key, OBJECT_MAX_BYTES).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let root = decode_root(&key, &object)?;
        if root.version != version {
            return Err(CatalogError::Damaged {
                key,
                why: format!("it says it is version {}", root.version),
            });
        }
        Ok(Some((root, object.len() as u64)))
    }

    /// Loads the pages of a root; those that `known` has are taken from there.
    async fn load_pages(
        &self,
        tenant: &TenantId,
        root: Root,
        root_bytes: u64,
        known: Option<&RootView>,
    ) -> Result<RootView, Miss> {
        let load = |(day, page): (i32, PageRef)| async move {
            let held =
                known.and_then(|known| known.pages.get(&day)).filter(|held| held.unique == page.unique);
            let loaded = match held {
                Some(held) => Arc::clone(held),
                None => Arc::new(self.read_page(tenant, day, &page).await?),
            };
            Ok::<_, Miss>((day, loaded))
        };
        let wanted: Vec<_> = root.pages.iter().map(|(day, page)| (*day, *page)).collect();
        let pages: BTreeMap<i32, Arc<Page>> =
            futures::stream::iter(wanted.into_iter().map(load)).buffered(PAGES_AT_ONCE).try_collect().await?;
        Ok(RootView::new(root, pages, root_bytes))
    }

    pub(crate) async fn read_page(&self, tenant: &TenantId, day: i32, page: &PageRef) -> Result<Page, Miss> {
        let key = page_key(tenant, day, page.unique);
        let object = match self.store.get(&key, OBJECT_MAX_BYTES).await {
            Ok(object) => object,
            // A root that is not the newest any more may have lost its pages.
            Err(error) if error.is_not_found() => return Err(Miss::Gone),
            Err(error) => return Err(Miss::Error(error.into())),
        };
        if object.len() as u64 != page.bytes || crc32c::crc32c(&object) != page.crc32c {
            let why = "it is not the object that the root names".to_owned();
            return Err(Miss::Error(CatalogError::Damaged { key, why }));
        }
        let loaded = decode_page(&key, page.unique, &object)?;
        if loaded.day != day || loaded.blocks.len() != page.blocks as usize {
            let why = format!("it holds {} blocks of day {}", loaded.blocks.len(), loaded.day);
            return Err(Miss::Error(CatalogError::Damaged { key, why }));
        }
        Ok(loaded)
    }
}
