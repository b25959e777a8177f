//! What stands around the JSON of a root, a page or a record of a deletion: magic, format, length, checksum. Pure.

use crate::error::CatalogError;
use crate::root::ROOT_FORMAT;

/// Bytes before the JSON.
pub(crate) const HEADER_BYTES: usize = 20;

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    Page,
    Deletion,
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Root => *b"HEARTHRT",
            Self::Page => *b"HEARTHPG",
            Self::Deletion => *b"HEARTHDL",
        }
    }
}

/// Wraps a JSON text. It was made here, so its length fits.
pub(crate) fn wrap(kind: Kind, json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + json.len());
    out.extend_from_slice(&kind.magic());
    out.extend_from_slice(&ROOT_FORMAT.to_le_bytes());
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), json);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(json);
    out
}

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(kind: Kind, key: &str, object: &'a [u8]) -> Result<&'a [u8], CatalogError> {
    let damaged = |why: &str| CatalogError::Damaged { key: key.to_owned(), why: why.to_owned() };
    let Some((header, json)) = object.split_at_checked(HEADER_BYTES) else {
        return Err(damaged("it is too short"));
    };
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(word)
    };
    if header[..8] != kind.magic() {
        return Err(damaged("it does not begin as such an object does"));
    }
    if word(12) as usize != json.len() {
        return Err(damaged("its length is wrong"));
    }
    if word(16) != crc32c::crc32c_append(crc32c::crc32c(&header[..16]), json) {
        return Err(damaged("its checksum is wrong"));
    }
    if word(8) != ROOT_FORMAT {
        return Err(CatalogError::NewerFormat { key: key.to_owned(), found: word(8), known: ROOT_FORMAT });
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let object = wrap(Kind::Root, b"{\"a\": 1}");
        assert_eq!(unwrap(Kind::Root, "k", &object).expect("valid"), b"{\"a\": 1}");
        assert!(unwrap(Kind::Page, "k", &object).is_err());
        for bit in 0..object.len() * 8 {
            let mut bad = object.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(Kind::Root, "k", &bad).is_err(), "bit {bit}");
        }
        for len in 0..object.len() {
            assert!(unwrap(Kind::Root, "k", &object[..len]).is_err(), "cut at {len}");
        }
    }
}
