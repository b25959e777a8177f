//! A table for other programs: the names of the frames of every stack of a block, which the block itself has in its `index`
//! only. No part of a block: Hearth never reads it.

use std::io::Write;

use bytes::Bytes;
use hashbrown::HashMap;
use parquet::data_type::ByteArray;

use crate::INDEX;
use crate::error::BlockError;
use crate::read::fetch::Wanted;
use crate::read::{BlockReader, SharedSymbols, UnitSymbols};
use crate::write::table::{Column, Table};

/// Name of such a file.
const OBJECT: &str = "stacks.parquet";
const SCHEMA: &str = "message stacks {
  required binary block (STRING);
  required binary name (STRING);
  required binary service (STRING);
  required int32 stack (INTEGER(32,false));
  required binary function (STRING);
  required binary file (STRING);
  required int64 line;
  required group frames (LIST) { repeated group list { required binary element (STRING); } }
}";
const ZSTD_LEVEL: i32 = 3;
/// A row group ends with the stack that reaches one of these: bounds the memory of what waits for it.
const GROUP_FRAMES: usize = 1 << 20;
const GROUP_STACKS: usize = 1 << 17;

impl BlockReader {
    /// Writes the table of the block's stacks as a Parquet file: a row for each (profile name, service, stack), as
    /// `profiles` and `samples` number them, with the functions of its frames from the root to the leaf. `block` is the
    /// first column of all rows. Returns how many stacks there are. Holds the symbols of one unit at a time.
    pub async fn write_stacks(&self, block: &str, out: &mut (dyn Write + Send)) -> Result<u64, BlockError> {
        let meta = self.meta();
        let want = |frames: std::ops::Range<usize>| {
            let mut wanted = Wanted::default();
            if meta.whole.is_none() {
                meta.frames[frames].iter().for_each(|frame| wanted.add(INDEX, frame.range()));
            }
            wanted
        };
        let fetched = self.fetch(want(meta.shared.clone())).await?;
        let shared = SharedSymbols::decode(meta, |frame| self.stored_frame(frame, &fetched))?;
        let mut table = StacksTable::new(block)?;
        for (at, key) in (0u32..).zip(&meta.units) {
            let fetched = self.fetch(want(meta.places[at as usize].frames.clone())).await?;
            let unit = UnitSymbols::decode(meta, at, &shared, |frame| self.stored_frame(frame, &fetched))?;
            table.append(&key.name, &key.service, &unit, &shared, out)?;
        }
        table.finish(out)
    }
}

/// Rows that wait for their row group, column by column.
#[derive(Default)]
struct Waiting {
    block: Vec<ByteArray>,
    name: Vec<ByteArray>,
    service: Vec<ByteArray>,
    stack: Vec<u32>,
    function: Vec<ByteArray>,
    file: Vec<ByteArray>,
    line: Vec<i64>,
    frames: Vec<ByteArray>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

struct StacksTable {
    table: Table,
    block: ByteArray,
    waiting: Waiting,
    rows: u64,
}

fn text(text: &str) -> ByteArray {
    ByteArray::from(Bytes::copy_from_slice(text.as_bytes()))
}

impl StacksTable {
    fn new(block: &str) -> Result<Self, BlockError> {
        let table = Table::new(OBJECT, SCHEMA, ZSTD_LEVEL)?;
        Ok(Self { table, block: text(block), waiting: Waiting::default(), rows: 0 })
    }

    /// Appends the stacks of a unit.
    fn append(
        &mut self,
        name: &str,
        service: &str,
        unit: &UnitSymbols,
        shared: &SharedSymbols,
        out: &mut (dyn Write + Send),
    ) -> Result<(), BlockError> {
        let (name, service) = (text(name), text(service));
        // Each text is kept once, however many rows have it.
        let mut known: HashMap<u32, ByteArray> = HashMap::new();
        let mut of =
            |string| known.entry(string).or_insert_with(|| text(unit.string(shared, string))).clone();
        let mut path = Vec::new();
        for (stack, &end) in (0u32..).zip(&unit.stack_nodes) {
            path.clear();
            let mut node = end;
            while node != 0 {
                path.push(unit.locations[node as usize]);
                node = unit.parents[node as usize];
            }
            let waiting = &mut self.waiting;
            let (before, mut leaf) = (waiting.definition.len(), None);
            for line in path.iter().rev().flat_map(|&location| unit.lines(location)) {
                waiting.repetition.push(i16::from(waiting.definition.len() > before));
                waiting.definition.push(1);
                waiting.frames.push(of(unit.line_names[line]));
                leaf = Some(line);
            }
            if leaf.is_none() {
                waiting.repetition.push(0);
                waiting.definition.push(0);
            }
            let function = leaf.map(|line| unit.function(shared, unit.line_functions[line]));
            waiting.function.push(function.map_or_else(|| text(""), |function| of(function.name)));
            waiting.file.push(function.map_or_else(|| text(""), |function| of(function.file)));
            waiting.line.push(leaf.map_or(0, |line| unit.line_numbers[line]));
            waiting.block.push(self.block.clone());
            waiting.name.push(name.clone());
            waiting.service.push(service.clone());
            waiting.stack.push(stack);
            if waiting.frames.len() >= GROUP_FRAMES || waiting.stack.len() >= GROUP_STACKS {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut (dyn Write + Send)) -> Result<(), BlockError> {
        let rows = std::mem::take(&mut self.waiting);
        let count = rows.stack.len();
        if count > 0 {
            let wrong = self.table.wrong();
            let (stack, line) = (self.table.column(3), self.table.column(6));
            let encoder = &mut self.table.encoder;
            let plain = |values| Column::Texts { values, levels: None };
            let columns = vec![
                plain(rows.block),
                plain(rows.name),
                plain(rows.service),
                Column::Encoded(encoder.delta(&stack, &rows.stack).map_err(&wrong)?),
                plain(rows.function),
                plain(rows.file),
                Column::Encoded(encoder.delta(&line, &rows.line).map_err(&wrong)?),
                Column::Texts { values: rows.frames, levels: Some((rows.definition, rows.repetition)) },
            ];
            self.table.append(count, columns)?;
            self.rows += count as u64;
        }
        let written = self.table.out()?.take();
        out.write_all(&written).map_err(wrong_output)
    }

    fn finish(mut self, out: &mut (dyn Write + Send)) -> Result<u64, BlockError> {
        self.flush(out)?;
        let (mut rest, _) = self.table.finish()?;
        out.write_all(&rest.take()).map_err(wrong_output)?;
        Ok(self.rows)
    }
}

fn wrong_output(error: std::io::Error) -> BlockError {
    BlockError::Encode { object: OBJECT, what: error.to_string() }
}
