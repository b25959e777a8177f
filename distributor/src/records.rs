//! From rows to encoded records: one for each label set that remains after the tenant's rules.
//!
//! Must not know: how rows came about, rate limits, the wire.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use hashbrown::HashTable;
use hearth_common::{TenantId, TimestampNs};
use hearth_formats::record::{self, Record, RecordHeader, SpanRow};
use hearth_model::labels::SERVICE_NAME;

use crate::idtable::{FirstUse, NONE};
use crate::labels::{self, Label};
use crate::mix;
use crate::normalize::{Input, Normalizer, Rows};
use crate::reject::{Reason, Rejected};
use crate::rid;
use crate::source_code::BuildIds;
use crate::symbols::{Source, Symbols};

/// What identifies the part of a request that a profile is.
#[derive(Debug, Clone, Copy)]
pub struct PartId<'a> {
    /// Who sent it.
    pub tenant: &'a TenantId,
    /// Its hash, see [`rid::part`].
    pub hash: u128,
    /// Its number among equal parts.
    pub occurrence: u32,
}

/// A label set that becomes a record.
#[derive(Debug)]
pub(crate) struct Output<'s> {
    /// The final label set.
    pub(crate) labels: Vec<Label<'s>>,
    /// The sample labels that its identity is made of: of groups that rules have made equal, the least. A change of rules
    /// between two tries can then count no more than what was apart before.
    pub(crate) split_key: Vec<(&'s str, &'s str)>,
    /// How many groups it has.
    pub(crate) groups: u32,
}

/// The outputs of a profile.
#[derive(Debug, Default)]
pub(crate) struct Outputs<'s> {
    /// In the order of their first group.
    pub(crate) list: Vec<Output<'s>>,
    /// Output of each group; [`NONE`] = dropped by a rule.
    pub(crate) of_group: Vec<u32>,
}

impl<'s> Outputs<'s> {
    /// Decides, for each group of sample labels, the final label set by `finish` (which says `false` to drop it), and brings
    /// together those that are equal.
    pub(crate) fn new(
        series: &[Label<'s>],
        groups: &[Vec<(&'s str, &'s str)>],
        mut finish: impl FnMut(&mut Vec<Label<'s>>) -> Result<bool, Rejected>,
    ) -> Result<Self, Rejected> {
        let mut out = Self::default();
        let mut by_labels: HashMap<Vec<Label<'s>>, u32> = HashMap::new();
        for set in groups {
            let mut labels = series.to_vec();
            if !set.is_empty() {
                labels.extend(set.iter().map(|(name, value)| ((*name).into(), (*value).into())));
                labels::sort(&mut labels);
            }
            if !finish(&mut labels)? {
                out.of_group.push(NONE);
                continue;
            }
            let next = out.list.len() as u32;
            let at = match groups.len() {
                1 => next,
                _ => *by_labels.entry(labels.clone()).or_insert(next),
            };
            out.of_group.push(at);
            match out.list.get_mut(at as usize) {
                Some(output) => {
                    output.groups += 1;
                    if *set < output.split_key {
                        output.split_key.clone_from(set);
                    }
                }
                None => out.list.push(Output { labels, split_key: set.clone(), groups: 1 }),
            }
        }
        Ok(out)
    }
}

/// Everything that the records of one profile share.
#[derive(Debug)]
pub(crate) struct Shared<'p, 's> {
    /// The profile.
    pub(crate) input: &'p Input<'p, 's>,
    /// Its identity.
    pub(crate) part: PartId<'p>,
    /// Its time.
    pub(crate) time: TimestampNs,
    /// Build ids that replace those of the mappings; see [`Source`].
    pub(crate) build_ids: &'s BuildIds,
    /// Keys and JSON.
    pub(crate) annotations: &'s [(&'static str, String)],
}

/// Reused work space of encoding.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    symbols: Symbols,
    locations: FirstUse,
    positions: Vec<u32>,
    rows: Buckets,
    spans: Buckets,
    record: Record<'static>,
}

impl Encoder {
    /// Encodes a record for each output, in their order.
    pub(crate) fn encode<'r>(
        &mut self,
        shared: &Shared<'r, 'r>,
        normalizer: &mut Normalizer,
        outputs: &'r Outputs<'r>,
        out: &mut Vec<Bytes>,
    ) -> Result<(), Rejected> {
        let mut record: Record<'r> = std::mem::take(&mut self.record).recycle();
        if let ([output], [_]) = (&outputs.list[..], &outputs.of_group[..]) {
            self.whole(shared, normalizer, &mut record);
            out.push(finish(shared, output, &mut record)?);
            take_back(&mut record, &mut normalizer.rows);
        } else {
            let rows = &normalizer.rows;
            let of_row = |row: u32| outputs.of_group[rows.groups[row as usize] as usize];
            self.rows.fill(rows.groups.len(), outputs.list.len(), of_row);
            self.spans
                .fill(rows.spans.len(), outputs.list.len(), |span| of_row(rows.spans[span as usize].row));
            for (at, output) in outputs.list.iter().enumerate() {
                record.clear();
                self.part(shared, normalizer, (at, output), &mut record);
                out.push(finish(shared, output, &mut record)?);
            }
        }
        self.record = record.recycle();
        Ok(())
    }

    /// All rows belong to one record: nothing is copied.
    fn whole<'s>(&mut self, shared: &Shared<'_, 's>, normalizer: &mut Normalizer, record: &mut Record<'s>) {
        self.symbols.fill(&source(shared, normalizer), &normalizer.order.used, record);
        let rows = &mut normalizer.rows;
        std::mem::swap(&mut record.stack_ends, &mut rows.ends);
        std::mem::swap(&mut record.frames, &mut rows.frames);
        std::mem::swap(&mut record.values, &mut rows.values);
        std::mem::swap(&mut record.span_values, &mut rows.span_values);
        record.spans.extend(rows.spans.iter().map(|span| SpanRow {
            stack: span.row,
            span: span.span,
            trace: span.trace,
        }));
    }

    /// The rows of one output, with only the symbols that they use.
    fn part<'s>(
        &mut self,
        shared: &Shared<'_, 's>,
        normalizer: &Normalizer,
        (at, output): (usize, &Output<'s>),
        record: &mut Record<'s>,
    ) {
        let rows = &normalizer.rows;
        let columns = shared.input.columns.len();
        self.locations.start(normalizer.order.used.len());
        let mut merged = Merged::new(output.groups > 1);
        // Stack in the record of each row, by the row's place in this bucket; spans look it up by row.
        let mut stacks: Vec<(u32, u32)> = Vec::with_capacity(self.rows.range(at).len());
        for row in self.rows.of(at) {
            let stack = rows.stack(*row as usize);
            let values = &rows.values[*row as usize * columns..][..columns];
            let known = merged.stack(rows, *row, record.stack_ends.len() as u32);
            stacks.push((*row, known.unwrap_or(record.stack_ends.len() as u32)));
            if let Some(known) = known {
                add(&mut record.values[known as usize * columns..][..columns], values);
                continue;
            }
            let locations = &mut self.locations;
            record.frames.extend(stack.iter().map(|frame| locations.number(*frame)));
            record.stack_ends.push(record.frames.len() as u32);
            record.values.extend_from_slice(values);
        }
        for span in self.spans.of(at) {
            let entry = &rows.spans[*span as usize];
            let values = &rows.span_values[*span as usize * columns..][..columns];
            let Ok(found) = stacks.binary_search_by_key(&entry.row, |(row, _)| *row) else { continue };
            let row = SpanRow { stack: stacks[found].1, span: entry.span, trace: entry.trace };
            match merged.span(row, record.spans.len() as u32) {
                Some(known) => add(&mut record.span_values[known as usize * columns..][..columns], values),
                None => {
                    record.spans.push(row);
                    record.span_values.extend_from_slice(values);
                }
            }
        }
        self.positions.clear();
        self.positions
            .extend(self.locations.used.iter().map(|number| normalizer.order.used[*number as usize]));
        self.symbols.fill(&source(shared, normalizer), &self.positions, record);
    }
}

/// Gives the arrays of the rows their allocations back.
fn take_back(record: &mut Record<'_>, rows: &mut Rows) {
    std::mem::swap(&mut record.stack_ends, &mut rows.ends);
    std::mem::swap(&mut record.frames, &mut rows.frames);
    std::mem::swap(&mut record.values, &mut rows.values);
    std::mem::swap(&mut record.span_values, &mut rows.span_values);
}

fn source<'p, 's>(shared: &'p Shared<'_, 's>, normalizer: &'p Normalizer) -> Source<'p, 's> {
    Source {
        pprof: shared.input.pprof,
        strings: shared.input.strings,
        line_functions: &normalizer.line_functions,
        mappings: &normalizer.mappings,
        build_ids: shared.build_ids,
    }
}

fn add(sums: &mut [i64], values: &[i64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.saturating_add(*value);
    }
}

/// Adds labels, types and times to the rows and symbols of a record, and encodes it.
fn finish<'r>(
    shared: &Shared<'r, 'r>,
    output: &'r Output<'r>,
    record: &mut Record<'r>,
) -> Result<Bytes, Rejected> {
    let input = shared.input;
    let text = |index: i64| -> &'r str {
        usize::try_from(index).ok().and_then(|at| input.strings.get(at)).copied().unwrap_or_default()
    };
    let pprof = input.pprof;
    record.labels.extend(output.labels.iter().map(|(name, value)| (&**name, &**value)));
    record.annotations.extend(shared.annotations.iter().map(|(key, value)| (*key, value.as_str())));
    record.sample_types.extend(input.columns.iter().map(|column| {
        let ty = &pprof.sample_types[*column as usize];
        (text(ty.ty), text(ty.unit))
    }));
    join_equal_columns(record);
    record.period_type = pprof.period_type.map_or(("", ""), |ty| (text(ty.ty), text(ty.unit)));
    record.period = pprof.period;
    record.duration_ns = pprof.duration_ns;
    let service = record.label(SERVICE_NAME).unwrap_or_default();
    let header = RecordHeader {
        tenant: shared.part.tenant.as_str(),
        rid: rid::record(shared.part.hash, shared.part.occurrence, &output.split_key),
        service_hash: rid::service_hash(service),
        series_hash: rid::series_hash(record.labels.iter().copied()),
        time: shared.time,
    };
    let mut bytes = Vec::new();
    record::encode(&header, record, &mut bytes)
        .map_err(|error| Rejected::invalid(Reason::ProfileSizeLimit, error.to_string()))?;
    Ok(Bytes::from(bytes))
}

/// Sums the columns of one type: a block knows the rows of a profile by their types, so that one of two would be lost when
/// blocks are merged.
fn join_equal_columns(record: &mut Record<'_>) {
    let types = &record.sample_types;
    if (1..types.len()).all(|at| !types[..at].contains(&types[at])) {
        return;
    }
    let mut kept = Vec::with_capacity(types.len());
    let mut targets = Vec::with_capacity(types.len());
    for ty in types {
        let target = kept.iter().position(|known| known == ty).unwrap_or(kept.len());
        if target == kept.len() {
            kept.push(*ty);
        }
        targets.push(target);
    }
    fold_columns(&mut record.values, &targets, kept.len());
    fold_columns(&mut record.span_values, &targets, kept.len());
    record.sample_types = kept;
}

/// Adds each column of the rows to the one of `kept` that is its target.
fn fold_columns(values: &mut Vec<i64>, targets: &[usize], kept: usize) {
    let rows = values.len() / targets.len();
    let mut sums = vec![0; kept];
    for row in 0..rows {
        sums.fill(0);
        for (value, target) in values[row * targets.len()..].iter().zip(targets) {
            add(&mut sums[*target..=*target], &[*value]);
        }
        values[row * kept..][..kept].copy_from_slice(&sums);
    }
    values.truncate(rows * kept);
}

/// What of an output's groups has become equal by their coming together; does nothing for an output of one group, whose rows
/// differ already.
#[derive(Debug)]
struct Merged {
    several: bool,
    seed: u64,
    stacks: HashTable<(u32, u32)>,
    spans: HashMap<(u32, u64, Option<[u8; 16]>), u32>,
}

impl Merged {
    fn new(several: bool) -> Self {
        Self { several, seed: mix::seed(), stacks: HashTable::new(), spans: HashMap::new() }
    }

    /// The stack in the record that is equal to that of a row; else it becomes `next`.
    fn stack(&mut self, rows: &Rows, row: u32, next: u32) -> Option<u32> {
        if !self.several {
            return None;
        }
        let stack = rows.stack(row as usize);
        let hash = |stack: &[u32]| mix::stack(stack, self.seed);
        let found = self.stacks.find(hash(stack), |(other, _)| rows.stack(*other as usize) == stack);
        if let Some((_, known)) = found {
            return Some(*known);
        }
        self.stacks.insert_unique(hash(stack), (row, next), |(row, _)| hash(rows.stack(*row as usize)));
        None
    }

    /// The span row in the record that is equal; else it becomes `next`.
    fn span(&mut self, row: SpanRow, next: u32) -> Option<u32> {
        if !self.several {
            return None;
        }
        let at = *self.spans.entry((row.stack, row.span, row.trace)).or_insert(next);
        (at != next).then_some(at)
    }
}

/// Things sorted into buckets, their order kept; things in bucket [`NONE`] are left out.
#[derive(Debug, Default)]
struct Buckets {
    starts: Vec<u32>,
    things: Vec<u32>,
}

impl Buckets {
    fn fill(&mut self, things: usize, buckets: usize, bucket_of: impl Fn(u32) -> u32) {
        self.starts.clear();
        self.starts.resize(buckets + 1, 0);
        let placed = |thing: &u32| bucket_of(*thing) != NONE;
        for thing in (0..things as u32).filter(placed) {
            self.starts[bucket_of(thing) as usize + 1] += 1;
        }
        for at in 0..buckets {
            self.starts[at + 1] += self.starts[at];
        }
        let mut next = self.starts.clone();
        self.things.clear();
        self.things.resize(self.starts[buckets] as usize, 0);
        for thing in (0..things as u32).filter(placed) {
            let next = &mut next[bucket_of(thing) as usize];
            self.things[*next as usize] = thing;
            *next += 1;
        }
    }

    fn range(&self, bucket: usize) -> Range<usize> {
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    fn of(&self, bucket: usize) -> &[u32] {
        &self.things[self.range(bucket)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_type_are_summed() {
        let mut record = Record {
            sample_types: vec![("cpu", "ns"), ("samples", "count"), ("cpu", "ns"), ("cpu", "ms")],
            values: vec![1, 2, 3, 4, 10, 20, i64::MAX, 40],
            span_values: vec![5, 6, 7, 8],
            ..Record::default()
        };
        join_equal_columns(&mut record);
        assert_eq!(record.sample_types, [("cpu", "ns"), ("samples", "count"), ("cpu", "ms")]);
        assert_eq!(record.values, [4, 2, 4, i64::MAX, 20, 40]);
        assert_eq!(record.span_values, [12, 6, 8]);
        let before = record.values.clone();
        join_equal_columns(&mut record);
        assert_eq!(record.values, before);
    }
}
