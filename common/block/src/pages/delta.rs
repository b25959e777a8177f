//! DELTA_BINARY_PACKED: blocks of 128 deltas in four miniblocks of 32, each with its own bit width.

use super::bits::{PADDED, pack32, put_varint, take_varint, unpack32, unzigzag, width_of, zigzag};
use super::{PageResult, Word};

const BLOCK: usize = 128;
const MINI: usize = 32;
const MINIS: usize = BLOCK / MINI;

/// Appends the encoding of all values.
pub(super) fn encode<T: Word>(values: &[T], out: &mut Vec<u8>) {
    put_varint(BLOCK as u64, out);
    put_varint(MINIS as u64, out);
    put_varint(values.len() as u64, out);
    let Some(&first) = values.first() else {
        put_varint(0, out);
        return;
    };
    put_varint(zigzag(first.to_i64()), out);
    let mut before = first;
    let mut deltas = [0i64; BLOCK];
    for block in values[1..].chunks(BLOCK) {
        let mut least = i64::MAX;
        let mut most = i64::MIN;
        for (delta, &value) in deltas.iter_mut().zip(block) {
            *delta = value.wrapping_delta(before);
            before = value;
            least = least.min(*delta);
            most = most.max(*delta);
        }
        put_varint(zigzag(least), out);
        let widths_at = out.len();
        out.extend_from_slice(&[0; MINIS]);
        if least == most {
            continue;
        }
        // Differences of two wrapped deltas wrap in the width of the type, too.
        let mask = if T::BYTES == 4 { u64::from(u32::MAX) } else { u64::MAX };
        for (mini_at, mini) in deltas[..block.len()].chunks(MINI).enumerate() {
            let mut offsets = [0u64; MINI];
            let mut all = 0u64;
            for (offset, &delta) in offsets.iter_mut().zip(mini) {
                *offset = delta.wrapping_sub(least) as u64 & mask;
                all |= *offset;
            }
            let width = match width_of(all) {
                // Whole bytes cost nothing once the page is compressed: the coder then sees one symbol for each row.
                5..8 if T::BYTES == 4 => 8,
                exact => exact,
            };
            out[widths_at + mini_at] = width as u8;
            pack32(&offsets, width, out);
        }
    }
}

/// Appends exactly `count` decoded values to `out`.
pub(super) fn decode<T: Word>(bytes: &[u8], count: usize, out: &mut Vec<T>) -> PageResult<()> {
    let short = || "a delta page ends early".to_owned();
    let mut at = 0usize;
    let block = take_varint(bytes, &mut at).ok_or_else(short)?;
    let minis = take_varint(bytes, &mut at).ok_or_else(short)?;
    let total = take_varint(bytes, &mut at).ok_or_else(short)?;
    let first = unzigzag(take_varint(bytes, &mut at).ok_or_else(short)?);
    if block != BLOCK as u64 || minis != MINIS as u64 {
        return Err(format!("a delta page has blocks of {block} in {minis}, not of {BLOCK} in {MINIS}"));
    }
    if total != count as u64 {
        return Err(format!("a delta page has {total} values, not {count}"));
    }
    if count == 0 {
        return Ok(());
    }
    out.reserve(count);
    let mut value = first as u64;
    out.push(T::from_bits(value));
    let mut left = count - 1;
    let mut packed = [0u8; PADDED];
    let mut offsets = [0u64; MINI];
    while left > 0 {
        let least = unzigzag(take_varint(bytes, &mut at).ok_or_else(short)?) as u64;
        let mut widths = [0u8; MINIS];
        widths.copy_from_slice(bytes.get(at..at + MINIS).ok_or_else(short)?);
        at += MINIS;
        if least == 0 && widths == [0; MINIS] {
            let here = left.min(BLOCK);
            out.resize(out.len() + here, T::from_bits(value));
            left -= here;
            continue;
        }
        for width in widths {
            if left == 0 {
                break;
            }
            if width > 64 {
                return Err(format!("a delta page has a width of {width} bits"));
            }
            let bytes_here = MINI / 8 * usize::from(width);
            packed[..bytes_here].copy_from_slice(bytes.get(at..at + bytes_here).ok_or_else(short)?);
            at += bytes_here;
            unpack32(&packed, width, &mut offsets);
            let here = left.min(MINI);
            for offset in &mut offsets {
                value = value.wrapping_add(least).wrapping_add(*offset);
                *offset = value;
            }
            out.extend(offsets[..here].iter().map(|&v| T::from_bits(v)));
            left -= here;
        }
    }
    Ok(())
}
