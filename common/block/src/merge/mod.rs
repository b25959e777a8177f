//! Merges blocks of one tenant and day into fewer, larger ones, in bounded memory.
//!
//! Owns: which rows stay (duplicates, deletions, retention), the union of symbols, and how the output is cut. What comes
//! out is what the writer would have made of the same profiles, byte for byte. Must not know: object stores, runtimes,
//! which blocks to merge and when, and how the result is published.
//!
//! Nothing is sorted but symbols of a unit: the order of everything in a block follows from contents, so every map from an
//! input's numbers to the output's rises, and sorted sequences merge as streams. In memory are: the distinct strings and
//! functions of the output, the locations of one unit, a bit for each stack of the output and input, the row numbers of
//! one dataset, a window of pages for each input, and one row group.

mod bits;
mod error;
mod filter;
mod intern;
mod plan;
mod rows;
mod samples;
pub mod sink;
mod spans;
mod symbols;
mod trees;
mod window;

use hearth_common::{TenantId, TimestampNs};
use hearth_model::ProfileType;

use crate::entry::BlockEntry;
use crate::frame::IndexWriter;
use crate::input::{BlockSpec, SourceRange};
use crate::meta::datasets::{Dataset, HAS_ANNOTATIONS, Slice};
use crate::meta::origin::Origin;
use crate::read::BlockReader;
use crate::read::rows::Table;
use crate::rollup::ROLLUP_LEVEL_MIN;
use crate::write::runs::Tables;
use crate::write::tail::Tail;
use crate::{FORMAT_MAJOR, INDEX, PROFILES, SPANS};
pub use error::MergeError;
use filter::Left;
pub use filter::{Expiry, RowFilter, Tombstone};
use plan::{Part, PlanDataset, PlanUnit};
pub use sink::{BlockSink, MemorySink};
use symbols::UnitStacks;
use window::TableReader;

/// Most blocks that are merged at a time.
pub const INPUTS_MAX: usize = 64;
/// Memory that a merge takes unless it is told otherwise.
pub const MEMORY_BUDGET_BYTES: u64 = 512 << 20;
/// Size at which the output is cut into another block unless it is told otherwise.
pub const TARGET_OUTPUT_BYTES: u64 = 4 << 30;
/// Smallest and largest window of pages of one table of one input.
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 256 << 10..=4 << 20;
/// Memory of the writer: a row group, its columns while they are encoded, and what waits for the sink.
const WRITER_BYTES: u64 = 64 << 20;
/// Memory of rollups while they are written: row groups of three tables, and the sums of a run.
const ROLLUP_BYTES: u64 = 48 << 20;
/// Memory of the run that is dealt out, and of its parts.
const DEALT_BYTES: u64 = 8 << 20;

/// How to merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Whose blocks these are.
    pub tenant: TenantId,
    /// Level of the output, greater than those of the inputs.
    pub level: u8,
    /// Distinguishes attempts to write the same block.
    pub attempt: String,
    /// Memory that may be used, beside that of the open inputs.
    pub memory_budget_bytes: u64,
    /// The output is cut between units when a block would be larger than about this.
    pub target_output_bytes: u64,
}

impl MergeOptions {
    /// The defaults for a tenant and level.
    pub fn new(tenant: TenantId, level: u8) -> Self {
        Self {
            tenant,
            level,
            attempt: "0".to_owned(),
            memory_budget_bytes: MEMORY_BUDGET_BYTES,
            target_output_bytes: TARGET_OUTPUT_BYTES,
        }
    }
}

/// What became of the rows. `rows_in = rows_out + duplicates + deleted + expired`, and `samples_in = samples_out +
/// samples_dropped`: a merge that does not add up fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of `profiles.parquet` of all inputs.
    pub rows_in: u64,
    /// Rows of the output.
    pub rows_out: u64,
    /// Rows that another row of the same record and type stands for.
    pub duplicates: u64,
    /// Of these, those whose content was another: a defect of whoever wrote them.
    pub unequal_duplicates: u64,
    /// Rows that a tombstone hides.
    pub deleted: u64,
    /// Rows that are older than is kept.
    pub expired: u64,
    /// Rows of `samples.parquet` of all inputs.
    pub samples_in: u64,
    /// Rows of the output.
    pub samples_out: u64,
    /// Samples of the rows that did not stay.
    pub samples_dropped: u64,
    /// Bytes of all inputs.
    pub bytes_in: u64,
    /// Bytes of the output.
    pub bytes_out: u64,
    /// Stacks of the output.
    pub stacks_out: u64,
}

/// What a merge gives: entries to publish, in place of the inputs'.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// None when no row stays.
    pub blocks: Vec<BlockEntry>,
    /// What became of the rows.
    pub counts: Counts,
}

/// Merges blocks of one day. Works for a while on the thread that polls it, between reads: run it where that is allowed.
pub async fn merge(
    blocks: &[&BlockReader],
    filter: &RowFilter,
    options: &MergeOptions,
    sink: &mut dyn BlockSink,
) -> Result<Merged, MergeError> {
    let spec = spec_of(blocks, options)?;
    let window_bytes = window_bytes(blocks.len(), options);
    let mut left = Vec::new();
    for block in blocks {
        left.push(Left::of(block, filter, window_bytes).await?);
    }
    let mut merged = Merged::default();
    let counts = &mut merged.counts;
    for (block, left) in blocks.iter().zip(&left) {
        counts.rows_in += block.meta().profiles.rows;
        counts.samples_in += block.meta().samples.rows;
        counts.bytes_in += block.entry().bytes();
        counts.deleted += left.deleted;
        counts.expired += left.expired;
    }
    let units = plan::units(blocks, &left);
    let symbol_bytes = check_memory(blocks, &units, window_bytes, options)?;
    let parts = plan::cut(blocks, units, options.target_output_bytes, symbol_bytes);
    for (number, units) in (0..).zip(parts) {
        let part = Part::new(blocks, &left, units, window_bytes).await?;
        let writer = PartWriter { blocks, left: &left, part: &part, spec: &spec, number, window_bytes };
        let entry = writer.write(&options.attempt, &mut merged.counts, sink).await?;
        merged.blocks.push(entry);
    }
    let lost = samples_of_lost_datasets(blocks, &left);
    merged.counts.samples_dropped += lost;
    balance(&merged.counts)?;
    Ok(merged)
}

/// Memory that a merge of these blocks is estimated to take, beside that of the open inputs: what a planner compares with
/// its budget before it begins.
pub fn estimate_memory_bytes(blocks: &[&BlockReader], options: &MergeOptions) -> u64 {
    let all: Vec<Left> = blocks.iter().map(|block| keep_all(block)).collect();
    let units = plan::units(blocks, &all);
    let largest = units.iter().map(|unit| plan::symbol_memory(blocks, unit).sum()).max().unwrap_or_default();
    fixed_memory(blocks, &units, window_bytes(blocks.len(), options), options.level) + largest
}

fn keep_all(block: &BlockReader) -> Left {
    let runs = |dataset: &Dataset| -> u64 {
        dataset.slices.iter().flat_map(|slice| &slice.runs).map(|run| run.profiles).sum()
    };
    Left { rows: block.meta().datasets.iter().map(runs).collect(), ..Left::default() }
}

fn window_bytes(inputs: usize, options: &MergeOptions) -> u64 {
    let share = options.memory_budget_bytes / 8 / (3 * inputs.max(1) as u64);
    share.clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end())
}

/// Memory beside that of symbols.
fn fixed_memory(blocks: &[&BlockReader], units: &[PlanUnit], window_bytes: u64, level: u8) -> u64 {
    let inputs = blocks.len() as u64;
    // Windows of three tables, and of each column a decoded page.
    let windows = inputs * (3 * window_bytes + DEALT_BYTES + 2 * symbols::WINDOW_BYTES);
    let stacks: u64 = units.iter().map(|unit| plan::stack_map_bytes(blocks, unit)).sum();
    let rows = plan::row_map_bytes(blocks);
    // A byte more for each row.
    let rollups = if level >= ROLLUP_LEVEL_MIN { ROLLUP_BYTES + rows / 8 } else { 0 };
    WRITER_BYTES + windows + stacks + plan::shared_memory(blocks) + rows + rollups
}

/// How much memory the symbols of a part may take; an error if those of some unit need more.
fn check_memory(
    blocks: &[&BlockReader],
    units: &[PlanUnit],
    window_bytes: u64,
    options: &MergeOptions,
) -> Result<u64, MergeError> {
    let fixed = fixed_memory(blocks, units, window_bytes, options.level);
    let largest = units.iter().map(|unit| plan::symbol_memory(blocks, unit).sum()).max().unwrap_or_default();
    let budget_bytes = options.memory_budget_bytes;
    let needed_bytes = fixed + largest;
    if needed_bytes > budget_bytes {
        return Err(MergeError::Memory { blocks: blocks.len(), needed_bytes, budget_bytes });
    }
    Ok(budget_bytes - fixed)
}

/// Day and sources of the output.
fn spec_of(blocks: &[&BlockReader], options: &MergeOptions) -> Result<BlockSpec, MergeError> {
    let Some(first) = blocks.first() else {
        return Err(MergeError::Plan("there are none".to_owned()));
    };
    if blocks.len() > INPUTS_MAX {
        return Err(MergeError::Plan(format!("there are {}, the limit is {INPUTS_MAX}", blocks.len())));
    }
    let day = first.entry().day;
    if let Some(other) = blocks.iter().find(|block| block.entry().day != day) {
        let what = format!("block {} is of day {}, not {day}", other.entry().id, other.entry().day);
        return Err(MergeError::Plan(what));
    }
    let mut sources: Vec<SourceRange> =
        blocks.iter().flat_map(|block| block.entry().sources.iter().cloned()).collect();
    sources.sort();
    // The same positions give the same sources, however they were cut into blocks.
    let mut joined: Vec<SourceRange> = Vec::new();
    for source in sources {
        match joined.last_mut() {
            Some(last) if last.journal == source.journal && source.after <= last.upto => {
                last.upto = last.upto.max(source.upto);
            }
            _ => joined.push(source),
        }
    }
    Ok(BlockSpec { tenant: options.tenant.clone(), day, level: options.level, sources: joined })
}

/// Samples of datasets of which no row stays: nobody reads those.
fn samples_of_lost_datasets(blocks: &[&BlockReader], left: &[Left]) -> u64 {
    let of_block = |(block, left): (&&BlockReader, &Left)| -> u64 {
        let lost = block.meta().datasets.iter().zip(&left.rows).filter(|(_, rows)| **rows == 0);
        let runs = lost.flat_map(|(dataset, _)| &dataset.slices).flat_map(|slice| &slice.runs);
        runs.map(|run| run.samples).sum()
    };
    blocks.iter().zip(left).map(of_block).sum()
}

fn balance(counts: &Counts) -> Result<(), MergeError> {
    let Counts { rows_in, rows_out, duplicates, deleted, expired, .. } = *counts;
    if rows_in != rows_out + duplicates + deleted + expired {
        let what = format!(
            "{rows_in} rows came in, {rows_out} went out, {duplicates} were double, {deleted} deleted, {expired} expired"
        );
        return Err(MergeError::Balance(what));
    }
    let Counts { samples_in, samples_out, samples_dropped, .. } = *counts;
    if samples_in != samples_out + samples_dropped {
        let what = format!("{samples_in} samples came in, {samples_out} went out, {samples_dropped} dropped");
        return Err(MergeError::Balance(what));
    }
    Ok(())
}

/// Writes one block of the output.
struct PartWriter<'a> {
    blocks: &'a [&'a BlockReader],
    left: &'a [Left],
    part: &'a Part,
    spec: &'a BlockSpec,
    number: u32,
    window_bytes: u64,
}

/// The tables of all inputs.
#[derive(Default)]
struct Readers<'a> {
    profiles: Vec<TableReader<'a>>,
    samples: Vec<TableReader<'a>>,
    spans: Vec<TableReader<'a>>,
    spare: Vec<samples::Segment>,
}

impl PartWriter<'_> {
    async fn write(
        &self,
        attempt: &str,
        counts: &mut Counts,
        sink: &mut dyn BlockSink,
    ) -> Result<BlockEntry, MergeError> {
        let part = self.part;
        sink::begin(sink, &self.first_entry(attempt)).await?;
        let mut index = IndexWriter::new()?;
        let stacks = symbols::merge_symbols(self.blocks, part, &mut index, sink).await?;
        counts.stacks_out += stacks.iter().map(|unit| u64::from(unit.count)).sum::<u64>();
        let records = plan::count_records(self.blocks, self.left, part, self.window_bytes).await?;
        let mut tables = Tables::new(self.spec.level, &part.series)?;
        let mut readers = self.readers()?;
        let mut datasets = Vec::new();
        let mut last: Option<&ProfileType> = None;
        for dataset in &part.datasets {
            let ty = &part.types[dataset.ty as usize];
            if last.is_some_and(|last| last.name != ty.name) {
                tables.samples.end_name()?;
            }
            last = Some(ty);
            let of_unit = &stacks[dataset.unit as usize];
            datasets.push(self.dataset(dataset, of_unit, &mut readers, &mut tables, counts, sink).await?);
        }
        drop((readers, stacks));
        counts.rows_out += tables.profiles.rows();
        counts.samples_out += tables.samples.rows();
        let entry = self.finish(index, tables, &datasets, records, attempt, sink).await?;
        counts.bytes_out += entry.bytes();
        Ok(entry)
    }

    /// Identity, place and times: what the folder's name is made of.
    fn first_entry(&self, attempt: &str) -> BlockEntry {
        BlockEntry {
            id: self.spec.id_of_part(self.number),
            attempt: attempt.to_owned(),
            format: FORMAT_MAJOR,
            day: self.spec.day,
            level: self.spec.level,
            min_time: TimestampNs(self.part.times.0),
            max_time: TimestampNs(self.part.times.1),
            first_service: String::new(),
            last_service: String::new(),
            types: Vec::new(),
            objects: Vec::new(),
            index_directory_offset: 0,
            profiles: 0,
            samples: 0,
            series: 0,
            units: 0,
            sources: self.spec.sources.clone(),
        }
    }

    fn readers(&self) -> Result<Readers<'_>, MergeError> {
        let mut readers = Readers::default();
        for block in self.blocks {
            let (meta, window) = (block.meta(), self.window_bytes);
            readers.profiles.push(TableReader::new(block, Table::profiles(meta), rows::COLUMNS, window)?);
            readers.samples.push(TableReader::new(block, Table::samples(meta), samples::COLUMNS, window)?);
            readers.spans.push(TableReader::new(block, Table::spans(meta), spans::COLUMNS, window)?);
        }
        Ok(readers)
    }

    async fn dataset(
        &self,
        dataset: &PlanDataset,
        of_unit: &UnitStacks,
        readers: &mut Readers<'_>,
        tables: &mut Tables,
        counts: &mut Counts,
        sink: &mut dyn BlockSink,
    ) -> Result<Dataset, MergeError> {
        let part = self.part;
        let rows = rows::merge_rows(part, dataset, self.left, &mut readers.profiles, tables, counts).await?;
        sink::drain(sink, PROFILES, tables.profiles.out()?).await?;
        let members = &part.units[dataset.unit as usize].members;
        let map_of = |input: usize| members.iter().position(|m| m.input == input).map(|at| &of_unit.maps[at]);
        let stacks: Option<Vec<_>> = rows.maps.iter().map(|map| map_of(map.input)).collect();
        let stacks = stacks.ok_or_else(|| MergeError::Plan("a dataset has no unit".to_owned()))?;
        let first_span = tables.span_rows;
        let spans = spans::merge_spans(&rows, &stacks, &mut readers.spans, tables).await?;
        if let Some(out) = tables.spans.out()? {
            sink::drain(sink, SPANS, out).await?;
        }
        let mut samples = samples::SampleMerge {
            readers: &mut readers.samples,
            series_maps: &part.series_maps,
            stacks,
            spare: &mut readers.spare,
        };
        let runs = samples.dataset(&rows, tables, sink).await?;
        let flags = if rows.annotated { HAS_ANNOTATIONS } else { 0 };
        if let Some(rollups) = &mut tables.rollups {
            for (name, out) in rollups.outs()? {
                sink::drain(sink, name, out).await?;
            }
        }
        let slices = vec![Slice { runs, first_span, spans }];
        Ok(Dataset { ty: dataset.ty, unit: dataset.unit, flags, slices })
    }

    /// Ends all objects, `index` last.
    async fn finish(
        &self,
        mut index: IndexWriter,
        tables: Tables,
        datasets: &[Dataset],
        records: u64,
        attempt: &str,
        sink: &mut dyn BlockSink,
    ) -> Result<BlockEntry, MergeError> {
        let tables = tables.finish()?;
        let units: Vec<(&str, &str)> = self.part.units.iter().map(|u| (&*u.name, &*u.service)).collect();
        let origin = Origin::of(self.spec, self.number, records);
        let tail = Tail {
            units: &units,
            types: &self.part.types,
            series: &self.part.series,
            datasets,
            layouts: &tables.layouts(),
            annotations: &tables.annotations,
            origin: &origin,
            rollups: tables.rollups.as_deref(),
        };
        tail.put(&mut index)?;
        let (index, directory_offset) = index.finish()?;
        let mut entry = tail.entry(self.spec, tables.samples);
        entry.attempt = attempt.to_owned();
        entry.index_directory_offset = directory_offset;
        for (name, out, _) in tables.objects {
            entry.objects.push(sink::end(sink, name, out).await?);
        }
        entry.objects.push(sink::end(sink, INDEX, index).await?);
        Ok(entry)
    }
}
