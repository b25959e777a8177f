//! Varints, texts and tables of texts. Knows no answer.

use super::InvalidAnswer;

/// Appends to bytes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(super) fn len(&mut self, value: usize) {
        self.uint(value as u64);
    }

    pub(super) fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// As two numbers, the lower 64 bits and what is above them: sums that fit in 64 bits cost one byte more.
    pub(super) fn wide(&mut self, value: i128) {
        self.uint(value as u64);
        self.int((value >> 64) as i64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.len(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A table: count, lengths, then all texts as one.
    pub(super) fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str> + Clone) {
        self.len(texts.len());
        texts.clone().for_each(|text| self.len(text.len()));
        texts.for_each(|text| self.bytes.extend_from_slice(text.as_bytes()));
    }

    /// Bytes with their length in front.
    pub(super) fn section(&mut self, section: &Writer) {
        self.len(section.bytes.len());
        self.bytes.extend_from_slice(&section.bytes);
    }
}

/// Takes bytes from the front.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn error(&self, what: &'static str) -> InvalidAnswer {
        InvalidAnswer { offset: self.at, what }
    }

    pub(super) fn byte(&mut self) -> Result<u8, InvalidAnswer> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn uint(&mut self) -> Result<u64, InvalidAnswer> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number is too long"))
    }

    pub(super) fn int(&mut self) -> Result<i64, InvalidAnswer> {
        let value = self.uint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn wide(&mut self) -> Result<i128, InvalidAnswer> {
        let low = self.uint()?;
        Ok(i128::from(self.int()?) << 64 | i128::from(low))
    }

    /// A count of things that take at least `bytes_each` bytes each: what is claimed is there, so room may be made.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, InvalidAnswer> {
        let count = self.uint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() / bytes_each && u32::try_from(count).is_ok() => Ok(count),
            _ => Err(self.error("more things than bytes")),
        }
    }

    /// An index into a table.
    pub(super) fn index(&mut self, table_len: usize) -> Result<usize, InvalidAnswer> {
        match usize::try_from(self.uint()?) {
            Ok(index) if index < table_len => Ok(index),
            _ => Err(self.error("no such place in a table")),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, InvalidAnswer> {
        let length = self.count(1)?;
        let text = std::str::from_utf8(&self.bytes[self.at..self.at + length]);
        let text = text.map_err(|_| self.error("a text is no UTF-8"))?;
        self.at += length;
        Ok(text)
    }

    pub(super) fn section(&mut self) -> Result<Self, InvalidAnswer> {
        let length = self.count(1)?;
        let section = Self { bytes: &self.bytes[..self.at + length], at: self.at };
        self.at += length;
        Ok(section)
    }

    pub(super) fn texts(&mut self) -> Result<Texts<'a>, InvalidAnswer> {
        let count = self.count(1)?;
        let mut ends = Vec::with_capacity(count);
        let mut end = 0u32;
        for _ in 0..count {
            let length = u32::try_from(self.uint()?).ok();
            end = length.and_then(|l| end.checked_add(l)).ok_or_else(|| self.error("a text is too long"))?;
            ends.push(end);
        }
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..end as usize));
        let blob = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let blob = blob.ok_or_else(|| self.error("texts are cut off or no UTF-8"))?;
        if !ends.iter().all(|end| blob.is_char_boundary(*end as usize)) {
            return Err(self.error("a text ends inside a character"));
        }
        self.at += blob.len();
        Ok(Texts { blob, ends })
    }
}

/// A table of texts, borrowed.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    blob: &'a str,
    /// Each on a boundary of characters.
    ends: Vec<u32>,
}

impl<'a> Texts<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> &'a str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.blob[start..self.ends[at] as usize]
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> {
        (0..self.len()).map(|at| self.get(at))
    }
}
