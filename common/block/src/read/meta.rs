//! What an open block knows: the decoded tail of its index.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hearth_common::RangeRead;
use hearth_model::ProfileType;

use super::fetch;
use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::frame::{Frame, NO_UNIT, TRAILER_BYTES, Trailer, join_stream, section};
use crate::meta::datasets::{Dataset, take_datasets};
use crate::meta::origin::{Origin, take_origin};
use crate::meta::pages::{ObjectPages, take_layouts};
use crate::meta::rollups::{Rollups, take_rollups};
use crate::meta::series::{SeriesRow, take_series};
use crate::meta::{Annotations, UnitKey, take_annotations, take_types, take_units};
use crate::rollup::TOTALS;
use crate::write::profiles::column;
use crate::{INDEX, PROFILES, SAMPLES, SPANS, STACKS_1D, TOTALS_1H, TOTALS_5M};

/// An index up to this size is read whole when the block is opened, and kept.
const WHOLE_INDEX_MAX: u64 = 1 << 20;
/// Of a larger index at least this much of the end is read.
const TAIL_MIN: u64 = 256 << 10;
/// Most raw bytes of one stream of the tail.
const STREAM_RAW_MAX: usize = 256 << 20;
/// Most of the stream that says where pages lie: decoded it takes some times as much memory, and the largest tables need a tenth
/// of it.
const LAYOUTS_RAW_MAX: usize = 32 << 20;
/// Columns of `samples.parquet`.
pub(crate) mod sample_column {
    pub(crate) const PROFILE_ROW: usize = 0;
    pub(crate) const STACK: usize = 1;
    pub(crate) const VALUE: usize = 2;
    pub(crate) const COUNT: usize = 3;
}
/// Columns of the tables of totals.
pub(crate) mod total_column {
    pub(crate) const BIN: usize = 0;
    pub(crate) const GROUP: usize = 1;
    pub(crate) const SUM: usize = 2;
    pub(crate) const PROFILES: usize = 3;
    pub(crate) const COUNT: usize = 4;
}
/// Columns of `stacks_1d.parquet`.
pub(crate) mod stack_column {
    pub(crate) const GROUP: usize = 0;
    pub(crate) const STACK: usize = 1;
    pub(crate) const VALUE: usize = 2;
    pub(crate) const COUNT: usize = 3;
}
/// Columns of `spans.parquet`.
pub(crate) mod span_column {
    pub(crate) const SPAN: usize = 0;
    pub(crate) const PROFILE_ROW: usize = 1;
    pub(crate) const STACK: usize = 2;
    pub(crate) const VALUE: usize = 3;
    pub(crate) const TRACE: usize = 4;
    pub(crate) const COUNT: usize = 5;
}

/// Where the symbols of a unit lie and which ids they have.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnitPlace {
    pub(crate) frames: Range<usize>,
    /// Block-wide ids of its own strings and functions.
    pub(crate) strings: Range<u32>,
    pub(crate) functions: Range<u32>,
}

/// The decoded tail.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) frames: Vec<Frame>,
    pub(crate) places: Vec<UnitPlace>,
    /// Frames of shared functions and strings.
    pub(crate) shared: Range<usize>,
    pub(crate) shared_strings: u32,
    pub(crate) shared_functions: u32,
    pub(crate) units: Vec<UnitKey>,
    pub(crate) types: Vec<ProfileType>,
    pub(crate) type_ids: Vec<String>,
    pub(crate) series: Vec<SeriesRow>,
    pub(crate) datasets: Vec<Dataset>,
    pub(crate) profiles: ObjectPages,
    pub(crate) samples: ObjectPages,
    pub(crate) spans: ObjectPages,
    /// Which rollups there are, and their tables.
    pub(crate) rollups: Option<Rollups>,
    pub(crate) totals: [ObjectPages; TOTALS.len()],
    pub(crate) stacks: ObjectPages,
    pub(crate) annotations: Annotations,
    pub(crate) origin: Option<Origin>,
    /// The whole index, when it is small: symbols come from here.
    pub(crate) whole: Option<Bytes>,
    /// Bytes of the index that opening the block read.
    pub(crate) opened_bytes: u64,
    /// Estimated memory.
    pub(crate) bytes: usize,
}

impl Meta {
    pub(crate) async fn read(entry: &BlockEntry, index: &Arc<dyn RangeRead>) -> Result<Self, BlockError> {
        let object = entry.object(INDEX).ok_or_else(|| BlockError::index(0, "the entry names no index"))?;
        let length = object.bytes;
        if length < TRAILER_BYTES as u64 {
            return Err(BlockError::index(0, format!("an index of {length} bytes has no trailer")));
        }
        let from_directory = length.saturating_sub(entry.index_directory_offset).min(length);
        let tail = if length <= WHOLE_INDEX_MAX { length } else { TAIL_MIN.max(from_directory).min(length) };
        let mut from = length - tail;
        let mut bytes = fetch::one(INDEX, index, from..length).await?;
        let trailer = Trailer::read(&bytes[bytes.len() - TRAILER_BYTES..], length)?;
        if trailer.directory_offset < from {
            from = trailer.directory_offset;
            bytes = fetch::one(INDEX, index, from..length).await?;
        }
        let at = (trailer.directory_offset - from) as usize;
        let frames = trailer.directory(&bytes[at..at + trailer.directory_bytes as usize])?;
        let first_of_tail = frames.iter().find(|f| f.section >= section::FIRST_OF_TAIL).map(|f| f.offset);
        if let Some(start) = first_of_tail.filter(|&start| start < from) {
            let head = fetch::one(INDEX, index, start..from).await?;
            bytes = [head, bytes].concat().into();
            from = start;
        }
        let mut meta = Self::decode(entry, frames, from, &bytes)?;
        meta.opened_bytes = bytes.len() as u64;
        if from == 0 && length <= WHOLE_INDEX_MAX {
            meta.bytes += bytes.len();
            meta.whole = Some(bytes);
        }
        Ok(meta)
    }

    /// Decodes an index that is in memory.
    pub(crate) fn from_whole(entry: &BlockEntry, index: &Bytes) -> Result<Self, BlockError> {
        let length = index.len() as u64;
        let at = index.len().saturating_sub(TRAILER_BYTES);
        let trailer = Trailer::read(&index[at..], length)?;
        let frames = trailer.directory(&index[trailer.directory_offset as usize..at])?;
        let mut meta = Self::decode(entry, frames, 0, index)?;
        meta.opened_bytes = length;
        meta.whole = Some(index.clone());
        Ok(meta)
    }

    fn decode(entry: &BlockEntry, frames: Vec<Frame>, from: u64, bytes: &Bytes) -> Result<Self, BlockError> {
        let mut raw_bytes = 0usize;
        let mut stream = |kind: u32| -> Result<(Vec<u8>, u64), BlockError> {
            let of_kind = || frames.iter().filter(move |f| f.section == kind);
            let offset = of_kind().next().map_or(0, |f| f.offset);
            if offset < from && of_kind().next().is_some() {
                return Err(BlockError::index(offset, "a section of the tail lies before it"));
            }
            let stored = |f: &Frame| bytes.slice((f.offset - from) as usize..(f.range().end - from) as usize);
            let limit = if kind == section::PAGES { LAYOUTS_RAW_MAX } else { STREAM_RAW_MAX };
            let raw = join_stream(of_kind().map(|f| (f, stored(f))), limit)?;
            raw_bytes += raw.len();
            Ok((raw, offset))
        };
        let (raw, at) = stream(section::UNITS)?;
        let units = take_units(&raw).map_err(|what| BlockError::index(at, what))?;
        let (raw, at) = stream(section::TYPES)?;
        let types = take_types(&raw).map_err(|what| BlockError::index(at, what))?;
        let (labels, at) = stream(section::LABELS)?;
        let (raw, _) = stream(section::SERIES)?;
        let series = take_series(&labels, &raw, units.len()).map_err(|what| BlockError::index(at, what))?;
        let (raw, at) = stream(section::DATASETS)?;
        let datasets = take_datasets(&raw, types.len(), units.len(), series.len());
        let datasets = datasets.map_err(|what| BlockError::index(at, what))?;
        let (raw, at) = stream(section::PAGES)?;
        let mut layouts = take_layouts(&raw, columns_of).map_err(|what| BlockError::index(at, what))?;
        let (raw, at) = stream(section::ANNOTATIONS)?;
        let annotations = take_annotations(&raw).map_err(|what| BlockError::index(at, what))?;
        let (raw, at_origin) = stream(section::ORIGIN)?;
        let origin = take_origin(&raw).map_err(|what| BlockError::index(at_origin, what))?;
        let (raw, at_rollups) = stream(section::ROLLUPS)?;
        let runs = datasets.iter().flat_map(|d| &d.slices).map(|slice| slice.runs.len()).sum();
        let rollups = take_rollups(&raw, series.len(), units.len(), runs);
        let rollups = rollups.map_err(|what| BlockError::index(at_rollups, what))?;
        let mut layout = |name: &str| take_object(entry, &mut layouts, name);
        let (profiles, samples, spans) = (layout(PROFILES)?, layout(SAMPLES)?, layout(SPANS)?);
        let (totals, stacks) = if rollups.is_some() { take_sums(layout)? } else { Default::default() };
        let mut meta = Self {
            places: Vec::new(),
            shared: 0..0,
            shared_strings: 0,
            shared_functions: 0,
            type_ids: types.iter().map(ProfileType::id).collect(),
            frames,
            units,
            types,
            series,
            datasets,
            profiles,
            samples,
            spans,
            rollups,
            totals,
            stacks,
            annotations,
            origin,
            whole: None,
            opened_bytes: 0,
            bytes: 0,
        };
        meta.bytes = raw_bytes * 2 + meta.decoded_bytes();
        meta.place_symbols().map_err(|what| BlockError::index(0, what))?;
        meta.check_rows().map_err(|what| BlockError::index(at, what))?;
        Ok(meta)
    }

    /// Memory of what was decoded, beside the strings in it.
    fn decoded_bytes(&self) -> usize {
        let pages =
            [&self.profiles, &self.samples, &self.spans, &self.stacks].into_iter().chain(&self.totals);
        self.frames.len() * size_of::<Frame>()
            + self.series.iter().map(|s| 24 + 32 * s.labels.len()).sum::<usize>()
            + pages.map(ObjectPages::bytes).sum::<usize>()
            + self.rollups.as_ref().map_or(0, Rollups::bytes)
    }

    /// Finds the frames of units and of what they share, and which ids they have.
    fn place_symbols(&mut self) -> Result<(), String> {
        let in_units =
            self.frames.partition_point(|f| f.unit != NO_UNIT && f.section < section::FIRST_OF_TAIL);
        let symbols = self.frames.partition_point(|f| f.section < section::FIRST_OF_TAIL);
        self.shared = in_units..symbols.max(in_units);
        let count = |frames: &[Frame], kind: u32| -> Result<u32, String> {
            let all = frames.iter().filter(|f| f.section == kind).map(|f| u64::from(f.count)).sum::<u64>();
            u32::try_from(all).map_err(|_| format!("{all} elements of section {kind}"))
        };
        self.shared_strings = count(&self.frames[self.shared.clone()], section::STRINGS)?;
        self.shared_functions = count(&self.frames[self.shared.clone()], section::FUNCTIONS)?;
        let (mut string, mut function) = (self.shared_strings, self.shared_functions);
        let mut at = 0usize;
        for unit in 0..self.units.len() as u32 {
            let from = at;
            while at < in_units && self.frames[at].unit == unit {
                at += 1;
            }
            let frames = &self.frames[from..at];
            let too_many = || "too many strings or functions".to_owned();
            let strings =
                string..string.checked_add(count(frames, section::STRINGS)?).ok_or_else(too_many)?;
            let functions =
                function..function.checked_add(count(frames, section::FUNCTIONS)?).ok_or_else(too_many)?;
            (string, function) = (strings.end, functions.end);
            self.places.push(UnitPlace { frames: from..at, strings, functions });
        }
        if at == in_units {
            Ok(())
        } else {
            Err(format!("frame {at} belongs to unit {}", self.frames[at].unit))
        }
    }

    /// Rows that datasets speak of exist in the tables.
    fn check_rows(&self) -> Result<(), String> {
        let last = self.datasets.iter().flat_map(|d| &d.slices).next_back();
        let runs = self.datasets.iter().flat_map(|d| &d.slices).flat_map(|s| &s.runs);
        let (profiles, samples) = runs.last().map_or((0, 0), |r| (r.profile_rows().end, r.sample_rows().end));
        let spans = last.map_or(0, |slice| slice.span_rows().end);
        let said = (profiles, samples, spans);
        let there = (self.profiles.rows, self.samples.rows, self.spans.rows);
        if let Some(rollups) = &self.rollups {
            let (totals, stacks) = rollups.ends();
            let there = (self.totals.each_ref().map(|pages| pages.rows), self.stacks.rows);
            if (totals, stacks) != there {
                return Err(format!("rollups have {:?} rows, their tables {there:?}", (totals, stacks)));
            }
        }
        if said == there {
            Ok(())
        } else {
            Err(format!("datasets have {said:?} rows, tables have {there:?}"))
        }
    }

    /// Estimated bytes of the symbols of a unit as stored.
    pub(crate) fn symbol_bytes(&self, unit: u32) -> u64 {
        let place = &self.places[unit as usize];
        self.frames[place.frames.clone()].iter().map(|f| u64::from(f.stored)).sum()
    }
}

/// How many columns of an object are listed; `None`: nobody reads it.
fn columns_of(object: &str) -> Option<usize> {
    match object {
        PROFILES => Some(column::COUNT),
        SAMPLES => Some(sample_column::COUNT),
        SPANS => Some(span_column::COUNT),
        TOTALS_5M | TOTALS_1H => Some(total_column::COUNT),
        STACKS_1D => Some(stack_column::COUNT),
        _ => None,
    }
}

/// Where the pages of the tables of sums are: totals, finest first, and stacks.
fn take_sums(
    mut layout: impl FnMut(&str) -> Result<ObjectPages, BlockError>,
) -> Result<([ObjectPages; TOTALS.len()], ObjectPages), BlockError> {
    let mut totals = <[ObjectPages; TOTALS.len()]>::default();
    for (pages, (name, _)) in totals.iter_mut().zip(TOTALS) {
        *pages = layout(name)?;
    }
    Ok((totals, layout(STACKS_1D)?))
}

/// Takes the pages of an object; none when the block has no such object. All lie inside the object.
fn take_object(
    entry: &BlockEntry,
    layouts: &mut Vec<(String, ObjectPages)>,
    name: &str,
) -> Result<ObjectPages, BlockError> {
    let Some(at) = layouts.iter().position(|(object, _)| object == name) else {
        return Ok(ObjectPages::default());
    };
    let (_, pages) = layouts.swap_remove(at);
    let length = entry.object(name).map_or(0, |object| object.bytes);
    let ends = |c: &crate::meta::pages::ColumnPages| {
        c.pages
            .iter()
            .chain(&c.dicts)
            .map(|&(at, bytes)| at.saturating_add(u64::from(bytes)))
            .max()
            .unwrap_or_default()
    };
    match pages.columns.iter().map(ends).max() {
        Some(end) if end > length => {
            Err(BlockError::index(0, format!("a page of {name} ends at {end} of {length}")))
        }
        _ => Ok(pages),
    }
}
