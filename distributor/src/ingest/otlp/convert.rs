//! Samples of a profile and the symbols that they use, as a pprof.

use hearth_formats::otlp::{ABSENT, Function, Otlp, Profile, Sample, Span, Tables};
use hearth_formats::pprof::{self, Pprof};

use super::frames::Frames;
use super::types::{Column, Types};
use super::{Part, SERVICE, Siblings, Texts, WrongTypes, entry};
use crate::idtable::FirstUse;

/// Frames of a stack that are written out when the tenant has no limit.
const DEPTH_MAX: usize = 1 << 16;
/// Duration of a profile that says none.
const DURATION_DEFAULT_NS: i64 = 10_000_000_000;

/// About what a sample takes in protobuf beside its stack and its values …
const SAMPLE_BYTES: usize = 8;
/// … and each of its values.
const VALUE_BYTES: usize = 3;

/// What became of the samples of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Filled {
    /// About the bytes that the pprof would have, encoded; stacks count for each sample that has them. Beyond the limit the
    /// pprof is not complete.
    pub(crate) bytes: usize,
    /// Samples that have neither a value nor a timestamp, or not one value for each type.
    pub(crate) unusable: u32,
}

/// A value for each position, forgotten all at once.
#[derive(Debug)]
pub(super) struct Stamps<T> {
    entries: Vec<(u32, T)>,
    round: u32,
}

impl<T: Copy + Default> Stamps<T> {
    fn new(count: usize) -> Self {
        Self { entries: vec![(0, T::default()); count], round: 0 }
    }

    /// There are never more rounds than parts of an export.
    fn start(&mut self) {
        self.round += 1;
    }

    pub(super) fn get(&self, at: usize) -> Option<T> {
        let (round, value) = self.entries[at];
        (round == self.round).then_some(value)
    }

    pub(super) fn set(&mut self, at: usize, value: T) {
        self.entries[at] = (self.round, value);
    }
}

/// A label: indices of its key and value; 0 = the attribute is none.
type LabelStrings = (i64, i64);

/// Converts parts of one export, one after the other.
#[derive(Debug)]
pub(crate) struct Converter<'o> {
    pub(super) otlp: &'o Otlp<'o>,
    pub(super) texts: &'o Texts,
    depth_max: usize,
    bytes_max: usize,
    pub(super) frames: Frames,
    pub(super) functions: FirstUse,
    pub(super) mappings: FirstUse,
    pub(super) strings: Stamps<i64>,
    attributes: Stamps<LabelStrings>,
    links: Stamps<[i64; 2]>,
    stacks: Stamps<Span>,
}

/// What the samples of one part share.
struct Context<'o, 'p> {
    siblings: Siblings,
    tables: &'p Tables,
    profile: &'p Profile,
    columns: &'p [Column<'o>],
    span_id: i64,
    trace_id: i64,
}

impl<'o> Converter<'o> {
    /// For an export; stacks are cut off at `depth_max` frames, on their leaf side (0 = no limit of the tenant), and parts of
    /// more than `bytes_max` are given up.
    pub(crate) fn new(otlp: &'o Otlp<'o>, texts: &'o Texts, depth_max: usize, bytes_max: usize) -> Self {
        Self {
            otlp,
            texts,
            depth_max: if depth_max == 0 { DEPTH_MAX } else { depth_max.min(DEPTH_MAX) },
            bytes_max,
            frames: Frames::new(otlp.locations.len()),
            functions: FirstUse::default(),
            mappings: FirstUse::default(),
            strings: Stamps::new(otlp.strings.len()),
            attributes: Stamps::new(otlp.table_attributes.len()),
            links: Stamps::new(otlp.links.len()),
            stacks: Stamps::new(otlp.stacks.len()),
        }
    }

    /// The name of siblings.
    pub(crate) fn name(&self, siblings: Siblings) -> Result<&'o str, WrongTypes> {
        Types::new(self.otlp, siblings).map(|types| types.name)
    }

    /// Bytes that [`Self::fill`] will say at least, without a look at stacks and symbols.
    pub(crate) fn least_bytes(&self, siblings: Siblings, part: &Part<'o>) -> Result<usize, String> {
        let otlp = self.otlp;
        let profile = &otlp.profiles[siblings.first as usize];
        let columns = Types::new(otlp, siblings)?.columns.len();
        let all = &otlp.samples[profile.samples.range()];
        let counts = |sample: &Sample| match columns {
            several if several > 1 && siblings.count == 1 => sample.values.count as usize == several,
            _ => sample.values.count > 0 || sample.timestamps > 0,
        };
        let usable = match &part.samples {
            Some(places) => places.iter().filter(|at| counts(&all[**at as usize])).count(),
            None => all.iter().filter(|sample| counts(sample)).count(),
        };
        Ok(usable * (SAMPLE_BYTES + VALUE_BYTES * columns))
    }

    /// Fills an empty pprof with a part of siblings. Samples share the entries of equal stacks.
    pub(crate) fn fill<'p>(
        &mut self,
        siblings: Siblings,
        part: &Part<'o>,
        pprof: &mut Pprof<'p>,
    ) -> Result<Filled, String>
    where
        'o: 'p,
    {
        let otlp = self.otlp;
        let profile = &otlp.profiles[siblings.first as usize];
        let tables = &otlp.tables[profile.tables as usize];
        let types = Types::new(otlp, siblings)?;
        self.start(pprof);
        let mut push = |text: &'o str| {
            pprof.strings.push(text.as_bytes());
            pprof.strings.len() as i64 - 1
        };
        let (span_id, trace_id) = (push("span_id"), push("trace_id"));
        for column in &types.columns {
            let value_type = pprof::ValueType { ty: push(column.ty), unit: push(column.unit) };
            pprof.sample_types.push(value_type);
        }
        pprof.period_type =
            types.period.map(|(ty, unit)| pprof::ValueType { ty: push(ty), unit: push(unit) });
        pprof.period = profile.period;
        // A time beyond what pprof can say is beyond every window, too.
        pprof.time_ns = i64::try_from(profile.time_unix_ns).unwrap_or(i64::MAX);
        pprof.duration_ns = match i64::try_from(profile.duration_ns).unwrap_or(i64::MAX) {
            0 => DURATION_DEFAULT_NS,
            duration => duration,
        };
        let context = Context { siblings, tables, profile, columns: &types.columns, span_id, trace_id };
        let mut filled = Filled::default();
        let mut add = |converter: &mut Self, at: u32| {
            converter.sample(&context, at, pprof, &mut filled).map_err(|what| format!("sample {at}: {what}"))
        };
        match &part.samples {
            Some(places) => places.iter().try_for_each(|at| add(self, *at))?,
            None => (0..profile.samples.count).try_for_each(|at| add(self, at))?,
        }
        self.symbols(tables, pprof)?;
        filled.bytes += rest_bytes(pprof);
        Ok(filled)
    }

    fn start(&mut self, pprof: &mut Pprof<'_>) {
        self.frames.start();
        self.functions.start(self.otlp.functions.len());
        self.mappings.start(self.otlp.mappings.len());
        self.strings.start();
        self.attributes.start();
        self.links.start();
        self.stacks.start();
        pprof.clear();
        pprof.strings.push(b"");
    }

    fn sample<'p>(
        &mut self,
        context: &Context<'o, '_>,
        at: u32,
        pprof: &mut Pprof<'p>,
        filled: &mut Filled,
    ) -> Result<(), String>
    where
        'o: 'p,
    {
        if filled.bytes > self.bytes_max {
            return Ok(());
        }
        let sample = self.otlp.samples[context.profile.samples.range()][at as usize];
        let first_value = pprof.values.len();
        if !self.values(context, at, pprof, filled) {
            return Ok(());
        }
        let stack = self.stack(context, &sample, pprof)?;
        let first_label = pprof.labels.len();
        self.labels(context, &sample, pprof)?;
        pprof.samples.push(pprof::Sample {
            first_location: stack.first,
            location_count: stack.count,
            first_value: first_value as u32,
            value_count: context.columns.len() as u32,
            first_label: first_label as u32,
            label_count: (pprof.labels.len() - first_label) as u32,
        });
        filled.bytes += SAMPLE_BYTES + 2 * stack.count as usize;
        Ok(())
    }

    /// Appends one value a type. `false`, and nothing appended, when there is nothing to make values of.
    fn values(&self, context: &Context<'_, '_>, at: u32, pprof: &mut Pprof<'_>, filled: &mut Filled) -> bool {
        let otlp = self.otlp;
        let sample = |sibling: &Profile| &otlp.samples[sibling.samples.range()][at as usize];
        let first = pprof.values.len();
        let siblings = &otlp.profiles[context.siblings.range()];
        if let ([profile], [_, _, ..]) = (siblings, context.columns) {
            let values = &otlp.values[sample(profile).values.range()];
            if values.len() != context.columns.len() {
                filled.unusable += 1;
                return false;
            }
            let scaled = values.iter().zip(context.columns);
            pprof.values.extend(scaled.map(|(value, column)| value.saturating_mul(column.scale)));
            return true;
        }
        let mut unusable = 0;
        for (sibling, column) in siblings.iter().zip(context.columns) {
            let value = observed(&otlp.values, sample(sibling), column);
            unusable += u32::from(value.is_none());
            pprof.values.push(value.unwrap_or(0));
        }
        filled.unusable += unusable;
        let usable = (unusable as usize) < siblings.len();
        if !usable {
            pprof.values.truncate(first);
        }
        usable
    }

    /// The stack of a sample, written out at its first use.
    fn stack(
        &mut self,
        context: &Context<'o, '_>,
        sample: &Sample,
        pprof: &mut Pprof<'_>,
    ) -> Result<Span, String> {
        let otlp = self.otlp;
        if !otlp.layout.has_stacks() {
            let all = context.profile.location_indices;
            let (first, length) = (u32::try_from(sample.stack), u32::try_from(sample.length));
            let range = match (first, length) {
                (Ok(first), Ok(length)) if u64::from(first) + u64::from(length) <= u64::from(all.count) => {
                    Span { first: all.first + first, count: length }
                }
                _ => {
                    let (first, length, count) = (sample.stack, sample.length, all.count);
                    return Err(format!(
                        "its {length} locations from {first} on are outside of the profile's {count} location indices"
                    ));
                }
            };
            return self.expand(context, range, pprof);
        }
        let table = context.tables.stacks;
        if sample.stack == 0 && table.count == 0 {
            return Ok(Span::default());
        }
        let at = entry(sample.stack, table, "stack index")?;
        if let Some(known) = self.stacks.get(at) {
            return Ok(known);
        }
        let span = self.expand(context, otlp.stacks[at], pprof)?;
        self.stacks.set(at, span);
        Ok(span)
    }

    /// Location ids of a stack, leaf first. Locations that say nothing at all, such as entry 0, are no frames.
    fn expand(
        &mut self,
        context: &Context<'o, '_>,
        stack: Span,
        pprof: &mut Pprof<'_>,
    ) -> Result<Span, String> {
        let otlp = self.otlp;
        let first = pprof.location_ids.len();
        let all = &otlp.stack_locations[stack.range()];
        let all = &all[all.len().saturating_sub(self.depth_max)..];
        let table = context.tables.locations;
        if !self.frames.extend(table, all, &mut pprof.location_ids) {
            for index in all {
                let at = entry(*index, table, "location index")?;
                let id = match self.frames.get(at) {
                    Some(known) => known,
                    None => {
                        let location = &otlp.locations[at];
                        let is_frame =
                            location.address != 0 || self.has_function(context.tables, location.lines)?;
                        self.frames.set(at, is_frame)
                    }
                };
                if id != 0 {
                    pprof.location_ids.push(id);
                }
            }
        }
        Ok(Span { first: first as u32, count: (pprof.location_ids.len() - first) as u32 })
    }

    fn has_function(&self, tables: &Tables, lines: Span) -> Result<bool, String> {
        for line in &self.otlp.lines[lines.range()] {
            if self.function(tables, line.function)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The position of a function; `None` for the null entry.
    pub(super) fn function(&self, tables: &Tables, index: i32) -> Result<Option<usize>, String> {
        if index == 0 && tables.functions.count == 0 {
            return Ok(None);
        }
        let at = entry(index, tables.functions, "function index")?;
        Ok((self.otlp.functions[at] != Function::default()).then_some(at))
    }

    /// Attributes and the link of a sample.
    fn labels<'p>(
        &mut self,
        context: &Context<'o, '_>,
        sample: &Sample,
        pprof: &mut Pprof<'p>,
    ) -> Result<(), String>
    where
        'o: 'p,
    {
        let (otlp, tables) = (self.otlp, context.tables);
        for index in &otlp.attribute_indices[sample.attributes.range()] {
            let at = entry(*index, tables.attributes, "attribute index")?;
            let (key, str) = match self.attributes.get(at) {
                Some(known) => known,
                None => {
                    let made = self.attribute(tables, at, pprof)?;
                    self.attributes.set(at, made);
                    made
                }
            };
            if key != 0 && str != 0 {
                pprof.labels.push(pprof::Label { key, str, ..pprof::Label::default() });
            }
        }
        if sample.link == ABSENT || (sample.link == 0 && tables.links.count == 0) {
            return Ok(());
        }
        let at = entry(sample.link, tables.links, "link index")?;
        let ids = match self.links.get(at) {
            Some(known) => known,
            None => {
                let texts = self.texts;
                let made = texts.link(at).map(|text| text.map_or(0, |text| push(pprof, text)));
                self.links.set(at, made);
                made
            }
        };
        for (key, str) in [context.span_id, context.trace_id].into_iter().zip(ids) {
            if str != 0 {
                pprof.labels.push(pprof::Label { key, str, ..pprof::Label::default() });
            }
        }
        Ok(())
    }

    /// Services are labels of the series.
    fn attribute<'p>(
        &mut self,
        tables: &Tables,
        at: usize,
        pprof: &mut Pprof<'p>,
    ) -> Result<LabelStrings, String>
    where
        'o: 'p,
    {
        let label =
            self.texts.of_table(self.otlp, tables, at).map_err(|what| format!("attribute {at}: {what}"))?;
        Ok(match label {
            Some((key, value)) if key != SERVICE.as_bytes() => (push(pprof, key), push(pprof, value)),
            _ => (0, 0),
        })
    }
}

/// The value of a sample of one type: the sum of what was observed; without values, each timestamp is worth 1.
fn observed(values: &[i64], sample: &Sample, column: &Column<'_>) -> Option<i64> {
    let values = &values[sample.values.range()];
    let timestamps = i64::from(sample.timestamps);
    let sum = match values {
        [] if timestamps == 0 => return None,
        [] => timestamps,
        [value] => *value,
        values => values.iter().fold(0i64, |sum, value| sum.saturating_add(*value)),
    };
    // Some profilers write one value beside all times at which they saw a stack.
    let total = match values.len() as i64 != timestamps && column.counts {
        true => sum.max(timestamps),
        false => sum,
    };
    Some(total.saturating_mul(column.scale))
}

/// Appends a string; the empty one is there already.
pub(super) fn push<'p>(pprof: &mut Pprof<'p>, text: &'p [u8]) -> i64 {
    if text.is_empty() {
        return 0;
    }
    pprof.strings.push(text);
    pprof.strings.len() as i64 - 1
}

/// About what everything but stacks would take in protobuf.
fn rest_bytes(pprof: &Pprof<'_>) -> usize {
    pprof.strings.iter().map(|text| text.len() + 2).sum::<usize>()
        + VALUE_BYTES * pprof.values.len()
        + 6 * pprof.labels.len()
        + 10 * pprof.locations.len()
        + 6 * pprof.lines.len()
        + 8 * pprof.functions.len()
        + 24 * pprof.mappings.len()
}
