//! Stacks summed by whole locations: what merged pprof files are made of.
//!
//! Identity is content: two functions of one name in different files stay apart. Selection and truncation of the result
//! are in `pprof_export`.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::name_tree::{Interner, PairMap, pair};
use crate::question::AnswerError;

/// A mapping by interned strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MappingKey {
    /// Interned file name.
    pub file: u32,
    /// Interned build id.
    pub build_id: u32,
    /// Start of the address range; 0 when the mapping is symbolised.
    pub start: u64,
    /// End of the address range.
    pub limit: u64,
    /// Offset in the file.
    pub offset: u64,
}

/// A function by interned strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FunctionKey {
    /// Interned name.
    pub name: u32,
    /// Interned system name.
    pub system_name: u32,
    /// Interned file name.
    pub file: u32,
    /// Line of the function's start.
    pub start_line: i64,
}

/// A line of a location: interned function and line number. Lines of a location are given **leaf first**, as in pprof
/// (the last line is the outermost caller).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LineKey {
    /// Interned function.
    pub function: u32,
    /// Line number.
    pub line: i64,
}

/// A location by interned parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocationKey {
    /// Interned mapping, if any.
    pub mapping: Option<u32>,
    /// Address; 0 when the location had lines when it was pushed.
    pub address: u64,
    /// Lines, leaf first.
    pub lines: Box<[LineKey]>,
}

/// Values by content, numbered from 0 in order of first sight.
#[derive(Debug, Clone)]
pub(crate) struct Table<K> {
    pub(crate) rows: Vec<K>,
    ids: HashMap<K, u32>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), ids: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Table<K> {
    pub(crate) fn intern(&mut self, key: K) -> u32 {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = u32::try_from(self.rows.len()).expect("a query touches fewer than 2^32 symbols");
        self.rows.push(key.clone());
        self.ids.insert(key, id);
        id
    }
}

/// Stacks summed by whole location. Built bottom-up by interning strings, mappings, functions and locations by content;
/// stacks are paths of locations from the root.
#[derive(Debug, Clone)]
pub struct PprofMerge {
    strings: Interner,
    pub(crate) mappings: Table<MappingKey>,
    pub(crate) functions: Table<FunctionKey>,
    pub(crate) locations: Table<LocationKey>,
    children: PairMap,
    /// (parent, location) by node; node 0 is the root.
    pub(crate) nodes: Vec<(u32, u32)>,
    /// Value of the stack that ends at a node.
    pub(crate) values: Vec<i64>,
    total: i128,
}

impl Default for PprofMerge {
    fn default() -> Self {
        Self::new()
    }
}

impl PprofMerge {
    /// The invisible root of stacks.
    pub const ROOT: u32 = 0;

    /// No stacks.
    pub fn new() -> Self {
        let mut strings = Interner::default();
        strings.intern("");
        Self {
            strings,
            mappings: Table::default(),
            functions: Table::default(),
            locations: Table::default(),
            children: PairMap::default(),
            nodes: vec![(0, 0)],
            values: vec![0],
            total: 0,
        }
    }

    /// Interns a string; the empty string is 0.
    pub fn string(&mut self, text: &str) -> u32 {
        self.strings.intern(text)
    }

    /// An interned string.
    pub fn text(&self, id: u32) -> &str {
        self.strings.get(id)
    }

    /// Interns a mapping.
    pub fn mapping(&mut self, mapping: MappingKey) -> u32 {
        self.mappings.intern(mapping)
    }

    /// Interns a function.
    pub fn function(&mut self, function: FunctionKey) -> u32 {
        self.functions.intern(function)
    }

    /// Interns a location. `mapping` is `None` when the location has none.
    pub fn location(&mut self, mapping: Option<u32>, address: u64, lines: &[LineKey]) -> u32 {
        self.locations.intern(LocationKey { mapping, address, lines: lines.into() })
    }

    /// The child of a node by location, made when missing.
    pub fn child(&mut self, parent: u32, location: u32) -> u32 {
        let next = self.nodes.len() as u32;
        let node = *self.children.entry(pair(parent, location)).or_insert(next);
        if node == next {
            self.nodes.push((parent, location));
            self.values.push(0);
        }
        node
    }

    /// Adds to the value of the stack that ends at a node (the root = the empty stack).
    pub fn add(&mut self, node: u32, value: i64) {
        let own = &mut self.values[node as usize];
        *own = own.wrapping_add(value);
        self.total += i128::from(value);
    }

    /// Adds another merge by content.
    pub fn merge(&mut self, other: &Self) -> Result<(), AnswerError> {
        let strings: Vec<u32> =
            (0..other.strings.len() as u32).map(|id| self.string(other.text(id))).collect();
        let string = |id: u32| strings[id as usize];
        let mapping =
            |m: &MappingKey| MappingKey { file: string(m.file), build_id: string(m.build_id), ..*m };
        let mappings: Vec<u32> =
            other.mappings.rows.iter().map(|m| self.mappings.intern(mapping(m))).collect();
        let function = |f: &FunctionKey| FunctionKey {
            name: string(f.name),
            system_name: string(f.system_name),
            file: string(f.file),
            start_line: f.start_line,
        };
        let functions: Vec<u32> =
            other.functions.rows.iter().map(|f| self.functions.intern(function(f))).collect();
        let location = |l: &LocationKey| LocationKey {
            mapping: l.mapping.map(|m| mappings[m as usize]),
            address: l.address,
            lines: l
                .lines
                .iter()
                .map(|n| LineKey { function: functions[n.function as usize], line: n.line })
                .collect(),
        };
        let locations: Vec<u32> =
            other.locations.rows.iter().map(|l| self.locations.intern(location(l))).collect();
        let mut nodes = vec![Self::ROOT; other.nodes.len()];
        for (at, (parent, location)) in other.nodes.iter().enumerate() {
            if at > 0 {
                nodes[at] = self.child(nodes[*parent as usize], locations[*location as usize]);
            }
            let own = &mut self.values[nodes[at] as usize];
            *own = own.wrapping_add(other.values[at]);
        }
        self.total += other.total;
        self.checked_total().map(drop)
    }

    /// Nodes of the tree of stacks, the invisible root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no stack has a value.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|value| *value == 0)
    }

    /// The sum of all values, or an error when it does not fit in 63 bits.
    pub fn checked_total(&self) -> Result<i64, AnswerError> {
        i64::try_from(self.total).map_err(|_| AnswerError::Overflow)
    }
}
