//! Writes the entry of a block again from its objects, when the page of the root that named it is lost.

use std::sync::Arc;

use hearth_common::{RangeRead, TenantId, TimestampNs};
use hearth_model::ProfileType;

use crate::entry::{BlockEntry, ObjectEntry};
use crate::error::BlockError;
use crate::input::BlockSpec;
use crate::read::{Meta, fetch};
use crate::{FORMAT_MAJOR, INDEX};

/// Objects are read in pieces of this size.
const PIECE_BYTES: u64 = 8 << 20;

/// The entry of a block of which the objects are given by name and length, in the order of the entry (`index` last). Reads
/// all of them. An error if the block was written before blocks said where they come from. The caller compares the id with
/// the folder's name: bytes of one block in the folder of another are good, and are not that block.
pub async fn recover_entry(
    tenant: &TenantId,
    attempt: &str,
    objects: &[(String, u64)],
    open: impl Fn(&str) -> Arc<dyn RangeRead>,
) -> Result<BlockEntry, BlockError> {
    let mut entries = Vec::new();
    for (name, bytes) in objects {
        let object = open(name);
        let mut crc32c = 0;
        let mut at = 0;
        while at < *bytes {
            let end = (*bytes).min(at + PIECE_BYTES);
            crc32c = crc32c::crc32c_append(crc32c, &fetch::one(name, &object, at..end).await?);
            at = end;
        }
        entries.push(ObjectEntry { name: name.clone(), bytes: *bytes, crc32c });
    }
    let index_bytes = objects.iter().find(|(name, _)| name == INDEX).map_or(0, |(_, bytes)| *bytes);
    let mut entry = BlockEntry {
        id: hearth_common::BlockId(0),
        attempt: attempt.to_owned(),
        format: FORMAT_MAJOR,
        day: 0,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(0),
        first_service: String::new(),
        last_service: String::new(),
        types: Vec::new(),
        objects: entries,
        // Not known yet: the reader finds it in the trailer.
        index_directory_offset: index_bytes,
        profiles: 0,
        samples: 0,
        series: 0,
        units: 0,
        sources: Vec::new(),
    };
    let meta = Meta::read(&entry, &open(INDEX)).await?;
    let unknown = || BlockError::index(0, "an older writer did not say where the block comes from");
    let origin = meta.origin.as_ref().ok_or_else(unknown)?;
    let sources = origin.sources.clone();
    let spec = BlockSpec { tenant: tenant.clone(), day: origin.day, level: origin.level, sources };
    let runs = || meta.datasets.iter().flat_map(|d| &d.slices).flat_map(|s| &s.runs);
    let services = || meta.units.iter().map(|unit| &*unit.service);
    entry.id = spec.id_of_part(origin.part);
    entry.day = origin.day;
    entry.level = origin.level;
    entry.min_time = TimestampNs(runs().map(|run| run.min_time).min().unwrap_or_default());
    entry.max_time = TimestampNs(runs().map(|run| run.max_time).max().unwrap_or_default());
    entry.first_service = services().min().unwrap_or_default().to_owned();
    entry.last_service = services().max().unwrap_or_default().to_owned();
    entry.types = meta.types.iter().map(ProfileType::id).collect();
    entry.index_directory_offset = meta.frames.last().map_or(0, |frame| frame.range().end);
    entry.profiles = origin.records;
    entry.samples = meta.samples.rows;
    entry.series = meta.series.len() as u64;
    entry.units = meta.units.len() as u64;
    entry.sources = spec.sources;
    Ok(entry)
}
