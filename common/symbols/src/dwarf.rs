//! DWARF: functions, inlined calls and lines, as ranges of addresses.
//!
//! The reader of addresses is addr2line's; here is found where its answer changes: at the rows of line programs and at both ends
//! of functions and inlined calls. Sources: DWARF 5, §3.3 and §6.2.

use addr2line::Context;
use gimli::{EndianSlice, Reader, RunTimeEndian, Section, Unit};

use crate::BuildLimits;
use crate::builder::{Builder, CHAIN_MAX, FrameEntry};
use crate::elf::DebugSections;
use crate::error::BuildError;

/// How deep entries of debug information may be nested: the reader of addresses calls itself for each.
const DEPTH_MAX: isize = 256;
/// Address ranges of functions and units that are read however small the file is. Else no more than debug information has
/// bytes: functions that share one list are each kept with all of it.
const RANGES_MIN: usize = 1 << 16;
/// Units that claim an address, on average.
const CLAIMS_MAX: usize = 16;

type Slice<'s> = EndianSlice<'s, RunTimeEndian>;

/// Adds all that debug information says. What is damaged is left out, unit by unit.
pub(crate) fn read(
    sections: &DebugSections<'_>,
    is_little_endian: bool,
    limits: &BuildLimits,
    builder: &mut Builder,
) -> Result<(), BuildError> {
    let endian = if is_little_endian { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, endian));
    let bytes = dwarf.debug_info.reader().len() + dwarf.ranges.debug_ranges().reader().len();
    let bytes = bytes + dwarf.ranges.debug_rnglists().reader().len();
    let ranges_left = bytes.max(RANGES_MIN);
    let mut bounds = Bounds { addresses: Vec::new(), most: limits.max_ranges, ranges_left };
    let mut units = dwarf.units();
    let mut of_units = Vec::new();
    while let Ok(Some(header)) = units.next() {
        if let Ok(unit) = dwarf.unit(header) {
            bounds.of_lines(&unit)?;
            bounds.of_functions(&dwarf, &unit)?;
            let Ok(mut ranges) = dwarf.unit_ranges(&unit) else { continue };
            while let Ok(Some(range)) = ranges.next() {
                bounds.count_range()?;
                if builder.is_mapped(range.begin) {
                    of_units.push((range.begin, range.end));
                }
            }
        }
    }
    let addresses = bounds.finish();
    if addresses.is_empty() {
        return Ok(());
    }
    check_overlap(&of_units, &addresses)?;
    let Ok(context) = Context::from_dwarf(dwarf) else { return Ok(()) };
    for pair in addresses.windows(2) {
        if builder.is_mapped(pair[0]) {
            let mut frames = [(0, 0); CHAIN_MAX];
            let count = frames_of(&context, pair[0], builder, &mut frames)?;
            builder.range(pair[0], pair[1], &frames[..count])?;
        }
    }
    Ok(())
}

/// Each look-up asks all units that claim the address: those that say of themselves that they are everywhere would make the
/// work grow with the square of the file.
fn check_overlap(units: &[(u64, u64)], addresses: &[u64]) -> Result<(), BuildError> {
    let place = |address: u64| addresses.partition_point(|other| *other < address);
    let asked: usize = units.iter().map(|(begin, end)| place(*end).saturating_sub(place(*begin))).sum();
    match asked <= addresses.len().saturating_mul(CLAIMS_MAX).max(RANGES_MIN) {
        true => Ok(()),
        false => Err(BuildError::Damaged),
    }
}

/// The frames of an address, innermost first; how many they are. None where the function has no name.
fn frames_of<R: Reader>(
    context: &Context<R>,
    address: u64,
    builder: &mut Builder,
    out: &mut [FrameEntry; CHAIN_MAX],
) -> Result<usize, BuildError> {
    let Ok(mut frames) = context.find_frames(address).skip_all_loads() else { return Ok(0) };
    let mut count = 0;
    while let (true, Ok(Some(frame))) = (count < CHAIN_MAX, frames.next()) {
        let Some(function) = &frame.function else { continue };
        let Ok(name) = function.raw_name() else { continue };
        let location = frame.location.as_ref();
        let file = location.and_then(|location| location.file).unwrap_or_default();
        let line = location.and_then(|location| location.line).unwrap_or(0);
        out[count] = (builder.function(&name, file, 0)?, line);
        count += 1;
    }
    Ok(count)
}

/// Addresses at which the frames may change.
struct Bounds {
    addresses: Vec<u64>,
    most: usize,
    ranges_left: usize,
}

impl Bounds {
    fn add(&mut self, address: u64) -> Result<(), BuildError> {
        if self.addresses.len() >= self.most.saturating_mul(2) {
            self.fold();
            if self.addresses.len() > self.most {
                return Err(BuildError::TooMuch { what: "address ranges", limit: self.most as u64 });
            }
        }
        self.addresses.push(address);
        Ok(())
    }

    fn count_range(&mut self) -> Result<(), BuildError> {
        self.ranges_left = self.ranges_left.checked_sub(1).ok_or(BuildError::Damaged)?;
        Ok(())
    }

    fn fold(&mut self) {
        self.addresses.sort_unstable();
        self.addresses.dedup();
    }

    fn finish(mut self) -> Vec<u64> {
        self.fold();
        self.addresses
    }

    fn of_lines(&mut self, unit: &Unit<Slice<'_>>) -> Result<(), BuildError> {
        let Some(program) = unit.line_program.clone() else { return Ok(()) };
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            self.add(row.address())?;
        }
        Ok(())
    }

    fn of_functions(
        &mut self,
        dwarf: &gimli::Dwarf<Slice<'_>>,
        unit: &Unit<Slice<'_>>,
    ) -> Result<(), BuildError> {
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            if entry.depth() > DEPTH_MAX {
                return Err(BuildError::Damaged);
            }
            if !matches!(entry.tag(), gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine) {
                continue;
            }
            let Ok(mut ranges) = dwarf.die_ranges(unit, entry) else { continue };
            while let Ok(Some(range)) = ranges.next() {
                self.count_range()?;
                self.add(range.begin)?;
                self.add(range.end)?;
            }
        }
        Ok(())
    }
}
