//! Checks a whole block: every checksum, every count and sum, every order that the format promises.
//!
//! Used by tests and by `hearth admin`. Holds the sums of one run at a time.

mod rollups;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::entry::BlockEntry;
use crate::error::BlockError;
use crate::meta::datasets::{Dataset, Run};
use crate::pages::decode::PageDecoder;
use crate::read::fetch::Fetched;
use crate::read::meta::{sample_column, span_column};
use crate::read::rows::{Column, Fixed16Column, Table, decoder};
use crate::read::{Meta, SharedSymbols, UnitSymbols};
use crate::rollup::{StackSums, TOTALS};
use crate::write::profiles::column;
use crate::{INDEX, PROFILES, ROLLUP_OBJECTS, SAMPLES, SPANS, STACKS_1D};
use rollups::RollupVerifier;

/// What was counted while a block was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows of `profiles.parquet`.
    pub profile_rows: u64,
    /// Rows of `samples.parquet`.
    pub samples: u64,
    /// Rows of `spans.parquet`.
    pub spans: u64,
    /// Frames of the index.
    pub frames: u64,
    /// Stacks of all units.
    pub stacks: u64,
}

/// Verifies a block that is in memory against its entry; `objects` are its objects by name. The first damage found is the
/// error.
pub fn verify(entry: &BlockEntry, objects: &[(String, Bytes)]) -> Result<Verified, BlockError> {
    for expected in &entry.objects {
        let found = objects.iter().find(|(name, _)| *name == expected.name);
        let Some((_, bytes)) = found else {
            return Err(BlockError::damaged(&expected.name, 0, "the object is missing"));
        };
        if bytes.len() as u64 != expected.bytes || crc32c::crc32c(bytes) != expected.crc32c {
            let what = format!("{} bytes do not have the checksum that the entry says", bytes.len());
            return Err(BlockError::damaged(&expected.name, 0, what));
        }
    }
    let named = |name: &'static str| {
        objects.iter().find(|(object, _)| object == name).map(|(_, b)| (name, b.clone()))
    };
    let index = named(INDEX).map(|(_, bytes)| bytes).unwrap_or_default();
    let meta = Meta::from_whole(entry, &index)?;
    let stacks = verify_symbols(&meta, &index)?;
    let names = [PROFILES, SAMPLES, SPANS].into_iter().chain(ROLLUP_OBJECTS);
    let tables: Vec<(&'static str, Bytes)> = names.filter_map(named).collect();
    for (name, bytes) in &tables {
        verify_footer(&meta, name, bytes)?;
    }
    let fetched = Fetched::whole(tables.into_iter());
    let mut verifier = Verifier::new(&meta, &fetched)?;
    let mut number = 0;
    for dataset in &meta.datasets {
        let of_unit = stacks[dataset.unit as usize];
        for run in dataset.slices.iter().flat_map(|slice| &slice.runs) {
            verifier.run(number, run, of_unit)?;
            number += 1;
        }
        verifier.spans(dataset, of_unit)?;
    }
    Ok(Verified {
        profile_rows: meta.profiles.rows,
        samples: meta.samples.rows,
        spans: meta.spans.rows,
        frames: meta.frames.len() as u64,
        stacks: stacks.iter().map(|&stacks| u64::from(stacks)).sum(),
    })
}

/// Decodes all symbols; gives the number of stacks of each unit.
fn verify_symbols(meta: &Meta, index: &Bytes) -> Result<Vec<u32>, BlockError> {
    let stored = |frame: &crate::frame::Frame| -> Result<&[u8], BlockError> {
        Ok(&index[frame.range().start as usize..frame.range().end as usize])
    };
    let shared = SharedSymbols::decode(meta, stored)?;
    let units = 0..meta.units.len() as u32;
    units.map(|unit| Ok(UnitSymbols::decode(meta, unit, &shared, stored)?.stacks() as u32)).collect()
}

/// The footer says of every page what the index says, and every page of every column can be read.
fn verify_footer(meta: &Meta, name: &'static str, bytes: &Bytes) -> Result<(), BlockError> {
    let damaged = |what: String| BlockError::damaged(name, 0, what);
    let wrong = |error: parquet::errors::ParquetError| damaged(error.to_string());
    let reader = SerializedFileReader::new(bytes.clone()).map_err(wrong)?;
    let pages = match name {
        PROFILES => &meta.profiles,
        SAMPLES => &meta.samples,
        SPANS => &meta.spans,
        STACKS_1D => &meta.stacks,
        name => &meta.totals[TOTALS.iter().position(|(table, _)| *table == name).unwrap_or_default()],
    };
    // The first columns of `profiles` and of totals are texts, which the index does not list.
    let first_listed = if [SAMPLES, SPANS, STACKS_1D].contains(&name) { 0 } else { 2 };
    let mut rows = 0;
    for group in 0..reader.num_row_groups() {
        let group_reader = reader.get_row_group(group).map_err(wrong)?;
        let metadata = group_reader.metadata();
        rows += metadata.num_rows() as u64;
        for column in 0..metadata.num_columns() {
            let listed = column.checked_sub(first_listed).and_then(|at| pages.columns.get(at));
            if let Some(listed) = listed {
                let (start, length) = metadata.column(column).byte_range();
                let of_group =
                    pages.pages.iter().zip(&listed.pages).filter(|(p, _)| p.group as usize == group);
                let dict = listed.dicts.get(group).copied().unwrap_or_default();
                let bytes = u64::from(dict.1) + of_group.map(|(_, page)| u64::from(page.1)).sum::<u64>();
                if (start, length) != (dict.0, bytes) {
                    return Err(damaged(format!(
                        "column {column} of row group {group} lies elsewhere than the index says"
                    )));
                }
            }
            let mut reader = group_reader.get_column_page_reader(column).map_err(wrong)?;
            while reader.get_next_page().map_err(wrong)?.is_some() {}
        }
    }
    if rows == pages.rows {
        Ok(())
    } else {
        Err(damaged(format!("{rows} rows, the index says {}", pages.rows)))
    }
}

struct Verifier<'a> {
    meta: &'a Meta,
    fetched: &'a Fetched,
    decoder: PageDecoder,
    time: Column<'a, i64>,
    series: Column<'a, u32>,
    id: Fixed16Column<'a>,
    total: Column<'a, i64>,
    counts: Column<'a, u32>,
    rows: Column<'a, u32>,
    stacks: Column<'a, u32>,
    values: Column<'a, i64>,
    rollups: Option<RollupVerifier<'a>>,
}

impl<'a> Verifier<'a> {
    fn new(meta: &'a Meta, fetched: &'a Fetched) -> Result<Self, BlockError> {
        let (profiles, samples) = (Table::profiles(meta), Table::samples(meta));
        Ok(Self {
            meta,
            fetched,
            decoder: decoder()?,
            time: Column::new(profiles, column::TIME, fetched),
            series: Column::new(profiles, column::SERIES, fetched),
            id: Fixed16Column::new(profiles, column::ID, fetched),
            total: Column::new(profiles, column::TOTAL, fetched),
            counts: Column::new(profiles, column::SAMPLES, fetched),
            rows: Column::new(samples, sample_column::PROFILE_ROW, fetched),
            stacks: Column::new(samples, sample_column::STACK, fetched),
            values: Column::new(samples, sample_column::VALUE, fetched),
            rollups: RollupVerifier::new(meta, fetched)?,
        })
    }

    /// Sums and counts of each profile, orders, and the run's own figures.
    fn run(&mut self, number: usize, run: &Run, stacks: u32) -> Result<(), BlockError> {
        let sums = self.sums(run, stacks)?;
        let mut rows = Vec::new();
        let damaged = |what: String| BlockError::damaged(PROFILES, 0, what);
        let mut before = None;
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for (page, part, first) in Table::profiles(self.meta).parts(run.profile_rows()) {
            let times = &self.time.page(page, &mut self.decoder)?[part.clone()];
            let series = &self.series.page(page, &mut self.decoder)?[part.clone()];
            let ids = &self.id.page(page, &mut self.decoder)?[part.clone()];
            let totals = &self.total.page(page, &mut self.decoder)?[part.clone()];
            let counts = &self.counts.page(page, &mut self.decoder)?[part];
            for at in 0..times.len() {
                let row = first + at as u64;
                let (sum, count) = sums[(row - run.first_profile) as usize];
                if i128::from(totals[at]) != sum.min(i128::from(i64::MAX)) || u64::from(counts[at]) != count {
                    return Err(damaged(format!(
                        "row {row} says {} in {}, samples say {sum} in {count}",
                        totals[at], counts[at]
                    )));
                }
                let key = (series[at], times[at], ids[at]);
                if before.is_some_and(|before| before > key) || run.series.binary_search(&series[at]).is_err()
                {
                    return Err(damaged(format!("row {row} is out of order")));
                }
                before = Some(key);
                rows.push((series[at], times[at], totals[at]));
                (least, most) = (least.min(times[at]), most.max(times[at]));
            }
        }
        let total: i128 = sums.iter().map(|(sum, _)| sum).sum();
        let said = (run.min_time, run.max_time, run.total);
        let found = (least, most, total as u128);
        if said == found {
            self.rollups(number, run, &rows)
        } else {
            Err(BlockError::index(0, format!("a run says {said:?}, its rows say {found:?}")))
        }
    }

    /// The rollups of a run, if the block has some. Reads its samples once more: they fit no memory.
    fn rollups(&mut self, number: usize, run: &Run, rows: &[(u32, i64, i64)]) -> Result<(), BlockError> {
        let Some(rollups) = &mut self.rollups else { return Ok(()) };
        let mut sums = rollups.totals(number, run, rows)?;
        for (page, part, _) in Table::samples(self.meta).parts(run.sample_rows()) {
            let Some(sums) = &mut sums else { break };
            let rows = &self.rows.page(page, &mut self.decoder)?[part.clone()];
            let stacks = &self.stacks.page(page, &mut self.decoder)?[part.clone()];
            let values = &self.values.page(page, &mut self.decoder)?[part];
            sums.add(rows, stacks, values);
        }
        rollups.stacks(number, sums.map(StackSums::finish).unwrap_or_default())
    }

    /// Sum and count of samples by profile row of the run.
    fn sums(&mut self, run: &Run, stack_count: u32) -> Result<Vec<(i128, u64)>, BlockError> {
        let mut sums = vec![(0i128, 0u64); run.profiles as usize];
        let mut before = None;
        for (page, part, first) in Table::samples(self.meta).parts(run.sample_rows()) {
            let rows = &self.rows.page(page, &mut self.decoder)?[part.clone()];
            let stacks = &self.stacks.page(page, &mut self.decoder)?[part.clone()];
            let values = &self.values.page(page, &mut self.decoder)?[part];
            for (at, ((&row, &stack), &value)) in rows.iter().zip(stacks).zip(values).enumerate() {
                let sum =
                    u64::from(row).checked_sub(run.first_profile).and_then(|at| sums.get_mut(at as usize));
                match sum {
                    Some(sum) if before < Some((stack, row)) && stack < stack_count && value > 0 => {
                        *sum = (sum.0 + i128::from(value), sum.1 + 1);
                    }
                    _ => {
                        let what = format!("row {} is out of order or of its run", first + at as u64);
                        return Err(BlockError::damaged(SAMPLES, 0, what));
                    }
                }
                before = Some((stack, row));
            }
        }
        Ok(sums)
    }

    /// Spans are sorted, and belong to profiles and stacks of their dataset.
    fn spans(&mut self, dataset: &Dataset, stack_count: u32) -> Result<(), BlockError> {
        let table = Table::spans(self.meta);
        let mut spans = Column::<u64>::new(table, span_column::SPAN, self.fetched);
        let mut rows = Column::<u32>::new(table, span_column::PROFILE_ROW, self.fetched);
        let mut stacks = Column::<u32>::new(table, span_column::STACK, self.fetched);
        for slice in &dataset.slices {
            let mut before = None;
            let first = slice.runs.first().map_or(0, |run| run.first_profile);
            let end = slice.runs.last().map_or(0, |run| run.profile_rows().end);
            for (page, part, at) in table.parts(slice.span_rows()) {
                let spans = spans.page(page, &mut self.decoder)?;
                let rows = rows.page(page, &mut self.decoder)?;
                let stacks = stacks.page(page, &mut self.decoder)?;
                for row in part {
                    let key = (spans[row], rows[row], stacks[row]);
                    let in_slice = (first..end).contains(&u64::from(rows[row])) && stacks[row] < stack_count;
                    if before.is_some_and(|before| before > key) || !in_slice {
                        return Err(BlockError::damaged(
                            SPANS,
                            0,
                            format!("a row from {at} on is out of order or slice"),
                        ));
                    }
                    before = Some(key);
                }
            }
        }
        Ok(())
    }
}
