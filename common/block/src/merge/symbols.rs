//! Merges symbols, unit after unit: first what each unit uses, so that ids are known, then its region of the index.
//!
//! Holds all distinct strings and functions of the output, the locations of one unit, and the maps of stacks.

use std::ops::Range;

use hashbrown::HashMap;

use super::bits::{Bits, StackMap};
use super::error::{MergeError, OfBlock};
use super::intern::{Interner, LocationTable, Numbers, Table};
use super::plan::Part;
use super::sink::{self, BlockSink};
use super::trees::{TreeWalk, merge_trees, used_locations};
use crate::INDEX;
use crate::error::BlockError;
use crate::frame::{Frame, IndexWriter, NO_UNIT, section};
use crate::read::fetch::{Fetched, Wanted};
use crate::read::symbols::Function;
use crate::read::{BlockReader, SharedSymbols, UnitSymbols};
use crate::write::canon::{CanonFunction, CanonLocation, CanonMapping, UNUSED};
use crate::write::symbols;

/// An input that has a unit.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Which input.
    pub(super) input: usize,
    /// The unit's number there.
    pub(super) unit: u32,
    /// Stacks that rows which stay use; `None` = all.
    pub(super) used: Option<Bits>,
}

/// What the rows of a unit need to know of its symbols.
#[derive(Debug)]
pub(super) struct UnitStacks {
    /// Stacks of the output.
    pub(super) count: u32,
    /// Parallel to the unit's members.
    pub(super) maps: Vec<StackMap>,
}

/// The shared symbols of an input, and their numbers in the interner.
struct Input {
    shared: SharedSymbols,
    strings: Vec<u32>,
    functions: Vec<u32>,
}

/// Index bytes of neighbouring units that are read in one request.
pub(super) const WINDOW_BYTES: u64 = 1 << 20;

/// Frames of units of an input that were read.
#[derive(Debug, Default, Clone)]
struct Window {
    units: Range<u32>,
    fetched: Fetched,
    /// Whether trees are among them: those of a unit that is larger than the window are not.
    trees: bool,
}

impl Window {
    /// What a walk of a tree needs not read again.
    fn ahead(&self) -> Option<Fetched> {
        self.trees.then(|| self.fetched.clone())
    }
}

/// What two passes over all units share.
pub(super) struct SymbolMerge<'a> {
    blocks: &'a [&'a BlockReader],
    inputs: Vec<Input>,
    /// By input.
    windows: Vec<Window>,
    interner: Interner,
    /// What the first pass learned of each member, for the second.
    own: HashMap<(usize, u32), Own>,
}

/// The interner's numbers of what a unit of an input has alone.
#[derive(Debug, Default)]
struct Own {
    first_string: u32,
    strings: Vec<u32>,
    first_function: u32,
    functions: Vec<u32>,
}

impl<'a> SymbolMerge<'a> {
    /// Reads what the units of each input share.
    pub(super) async fn new(blocks: &'a [&'a BlockReader]) -> Result<Self, MergeError> {
        let mut merge = Self {
            blocks,
            inputs: Vec::new(),
            windows: vec![Window::default(); blocks.len()],
            interner: Interner::default(),
            own: HashMap::new(),
        };
        for block in blocks {
            let meta = block.meta();
            let fetched = fetch(block, &meta.frames[meta.shared.clone()]).await?;
            let stored = |frame: &Frame| block.stored_frame(frame, &fetched);
            let shared = SharedSymbols::decode(meta, stored).of(block)?;
            let text = |at| merge.interner.strings.intern(shared.strings.get(at).unwrap_or_default());
            let strings: Vec<u32> = (0..meta.shared_strings).map(text).collect();
            let function = |f: &Function| {
                let string = |id: u32| strings[id as usize];
                merge.interner.functions.intern(CanonFunction {
                    name: string(f.name),
                    system_name: string(f.system_name),
                    file: string(f.file),
                    start_line: f.start_line,
                })
            };
            let functions = shared.functions.iter().map(function).collect();
            merge.inputs.push(Input { shared, strings, functions });
        }
        Ok(merge)
    }

    /// First pass: learns what a unit of the output uses.
    pub(super) async fn learn(&mut self, unit: u32, members: &[Member]) -> Result<(), MergeError> {
        for member in members {
            let block = self.blocks[member.input];
            let window = self.window(member).await?;
            let decoded = self.decode(member, &window).of(block)?;
            let own = self.intern_own(member.input, &decoded);
            let used = self.used(member, decoded.location_count(), &window).await?;
            for location in 0..decoded.location_count() {
                if used.as_ref().is_some_and(|used| !used.has(u64::from(location))) {
                    continue;
                }
                for line in decoded.lines(location) {
                    let function =
                        self.function(member.input, &own, decoded.line_functions[line]).of(block)?;
                    self.interner.use_function(function, unit);
                }
                if let Some(mapping) = decoded.mapping_plus_1[location as usize].checked_sub(1) {
                    let mapping = decoded.mappings[mapping as usize];
                    for string in [mapping.file, mapping.build_id] {
                        let string = self.string(member.input, &own, string).of(block)?;
                        self.interner.use_string(string, unit);
                    }
                }
            }
            self.own.insert((member.input, member.unit), own);
        }
        Ok(())
    }

    /// The locations that take part; `None` = all.
    async fn used(
        &self,
        member: &Member,
        locations: u32,
        window: &Window,
    ) -> Result<Option<Bits>, MergeError> {
        let Some(used) = &member.used else { return Ok(None) };
        let block = self.blocks[member.input];
        used_locations(block, member.unit, locations, used, window.ahead()).await.map(Some)
    }

    /// The frames of a member, read together with those of the units behind it.
    async fn window(&mut self, member: &Member) -> Result<Window, MergeError> {
        let block = self.blocks[member.input];
        let meta = block.meta();
        if meta.whole.is_some() || self.windows[member.input].units.contains(&member.unit) {
            return Ok(self.windows[member.input].clone());
        }
        // The old window goes before the new one comes.
        self.windows[member.input] = Window::default();
        let (mut end, mut bytes) = (member.unit, 0);
        while (end as usize) < meta.places.len() && bytes + meta.symbol_bytes(end) <= WINDOW_BYTES {
            bytes += meta.symbol_bytes(end);
            end += 1;
        }
        let trees = end > member.unit;
        let units = member.unit..end.max(member.unit + 1);
        let mut wanted = Wanted::default();
        for unit in units.clone() {
            let frames = meta.frames[meta.places[unit as usize].frames.clone()].iter();
            let frames = frames.filter(|frame| trees || frame.section != section::TREE);
            frames.for_each(|frame| wanted.add(INDEX, frame.range()));
        }
        let fetched = block.fetch(wanted).await.of(block)?;
        self.windows[member.input] = Window { units, fetched, trees };
        Ok(self.windows[member.input].clone())
    }

    /// Ends the first pass.
    pub(super) fn number(&self, units: u32) -> Result<Numbers, MergeError> {
        Ok(self.interner.number(units)?)
    }

    /// Second pass: writes the region of a unit.
    pub(super) async fn write_unit(
        &mut self,
        unit: u32,
        members: &[Member],
        numbers: &Numbers,
        index: &mut IndexWriter,
    ) -> Result<UnitStacks, MergeError> {
        let mut merged = Locations::default();
        let mut maps = Vec::new();
        for member in members {
            maps.push(self.add_locations(member, numbers, &mut merged).await?);
        }
        let (mappings, locations, ranks) = merged.sorted();
        for map in maps.iter_mut().flatten().filter(|at| **at != UNUSED) {
            *map = ranks[*map as usize];
        }
        let interner = &self.interner;
        let own_strings: Vec<&str> =
            numbers.strings.own(unit).iter().map(|&at| interner.strings.get(at)).collect();
        symbols::strings(unit, &own_strings, index)?;
        let own_functions = numbers.functions.own(unit).iter();
        let own_functions: Vec<CanonFunction> =
            own_functions.map(|&at| interner.stored_function(at, numbers)).collect();
        symbols::functions(unit, &own_functions, index)?;
        // Mappings and locations name things by rank, which orders them; stored are ids.
        symbols::mappings(unit, &mappings, |rank| numbers.strings.ids_by_rank[rank as usize], index)?;
        let function = |rank: u32| {
            let id = numbers.functions.ids_by_rank[rank as usize];
            (numbers.functions.is_own(id), id)
        };
        symbols::locations(unit, &locations, function, index)?;
        drop((mappings, locations, ranks));
        let walks = members.iter().zip(&maps).map(|(member, map)| {
            let window = &self.windows[member.input];
            let ahead = window.units.contains(&member.unit).then(|| window.ahead()).flatten();
            TreeWalk::new(self.blocks[member.input], member.unit, map, member.used.as_ref(), ahead)
        });
        let stacks_of_part: Vec<Option<usize>> =
            members.iter().map(|member| member.used.as_ref().map(Bits::len)).collect();
        let (count, maps) = merge_trees(walks.collect(), &stacks_of_part, unit, index).await?;
        Ok(UnitStacks { count, maps })
    }

    /// Writes what units share, behind all units.
    pub(super) fn write_shared(&self, numbers: &Numbers, index: &mut IndexWriter) -> Result<(), MergeError> {
        let interner = &self.interner;
        let functions: Vec<CanonFunction> =
            numbers.functions.shared().iter().map(|&at| interner.stored_function(at, numbers)).collect();
        symbols::functions(NO_UNIT, &functions, index)?;
        let strings: Vec<&str> =
            numbers.strings.shared().iter().map(|&at| interner.strings.get(at)).collect();
        symbols::strings(NO_UNIT, &strings, index)?;
        Ok(())
    }

    /// Adds the locations of a member; gives their numbers among the merged, [`UNUSED`] for what nothing uses.
    async fn add_locations(
        &mut self,
        member: &Member,
        numbers: &Numbers,
        merged: &mut Locations,
    ) -> Result<Vec<u32>, MergeError> {
        let block = self.blocks[member.input];
        let input = member.input;
        // The first pass has read and checked the same bytes, but for what they are now.
        let own = self.own.remove(&(input, member.unit)).unwrap_or_default();
        let kinds = |kind| kind == section::MAPPINGS || kind == section::LOCATIONS;
        let window = self.window(member).await?;
        let stored = |frame: &Frame| block.stored_frame(frame, &window.fetched);
        let decoded = UnitSymbols::decode_only(block.meta(), member.unit, kinds, stored).of(block)?;
        let count = decoded.location_count();
        let used = self.used(member, count, &window).await?;
        let mut mappings = Vec::new();
        for m in &decoded.mappings {
            let file = numbers.strings.ranks[self.string(input, &own, m.file).of(block)? as usize];
            let build_id = numbers.strings.ranks[self.string(input, &own, m.build_id).of(block)? as usize];
            mappings.push(CanonMapping { file, build_id, start: m.start, limit: m.limit, offset: m.offset });
        }
        let mut functions = Vec::with_capacity(decoded.line_functions.len());
        for &id in &decoded.line_functions {
            functions.push(numbers.functions.ranks[self.function(input, &own, id).of(block)? as usize]);
        }
        let mut map = vec![UNUSED; count as usize];
        let mut lines: Vec<(u32, i64)> = Vec::new();
        for location in 0..count {
            if used.as_ref().is_some_and(|used| !used.has(u64::from(location))) {
                continue;
            }
            let mapping = match decoded.mapping_plus_1[location as usize].checked_sub(1) {
                None => 0,
                Some(at) => {
                    let unknown = || BlockError::index(0, format!("mapping {at} does not exist"));
                    let mapping = mappings.get(at as usize).ok_or_else(unknown).of(block)?;
                    merged.mappings.intern(*mapping) + 1
                }
            };
            lines.clear();
            lines.extend(decoded.lines(location).map(|line| (functions[line], decoded.line_numbers[line])));
            let address = decoded.addresses.get(&location).copied().unwrap_or_default();
            map[location as usize] = merged.locations.intern(&lines, mapping, address);
        }
        Ok(map)
    }

    /// All symbols of a member but its tree.
    fn decode(&self, member: &Member, window: &Window) -> Result<UnitSymbols, BlockError> {
        let block = self.blocks[member.input];
        let stored = |frame: &Frame| block.stored_frame(frame, &window.fetched);
        let shared = &self.inputs[member.input].shared;
        UnitSymbols::decode_without_tree(block.meta(), member.unit, shared, stored)
    }

    fn intern_own(&mut self, input: usize, unit: &UnitSymbols) -> Own {
        let interner = &mut self.interner;
        let text = |at| interner.strings.intern(unit.strings.get(at).unwrap_or_default());
        let strings: Vec<u32> = (0..unit.strings.count()).map(text).collect();
        let first_string = unit.place.strings.start;
        let shared = &self.inputs[input].strings;
        // The reader has checked that the unit can use them.
        let string = |id: u32| match id.checked_sub(first_string) {
            Some(own) => strings[own as usize],
            None => shared[id as usize],
        };
        let function = |f: &Function| {
            interner.functions.intern(CanonFunction {
                name: string(f.name),
                system_name: string(f.system_name),
                file: string(f.file),
                start_line: f.start_line,
            })
        };
        let functions = unit.functions.iter().map(function).collect();
        Own { first_string, strings, first_function: unit.place.functions.start, functions }
    }

    /// The interner's number of a string of a member.
    fn string(&self, input: usize, own: &Own, id: u32) -> Result<u32, BlockError> {
        let known = match id.checked_sub(own.first_string) {
            Some(at) => own.strings.get(at as usize),
            None => self.inputs[input].strings.get(id as usize),
        };
        known.copied().ok_or_else(|| BlockError::index(0, format!("string {id} does not exist")))
    }

    /// The interner's number of a function of a member.
    fn function(&self, input: usize, own: &Own, id: u32) -> Result<u32, BlockError> {
        let known = match id.checked_sub(own.first_function) {
            Some(at) => own.functions.get(at as usize),
            None => self.inputs[input].functions.get(id as usize),
        };
        known.copied().ok_or_else(|| BlockError::index(0, format!("function {id} does not exist")))
    }
}

/// The locations of one unit of all its members, with functions by rank and mappings by number.
#[derive(Default)]
struct Locations {
    mappings: Table<CanonMapping>,
    locations: LocationTable,
}

impl Locations {
    /// Sorted mappings and locations, and the rank of each location by its number.
    fn sorted(self) -> (Vec<CanonMapping>, Vec<CanonLocation>, Vec<u32>) {
        let (mappings, mapping_ranks) = sorted(self.mappings.rows);
        let mut locations = self.locations.into_rows();
        for location in &mut locations {
            if let Some(at) = location.mapping_plus_1.checked_sub(1) {
                location.mapping_plus_1 = mapping_ranks[at as usize] + 1;
            }
        }
        let (locations, ranks) = sorted(locations);
        (mappings, locations, ranks)
    }
}

fn sorted<T: Ord>(rows: Vec<T>) -> (Vec<T>, Vec<u32>) {
    let mut numbered: Vec<(T, u32)> = rows.into_iter().zip(0..).collect();
    numbered.sort_unstable();
    let mut ranks = vec![0; numbered.len()];
    let mut rows = Vec::with_capacity(numbered.len());
    for ((row, at), rank) in numbered.into_iter().zip(0..) {
        ranks[at as usize] = rank;
        rows.push(row);
    }
    (rows, ranks)
}

async fn fetch(block: &BlockReader, frames: &[Frame]) -> Result<Fetched, MergeError> {
    let mut wanted = Wanted::default();
    if block.meta().whole.is_none() {
        frames.iter().for_each(|frame| wanted.add(INDEX, frame.range()));
    }
    block.fetch(wanted).await.of(block)
}

/// All units of a part, both passes.
pub(super) async fn merge_symbols(
    blocks: &[&BlockReader],
    part: &Part,
    index: &mut IndexWriter,
    sink: &mut dyn BlockSink,
) -> Result<Vec<UnitStacks>, MergeError> {
    let mut merge = SymbolMerge::new(blocks).await?;
    for (unit, of_unit) in (0..).zip(&part.units) {
        merge.learn(unit, &of_unit.members).await?;
    }
    let numbers = merge.number(part.units.len() as u32)?;
    let mut stacks = Vec::new();
    for (unit, of_unit) in (0..).zip(&part.units) {
        stacks.push(merge.write_unit(unit, &of_unit.members, &numbers, index).await?);
        sink::drain(sink, INDEX, index.out()).await?;
    }
    merge.write_shared(&numbers, index)?;
    Ok(stacks)
}
