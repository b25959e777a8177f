//! The strings and functions of all inputs, each once, and the block-wide ids that the output gives them.
//!
//! What one unit uses is its own, what two use is shared; ids follow from that and from contents alone.

use std::hash::{BuildHasher, Hash};
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::BlockError;
use crate::write::canon::{CanonFunction, CanonLocation};

/// The unit that uses a thing, once one does.
const NOBODY: u32 = u32::MAX;
/// More than one unit uses it.
const SHARED: u32 = u32::MAX - 1;

/// Things by number, each once.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) rows: Vec<T>,
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The number behind the one that was given last. Inputs name the same things in the same order: it is tried first.
    next: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), known: HashTable::new(), hasher: DefaultHashBuilder::default(), next: 0 }
    }
}

impl<T: Eq + Hash> Table<T> {
    pub(super) fn intern(&mut self, row: T) -> u32 {
        let Self { rows, known, hasher, next } = self;
        if rows.get(*next).is_some_and(|known| *known == row) {
            *next += 1;
            return *next as u32 - 1;
        }
        let hash = hasher.hash_one(&row);
        if let Some(&at) = known.find(hash, |&at| rows[at as usize] == row) {
            *next = at as usize + 1;
            return at;
        }
        let at = rows.len() as u32;
        *next = at as usize + 1;
        rows.push(row);
        known.insert_unique(hash, at, |&at| hasher.hash_one(&rows[at as usize]));
        at
    }
}

/// Texts by number, each once, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    ends: Vec<usize>,
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// As in [`Table`].
    next: usize,
}

impl Strings {
    pub(super) fn get(&self, at: u32) -> &str {
        text_of(&self.text, &self.ends, at)
    }

    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let Self { text: all, ends, known, hasher, next } = self;
        if *next < ends.len() && text_of(all, ends, *next as u32) == text {
            *next += 1;
            return *next as u32 - 1;
        }
        let hash = hasher.hash_one(text);
        if let Some(&at) = known.find(hash, |&at| text_of(all, ends, at) == text) {
            *next = at as usize + 1;
            return at;
        }
        let at = ends.len() as u32;
        *next = at as usize + 1;
        all.push_str(text);
        ends.push(all.len());
        known.insert_unique(hash, at, |&at| hasher.hash_one(text_of(all, ends, at)));
        at
    }
}

fn text_of<'t>(text: &'t str, ends: &[usize], at: u32) -> &'t str {
    let at = at as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &text[start..ends[at]]
}

/// Locations by number, each once; their lines lie one behind the other.
#[derive(Debug, Default)]
pub(super) struct LocationTable {
    lines: Vec<(u32, i64)>,
    /// Where the lines of each location end, its mapping + 1 and its address.
    rows: Vec<(usize, u32, u64)>,
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// As in [`Table`].
    next: usize,
}

impl LocationTable {
    pub(super) fn intern(&mut self, lines: &[(u32, i64)], mapping_plus_1: u32, address: u64) -> u32 {
        let Self { lines: all, rows, known, hasher, next } = self;
        let is = |at: u32| location_of(all, rows, at) == (lines, mapping_plus_1, address);
        if *next < rows.len() && is(*next as u32) {
            *next += 1;
            return *next as u32 - 1;
        }
        let hash = hasher.hash_one((lines, mapping_plus_1, address));
        if let Some(&at) = known.find(hash, |&at| is(at)) {
            *next = at as usize + 1;
            return at;
        }
        let at = rows.len() as u32;
        *next = at as usize + 1;
        all.extend_from_slice(lines);
        rows.push((all.len(), mapping_plus_1, address));
        known.insert_unique(hash, at, |&at| hasher.hash_one(location_of(all, rows, at)));
        at
    }

    pub(super) fn into_rows(self) -> Vec<CanonLocation> {
        let row = |at: u32| {
            let (lines, mapping_plus_1, address) = location_of(&self.lines, &self.rows, at);
            CanonLocation { lines: lines.to_vec(), mapping_plus_1, address }
        };
        (0..self.rows.len() as u32).map(row).collect()
    }
}

fn location_of<'l>(
    lines: &'l [(u32, i64)],
    rows: &[(usize, u32, u64)],
    at: u32,
) -> (&'l [(u32, i64)], u32, u64) {
    let at = at as usize;
    let start = if at == 0 { 0 } else { rows[at - 1].0 };
    let (end, mapping_plus_1, address) = rows[at];
    (&lines[start..end], mapping_plus_1, address)
}

/// Everything that the inputs name, and who uses it.
#[derive(Debug, Default)]
pub(super) struct Interner {
    pub(super) strings: Strings,
    /// By numbers of their strings here.
    pub(super) functions: Table<CanonFunction>,
    string_users: Vec<u32>,
    function_users: Vec<u32>,
}

impl Interner {
    /// Says that a unit uses a function, and thereby its strings.
    pub(super) fn use_function(&mut self, at: u32, unit: u32) {
        if self.function_users.len() < self.functions.rows.len() {
            self.function_users.resize(self.functions.rows.len(), NOBODY);
        }
        let user = &mut self.function_users[at as usize];
        if *user == unit || *user == SHARED {
            return;
        }
        *user = if *user == NOBODY { unit } else { SHARED };
        let function = self.functions.rows[at as usize];
        for string in [function.name, function.system_name, function.file] {
            self.use_string(string, unit);
        }
    }

    /// Says that a unit uses a string.
    pub(super) fn use_string(&mut self, at: u32, unit: u32) {
        if self.string_users.len() < self.strings.ends.len() {
            self.string_users.resize(self.strings.ends.len(), NOBODY);
        }
        let user = &mut self.string_users[at as usize];
        *user = match *user {
            NOBODY => unit,
            same if same == unit => unit,
            _ => SHARED,
        };
    }

    /// Numbers what is used, once all units have said what they use.
    pub(super) fn number(&self, units: u32) -> Result<Numbers, BlockError> {
        let strings = Ids::new(&self.string_users, units, |used| {
            used.sort_unstable_by(|&a, &b| self.strings.get(a).cmp(self.strings.get(b)));
        })?;
        let content = |at: &u32| {
            let function = self.functions.rows[*at as usize];
            let rank = |string: u32| strings.ranks[string as usize];
            (rank(function.name), rank(function.system_name), rank(function.file), function.start_line)
        };
        let functions = Ids::new(&self.function_users, units, |used| used.sort_by_cached_key(content))?;
        Ok(Numbers { strings, functions })
    }

    /// A function with block-wide ids of its strings.
    pub(super) fn stored_function(&self, at: u32, numbers: &Numbers) -> CanonFunction {
        let function = self.functions.rows[at as usize];
        let id = |string: u32| numbers.strings.ids[string as usize];
        CanonFunction {
            name: id(function.name),
            system_name: id(function.system_name),
            file: id(function.file),
            start_line: function.start_line,
        }
    }
}

/// Ids of strings and functions in the output.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) strings: Ids,
    pub(super) functions: Ids,
}

/// Ranks by content and block-wide ids of one kind of things, by their numbers in the interner.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) ranks: Vec<u32>,
    pub(super) ids: Vec<u32>,
    /// Block-wide ids by rank.
    pub(super) ids_by_rank: Vec<u32>,
    /// In order of their ids: what is shared, then unit after unit what is its own.
    order: Vec<u32>,
    /// Where the own ones of each unit begin in `order`; one more for the end.
    starts: Vec<u32>,
}

impl Ids {
    fn new(users: &[u32], units: u32, sort: impl FnOnce(&mut Vec<u32>)) -> Result<Self, BlockError> {
        let limit = u64::from(u32::MAX);
        if users.len() as u64 >= limit {
            let value = users.len() as u64;
            return Err(BlockError::Limit { what: "strings or functions of a block", value, limit });
        }
        let mut order: Vec<u32> =
            (0..users.len() as u32).filter(|&at| users[at as usize] != NOBODY).collect();
        sort(&mut order);
        let mut ranks = vec![u32::MAX; users.len()];
        order.iter().zip(0..).for_each(|(&at, rank)| ranks[at as usize] = rank);
        // The shared ones first; stable, so contents stay in order within each group.
        let group = |at: u32| match users[at as usize] {
            SHARED => 0,
            unit => unit + 1,
        };
        order.sort_by_key(|&at| group(at));
        let mut ids = vec![u32::MAX; users.len()];
        let mut ids_by_rank = vec![u32::MAX; order.len()];
        for (&at, id) in order.iter().zip(0..) {
            ids[at as usize] = id;
            ids_by_rank[ranks[at as usize] as usize] = id;
        }
        let starts =
            (0..=units).map(|unit| order.partition_point(|&at| group(at) < unit + 1) as u32).collect();
        Ok(Self { ranks, ids, ids_by_rank, order, starts })
    }

    /// The shared ones, in order.
    pub(super) fn shared(&self) -> &[u32] {
        &self.order[..self.starts[0] as usize]
    }

    fn own_range(&self, unit: u32) -> Range<usize> {
        self.starts[unit as usize] as usize..self.starts[unit as usize + 1] as usize
    }

    /// The own ones of a unit, in order.
    pub(super) fn own(&self, unit: u32) -> &[u32] {
        &self.order[self.own_range(unit)]
    }

    /// Whether an id belongs to what a unit has alone.
    pub(super) fn is_own(&self, id: u32) -> bool {
        id >= self.starts[0]
    }
}
