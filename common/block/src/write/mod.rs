//! The writer: a block as a pure function of profiles, sources and writer version.
//!
//! Two visits of all profiles: the first finds what they use, so that symbols can be put in canonical order; the second,
//! type by type, writes rows. Memory: the symbols of all units, one run of rows, one row group, and the encoded block.

mod canon;
pub(crate) mod profiles;
mod runs;
mod samples;
mod spans;
pub(crate) mod symbols;
pub(crate) mod table;
mod tree;

use bytes::Bytes;
use hearth_common::TimestampNs;
use hearth_model::ProfileType;

use crate::entry::{BlockEntry, ObjectEntry};
use crate::error::BlockError;
use crate::frame::{IndexWriter, section};
use crate::input::{BlockSpec, UnitSource};
use crate::meta::datasets::{Dataset, put_datasets};
use crate::meta::pages::put_layouts;
use crate::meta::series::{SeriesRow, put_series};
use crate::meta::{put_annotations, put_types, put_units};
use crate::{FORMAT_MAJOR, INDEX, PROFILES, SAMPLES, SPANS};
use canon::CanonUnit;
use runs::{DatasetWriter, Tables};

/// What a caller may choose about a block.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Distinguishes attempts to write the same block; part of the folder's name, not of any bytes.
    pub attempt: String,
}

/// A block in memory: its entry and its objects, to be stored under [`BlockEntry::folder`].
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    /// What the root's page says of it.
    pub entry: BlockEntry,
    /// Name and bytes of each object, in the order in which they must be stored (`index` last).
    pub objects: Vec<(String, Bytes)>,
}

/// Encodes a block of all profiles of `units` that lie in the spec's day. Fails with [`BlockError::Input`] when there are
/// none, when two units have the same (name, service), or when the contract of [`UnitSource`] is broken.
pub fn write_block(
    spec: &BlockSpec,
    units: &[&dyn UnitSource],
    options: &WriteOptions,
) -> Result<EncodedBlock, BlockError> {
    let units = canonical_units(spec, units)?;
    let (series, series_ids) = number_series(&units)?;
    let mut types: Vec<ProfileType> = units.iter().flat_map(|unit| unit.types.iter().cloned()).collect();
    types.sort();
    types.dedup();
    let mut tables = Tables::new(if spec.level == 0 { 1 } else { 3 })?;
    let mut datasets = Vec::new();
    for (ty_at, ty) in types.iter().enumerate() {
        if ty_at > 0 && types[ty_at - 1].name != ty.name {
            tables.samples.end_name()?;
        }
        for (at, unit) in units.iter().enumerate() {
            if unit.source.profile_name() != &*ty.name || !unit.types.contains(ty) {
                continue;
            }
            let dataset = Dataset { ty: ty_at as u32, unit: at as u32, ..Dataset::default() };
            let series_ids = &series_ids[at];
            let writer = DatasetWriter { unit, series_ids, ty, day: spec.day, tables: &mut tables };
            datasets.push(writer.write(dataset)?);
        }
    }
    assemble(spec, options, &Parts { units, types, series, datasets }, tables)
}

/// The canonical form of every unit that has values on the day, sorted by (name, service).
fn canonical_units<'a>(
    spec: &BlockSpec,
    units: &[&'a dyn UnitSource],
) -> Result<Vec<CanonUnit<'a>>, BlockError> {
    let mut sorted: Vec<&dyn UnitSource> = units.to_vec();
    sorted.sort_by_key(|unit| (unit.profile_name(), unit.service()));
    let mut canonical: Vec<CanonUnit<'a>> = Vec::with_capacity(sorted.len());
    for source in sorted {
        let Some(unit) = CanonUnit::new(source, spec.day)? else { continue };
        if canonical.last().is_some_and(|last| last.key() == unit.key()) {
            let (name, service) = unit.key();
            return Err(BlockError::Input(format!("the unit ({name}, {service}) is given twice")));
        }
        canonical.push(unit);
    }
    if canonical.is_empty() {
        return Err(BlockError::Input(format!("there are no profiles with values in day {}", spec.day)));
    }
    Ok(canonical)
}

/// Numbers series by (service, labels, name); the second part has for each unit the ids of its series.
fn number_series(units: &[CanonUnit<'_>]) -> Result<(Vec<SeriesRow>, Vec<Vec<u32>>), BlockError> {
    let each = units.iter().enumerate().flat_map(|(at, unit)| (0..unit.series.len()).map(move |s| (at, s)));
    let mut all: Vec<(usize, usize)> = each.collect();
    all.sort_by_key(|&(unit, series)| {
        let (name, service) = units[unit].key();
        (service, &units[unit].series[series].0, name)
    });
    let limit = u64::from(u32::MAX);
    if all.len() as u64 > limit {
        return Err(BlockError::Limit { what: "series of a block", value: all.len() as u64, limit });
    }
    let mut rows = Vec::with_capacity(all.len());
    let mut ids: Vec<Vec<u32>> = units.iter().map(|unit| vec![0; unit.series.len()]).collect();
    for (id, &(unit, series)) in all.iter().enumerate() {
        rows.push(SeriesRow { unit: unit as u32, labels: units[unit].series[series].0.clone() });
        ids[unit][series] = id as u32;
    }
    Ok((rows, ids))
}

/// What the index says beside symbols.
struct Parts<'a> {
    units: Vec<CanonUnit<'a>>,
    types: Vec<ProfileType>,
    series: Vec<SeriesRow>,
    datasets: Vec<Dataset>,
}

fn assemble(
    spec: &BlockSpec,
    options: &WriteOptions,
    parts: &Parts<'_>,
    tables: Tables,
) -> Result<EncodedBlock, BlockError> {
    let samples = tables.samples.rows();
    let (profiles_bytes, profiles_layout) = tables.profiles.finish()?;
    let (samples_bytes, samples_layout) = tables.samples.finish()?;
    let spans = tables.spans.finish()?;
    let mut layouts = vec![(PROFILES, profiles_layout.as_slice()), (SAMPLES, samples_layout.as_slice())];
    let mut objects = vec![(PROFILES.to_owned(), profiles_bytes), (SAMPLES.to_owned(), samples_bytes)];
    if let Some((bytes, layout)) = &spans {
        layouts.push((SPANS, layout));
        objects.push((SPANS.to_owned(), bytes.clone()));
    }
    let mut index = IndexWriter::new()?;
    symbols::write_symbols(&parts.units, &canon::share(&parts.units)?, &mut index)?;
    let (labels, series) = put_series(&parts.series);
    let annotations: Vec<(u32, &[(String, String)])> =
        tables.annotations.iter().map(|(row, pairs)| (*row, pairs.as_slice())).collect();
    index.stream(section::UNITS, &put_units(parts.units.iter().map(CanonUnit::key)))?;
    index.stream(section::TYPES, &put_types(&parts.types))?;
    index.stream(section::LABELS, &labels)?;
    index.stream(section::SERIES, &series)?;
    index.stream(section::DATASETS, &put_datasets(&parts.datasets))?;
    index.stream(section::PAGES, &put_layouts(&layouts))?;
    if !annotations.is_empty() {
        index.stream(section::ANNOTATIONS, &put_annotations(&annotations))?;
    }
    let (index, index_directory_offset) = index.finish()?;
    objects.push((INDEX.to_owned(), index.into()));
    let runs = || parts.datasets.iter().flat_map(|d| &d.slices).flat_map(|s| &s.runs);
    let services = || parts.units.iter().map(|unit| unit.key().1);
    let object = |(name, bytes): &(String, Bytes)| ObjectEntry {
        name: name.clone(),
        bytes: bytes.len() as u64,
        crc32c: crc32c::crc32c(bytes),
    };
    let entry = BlockEntry {
        id: spec.id(),
        attempt: options.attempt.clone(),
        format: FORMAT_MAJOR,
        day: spec.day,
        level: spec.level,
        min_time: TimestampNs(runs().map(|run| run.min_time).min().unwrap_or_default()),
        max_time: TimestampNs(runs().map(|run| run.max_time).max().unwrap_or_default()),
        first_service: services().min().unwrap_or_default().to_owned(),
        last_service: services().max().unwrap_or_default().to_owned(),
        types: parts.types.iter().map(ProfileType::id).collect(),
        objects: objects.iter().map(object).collect(),
        index_directory_offset,
        profiles: parts.units.iter().map(|unit| unit.records).sum(),
        samples,
        series: parts.series.len() as u64,
        units: parts.units.len() as u64,
        sources: spec.sources.clone(),
    };
    Ok(EncodedBlock { entry, objects })
}
