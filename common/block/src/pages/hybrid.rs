//! The hybrid of run lengths and bit packing that holds the indices of a dictionary.

use super::PageResult;
use super::bits::{PADDED, pack, put_varint, take_varint, unpack32, width_of};

/// Shortest run that is written as a run.
const RUN_MIN: usize = 8;

/// Appends the bit width and all indices; `dict_len` ≥ 1 is the size of the dictionary.
pub(super) fn encode(indices: &[u32], dict_len: usize, out: &mut Vec<u8>) {
    let width = width_of(dict_len as u64 - 1);
    out.push(width as u8);
    let run_bytes = width.div_ceil(8) as usize;
    let mut literal_from = 0usize;
    let mut at = 0usize;
    while at < indices.len() {
        let value = indices[at];
        let mut end = at + 1;
        while end < indices.len() && indices[end] == value {
            end += 1;
        }
        // Literals come in groups of eight: the run lends what the last group lacks.
        let lent = (at - literal_from).next_multiple_of(8) - (at - literal_from);
        if end - at >= RUN_MIN + lent {
            let run_from = at + lent;
            put_literals(&indices[literal_from..run_from], width, out);
            put_varint(((end - run_from) as u64) << 1, out);
            out.extend_from_slice(&value.to_le_bytes()[..run_bytes]);
            literal_from = end;
        }
        at = end;
    }
    put_literals(&indices[literal_from..], width, out);
}

fn put_literals(indices: &[u32], width: u32, out: &mut Vec<u8>) {
    if indices.is_empty() {
        return;
    }
    let groups = indices.len().div_ceil(8);
    put_varint((groups as u64) << 1 | 1, out);
    let whole = indices.len() / 8 * 8;
    pack(&indices[..whole], width, out);
    if whole < indices.len() {
        let mut last = [0u32; 8];
        last[..indices.len() - whole].copy_from_slice(&indices[whole..]);
        pack(&last, width, out);
    }
}

/// Appends exactly `count` values, looked up in `dict`.
pub(super) fn decode<T: Copy>(bytes: &[u8], count: usize, dict: &[T], out: &mut Vec<T>) -> PageResult<()> {
    let short = || "a dictionary page's indices end early".to_owned();
    let outside = || format!("an index is outside of a dictionary of {} values", dict.len());
    let width = *bytes.first().ok_or_else(short)?;
    if width > 32 {
        return Err(format!("indices have a width of {width} bits"));
    }
    let mut at = 1usize;
    let mut left = count;
    out.reserve(count);
    let mut packed = [0u8; PADDED];
    let mut indices = [0u64; 32];
    while left > 0 {
        let head = take_varint(bytes, &mut at).ok_or_else(short)?;
        if head & 1 == 0 {
            let run = usize::try_from(head >> 1).unwrap_or(usize::MAX).min(left);
            if run == 0 {
                return Err("an empty run".to_owned());
            }
            let mut word = [0u8; 4];
            let run_bytes = usize::from(width).div_ceil(8);
            word[..run_bytes].copy_from_slice(bytes.get(at..at + run_bytes).ok_or_else(short)?);
            at += run_bytes;
            let value = *dict.get(u32::from_le_bytes(word) as usize).ok_or_else(outside)?;
            out.resize(out.len() + run, value);
            left -= run;
            continue;
        }
        let mut values = usize::try_from(head >> 1).unwrap_or(usize::MAX).saturating_mul(8);
        if values == 0 {
            return Err("an empty group of literals".to_owned());
        }
        while values > 0 && left > 0 {
            let here = values.min(32);
            let bytes_here = here / 8 * usize::from(width);
            packed[..bytes_here].copy_from_slice(bytes.get(at..at + bytes_here).ok_or_else(short)?);
            at += bytes_here;
            unpack32(&packed, width, &mut indices);
            let wanted = here.min(left);
            for &index in &indices[..wanted] {
                out.push(*dict.get(index as usize).ok_or_else(outside)?);
            }
            values -= here;
            left -= wanted;
        }
    }
    Ok(())
}
