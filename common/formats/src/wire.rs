//! The protobuf wire format, as far as pprof needs it: a walk over fields that never leaves its message.

use crate::pprof::{PprofError, Result};

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
/// Largest field number of protobuf.
const FIELD_MAX: u64 = (1 << 29) - 1;
pub(crate) const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// A walk over one message: `bytes[at..end]` of the whole input, so that offsets in errors are those of the input.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    /// What is left of the message.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    #[inline(always)]
    pub(crate) fn key(&mut self) -> Result<Option<(u64, u8)>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        Ok(Some((key >> 3, key as u8 & 7)))
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        let window = &self.bytes[self.at..self.end];
        match window {
            [a, ..] if *a < 0x80 => {
                self.at += 1;
                Ok(u64::from(*a))
            }
            [a, b, ..] if *b < 0x80 => {
                self.at += 2;
                Ok(u64::from(*a & 0x7f) | u64::from(*b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (count, byte) in self.bytes[self.at..self.end].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * count);
            if *byte < 0x80 {
                self.at += count + 1;
                return Ok(value);
            }
        }
        if self.end - self.at < 10 {
            Err(PprofError::Truncated(self.end))
        } else {
            Err(PprofError::Number(self.at))
        }
    }

    #[inline(always)]
    pub(crate) fn message(&mut self) -> Result<Reader<'a>> {
        let length = self.varint()?;
        let start = self.at;
        let left = (self.end - start) as u64;
        if length > left {
            return Err(PprofError::Truncated(self.end));
        }
        self.at = start + length as usize;
        Ok(Reader { bytes: self.bytes, at: start, end: self.at })
    }

    /// Where the walk stands, in bytes of the whole input.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64> {
        let rest = self.rest();
        let Some((number, _)) = rest.split_first_chunk::<8>() else {
            return Err(PprofError::Truncated(self.end));
        };
        self.at += 8;
        Ok(u64::from_le_bytes(*number))
    }

    #[inline(always)]
    pub(crate) fn packed<T>(mut self, out: &mut Vec<T>, convert: impl Fn(u64) -> T) -> Result<()> {
        while self.at < self.end {
            out.push(convert(self.varint()?));
        }
        Ok(())
    }

    pub(crate) fn skip(&mut self, field: u64, wire: u8) -> Result<()> {
        if !(1..=FIELD_MAX).contains(&field) {
            return Err(self.wire_type(field, wire));
        }
        let length = match wire {
            VARINT => return self.varint().map(drop),
            LEN => return self.message().map(drop),
            FIXED64 => 8,
            FIXED32 => 4,
            _ => return Err(self.wire_type(field, wire)),
        };
        if self.end - self.at < length {
            return Err(PprofError::Truncated(self.end));
        }
        self.at += length;
        Ok(())
    }

    pub(crate) fn wire_type(&self, field: u64, wire: u8) -> PprofError {
        PprofError::WireType { field, wire, at: self.at }
    }
}
