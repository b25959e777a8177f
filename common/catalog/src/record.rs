//! What is remembered of deletions beside the root, for people: what was asked for and what it took. One small object each,
//! `docs/formats/root.md`.
//!
//! Nothing depends on it: the root decides what is deleted. A record that is lost is lost words.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hearth_common::{JournalId, Position, TenantId, TimeRange, TimestampNs};
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::envelope::{self, Kind};
use crate::error::CatalogError;
use crate::json::{Fields, hex};
use crate::keys::{TENANTS, deletion_key};

/// Format of records written by this version; that of the first is read, too.
pub(crate) const RECORD_FORMAT: u32 = 2;
/// Most records that are kept of a tenant; the oldest of those that are over go first.
pub const RECORDS_MAX: usize = 1000;
/// Longest record.
const RECORD_BYTES_MAX: u64 = 4 << 20;
/// Records that are read at once.
const AT_ONCE: usize = 16;

/// What is remembered of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionRecord {
    /// Its id.
    pub id: u128,
    /// What was deleted, as it was written.
    pub selector: String,
    /// Of which times.
    pub range: TimeRange,
    /// When it was asked for.
    pub created: TimestampNs,
    /// When it was taken back.
    pub cancelled: Option<TimestampNs>,
    /// Blocks that it named.
    pub blocks: u64,
    /// Which: [`crate::Tombstone::blocks_crc32c`]. `None`: a first version wrote the record.
    pub blocks_crc32c: Option<u32>,
    /// What was published when it came.
    pub coverage: BTreeMap<JournalId, Position>,
    /// What it takes, counted when it was asked for.
    pub takes: Vec<Taken>,
}

/// What a deletion takes of one service and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// The service.
    pub service: String,
    /// The type's five parts.
    #[serde(rename = "type")]
    pub profile_type: String,
    /// Profiles that have a value of the type.
    pub profiles: u64,
    /// Their samples.
    pub samples: u64,
    /// About how many bytes they take.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordJson {
    id: String,
    selector: String,
    start_ns: i64,
    end_ns: i64,
    created_ns: i64,
    cancelled_ns: Option<i64>,
    blocks: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks_crc32c: Option<u32>,
    coverage: BTreeMap<String, u64>,
    takes: Vec<Taken>,
}

pub(crate) fn encode(record: &DeletionRecord) -> Result<Vec<u8>, CatalogError> {
    let json = RecordJson {
        id: hex(record.id),
        selector: record.selector.clone(),
        start_ns: record.range.start.0,
        end_ns: record.range.end.0,
        created_ns: record.created.0,
        cancelled_ns: record.cancelled.map(|at| at.0),
        blocks: record.blocks,
        blocks_crc32c: record.blocks_crc32c,
        coverage: record.coverage.iter().map(|(journal, at)| (journal.to_string(), at.0)).collect(),
        takes: record.takes.clone(),
    };
    let json = serde_json::to_vec(&json).map_err(|error| CatalogError::Invalid(error.to_string()))?;
    Ok(envelope::wrap(Kind::Deletion, &json))
}

pub(crate) fn decode(key: &str, object: &[u8]) -> Result<DeletionRecord, CatalogError> {
    let json = match envelope::unwrap(Kind::Deletion, key, object) {
        Err(CatalogError::NewerFormat { found: 1, .. }) => {
            envelope::unwrap(Kind::FirstDeletion, key, object)?
        }
        unwrapped => unwrapped?,
    };
    let json: RecordJson = serde_json::from_slice(json)
        .map_err(|error| CatalogError::Damaged { key: key.to_owned(), why: error.to_string() })?;
    let field = Fields { key };
    Ok(DeletionRecord {
        id: field.hex("id", &json.id)?,
        selector: json.selector,
        range: TimeRange { start: TimestampNs(json.start_ns), end: TimestampNs(json.end_ns) },
        created: TimestampNs(json.created_ns),
        cancelled: json.cancelled_ns.map(TimestampNs),
        blocks: json.blocks,
        blocks_crc32c: json.blocks_crc32c,
        coverage: field.positions(json.coverage)?,
        takes: json.takes,
    })
}

impl Catalog {
    /// Writes a record, in place of an earlier one of the same deletion.
    pub async fn put_deletion_record(
        &self,
        tenant: &TenantId,
        record: &DeletionRecord,
    ) -> Result<(), CatalogError> {
        let object = Bytes::from(encode(record)?);
        Ok(self.store.put(&deletion_key(tenant, record.id), object).await?)
    }

    /// All records of a tenant, newest first. Lists. Damaged ones are left out and logged.
    pub async fn deletion_records(&self, tenant: &TenantId) -> Result<Vec<DeletionRecord>, CatalogError> {
        let listed = self.store.list(&format!("{TENANTS}/{tenant}/deletions")).await?;
        let read = |key: String| async move {
            match self.store.get(&key, RECORD_BYTES_MAX).await {
                Ok(object) => match decode(&key, &object) {
                    Ok(record) => Ok(Some(record)),
                    Err(error) => {
                        tracing::warn!(%tenant, %error, "a record of a deletion cannot be read");
                        Ok(None)
                    }
                },
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(CatalogError::from(error)),
            }
        };
        let reads = futures::stream::iter(listed.into_iter().map(|object| read(object.key)));
        let found: Vec<Option<DeletionRecord>> = reads.buffered(AT_ONCE).try_collect().await?;
        let mut records: Vec<DeletionRecord> = found.into_iter().flatten().collect();
        records.sort_by_key(|record| (std::cmp::Reverse(record.created), record.id));
        Ok(records)
    }

    /// Forgets the records of deletions.
    pub async fn forget_deletion_records(&self, tenant: &TenantId, ids: &[u128]) -> Result<(), CatalogError> {
        let keys: Vec<String> = ids.iter().map(|id| deletion_key(tenant, *id)).collect();
        Ok(self.store.delete(&keys).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> DeletionRecord {
        let journal = JournalId::parse(&format!("a/1/a/{:032x}/1", 7)).expect("valid");
        DeletionRecord {
            id: 0xabc,
            selector: r#"{service_name="shop"}"#.to_owned(),
            range: TimeRange { start: TimestampNs(5), end: TimestampNs(1_700_000_000_000_000_000) },
            created: TimestampNs(1_700_000_000_123_456_789),
            cancelled: Some(TimestampNs(1_700_000_001_000_000_000)),
            blocks: 3,
            blocks_crc32c: Some(0x1234_5678),
            coverage: [(journal, Position(12))].into(),
            takes: vec![Taken {
                service: "shop".to_owned(),
                profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
                profiles: 4,
                samples: 99,
                bytes: 1234,
            }],
        }
    }

    #[test]
    fn a_record_reads_back_and_the_golden_ones_for_ever() {
        let record = record();
        let object = encode(&record).expect("encodes");
        assert_eq!(decode("k", &object).expect("decodes"), record);
        let pending = DeletionRecord { cancelled: None, ..record.clone() };
        assert_eq!(decode("k", &encode(&pending).expect("encodes")).expect("decodes"), pending);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::write(format!("{folder}/deletion-2.bin"), &object).expect("written");
        }
        let first = DeletionRecord { blocks_crc32c: None, ..record.clone() };
        for (name, record) in [("deletion", first), ("deletion-2", record)] {
            let golden = std::fs::read(format!("{folder}/{name}.bin")).expect("the golden file");
            assert_eq!(decode("golden", &golden).expect("decodes"), record, "{name}");
            for at in 0..golden.len() {
                let mut bad = golden.clone();
                bad[at] ^= 1;
                assert!(decode("bad", &bad).is_err(), "{name}, byte {at}");
            }
        }
    }
}
