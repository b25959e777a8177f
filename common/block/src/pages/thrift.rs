//! Page headers in Thrift's compact protocol: the few structs that our pages have.

use super::PageResult;
use super::bits::{put_varint, take_varint, unzigzag, zigzag};

/// Encodings by their number in the Parquet format.
pub(crate) mod encoding {
    pub(crate) const PLAIN: i32 = 0;
    pub(crate) const DELTA: i32 = 5;
    pub(crate) const DICT: i32 = 8;
    pub(crate) const SPLIT: i32 = 9;
}

/// Kinds of pages by their number in the Parquet format.
pub(super) const KIND_DICT: i32 = 2;
pub(super) const KIND_DATA_V2: i32 = 3;

/// Longest header that is read.
const HEADER_MAX_FIELDS: usize = 64;

/// What we need of a page header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: i32,
    pub(super) raw_bytes: i32,
    pub(super) stored_bytes: i32,
    pub(super) crc: Option<u32>,
    pub(super) values: i32,
    pub(super) encoding: i32,
    /// Only of data pages: nulls + bytes of levels, which our columns do not have.
    pub(super) levels: i32,
    pub(super) compressed: bool,
}

struct Out<'a> {
    bytes: &'a mut Vec<u8>,
    last: i16,
}

impl Out<'_> {
    fn field(&mut self, id: i16, kind: u8) {
        // Field numbers of these structs rise by less than 16.
        self.bytes.push(((id - self.last) as u8) << 4 | kind);
        self.last = id;
    }
    fn int(&mut self, id: i16, value: i32) {
        self.field(id, 5);
        put_varint(zigzag(i64::from(value)), self.bytes);
    }
}

impl PageHeader {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut out = Out { bytes, last: 0 };
        out.int(1, self.kind);
        out.int(2, self.raw_bytes);
        out.int(3, self.stored_bytes);
        if let Some(crc) = self.crc {
            out.int(4, crc as i32);
        }
        out.field(if self.kind == KIND_DICT { 7 } else { 8 }, 12);
        let mut inner = Out { bytes: out.bytes, last: 0 };
        if self.kind == KIND_DICT {
            inner.int(1, self.values);
            inner.int(2, self.encoding);
        } else {
            inner.int(1, self.values);
            inner.int(2, 0);
            inner.int(3, self.values);
            inner.int(4, self.encoding);
            inner.int(5, 0);
            inner.int(6, 0);
            inner.field(7, if self.compressed { 1 } else { 2 });
        }
        inner.bytes.push(0);
        inner.bytes.push(0);
    }

    /// Reads a header; gives its length, too.
    pub(super) fn read(bytes: &[u8]) -> PageResult<(Self, usize)> {
        let mut input = In { bytes, at: 0, fields: 0 };
        let mut header = Self { compressed: true, ..Self::default() };
        let mut last = 0i16;
        while let Some((id, kind)) = input.field(&mut last)? {
            match (id, kind) {
                (1, 5) => header.kind = input.int()?,
                (2, 5) => header.raw_bytes = input.int()?,
                (3, 5) => header.stored_bytes = input.int()?,
                (4, 5) => header.crc = Some(input.int()? as u32),
                (7 | 8, 12) => input.page_struct(id == 8, &mut header)?,
                _ => input.skip(kind, 0)?,
            }
        }
        if header.raw_bytes < 0 || header.stored_bytes < 0 || header.values < 0 {
            return Err("a page header has a negative size".to_owned());
        }
        Ok((header, input.at))
    }
}

struct In<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: usize,
}

impl In<'_> {
    fn byte(&mut self) -> PageResult<u8> {
        let byte = *self.bytes.get(self.at).ok_or("a page header ends early")?;
        self.at += 1;
        Ok(byte)
    }
    fn varint(&mut self) -> PageResult<u64> {
        take_varint(self.bytes, &mut self.at).ok_or_else(|| "a page header ends early".to_owned())
    }
    fn int(&mut self) -> PageResult<i32> {
        i32::try_from(unzigzag(self.varint()?))
            .map_err(|_| "a number of a page header is too large".to_owned())
    }
    fn field(&mut self, last: &mut i16) -> PageResult<Option<(i16, u8)>> {
        self.fields += 1;
        if self.fields > HEADER_MAX_FIELDS {
            return Err("a page header has too many fields".to_owned());
        }
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *last = match byte >> 4 {
            0 => i16::try_from(unzigzag(self.varint()?))
                .map_err(|_| "a field number is too large".to_owned())?,
            delta => last.checked_add(i16::from(delta)).ok_or("a field number is too large")?,
        };
        Ok(Some((*last, byte & 15)))
    }
    fn page_struct(&mut self, data: bool, header: &mut PageHeader) -> PageResult<()> {
        let mut last = 0i16;
        let mut nulls_and_levels = 0i64;
        while let Some((id, kind)) = self.field(&mut last)? {
            match (data, id, kind) {
                (_, 1, 5) => header.values = self.int()?,
                (false, 2, 5) | (true, 4, 5) => header.encoding = self.int()?,
                (true, 2 | 5 | 6, 5) => nulls_and_levels += i64::from(self.int()?).abs(),
                (true, 7, 1 | 2) => header.compressed = kind == 1,
                _ => self.skip(kind, 0)?,
            }
        }
        header.levels = i32::try_from(nulls_and_levels).unwrap_or(i32::MAX);
        Ok(())
    }
    fn skip(&mut self, kind: u8, depth: usize) -> PageResult<()> {
        match kind {
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            8 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "a text is too long".to_owned())?;
                let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
                self.at = end.ok_or("a page header ends early")?;
                Ok(())
            }
            12 if depth < 4 => {
                let mut last = 0i16;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(format!("a page header has a field of kind {kind}")),
        }
    }
}
