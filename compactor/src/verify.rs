//! Reads a published block in full and checks all of it: what `hearth admin bucket verify` does with each.

use std::sync::Arc;

use bytes::Bytes;
use hearth_block::{BlockEntry, BlockError, ObjectEntry, verify};
use hearth_catalog::{Catalog, CatalogError, Finding};
use hearth_common::TenantId;
use hearth_objstore::StoreError;

/// Larger blocks are read in parts of this size.
const PART_BYTES: u64 = 8 << 20;

/// Checks a block; `None`: it is sound. A store that fails is an error, an object that is bad or missing a finding. Blocks up
/// to `whole_max_bytes` are held in memory and checked to the last row; of larger ones the checksums of their objects.
pub async fn verify_block(
    catalog: &Catalog,
    tenant: &TenantId,
    entry: &Arc<BlockEntry>,
    whole_max_bytes: u64,
) -> Result<Option<Finding>, CatalogError> {
    let folder = entry.folder(tenant);
    let found = |what: String| Ok(Some(Finding { path: format!("{folder}/"), what }));
    let is_large = entry.bytes() > whole_max_bytes;
    let mut objects: Vec<(String, Bytes)> = Vec::new();
    for object in &entry.objects {
        let key = format!("{folder}/{}", object.name);
        let read = if is_large {
            checksum(catalog, &key, object).await.map(|crc32c| (crc32c == object.crc32c).then(Bytes::new))
        } else {
            catalog.store().get(&key, object.bytes).await.map(Some)
        };
        match read {
            Ok(Some(bytes)) => objects.push((object.name.clone(), bytes)),
            Ok(None) => return found(format!("object {} does not have its checksum", object.name)),
            Err(error) if error.is_not_found() => {
                return found(format!("object {} is not in the store", object.name));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if is_large {
        return Ok(None);
    }
    let checked = Arc::clone(entry);
    // Inflating and summing a block keeps a thread busy.
    let verified = tokio::task::spawn_blocking(move || verify(&checked, &objects)).await;
    match verified {
        Ok(Ok(verified)) if verified.samples != entry.samples => {
            found(format!("it holds {} sample rows, its page says {}", verified.samples, entry.samples))
        }
        Ok(Ok(_)) => Ok(None),
        Ok(Err(error)) => found(error.to_string()),
        Err(_) => found(BlockError::Input("the check of it panicked".to_owned()).to_string()),
    }
}

async fn checksum(catalog: &Catalog, key: &str, object: &ObjectEntry) -> Result<u32, StoreError> {
    let mut crc32c = 0;
    let mut at = 0;
    while at < object.bytes {
        let end = (at + PART_BYTES).min(object.bytes);
        for part in catalog.store().get_ranges(key, std::slice::from_ref(&(at..end))).await? {
            crc32c = crc32c::crc32c_append(crc32c, &part);
        }
        at = end;
    }
    Ok(crc32c)
}
