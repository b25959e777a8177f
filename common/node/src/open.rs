//! From settings to the parts that roles share: limits, store, catalog.

use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::{Catalog, CatalogOptions};
use hearth_cluster::gossip::Role;
use hearth_common::{Classify, Clock, ErrorKind, TenantId, TenantLimits, Workers};
use hearth_objstore::{Encryption, RemoteOptions, Store, StoreOptions};
use hearth_settings::{Settings, TenantOverrides};

use crate::error::NodeError;
use crate::node::Random;
use crate::tenant_rules;

/// Profiles older than this are taken for as old: ten years.
const INGESTION_WINDOW_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Random numbers of the system.
pub(crate) fn random() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers once it has booted");
    u128::from_le_bytes(bytes)
}

/// How many threads compute at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads of the runtime for work that blocks or computes for long.
pub fn workers() -> Workers {
    // What a job logs belongs to the request that gave it.
    Arc::new(|job| {
        let span = tracing::Span::current();
        drop(tokio::task::spawn_blocking(move || span.in_scope(job)));
    })
}

/// The limits of all tenants.
pub fn limits(settings: &Settings) -> Result<TenantOverrides, NodeError> {
    let file = &settings.overrides_file;
    let limits = match file.as_os_str().is_empty() {
        true => TenantOverrides::none(settings.limits.clone()),
        false => TenantOverrides::read(file, settings.limits.clone())?,
    };
    let now = hearth_common::TimestampNs(0);
    let check = |of: &str, limits| {
        let wrong = |source| NodeError::Retention { of: of.to_owned(), source };
        hearth_catalog::expiries(limits, now).map(drop).map_err(wrong)?;
        // Read at a start only: what no process starts with must not be taken by those that run.
        encryption(of, limits)?;
        match tenant_rules::problems(limits).into_iter().next() {
            Some((key, problem)) => Err(NodeError::Limits { of: of.to_owned(), key, problem }),
            None => Ok(()),
        }
    };
    check("limits", limits.default_limits())?;
    for (tenant, limits) in limits.named() {
        check(&format!("overrides.{tenant}"), limits)?;
    }
    Ok(limits)
}

/// How old a profile of any tenant may be when it is taken; where one has no limit, longer than anything is kept.
pub(crate) fn ingestion_window(limits: &TenantOverrides) -> Duration {
    let window = |limits: &TenantLimits| match limits.reject_older_than {
        none if none.is_zero() => INGESTION_WINDOW_MAX,
        older => older.0.min(INGESTION_WINDOW_MAX),
    };
    limits.all().map(window).max().unwrap_or(INGESTION_WINDOW_MAX)
}

/// How objects of a tenant are encrypted.
fn encryption(of: &str, limits: &TenantLimits) -> Result<Encryption, NodeError> {
    let wrong = |source| NodeError::Encryption { of: of.to_owned(), source };
    Encryption::from_settings(&limits.s3_sse_type, &limits.s3_sse_kms_key_id).map_err(wrong)
}

/// How a bucket is spoken with.
fn remote(settings: &Settings, limits: &TenantOverrides) -> Result<RemoteOptions, NodeError> {
    let client = &settings.store;
    let mut encryption_below = Vec::new();
    for (tenant, limits) in limits.named() {
        // What is no tenant's name has no objects.
        let Ok(id) = TenantId::parse(tenant) else { continue };
        let of = format!("overrides.{tenant}");
        let [uploads, tables] = hearth_debuginfo::prefixes(&id);
        for prefix in [hearth_catalog::tenant_prefix(&id), uploads, tables] {
            encryption_below.push((prefix, encryption(&of, limits)?));
        }
    }
    Ok(RemoteOptions {
        environment: None,
        retries_max: client.retries_max,
        retry_for: client.retry_for.0,
        retry_budget: client.retry_budget,
        upload_retry_for: client.upload_retry_for.0,
        request_timeout: client.request_timeout.0,
        connect_timeout: client.connect_timeout.0,
        publish_requests_max: client.publish_requests_max,
        query_requests_max: client.query_requests_max,
        compaction_requests_max: client.compaction_requests_max,
        hedge_after: client.hedge_after.0,
        hedges_max: client.hedges_max,
        encryption: encryption("limits", limits.default_limits())?,
        encryption_below,
    })
}

/// Opens the store, and asks one that is shared whether it can do what is needed of it.
pub(crate) async fn store(
    role: Role,
    settings: &Settings,
    limits: &TenantOverrides,
    clock: &Arc<dyn Clock>,
    rng: &Random,
) -> Result<Store, NodeError> {
    let own = settings.object_store.is_empty() || settings.object_store.starts_with("memory:");
    if role != Role::Standalone && own {
        return Err(NodeError::OwnStore(settings.object_store.clone()));
    }
    let remote = remote(settings, limits)?;
    let options = StoreOptions { clock: Arc::clone(clock), remote, ..StoreOptions::default() };
    let store = Store::open(&settings.object_store_url(), options).map_err(NodeError::Store)?;
    if !only_publisher(role, settings) {
        match store.probe(rng()).await {
            Ok(()) => {}
            // A cluster goes on while its store is away, and so must a process that is started meanwhile.
            Err(error) if role != Role::Standalone && error.kind() == ErrorKind::Unavailable => {
                let error = hearth_common::error::chain(&error);
                tracing::warn!(error, "the object store cannot be reached; going on without a look at it");
            }
            Err(error) => return Err(NodeError::StoreUnusable(error)),
        }
    }
    Ok(store)
}

/// The catalog of a store that other processes may be using: for commands that look at it from outside.
pub fn bucket(settings: &Settings) -> Result<Arc<Catalog>, NodeError> {
    let options = StoreOptions { remote: remote(settings, &limits(settings)?)?, ..StoreOptions::default() };
    let store = Store::open(&settings.object_store_url(), options).map_err(NodeError::Store)?;
    let clock = Arc::new(hearth_common::SystemClock::default());
    Ok(Arc::new(Catalog::new(store, Arc::new(random), clock, CatalogOptions::default())))
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

#[cfg(test)]
mod tests {
    use hearth_common::units::GoDuration;

    use super::*;

    #[test]
    fn limits_with_which_no_process_starts_are_refused_when_they_are_read() {
        let mut settings = Settings::default();
        limits(&settings).expect("the defaults");
        settings.limits.s3_sse_type = "SSE-S4".to_owned();
        assert!(matches!(limits(&settings), Err(NodeError::Encryption { .. })));
    }

    #[test]
    fn the_window_is_the_longest_of_any_tenant() {
        let window = |seconds| {
            let reject_older_than = GoDuration::from_secs(seconds);
            let limits = TenantLimits { reject_older_than, ..TenantLimits::default() };
            ingestion_window(&TenantOverrides::none(limits))
        };
        assert_eq!(window(3600), Duration::from_secs(3600));
        assert_eq!(window(0), INGESTION_WINDOW_MAX);
    }
}
