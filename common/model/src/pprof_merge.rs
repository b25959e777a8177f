//! Stacks summed by whole locations: what merged pprof files are made of.

use crate::question::AnswerError;

/// Stacks summed by whole location: two functions of one name stay apart. Built bottom-up by interning strings,
/// mappings, functions and locations by content; stacks are paths of locations from the root.
#[derive(Debug, Clone, Default)]
pub struct PprofMerge {}

/// A mapping by interned strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MappingKey {
    /// Interned file name.
    pub file: u32,
    /// Interned build id.
    pub build_id: u32,
    /// Address range and file offset; 0 when the mapping is symbolised.
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

impl PprofMerge {
    /// The invisible root of stacks.
    pub const ROOT: u32 = 0;

    /// No stacks.
    pub fn new() -> Self {
        todo!()
    }

    /// Interns a string; the empty string is 0.
    pub fn string(&mut self, _text: &str) -> u32 {
        todo!()
    }

    /// Interns a mapping.
    pub fn mapping(&mut self, _mapping: MappingKey) -> u32 {
        todo!()
    }

    /// Interns a function.
    pub fn function(&mut self, _function: FunctionKey) -> u32 {
        todo!()
    }

    /// Interns a location. `mapping` is `None` when the location has none.
    pub fn location(&mut self, _mapping: Option<u32>, _address: u64, _lines: &[LineKey]) -> u32 {
        todo!()
    }

    /// The child of a node by location, made when missing.
    pub fn child(&mut self, _parent: u32, _location: u32) -> u32 {
        todo!()
    }

    /// Adds to the value of the stack that ends at a node (the root = the empty stack).
    pub fn add(&mut self, _node: u32, _value: i64) {
        todo!()
    }

    /// Adds another merge by content.
    pub fn merge(&mut self, _other: &Self) -> Result<(), AnswerError> {
        todo!()
    }
}
