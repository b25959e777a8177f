//! Where uploads and line tables lie in the store. Pure.

use hearth_common::TenantId;
use hearth_symbols::BuildId;

use crate::record::UploadId;

/// The folder of all uploads; apart from `t/`, so that neither the collector nor the check of a bucket takes them for blocks.
const UPLOADS: &str = "debug-info";
/// The folder of all line tables.
const TABLES: &str = "symbolizer";

/// What the keys of all objects of a tenant begin with: for whoever encrypts or deletes all that is a tenant's.
pub fn prefixes(tenant: &TenantId) -> [String; 2] {
    [format!("{UPLOADS}/{tenant}/"), format!("{TABLES}/{tenant}/")]
}

/// All uploads of a tenant.
pub(crate) fn uploads(tenant: &TenantId) -> String {
    format!("{UPLOADS}/{tenant}")
}

/// The states of one upload.
pub(crate) fn states(tenant: &TenantId, build_id: &BuildId) -> String {
    format!("{UPLOADS}/{tenant}/{}/metadata", build_id.as_str())
}

/// One state.
pub(crate) fn state(tenant: &TenantId, build_id: &BuildId, version: u64) -> String {
    format!("{}/{version:020}", states(tenant, build_id))
}

/// Build id and version of a state's key.
pub(crate) fn parse_state(tenant: &TenantId, key: &str) -> Option<(BuildId, u64)> {
    let rest = key.strip_prefix(&uploads(tenant))?.strip_prefix('/')?;
    let (build_id, rest) = rest.split_once('/')?;
    let digits = rest.strip_prefix("metadata/")?;
    let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let version = valid.then(|| digits.parse().ok()).flatten()?;
    Some((BuildId::parse(build_id).ok()?, version))
}

/// The files that were received.
pub(crate) fn files(tenant: &TenantId, build_id: &BuildId) -> String {
    format!("{UPLOADS}/{tenant}/{}/exe", build_id.as_str())
}

/// One of them.
pub(crate) fn file(tenant: &TenantId, build_id: &BuildId, upload: UploadId) -> String {
    format!("{}/{:032x}", files(tenant, build_id), upload.0)
}

/// The line table of a program.
pub(crate) fn table(tenant: &TenantId, build_id: &BuildId) -> String {
    format!("{TABLES}/{tenant}/{}", build_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_states_are_read_back() {
        let (tenant, id) = (TenantId::parse("a").expect("valid"), BuildId::parse("0badcafe").expect("valid"));
        let key = state(&tenant, &id, 7);
        assert_eq!(key, "debug-info/a/0badcafe/metadata/00000000000000000007");
        let (found, version) = parse_state(&tenant, &key).expect("a state's");
        assert_eq!((found.as_str(), version), ("0badcafe", 7));
        assert!(parse_state(&tenant, &file(&tenant, &id, UploadId(1))).is_none());
        assert!(parse_state(&TenantId::parse("b").expect("valid"), &key).is_none());
    }
}
