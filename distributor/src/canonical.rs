//! Equal symbols of one profile found by content: needed when a repair has made names equal (api-semantics §3.7).

use hashbrown::{HashMap, HashTable};

use crate::idtable::{IdTable, NONE};
use crate::mix::{mix, seed};
use crate::normalize::Input;

/// The first location of each content.
#[derive(Debug, Default)]
pub(crate) struct Canonical {
    /// Position of the first equal location, by position.
    pub(crate) locations: Vec<u32>,
    functions: Vec<u32>,
}

impl Canonical {
    /// Finds equal functions, rewrites `line_functions` to the first of them, and finds equal locations.
    pub(crate) fn fill(&mut self, input: &Input<'_, '_>, line_functions: &mut [u32], mappings: &IdTable) {
        let pprof = input.pprof;
        let mut seen: HashMap<(i64, i64, i64, i64), u32> = HashMap::with_capacity(pprof.functions.len());
        self.functions.clear();
        for (at, function) in (0..).zip(&pprof.functions) {
            let content = (function.name, function.system_name, function.filename, function.start_line);
            self.functions.push(*seen.entry(content).or_insert(at));
        }
        for function in line_functions.iter_mut().filter(|function| **function != NONE) {
            *function = self.functions[*function as usize];
        }
        self.fill_locations(input, line_functions, mappings);
    }

    fn fill_locations(&mut self, input: &Input<'_, '_>, line_functions: &[u32], mappings: &IdTable) {
        let pprof = input.pprof;
        let content = |at: u32| {
            let location = &pprof.locations[at as usize];
            let first = location.first_line as usize;
            let range = first..first + location.line_count as usize;
            let mapping = mappings.get(location.mapping_id);
            let lines = &pprof.lines[range.clone()];
            let functions = &line_functions[range];
            let address = if functions.is_empty() { location.address } else { 0 };
            (mapping, address, functions, lines)
        };
        let seed = seed();
        let mut seen: HashTable<(u64, u32)> = HashTable::with_capacity(pprof.locations.len());
        self.locations.clear();
        for at in 0..pprof.locations.len() as u32 {
            let (mapping, address, functions, lines) = content(at);
            let start = mix(seed ^ u64::from(mapping), address);
            let hash = functions
                .iter()
                .zip(lines)
                .fold(start, |hash, (function, line)| mix(hash ^ u64::from(*function), line.line as u64));
            let equal = |(_, other): &(u64, u32)| {
                let (m, a, f, l) = content(*other);
                (m, a, f) == (mapping, address, functions)
                    && l.iter().map(|line| line.line).eq(lines.iter().map(|line| line.line))
            };
            let first = match seen.find(hash, equal) {
                Some((_, first)) => *first,
                None => {
                    seen.insert_unique(hash, (hash, at), |(hash, _)| *hash);
                    at
                }
            };
            self.locations.push(first);
        }
    }
}
