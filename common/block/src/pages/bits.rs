//! Bit packing, 32 values at a time, least significant bit first.

pub(super) use crate::codec::{put_varint, take_varint, unzigzag, zigzag};

/// Bytes of 32 values of 64 bits, and room to load a whole word at any byte of them.
pub(super) const PADDED: usize = 256 + 16;

/// Appends 32 values of `width` bits each: `4 × width` bytes.
pub(super) fn pack32(values: &[u64; 32], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mut word = 0u128;
    let mut filled = 0u32;
    for &value in values {
        word |= u128::from(value) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    // 32 × width is a multiple of 32 bits: a rest is 4 bytes.
    if filled > 0 {
        out.extend_from_slice(&(word as u32).to_le_bytes());
    }
}

/// Packs fewer than 32 values (a multiple of 8) of `width` bits: `count × width / 8` bytes.
pub(super) fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut word = 0u64;
    let mut filled = 0u32;
    for &value in values {
        word |= u64::from(value) << filled;
        filled += width;
        while filled >= 8 {
            out.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    debug_assert_eq!(filled, 0, "values come in groups of eight");
}

#[inline(always)]
fn unpack32_const<const WIDTH: usize>(bytes: &[u8; PADDED], out: &mut [u64; 32]) {
    let mask = if WIDTH == 64 { u64::MAX } else { (1u64 << WIDTH) - 1 };
    for (at, value) in out.iter_mut().enumerate() {
        let (byte, shift) = (at * WIDTH / 8, at * WIDTH % 8);
        let mut word = [0u8; 8];
        word.copy_from_slice(&bytes[byte..byte + 8]);
        let mut low = u64::from_le_bytes(word) >> shift;
        if WIDTH + shift > 64 {
            low |= u64::from(bytes[byte + 8]) << (64 - shift);
        }
        *value = low & mask;
    }
}

/// Reads 32 values of `width` ≤ 64 bits from the head of `bytes`.
pub(super) fn unpack32(bytes: &[u8; PADDED], width: u8, out: &mut [u64; 32]) {
    macro_rules! widths {
        ($($w:literal)*) => {
            match width { $( $w => unpack32_const::<$w>(bytes, out), )* _ => unpack32_const::<64>(bytes, out) }
        };
    }
    widths!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
}

/// Bits that a value needs.
#[inline(always)]
pub(super) fn width_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}
