//! What stands around small objects of JSON, in the store and on disk: magic, format, length, checksum
//! (`docs/formats/root.md`, `roster.md` and `debug-info.md`). Pure: knows neither the JSON nor where it lies.

/// Bytes before the JSON.
pub const ENVELOPE_BYTES: usize = 20;
/// Of them, those that the checksum covers beside the JSON.
const SUMMED_BYTES: usize = 16;

/// One kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The first eight bytes.
    pub magic: [u8; 8],
    /// The version that is written, and the only one that is read.
    pub format: u32,
}

/// Why an object is none of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Not as it was written; says what is wrong.
    Damaged(&'static str),
    /// Whole, but of another version.
    NewerFormat {
        /// The object's version.
        found: u32,
        /// The one that is read here.
        known: u32,
    },
}

impl Envelope {
    /// Wraps a JSON text. It was made here, so its length fits 32 bits.
    pub fn wrap(self, json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENVELOPE_BYTES + json.len());
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&(json.len() as u32).to_le_bytes());
        let sum = checksum(&out, json);
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(json);
        out
    }

    /// Checks an object and gives its JSON text.
    pub fn unwrap(self, object: &[u8]) -> Result<&[u8], EnvelopeError> {
        let Some((header, json)) = object.split_at_checked(ENVELOPE_BYTES) else {
            return Err(EnvelopeError::Damaged("it is too short"));
        };
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(word)
        };
        if header[..8] != self.magic {
            return Err(EnvelopeError::Damaged("it does not begin as such an object does"));
        }
        if word(12) as usize != json.len() {
            return Err(EnvelopeError::Damaged("its length is wrong"));
        }
        if word(16) != checksum(&header[..SUMMED_BYTES], json) {
            return Err(EnvelopeError::Damaged("its checksum is wrong"));
        }
        if word(8) != self.format {
            return Err(EnvelopeError::NewerFormat { found: word(8), known: self.format });
        }
        Ok(json)
    }
}

fn checksum(header: &[u8], json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), json)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Envelope = Envelope { magic: *b"HEARTHRT", format: 1 };

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let object = ROOT.wrap(b"{\"a\": 1}");
        assert_eq!(ROOT.unwrap(&object), Ok(&b"{\"a\": 1}"[..]));
        for bit in 0..object.len() * 8 {
            let mut bad = object.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ROOT.unwrap(&bad).is_err(), "bit {bit}");
        }
        for len in 0..object.len() {
            assert!(ROOT.unwrap(&object[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn another_kind_and_another_format_are_named() {
        let page = Envelope { magic: *b"HEARTHPG", format: 1 };
        assert!(matches!(page.unwrap(&ROOT.wrap(b"{}")), Err(EnvelopeError::Damaged(_))));
        let newer = Envelope { format: 2, ..ROOT }.wrap(b"{}");
        assert_eq!(ROOT.unwrap(&newer), Err(EnvelopeError::NewerFormat { found: 2, known: 1 }));
    }
}
