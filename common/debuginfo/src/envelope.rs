//! What stands around the JSON of a state: magic, format, length, checksum, as around that of a root. Pure.

use crate::error::Error;

/// Bytes before the JSON.
pub(crate) const HEADER_BYTES: usize = 20;
/// Version of the object's format.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"HEARTHDI";

/// Wraps a JSON text. It was made here, so its length fits.
pub(crate) fn wrap(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + json.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), json);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(json);
    out
}

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(key: &str, object: &'a [u8]) -> Result<&'a [u8], Error> {
    let damaged = |why: &str| Error::Damaged { key: key.to_owned(), why: why.to_owned() };
    let Some((header, json)) = object.split_at_checked(HEADER_BYTES) else {
        return Err(damaged("it is too short"));
    };
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(word)
    };
    if header[..8] != MAGIC {
        return Err(damaged("it does not begin as such an object does"));
    }
    if word(12) as usize != json.len() {
        return Err(damaged("its length is wrong"));
    }
    if word(16) != crc32c::crc32c_append(crc32c::crc32c(&header[..16]), json) {
        return Err(damaged("its checksum is wrong"));
    }
    if word(8) != FORMAT {
        return Err(Error::NewerFormat { key: key.to_owned(), found: word(8), known: FORMAT });
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let object = wrap(b"{\"a\": 1}");
        assert_eq!(unwrap("k", &object).expect("valid"), b"{\"a\": 1}");
        for bit in 0..object.len() * 8 {
            let mut bad = object.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap("k", &bad).is_err(), "bit {bit}");
        }
        for len in 0..object.len() {
            assert!(unwrap("k", &object[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let mut object = wrap(b"{}");
        object[8] = 2;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&object[..16]), b"{}");
        object[16..20].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(unwrap("k", &object), Err(Error::NewerFormat { found: 2, known: 1, .. })));
    }
}
