//! Where things lie in the store. Pure.

use hearth_block::BlockEntry;
use hearth_common::TenantId;

/// The folder of all tenants.
pub(crate) const TENANTS: &str = "t";

/// All that is of a tenant.
pub(crate) fn folder(tenant: &TenantId) -> String {
    format!("{TENANTS}/{tenant}")
}

/// What the keys of all objects of a tenant begin with.
pub fn tenant_prefix(tenant: &TenantId) -> String {
    format!("{}/", folder(tenant))
}

pub(crate) fn roots(tenant: &TenantId) -> String {
    format!("{TENANTS}/{tenant}/root")
}

pub(crate) fn pages(tenant: &TenantId) -> String {
    format!("{TENANTS}/{tenant}/pages")
}

pub(crate) fn blocks(tenant: &TenantId) -> String {
    format!("{TENANTS}/{tenant}/blocks")
}

/// The key of a root version.
pub fn root_key(tenant: &TenantId, version: u64) -> String {
    format!("{}/{version:020}", roots(tenant))
}

/// The version that a root's key stands for.
pub(crate) fn parse_root_key(tenant: &TenantId, key: &str) -> Option<u64> {
    let digits = key.strip_prefix(&roots(tenant))?.strip_prefix('/')?;
    let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().ok()).flatten()
}

/// The key of a page.
pub fn page_key(tenant: &TenantId, day: i32, unique: u128) -> String {
    format!("{}/{day}-{unique:032x}", pages(tenant))
}

/// The key of what is remembered of a deletion.
pub(crate) fn deletion_key(tenant: &TenantId, id: u128) -> String {
    format!("{TENANTS}/{tenant}/deletions/{id:032x}")
}

/// Day and unique part of a page's key.
pub(crate) fn parse_page_key(tenant: &TenantId, key: &str) -> Option<(i32, u128)> {
    let name = key.strip_prefix(&pages(tenant))?.strip_prefix('/')?;
    // Days before 1970 begin with a sign.
    let (day, unique) = name.rsplit_once('-')?;
    let unique = hearth_common::BlockId::from_hex(unique)?.0;
    Some((day.parse().ok()?, unique))
}

/// A block's folder with a slash at its end: the form in which blocks are condemned.
pub fn block_path(tenant: &TenantId, block: &BlockEntry) -> String {
    format!("{}/", block.folder(tenant))
}

/// The path that an object is condemned under: its block's folder with a slash, or the key of a page.
pub(crate) fn condemned_path(tenant: &TenantId, key: &str) -> Option<String> {
    if key.strip_prefix(&pages(tenant)).is_some_and(|rest| rest.starts_with('/')) {
        return Some(key.to_owned());
    }
    let blocks = blocks(tenant);
    let rest = key.strip_prefix(&blocks)?.strip_prefix('/')?;
    let mut parts = rest.split('/');
    let (day, folder) = (parts.next()?, parts.next()?);
    parts.next().is_some().then(|| format!("{blocks}/{day}/{folder}/"))
}
