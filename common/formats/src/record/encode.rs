//! Writing a record. The layout is in `docs/formats/record.md`.

use super::{
    CRC_FROM, FRAMES_MAX, HEADER_BYTES, MAGIC, RECORD_BYTES_MAX, Record, RecordError, RecordHeader,
    SAMPLE_TYPES_MAX, VERSION,
};

/// Appends a record to `out`; on an error `out` is as it was.
pub fn encode(header: &RecordHeader<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let start = out.len();
    let tenant_bytes = u16::try_from(header.tenant.len()).map_err(|_| RecordError::TooLarge("tenant id"))?;
    if record.sample_types.len() > SAMPLE_TYPES_MAX {
        return Err(RecordError::TooLarge("more than 64 sample types"));
    }
    if record.frames.len() > FRAMES_MAX {
        return Err(RecordError::TooLarge("more than 64 Mi frames"));
    }
    let strings: usize = record.strings.iter().map(|s| s.len() + 2).sum();
    let guess = strings + record.functions.len() * 6 + record.locations.len() * 6 + record.frames.len() * 2;
    out.reserve(guess + record.values.len() * 3 + 1024);
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    out.push(0);
    out.extend_from_slice(&tenant_bytes.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&header.rid.0.to_le_bytes());
    out.extend_from_slice(&header.service_hash.to_le_bytes());
    out.extend_from_slice(&header.series_hash.to_le_bytes());
    out.extend_from_slice(&header.time.0.to_le_bytes());
    debug_assert_eq!(out.len() - start, HEADER_BYTES);
    out.extend_from_slice(header.tenant.as_bytes());
    head(record, out);
    let mut sink = Sink { end: out.len(), out };
    symbols(record, &mut sink);
    stacks(record, &mut sink);
    values(&record.values, record.sample_types.len(), &mut sink);
    spans(record, &mut sink);
    sink.out.truncate(sink.end);
    let out = sink.out;
    let length = out.len() - start;
    if length > RECORD_BYTES_MAX {
        out.truncate(start);
        return Err(RecordError::TooLarge("more than 1 GiB"));
    }
    out[start + 8..start + 12].copy_from_slice(&(length as u32).to_le_bytes());
    let crc = crc32c::crc32c(&out[start + CRC_FROM..]);
    out[start + 12..start + 16].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn head(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut sink = Sink { end: out.len(), out };
    sink.pairs(&record.labels);
    sink.pairs(&record.sample_types);
    sink.text(record.period_type.0);
    sink.text(record.period_type.1);
    sink.each(&[record.period, record.duration_ns], 1, |number, room| room.zigzag(*number));
    sink.pairs(&record.annotations);
    sink.out.truncate(sink.end);
}

fn symbols(record: &Record<'_>, sink: &mut Sink<'_>) {
    sink.count(record.strings.len());
    sink.each(&record.strings, 1, |text, room| room.varint(text.len() as u64));
    record.strings.iter().for_each(|text| sink.bytes(text.as_bytes()));
    sink.count(record.mappings.len());
    sink.each(&record.mappings, 5, |mapping, room| {
        room.varint(u64::from(mapping.file));
        room.varint(u64::from(mapping.build_id));
        room.varint(mapping.start);
        room.varint(mapping.limit);
        room.varint(mapping.offset);
    });
    sink.count(record.functions.len());
    sink.each(&record.functions, 4, |function, room| {
        room.varint(u64::from(function.name));
        room.zigzag(i64::from(function.system_name) - i64::from(function.name));
        room.varint(u64::from(function.file));
        room.zigzag(function.start_line);
    });
    sink.count(record.lines.len());
    sink.each(&record.lines, 2, |line, room| {
        room.varint(u64::from(line.function));
        room.zigzag(line.line);
    });
    sink.count(record.locations.len());
    sink.each(&record.locations, 3, |location, room| {
        room.varint(u64::from(location.mapping_plus_1));
        room.varint(u64::from(location.line_count));
        if location.line_count == 0 {
            room.varint(location.address);
        }
    });
}

/// Each stack as the length of what it shares with the one before, and the rest.
fn stacks(record: &Record<'_>, sink: &mut Sink<'_>) {
    sink.count(record.stack_ends.len());
    let mut before: &[u32] = &[];
    for at in 0..record.stack_ends.len() {
        let stack = record.stack(at);
        let shared = shared_frames(stack, before);
        let mut room = sink.room(2 + stack.len() - shared);
        room.varint(shared as u64);
        room.varint((stack.len() - shared) as u64);
        stack[shared..].iter().for_each(|frame| room.varint(u64::from(*frame)));
        sink.end += room.at;
        before = stack;
    }
}

/// How many frames two stacks share from the root.
fn shared_frames(a: &[u32], b: &[u32]) -> usize {
    // Eight at a time: neighbours share most of their depth.
    let (eights_a, eights_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let start = 8 * eights_a.iter().zip(eights_b).take_while(|(a, b)| a == b).count();
    start + a[start..].iter().zip(&b[start..]).take_while(|(a, b)| a == b).count()
}

/// For each row a mask of its columns that are not zero (only with several columns), and these.
fn values(values: &[i64], types: usize, sink: &mut Sink<'_>) {
    if types == 1 {
        sink.each(values, 1, |value, room| room.varint(*value as u64));
        return;
    }
    for rows in values.chunks(ITEMS_AT_ONCE * types.max(1)) {
        let mut room = sink.room(2 * rows.len());
        for row in rows.chunks_exact(types.max(1)) {
            let mask =
                row.iter().enumerate().fold(0u64, |mask, (at, value)| mask | u64::from(*value != 0) << at);
            room.varint(mask);
            row.iter().filter(|value| **value != 0).for_each(|value| room.varint(*value as u64));
        }
        sink.end += room.at;
    }
}

fn spans(record: &Record<'_>, sink: &mut Sink<'_>) {
    sink.count(record.spans.len());
    for span in &record.spans {
        sink.count((span.stack as usize) << 1 | usize::from(span.trace.is_some()));
        sink.bytes(&span.span.to_le_bytes());
        if let Some(trace) = span.trace {
            sink.bytes(&trace);
        }
    }
    values(&record.span_values, record.sample_types.len(), sink);
}

/// Items for which room is made at once.
const ITEMS_AT_ONCE: usize = 256;
/// Least bytes by which the output grows.
const GROWTH_BYTES_MIN: usize = 16 << 10;
/// Most bytes of a varint.
const VARINT_BYTES_MAX: usize = 10;

/// The output, longer than what is written so far: what is written ends at `end`. So numbers can be stored as words.
struct Sink<'o> {
    out: &'o mut Vec<u8>,
    end: usize,
}

impl Sink<'_> {
    /// Room for so many varints; what was used of it must be added to `end`.
    fn room(&mut self, varints: usize) -> Room<'_> {
        self.grow((varints + 1) * VARINT_BYTES_MAX);
        Room { bytes: &mut self.out[self.end..], at: 0 }
    }

    fn grow(&mut self, bytes: usize) {
        if self.out.len() - self.end < bytes {
            self.out.resize(self.end + bytes.max(GROWTH_BYTES_MIN), 0);
        }
    }

    /// Writes items of at most `varints` numbers each.
    fn each<T>(&mut self, items: &[T], varints: usize, put: impl Fn(&T, &mut Room<'_>)) {
        for items in items.chunks(ITEMS_AT_ONCE) {
            let mut room = self.room(items.len() * varints);
            items.iter().for_each(|item| put(item, &mut room));
            self.end += room.at;
        }
    }

    fn count(&mut self, count: usize) {
        let mut room = self.room(1);
        room.varint(count as u64);
        self.end += room.at;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.grow(bytes.len());
        self.out[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }

    fn pairs(&mut self, pairs: &[(&str, &str)]) {
        self.count(pairs.len());
        for (name, value) in pairs {
            self.text(name);
            self.text(value);
        }
    }
}

struct Room<'s> {
    bytes: &'s mut [u8],
    at: usize,
}

impl Room<'_> {
    /// The bytes of a number are put together in a word and stored at once.
    #[inline(always)]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.bytes[self.at] = value as u8;
            self.at += 1;
            return;
        }
        if value < 0x4000 {
            self.bytes[self.at..self.at + 2].copy_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
            self.at += 2;
            return;
        }
        if value >> 56 != 0 {
            return self.huge(value);
        }
        let spread = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
        let spread = spread & 0x0000_3fff_0000_3fff | (spread & 0x0fff_c000_0fff_c000) << 2;
        let spread = spread & 0x007f_007f_007f_007f | (spread & 0x3f80_3f80_3f80_3f80) << 1;
        // The highest bit divided by seven.
        let more = ((63 - (value | 1).leading_zeros()) * 37) >> 8;
        let word = spread | 0x8080_8080_8080_8080 & ((1 << (8 * more)) - 1);
        self.bytes[self.at..self.at + 8].copy_from_slice(&word.to_le_bytes());
        self.at += more as usize + 1;
    }

    #[cold]
    fn huge(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.at] = value as u8 | 0x80;
            self.at += 1;
            value >>= 7;
        }
        self.bytes[self.at] = value as u8;
        self.at += 1;
    }

    #[inline(always)]
    fn zigzag(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63) as u64);
    }
}
