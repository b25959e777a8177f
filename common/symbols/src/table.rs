//! The bytes of a line table (`docs/formats/linetable.md`): written at once, read in place.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::TableError;

const MAGIC: &[u8; 8] = b"HEARTHLT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Where the checksum stands.
const CHECKSUM_AT: usize = 56;
/// A range without frames.
pub(crate) const GAP: u32 = u32::MAX;
/// The bit of a frame's function that says that it is the outermost of its chain.
pub(crate) const LAST: u32 = 1 << 31;

/// The place in the file of a part that is not known.
pub(crate) const NO_OFFSET: u64 = u64::MAX;
/// Parts of a file are mapped from whole pages on.
const PAGE_BYTES: u64 = 4096;

/// An executable part of the file: where it is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Address as the file has it.
    pub(crate) address: u64,
    /// Where it begins in the file, or [`NO_OFFSET`].
    pub(crate) file_offset: u64,
    /// Bytes in memory.
    pub(crate) bytes: u64,
}

impl Segment {
    pub(crate) fn holds(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|past| past < self.bytes)
    }
}

/// What symbols are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources {
    /// DWARF: inlined calls and lines.
    pub dwarf: bool,
    /// Go's table of functions and lines.
    pub pclntab: bool,
    /// The symbol tables of ELF: names only.
    pub symbols: bool,
}

/// The parts of a table.
#[derive(Debug)]
pub(crate) struct Parts<'p> {
    pub(crate) sources: u32,
    /// What starts are relative to.
    pub(crate) base: u64,
    pub(crate) segments: &'p [Segment],
    /// Ascending.
    pub(crate) starts: &'p [u32],
    /// The first frame of each range, or [`GAP`].
    pub(crate) chains: &'p [u32],
    pub(crate) frames: &'p [(u32, u32)],
    pub(crate) functions: &'p [[u32; 4]],
    pub(crate) string_ends: &'p [u32],
    pub(crate) texts: &'p [u8],
}

pub(crate) fn encode(parts: &Parts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&parts.sources.to_le_bytes());
    out.extend_from_slice(&parts.base.to_le_bytes());
    let counts = [
        parts.segments.len(),
        parts.starts.len(),
        parts.frames.len(),
        parts.functions.len(),
        parts.string_ends.len(),
        parts.texts.len(),
    ];
    counts.iter().for_each(|count| out.extend_from_slice(&(*count as u32).to_le_bytes()));
    out.resize(HEADER_BYTES, 0);
    for Segment { address, file_offset, bytes } in parts.segments {
        [address, file_offset, bytes].iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }
    let mut numbers = |numbers: &mut dyn Iterator<Item = u32>| {
        numbers.for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    };
    numbers(&mut parts.starts.iter().copied());
    numbers(&mut parts.chains.iter().copied());
    numbers(&mut parts.frames.iter().flat_map(|(function, line)| [*function, *line]));
    numbers(&mut parts.functions.iter().flatten().copied());
    numbers(&mut parts.string_ends.iter().copied());
    out.extend_from_slice(parts.texts);
    let total = out.len() as u64;
    out[CHECKSUM_AT - 8..CHECKSUM_AT].copy_from_slice(&total.to_le_bytes());
    let sum = checksum(&out);
    out[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Of everything but itself.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(&bytes[..CHECKSUM_AT]);
    hash.update(&bytes[HEADER_BYTES..]);
    hash.digest()
}

/// A frame of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The function as people write it.
    pub function: &'a str,
    /// As the file has it.
    pub system_name: &'a str,
    /// Its source file; empty = not known.
    pub file: &'a str,
    /// The line; 0 = not known.
    pub line: u32,
    /// Where the function begins; 0 = not known.
    pub start_line: u32,
}

/// A line table, looked up in place.
#[derive(Debug, Clone)]
pub struct LineTable {
    bytes: Bytes,
    base: u64,
    segments: Section,
    starts: Section,
    chains: Section,
    frames: Section,
    functions: Section,
    string_ends: Section,
    texts: Section,
}

/// Entries at a place.
#[derive(Debug, Clone, Copy)]
struct Section {
    at: usize,
    count: usize,
}

impl LineTable {
    /// Checks the whole table once: afterwards no look-up can fail.
    pub fn open(bytes: Bytes) -> Result<Self, TableError> {
        let damaged = TableError::Damaged;
        if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC[..] {
            return Err(damaged("it does not begin as one"));
        }
        let version = u32_at(&bytes, 8);
        if version != VERSION {
            return Err(TableError::Version { found: version, known: VERSION });
        }
        if u64_at(&bytes, CHECKSUM_AT - 8) != bytes.len() as u64 {
            return Err(damaged("it has not the length that it says"));
        }
        if checksum(&bytes) != u64_at(&bytes, CHECKSUM_AT) {
            return Err(damaged("its checksum is wrong"));
        }
        let mut at = HEADER_BYTES;
        let mut section = |number: usize, entry_bytes: usize| {
            let count = u32_at(&bytes, 24 + 4 * number) as usize;
            let section = Section { at, count };
            at = at.saturating_add(count.saturating_mul(entry_bytes));
            section
        };
        let segments = section(0, 24);
        let (starts, chains) = (section(1, 4), section(1, 4));
        let (frames, functions) = (section(2, 8), section(3, 16));
        let (string_ends, texts) = (section(4, 4), section(5, 1));
        if at != bytes.len() {
            return Err(damaged("its parts have not the length of the whole"));
        }
        let base = u64_at(&bytes, 16);
        let table = Self { bytes, base, segments, starts, chains, frames, functions, string_ends, texts };
        table.check().map_err(damaged)?;
        Ok(table)
    }

    fn check(&self) -> Result<(), &'static str> {
        let starts = self.numbers(self.starts);
        if !starts.clone().zip(starts.skip(1)).all(|(one, next)| one < next) {
            return Err("its ranges are out of order");
        }
        if self.base.checked_add(self.numbers(self.starts).last().unwrap_or(0).into()).is_none() {
            return Err("its addresses are beyond 64 bits");
        }
        let frames = self.frames.count;
        if !self.numbers(self.chains).all(|chain| chain == GAP || (chain as usize) < frames) {
            return Err("a range has frames that are not there");
        }
        let functions = self.functions.count as u32;
        if !(0..frames).all(|at| self.frame_entry(at).0 & !LAST < functions) {
            return Err("a frame has a function that is not there");
        }
        if frames > 0 && self.frame_entry(frames - 1).0 & LAST == 0 {
            return Err("the last frame has no end");
        }
        let strings = self.string_ends.count as u32;
        if !(0..self.functions.count).all(|at| self.function(at)[..3].iter().all(|id| *id < strings)) {
            return Err("a function has a name that is not there");
        }
        let Ok(texts) = std::str::from_utf8(self.texts()) else { return Err("its texts are not UTF-8") };
        let mut before = 0;
        for end in self.numbers(self.string_ends) {
            if end < before || !texts.is_char_boundary(end as usize) {
                return Err("its texts do not end where they should");
            }
            before = end;
        }
        Ok(())
    }

    fn numbers(&self, section: Section) -> impl ExactSizeIterator<Item = u32> + Clone {
        (0..section.count).map(move |at| u32_at(&self.bytes, section.at + 4 * at))
    }

    fn texts(&self) -> &[u8] {
        &self.bytes[self.texts.at..]
    }

    fn frame_entry(&self, at: usize) -> (u32, u32) {
        let place = self.frames.at + 8 * at;
        (u32_at(&self.bytes, place), u32_at(&self.bytes, place + 4))
    }

    fn function(&self, at: usize) -> [u32; 4] {
        let place = self.functions.at + 16 * at;
        std::array::from_fn(|field| u32_at(&self.bytes, place + 4 * field))
    }

    fn text(&self, id: u32) -> &str {
        let end = |id: u32| u32_at(&self.bytes, self.string_ends.at + 4 * id as usize) as usize;
        let start = id.checked_sub(1).map_or(0, end);
        // Checked when the table was opened.
        std::str::from_utf8(&self.texts()[start..end(id)]).unwrap_or_default()
    }

    /// The frames of an address as the file has it, the innermost inlined call first; none when nothing is known of it.
    pub fn find(&self, address: u64) -> impl Iterator<Item = Frame<'_>> {
        let chain = self.chain(address);
        let mut next = chain;
        std::iter::from_fn(move || {
            let at = next?;
            let (function, line) = self.frame_entry(at);
            // The last frame of all has the bit.
            next = (function & LAST == 0).then_some(at + 1);
            let [name, system, file, start_line] = self.function((function & !LAST) as usize);
            let (function, system_name) = (self.text(name), self.text(system));
            Some(Frame { function, system_name, file: self.text(file), line, start_line })
        })
    }

    fn chain(&self, address: u64) -> Option<usize> {
        let past = u32::try_from(address.checked_sub(self.base)?).ok()?;
        let (mut low, mut high) = (0, self.starts.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match u32_at(&self.bytes, self.starts.at + 4 * middle) <= past {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let range = low.checked_sub(1)?;
        let chain = u32_at(&self.bytes, self.chains.at + 4 * range);
        (chain != GAP).then_some(chain as usize)
    }

    /// The address as the file has it of one in memory, given the mapping that it is in: its begin and where that is in the
    /// file. A mapping of zeros says that the address is one of the file already.
    pub fn virtual_address(&self, runtime: u64, start: u64, limit: u64, offset: u64) -> u64 {
        if (start, limit, offset) == (0, 0, 0) {
            return runtime;
        }
        let in_file = runtime.wrapping_sub(start).wrapping_add(offset);
        let number = |at: usize, field: usize| u64_at(&self.bytes, self.segments.at + 24 * at + 8 * field);
        if self.segments.count == 1 && number(0, 1) == NO_OFFSET {
            // The only part that can be executed is the one that is mapped.
            return runtime.wrapping_sub(start).wrapping_add(number(0, 0) & !(PAGE_BYTES - 1));
        }
        (0..self.segments.count)
            .find_map(|at| {
                let past = in_file.checked_sub(number(at, 1)).filter(|past| *past < number(at, 2))?;
                Some(number(at, 0).wrapping_add(past))
            })
            .unwrap_or(in_file)
    }

    /// Bytes of the table, which is all the memory that it takes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many address ranges it tells apart.
    pub fn range_count(&self) -> usize {
        self.starts.count
    }

    /// The first address that it knows, and the first behind all of them.
    pub fn addresses(&self) -> (u64, u64) {
        let last = self.numbers(self.starts).last().unwrap_or(0);
        (self.base, self.base + u64::from(last))
    }

    /// What its symbols are from.
    pub fn sources(&self) -> Sources {
        let bits = u32_at(&self.bytes, 12);
        Sources { dwarf: bits & 1 != 0, pclntab: bits & 2 != 0, symbols: bits & 4 != 0 }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]))
}
