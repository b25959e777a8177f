//! A pprof as an export.

use std::collections::HashMap;

use hearth_formats::pprof::Pprof;

use super::tables::{Tables, key_values};
use super::{AttributeValue, Binary, Release, attributes};
use crate::wire;

/// Where things are in their tables, by their ids.
struct Places {
    locations: HashMap<u64, u64>,
}

fn text(pprof: &Pprof<'_>, index: i64) -> String {
    String::from_utf8_lossy(pprof.strings[index as usize]).into_owned()
}

/// An export of a pprof in the layout of v1.10: one profile for each sample type, labels as attributes.
pub fn from_pprof(pprof: &Pprof<'_>, service: &str) -> Vec<u8> {
    let mut tables = Tables::new(Release::V1_10, &Binary::default());
    let places = symbols(pprof, &mut tables);
    let mut scope = Vec::new();
    for column in 0..pprof.sample_types.len() {
        wire::bytes(&mut scope, 2, &profile(pprof, &mut tables, &places, column));
    }
    let mut resource = Vec::new();
    wire::bytes(&mut resource, 1, &key_values(&attributes(&[("service.name", service)]), 1));
    wire::bytes(&mut resource, 2, &scope);
    let mut out = Vec::new();
    wire::bytes(&mut out, 1, &resource);
    wire::bytes(&mut out, 2, &tables.dictionary());
    out
}

fn symbols(pprof: &Pprof<'_>, tables: &mut Tables) -> Places {
    for mapping in &pprof.mappings {
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, mapping.memory_start);
        wire::number_unless_zero(&mut out, 2, mapping.memory_limit);
        wire::number_unless_zero(&mut out, 3, mapping.file_offset);
        let filename = tables.string(&text(pprof, mapping.filename));
        wire::number_unless_zero(&mut out, 4, filename);
        tables.mappings.push(out);
    }
    for function in &pprof.functions {
        let mut out = Vec::new();
        for (field, index) in [(1, function.name), (2, function.system_name), (3, function.filename)] {
            let string = tables.string(&text(pprof, index));
            wire::number_unless_zero(&mut out, field, string);
        }
        wire::number_unless_zero(&mut out, 4, function.start_line as u64);
        tables.functions.push(out);
    }
    let places = |ids: Vec<u64>| -> HashMap<u64, u64> { ids.into_iter().zip(1..).collect() };
    let functions = places(pprof.functions.iter().map(|f| f.id).collect());
    let mappings = places(pprof.mappings.iter().map(|m| m.id).collect());
    for location in &pprof.locations {
        let mut out = Vec::new();
        wire::number_unless_zero(&mut out, 1, mappings.get(&location.mapping_id).copied().unwrap_or(0));
        wire::number_unless_zero(&mut out, 2, location.address);
        for line in &pprof.lines[location.first_line as usize..][..location.line_count as usize] {
            let mut message = Vec::new();
            wire::number_unless_zero(&mut message, 1, functions[&line.function_id]);
            wire::number_unless_zero(&mut message, 2, line.line as u64);
            wire::bytes(&mut out, 3, &message);
        }
        tables.locations.push(out);
    }
    Places { locations: places(pprof.locations.iter().map(|l| l.id).collect()) }
}

/// The profile of one sample type, with all samples, as the collector's own translation of pprof has them.
fn profile(pprof: &Pprof<'_>, tables: &mut Tables, places: &Places, column: usize) -> Vec<u8> {
    let ty = &pprof.sample_types[column];
    let mut out = Vec::new();
    let value_type = tables.value_type(&(text(pprof, ty.ty), text(pprof, ty.unit)));
    wire::bytes(&mut out, 1, &value_type);
    for sample in &pprof.samples {
        let value = pprof.values[sample.first_value as usize + column];
        let ids = &pprof.location_ids[sample.first_location as usize..][..sample.location_count as usize];
        let stack = tables.stack(ids.iter().map(|id| places.locations[id]).collect());
        let labels = &pprof.labels[sample.first_label as usize..][..sample.label_count as usize];
        let mut attributes = Vec::new();
        for label in labels.iter().filter(|label| label.str != 0) {
            let value = AttributeValue::Text(text(pprof, label.str));
            attributes.push(tables.attribute(&text(pprof, label.key), &value));
        }
        let mut message = Vec::new();
        wire::number_unless_zero(&mut message, 1, stack);
        wire::numbers(&mut message, 2, &attributes, true);
        wire::numbers(&mut message, 4, &[value as u64], true);
        wire::bytes(&mut out, 2, &message);
    }
    // A profile is named by its period type, so there must be one.
    let period = pprof.period_type.as_ref().filter(|period| period.ty != 0).unwrap_or(ty);
    let period = tables.value_type(&(text(pprof, period.ty), text(pprof, period.unit)));
    wire::key(&mut out, 3, 1);
    out.extend_from_slice(&(pprof.time_ns as u64).to_le_bytes());
    wire::number_unless_zero(&mut out, 4, pprof.duration_ns as u64);
    wire::bytes(&mut out, 5, &period);
    wire::number_unless_zero(&mut out, 6, pprof.period as u64);
    out
}
