//! The symbols of a record: of the locations that its stacks use, the functions, mappings and strings, each once, in the order
//! of their first use. Texts are borrowed, not copied.

use hearth_formats::pprof::{Location, Mapping, Pprof};
use hearth_formats::record::{self, Record};

use crate::idtable::{FirstUse, IdTable, NONE};
use crate::source_code::BuildIds;

/// Where symbols come from.
#[derive(Debug)]
pub(crate) struct Source<'p, 's> {
    /// The profile.
    pub(crate) pprof: &'p Pprof<'p>,
    /// Its strings.
    pub(crate) strings: &'p [&'s str],
    /// Position of the function of each line.
    pub(crate) line_functions: &'p [u32],
    /// Mappings by id.
    pub(crate) mappings: &'p IdTable,
    /// Texts that replace the build ids of mappings.
    pub(crate) build_ids: &'s BuildIds,
}

/// Reused numbering of symbols.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    functions: FirstUse,
    mappings: FirstUse,
    strings: FirstUse,
}

impl Symbols {
    /// Fills the symbols of `record` for locations at these positions; location i of the record is `locations[i]`.
    pub(crate) fn fill<'s>(&mut self, source: &Source<'_, 's>, locations: &[u32], record: &mut Record<'s>) {
        let pprof = source.pprof;
        self.functions.start(pprof.functions.len());
        self.mappings.start(pprof.mappings.len());
        // Strings 0 must exist, whatever the profile has.
        self.strings.start(source.strings.len().max(1));
        self.strings.number(0);
        for position in locations {
            let location = &pprof.locations[*position as usize];
            let first_line = record.lines.len() as u32;
            let range = location.first_line as usize..(location.first_line + location.line_count) as usize;
            for (line, function) in pprof.lines[range.clone()].iter().zip(&source.line_functions[range]) {
                let function = self.functions.number(*function);
                record.lines.push(record::Line { function, line: line.line });
            }
            let (mapping_plus_1, symbolised) = self.mapping(source, location);
            let address = if location.line_count > 0 || symbolised { 0 } else { location.address };
            record.locations.push(record::Location {
                mapping_plus_1,
                address,
                first_line,
                line_count: location.line_count,
            });
        }
        for function in &self.functions.used {
            let function = &pprof.functions[*function as usize];
            record.functions.push(record::Function {
                name: text(&mut self.strings, source, function.name),
                system_name: text(&mut self.strings, source, function.system_name),
                file: text(&mut self.strings, source, function.filename),
                start_line: function.start_line,
            });
        }
        self.fill_mappings(source, record);
    }

    fn mapping(&mut self, source: &Source<'_, '_>, location: &Location) -> (u32, bool) {
        match source.mappings.get(location.mapping_id) {
            NONE => (0, false),
            at => (self.mappings.number(at) + 1, source.pprof.mappings[at as usize].has_functions),
        }
    }

    fn fill_mappings<'s>(&mut self, source: &Source<'_, 's>, record: &mut Record<'s>) {
        for at in &self.mappings.used {
            let mapping = &source.pprof.mappings[*at as usize];
            // Where a symbolised mapping lay says nothing any more, and would keep equal profiles apart.
            let Mapping { memory_start, memory_limit, file_offset, .. } =
                if mapping.has_functions { Mapping::default() } else { *mapping };
            record.mappings.push(record::Mapping {
                file: text(&mut self.strings, source, mapping.filename),
                build_id: text(&mut self.strings, source, mapping.build_id),
                start: memory_start,
                limit: memory_limit,
                offset: file_offset,
            });
        }
        let strings = source.strings;
        let used = self.strings.used.iter();
        record.strings.extend(used.map(|at| strings.get(*at as usize).copied().unwrap_or_default()));
        for (mapping, at) in record.mappings.iter_mut().zip(&self.mappings.used) {
            let Some(text) = source.build_ids.get(*at) else { continue };
            mapping.build_id = record.strings.len() as u32;
            record.strings.push(text);
        }
    }
}

/// The number of a string; indices that point nowhere are the empty text.
fn text(numbers: &mut FirstUse, source: &Source<'_, '_>, index: i64) -> u32 {
    let index = u32::try_from(index).unwrap_or(0);
    numbers.number(if (index as usize) < source.strings.len() { index } else { 0 })
}
