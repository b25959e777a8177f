//! What stands around a JSON text in the store and on disk: magic, format, length, checksum (`docs/formats/roster.md`). Pure.

use super::error::RosterError;

/// Bytes before the JSON.
pub(crate) const HEADER_BYTES: usize = 20;

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) magic: [u8; 8],
    pub(crate) format: u32,
}

/// Wraps a JSON text. It was made here, so its length fits.
pub(crate) fn wrap(kind: Kind, json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + json.len());
    out.extend_from_slice(&kind.magic);
    out.extend_from_slice(&kind.format.to_le_bytes());
    out.extend_from_slice(&(json.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), json);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(json);
    out
}

/// Checks an object and gives its JSON text; `key` is for the error.
pub(crate) fn unwrap<'a>(kind: Kind, key: &str, object: &'a [u8]) -> Result<&'a [u8], RosterError> {
    let damaged = |why: &str| RosterError::Damaged { key: key.to_owned(), why: why.to_owned() };
    let Some((header, json)) = object.split_at_checked(HEADER_BYTES) else {
        return Err(damaged("it is too short"));
    };
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&header[at..at + 4]);
        u32::from_le_bytes(word)
    };
    if header[..8] != kind.magic {
        return Err(damaged("it does not begin as such an object does"));
    }
    if word(12) as usize != json.len() {
        return Err(damaged("its length is wrong"));
    }
    if word(16) != crc32c::crc32c_append(crc32c::crc32c(&header[..16]), json) {
        return Err(damaged("its checksum is wrong"));
    }
    if word(8) != kind.format {
        let (found, known) = (word(8), kind.format);
        return Err(RosterError::NewerFormat { key: key.to_owned(), found, known });
    }
    Ok(json)
}
