//! A record from a parsed pprof, for tests and measurements of what comes after the distributor.
//!
//! None of the distributor's rules: only what the record's invariants ask for (indices, no negative values, each stack once).

use std::collections::{BTreeMap, HashMap};

use hearth_formats::pprof::Pprof;
use hearth_formats::record::{Function, Line, Location, Mapping, Record, RecordHeader};

/// A header for tests.
pub fn header(tenant: &str) -> RecordHeader<'_> {
    RecordHeader {
        tenant,
        rid: hearth_common::Rid(7),
        service_hash: 1,
        series_hash: 2,
        time: hearth_common::TimestampNs(1_700_000_000_000_000_000),
    }
}

/// The record of a pprof: stacks in order of their frames, samples of the same stack added up, labels of samples ignored.
pub fn from_pprof<'a>(pprof: &Pprof<'a>, labels: &[(&'a str, &'a str)]) -> Record<'a> {
    let mut record = Record { labels: labels.to_vec(), ..Record::default() };
    record.strings = pprof.strings.iter().map(|text| std::str::from_utf8(text).unwrap_or("?")).collect();
    if record.strings.first() != Some(&"") {
        record.strings.insert(0, "");
    }
    let count = record.strings.len();
    let string = |index: i64| usize::try_from(index).ok().filter(|at| *at < count).unwrap_or(0) as u32;
    let texts = record.strings.clone();
    let text = |index: i64| texts[string(index) as usize];
    record.sample_types = pprof.sample_types.iter().map(|t| (text(t.ty), text(t.unit))).collect();
    if let Some(period) = &pprof.period_type {
        record.period_type = (text(period.ty), text(period.unit));
    }
    (record.period, record.duration_ns) = (pprof.period, pprof.duration_ns);
    let mut mappings = HashMap::from([(0, 0u32)]);
    for (at, mapping) in pprof.mappings.iter().enumerate() {
        mappings.insert(mapping.id, at as u32 + 1);
        let (file, build_id) = (string(mapping.filename), string(mapping.build_id));
        record.mappings.push(Mapping { file, build_id, ..Mapping::default() });
    }
    let mut functions = HashMap::new();
    for (at, f) in pprof.functions.iter().enumerate() {
        functions.insert(f.id, at as u32);
        let (name, system_name, file) = (string(f.name), string(f.system_name), string(f.filename));
        record.functions.push(Function { name, system_name, file, start_line: f.start_line });
    }
    let mut locations = HashMap::new();
    for (at, location) in pprof.locations.iter().enumerate() {
        locations.insert(location.id, at as u32);
        let first_line = record.lines.len() as u32;
        let lines = &pprof.lines[location.first_line as usize..][..location.line_count as usize];
        let known = lines.iter().filter_map(|l| functions.get(&l.function_id).map(|f| (*f, l.line)));
        record.lines.extend(known.map(|(function, line)| Line { function, line }));
        let line_count = record.lines.len() as u32 - first_line;
        let mapping_plus_1 = mappings.get(&location.mapping_id).copied().unwrap_or(0);
        let address = if line_count == 0 { location.address } else { 0 };
        record.locations.push(Location { mapping_plus_1, address, first_line, line_count });
    }
    stacks(pprof, &locations, &mut record);
    record
}

fn stacks(pprof: &Pprof<'_>, locations: &HashMap<u64, u32>, record: &mut Record<'_>) {
    let types = pprof.sample_types.len();
    let mut rows: BTreeMap<Vec<u32>, Vec<i64>> = BTreeMap::new();
    for sample in &pprof.samples {
        let ids = &pprof.location_ids[sample.first_location as usize..][..sample.location_count as usize];
        let stack = ids.iter().rev().filter_map(|id| locations.get(id).copied()).collect();
        let row = rows.entry(stack).or_insert_with(|| vec![0; types]);
        let values = &pprof.values[sample.first_value as usize..][..sample.value_count as usize];
        row.iter_mut().zip(values).for_each(|(sum, value)| *sum = sum.saturating_add((*value).max(0)));
    }
    for (stack, values) in rows.into_iter().filter(|(_, values)| values.iter().any(|v| *v != 0)) {
        record.frames.extend(stack);
        record.stack_ends.push(record.frames.len() as u32);
        record.values.extend(values);
    }
}
