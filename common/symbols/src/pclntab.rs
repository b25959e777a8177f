//! Go's table of functions and lines, which stripped programs have, too.
//!
//! Source: the layouts of Go 1.2, 1.16, 1.18 and 1.20, as `debug/gosym` and `runtime/symtab` of Go's library read them. Inlined
//! calls are not read: their lines count for the function that they were inlined into.

use hashbrown::HashMap;

use crate::BuildLimits;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::names::NAME_BYTES_MAX;

/// Entries of one table of lines or files that are looked at.
const STEPS_MAX: usize = 1 << 16;
/// Where file tables say "no file".
const NO_FILE: u32 = u32::MAX;

/// The layouts, by the release that brought them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Release {
    Go2,
    Go16,
    Go18,
    Go20,
}

/// A walk over numbers that never leaves the bytes.
#[derive(Debug, Clone, Copy)]
struct Numbers<'p> {
    bytes: &'p [u8],
    is_little_endian: bool,
    pointer_bytes: usize,
}

impl<'p> Numbers<'p> {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.is_little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn pointer(&self, at: usize) -> Option<u64> {
        if self.pointer_bytes == 4 {
            return self.u32(at).map(u64::from);
        }
        let bytes: [u8; 8] = self.bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(if self.is_little_endian { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }

    fn offset(&self, at: usize) -> Option<usize> {
        usize::try_from(self.pointer(at)?).ok()
    }

    /// A text that ends with a zero.
    fn text(&self, at: usize) -> Option<&'p str> {
        let rest = self.bytes.get(at..)?;
        let end = rest.iter().take(NAME_BYTES_MAX).position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

/// The parts of a table; offsets are from its begin.
#[derive(Debug, Clone, Copy)]
struct Table<'p> {
    numbers: Numbers<'p>,
    release: Release,
    quantum: u64,
    functions: usize,
    /// What addresses of functions are relative to.
    text: u64,
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    /// The list of functions, which offsets of their descriptions are relative to, before 1.16 but for the latter.
    list: usize,
}

impl<'p> Table<'p> {
    fn open(bytes: &'p [u8], text: u64) -> Option<Self> {
        let magic: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        let (number, is_little_endian) = match u32::from_le_bytes(magic) {
            number if number >= 0xffff_fff0 => (number, true),
            _ => (u32::from_be_bytes(magic), false),
        };
        let release = match number {
            0xffff_fffb => Release::Go2,
            0xffff_fffa => Release::Go16,
            0xffff_fff0 => Release::Go18,
            0xffff_fff1 => Release::Go20,
            _ => return None,
        };
        let (quantum, pointer_bytes) = (*bytes.get(6)?, usize::from(*bytes.get(7)?));
        if !matches!(quantum, 1 | 2 | 4) || !matches!(pointer_bytes, 4 | 8) {
            return None;
        }
        let numbers = Numbers { bytes, is_little_endian, pointer_bytes };
        let field = |number: usize| numbers.offset(8 + number * pointer_bytes);
        let empty = Self {
            numbers,
            release,
            quantum: quantum.into(),
            functions: field(0)?,
            text: 0,
            names: 0,
            units: 0,
            files: 0,
            values: 0,
            list: 8 + pointer_bytes,
        };
        Some(match release {
            Release::Go2 => {
                let end = empty.functions.checked_mul(2 * pointer_bytes)?.checked_add(pointer_bytes)?;
                Self { files: numbers.u32(empty.list.checked_add(end)?)? as usize, ..empty }
            }
            Release::Go16 => {
                let [names, units, files, values, list] = [2, 3, 4, 5, 6].map(field);
                Self { names: names?, units: units?, files: files?, values: values?, list: list?, ..empty }
            }
            Release::Go18 | Release::Go20 => {
                let [start, names, units, files, values, list] = [2, 3, 4, 5, 6, 7].map(field);
                // Zero since a release that leaves it to the linker's symbol.
                let text = if start? == 0 { text } else { start? as u64 };
                let (names, units, files) = (names?, units?, files?);
                Self { text, names, units, files, values: values?, list: list?, ..empty }
            }
        })
    }

    /// Bytes of one number of the list of functions.
    fn list_bytes(&self) -> usize {
        if self.release >= Release::Go18 { 4 } else { self.numbers.pointer_bytes }
    }

    fn listed(&self, number: usize) -> Option<u64> {
        let at = self.list.checked_add(number.checked_mul(self.list_bytes())?)?;
        if self.release >= Release::Go18 {
            self.numbers.u32(at).map(u64::from)
        } else {
            self.numbers.pointer(at)
        }
    }

    /// Where a function begins; that of the number of functions is where the last ends.
    fn entry(&self, function: usize) -> Option<u64> {
        self.listed(function.checked_mul(2)?)?.checked_add(self.text)
    }

    /// A field of a function's description: the first is the one behind its address.
    fn field(&self, function: usize, number: usize) -> Option<u32> {
        let offset = usize::try_from(self.listed(function * 2 + 1)?).ok()?;
        let base = if self.release == Release::Go2 { 0 } else { self.list };
        self.numbers.u32(base.checked_add(offset)?.checked_add(self.list_bytes() + 4 * number)?)
    }

    fn name(&self, function: usize) -> Option<&'p str> {
        self.numbers.text(self.names.checked_add(self.field(function, 0)? as usize)?)
    }

    fn file(&self, function: usize, number: i64) -> Option<&'p str> {
        let number = usize::try_from(number).ok()?;
        if self.release == Release::Go2 {
            let at = self.numbers.u32(self.files.checked_add(number.checked_mul(4)?)?)?;
            return self.numbers.text(at as usize);
        }
        let unit = self.field(function, 7)? as usize;
        let at = self.numbers.u32(self.units.checked_add(unit.checked_add(number)?.checked_mul(4)?)?)?;
        (at != NO_FILE).then(|| self.numbers.text(self.files.checked_add(at as usize)?))?
    }

    fn values(&self, offset: u32, begin: u64, end: u64) -> Values<'p> {
        let at = self.values.saturating_add(offset as usize);
        let rest = self.numbers.bytes.get(at..).unwrap_or_default();
        Values { rest, quantum: self.quantum, address: begin, end, value: -1, left: STEPS_MAX }
    }
}

/// A table of values by address: each step says up to where its value holds.
#[derive(Debug)]
struct Values<'p> {
    rest: &'p [u8],
    quantum: u64,
    address: u64,
    end: u64,
    value: i64,
    left: usize,
}

impl Values<'_> {
    fn varint(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for count in 0..5 {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u32::from(byte & 0x7f) << (7 * count);
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for Values<'_> {
    /// Up to which address, and the value.
    type Item = (u64, i64);

    fn next(&mut self) -> Option<(u64, i64)> {
        if self.address >= self.end || self.left == 0 {
            return None;
        }
        let delta = self.varint()?;
        if delta == 0 && self.left < STEPS_MAX {
            return None;
        }
        self.left -= 1;
        self.value += i64::from(delta >> 1) ^ -i64::from(delta & 1);
        let step = u64::from(self.varint()?).checked_mul(self.quantum).filter(|step| *step > 0)?;
        self.address = self.address.saturating_add(step).min(self.end);
        Some((self.address, self.value))
    }
}

/// Adds all functions of a table; what is damaged is left out. `text`: where the program's code begins.
pub(crate) fn read(
    bytes: &[u8],
    text: u64,
    limits: &BuildLimits,
    builder: &mut Builder,
) -> Result<(), BuildError> {
    let Some(table) = Table::open(bytes, text) else { return Ok(()) };
    if table.functions > limits.max_ranges {
        return Err(BuildError::TooMuch { what: "functions", limit: limits.max_ranges as u64 });
    }
    let mut begin = table.entry(0);
    for number in 0..table.functions {
        // Functions are apart and in order, so that all their addresses together are no more than the program has.
        let (Some(from), Some(to)) = (begin, table.entry(number + 1)) else { break };
        if to < from {
            break;
        }
        begin = Some(to);
        if let Some(name) = table.name(number) {
            function(&table, number, (from, to), name, builder)?;
        }
    }
    Ok(())
}

/// Adds one function: a range for each file and line.
fn function(
    table: &Table<'_>,
    number: usize,
    (from, to): (u64, u64),
    name: &str,
    builder: &mut Builder,
) -> Result<(), BuildError> {
    let start_line = match table.release {
        Release::Go20 => table.field(number, 8).unwrap_or(0),
        _ => 0,
    };
    let values = |field| table.field(number, field).map(|offset| table.values(offset, from, to));
    let (Some(files), Some(lines)) = (values(4), values(5)) else { return Ok(()) };
    let (mut files, mut lines) = (files.peekable(), lines.peekable());
    let mut known: HashMap<i64, u32> = HashMap::new();
    let mut at = from;
    while let (Some((file_end, file)), Some((line_end, line))) =
        (files.peek().copied(), lines.peek().copied())
    {
        let id = match known.get(&file) {
            Some(id) => *id,
            None => {
                let made =
                    builder.function(name, table.file(number, file).unwrap_or_default(), start_line)?;
                known.insert(file, made);
                made
            }
        };
        let end = file_end.min(line_end);
        builder.range(at, end, &[(id, u32::try_from(line).unwrap_or(0))])?;
        at = end;
        files.next_if(|(file_end, _)| *file_end == end);
        lines.next_if(|(line_end, _)| *line_end == end);
    }
    Ok(())
}
