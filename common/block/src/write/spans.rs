//! `spans.parquet`: the samples that belong to spans, sorted by span within each (type, service, slice).

use hearth_model::spans::{SpanId, TraceId};

use super::outgoing::Outgoing;
use super::table::{Column, GROUP_ROWS, GroupLayout, Table};
use crate::SPANS;
use crate::error::BlockError;

const SCHEMA: &str = "message spans {
  required int64 span (INTEGER(64,false));
  required int32 profile_row (INTEGER(32,false));
  required int32 stack (INTEGER(32,false));
  required int64 value;
  required fixed_len_byte_array(16) trace;
}";

/// A row; compares as the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpanRow {
    pub(crate) span: SpanId,
    pub(crate) profile_row: u32,
    pub(crate) stack: u32,
    /// All zeros = not known (such an id is invalid in W3C trace contexts).
    pub(crate) trace: TraceId,
    pub(crate) value: i64,
}

/// Written as soon as it has rows; a block without spans has no such table.
pub(crate) struct SpanTable {
    table: Table,
    rows: Vec<SpanRow>,
    written: u64,
}

impl SpanTable {
    pub(crate) fn new(level: i32) -> Result<Self, BlockError> {
        Ok(Self { table: Table::new(SPANS, SCHEMA, level)?, rows: Vec::new(), written: 0 })
    }

    /// Appends the rows of one (type, service, slice), in any order.
    pub(crate) fn append(&mut self, rows: &mut Vec<SpanRow>) -> Result<(), BlockError> {
        rows.sort_unstable();
        rows.drain(..).try_for_each(|row| self.push(row))
    }

    /// Appends one row; those of one (type, service, slice) come in order.
    pub(crate) fn push(&mut self, row: SpanRow) -> Result<(), BlockError> {
        self.rows.push(row);
        if self.rows.len() >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let group = std::mem::take(&mut self.rows);
        let count = group.len();
        if count > 0 {
            let wrong = self.table.wrong();
            let descs = [0, 1, 2, 3, 4].map(|at| self.table.column(at));
            let encoder = &mut self.table.encoder;
            let spans: Vec<u64> = group.iter().map(|r| r.span).collect();
            let profile_rows: Vec<u32> = group.iter().map(|r| r.profile_row).collect();
            let stacks: Vec<u32> = group.iter().map(|r| r.stack).collect();
            let values: Vec<i64> = group.iter().map(|r| r.value).collect();
            let traces: Vec<TraceId> = group.iter().map(|r| r.trace).collect();
            let columns = vec![
                Column::Encoded(encoder.smallest(&descs[0], &spans).map_err(&wrong)?),
                Column::Encoded(encoder.delta(&descs[1], &profile_rows).map_err(&wrong)?),
                Column::Encoded(encoder.delta(&descs[2], &stacks).map_err(&wrong)?),
                Column::Encoded(encoder.smallest(&descs[3], &values).map_err(&wrong)?),
                Column::Encoded(encoder.fixed16(&descs[4], &traces).map_err(&wrong)?),
            ];
            self.table.append(count, columns)?;
            self.written += count as u64;
        }
        Ok(())
    }

    /// `None` when there were no rows.
    /// See [`Table::out`]; nothing before there are rows.
    pub(crate) fn out(&mut self) -> Result<Option<&mut Outgoing>, BlockError> {
        if self.written == 0 { Ok(None) } else { self.table.out().map(Some) }
    }

    pub(crate) fn finish(mut self) -> Result<Option<(Outgoing, Vec<GroupLayout>)>, BlockError> {
        self.flush()?;
        if self.written == 0 { Ok(None) } else { self.table.finish().map(Some) }
    }
}
