//! Roots and pages as JSON: the fields, in this order, of `docs/formats/root.md`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_block::{BlockEntry, ObjectEntry, SourceRange};
use hearth_common::{BlockId, Incarnation, JournalId, Position, TimestampNs};
use serde::{Deserialize, Serialize};

use crate::coverage::Coverage;
use crate::envelope::{self, Kind};
use crate::error::CatalogError;
use crate::root::{Condemned, PageRef, Root, Tombstone};
use crate::view::Page;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootJson {
    version: u64,
    nonce: String,
    parent: String,
    pages: Vec<PageRefJson>,
    coverage: BTreeMap<String, u64>,
    drained: BTreeMap<String, u64>,
    voids: BTreeMap<String, Vec<u64>>,
    tombstones: Vec<TombstoneJson>,
    condemned: Vec<CondemnedJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageRefJson {
    day: i32,
    unique: String,
    bytes: u64,
    crc32c: u32,
    blocks: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TombstoneJson {
    id: String,
    selector: String,
    start_ns: i64,
    end_ns: i64,
    upto: BTreeMap<String, u64>,
    blocks: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CondemnedJson {
    path: String,
    since_ns: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageJson {
    day: i32,
    blocks: Vec<BlockJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockJson {
    id: String,
    attempt: String,
    format: u16,
    day: i32,
    level: u8,
    min_time_ns: i64,
    max_time_ns: i64,
    first_service: String,
    last_service: String,
    types: Vec<String>,
    objects: Vec<ObjectJson>,
    index_directory_offset: u64,
    profiles: u64,
    samples: u64,
    series: u64,
    units: u64,
    sources: Vec<SourceJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectJson {
    name: String,
    bytes: u64,
    crc32c: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceJson {
    journal: String,
    after: u64,
    upto: u64,
}

/// Encodes a root as it lies in the store.
pub(crate) fn encode_root(root: &Root) -> Result<Vec<u8>, CatalogError> {
    let json = RootJson {
        version: root.version,
        nonce: hex(root.nonce),
        parent: hex(root.parent),
        pages: root.pages.iter().map(|(day, page)| page_ref_json(*day, page)).collect(),
        coverage: root.coverage.positions().map(|(j, p)| (j.to_string(), p.0)).collect(),
        drained: root.coverage.drained().map(|(owner, upto)| (owner.to_owned(), upto.0)).collect(),
        voids: root.voids.iter().map(|(j, at)| (j.to_string(), at.iter().map(|p| p.0).collect())).collect(),
        tombstones: root.tombstones.iter().map(tombstone_json).collect(),
        condemned: root
            .condemned
            .iter()
            .map(|(path, c)| CondemnedJson { path: path.clone(), since_ns: c.since.0 })
            .collect(),
    };
    encode(Kind::Root, &json)
}

/// Decodes a root; `key` is for the error.
pub(crate) fn decode_root(key: &str, object: &[u8]) -> Result<Root, CatalogError> {
    let json: RootJson = decode(Kind::Root, key, object)?;
    let field = Fields { key };
    let mut pages = BTreeMap::new();
    for page in json.pages {
        let day = page.day;
        let unique = field.hex("unique", &page.unique)?;
        let PageRefJson { bytes, crc32c, blocks, .. } = page;
        pages.insert(day, PageRef { unique, bytes, crc32c, blocks });
    }
    let drained = json.drained.into_iter().map(|(owner, upto)| (owner, Incarnation(upto))).collect();
    let voids = json.voids.into_iter().map(|(journal, at)| {
        Ok((field.journal(&journal)?, at.into_iter().map(Position).collect::<BTreeSet<_>>()))
    });
    let tombstones = json.tombstones.into_iter().map(|t| {
        Ok(Tombstone {
            id: field.hex("id", &t.id)?,
            selector: t.selector,
            start: TimestampNs(t.start_ns),
            end: TimestampNs(t.end_ns),
            upto: field.positions(t.upto)?,
            blocks: t
                .blocks
                .iter()
                .map(|id| Ok(BlockId(field.hex("blocks", id)?)))
                .collect::<Result<_, CatalogError>>()?,
        })
    });
    let condemned = |c: CondemnedJson| (c.path, Condemned { since: TimestampNs(c.since_ns) });
    Ok(Root {
        version: json.version,
        nonce: field.hex("nonce", &json.nonce)?,
        parent: field.hex("parent", &json.parent)?,
        pages,
        coverage: Coverage::from_parts(field.positions(json.coverage)?, drained),
        voids: voids.collect::<Result<_, CatalogError>>()?,
        tombstones: tombstones.collect::<Result<_, CatalogError>>()?,
        condemned: json.condemned.into_iter().map(condemned).collect(),
    })
}

/// Encodes a page as it lies in the store.
pub(crate) fn encode_page(day: i32, blocks: &[Arc<BlockEntry>]) -> Result<Vec<u8>, CatalogError> {
    encode(Kind::Page, &PageJson { day, blocks: blocks.iter().map(|b| block_json(b)).collect() })
}

/// Decodes a page; `key` is for the error.
pub(crate) fn decode_page(key: &str, unique: u128, object: &[u8]) -> Result<Page, CatalogError> {
    let json: PageJson = decode(Kind::Page, key, object)?;
    let field = Fields { key };
    let blocks = json.blocks.into_iter().map(|b| block(&field, b).map(Arc::new));
    Ok(Page { day: json.day, unique, blocks: blocks.collect::<Result<_, _>>()? })
}

fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, CatalogError> {
    let json = serde_json::to_vec(value).map_err(|e| CatalogError::Invalid(e.to_string()))?;
    Ok(envelope::wrap(kind, &json))
}

fn decode<'a, T: Deserialize<'a>>(kind: Kind, key: &str, object: &'a [u8]) -> Result<T, CatalogError> {
    let json = envelope::unwrap(kind, key, object)?;
    serde_json::from_slice(json)
        .map_err(|e| CatalogError::Damaged { key: key.to_owned(), why: e.to_string() })
}

pub(crate) fn hex(number: u128) -> String {
    format!("{number:032x}")
}

fn page_ref_json(day: i32, page: &PageRef) -> PageRefJson {
    let PageRef { unique, bytes, crc32c, blocks } = *page;
    PageRefJson { day, unique: hex(unique), bytes, crc32c, blocks }
}

fn tombstone_json(t: &Tombstone) -> TombstoneJson {
    TombstoneJson {
        id: hex(t.id),
        selector: t.selector.clone(),
        start_ns: t.start.0,
        end_ns: t.end.0,
        upto: t.upto.iter().map(|(j, p)| (j.to_string(), p.0)).collect(),
        blocks: t.blocks.iter().map(ToString::to_string).collect(),
    }
}

fn block_json(b: &BlockEntry) -> BlockJson {
    let object = |o: &ObjectEntry| ObjectJson { name: o.name.clone(), bytes: o.bytes, crc32c: o.crc32c };
    let source =
        |s: &SourceRange| SourceJson { journal: s.journal.to_string(), after: s.after.0, upto: s.upto.0 };
    BlockJson {
        id: b.id.to_string(),
        attempt: b.attempt.clone(),
        format: b.format,
        day: b.day,
        level: b.level,
        min_time_ns: b.min_time.0,
        max_time_ns: b.max_time.0,
        first_service: b.first_service.clone(),
        last_service: b.last_service.clone(),
        types: b.types.clone(),
        objects: b.objects.iter().map(object).collect(),
        index_directory_offset: b.index_directory_offset,
        profiles: b.profiles,
        samples: b.samples,
        series: b.series,
        units: b.units,
        sources: b.sources.iter().map(source).collect(),
    }
}

fn block(field: &Fields<'_>, b: BlockJson) -> Result<BlockEntry, CatalogError> {
    // The attempt becomes part of a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if b.attempt.is_empty() || !b.attempt.chars().all(plain) {
        return Err(field.bad("attempt", &b.attempt));
    }
    let source = |s: SourceJson| {
        let journal = field.journal(&s.journal)?;
        Ok(SourceRange { journal, after: Position(s.after), upto: Position(s.upto) })
    };
    Ok(BlockEntry {
        id: BlockId(field.hex("id", &b.id)?),
        attempt: b.attempt,
        format: b.format,
        day: b.day,
        level: b.level,
        min_time: TimestampNs(b.min_time_ns),
        max_time: TimestampNs(b.max_time_ns),
        first_service: b.first_service,
        last_service: b.last_service,
        types: b.types,
        objects: b
            .objects
            .into_iter()
            .map(|o| ObjectEntry { name: o.name, bytes: o.bytes, crc32c: o.crc32c })
            .collect(),
        index_directory_offset: b.index_directory_offset,
        profiles: b.profiles,
        samples: b.samples,
        series: b.series,
        units: b.units,
        sources: b.sources.into_iter().map(source).collect::<Result<_, CatalogError>>()?,
    })
}

/// Reads the fields that are texts in JSON.
pub(crate) struct Fields<'a> {
    pub(crate) key: &'a str,
}

impl Fields<'_> {
    fn bad(&self, name: &str, value: &str) -> CatalogError {
        CatalogError::Damaged { key: self.key.to_owned(), why: format!("field {name} is '{value}'") }
    }

    pub(crate) fn hex(&self, name: &str, text: &str) -> Result<u128, CatalogError> {
        BlockId::from_hex(text).map(|id| id.0).ok_or_else(|| self.bad(name, text))
    }

    fn journal(&self, text: &str) -> Result<JournalId, CatalogError> {
        JournalId::parse(text).ok_or_else(|| self.bad("journal", text))
    }

    pub(crate) fn positions(
        &self,
        map: BTreeMap<String, u64>,
    ) -> Result<BTreeMap<JournalId, Position>, CatalogError> {
        map.into_iter().map(|(journal, at)| Ok((self.journal(&journal)?, Position(at)))).collect()
    }
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
