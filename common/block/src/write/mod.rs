//! The writer: a block as a pure function of profiles, sources and writer version.
//!
//! Two visits of all profiles: the first finds what they use, so that symbols can be put in canonical order; the second,
//! type by type, writes rows. Memory: the symbols of all units, one run of rows, one row group, and the encoded block.

pub(crate) mod canon;
pub(crate) mod outgoing;
pub(crate) mod profiles;
pub(crate) mod rollups;
pub(crate) mod runs;
pub(crate) mod samples;
pub(crate) mod spans;
pub(crate) mod symbols;
pub(crate) mod table;
pub(crate) mod tail;
mod tree;

use bytes::Bytes;
use hearth_model::ProfileType;

use crate::INDEX;
use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::frame::IndexWriter;
use crate::input::{BlockSpec, UnitSource};
use crate::meta::datasets::Dataset;
use crate::meta::origin::Origin;
use crate::meta::series::SeriesRow;
use canon::CanonUnit;
use runs::{DatasetWriter, Tables};
use tail::Tail;

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
    let mut tables = Tables::new(spec.level, &series)?;
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
            let writer = DatasetWriter {
                unit,
                unit_at: at as u32,
                series_ids,
                ty,
                day: spec.day,
                tables: &mut tables,
            };
            datasets.push(writer.write(dataset)?);
        }
    }
    assemble(spec, options, &Parts { units, types, series, datasets }, tables)
}

/// How hard the tables of a block of this level are compressed.
pub(crate) fn zstd_level(level: u8) -> i32 {
    if level == 0 { 1 } else { 3 }
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
    let tables = tables.finish()?;
    let mut index = IndexWriter::new()?;
    symbols::write_symbols(&parts.units, &canon::share(&parts.units)?, &mut index)?;
    let unit_keys: Vec<(&str, &str)> = parts.units.iter().map(CanonUnit::key).collect();
    let origin = Origin::of(spec, 0, parts.units.iter().map(|unit| unit.records).sum());
    let tail = Tail {
        units: &unit_keys,
        types: &parts.types,
        series: &parts.series,
        datasets: &parts.datasets,
        layouts: &tables.layouts(),
        annotations: &tables.annotations,
        origin: &origin,
        rollups: tables.rollups.as_deref(),
    };
    tail.put(&mut index)?;
    let (index, index_directory_offset) = index.finish()?;
    let mut entry = tail.entry(spec, tables.samples);
    let mut written: Vec<_> = tables.objects.into_iter().map(|(name, out, _)| (name, out)).collect();
    written.push((INDEX, index));
    entry.attempt = options.attempt.clone();
    entry.index_directory_offset = index_directory_offset;
    entry.objects = written.iter().map(|(name, out)| out.entry(name)).collect();
    let objects = written.into_iter().map(|(name, mut out)| (name.to_owned(), out.take())).collect();
    Ok(EncodedBlock { entry, objects })
}
