//! The tables of rollups: `totals_5m.parquet`, `totals_1h.parquet`, `stacks_1d.parquet`. Rows come run after run, totals
//! before stacks, so that writers may be one dataset ahead with the former.

use hearth_model::Labels;
use parquet::data_type::ByteArray;

use super::outgoing::Outgoing;
use super::profiles::Pairs;
use super::table::{Column, GroupLayout, Table};
use crate::STACKS_1D;
use crate::error::BlockError;
use crate::meta::rollups::RunRollup;
use crate::rollup::{Groups, RunGroups, StackRows, TOTALS, Total, sum_totals};

const TOTALS_SCHEMA: &str = "message totals {
  required binary type (STRING);
  required binary service (STRING);
  required int64 bin (TIMESTAMP(MILLIS,true));
  required int32 group (INTEGER(32,false));
  required int64 sum;
  required int32 profiles (INTEGER(32,false));
  required group labels (MAP) {
    repeated group key_value { required binary key (STRING); required binary value (STRING); }
  }
}";
const STACKS_SCHEMA: &str = "message stacks {
  required int32 group (INTEGER(32,false));
  required int32 stack (INTEGER(32,false));
  required int64 value;
}";
/// Rows of a row group of totals: bounds the memory that shredded labels take while they wait.
const TOTALS_GROUP_ROWS: usize = 1 << 14;
/// Rows of a row group of stacks.
const STACKS_GROUP_ROWS: usize = 1 << 18;

/// A finished object: its name, its bytes, and where its pages lie.
pub(crate) type Finished = (&'static str, Outgoing, Vec<GroupLayout>);

/// Writes the rollups of a block.
pub(crate) struct RollupTables {
    pub(crate) groups: Groups,
    totals: Vec<TotalsTable>,
    stacks: StacksTable,
    /// Rows of each run so far.
    pub(crate) runs: Vec<RunRollup>,
    /// Of these, those whose stacks were written.
    done: usize,
    texts: [ByteArray; 2],
}

impl RollupTables {
    pub(crate) fn new(groups: Groups, level: i32) -> Result<Self, BlockError> {
        let totals = TOTALS.iter().map(|(object, _)| TotalsTable::new(object, level));
        Ok(Self {
            groups,
            totals: totals.collect::<Result<_, _>>()?,
            stacks: StacksTable::new(level)?,
            runs: Vec::new(),
            done: 0,
            texts: Default::default(),
        })
    }

    /// Says which (type, service) the next rows belong to.
    pub(crate) fn begin_dataset(&mut self, ty: &ByteArray, service: &ByteArray) {
        self.texts = [ty.clone(), service.clone()];
    }

    /// Writes the totals of the next run. `rows` are (series, time, total) of its profile rows. Gives the groups by which
    /// its stacks are summed; none if the run has no rollups.
    pub(crate) fn totals(
        &mut self,
        unit: u32,
        rows: impl Iterator<Item = (u32, i64, i64)>,
    ) -> Result<Option<RunGroups>, BlockError> {
        let mut counts = RunRollup::default();
        let summed = sum_totals(rows, &self.groups);
        if let Some((_, sums)) = &summed {
            let labels = self.groups.labels.get(unit as usize).map_or(&[][..], |labels| labels);
            for ((table, sums), count) in self.totals.iter_mut().zip(sums).zip(&mut counts.totals) {
                table.append(&self.texts, sums, labels)?;
                *count = sums.len() as u64;
            }
        }
        self.runs.push(counts);
        Ok(summed.map(|(groups, _)| groups))
    }

    /// Writes the stacks of the first run that has none yet.
    pub(crate) fn stacks(&mut self, rows: &StackRows) -> Result<(), BlockError> {
        if let Some(run) = self.runs.get_mut(self.done) {
            run.stacks = rows.stacks.len() as u64;
        }
        self.done += 1;
        self.stacks.append(rows)
    }

    /// What was written so far, to be taken away in parts; nothing of tables without rows.
    pub(crate) fn outs(&mut self) -> Result<Vec<(&'static str, &mut Outgoing)>, BlockError> {
        let mut outs = Vec::new();
        for ((name, _), table) in TOTALS.iter().zip(&mut self.totals) {
            if table.written > 0 {
                outs.push((*name, table.table.out()?));
            }
        }
        if self.stacks.written > 0 {
            outs.push((STACKS_1D, self.stacks.table.out()?));
        }
        Ok(outs)
    }

    /// The objects that have rows.
    pub(crate) fn finish(self) -> Result<(Vec<Finished>, Groups, Vec<RunRollup>), BlockError> {
        let mut finished = Vec::new();
        for ((name, _), mut table) in TOTALS.iter().zip(self.totals) {
            table.flush()?;
            if table.written > 0 {
                let (out, layout) = table.table.finish()?;
                finished.push((*name, out, layout));
            }
        }
        let mut stacks = self.stacks;
        stacks.flush()?;
        if stacks.written > 0 {
            let (out, layout) = stacks.table.finish()?;
            finished.push((STACKS_1D, out, layout));
        }
        Ok((finished, self.groups, self.runs))
    }
}

/// Totals of one width.
struct TotalsTable {
    table: Table,
    waiting: WaitingTotals,
    written: u64,
}

#[derive(Default)]
struct WaitingTotals {
    texts: [Vec<ByteArray>; 2],
    bins: Vec<i64>,
    groups: Vec<u32>,
    sums: Vec<i64>,
    profiles: Vec<u32>,
    labels: Pairs,
}

impl TotalsTable {
    fn new(object: &'static str, level: i32) -> Result<Self, BlockError> {
        let table = Table::new(object, TOTALS_SCHEMA, level)?;
        Ok(Self { table, waiting: WaitingTotals::default(), written: 0 })
    }

    fn append(
        &mut self,
        texts: &[ByteArray; 2],
        sums: &[Total],
        labels: &[Labels],
    ) -> Result<(), BlockError> {
        let mut shared: Option<(u32, Vec<(ByteArray, ByteArray)>)> = None;
        for total in sums {
            if shared.as_ref().is_none_or(|(group, _)| *group != total.group) {
                let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
                let pairs = labels.get(total.group as usize).into_iter().flat_map(Labels::iter);
                shared = Some((total.group, pairs.map(|(name, value)| (text(name), text(value))).collect()));
            }
            let waiting = &mut self.waiting;
            for (column, text) in waiting.texts.iter_mut().zip(texts) {
                column.push(text.clone());
            }
            waiting.bins.push(total.bin_ms);
            waiting.groups.push(total.group);
            waiting.sums.push(total.sum);
            waiting.profiles.push(total.profiles);
            waiting.labels.push_row(shared.iter().flat_map(|(_, pairs)| pairs).cloned());
            if waiting.bins.len() >= TOTALS_GROUP_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let rows = std::mem::take(&mut self.waiting);
        let count = rows.bins.len();
        if count == 0 {
            return Ok(());
        }
        let wrong = self.table.wrong();
        let descs = [2, 3, 4, 5].map(|at| self.table.column(at));
        let encoder = &mut self.table.encoder;
        let encoded = [
            encoder.delta(&descs[0], &rows.bins),
            encoder.delta(&descs[1], &rows.groups),
            encoder.smallest(&descs[2], &rows.sums),
            encoder.smallest(&descs[3], &rows.profiles),
        ];
        let texts = rows.texts.map(|values| Column::Texts { values, levels: None });
        let mut columns: Vec<Column> = texts.into();
        for chunk in encoded {
            columns.push(Column::Encoded(chunk.map_err(&wrong)?));
        }
        columns.extend(rows.labels.into_columns());
        self.written += count as u64;
        self.table.append(count, columns)
    }
}

struct StacksTable {
    table: Table,
    waiting: StackRows,
    written: u64,
}

impl StacksTable {
    fn new(level: i32) -> Result<Self, BlockError> {
        let table = Table::new(STACKS_1D, STACKS_SCHEMA, level)?;
        Ok(Self { table, waiting: StackRows::default(), written: 0 })
    }

    fn append(&mut self, rows: &StackRows) -> Result<(), BlockError> {
        let mut at = 0;
        while at < rows.stacks.len() {
            let room = STACKS_GROUP_ROWS - self.waiting.stacks.len();
            let to = rows.stacks.len().min(at + room);
            self.waiting.groups.extend_from_slice(&rows.groups[at..to]);
            self.waiting.stacks.extend_from_slice(&rows.stacks[at..to]);
            self.waiting.values.extend_from_slice(&rows.values[at..to]);
            at = to;
            if self.waiting.stacks.len() >= STACKS_GROUP_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let rows = std::mem::take(&mut self.waiting);
        let count = rows.stacks.len();
        if count == 0 {
            return Ok(());
        }
        let wrong = self.table.wrong();
        let descs = [0, 1, 2].map(|at| self.table.column(at));
        let encoder = &mut self.table.encoder;
        let columns = vec![
            Column::Encoded(encoder.smallest(&descs[0], &rows.groups).map_err(&wrong)?),
            Column::Encoded(encoder.delta(&descs[1], &rows.stacks).map_err(&wrong)?),
            Column::Encoded(encoder.smallest(&descs[2], &rows.values).map_err(&wrong)?),
        ];
        self.written += count as u64;
        self.table.append(count, columns)
    }
}
