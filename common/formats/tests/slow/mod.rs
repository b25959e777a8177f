//! A second reader of pprof, written for nothing but to be obviously right: fields to a list, then the list to the message.

use hearth_formats::pprof::{Function, Label, Line, Mapping, ValueType};
use hearth_testkit::raw::{RawLocation, RawProfile, RawSample};

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The message, or nothing when the bytes are no profile.
pub(crate) fn read(bytes: &[u8]) -> Option<RawProfile> {
    let mut out = RawProfile::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Value::Bytes(inner)) => out.sample_types.push(value_type(inner, ValueType::default())?),
            (2, Value::Bytes(inner)) => out.samples.push(sample(inner)?),
            (3, Value::Bytes(inner)) => out.mappings.push(mapping(inner)?),
            (4, Value::Bytes(inner)) => out.locations.push(location(inner)?),
            (5, Value::Bytes(inner)) => out.functions.push(function(inner)?),
            (6, Value::Bytes(inner)) => out.strings.push(inner.to_vec()),
            (7 | 8, Value::Number(_)) => {}
            (9, Value::Number(n)) => out.time_ns = n as i64,
            (10, Value::Number(n)) => out.duration_ns = n as i64,
            (11, Value::Bytes(inner)) => {
                out.period_type = Some(value_type(inner, out.period_type.unwrap_or_default())?);
            }
            (12, Value::Number(n)) => out.period = n as i64,
            (13, value) => out.comments.extend(numbers(value)?.into_iter().map(|n| n as i64)),
            (14, Value::Number(n)) => out.default_sample_type = n as i64,
            (15.., _) => {}
            _ => return None,
        }
    }
    Some(out)
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        if !(1..1 << 29).contains(&(key >> 3)) {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => fixed(&mut bytes, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inner, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(inner)
            }
            5 => fixed(&mut bytes, 4)?,
            _ => return None,
        };
        out.push((key >> 3, value));
    }
    Some(out)
}

fn fixed<'a>(bytes: &mut &'a [u8], length: usize) -> Option<Value<'a>> {
    *bytes = bytes.get(length..)?;
    Some(Value::Fixed)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u128;
    for count in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 0x7f) << (7 * count);
        if *byte < 0x80 {
            return Some(value as u64);
        }
    }
    None
}

fn numbers(value: Value<'_>) -> Option<Vec<u64>> {
    match value {
        Value::Number(number) => Some(vec![number]),
        Value::Bytes(mut bytes) => {
            let mut out = Vec::new();
            while !bytes.is_empty() {
                out.push(varint(&mut bytes)?);
            }
            Some(out)
        }
        Value::Fixed => None,
    }
}

/// The last value of each of the fields 1 to `N`, which must be numbers; other fields go to `other`.
fn flat<const N: usize>(
    bytes: &[u8],
    mut out: [u64; N],
    mut other: impl FnMut(u64, Value<'_>) -> Option<()>,
) -> Option<[u64; N]> {
    for (field, value) in fields(bytes)? {
        match value {
            Value::Number(number) if (1..=N as u64).contains(&field) => out[field as usize - 1] = number,
            value => other(field, value)?,
        }
    }
    Some(out)
}

fn beyond(last: u64) -> impl FnMut(u64, Value<'_>) -> Option<()> {
    move |field, _| (field > last).then_some(())
}

fn value_type(bytes: &[u8], before: ValueType) -> Option<ValueType> {
    let [ty, unit] = flat(bytes, [before.ty as u64, before.unit as u64], beyond(2))?;
    Some(ValueType { ty: ty as i64, unit: unit as i64 })
}

fn sample(bytes: &[u8]) -> Option<RawSample> {
    let mut out = RawSample::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, value) => out.location_ids.extend(numbers(value)?),
            (2, value) => out.values.extend(numbers(value)?.into_iter().map(|n| n as i64)),
            (3, Value::Bytes(inner)) => {
                let [key, str, num, num_unit] = flat(inner, [0; 4], beyond(4))?.map(|n| n as i64);
                out.labels.push(Label { key, str, num, num_unit });
            }
            (4.., _) => {}
            _ => return None,
        }
    }
    Some(out)
}

fn mapping(bytes: &[u8]) -> Option<Mapping> {
    let [id, memory_start, memory_limit, file_offset, filename, build_id, flags @ ..] =
        flat::<10>(bytes, [0; 10], beyond(10))?;
    let [has_functions, has_filenames, has_line_numbers, has_inline_frames] = flags.map(|flag| flag != 0);
    Some(Mapping {
        id,
        memory_start,
        memory_limit,
        file_offset,
        filename: filename as i64,
        build_id: build_id as i64,
        has_functions,
        has_filenames,
        has_line_numbers,
        has_inline_frames,
    })
}

fn location(bytes: &[u8]) -> Option<RawLocation> {
    let mut out = RawLocation::default();
    for (field, value) in fields(bytes)? {
        match (field, value) {
            (1, Value::Number(n)) => out.id = n,
            (2, Value::Number(n)) => out.mapping_id = n,
            (3, Value::Number(n)) => out.address = n,
            (4, Value::Bytes(inner)) => {
                let [function_id, line] = flat(inner, [0; 2], beyond(2))?;
                out.lines.push(Line { function_id, line: line as i64 });
            }
            (5, Value::Number(n)) => out.is_folded = n != 0,
            (6.., _) => {}
            _ => return None,
        }
    }
    Some(out)
}

fn function(bytes: &[u8]) -> Option<Function> {
    let [id, name, system_name, filename, start_line] = flat(bytes, [0; 5], beyond(5))?;
    let [name, system_name, filename, start_line] =
        [name, system_name, filename, start_line].map(|n| n as i64);
    Some(Function { id, name, system_name, filename, start_line })
}
