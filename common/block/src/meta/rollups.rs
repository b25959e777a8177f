//! The section that says which rollups a block has: the groups of series, and how many rows each run has in each table.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::{CodecResult, Cursor, put_text, put_varint};
use crate::rollup::{Groups, NO_GROUP, TOTALS};

/// Rows of one run; none if it has no rollups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RunRollup {
    pub(crate) totals: [u64; TOTALS.len()],
    pub(crate) stacks: u64,
}

/// Encodes groups and runs; runs in the order of the datasets.
pub(crate) fn put_rollups(groups: &Groups, runs: &[RunRollup]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(groups.of_series.len() as u64, &mut out);
    for group in &groups.of_series {
        put_varint(u64::from(group.wrapping_add(1)), &mut out);
    }
    put_varint(groups.dropped.len() as u64, &mut out);
    for names in &groups.dropped {
        put_varint(names.len() as u64, &mut out);
        names.iter().for_each(|name| put_text(name, &mut out));
    }
    put_varint(runs.len() as u64, &mut out);
    for run in runs {
        run.totals.iter().for_each(|rows| put_varint(*rows, &mut out));
        put_varint(run.stacks, &mut out);
    }
    out
}

/// Where the rollups of a run lie in their tables; empty if it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunRows {
    pub(crate) totals: [Range<u64>; TOTALS.len()],
    pub(crate) stacks: Range<u64>,
}

/// What a block says of its rollups.
#[derive(Debug, Default)]
pub(crate) struct Rollups {
    /// By series; [`NO_GROUP`] if it has none.
    pub(crate) of_series: Vec<u32>,
    /// Labels in which the series of a group differ, by unit; sorted.
    pub(crate) dropped: Vec<Vec<Arc<str>>>,
    /// By number of the run in the block.
    pub(crate) runs: Vec<RunRows>,
}

impl Rollups {
    pub(crate) fn group_of(&self, series: u32) -> u32 {
        self.of_series.get(series as usize).copied().unwrap_or(NO_GROUP)
    }

    /// Rows of all tables.
    pub(crate) fn ends(&self) -> ([u64; TOTALS.len()], u64) {
        let last = self.runs.last().cloned().unwrap_or_default();
        (last.totals.map(|rows| rows.end), last.stacks.end)
    }

    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        4 * self.of_series.len() + 24 * self.dropped.len() + size_of::<RunRows>() * self.runs.len()
    }
}

/// `None` for blocks without rollups.
pub(crate) fn take_rollups(
    bytes: &[u8],
    series: usize,
    units: usize,
    runs: usize,
) -> CodecResult<Option<Rollups>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes);
    let mut found = Rollups::default();
    for _ in 0..cursor.count()? {
        found.of_series.push(cursor.varint_u32()?.wrapping_sub(1));
    }
    for _ in 0..cursor.count()? {
        let count = cursor.count()?;
        let names = (0..count).map(|_| cursor.text().map(Arc::from)).collect::<CodecResult<_>>()?;
        found.dropped.push(names);
    }
    let mut at = ([0u64; TOTALS.len()], 0u64);
    let next = |at: &mut u64, cursor: &mut Cursor<'_>| -> CodecResult<Range<u64>> {
        let end = at
            .checked_add(cursor.varint()?)
            .filter(|&end| end < 1 << 62)
            .ok_or("too many rows of rollups")?;
        let rows = *at..end;
        *at = end;
        Ok(rows)
    };
    for _ in 0..cursor.count()? {
        let mut rows = RunRows::default();
        for (rows, at) in rows.totals.iter_mut().zip(&mut at.0) {
            *rows = next(at, &mut cursor)?;
        }
        rows.stacks = next(&mut at.1, &mut cursor)?;
        found.runs.push(rows);
    }
    cursor.end()?;
    let said = (found.of_series.len(), found.dropped.len(), found.runs.len());
    if said == (series, units, runs) {
        Ok(Some(found))
    } else {
        Err(format!("rollups speak of {said:?} series, units and runs, not {:?}", (series, units, runs)))
    }
}
