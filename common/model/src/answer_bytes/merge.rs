//! Merged pprof: its tables (strings, mappings, functions, locations), the value of the empty stack, then the nodes.

use super::codec::{Reader, Writer};
use super::{EncodeError, InvalidAnswer, preorder};
use crate::pprof_merge::{FunctionKey, LineKey, MappingKey, PprofMerge};

/// Strings in order of first use.
#[derive(Default)]
struct Strings {
    places: Vec<u32>,
    used: Vec<u32>,
}

impl Strings {
    fn place(&mut self, id: u32) -> u64 {
        let at = id as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, u32::MAX);
        }
        if self.places[at] == u32::MAX {
            self.places[at] = self.used.len() as u32;
            self.used.push(id);
        }
        u64::from(self.places[at])
    }
}

pub(super) fn encode(merge: &PprofMerge, out: &mut Writer) -> Result<(), EncodeError> {
    merge.checked_total()?;
    let mut strings = Strings::default();
    let mut tables = Writer::default();
    tables.len(merge.mappings.rows.len());
    for mapping in &merge.mappings.rows {
        tables.uint(strings.place(mapping.file));
        tables.uint(strings.place(mapping.build_id));
        tables.uint(mapping.start);
        tables.uint(mapping.limit);
        tables.uint(mapping.offset);
    }
    tables.len(merge.functions.rows.len());
    for function in &merge.functions.rows {
        tables.uint(strings.place(function.name));
        tables.uint(strings.place(function.system_name));
        tables.uint(strings.place(function.file));
        tables.int(function.start_line);
    }
    tables.len(merge.locations.rows.len());
    for location in &merge.locations.rows {
        tables.uint(location.mapping.map_or(0, |mapping| u64::from(mapping) + 1));
        tables.uint(location.address);
        tables.len(location.lines.len());
        for line in &location.lines {
            tables.uint(u64::from(line.function));
            tables.int(line.line);
        }
    }
    out.texts(strings.used.iter().map(|id| merge.text(*id)));
    out.bytes.append(&mut tables.bytes);
    out.int(merge.values[PprofMerge::ROOT as usize]);
    let parents: Vec<u32> = merge.nodes.iter().map(|(parent, _)| *parent).collect();
    preorder::encode(&parents, &merge.values, |node| u64::from(merge.nodes[node].1), out)
}

pub(super) fn decode(from: &mut Reader<'_>) -> Result<PprofMerge, InvalidAnswer> {
    let mut merge = PprofMerge::new();
    let strings: Vec<u32> = from.texts()?.iter().map(|text| merge.string(text)).collect();
    let text = |from: &mut Reader<'_>| from.index(strings.len()).map(|at| strings[at]);
    // The numbers of rows as the tables here give them: bytes may name one row twice.
    let mut mappings = Vec::new();
    for _ in 0..from.count(5)? {
        let (file, build_id) = (text(from)?, text(from)?);
        let (start, limit, offset) = (from.uint()?, from.uint()?, from.uint()?);
        mappings.push(merge.mapping(MappingKey { file, build_id, start, limit, offset }));
    }
    let mut functions = Vec::new();
    for _ in 0..from.count(4)? {
        let (name, system_name, file) = (text(from)?, text(from)?, text(from)?);
        functions.push(merge.function(FunctionKey { name, system_name, file, start_line: from.int()? }));
    }
    let mut locations = Vec::new();
    let mut lines = Vec::new();
    for _ in 0..from.count(3)? {
        let mapping = match from.index(mappings.len() + 1)? {
            0 => None,
            at => Some(mappings[at - 1]),
        };
        let address = from.uint()?;
        lines.clear();
        for _ in 0..from.count(2)? {
            let function = functions[from.index(functions.len())?];
            lines.push(LineKey { function, line: from.int()? });
        }
        locations.push(merge.location(mapping, address, &lines));
    }
    merge.add(PprofMerge::ROOT, from.int()?);
    preorder::decode(from, locations.len(), PprofMerge::ROOT, |parent, location, own| {
        let node = merge.child(parent, locations[location]);
        merge.add(node, own);
        node
    })?;
    Ok(merge)
}
