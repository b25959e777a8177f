//! The dictionary of a unit: finds the numbers of what a record refers to, and copies only what is new.
//!
//! Locations and stacks are found by 128-bit hashes under a random key of the process, which nobody outside can aim at;
//! strings, functions, mappings and nodes are compared by content. Every change keeps the arrays consistent, so that a
//! panic half-way leaves at most an unused element.

use hashbrown::HashTable;
use hearth_block::input::{FunctionRow, LineRow, MappingRow};
use hearth_formats::record::Record;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::paged::Paged;
use super::symbols::{LocationRow, Symbols};

/// Most stacks of one unit before its tenant is cut (design: storage B5).
pub(crate) const STACKS_MAX: usize = 1 << 20;

/// Random numbers that no client knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashKey {
    pub(crate) seed: u64,
    pub(crate) lanes: [u64; 2],
}

impl HashKey {
    pub(crate) fn new(random: u128) -> Self {
        let (a, b) = (random as u64, (random >> 64) as u64);
        // Odd, so that a multiplication loses nothing.
        Self { seed: a ^ b.rotate_left(17), lanes: [a | 1, b | 1] }
    }

    #[inline(always)]
    fn step(&self, state: [u64; 2], frame: u32) -> [u64; 2] {
        let frame = u64::from(frame) + 1;
        [
            fold(state[0] ^ frame, self.lanes[0] ^ 0x9E37_79B9_7F4A_7C15),
            fold(state[1] ^ frame.rotate_left(32), self.lanes[1] ^ 0xD6E8_FEB8_6659_FD93),
        ]
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide >> 64) as u64 ^ wide as u64
}

/// What is computed of a record before its unit is locked; reused from record to record.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    strings: Vec<u128>,
    functions: Vec<u128>,
    mappings: Vec<u128>,
    locations: Vec<u128>,
    buffer: Vec<u8>,
}

impl Hashes {
    /// Hashes all symbols of a record by content.
    pub(crate) fn fill(&mut self, key: &HashKey, record: &Record<'_>) {
        let Self { strings, functions, mappings, locations, buffer } = self;
        strings.clear();
        strings.extend(record.strings.iter().map(|s| xxh3_128_with_seed(s.as_bytes(), key.seed)));
        functions.clear();
        functions.extend(record.functions.iter().map(|f| {
            let mut bytes = [0u8; 56];
            bytes[..16].copy_from_slice(&strings[f.name as usize].to_le_bytes());
            bytes[16..32].copy_from_slice(&strings[f.system_name as usize].to_le_bytes());
            bytes[32..48].copy_from_slice(&strings[f.file as usize].to_le_bytes());
            bytes[48..].copy_from_slice(&f.start_line.to_le_bytes());
            xxh3_128_with_seed(&bytes, key.seed)
        }));
        mappings.clear();
        mappings.extend(record.mappings.iter().map(|m| {
            let mut bytes = [0u8; 56];
            bytes[..16].copy_from_slice(&strings[m.file as usize].to_le_bytes());
            bytes[16..32].copy_from_slice(&strings[m.build_id as usize].to_le_bytes());
            bytes[32..40].copy_from_slice(&m.start.to_le_bytes());
            bytes[40..48].copy_from_slice(&m.limit.to_le_bytes());
            bytes[48..].copy_from_slice(&m.offset.to_le_bytes());
            xxh3_128_with_seed(&bytes, key.seed)
        }));
        locations.clear();
        locations.extend(record.locations.iter().map(|l| {
            buffer.clear();
            let mapping = (l.mapping_plus_1 as usize).checked_sub(1).map_or(0, |at| mappings[at]);
            buffer.extend_from_slice(&mapping.to_le_bytes());
            buffer.extend_from_slice(&(u64::from(l.line_count)).to_le_bytes());
            if l.line_count == 0 {
                buffer.extend_from_slice(&l.address.to_le_bytes());
            }
            let first = l.first_line as usize;
            for line in &record.lines[first..first + l.line_count as usize] {
                buffer.extend_from_slice(&functions[line.function as usize].to_le_bytes());
                buffer.extend_from_slice(&line.line.to_le_bytes());
            }
            xxh3_128_with_seed(buffer, key.seed)
        }));
    }
}

/// Where numbers go that are found for a record; reused.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The dictionary's number of each location of the record.
    locations: Vec<u32>,
    /// The dictionary's number of each stack of the record.
    pub(crate) stacks: Vec<u32>,
    /// Hash of the stack before up to each depth.
    prefix: Vec<[u64; 2]>,
    /// Nodes on the way of the stack before, as deep as they are known.
    path: Vec<u32>,
    lines: Vec<LineRow>,
}

/// Symbols and the tables that find them.
#[derive(Debug)]
pub(crate) struct Dict {
    pub(crate) symbols: Symbols,
    tables: Tables,
}

#[derive(Debug)]
struct Tables {
    key: HashKey,
    strings: HashTable<u32>,
    functions: HashTable<u32>,
    mappings: HashTable<u32>,
    locations: HashTable<u32>,
    location_hashes: Paged<u128>,
    nodes: HashTable<u32>,
    stacks: HashTable<u32>,
    stack_hashes: Paged<u128>,
}

impl Dict {
    pub(crate) fn new(key: HashKey) -> Self {
        let tables = Tables {
            key,
            strings: HashTable::new(),
            functions: HashTable::new(),
            mappings: HashTable::new(),
            locations: HashTable::new(),
            location_hashes: Paged::default(),
            nodes: HashTable::new(),
            stacks: HashTable::new(),
            stack_hashes: Paged::default(),
        };
        let mut dict = Self { symbols: Symbols::default(), tables };
        // The empty string is number 0 also for those who look it up.
        let hash = xxh3_64_with_seed(b"", key.seed);
        dict.tables.strings.insert_unique(hash, 0, |_| hash);
        dict
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let t = &self.tables;
        let slots = t.strings.capacity()
            + t.functions.capacity()
            + t.mappings.capacity()
            + t.locations.capacity()
            + t.nodes.capacity()
            + t.stacks.capacity();
        // Four bytes and a control byte a slot, of which seven in eight count as capacity.
        self.symbols.bytes() + t.location_hashes.bytes() + t.stack_hashes.bytes() + slots * 5 * 8 / 7
    }

    /// Finds or makes the numbers of all locations and stacks of a record. `numbers.stacks` is parallel to the record's.
    pub(crate) fn intern(&mut self, record: &Record<'_>, hashes: &Hashes, numbers: &mut Numbers) {
        numbers.locations.clear();
        for (at, &hash) in hashes.locations.iter().enumerate() {
            let location = self.location(record, at, hash, numbers);
            numbers.locations.push(location);
        }
        numbers.stacks.clear();
        numbers.prefix.clear();
        numbers.prefix.push([self.tables.key.lanes[1], self.tables.key.lanes[0]]);
        numbers.path.clear();
        numbers.path.push(0);
        let mut before: &[u32] = &[];
        for at in 0..record.stack_ends.len() {
            let stack = record.stack(at);
            let shared = stack.iter().zip(before).take_while(|(a, b)| a == b).count();
            numbers.prefix.truncate(shared + 1);
            numbers.path.truncate(shared + 1);
            let mut state = numbers.prefix[shared];
            for &frame in &stack[shared..] {
                state = self.tables.key.step(state, numbers.locations[frame as usize]);
                numbers.prefix.push(state);
            }
            before = stack;
            let hash = u128::from(state[0]) << 64 | u128::from(state[1]);
            let stack = self.stack(stack, hash, &numbers.locations, &mut numbers.path);
            numbers.stacks.push(stack);
        }
    }

    fn location(&mut self, record: &Record<'_>, at: usize, hash: u128, numbers: &mut Numbers) -> u32 {
        let tables = &self.tables;
        let same = |id: &u32| tables.location_hashes.get(*id) == hash;
        if let Some(id) = tables.locations.find(hash as u64, same) {
            return *id;
        }
        self.new_location(record, at, hash, &mut numbers.lines)
    }

    #[cold]
    fn new_location(&mut self, record: &Record<'_>, at: usize, hash: u128, lines: &mut Vec<LineRow>) -> u32 {
        let location = record.locations[at];
        let mapping_plus_1 = match (location.mapping_plus_1 as usize).checked_sub(1) {
            Some(mapping) => self.mapping(record, mapping) + 1,
            None => 0,
        };
        lines.clear();
        let first = location.first_line as usize;
        for line in &record.lines[first..first + location.line_count as usize] {
            lines.push(LineRow { function: self.function(record, line.function), line: line.line });
        }
        let place = match lines.as_slice() {
            [] => self.symbols.addresses.push(location.address),
            lines => self.symbols.lines.push(lines),
        };
        let row = LocationRow { mapping_plus_1, at: place, line_count: location.line_count };
        let id = self.symbols.locations.push(row);
        self.tables.location_hashes.push(hash);
        let hashes = &self.tables.location_hashes;
        self.tables.locations.insert_unique(hash as u64, id, |id| hashes.get(*id) as u64);
        id
    }

    fn string(&mut self, text: &str) -> u32 {
        let (seed, strings) = (self.tables.key.seed, &mut self.symbols.strings);
        let hash = xxh3_64_with_seed(text.as_bytes(), seed);
        if let Some(id) = self.tables.strings.find(hash, |id| strings.get(*id) == text) {
            return *id;
        }
        let id = strings.push(text);
        let rehash = |id: &u32| xxh3_64_with_seed(strings.get(*id).as_bytes(), seed);
        self.tables.strings.insert_unique(hash, id, rehash);
        id
    }

    fn function(&mut self, record: &Record<'_>, at: u32) -> u32 {
        let function = record.functions[at as usize];
        let row = FunctionRow {
            name: self.string(record.strings[function.name as usize]),
            system_name: self.string(record.strings[function.system_name as usize]),
            file: self.string(record.strings[function.file as usize]),
            start_line: function.start_line,
        };
        let key = self.tables.key;
        let hash = |row: &FunctionRow| {
            let names = u64::from(row.name) << 32 | u64::from(row.system_name);
            let rest = u64::from(row.file) ^ (row.start_line as u64).rotate_left(32);
            fold(fold(names ^ key.seed, key.lanes[0]) ^ rest, key.lanes[1])
        };
        let functions = &mut self.symbols.functions;
        if let Some(id) = self.tables.functions.find(hash(&row), |id| functions.get(*id) == row) {
            return *id;
        }
        let id = functions.push(row);
        self.tables.functions.insert_unique(hash(&row), id, |id| hash(&functions.get(*id)));
        id
    }

    fn mapping(&mut self, record: &Record<'_>, at: usize) -> u32 {
        let mapping = record.mappings[at];
        let row = MappingRow {
            file: self.string(record.strings[mapping.file as usize]),
            build_id: self.string(record.strings[mapping.build_id as usize]),
            start: mapping.start,
            limit: mapping.limit,
            offset: mapping.offset,
        };
        let key = self.tables.key;
        let hash = |row: &MappingRow| {
            let names = u64::from(row.file) << 32 | u64::from(row.build_id);
            let state = fold(names ^ key.seed, key.lanes[0]);
            let state = fold(state ^ row.start, key.lanes[1]);
            fold(fold(state ^ row.limit, key.lanes[0]) ^ row.offset, key.lanes[1])
        };
        let mappings = &mut self.symbols.mappings;
        if let Some(id) = self.tables.mappings.find(hash(&row), |id| mappings.get(*id) == row) {
            return *id;
        }
        let id = mappings.push(row);
        self.tables.mappings.insert_unique(hash(&row), id, |id| hash(&mappings.get(*id)));
        id
    }

    fn stack(&mut self, frames: &[u32], hash: u128, locations: &[u32], path: &mut Vec<u32>) -> u32 {
        let tables = &self.tables;
        if let Some(id) = tables.stacks.find(hash as u64, |id| tables.stack_hashes.get(*id) == hash) {
            return *id;
        }
        let mut node = path.last().copied().unwrap_or_default();
        for &frame in &frames[path.len() - 1..] {
            node = self.child(node, locations[frame as usize]);
            path.push(node);
        }
        let id = self.symbols.stacks.push(node);
        self.tables.stack_hashes.push(hash);
        let hashes = &self.tables.stack_hashes;
        self.tables.stacks.insert_unique(hash as u64, id, |id| hashes.get(*id) as u64);
        id
    }

    fn child(&mut self, parent: u32, location: u32) -> u32 {
        let key = self.tables.key;
        let hash = |(parent, location): (u32, u32)| {
            fold((u64::from(parent) << 32 | u64::from(location)) ^ key.seed, key.lanes[0])
        };
        let nodes = &mut self.symbols.nodes;
        let row = (parent, location);
        if let Some(id) = self.tables.nodes.find(hash(row), |id| nodes.get(*id) == row) {
            return *id;
        }
        let id = nodes.push(row);
        self.tables.nodes.insert_unique(hash(row), id, |id| hash(nodes.get(*id)));
        id
    }
}
