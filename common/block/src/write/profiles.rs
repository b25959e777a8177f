//! `profiles.parquet`: one row for each profile and type that has a value.

use hearth_model::Labels;
use parquet::data_type::ByteArray;

use super::outgoing::Outgoing;
use super::table::{Column, GroupLayout, Table};
use crate::PROFILES;
use crate::error::BlockError;

const SCHEMA: &str = "message profiles {
  required binary type (STRING);
  required binary service (STRING);
  required int64 time (TIMESTAMP(NANOS,true));
  required int32 series (INTEGER(32,false));
  required fixed_len_byte_array(16) id;
  required int64 total;
  required int32 samples (INTEGER(32,false));
  required int32 run (INTEGER(32,false));
  required int64 duration;
  required int64 period;
  required int32 flags (INTEGER(8,false));
  required group labels (MAP) {
    repeated group key_value { required binary key (STRING); required binary value (STRING); }
  }
  required group annotations (LIST) {
    repeated group list {
      required group element { required binary key (STRING); required binary value (STRING); }
    }
  }
}";

/// Rows of a row group, which ends with a run: bounds the memory that shredded labels take while they wait.
const GROUP_ROWS_LABELS: usize = 1 << 15;
/// A run that has so many rows is cut: profiles of one sample each make such runs.
const GROUP_ROWS_MAX: usize = 1 << 16;

/// The columns that queries read, by their place among the encoded columns of a row group.
pub(crate) mod column {
    pub(crate) const TIME: usize = 0;
    pub(crate) const SERIES: usize = 1;
    pub(crate) const ID: usize = 2;
    pub(crate) const TOTAL: usize = 3;
    pub(crate) const SAMPLES: usize = 4;
    pub(crate) const DURATION: usize = 6;
    pub(crate) const PERIOD: usize = 7;
    pub(crate) const FLAGS: usize = 8;
    pub(crate) const COUNT: usize = 9;
}

/// Bits of `flags`.
pub(crate) const FLAG_SPANS: u32 = 2;

/// One row; type, service and labels come with the run.
#[derive(Debug, Clone)]
pub(crate) struct ProfileOut {
    pub(crate) time_ns: i64,
    pub(crate) series: u32,
    pub(crate) id: [u8; 16],
    pub(crate) total: i64,
    pub(crate) samples: u32,
    pub(crate) duration_ns: i64,
    pub(crate) period: i64,
    pub(crate) flags: u32,
    /// Sorted, each once.
    pub(crate) annotations: Vec<(String, String)>,
}

/// Rows that wait for their row group, column by column.
#[derive(Default)]
struct Waiting {
    type_: Vec<ByteArray>,
    service: Vec<ByteArray>,
    time: Vec<i64>,
    series: Vec<u32>,
    id: Vec<[u8; 16]>,
    total: Vec<i64>,
    samples: Vec<u32>,
    run: Vec<u32>,
    duration: Vec<i64>,
    period: Vec<i64>,
    flags: Vec<u32>,
    labels: Pairs,
    annotations: Pairs,
}

/// A list of pairs for each row, as Parquet shreds it.
#[derive(Default)]
pub(crate) struct Pairs {
    keys: Vec<ByteArray>,
    values: Vec<ByteArray>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Pairs {
    pub(crate) fn push_row(&mut self, pairs: impl Iterator<Item = (ByteArray, ByteArray)>) {
        let before = self.definition.len();
        for (key, value) in pairs {
            self.repetition.push(i16::from(self.definition.len() > before));
            self.definition.push(1);
            self.keys.push(key);
            self.values.push(value);
        }
        if self.definition.len() == before {
            self.definition.push(0);
            self.repetition.push(0);
        }
    }

    pub(crate) fn into_columns(self) -> [Column; 2] {
        let levels = Some((self.definition, self.repetition));
        let keys = Column::Texts { values: self.keys, levels: levels.clone() };
        [keys, Column::Texts { values: self.values, levels }]
    }
}

pub(crate) struct ProfileTable {
    table: Table,
    waiting: Waiting,
    rows: u64,
}

impl ProfileTable {
    pub(crate) fn new(level: i32) -> Result<Self, BlockError> {
        Ok(Self { table: Table::new(PROFILES, SCHEMA, level)?, waiting: Waiting::default(), rows: 0 })
    }

    /// Rows so far: the number of the next one.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends the rows of a run; `labels` gives the label set of a series.
    pub(crate) fn append_run<'l>(
        &mut self,
        ty: &ByteArray,
        service: &ByteArray,
        run: u32,
        rows: &[ProfileOut],
        labels: impl Fn(u32) -> &'l Labels,
    ) -> Result<(), BlockError> {
        let mut waiting = &mut self.waiting;
        let mut shared: Option<(u32, Vec<(ByteArray, ByteArray)>)> = None;
        for row in rows {
            waiting.type_.push(ty.clone());
            waiting.service.push(service.clone());
            waiting.time.push(row.time_ns);
            waiting.series.push(row.series);
            waiting.id.push(row.id);
            waiting.total.push(row.total);
            waiting.samples.push(row.samples);
            waiting.run.push(run);
            waiting.duration.push(row.duration_ns);
            waiting.period.push(row.period);
            waiting.flags.push(row.flags);
            let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
            if shared.as_ref().is_none_or(|(series, _)| *series != row.series) {
                let pairs =
                    labels(row.series).iter().map(|(name, value)| (text(name), text(value))).collect();
                shared = Some((row.series, pairs));
            }
            waiting.labels.push_row(shared.iter().flat_map(|(_, pairs)| pairs).cloned());
            waiting.annotations.push_row(row.annotations.iter().map(|(key, value)| (text(key), text(value))));
            if waiting.time.len() >= GROUP_ROWS_MAX {
                self.flush()?;
                waiting = &mut self.waiting;
            }
        }
        self.rows += rows.len() as u64;
        let limit = u64::from(u32::MAX);
        if self.rows > limit {
            return Err(BlockError::Limit { what: "profile rows of a block", value: self.rows, limit });
        }
        if self.waiting.time.len() >= GROUP_ROWS_LABELS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let rows = std::mem::take(&mut self.waiting);
        let count = rows.time.len();
        if count == 0 {
            return Ok(());
        }
        let wrong = self.table.wrong();
        let descs: Vec<_> = (0..11).map(|at| self.table.column(at)).collect();
        let encoder = &mut self.table.encoder;
        let mut columns = vec![
            Column::Texts { values: rows.type_, levels: None },
            Column::Texts { values: rows.service, levels: None },
        ];
        let encoded = [
            encoder.delta(&descs[2], &rows.time),
            encoder.delta(&descs[3], &rows.series),
            encoder.fixed16(&descs[4], &rows.id),
            encoder.smallest(&descs[5], &rows.total),
            encoder.smallest(&descs[6], &rows.samples),
            encoder.delta(&descs[7], &rows.run),
            encoder.smallest(&descs[8], &rows.duration),
            encoder.smallest(&descs[9], &rows.period),
            encoder.smallest(&descs[10], &rows.flags),
        ];
        for chunk in encoded {
            columns.push(Column::Encoded(chunk.map_err(&wrong)?));
        }
        columns.extend(rows.labels.into_columns());
        columns.extend(rows.annotations.into_columns());
        self.table.append(count, columns)
    }

    /// See [`Table::out`].
    pub(crate) fn out(&mut self) -> Result<&mut Outgoing, BlockError> {
        self.table.out()
    }

    pub(crate) fn finish(mut self) -> Result<(Outgoing, Vec<GroupLayout>), BlockError> {
        self.flush()?;
        self.table.finish()
    }
}
