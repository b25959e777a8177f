//! Answers packed for the wire: compressed where that helps, and unpacked by a capped decoder only.
//!
//! Layout: method (0 stored, 1 zstd), length of the content as a varint, the stored or compressed content. The frame of
//! zstd has its checksum. Knows nothing of what is in it.

use std::borrow::Cow;

/// Longest content.
pub const CONTENT_BYTES_MAX: usize = 256 << 20;
/// Content that compresses to less than this part of itself is stored: so few bytes can never make many.
const RATIO_MAX: usize = 64;
/// Content shorter than this is stored.
const COMPRESS_BYTES_MIN: usize = 128;
/// zstd's fastest of the ordinary levels: at cluster speeds the network is not what is scarce.
const LEVEL: i32 = 1;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// The bytes are no packed content, or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// Cut off, damaged, or of an unknown method.
    #[error("damaged packed content")]
    Damaged,
    /// Longer than allowed.
    #[error("content of {bytes} bytes, limit {CONTENT_BYTES_MAX}")]
    TooLarge {
        /// What it is long or claims to be long.
        bytes: usize,
    },
}

/// Packs content.
pub fn pack(content: &[u8]) -> Result<Vec<u8>, PackedError> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(PackedError::TooLarge { bytes: content.len() });
    }
    let compressed = if content.len() < COMPRESS_BYTES_MIN { None } else { compress(content) };
    let (method, stored) = match &compressed {
        Some(bytes) if bytes.len() < content.len() && content.len() / bytes.len() < RATIO_MAX => {
            (ZSTD, &**bytes)
        }
        _ => (STORED, content),
    };
    let mut out = Vec::with_capacity(stored.len() + 10);
    out.push(method);
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(stored);
    Ok(out)
}

/// `None`: zstd has no memory; then the content goes as it is.
fn compress(content: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).ok()?;
    compressor.include_checksum(true).ok()?;
    compressor.compress(content).ok()
}

/// Unpacks content. Memory is bounded by [`CONTENT_BYTES_MAX`] and by a small multiple of the input.
pub fn unpack(packed: &[u8]) -> Result<Cow<'_, [u8]>, PackedError> {
    let (method, mut rest) = packed.split_first().ok_or(PackedError::Damaged)?;
    let mut length = 0usize;
    for shift in (0..).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(PackedError::Damaged)?;
        rest = after;
        if shift > 28 {
            return Err(PackedError::Damaged);
        }
        length |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    if length > CONTENT_BYTES_MAX {
        return Err(PackedError::TooLarge { bytes: length });
    }
    match *method {
        STORED if rest.len() == length => Ok(Cow::Borrowed(rest)),
        ZSTD if length / RATIO_MAX <= rest.len() => {
            let content = zstd::bulk::decompress(rest, length).map_err(|_| PackedError::Damaged)?;
            if content.len() == length { Ok(Cow::Owned(content)) } else { Err(PackedError::Damaged) }
        }
        _ => Err(PackedError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(part in vec(any::<u8>(), 1..40), times in 0..200usize) {
            let content = part.repeat(times);
            let packed = pack(&content).expect("small");
            prop_assert!(packed.len() <= content.len() + 10);
            let unpacked = unpack(&packed).expect("valid");
            prop_assert_eq!(unpacked.as_ref(), &*content);
            for cut in 0..packed.len() {
                prop_assert!(unpack(&packed[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_survived(method in 0..3u8, length in any::<u32>(), rest in vec(any::<u8>(), 0..64)) {
            let mut packed = vec![method];
            packed.extend_from_slice(&length.to_le_bytes());
            packed.extend_from_slice(&rest);
            if let Ok(content) = unpack(&packed) {
                prop_assert!(content.len() <= RATIO_MAX * (rest.len() + 5));
            }
        }

        #[test]
        fn a_flipped_bit_of_compressed_content_is_found(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let content = "stack;of;frames ".repeat(40).into_bytes();
            let mut packed = pack(&content).expect("small");
            prop_assert_eq!(packed[0], ZSTD);
            let at = at.index(packed.len());
            packed[at] ^= 1 << bit;
            // A flip may hit what zstd does not use; the content is then whole all the same.
            prop_assert!(unpack(&packed).map_or(true, |c| c.as_ref() == &*content));
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_and_never_packed() {
        let zeros = vec![0; 1 << 20];
        let packed = pack(&zeros).expect("allowed");
        assert_eq!((packed[0], packed.len() > zeros.len()), (STORED, true));
        let mut bomb = vec![ZSTD, 0x80, 0x80, 0x40];
        bomb.extend(zstd::bulk::compress(&zeros, LEVEL).expect("memory"));
        assert_eq!(unpack(&bomb), Err(PackedError::Damaged));
    }
}
