//! Encodes the symbol sections of the index: regions of units, then what they share; node after node for trees.

use super::canon::{CanonFunction, CanonLocation, CanonMapping, CanonUnit, Shared, UnitIds};
use super::tree::CanonTree;
use crate::codec::{put_bits, put_u16s, put_u32s, put_with_exceptions, zigzag};
use crate::error::BlockError;
use crate::frame::{FRAME_RAW, IndexWriter, NO_UNIT, section};

/// Most nodes of a tree frame.
const TREE_NODES: usize = 16_384;
/// Most elements of a frame of any other section: keeps the largest fixed columns below [`FRAME_RAW`].
const FRAME_ELEMENTS: usize = 6_000;
/// Marks in a column of 16-bit lengths that the length is in the list of exceptions.
pub(crate) const LONG_STRING: u16 = u16::MAX;
/// Marks in a column of 8-bit line counts that the count is in the list of exceptions.
pub(crate) const MANY_LINES: u8 = u8::MAX;

/// Writes the regions of all units, then the shared sections.
pub(crate) fn write_symbols(
    units: &[CanonUnit<'_>],
    shared: &Shared<'_>,
    out: &mut IndexWriter,
) -> Result<(), BlockError> {
    for (at, (unit, ids)) in units.iter().zip(&shared.units).enumerate() {
        write_unit(at as u32, unit, ids, out)?;
    }
    functions(NO_UNIT, &shared.functions, out)?;
    strings(NO_UNIT, &shared.strings, out)
}

fn write_unit(at: u32, unit: &CanonUnit<'_>, ids: &UnitIds, out: &mut IndexWriter) -> Result<(), BlockError> {
    let own_strings = (0..unit.strings.len()).filter(|&rank| ids.owns_string(rank));
    let own_strings: Vec<&str> = own_strings.map(|rank| unit.strings[rank]).collect();
    strings(at, &own_strings, out)?;
    let id = |rank: u32| ids.strings[rank as usize];
    let own_functions = (0..unit.functions.len()).filter(|&rank| ids.owns_function(rank));
    let own_functions = own_functions.map(|rank| unit.functions[rank]).map(|f| CanonFunction {
        name: id(f.name),
        system_name: id(f.system_name),
        file: id(f.file),
        start_line: f.start_line,
    });
    functions(at, &own_functions.collect::<Vec<_>>(), out)?;
    mappings(at, &unit.mappings, id, out)?;
    let function = |rank: u32| (ids.owns_function(rank as usize), ids.functions[rank as usize]);
    locations(at, &unit.locations, function, out)?;
    tree(at, &unit.tree, out)
}

/// Writes mappings; `id` gives block-wide ids of their strings.
pub(crate) fn mappings(
    unit: u32,
    all: &[CanonMapping],
    id: impl Fn(u32) -> u32,
    out: &mut IndexWriter,
) -> Result<(), BlockError> {
    for (first, part) in parts(all, |_| 32) {
        let mut raw = Vec::new();
        put_u32s(part.iter().map(|m| id(m.file)), &mut raw);
        put_u32s(part.iter().map(|m| id(m.build_id)), &mut raw);
        for column in [0, 1, 2] {
            part.iter()
                .for_each(|m| raw.extend_from_slice(&[m.start, m.limit, m.offset][column].to_le_bytes()));
        }
        out.frame(section::MAPPINGS, unit, first, part.len() as u32, &raw)?;
    }
    Ok(())
}

/// Writes locations; `function` says of a function whether it is the unit's own, and its block-wide id.
pub(crate) fn locations(
    unit: u32,
    all: &[CanonLocation],
    function: impl Fn(u32) -> (bool, u32),
    out: &mut IndexWriter,
) -> Result<(), BlockError> {
    for (first, part) in parts(all, |l| 17 + 8 * l.lines.len()) {
        let raw = location_frame(part, &function);
        out.frame(section::LOCATIONS, unit, first, part.len() as u32, &raw)?;
    }
    Ok(())
}

/// Cuts elements into frames by their size.
fn parts<T>(elements: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = (u64, &[T])> {
    let mut from = 0usize;
    std::iter::from_fn(move || {
        let first = from;
        let mut size = 0usize;
        while from < elements.len() && from - first < FRAME_ELEMENTS {
            size += bytes(&elements[from]);
            if size > FRAME_RAW && from > first {
                break;
            }
            from += 1;
        }
        (from > first).then(|| (first as u64, &elements[first..from]))
    })
}

/// Writes strings.
pub(crate) fn strings(unit: u32, texts: &[&str], out: &mut IndexWriter) -> Result<(), BlockError> {
    for (first, part) in parts(texts, |text| 2 + text.len()) {
        let mut raw = Vec::new();
        let length = |text: &&str| u16::try_from(text.len()).unwrap_or(LONG_STRING);
        put_u16s(part.iter().map(length), &mut raw);
        put_u32s(part.iter().filter(|t| length(t) == LONG_STRING).map(|t| t.len() as u32), &mut raw);
        part.iter().for_each(|text| raw.extend_from_slice(text.as_bytes()));
        out.frame(section::STRINGS, unit, first, part.len() as u32, &raw)?;
    }
    Ok(())
}

/// Writes functions, which have block-wide ids of strings.
pub(crate) fn functions(unit: u32, all: &[CanonFunction], out: &mut IndexWriter) -> Result<(), BlockError> {
    for (first, part) in parts(all, |_| 16) {
        let mut raw = Vec::new();
        put_u32s(part.iter().map(|f| f.name), &mut raw);
        put_u32s(part.iter().map(|f| f.system_name.wrapping_sub(f.name)), &mut raw);
        put_u32s(part.iter().map(|f| f.file), &mut raw);
        put_with_exceptions(&part.iter().map(|f| f.start_line).collect::<Vec<_>>(), &mut raw);
        out.frame(section::FUNCTIONS, unit, first, part.len() as u32, &raw)?;
    }
    Ok(())
}

fn location_frame(part: &[CanonLocation], function: impl Fn(u32) -> (bool, u32)) -> Vec<u8> {
    let mut raw = Vec::new();
    let count = |l: &CanonLocation| u8::try_from(l.lines.len()).unwrap_or(MANY_LINES);
    raw.extend(part.iter().map(count));
    put_u32s(part.iter().filter(|l| count(l) == MANY_LINES).map(|l| l.lines.len() as u32), &mut raw);
    put_u32s(part.iter().map(|l| l.mapping_plus_1), &mut raw);
    let lines = || part.iter().flat_map(|l| &l.lines);
    put_bits(lines().map(|&(of_line, _)| function(of_line).0), &mut raw);
    // Locations are sorted by function: both the shared and the private ids rise slowly, each group by itself.
    let mut last = [0u32; 2];
    let step = |&(of_line, _): &(u32, i64)| {
        let (own, id) = function(of_line);
        let before = std::mem::replace(&mut last[usize::from(own)], id);
        zigzag(i64::from(id.wrapping_sub(before) as i32)) as u32
    };
    put_u32s(lines().map(step), &mut raw);
    put_with_exceptions(&lines().map(|&(_, line)| line).collect::<Vec<_>>(), &mut raw);
    part.iter().filter(|l| l.lines.is_empty()).for_each(|l| raw.extend_from_slice(&l.address.to_le_bytes()));
    raw
}

fn tree(unit: u32, tree: &CanonTree, out: &mut IndexWriter) -> Result<(), BlockError> {
    let mut frames = TreeFrames::new(unit);
    for at in 0..tree.depths.len() {
        frames.push(tree.depths[at], tree.locations[at], tree.ends[at], out)?;
    }
    frames.flush(out)
}

/// Writes a tree node after node, in preorder.
#[derive(Debug)]
pub(crate) struct TreeFrames {
    unit: u32,
    /// Locations of the ancestors of the next node, without the root.
    path: Vec<u32>,
    /// Of these, how many were ancestors of the first node of the frame that is collected, and what they were.
    ancestors: Vec<u32>,
    /// Stacks and nodes before this frame.
    stacks: u32,
    first: u64,
    depths: Vec<u16>,
    locations: Vec<u32>,
    ends: Vec<bool>,
}

impl TreeFrames {
    pub(crate) fn new(unit: u32) -> Self {
        let (path, ancestors) = (Vec::new(), Vec::new());
        let (depths, locations, ends) = (Vec::new(), Vec::new(), Vec::new());
        Self { unit, path, ancestors, stacks: 0, first: 0, depths, locations, ends }
    }

    pub(crate) fn push(
        &mut self,
        depth: u16,
        location: u32,
        end: bool,
        out: &mut IndexWriter,
    ) -> Result<(), BlockError> {
        let above = usize::from(depth).saturating_sub(1);
        if self.depths.is_empty() {
            self.ancestors.clear();
            self.ancestors.extend_from_slice(&self.path[..above]);
        }
        self.depths.push(depth);
        self.locations.push(location);
        self.ends.push(end);
        if depth > 0 {
            self.path.truncate(above);
            self.path.push(location);
        }
        if self.depths.len() == TREE_NODES { self.flush(out) } else { Ok(()) }
    }

    /// Writes what is left.
    pub(crate) fn flush(&mut self, out: &mut IndexWriter) -> Result<(), BlockError> {
        let Some(&first_depth) = self.depths.first() else { return Ok(()) };
        let mut raw = Vec::new();
        raw.extend_from_slice(&self.stacks.to_le_bytes());
        raw.extend_from_slice(&(self.ancestors.len() as u32).to_le_bytes());
        put_u32s(self.ancestors.iter().copied(), &mut raw);
        // How far each node climbs before it descends: 0 for a child of the node before.
        let climb = |pair: &[u16]| pair[0] + 1 - pair[1];
        let climbs = self.depths.windows(2).map(climb);
        put_u16s(std::iter::once(first_depth).chain(climbs), &mut raw);
        put_u32s(self.locations.iter().copied(), &mut raw);
        put_bits(self.ends.iter().copied(), &mut raw);
        let nodes = self.depths.len();
        out.frame(section::TREE, self.unit, self.first, nodes as u32, &raw)?;
        self.stacks += self.ends.iter().filter(|end| **end).count() as u32;
        self.first += nodes as u64;
        self.depths.clear();
        self.locations.clear();
        self.ends.clear();
        Ok(())
    }
}
