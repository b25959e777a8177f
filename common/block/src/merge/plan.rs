//! Which units, types, series and datasets the output has, and how it is cut into blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use hearth_model::ProfileType;

use super::bits::Bits;
use super::error::{MergeError, OfBlock};
use super::filter::Left;
use super::symbols::Member;
use super::window::{TableReader, copy};
use crate::error::BlockError;
use crate::frame::section;
use crate::meta::series::SeriesRow;
use crate::read::BlockReader;
use crate::read::meta::sample_column;
use crate::read::rows::Table;
use crate::write::canon::UNUSED;
use crate::write::profiles::column;
use crate::{PROFILES, SAMPLES};

/// A unit of the output.
#[derive(Debug)]
pub(super) struct PlanUnit {
    pub(super) name: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) members: Vec<Member>,
}

/// A dataset of the output: (type, unit) by their places in the part.
#[derive(Debug)]
pub(super) struct PlanDataset {
    pub(super) ty: u32,
    pub(super) unit: u32,
    /// (input, number of the dataset there).
    pub(super) members: Vec<(usize, usize)>,
}

/// One block of the output.
#[derive(Debug)]
pub(super) struct Part {
    /// Sorted by (name, service).
    pub(super) units: Vec<PlanUnit>,
    pub(super) types: Vec<ProfileType>,
    pub(super) series: Vec<SeriesRow>,
    /// By input: its series to the part's; [`UNUSED`] for those of other parts and those that are gone.
    pub(super) series_maps: Vec<Vec<u32>>,
    pub(super) datasets: Vec<PlanDataset>,
    /// Earliest and latest profile.
    pub(super) times: (i64, i64),
}

/// Units that have rows left, with the inputs that have them, sorted by (name, service).
pub(super) fn units(blocks: &[&BlockReader], left: &[Left]) -> Vec<PlanUnit> {
    let mut units: BTreeMap<(Arc<str>, Arc<str>), Vec<Member>> = BTreeMap::new();
    for (input, (block, left)) in blocks.iter().zip(left).enumerate() {
        let meta = block.meta();
        let mut alive = Bits::with_len(meta.units.len());
        let with_rows = meta.datasets.iter().zip(&left.rows).filter(|(_, rows)| **rows > 0);
        with_rows.for_each(|(dataset, _)| alive.insert(u64::from(dataset.unit)));
        for (unit, key) in (0..).zip(&meta.units).filter(|(unit, _)| alive.has(u64::from(*unit))) {
            let key = (Arc::clone(&key.name), Arc::clone(&key.service));
            units.entry(key).or_default().push(Member { input, unit, used: None });
        }
    }
    units.into_iter().map(|((name, service), members)| PlanUnit { name, service, members }).collect()
}

/// Bytes that a unit has in the inputs: tables and symbols.
fn stored_bytes(blocks: &[&BlockReader], unit: &PlanUnit) -> u64 {
    let of_member = |member: &Member| {
        let meta = blocks[member.input].meta();
        let (profiles, samples) = (Table::profiles(meta), Table::samples(meta));
        let of_unit = meta.datasets.iter().filter(|dataset| dataset.unit == member.unit);
        let runs = of_unit.flat_map(|dataset| &dataset.slices).flat_map(|slice| &slice.runs);
        // A page may be counted for two neighbours: an estimate.
        let rows =
            runs.map(|run| profiles.bytes_of(&run.profile_rows()) + samples.bytes_of(&run.sample_rows()));
        rows.sum::<u64>() + meta.symbol_bytes(member.unit)
    };
    unit.members.iter().map(of_member).sum()
}

/// Estimated memory that the symbols of a unit take, but for its tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SymbolMemory {
    /// Strings and functions: as long as symbols are merged.
    pub(super) kept: u64,
    /// Locations: while the unit is written.
    pub(super) passing: u64,
}

impl SymbolMemory {
    /// That of two units, one written after the other.
    fn with(self, other: Self) -> Self {
        Self { kept: self.kept + other.kept, passing: self.passing.max(other.passing) }
    }

    pub(super) fn sum(self) -> u64 {
        self.kept + self.passing
    }
}

/// See [`SymbolMemory`].
pub(super) fn symbol_memory(blocks: &[&BlockReader], unit: &PlanUnit) -> SymbolMemory {
    let of_kinds = |spreads: &[(u32, u64)]| -> u64 {
        let of_member = |member: &Member| -> u64 {
            let meta = blocks[member.input].meta();
            let frames = meta.frames[meta.places[member.unit as usize].frames.clone()].iter();
            let spread =
                |kind: u32| spreads.iter().find(|(of, _)| *of == kind).map_or(0, |(_, spread)| *spread);
            frames.map(|frame| u64::from(frame.raw) * spread(frame.section)).sum()
        };
        // Inputs of one service have most symbols in common; what they have not is small, or they are few.
        let sizes = unit.members.iter().map(of_member);
        let (most, all) = sizes.fold((0, 0), |(most, all): (u64, u64), size| (most.max(size), all + size));
        most + (all - most) / 4
    };
    SymbolMemory {
        kept: of_kinds(&[(section::STRINGS, 2), (section::FUNCTIONS, 4)]),
        passing: of_kinds(&[(section::MAPPINGS, 4), (section::LOCATIONS, 12)]),
    }
}

/// Cuts sorted units into parts of about `target_bytes` (as the inputs have them) and at most `memory_bytes` of symbols.
pub(super) fn cut(
    blocks: &[&BlockReader],
    units: Vec<PlanUnit>,
    target_bytes: u64,
    memory_bytes: u64,
) -> Vec<Vec<PlanUnit>> {
    let mut parts: Vec<Vec<PlanUnit>> = Vec::new();
    let (mut bytes, mut memory) = (0u64, SymbolMemory::default());
    for unit in units {
        let (of_unit, needed) = (stored_bytes(blocks, &unit), symbol_memory(blocks, &unit));
        match parts.last_mut() {
            Some(part) if bytes + of_unit <= target_bytes && memory.with(needed).sum() <= memory_bytes => {
                part.push(unit);
                (bytes, memory) = (bytes + of_unit, memory.with(needed));
            }
            _ => {
                parts.push(vec![unit]);
                (bytes, memory) = (of_unit, needed);
            }
        }
    }
    parts
}

impl Part {
    /// Plans a block of the output from some units.
    pub(super) async fn new(
        blocks: &[&BlockReader],
        left: &[Left],
        mut units: Vec<PlanUnit>,
        window_bytes: u64,
    ) -> Result<Self, MergeError> {
        // By input: its units to the part's.
        let mut unit_maps: Vec<Vec<u32>> =
            blocks.iter().map(|block| vec![UNUSED; block.meta().units.len()]).collect();
        for (at, unit) in (0..).zip(&mut units) {
            for member in &mut unit.members {
                unit_maps[member.input][member.unit as usize] = at;
                let left = &left[member.input];
                if left.touched_units.has(u64::from(member.unit)) {
                    let block = blocks[member.input];
                    member.used = Some(used_stacks(block, left, member.unit, window_bytes).await?);
                }
            }
        }
        let (series, series_maps) = number_series(blocks, left, &unit_maps)?;
        let mut datasets: BTreeMap<(&ProfileType, u32), Vec<(usize, usize)>> = BTreeMap::new();
        let mut times = (i64::MAX, i64::MIN);
        for (input, block) in blocks.iter().enumerate() {
            let meta = block.meta();
            for (at, dataset) in meta.datasets.iter().enumerate() {
                let unit = unit_maps[input][dataset.unit as usize];
                if unit != UNUSED && left[input].rows[at] > 0 {
                    let ty = &meta.types[dataset.ty as usize];
                    datasets.entry((ty, unit)).or_default().push((input, at));
                    let (least, most) = left[input].times[at];
                    times = (times.0.min(least), times.1.max(most));
                }
            }
        }
        let mut types: Vec<ProfileType> = datasets.keys().map(|(ty, _)| (*ty).clone()).collect();
        types.dedup();
        let number = |ty: &ProfileType| types.partition_point(|known| known < ty) as u32;
        let datasets = datasets.into_iter();
        let datasets = datasets.map(|((ty, unit), members)| PlanDataset { ty: number(ty), unit, members });
        let datasets = datasets.collect();
        Ok(Self { units, types, series, series_maps, datasets, times })
    }
}

/// Stacks of a unit of an input that rows which stay use.
async fn used_stacks(
    block: &BlockReader,
    left: &Left,
    unit: u32,
    window_bytes: u64,
) -> Result<Bits, MergeError> {
    const COLUMNS: &[usize] = &[sample_column::PROFILE_ROW, sample_column::STACK];
    let meta = block.meta();
    let mut reader = TableReader::new(block, Table::samples(meta), COLUMNS, window_bytes)?;
    let (mut rows, mut stacks) = (Vec::<u32>::new(), Vec::<u32>::new());
    let mut used = Bits::default();
    // The bytes of a tree bound its nodes, and these the stacks: a number from damaged bytes must not fill the memory.
    let frames = &meta.frames[meta.places[unit as usize].frames.clone()];
    let trees = frames.iter().filter(|frame| frame.section == section::TREE);
    let most: u64 = trees.map(|frame| u64::from(frame.count)).sum();
    let of_unit = meta.datasets.iter().filter(|dataset| dataset.unit == unit);
    for run in of_unit.flat_map(|dataset| &dataset.slices).flat_map(|slice| &slice.runs) {
        for (page, part, _) in reader.table().parts(run.sample_rows()) {
            reader.need(page).await?;
            copy(&mut rows, reader.values(sample_column::PROFILE_ROW, page, part.clone()).of(block)?);
            copy(&mut stacks, reader.values(sample_column::STACK, page, part).of(block)?);
            for (&row, &stack) in rows.iter().zip(&stacks) {
                if u64::from(stack) >= most {
                    let what = format!("stack {stack} in a tree of {most} nodes");
                    return Err(BlockError::damaged(SAMPLES, 0, what)).of(block);
                }
                if !left.drops(u64::from(row)) {
                    used.insert(u64::from(stack));
                }
            }
        }
    }
    Ok(used)
}

type NumberedSeries = (Vec<SeriesRow>, Vec<Vec<u32>>);

/// Numbers the series that have rows left by (service, labels, name).
fn number_series(
    blocks: &[&BlockReader],
    left: &[Left],
    unit_maps: &[Vec<u32>],
) -> Result<NumberedSeries, MergeError> {
    let mut all: Vec<(&str, &SeriesRow, &str, usize, u32)> = Vec::new();
    for (input, block) in blocks.iter().enumerate() {
        let meta = block.meta();
        for (id, row) in (0..).zip(&meta.series) {
            let here = unit_maps[input][row.unit as usize] != UNUSED;
            if here && left[input].series.has(u64::from(id)) {
                let key = &meta.units[row.unit as usize];
                all.push((&*key.service, row, &*key.name, input, id));
            }
        }
    }
    all.sort_by(|a, b| (a.0, &a.1.labels, a.2).cmp(&(b.0, &b.1.labels, b.2)));
    let mut series: Vec<SeriesRow> = Vec::new();
    let mut maps: Vec<Vec<u32>> =
        blocks.iter().map(|block| vec![UNUSED; block.meta().series.len()]).collect();
    for same in all.chunk_by(|a, b| (a.0, &a.1.labels, a.2) == (b.0, &b.1.labels, b.2)) {
        for &(_, _, _, input, id) in same {
            maps[input][id as usize] = series.len() as u32;
        }
        let (_, row, _, input, _) = same[0];
        series.push(SeriesRow { unit: unit_maps[input][row.unit as usize], labels: row.labels.clone() });
    }
    let (value, limit) = (series.len() as u64, u64::from(UNUSED) - 1);
    if value > limit {
        return Err(BlockError::Limit { what: "series of a block", value, limit }.into());
    }
    // A map that does not rise would break the order of rows: the input's series are not sorted.
    for (block, map) in blocks.iter().zip(&maps) {
        let rises = map.iter().filter(|id| **id != UNUSED).is_sorted_by(|a, b| a < b);
        if !rises {
            return Err(BlockError::index(0, "the series of the block are not sorted")).of(block);
        }
    }
    Ok((series, maps))
}

/// Counts the records of each unit: its distinct ids. Takes bounded memory by counting a share of all ids at a time.
pub(super) async fn count_records(
    blocks: &[&BlockReader],
    left: &[Left],
    part: &Part,
    window_bytes: u64,
) -> Result<u64, MergeError> {
    let mut readers = HashMap::new();
    for (input, block) in blocks.iter().enumerate() {
        let table = Table::profiles(block.meta());
        readers.insert(input, TableReader::new(block, table, &[column::ID], window_bytes)?);
    }
    let mut records = 0;
    let mut ids = Vec::new();
    for (unit, of_unit) in (0..).zip(&part.units) {
        let datasets: Vec<(usize, usize)> =
            part.datasets.iter().filter(|d| d.unit == unit).flat_map(|d| d.members.iter().copied()).collect();
        debug_assert!(!datasets.is_empty(), "unit {} has rows", of_unit.service);
        let rows: u64 = datasets.iter().map(|&(input, at)| left[input].rows[at]).sum();
        let shares = rows.div_ceil(IDS_AT_ONCE).max(1);
        for share in 0..shares {
            ids.clear();
            for &(input, at) in &datasets {
                let reader = readers.get_mut(&input).ok_or_else(|| MergeError::Plan(PROFILES.to_owned()))?;
                let block = reader.block();
                for run in block.meta().datasets[at].slices.iter().flat_map(|slice| &slice.runs) {
                    for (page, part, first) in reader.table().parts(run.profile_rows()) {
                        reader.need(page).await?;
                        let of_page = reader.values16(column::ID, page, part).of(block)?;
                        for (row, id) in (first..).zip(of_page) {
                            let id = u128::from_be_bytes(*id);
                            if id % u128::from(shares) == u128::from(share) && !left[input].drops(row) {
                                ids.push(id);
                            }
                        }
                    }
                }
            }
            ids.sort_unstable();
            ids.dedup();
            records += ids.len() as u64;
        }
    }
    Ok(records)
}

/// Most ids that are counted at a time: 64 MiB.
const IDS_AT_ONCE: u64 = 4 << 20;

/// Estimated memory of the maps of a unit's stacks.
pub(super) fn stack_map_bytes(blocks: &[&BlockReader], unit: &PlanUnit) -> u64 {
    let nodes = unit.members.iter().map(|member| {
        let meta = blocks[member.input].meta();
        let frames = meta.frames[meta.places[member.unit as usize].frames.clone()].iter();
        frames.filter(|f| f.section == section::TREE).map(|f| u64::from(f.count)).sum::<u64>()
    });
    let (most, all) = nodes.fold((0, 0), |(most, all): (u64, u64), nodes| (most.max(nodes), all + nodes));
    // A bit for each stack of the output and member; a third of all nodes, or less, end stacks.
    let stacks = (most + (all - most) / 4) / 3;
    stacks / 8 * unit.members.len() as u64
}

/// Estimated memory of what units share: decoded for each input, and once in the interner.
pub(super) fn shared_memory(blocks: &[&BlockReader]) -> u64 {
    let of_block = |block: &&BlockReader| -> u64 {
        let meta = block.meta();
        meta.frames[meta.shared.clone()].iter().map(|frame| u64::from(frame.raw)).sum()
    };
    let sizes = blocks.iter().map(of_block);
    let (most, all) = sizes.fold((0, 0), |(most, all): (u64, u64), size| (most.max(size), all + size));
    all + 3 * (most + (all - most) / 4)
}

/// Memory of the maps of the rows of one dataset: twice four bytes for each row of the largest of each input.
pub(super) fn row_map_bytes(blocks: &[&BlockReader]) -> u64 {
    let of_block = |block: &&BlockReader| -> u64 {
        let rows = block.meta().datasets.iter().map(|dataset| {
            dataset.slices.iter().flat_map(|slice| &slice.runs).map(|run| run.profiles).sum::<u64>()
        });
        rows.max().unwrap_or_default() * 8
    };
    blocks.iter().map(of_block).sum()
}
