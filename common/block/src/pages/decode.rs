//! Decodes pages of required columns; every length and checksum is verified, nothing panics on damaged bytes.

use super::thrift::{KIND_DATA_V2, KIND_DICT, PageHeader, encoding};
use super::{DICT_MAX, PAGE_RAW_MAX, PAGE_ROWS, PageResult, Word, delta, hybrid, split};

/// Decodes pages one after the other, with buffers that it keeps.
pub(crate) struct PageDecoder {
    inflater: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
}

impl std::fmt::Debug for PageDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageDecoder").finish_non_exhaustive()
    }
}

impl PageDecoder {
    pub(crate) fn new() -> PageResult<Self> {
        let inflater = zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?;
        Ok(Self { inflater, raw: Vec::new() })
    }

    /// Checks header, sizes and checksum of one page (header + data) and gives its encoding and decompressed data.
    fn open(&mut self, kind: i32, values: Option<usize>, page: &[u8]) -> PageResult<(PageHeader, &[u8])> {
        let (header, header_bytes) = PageHeader::read(page)?;
        let stored = &page[header_bytes..];
        if header.kind != kind {
            return Err(format!("a page is of kind {}, not {kind}", header.kind));
        }
        if header.stored_bytes as usize != stored.len() {
            return Err(format!(
                "a page has {} bytes, its header says {}",
                stored.len(),
                header.stored_bytes
            ));
        }
        if values.is_some_and(|values| values != header.values as usize) || header.levels != 0 {
            return Err(format!("a page has {} values where {values:?} belong", header.values));
        }
        let raw_bytes = header.raw_bytes as usize;
        if raw_bytes > PAGE_RAW_MAX {
            return Err(format!("a page inflates to {raw_bytes} bytes, the limit is {PAGE_RAW_MAX}"));
        }
        if header.crc != Some(crc32fast::hash(stored)) {
            return Err("the checksum of a page does not match".to_owned());
        }
        self.raw.clear();
        if !header.compressed {
            self.raw.extend_from_slice(stored);
        } else if raw_bytes > 0 {
            self.raw.reserve(raw_bytes);
            self.inflater
                .decompress_to_buffer(stored, &mut self.raw)
                .map_err(|e| format!("a page cannot be inflated: {e}"))?;
        }
        if self.raw.len() != raw_bytes {
            return Err(format!("a page inflates to {} bytes, its header says {raw_bytes}", self.raw.len()));
        }
        Ok((header, &self.raw))
    }

    /// The values of a dictionary page.
    pub(crate) fn dictionary<T: Word>(&mut self, page: &[u8]) -> PageResult<Vec<T>> {
        let (header, raw) = self.open(KIND_DICT, None, page)?;
        let count = header.values as usize;
        if count > DICT_MAX || raw.len() != count * T::BYTES {
            return Err(format!("a dictionary of {count} values has {} bytes", raw.len()));
        }
        let mut dict = Vec::new();
        plain(raw, count, &mut dict)?;
        Ok(dict)
    }

    /// Appends the `rows` values of a data page.
    pub(crate) fn values<T: Word>(
        &mut self,
        page: &[u8],
        rows: usize,
        dict: &[T],
        out: &mut Vec<T>,
    ) -> PageResult<()> {
        if rows > PAGE_ROWS {
            return Err(format!("a page of {rows} rows, the limit is {PAGE_ROWS}"));
        }
        let (header, raw) = self.open(KIND_DATA_V2, Some(rows), page)?;
        // The checksum of a page does not cover its header. All pages of a chunk with a dictionary use it, no others do, and
        // no column of integers is plain: so a damaged header is not taken for another encoding of the same length.
        if (header.encoding == encoding::DICT) == dict.is_empty() {
            return Err(format!("a page has encoding {} in a chunk of another", header.encoding));
        }
        match header.encoding {
            encoding::DELTA => delta::decode(raw, rows, out),
            encoding::DICT => hybrid::decode(raw, rows, dict, out),
            encoding::SPLIT => split::decode(raw, rows, out),
            other => Err(format!("a page has encoding {other}, which is not used here")),
        }
    }

    /// Appends the `rows` values of sixteen bytes of a data page.
    pub(crate) fn fixed16(&mut self, page: &[u8], rows: usize, out: &mut Vec<[u8; 16]>) -> PageResult<()> {
        let (header, raw) = self.open(KIND_DATA_V2, Some(rows), page)?;
        let (values, rest) = raw.as_chunks::<16>();
        if header.encoding != encoding::PLAIN || values.len() != rows || !rest.is_empty() {
            return Err(format!("a page of {rows} ids has {} bytes", raw.len()));
        }
        out.extend_from_slice(values);
        Ok(())
    }
}

fn plain<T: Word>(raw: &[u8], count: usize, out: &mut Vec<T>) -> PageResult<()> {
    if raw.len() != count * T::BYTES {
        return Err(format!("{count} plain values have {} bytes", raw.len()));
    }
    out.extend(raw.chunks_exact(T::BYTES).map(|value| {
        let mut word = [0u8; 8];
        word[..T::BYTES].copy_from_slice(value);
        T::from_bits(u64::from_le_bytes(word))
    }));
    Ok(())
}
