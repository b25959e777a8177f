//! BYTE_STREAM_SPLIT: all lowest bytes of the values, then all second bytes, and so on. Random values of one magnitude
//! compress best this way: their high bytes repeat, and no difference of two of them has to be stored.

use super::{PageResult, Word};

/// Values that are put together at a time: few enough to stay in the first cache.
const LANES: usize = 64;

/// Appends the encoding of all values.
pub(super) fn encode<T: Word>(values: &[T], out: &mut Vec<u8>) {
    for byte in 0..T::BYTES {
        out.extend(values.iter().map(|value| (value.to_i64() as u64 >> (8 * byte)) as u8));
    }
}

/// Appends exactly `count` decoded values to `out`.
pub(super) fn decode<T: Word>(bytes: &[u8], count: usize, out: &mut Vec<T>) -> PageResult<()> {
    if bytes.len() != count * T::BYTES {
        return Err(format!("{count} split values have {} bytes", bytes.len()));
    }
    if count == 0 {
        return Ok(());
    }
    // High planes of small values are all zero: they are not looked at again.
    let planes: Vec<&[u8]> = bytes.chunks_exact(count).collect();
    let used = planes.iter().rposition(|plane| !all_zero(plane)).map_or(0, |last| last + 1);
    let (low, high) = planes[..used].split_at(used.min(4));
    out.reserve(count);
    for from in (0..count).step_by(LANES) {
        let to = count.min(from + LANES);
        let lows = gather(low, from, to);
        if high.is_empty() {
            out.extend(lows[..to - from].iter().map(|&low| T::from_bits(u64::from(low))));
            continue;
        }
        let highs = gather(high, from, to);
        let words = lows.iter().zip(&highs).map(|(&low, &high)| u64::from(low) | u64::from(high) << 32);
        out.extend(words.take(to - from).map(T::from_bits));
    }
    Ok(())
}

/// The words of at most four planes, from the lowest byte up.
#[inline]
fn gather(planes: &[&[u8]], from: usize, to: usize) -> [u32; LANES] {
    let mut words = [0u32; LANES];
    for (byte, plane) in planes.iter().enumerate() {
        for (word, &b) in words.iter_mut().zip(&plane[from..to]) {
            *word |= u32::from(b) << (8 * byte);
        }
    }
    words
}

fn all_zero(plane: &[u8]) -> bool {
    plane.chunks(256).all(|part| part.iter().fold(0, |all, &b| all | b) == 0)
}
