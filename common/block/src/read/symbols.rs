//! Decoded symbols: strings and functions that units share, and the locations and stack tree of one unit.

use hashbrown::HashMap;

use super::meta::{Meta, UnitPlace};
use crate::codec::{CodecResult, Cursor, take_with_exceptions, unzigzag};
use crate::error::BlockError;
use crate::frame::{Frame, section};
use crate::write::symbols::{LONG_STRING, MANY_LINES};

/// Strings one behind the other, sorted.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    ends: Vec<u32>,
    text: String,
}

impl Texts {
    pub(crate) fn get(&self, at: u32) -> Option<&str> {
        let end = *self.ends.get(at as usize)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before as usize] as usize);
        self.text.get(start..end)
    }

    /// Which string this is.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0u32, self.ends.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(text) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.ends.len() as u32
    }

    fn append(&mut self, raw: &[u8], count: usize) -> CodecResult<()> {
        let mut cursor = Cursor::new(raw);
        let lengths = cursor.u16s(count)?;
        let long = cursor.u32s(lengths.iter().filter(|&&l| l == LONG_STRING).count())?;
        let mut long = long.into_iter();
        for length in lengths {
            let length =
                if length == LONG_STRING { long.next().unwrap_or_default() } else { u32::from(length) };
            let text =
                std::str::from_utf8(cursor.take(length as usize)?).map_err(|_| "a string is not UTF-8")?;
            self.text.push_str(text);
            self.ends.push(u32::try_from(self.text.len()).map_err(|_| "too many strings")?);
        }
        cursor.end()
    }

    fn bytes(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }
}

/// A function by block-wide ids of its strings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Function {
    pub(crate) name: u32,
    pub(crate) system_name: u32,
    pub(crate) file: u32,
    pub(crate) start_line: i64,
}

fn functions(raw: &[u8], count: usize, out: &mut Vec<Function>) -> CodecResult<()> {
    let mut cursor = Cursor::new(raw);
    let names = cursor.u32s(count)?;
    let system_names = cursor.u32s(count)?;
    let files = cursor.u32s(count)?;
    let start_lines = take_with_exceptions(&mut cursor, count)?;
    let rows = names.into_iter().zip(system_names).zip(files.into_iter().zip(start_lines));
    out.extend(rows.map(|((name, delta), (file, start_line))| Function {
        name,
        system_name: name.wrapping_add(delta),
        file,
        start_line,
    }));
    cursor.end()
}

/// What at least two units use.
#[derive(Debug, Default)]
pub(crate) struct SharedSymbols {
    pub(crate) strings: Texts,
    pub(crate) functions: Vec<Function>,
}

impl SharedSymbols {
    /// Decodes the shared frames.
    pub(crate) fn decode<'b>(
        meta: &Meta,
        stored: impl Fn(&Frame) -> Result<&'b [u8], BlockError>,
    ) -> Result<Self, BlockError> {
        let mut found = Self::default();
        for frame in &meta.frames[meta.shared.clone()] {
            let damaged = |what| BlockError::index(frame.offset, what);
            let count = frame.count as usize;
            match frame.section {
                section::STRINGS => {
                    found.strings.append(&frame.inflate(stored(frame)?)?, count).map_err(damaged)?
                }
                section::FUNCTIONS => {
                    functions(&frame.inflate(stored(frame)?)?, count, &mut found.functions)
                        .map_err(damaged)?;
                }
                _ => {}
            }
        }
        let wrong =
            found.functions.iter().any(|f| f.name.max(f.system_name).max(f.file) >= meta.shared_strings);
        if wrong { Err(BlockError::index(0, "a shared function has an unknown string")) } else { Ok(found) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.strings.bytes() + size_of::<Function>() * self.functions.len()
    }
}

/// A mapping by block-wide ids of its strings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) file: u32,
    pub(crate) build_id: u32,
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
}

/// The symbols of a unit, ready to be walked. All ids were checked.
#[derive(Debug, Default)]
pub(crate) struct UnitSymbols {
    pub(crate) place: UnitPlace,
    pub(crate) strings: Texts,
    pub(crate) functions: Vec<Function>,
    pub(crate) mappings: Vec<Mapping>,
    /// Location i has the lines `line_ends[i-1]..line_ends[i]`, outermost first.
    line_ends: Vec<u32>,
    /// Block-wide id of the function of each line.
    pub(crate) line_functions: Vec<u32>,
    pub(crate) line_numbers: Vec<i64>,
    /// Block-wide id of the name of each line's function.
    pub(crate) line_names: Vec<u32>,
    pub(crate) mapping_plus_1: Vec<u32>,
    /// Of locations without lines.
    pub(crate) addresses: HashMap<u32, u64>,
    /// The tree in preorder.
    pub(crate) depths: Vec<u16>,
    pub(crate) parents: Vec<u32>,
    pub(crate) locations: Vec<u32>,
    /// The node at which each stack ends.
    pub(crate) stack_nodes: Vec<u32>,
}

impl UnitSymbols {
    /// Decodes the region of a unit.
    pub(crate) fn decode<'b>(
        meta: &Meta,
        unit: u32,
        shared: &SharedSymbols,
        stored: impl Fn(&Frame) -> Result<&'b [u8], BlockError>,
    ) -> Result<Self, BlockError> {
        Self::decode_checked(meta, unit, shared, |_| true, stored)
    }

    /// As [`UnitSymbols::decode`], without the tree.
    pub(crate) fn decode_without_tree<'b>(
        meta: &Meta,
        unit: u32,
        shared: &SharedSymbols,
        stored: impl Fn(&Frame) -> Result<&'b [u8], BlockError>,
    ) -> Result<Self, BlockError> {
        Self::decode_checked(meta, unit, shared, |kind| kind != section::TREE, stored)
    }

    fn decode_checked<'b>(
        meta: &Meta,
        unit: u32,
        shared: &SharedSymbols,
        wanted: impl Fn(u32) -> bool,
        stored: impl Fn(&Frame) -> Result<&'b [u8], BlockError>,
    ) -> Result<Self, BlockError> {
        let mut found = Self::decode_only(meta, unit, wanted, stored)?;
        let at = meta.frames.get(found.place.frames.start).map_or(0, |f| f.offset);
        found.check(meta, shared).map_err(|what| BlockError::index(at, what))?;
        Ok(found)
    }

    /// Some sections of a unit. What refers to others is not checked.
    pub(crate) fn decode_only<'b>(
        meta: &Meta,
        unit: u32,
        wanted: impl Fn(u32) -> bool,
        stored: impl Fn(&Frame) -> Result<&'b [u8], BlockError>,
    ) -> Result<Self, BlockError> {
        let place = meta.places[unit as usize].clone();
        let frames = &meta.frames[place.frames.clone()];
        let mut found = Self { place, ..Self::default() };
        let mut path = Vec::new();
        for frame in frames.iter().filter(|frame| wanted(frame.section)) {
            let raw = frame.inflate(stored(frame)?)?;
            let count = frame.count as usize;
            let done = match frame.section {
                section::STRINGS => found.strings.append(&raw, count),
                section::FUNCTIONS => functions(&raw, count, &mut found.functions),
                section::MAPPINGS => found.append_mappings(&raw, count),
                section::LOCATIONS => found.append_locations(&raw, count),
                section::TREE => found.append_tree(&raw, count, &mut path),
                _ => Ok(()),
            };
            done.map_err(|what| BlockError::index(frame.offset, what))?;
        }
        Ok(found)
    }

    fn append_mappings(&mut self, raw: &[u8], count: usize) -> CodecResult<()> {
        let mut cursor = Cursor::new(raw);
        let (files, build_ids) = (cursor.u32s(count)?, cursor.u32s(count)?);
        let (starts, limits, offsets) = (cursor.u64s(count)?, cursor.u64s(count)?, cursor.u64s(count)?);
        self.mappings.extend((0..count).map(|at| Mapping {
            file: files[at],
            build_id: build_ids[at],
            start: starts[at],
            limit: limits[at],
            offset: offsets[at],
        }));
        cursor.end()
    }

    fn append_locations(&mut self, raw: &[u8], count: usize) -> CodecResult<()> {
        let mut cursor = Cursor::new(raw);
        let counts = cursor.take(count)?;
        let many = cursor.u32s(counts.iter().filter(|&&c| c == MANY_LINES).count())?;
        let mut many = many.into_iter();
        let first = self.line_ends.len() as u32;
        let mut end = self.line_functions.len() as u64;
        let mut bare = Vec::new();
        for (&lines, location) in counts.iter().zip(first..) {
            let lines = if lines == MANY_LINES { many.next().unwrap_or_default() } else { u32::from(lines) };
            end += u64::from(lines);
            self.line_ends.push(u32::try_from(end).map_err(|_| "too many lines")?);
            if lines == 0 {
                bare.push(location);
            }
        }
        self.mapping_plus_1.extend(cursor.u32s(count)?);
        let lines = end as usize - self.line_functions.len();
        let own = cursor.bits(lines)?;
        let mut last = [0u32; 2];
        self.line_functions.extend(own.zip(cursor.u32s(lines)?).map(|(own, step)| {
            let id = &mut last[usize::from(own)];
            *id = id.wrapping_add(unzigzag(u64::from(step)) as u32);
            *id
        }));
        self.line_numbers.extend(take_with_exceptions(&mut cursor, lines)?);
        let addresses = cursor.u64s(bare.len())?;
        self.addresses.extend(bare.into_iter().zip(addresses).filter(|(_, address)| *address != 0));
        cursor.end()
    }

    /// `path` has the last node of each depth so far.
    fn append_tree(&mut self, raw: &[u8], count: usize, path: &mut Vec<u32>) -> CodecResult<()> {
        let frame = TreeFrame::decode(raw, count, self.stack_nodes.len())?;
        self.locations.extend_from_slice(&frame.locations);
        for (depth, end) in frame.depths.into_iter().zip(frame.ends) {
            let node = self.parents.len() as u32;
            let above = usize::from(depth);
            if above > path.len() || (depth == 0) != (node == 0) {
                return Err(format!("node {node} has depth {depth} behind one of depth {}", path.len()));
            }
            path.truncate(above);
            self.parents.push(path.last().copied().unwrap_or_default());
            path.push(node);
            self.depths.push(depth);
            if end {
                self.stack_nodes.push(node);
            }
        }
        Ok(())
    }

    fn check(&mut self, meta: &Meta, shared: &SharedSymbols) -> CodecResult<()> {
        let (strings, functions) = (self.place.strings.clone(), self.place.functions.clone());
        let known_string = |id: u32| id < meta.shared_strings || strings.contains(&id);
        let of_functions = self.functions.iter().flat_map(|f| [f.name, f.system_name, f.file]);
        let of_mappings = self.mappings.iter().flat_map(|m| [m.file, m.build_id]);
        if !of_functions.chain(of_mappings).all(known_string) {
            return Err("a function or mapping has an unknown string".to_owned());
        }
        if self.mapping_plus_1.iter().any(|&at| at as usize > self.mappings.len()) {
            return Err("a location has an unknown mapping".to_owned());
        }
        let locations = self.line_ends.len();
        if self.locations.iter().skip(1).any(|&at| at as usize >= locations) {
            return Err("a node has an unknown location".to_owned());
        }
        self.line_names.reserve(self.line_functions.len());
        for &id in &self.line_functions {
            let own = id.checked_sub(functions.start).map(|own| self.functions.get(own as usize));
            let function = own.unwrap_or_else(|| shared.functions.get(id as usize));
            self.line_names.push(function.ok_or("a line has an unknown function")?.name);
        }
        Ok(())
    }

    /// How many locations there are.
    pub(crate) fn location_count(&self) -> u32 {
        self.line_ends.len() as u32
    }

    /// The lines of a location, outermost first, as a range of the line columns.
    #[inline]
    pub(crate) fn lines(&self, location: u32) -> std::ops::Range<usize> {
        let at = location as usize;
        let start = if at == 0 { 0 } else { self.line_ends[at - 1] };
        start as usize..self.line_ends[at] as usize
    }

    /// A function by block-wide id, which was checked.
    pub(crate) fn function(&self, shared: &SharedSymbols, id: u32) -> Function {
        match id.checked_sub(self.place.functions.start) {
            Some(own) => self.functions[own as usize],
            None => shared.functions[id as usize],
        }
    }

    /// A string by block-wide id.
    pub(crate) fn string<'a>(&'a self, shared: &'a SharedSymbols, id: u32) -> &'a str {
        let text = match id.checked_sub(self.place.strings.start) {
            Some(own) => self.strings.get(own),
            None => shared.strings.get(id),
        };
        text.unwrap_or_default()
    }

    /// The block-wide id of a string, if the unit can use it.
    pub(crate) fn find_string(&self, shared: &SharedSymbols, text: &str) -> Option<u32> {
        let own = self.strings.find(text).map(|own| own + self.place.strings.start);
        own.or_else(|| shared.strings.find(text))
    }

    /// How many stacks there are.
    pub(crate) fn stacks(&self) -> usize {
        self.stack_nodes.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.strings.bytes()
            + size_of::<Function>() * self.functions.len()
            + size_of::<Mapping>() * self.mappings.len()
            + 8 * self.line_ends.len()
            + 16 * self.line_functions.len()
            + 16 * self.addresses.len()
            + 10 * self.parents.len()
            + 4 * self.stack_nodes.len()
    }
}

/// Nodes of a tree frame, as they are stored.
#[derive(Debug, Default)]
pub(crate) struct TreeFrame {
    pub(crate) depths: Vec<u16>,
    pub(crate) locations: Vec<u32>,
    pub(crate) ends: Vec<bool>,
}

impl TreeFrame {
    /// `stacks` is how many stacks ended before this frame.
    pub(crate) fn decode(raw: &[u8], count: usize, stacks: usize) -> CodecResult<Self> {
        let mut cursor = Cursor::new(raw);
        let (first_stack, ancestors) = (cursor.u32()?, cursor.u32()? as usize);
        cursor.u32s(ancestors)?;
        let mut depths = cursor.u16s(count)?;
        let locations = cursor.u32s(count)?;
        let ends = cursor.bits(count)?.collect();
        cursor.end()?;
        if first_stack as usize != stacks {
            return Err(format!("a tree frame starts with stack {first_stack}, not {stacks}"));
        }
        let mut before = None;
        for (at, depth) in depths.iter_mut().enumerate() {
            // But for the first, what is stored is how far a node climbs before it descends one.
            let found = before.map_or(Some(*depth), |before: u16| (before + 1).checked_sub(*depth));
            *depth = found
                .filter(|&depth| depth < u16::MAX)
                .ok_or_else(|| format!("node {at} of a frame has no depth"))?;
            before = Some(*depth);
        }
        Ok(Self { depths, locations, ends })
    }
}
