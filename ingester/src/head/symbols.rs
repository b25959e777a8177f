//! Symbols of a unit, numbered in order of arrival; a clone is a snapshot.

use hearth_block::input::{FunctionRow, LineRow, MappingRow, UnitSymbols};

use super::paged::{Lines, Paged, Texts};

/// Where the parts of a location are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocationRow {
    pub(crate) mapping_plus_1: u32,
    /// Of its lines; of its address when it has none.
    pub(crate) at: u32,
    pub(crate) line_count: u32,
}

/// Arrays that only grow. String 0 is "", node 0 is the root.
#[derive(Debug, Clone)]
pub(crate) struct Symbols {
    pub(crate) strings: Texts,
    pub(crate) functions: Paged<FunctionRow>,
    pub(crate) mappings: Paged<MappingRow>,
    pub(crate) lines: Lines,
    pub(crate) addresses: Paged<u64>,
    pub(crate) locations: Paged<LocationRow>,
    /// (parent, location)
    pub(crate) nodes: Paged<(u32, u32)>,
    /// Node at which each stack ends.
    pub(crate) stacks: Paged<u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self {
            strings: Texts::default(),
            functions: Paged::default(),
            mappings: Paged::default(),
            lines: Lines::default(),
            addresses: Paged::default(),
            locations: Paged::default(),
            nodes: Paged::default(),
            stacks: Paged::default(),
        };
        symbols.strings.push("");
        symbols.nodes.push((0, 0));
        symbols
    }
}

impl Symbols {
    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.strings.bytes()
            + self.functions.bytes()
            + self.mappings.bytes()
            + self.lines.bytes()
            + self.addresses.bytes()
            + self.locations.bytes()
            + self.nodes.bytes()
            + self.stacks.bytes()
    }
}

impl UnitSymbols for Symbols {
    fn string_count(&self) -> u32 {
        self.strings.len() as u32
    }

    fn string(&self, at: u32) -> &str {
        self.strings.get(at)
    }

    fn function_count(&self) -> u32 {
        self.functions.len() as u32
    }

    fn function(&self, at: u32) -> FunctionRow {
        self.functions.get(at)
    }

    fn mapping_count(&self) -> u32 {
        self.mappings.len() as u32
    }

    fn mapping(&self, at: u32) -> MappingRow {
        self.mappings.get(at)
    }

    fn location_count(&self) -> u32 {
        self.locations.len() as u32
    }

    fn location(&self, at: u32) -> (Option<u32>, u64, &[LineRow]) {
        let LocationRow { mapping_plus_1, at, line_count } = self.locations.get(at);
        let mapping = mapping_plus_1.checked_sub(1);
        match line_count {
            0 => (mapping, self.addresses.get(at), &[]),
            _ => (mapping, 0, self.lines.get(at, line_count)),
        }
    }

    fn node_count(&self) -> u32 {
        self.nodes.len() as u32
    }

    fn node(&self, at: u32) -> (u32, u32) {
        self.nodes.get(at)
    }

    fn stack_count(&self) -> u32 {
        self.stacks.len() as u32
    }

    fn stack_node(&self, at: u32) -> u32 {
        self.stacks.get(at)
    }
}
