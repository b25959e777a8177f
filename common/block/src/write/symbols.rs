//! Encodes the symbol sections of the index: regions of units, then what they share.

use super::canon::{CanonFunction, CanonLocation, CanonUnit, Shared, UnitIds};
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
    for (first, part) in parts(&unit.mappings, |_| 32) {
        let mut raw = Vec::new();
        put_u32s(part.iter().map(|m| id(m.file)), &mut raw);
        put_u32s(part.iter().map(|m| id(m.build_id)), &mut raw);
        for column in [0, 1, 2] {
            part.iter()
                .for_each(|m| raw.extend_from_slice(&[m.start, m.limit, m.offset][column].to_le_bytes()));
        }
        out.frame(section::MAPPINGS, at, first, part.len() as u32, &raw)?;
    }
    for (first, part) in parts(&unit.locations, |l| 17 + 8 * l.lines.len()) {
        out.frame(section::LOCATIONS, at, first, part.len() as u32, &locations(part, ids))?;
    }
    tree(at, &unit.tree, out)
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

fn strings(unit: u32, texts: &[&str], out: &mut IndexWriter) -> Result<(), BlockError> {
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

fn functions(unit: u32, all: &[CanonFunction], out: &mut IndexWriter) -> Result<(), BlockError> {
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

fn locations(part: &[CanonLocation], ids: &UnitIds) -> Vec<u8> {
    let mut raw = Vec::new();
    let count = |l: &CanonLocation| u8::try_from(l.lines.len()).unwrap_or(MANY_LINES);
    raw.extend(part.iter().map(count));
    put_u32s(part.iter().filter(|l| count(l) == MANY_LINES).map(|l| l.lines.len() as u32), &mut raw);
    put_u32s(part.iter().map(|l| l.mapping_plus_1), &mut raw);
    let lines = || part.iter().flat_map(|l| &l.lines);
    let own = |function: u32| ids.owns_function(function as usize);
    put_bits(lines().map(|&(function, _)| own(function)), &mut raw);
    // Locations are sorted by function: both the shared and the private ids rise slowly, each group by itself.
    let mut last = [0u32; 2];
    let step = |&(function, _): &(u32, i64)| {
        let id = ids.functions[function as usize];
        let before = std::mem::replace(&mut last[usize::from(own(function))], id);
        zigzag(i64::from(id.wrapping_sub(before) as i32)) as u32
    };
    put_u32s(lines().map(step), &mut raw);
    put_with_exceptions(&lines().map(|&(_, line)| line).collect::<Vec<_>>(), &mut raw);
    part.iter().filter(|l| l.lines.is_empty()).for_each(|l| raw.extend_from_slice(&l.address.to_le_bytes()));
    raw
}

fn tree(unit: u32, tree: &CanonTree, out: &mut IndexWriter) -> Result<(), BlockError> {
    let mut path: Vec<u32> = Vec::new();
    let mut stacks = 0u32;
    let mut first = 0usize;
    while first < tree.depths.len() {
        let end = tree.depths.len().min(first + TREE_NODES);
        let mut raw = Vec::new();
        let ancestors = usize::from(tree.depths[first]).saturating_sub(1);
        raw.extend_from_slice(&stacks.to_le_bytes());
        raw.extend_from_slice(&(ancestors as u32).to_le_bytes());
        put_u32s(path[..ancestors].iter().copied(), &mut raw);
        // How far each node climbs before it descends: 0 for a child of the node before.
        let climb = |pair: &[u16]| pair[0] + 1 - pair[1];
        let climbs = tree.depths[first..end].windows(2).map(climb);
        put_u16s(std::iter::once(tree.depths[first]).chain(climbs), &mut raw);
        put_u32s(tree.locations[first..end].iter().copied(), &mut raw);
        put_bits(tree.ends[first..end].iter().copied(), &mut raw);
        out.frame(section::TREE, unit, first as u64, (end - first) as u32, &raw)?;
        for at in first..end {
            stacks += u32::from(tree.ends[at]);
            if let Some(above) = usize::from(tree.depths[at]).checked_sub(1) {
                path.truncate(above);
                path.push(tree.locations[at]);
            }
        }
        first = end;
    }
    Ok(())
}
