//! Merges the span rows of one dataset: in each input they are sorted by span, then profile row.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::bits::StackMap;
use super::error::{MergeError, OfBlock};
use super::rows::{DatasetRows, RowMap};
use super::window::{TableReader, copy};
use crate::SPANS;
use crate::error::BlockError;
use crate::read::meta::span_column;
use crate::write::canon::UNUSED;
use crate::write::runs::Tables;
use crate::write::spans::SpanRow;

/// All columns of `spans.parquet`.
pub(super) const COLUMNS: &[usize] = &[
    span_column::SPAN,
    span_column::PROFILE_ROW,
    span_column::STACK,
    span_column::VALUE,
    span_column::TRACE,
];

/// Reads the spans of one slice of one input, in numbers of the output.
struct Cursor<'m> {
    map: &'m RowMap,
    stacks: &'m StackMap,
    left: Range<u64>,
    before: Option<SpanRow>,
    at: usize,
    span: Vec<u64>,
    row: Vec<u32>,
    stack: Vec<u32>,
    value: Vec<i64>,
    trace: Vec<[u8; 16]>,
}

impl Cursor<'_> {
    /// The next row that stays.
    async fn next(&mut self, reader: &mut TableReader<'_>) -> Result<Option<SpanRow>, MergeError> {
        let block = reader.block();
        loop {
            if self.at == self.trace.len() {
                let Some((page, part, first)) = reader.table().parts(self.left.clone()).next() else {
                    return Ok(None);
                };
                reader.need(page).await?;
                self.load(reader, page, &part).of(block)?;
                self.at = 0;
                self.left.start = first + part.len() as u64;
                continue;
            }
            let at = self.at;
            self.at += 1;
            let damaged = |what: &str| BlockError::damaged(SPANS, 0, what);
            let profile_row = self.map.get(u64::from(self.row[at]));
            let profile_row = profile_row.ok_or_else(|| damaged("a span's profile is of another dataset"));
            let profile_row = profile_row.of(block)?;
            if profile_row == UNUSED {
                continue;
            }
            let stack = self.stacks.get(self.stack[at]);
            let stack = stack.ok_or_else(|| damaged("a span's stack does not exist")).of(block)?;
            let (span, value, trace) = (self.span[at], self.value[at], self.trace[at]);
            let row = SpanRow { span, profile_row, stack, trace, value };
            if self.before.is_some_and(|before| before > row) {
                return Err(damaged("spans are out of order")).of(block);
            }
            self.before = Some(row);
            return Ok(Some(row));
        }
    }

    fn load(
        &mut self,
        reader: &mut TableReader<'_>,
        page: usize,
        part: &Range<usize>,
    ) -> Result<(), BlockError> {
        copy(&mut self.span, reader.values(span_column::SPAN, page, part.clone())?);
        copy(&mut self.row, reader.values(span_column::PROFILE_ROW, page, part.clone())?);
        copy(&mut self.stack, reader.values(span_column::STACK, page, part.clone())?);
        copy(&mut self.value, reader.values(span_column::VALUE, page, part.clone())?);
        copy(&mut self.trace, reader.values16(span_column::TRACE, page, part.clone())?);
        Ok(())
    }
}

/// Appends the spans of a dataset; how many there are.
pub(super) async fn merge_spans(
    rows: &DatasetRows,
    stacks: &[&StackMap],
    readers: &mut [TableReader<'_>],
    tables: &mut Tables,
) -> Result<u64, MergeError> {
    let mut cursors = Vec::new();
    for (map, stacks) in rows.maps.iter().zip(stacks) {
        let slice = &readers[map.input].block().meta().datasets[map.dataset].slices[map.slice];
        cursors.push(Cursor {
            map,
            stacks,
            left: slice.span_rows(),
            before: None,
            at: 0,
            span: Vec::new(),
            row: Vec::new(),
            stack: Vec::new(),
            value: Vec::new(),
            trace: Vec::new(),
        });
    }
    let mut heap = BinaryHeap::new();
    for (at, cursor) in cursors.iter_mut().enumerate() {
        let next = cursor.next(&mut readers[cursor.map.input]).await?;
        heap.extend(next.map(|row| Reverse((row, at))));
    }
    let mut count = 0;
    while let Some(Reverse((row, at))) = heap.pop() {
        tables.spans.push(row)?;
        count += 1;
        let cursor = &mut cursors[at];
        let next = cursor.next(&mut readers[cursor.map.input]).await?;
        heap.extend(next.map(|row| Reverse((row, at))));
    }
    tables.span_rows += count;
    Ok(count)
}
