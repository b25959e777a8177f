//! The symbols that the samples of a part use: locations, functions, mappings and their strings, numbered anew.

use hearth_formats::otlp::{ABSENT, Mapping, Tables, Text};
use hearth_formats::pprof::{self, Pprof};

use super::convert::{Converter, push};
use super::{entry, text};

/// The attribute of a mapping that is its build id.
const BUILD_ID: &[u8] = b"process.executable.build_id.gnu";

impl<'o> Converter<'o> {
    /// Locations, functions and mappings in the order of their first use.
    pub(super) fn symbols<'p>(&mut self, tables: &Tables, pprof: &mut Pprof<'p>) -> Result<(), String>
    where
        'o: 'p,
    {
        let otlp = self.otlp;
        // Whether each mapping has a location that nobody has symbolised yet.
        let mut raw = Vec::new();
        for (id, at) in (1..).zip(std::mem::take(&mut self.frames.used)) {
            let location = &otlp.locations[at as usize];
            let first_line = pprof.lines.len();
            for line in &otlp.lines[location.lines.range()] {
                if let Some(function) = self.function(tables, line.function)? {
                    let function_id = u64::from(self.functions.number(function as u32)) + 1;
                    pprof.lines.push(pprof::Line { function_id, line: line.line });
                }
            }
            let line_count = (pprof.lines.len() - first_line) as u32;
            let mapping_id = self.mapping(tables, location.mapping)?;
            raw.resize(self.mappings.used.len(), false);
            if mapping_id > 0 && line_count == 0 {
                raw[mapping_id as usize - 1] = true;
            }
            pprof.locations.push(pprof::Location {
                id,
                mapping_id,
                address: location.address,
                first_line: first_line as u32,
                line_count,
                is_folded: false,
            });
        }
        for (id, at) in (1..).zip(std::mem::take(&mut self.functions.used)) {
            let function = &otlp.functions[at as usize];
            let mut string = |index, what| self.string(tables, index, what, pprof);
            let name = string(function.name, "string index of a function's name")?;
            let system_name = string(function.system_name, "string index of a function's system name")?;
            let filename = string(function.filename, "string index of a function's file name")?;
            let start_line = function.start_line;
            pprof.functions.push(pprof::Function { id, name, system_name, filename, start_line });
        }
        for (id, at) in (1..).zip(std::mem::take(&mut self.mappings.used)) {
            let symbolised = !raw[id as usize - 1];
            self.push_mapping(tables, (id, at as usize), symbolised, pprof)?;
        }
        Ok(())
    }

    /// The id of a mapping; 0 for none and for the null entry.
    fn mapping(&mut self, tables: &Tables, index: i32) -> Result<u64, String> {
        if index == ABSENT || (index == 0 && tables.mappings.count == 0) {
            return Ok(0);
        }
        let at = entry(index, tables.mappings, "mapping index")?;
        let Mapping { memory_start, memory_limit, file_offset, filename, attributes } =
            self.otlp.mappings[at];
        if (memory_start, memory_limit, file_offset, filename, attributes.count) == (0, 0, 0, 0, 0) {
            return Ok(0);
        }
        Ok(u64::from(self.mappings.number(at as u32)) + 1)
    }

    fn push_mapping<'p>(
        &mut self,
        tables: &Tables,
        (id, at): (u64, usize),
        symbolised: bool,
        pprof: &mut Pprof<'p>,
    ) -> Result<(), String>
    where
        'o: 'p,
    {
        let otlp = self.otlp;
        let mapping = &otlp.mappings[at];
        let filename =
            self.string(tables, mapping.filename, "string index of a mapping's file name", pprof)?;
        let mut build_id = 0;
        for index in &otlp.attribute_indices[mapping.attributes.range()] {
            let at = entry(*index, tables.attributes, "attribute index of a mapping")?;
            if let Some((BUILD_ID, value)) = self.texts.of_table(otlp, tables, at)? {
                build_id = push(pprof, value);
            }
        }
        pprof.mappings.push(pprof::Mapping {
            id,
            memory_start: mapping.memory_start,
            memory_limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
            filename,
            build_id,
            has_functions: symbolised,
            has_filenames: symbolised,
            has_line_numbers: symbolised,
            has_inline_frames: symbolised,
        });
        Ok(())
    }

    /// The index of a string of the table in the pprof.
    fn string<'p>(
        &mut self,
        tables: &Tables,
        index: i32,
        what: &str,
        pprof: &mut Pprof<'p>,
    ) -> Result<i64, String>
    where
        'o: 'p,
    {
        if index == 0 && tables.strings.count == 0 {
            return Ok(0);
        }
        let at = entry(index, tables.strings, what)?;
        if let Some(known) = self.strings.get(at) {
            return Ok(known);
        }
        let bytes = text(self.otlp, tables, Text::Index(index), what)?;
        let made = push(pprof, bytes);
        self.strings.set(at, made);
        Ok(made)
    }
}
