//! One profile as bytes: header, totals, annotations, spans, and its values in columns that types share.
//!
//! Stacks with the same set of non-zero types form a group: one list of stacks (deltas, ascending) and one column of
//! values for each of these types. So types that share stacks, as `samples` and `cpu` do, store the stacks once, and a
//! question about one type decodes one column.

use hashbrown::HashMap;
use hearth_block::input::SpanSample;
use hearth_common::{Rid, TimestampNs};
use hearth_formats::record::Record;

use super::varint::{Walk, put, put_signed, put_text};

const HAS_SPANS: u8 = 1;
const HAS_ANNOTATIONS: u8 = 2;
const HAS_TRACE: u64 = 1;
/// Stands for "no group": all values of the stack are zero.
const NO_GROUP: u32 = u32::MAX;

/// What stands before the values of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowHead {
    /// Index of the journal in the process.
    pub(crate) journal: u32,
    pub(crate) position: u64,
    pub(crate) time: TimestampNs,
    pub(crate) rid: Rid,
    pub(crate) duration_ns: i64,
    pub(crate) period: i64,
    /// Index of the list of sample types in the unit.
    pub(crate) type_set: u32,
}

/// Buffers of the encoder; reused.
#[derive(Debug, Default)]
pub(crate) struct RowScratch {
    /// stack << 32 | row of the record
    keys: Vec<u64>,
    /// Group of each key.
    group_at: Vec<u32>,
    /// Non-zero types, number of stacks.
    groups: Vec<(u64, u32)>,
    group_of: HashMap<u64, u32>,
    /// Keys in order of (group, stack).
    ordered: Vec<u64>,
    /// Values of stacks that came more than once, added.
    merged: Vec<i64>,
    deltas: Vec<u8>,
    data: Vec<u8>,
    body: Vec<u8>,
    part: Vec<u8>,
}

/// What an encoded profile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Values that are not zero.
    pub(crate) values: u64,
    /// Bit by column of the record: which types have a value.
    pub(crate) types: u64,
}

/// Appends one profile to `out`, or nothing if it has no value. `stacks` has the unit's number of each stack of the record.
pub(crate) fn encode(
    head: &RowHead,
    record: &Record<'_>,
    stacks: &[u32],
    scratch: &mut RowScratch,
    out: &mut Vec<u8>,
) -> Encoded {
    let types = record.sample_types.len();
    scratch.order(stacks);
    let repeated = scratch.merge_repeated(&record.values, types);
    let merged = std::mem::take(&mut scratch.merged);
    let values = if repeated { &merged } else { &record.values };
    scratch.group(values, types);
    let present = scratch.groups.iter().fold(0, |all, (mask, _)| all | mask);
    let mut encoded = Encoded { values: 0, types: present };
    if present != 0 {
        scratch.body.clear();
        put_head(head, record, &mut scratch.body);
        encoded.values = put_totals(values, types, &mut scratch.body);
        scratch.put_extras(record, stacks);
        scratch.put_groups(values, types);
        put(scratch.body.len() as u64, out);
        out.extend_from_slice(&scratch.body);
    }
    scratch.merged = merged;
    encoded
}

fn put_head(head: &RowHead, record: &Record<'_>, body: &mut Vec<u8>) {
    let spans = if record.spans.is_empty() { 0 } else { HAS_SPANS };
    let annotations = if record.annotations.is_empty() { 0 } else { HAS_ANNOTATIONS };
    body.push(spans | annotations);
    put(u64::from(head.journal), body);
    put(head.position, body);
    put_signed(head.time.0, body);
    body.extend_from_slice(&head.rid.0.to_le_bytes());
    put_signed(head.duration_ns, body);
    put_signed(head.period, body);
    put(u64::from(head.type_set), body);
    put(record.sample_types.len() as u64, body);
}

/// Total and number of values by type; returns the number of all values.
fn put_totals(values: &[i64], types: usize, body: &mut Vec<u8>) -> u64 {
    let mut all = 0;
    for at in 0..types {
        let (mut total, mut count) = (0i128, 0u64);
        for value in values.iter().skip(at).step_by(types).filter(|value| **value > 0) {
            total += i128::from(*value);
            count += 1;
        }
        // As blocks do: a sum that does not fit is the largest number, which readers take for "too large".
        put(i64::try_from(total).unwrap_or(i64::MAX) as u64, body);
        put(count, body);
        all += count;
    }
    all
}

fn put_spans(record: &Record<'_>, stacks: &[u32], out: &mut Vec<u8>) {
    let types = record.sample_types.len();
    for (at, span) in record.spans.iter().enumerate() {
        put(u64::from(stacks[span.stack as usize]) << 1 | u64::from(span.trace.is_some()), out);
        out.extend_from_slice(&span.span.to_le_bytes());
        if let Some(trace) = span.trace {
            out.extend_from_slice(&trace);
        }
        record.span_values[at * types..(at + 1) * types].iter().for_each(|value| put(*value as u64, out));
    }
}

impl RowScratch {
    /// Sorts rows of the record by stack.
    fn order(&mut self, stacks: &[u32]) {
        self.keys.clear();
        self.keys.extend(stacks.iter().enumerate().map(|(row, stack)| u64::from(*stack) << 32 | row as u64));
        if !self.keys.is_sorted() {
            self.keys.sort_unstable();
        }
    }

    /// Adds the values of stacks that stand more than once; the keys then name rows of `merged`.
    fn merge_repeated(&mut self, values: &[i64], types: usize) -> bool {
        if self.keys.is_sorted_by(|a, b| a >> 32 < b >> 32) {
            return false;
        }
        self.merged.clear();
        self.ordered.clear();
        for repeated in self.keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let row = self.ordered.len();
            self.ordered.push((repeated[0] >> 32) << 32 | row as u64);
            self.merged.resize((row + 1) * types, 0);
            for key in repeated {
                let from = (*key as u32) as usize * types;
                for (sum, value) in self.merged[row * types..].iter_mut().zip(&values[from..from + types]) {
                    *sum = sum.saturating_add(*value);
                }
            }
        }
        std::mem::swap(&mut self.keys, &mut self.ordered);
        true
    }

    /// Brings the keys in order of (group, stack).
    fn group(&mut self, values: &[i64], types: usize) {
        let Self { keys, group_at, groups, group_of, ordered, .. } = self;
        group_at.clear();
        groups.clear();
        group_of.clear();
        let mut last = (0, NO_GROUP);
        for key in keys.iter() {
            let from = (*key as u32) as usize * types;
            let row = &values[from..from + types];
            let mask = row.iter().enumerate().fold(0u64, |mask, (at, v)| mask | u64::from(*v > 0) << at);
            if mask == 0 {
                group_at.push(NO_GROUP);
                continue;
            }
            if last.0 != mask {
                let next = groups.len() as u32;
                let group = *group_of.entry(mask).or_insert(next);
                if group == next {
                    groups.push((mask, 0));
                }
                last = (mask, group);
            }
            groups[last.1 as usize].1 += 1;
            group_at.push(last.1);
        }
        ordered.clear();
        if let [(_, count)] = groups[..]
            && count as usize == keys.len()
        {
            ordered.extend_from_slice(keys);
            return;
        }
        let mut places = Vec::with_capacity(groups.len());
        let mut all = 0usize;
        for (_, count) in groups.iter() {
            places.push(all);
            all += *count as usize;
        }
        ordered.resize(all, 0);
        for (key, group) in keys.iter().zip(group_at.iter()).filter(|(_, group)| **group != NO_GROUP) {
            let place = &mut places[*group as usize];
            ordered[*place] = *key;
            *place += 1;
        }
    }

    /// Writes annotations and spans, each with its length.
    fn put_extras(&mut self, record: &Record<'_>, stacks: &[u32]) {
        let Self { part, body, .. } = self;
        if !record.annotations.is_empty() {
            part.clear();
            for (key, value) in &record.annotations {
                put_text(key, part);
                put_text(value, part);
            }
            put(part.len() as u64, body);
            body.extend_from_slice(part);
        }
        if !record.spans.is_empty() {
            part.clear();
            put_spans(record, stacks, part);
            put(part.len() as u64, body);
            body.extend_from_slice(part);
        }
    }

    /// Writes a directory of groups, then their stacks and columns.
    fn put_groups(&mut self, values: &[i64], types: usize) {
        let Self { groups, ordered, deltas, data, body, .. } = self;
        put(groups.len() as u64, body);
        data.clear();
        let mut rows = ordered.as_slice();
        for (mask, count) in groups.iter() {
            let (own, rest) = rows.split_at(*count as usize);
            rows = rest;
            put(*mask, body);
            put(u64::from(*count), body);
            let mut before = 0;
            deltas.clear();
            for key in own {
                let stack = (key >> 32) as u32;
                put(u64::from(stack - before), deltas);
                before = stack;
            }
            put(deltas.len() as u64, body);
            data.extend_from_slice(deltas);
            for at in (0..types).filter(|at| mask >> at & 1 == 1) {
                let start = data.len();
                own.iter().for_each(|key| put(values[(*key as u32) as usize * types + at] as u64, data));
                put((data.len() - start) as u64, body);
            }
        }
        body.extend_from_slice(data);
    }
}

/// An encoded profile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) head: RowHead,
    types: usize,
    totals: Walk<'a>,
    annotations: &'a [u8],
    spans: &'a [u8],
    groups: Walk<'a>,
}

/// Walks the profiles of a chunk. What the head wrote itself is complete; a defect would end the walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a>(Walk<'a>);

impl<'a> Rows<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Walk(bytes))
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        Row::read(Walk(self.0.part()?))
    }
}

impl<'a> Row<'a> {
    fn read(mut walk: Walk<'a>) -> Option<Self> {
        let [flags] = walk.array::<1>()?;
        let head = RowHead {
            journal: walk.number()? as u32,
            position: walk.number()?,
            time: TimestampNs(walk.signed()?),
            rid: Rid(u128::from_le_bytes(walk.array()?)),
            duration_ns: walk.signed()?,
            period: walk.signed()?,
            type_set: walk.number()? as u32,
        };
        let types = walk.number()? as usize;
        let totals = walk;
        for _ in 0..2 * types {
            walk.number()?;
        }
        let annotations = if flags & HAS_ANNOTATIONS == 0 { &[] } else { walk.part()? };
        let spans = if flags & HAS_SPANS == 0 { &[] } else { walk.part()? };
        Some(Self { head, types, totals, annotations, spans, groups: walk })
    }

    /// Total and number of values of a column.
    pub(crate) fn total(&self, column: usize) -> (i64, u64) {
        let mut walk = self.totals;
        for _ in 0..2 * column {
            walk.number();
        }
        let total = walk.number().unwrap_or_default() as i64;
        (total, walk.number().unwrap_or_default())
    }

    /// The annotations in order.
    pub(crate) fn annotations(&self) -> Vec<(String, String)> {
        let mut walk = Walk(self.annotations);
        std::iter::from_fn(|| Some((walk.text()?.to_owned(), walk.text()?.to_owned()))).collect()
    }

    /// Calls `each` for every value of a column; ascending by stack within each group only.
    #[inline]
    pub(crate) fn samples(&self, column: usize, mut each: impl FnMut(u32, i64)) {
        // `None` is a defect in what the head wrote itself.
        let walked = self.walk_samples(column, &mut each);
        debug_assert!(walked.is_some());
    }

    #[inline]
    fn walk_samples(&self, column: usize, each: &mut impl FnMut(u32, i64)) -> Option<()> {
        let mut directory = self.groups;
        let groups = directory.number()?;
        let mut data = directory;
        for _ in 0..groups {
            let (mask, _count) = (data.number()?, data.number()?);
            for _ in 0..1 + mask.count_ones() {
                data.number()?;
            }
        }
        for _ in 0..groups {
            let (mask, count) = (directory.number()?, directory.number()?);
            let stacks_len = directory.number()? as usize;
            let mut stacks = Walk(data.bytes(stacks_len)?);
            for at in (0..self.types).filter(|at| mask >> at & 1 == 1) {
                let len = directory.number()? as usize;
                let mut values = Walk(data.bytes(len)?);
                if at != column {
                    continue;
                }
                let mut stack = 0u32;
                for _ in 0..count {
                    stack = stack.wrapping_add(stacks.number()? as u32);
                    each(stack, values.number()? as i64);
                }
            }
        }
        Some(())
    }

    /// The values of a column, ascending by stack, into `out`.
    pub(crate) fn sorted_samples(&self, column: usize, out: &mut Vec<(u32, i64)>) {
        out.clear();
        self.samples(column, |stack, value| out.push((stack, value)));
        if !out.is_sorted_by_key(|(stack, _)| *stack) {
            // Several ascending runs, which the stable sort merges.
            out.sort_by_key(|(stack, _)| *stack);
        }
    }

    /// Calls `each` for every span with a value in the column.
    pub(crate) fn spans(&self, column: usize, mut each: impl FnMut(SpanSample)) {
        let mut walk = Walk(self.spans);
        while let Some(span) = self.span(&mut walk, column) {
            if span.value > 0 {
                each(span);
            }
        }
    }

    fn span(&self, walk: &mut Walk<'a>, column: usize) -> Option<SpanSample> {
        let first = walk.number()?;
        let span = u64::from_le_bytes(walk.array()?);
        let trace = if first & HAS_TRACE == 1 { Some(walk.array()?) } else { None };
        let mut value = 0;
        for at in 0..self.types {
            let own = walk.number()? as i64;
            if at == column {
                value = own;
            }
        }
        Some(SpanSample { stack: (first >> 1) as u32, span, trace, value })
    }
}
