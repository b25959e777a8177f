//! From settings to the parts that roles share: limits, store, catalog.

use std::sync::Arc;

use hearth_catalog::{Catalog, CatalogOptions};
use hearth_cluster::gossip::Role;
use hearth_common::{Clock, LimitsSource};
use hearth_objstore::{Store, StoreOptions};
use hearth_settings::{Settings, TenantOverrides};

use crate::error::NodeError;
use crate::node::Random;

/// Random numbers of the system.
pub(crate) fn random() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers once it has booted");
    u128::from_le_bytes(bytes)
}

pub(crate) fn limits(settings: &Settings) -> Result<Arc<dyn LimitsSource>, NodeError> {
    let file = &settings.overrides_file;
    if file.as_os_str().is_empty() {
        return Ok(Arc::new(TenantOverrides::none(settings.limits.clone())));
    }
    Ok(Arc::new(TenantOverrides::read(file, settings.limits.clone())?))
}

/// Opens the store, and asks one that is shared whether it can do what is needed of it.
pub(crate) async fn store(
    role: Role,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    rng: &Random,
) -> Result<Store, NodeError> {
    let options = StoreOptions { clock: Arc::clone(clock), ..StoreOptions::default() };
    let store = Store::open(&settings.object_store_url(), options).map_err(NodeError::Store)?;
    if !only_publisher(role, settings) {
        store.probe(rng()).await.map_err(NodeError::StoreUnusable)?;
    }
    Ok(store)
}

pub(crate) fn catalog(
    role: Role,
    settings: &Settings,
    store: Store,
    clock: &Arc<dyn Clock>,
    rng: &Random,
) -> Arc<Catalog> {
    let options =
        CatalogOptions { only_publisher: only_publisher(role, settings), ..CatalogOptions::default() };
    Arc::new(Catalog::new(store, Arc::clone(rng), Arc::clone(clock), options))
}

/// Nobody else writes to the local folder of Hearth on one machine; a bucket may have others.
fn only_publisher(role: Role, settings: &Settings) -> bool {
    let url = settings.object_store_url();
    role == Role::Standalone && (url.starts_with("file://") || url.starts_with('/'))
}
