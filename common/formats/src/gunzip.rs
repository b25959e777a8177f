//! The capped decompressor: the only way in which Hearth inflates gzip that others sent.
//!
//! One member is inflated in one shot by libdeflate into a reused buffer; bodies of several members go through a stream.
//! Memory is bounded by the limit, whatever the input claims.

use std::io::Read;

use libdeflater::{DecompressionError, Decompressor};

/// How each member of gzip with deflate begins.
const MEMBER_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Smallest gzip member.
const MEMBER_BYTES_MIN: usize = 18;
/// What a first guess at the inflated size is, when the trailer is not believed.
const GUESS_RATIO: usize = 6;
/// No deflate stream inflates more than this many times (the format's bound is 1,032).
const RATIO_MAX: usize = 1040;

/// Why bytes were not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The content is larger than allowed.
    #[error("the decompressed content is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no gzip, or damaged.
    #[error("damaged gzip data")]
    Corrupt,
}

/// Whether bytes begin like gzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// A decompressor with its buffers; keep one for each thread.
pub struct Inflater {
    inner: Decompressor,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self { inner: Decompressor::new() }
    }
}

impl Inflater {
    /// Inflates all members of `input` into `out` (what it held is gone), at most `limit` bytes.
    pub fn inflate(&mut self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
        if input.len() < MEMBER_BYTES_MIN || !is_gzip(input) {
            return Err(InflateError::Corrupt);
        }
        // One shot stops after the first member, silently. What looks like a second one goes through the stream: chance
        // alone makes that happen once in some hundred profiles, and the answer is the same.
        if memchr::memmem::find(&input[1..], &MEMBER_MAGIC).is_some() {
            return stream(input, limit, out);
        }
        // The trailer holds the size modulo 2^32 of the last member: a good guess, never believed beyond what deflate can do.
        let trailer = input.last_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        let possible = input.len().saturating_mul(RATIO_MAX);
        if trailer > limit && trailer <= possible {
            return Err(InflateError::TooLarge { limit });
        }
        let mut size = if trailer <= possible { trailer } else { input.len().saturating_mul(GUESS_RATIO) };
        loop {
            size = size.clamp(1, limit.max(1));
            // Zeroing happens only where the buffer has never been this long.
            if out.len() < size {
                out.resize(size, 0);
            }
            match self.inner.gzip_decompress(input, &mut out[..size]) {
                Ok(written) => {
                    out.truncate(written);
                    return Ok(());
                }
                Err(DecompressionError::InsufficientSpace) if size < limit && size < possible => {
                    size = size.saturating_mul(2);
                }
                Err(DecompressionError::InsufficientSpace) => return Err(InflateError::TooLarge { limit }),
                Err(DecompressionError::BadData) => return Err(InflateError::Corrupt),
            }
        }
    }
}

/// [`Inflater::inflate`] with the decompressor of this thread.
pub fn inflate_capped(input: &[u8], limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
    thread_local! {
        static INFLATER: std::cell::RefCell<Inflater> = std::cell::RefCell::default();
    }
    INFLATER.with_borrow_mut(|inflater| inflater.inflate(input, limit_bytes, out))
}

#[allow(clippy::disallowed_types, reason = "this is the capped decoder")]
fn stream(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
    out.clear();
    let decoder = flate2::read::MultiGzDecoder::new(input);
    let read = decoder.take(limit as u64 + 1).read_to_end(out).map_err(|_| InflateError::Corrupt)?;
    if read > limit { Err(InflateError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn inflate(input: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut out = vec![7; 33];
        Inflater::default().inflate(input, limit, &mut out).map(|()| out)
    }

    #[test]
    fn one_and_several_members() {
        let text = b"to be or not to be ".repeat(50);
        assert_eq!(inflate(&gzip(&text), 1 << 20).as_deref(), Ok(&*text));
        let both = [gzip(&text), gzip(b"x")].concat();
        assert_eq!(inflate(&both, 1 << 20), Ok([&text[..], b"x"].concat()));
        let equal = [gzip(&text), gzip(&text)].concat();
        assert_eq!(inflate(&equal, 1 << 20).map(|out| out.len()), Ok(2 * text.len()));
        assert_eq!(inflate(&gzip(b""), 10), Ok(Vec::new()));
    }

    #[test]
    fn the_limit_holds_whatever_the_trailer_says() {
        let zeros = gzip(&vec![0; 1 << 20]);
        assert_eq!(inflate(&zeros, (1 << 20) - 1), Err(InflateError::TooLarge { limit: (1 << 20) - 1 }));
        assert_eq!(inflate(&zeros, 1 << 20).map(|out| out.len()), Ok(1 << 20));
        let mut lies = zeros.clone();
        let end = lies.len() - 4;
        lies[end..].copy_from_slice(&5u32.to_le_bytes());
        assert!(inflate(&lies, 1000).is_err());
        assert_eq!(
            inflate(&[gzip(&[0; 600]), gzip(&[0; 600])].concat(), 1000),
            Err(InflateError::TooLarge { limit: 1000 })
        );
    }

    #[test]
    fn damage_is_refused() {
        let good = gzip(b"some text, some text, some text");
        for at in 0..good.len() {
            assert!(inflate(&good[..at], 1000).is_err(), "cut at {at}");
        }
        assert_eq!(inflate(b"", 10), Err(InflateError::Corrupt));
        assert_eq!(inflate(b"\x1f\x8b\x08\x00garbage garbage", 100), Err(InflateError::Corrupt));
    }
}
