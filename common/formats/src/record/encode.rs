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
    symbols(record, out);
    stacks(record, out);
    values(&record.values, record.sample_types.len(), out);
    spans(record, out);
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
    pairs(&record.labels, out);
    pairs(&record.sample_types, out);
    text(record.period_type.0, out);
    text(record.period_type.1, out);
    zigzag(record.period, out);
    zigzag(record.duration_ns, out);
    pairs(&record.annotations, out);
}

fn pairs(pairs: &[(&str, &str)], out: &mut Vec<u8>) {
    varint(pairs.len() as u64, out);
    for (name, value) in pairs {
        text(name, out);
        text(value, out);
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn symbols(record: &Record<'_>, out: &mut Vec<u8>) {
    varint(record.strings.len() as u64, out);
    for text in &record.strings {
        varint(text.len() as u64, out);
    }
    for text in &record.strings {
        out.extend_from_slice(text.as_bytes());
    }
    varint(record.mappings.len() as u64, out);
    for mapping in &record.mappings {
        for value in [
            u64::from(mapping.file),
            u64::from(mapping.build_id),
            mapping.start,
            mapping.limit,
            mapping.offset,
        ] {
            varint(value, out);
        }
    }
    varint(record.functions.len() as u64, out);
    for function in &record.functions {
        varint(u64::from(function.name), out);
        zigzag(i64::from(function.system_name) - i64::from(function.name), out);
        varint(u64::from(function.file), out);
        zigzag(function.start_line, out);
    }
    varint(record.lines.len() as u64, out);
    for line in &record.lines {
        varint(u64::from(line.function), out);
        zigzag(line.line, out);
    }
    varint(record.locations.len() as u64, out);
    for location in &record.locations {
        varint(u64::from(location.mapping_plus_1), out);
        varint(u64::from(location.line_count), out);
        if location.line_count == 0 {
            varint(location.address, out);
        }
    }
}

/// Each stack as the length of what it shares with the one before, and the rest.
fn stacks(record: &Record<'_>, out: &mut Vec<u8>) {
    varint(record.stack_ends.len() as u64, out);
    let mut before: &[u32] = &[];
    for at in 0..record.stack_ends.len() {
        let stack = record.stack(at);
        let shared = stack.iter().zip(before).take_while(|(a, b)| a == b).count();
        varint(shared as u64, out);
        varint((stack.len() - shared) as u64, out);
        for frame in &stack[shared..] {
            varint(u64::from(*frame), out);
        }
        before = stack;
    }
}

/// For each row a mask of its columns that are not zero (only with several columns), and these.
fn values(values: &[i64], types: usize, out: &mut Vec<u8>) {
    if types == 1 {
        values.iter().for_each(|value| varint(*value as u64, out));
        return;
    }
    for row in values.chunks_exact(types.max(1)) {
        let mask = row.iter().enumerate().fold(0u64, |mask, (at, value)| mask | u64::from(*value != 0) << at);
        varint(mask, out);
        row.iter().filter(|value| **value != 0).for_each(|value| varint(*value as u64, out));
    }
}

fn spans(record: &Record<'_>, out: &mut Vec<u8>) {
    varint(record.spans.len() as u64, out);
    for span in &record.spans {
        varint(u64::from(span.stack) << 1 | u64::from(span.trace.is_some()), out);
        out.extend_from_slice(&span.span.to_le_bytes());
        if let Some(trace) = span.trace {
            out.extend_from_slice(&trace);
        }
    }
    values(&record.span_values, record.sample_types.len(), out);
}

#[inline]
fn varint(mut value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    if value < 0x4000 {
        out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
        return;
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint((value << 1 ^ value >> 63) as u64, out);
}
