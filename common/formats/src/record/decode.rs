//! Reading a record: a total function of any bytes.

use hearth_common::{Rid, TimestampNs};

use super::{
    CRC_FROM, FRAMES_MAX, Function, HEADER_BYTES, Line, Location, MAGIC, Mapping, RECORD_BYTES_MAX, Record,
    RecordError, RecordHeader, SAMPLE_TYPES_MAX, SpanRow, VERSION,
};

type Result<T> = std::result::Result<T, RecordError>;

/// Reads the header alone, and the record's length in bytes. The checksum is not looked at: what stores records has its
/// own.
pub fn peek(bytes: &[u8]) -> Result<(RecordHeader<'_>, usize)> {
    let truncated = |want| RecordError::Truncated { have: bytes.len(), want };
    let fixed = bytes.first_chunk::<HEADER_BYTES>().ok_or(truncated(HEADER_BYTES))?;
    if fixed[..4] != MAGIC {
        return Err(RecordError::Magic);
    }
    if fixed[4] != VERSION || fixed[5] != 0 {
        return Err(RecordError::Version(fixed[4]));
    }
    let u64_at = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|n: usize| fixed[at + n]));
    let tenant_bytes = usize::from(u16::from_le_bytes([fixed[6], fixed[7]]));
    let length = u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]) as usize;
    if length > RECORD_BYTES_MAX || length < HEADER_BYTES + tenant_bytes {
        return Err(RecordError::Malformed("length"));
    }
    let tenant =
        bytes.get(HEADER_BYTES..HEADER_BYTES + tenant_bytes).ok_or(truncated(HEADER_BYTES + tenant_bytes))?;
    let header = RecordHeader {
        tenant: std::str::from_utf8(tenant).map_err(|_| RecordError::Malformed("tenant id"))?,
        rid: Rid(u128::from(u64_at(16)) | u128::from(u64_at(24)) << 64),
        service_hash: u64_at(32),
        series_hash: u64_at(40),
        time: TimestampNs(u64_at(48) as i64),
    };
    Ok((header, length))
}

/// Reads a whole record into `record`, whose former content is gone. `bytes` may go on after the record.
pub fn decode<'a>(bytes: &'a [u8], record: &mut Record<'a>) -> Result<RecordHeader<'a>> {
    let (header, length) = peek(bytes)?;
    let bytes = bytes.get(..length).ok_or(RecordError::Truncated { have: bytes.len(), want: length })?;
    let crc = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    if crc32c::crc32c(&bytes[CRC_FROM..]) != crc {
        return Err(RecordError::Checksum);
    }
    record.clear();
    let reader = Reader { rest: &bytes[HEADER_BYTES + header.tenant.len()..] };
    let reader = reader.head(record)?.symbols(record)?.stacks(record)?;
    let types = record.sample_types.len();
    let reader = reader.values(&mut record.values, record.stack_ends.len(), types)?.spans(record)?;
    let reader = reader.values(&mut record.span_values, record.spans.len(), types)?;
    if reader.rest.is_empty() {
        Ok(header)
    } else {
        Err(RecordError::Malformed("bytes after the last section"))
    }
}

/// What is left of the record. Sections take it by value and hand it on, so that loops keep it in registers.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn head(mut self, record: &mut Record<'a>) -> Result<Self> {
        self.pairs(&mut record.labels)?;
        if !record.labels.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(RecordError::Malformed("labels are not sorted or not unique"));
        }
        self.pairs(&mut record.sample_types)?;
        if record.sample_types.is_empty() || record.sample_types.len() > SAMPLE_TYPES_MAX {
            return Err(RecordError::Malformed("number of sample types"));
        }
        record.period_type = (self.text()?, self.text()?);
        record.period = self.zigzag()?;
        record.duration_ns = self.zigzag()?;
        self.pairs(&mut record.annotations)?;
        Ok(self)
    }

    fn pairs(&mut self, out: &mut Vec<(&'a str, &'a str)>) -> Result<()> {
        for _ in 0..self.count(2)? {
            let pair = (self.text()?, self.text()?);
            out.push(pair);
        }
        Ok(())
    }

    fn symbols(mut self, record: &mut Record<'a>) -> Result<Self> {
        self = self.strings(&mut record.strings)?;
        let strings = record.strings.len() as u64;
        for _ in 0..self.count(5)? {
            let (file, build_id) = (self.index(strings)?, self.index(strings)?);
            let [start, limit, offset] = [self.varint()?, self.varint()?, self.varint()?];
            record.mappings.push(Mapping { file, build_id, start, limit, offset });
        }
        let functions = self.count(4)?;
        record.functions.reserve(functions);
        for _ in 0..functions {
            let name = self.index(strings)?;
            let system_name = i64::from(name).checked_add(self.zigzag()?);
            let system_name =
                system_name.and_then(|n| u32::try_from(n).ok()).filter(|n| u64::from(*n) < strings);
            let system_name = system_name.ok_or(RecordError::Malformed("index of a string"))?;
            let (file, start_line) = (self.index(strings)?, self.zigzag()?);
            record.functions.push(Function { name, system_name, file, start_line });
        }
        let lines = self.count(2)?;
        record.lines.reserve(lines);
        for _ in 0..lines {
            let (function, line) = (self.index(functions as u64)?, self.zigzag()?);
            record.lines.push(Line { function, line });
        }
        let locations = self.count(2)?;
        record.locations.reserve(locations);
        let mut first_line = 0u64;
        for _ in 0..locations {
            let mapping_plus_1 = self.index(record.mappings.len() as u64 + 1)?;
            let line_count = self.varint()?;
            let address = if line_count == 0 { self.varint()? } else { 0 };
            let location = Location {
                mapping_plus_1,
                address,
                first_line: first_line as u32,
                line_count: line_count as u32,
            };
            first_line = first_line.saturating_add(line_count);
            if first_line > lines as u64 {
                return Err(RecordError::Malformed("lines of a location"));
            }
            record.locations.push(location);
        }
        Ok(self)
    }

    fn strings(mut self, out: &mut Vec<&'a str>) -> Result<Self> {
        let count = self.count(1)?;
        let mut lengths = Reader { rest: self.rest };
        let mut total = 0usize;
        for _ in 0..count {
            let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
            total = total.saturating_add(length);
        }
        let blob = self.bytes(total)?;
        let blob = std::str::from_utf8(blob).map_err(|_| RecordError::Malformed("a string is not UTF-8"))?;
        out.reserve(count);
        let mut start = 0;
        for _ in 0..count {
            let end = start + lengths.varint()? as usize;
            // `get` also refuses a cut inside a character.
            out.push(blob.get(start..end).ok_or(RecordError::Malformed("a string is not UTF-8"))?);
            start = end;
        }
        if out.first().is_some_and(|first| !first.is_empty()) {
            return Err(RecordError::Malformed("string 0 is not empty"));
        }
        Ok(self)
    }

    fn stacks(mut self, record: &mut Record<'a>) -> Result<Self> {
        let count = self.count(2)?;
        record.stack_ends.reserve(count);
        let locations = record.locations.len() as u64;
        let mut before = 0..0;
        for _ in 0..count {
            let shared = self.varint()?;
            let rest = self.count(1)?;
            if shared > before.len() as u64 {
                return Err(RecordError::Malformed("a stack shares more than there is"));
            }
            let start = record.frames.len();
            if start + shared as usize + rest > FRAMES_MAX {
                return Err(RecordError::Malformed("more than 64 Mi frames"));
            }
            record.frames.extend_from_within(before.start..before.start + shared as usize);
            let mut highest = 0;
            for _ in 0..rest {
                let frame = self.varint()?;
                highest = highest.max(frame);
                record.frames.push(frame as u32);
            }
            if rest > 0 && highest >= locations {
                return Err(RecordError::Malformed("an index is out of range"));
            }
            before = start..record.frames.len();
            record.stack_ends.push(before.end as u32);
        }
        Ok(self)
    }

    fn values(mut self, out: &mut Vec<i64>, rows: usize, types: usize) -> Result<Self> {
        out.reserve(rows * types);
        // The top bit of all values together: none may be negative.
        let mut signs = 0;
        for _ in 0..rows {
            if types == 1 {
                let value = self.mixed_varint()?;
                signs |= value;
                out.push(value as i64);
                continue;
            }
            let mut mask = self.varint()?;
            if types < 64 && mask >> types != 0 {
                return Err(RecordError::Malformed("a value has no sample type"));
            }
            let start = out.len();
            out.resize(start + types, 0);
            let row = &mut out[start..];
            while mask != 0 {
                let value = self.mixed_varint()?;
                signs |= value;
                row[mask.trailing_zeros() as usize] = value as i64;
                mask &= mask - 1;
            }
        }
        if signs >> 63 == 0 { Ok(self) } else { Err(RecordError::Malformed("a value is negative")) }
    }

    fn spans(mut self, record: &mut Record<'a>) -> Result<Self> {
        for _ in 0..self.count(9)? {
            let first = self.varint()?;
            let stack = u32::try_from(first >> 1).ok().filter(|s| (*s as usize) < record.stack_ends.len());
            let stack = stack.ok_or(RecordError::Malformed("stack of a span"))?;
            let span = u64::from_le_bytes(self.array()?);
            let trace = if first & 1 == 1 { Some(self.array()?) } else { None };
            record.spans.push(SpanRow { stack, span, trace });
        }
        Ok(self)
    }

    /// A count of things that take at least `least` bytes each: bounded by what is left.
    #[inline(always)]
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.varint()?;
        let most = (self.rest.len() / least) as u64;
        if count <= most {
            Ok(count as usize)
        } else {
            Err(RecordError::Malformed("a count goes past the end"))
        }
    }

    #[inline(always)]
    fn index(&mut self, below: u64) -> Result<u32> {
        let index = self.varint()?;
        match u32::try_from(index) {
            Ok(small) if index < below => Ok(small),
            _ => Err(RecordError::Malformed("an index is out of range")),
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        std::str::from_utf8(self.bytes(length)?).map_err(|_| RecordError::Malformed("a text is not UTF-8"))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(RecordError::Malformed("a length goes past the end"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) =
            self.rest.split_first_chunk().ok_or(RecordError::Malformed("a length goes past the end"))?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline(always)]
    fn zigzag(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64> {
        match self.rest {
            [a, rest @ ..] if *a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*a))
            }
            [a, b, rest @ ..] if *b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*a & 0x7f) | u64::from(*b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(always)]
    fn long_varint(&mut self) -> Result<u64> {
        let (value, rest) =
            long(self.rest).ok_or(RecordError::Malformed("a number is cut off or too long"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A varint whose length cannot be guessed: no branch on it.
    #[inline(always)]
    fn mixed_varint(&mut self) -> Result<u64> {
        let Some(word) = self.rest.first_chunk::<8>() else { return self.long_varint() };
        let word = u64::from_le_bytes(*word);
        // The last byte of the number is the first without the top bit.
        let stops = !word & 0x8080_8080_8080_8080;
        if stops == 0 {
            return self.long_varint();
        }
        // Then the gaps where top bits were are closed.
        let word = word & (stops ^ (stops - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
        let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
        let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
        let word = word & 0x0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4;
        self.rest = &self.rest[stops.trailing_zeros() as usize / 8 + 1..];
        Ok(word)
    }
}

/// By value, so that the reader of the caller needs no address.
#[inline(never)]
fn long(rest: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (count, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * count);
        if *byte < 0x80 {
            return Some((value, &rest[count + 1..]));
        }
    }
    None
}
