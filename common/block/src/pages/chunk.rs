//! Encodes whole column chunks of required columns, and describes them to the parquet crate, which writes the footer.

use bytes::Bytes;
use hashbrown::HashMap;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::bits::PADDED;
use super::thrift::{KIND_DATA_V2, KIND_DICT, PageHeader, encoding};
use super::{DICT_MAX, PAGE_ROWS, Word, delta, hybrid, split};

/// Rows on which the encodings are compared.
const TRIAL_ROWS: usize = 65_536;

/// Where the pages of a chunk lie: the dictionary (if any) first, then the data pages, without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChunkPages {
    /// Offset of the chunk in its object.
    pub(crate) offset: u64,
    /// Bytes of the dictionary page with its header; 0 = none.
    pub(crate) dict_bytes: u32,
    /// Rows and bytes (header included) of each data page.
    pub(crate) pages: Vec<(u32, u32)>,
}

/// A chunk ready to be appended to a row group. Offsets count from the chunk's start.
pub(crate) struct EncodedChunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
    pub(crate) pages: ChunkPages,
}

/// How the values of a chunk are stored.
enum Values<'a, T> {
    Delta(&'a [T]),
    Split(&'a [T]),
    Dict { indices: Vec<u32>, dict: Vec<T> },
}

/// Encodes chunks one after the other, with buffers that it keeps.
pub(crate) struct ChunkEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    level: i32,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl ChunkEncoder {
    pub(crate) fn new(level: i32) -> Result<Self, String> {
        let compressor = zstd::bulk::Compressor::new(level).map_err(|e| e.to_string())?;
        Ok(Self { compressor, level, raw: Vec::with_capacity(PADDED), packed: Vec::new() })
    }

    /// All values as deltas.
    pub(crate) fn delta<T: Word>(
        &mut self,
        desc: &ColumnDescPtr,
        values: &[T],
    ) -> Result<EncodedChunk, String> {
        self.chunk(desc, &Values::Delta(values))
    }

    /// The smallest on the first rows of: a dictionary (of at most [`DICT_MAX`] values), deltas, and, for values of eight
    /// bytes, split bytes.
    pub(crate) fn smallest<T: Word>(
        &mut self,
        desc: &ColumnDescPtr,
        values: &[T],
    ) -> Result<EncodedChunk, String> {
        let trial = &values[..values.len().min(TRIAL_ROWS)];
        let mut best = self.delta(desc, trial)?;
        let mut split = false;
        if T::BYTES == 8 {
            let other = self.chunk(desc, &Values::Split(trial))?;
            if other.bytes.len() < best.bytes.len() {
                (best, split) = (other, true);
            }
        }
        let mut dict = dictionary(trial);
        if let Some(of_trial) = &dict {
            let other = self.chunk(desc, of_trial)?;
            if other.bytes.len() <= best.bytes.len() { best = other } else { dict = None }
        }
        if trial.len() == values.len() {
            return Ok(best);
        }
        match dict.and_then(|_| dictionary(values)) {
            Some(dict) => self.chunk(desc, &dict),
            None if split => self.chunk(desc, &Values::Split(values)),
            None => self.delta(desc, values),
        }
    }

    /// Sixteen bytes a row, as they are.
    pub(crate) fn fixed16(
        &mut self,
        desc: &ColumnDescPtr,
        values: &[[u8; 16]],
    ) -> Result<EncodedChunk, String> {
        let mut out = ChunkOut::default();
        for page in values.chunks(PAGE_ROWS) {
            self.raw.clear();
            self.raw.extend_from_slice(page.as_flattened());
            self.page(KIND_DATA_V2, page.len(), encoding::PLAIN, &mut out)?;
        }
        out.finish(desc, self.level, values.len(), vec![Encoding::PLAIN], None)
    }

    fn chunk<T: Word>(
        &mut self,
        desc: &ColumnDescPtr,
        values: &Values<'_, T>,
    ) -> Result<EncodedChunk, String> {
        let mut out = ChunkOut::default();
        let (rows, encodings, bounds) = match values {
            Values::Delta(values) => {
                self.data_pages(values, encoding::DELTA, delta::encode, &mut out)?;
                (values.len(), vec![Encoding::DELTA_BINARY_PACKED], bounds(values))
            }
            Values::Split(values) => {
                self.data_pages(values, encoding::SPLIT, split::encode, &mut out)?;
                (values.len(), vec![Encoding::BYTE_STREAM_SPLIT], bounds(values))
            }
            Values::Dict { indices, dict } => {
                self.raw.clear();
                put_plain(dict, &mut self.raw);
                self.page(KIND_DICT, dict.len(), encoding::PLAIN, &mut out)?;
                let encode = |page: &[u32], raw: &mut Vec<u8>| hybrid::encode(page, dict.len(), raw);
                self.data_pages(indices, encoding::DICT, encode, &mut out)?;
                (indices.len(), vec![Encoding::PLAIN, Encoding::RLE_DICTIONARY], bounds(dict))
            }
        };
        let statistics = bounds.map(|(least, most)| match T::BYTES {
            4 => Statistics::int32(Some(least as i32), Some(most as i32), None, Some(0), false),
            _ => Statistics::int64(Some(least), Some(most), None, Some(0), false),
        });
        out.finish(desc, self.level, rows, encodings, statistics)
    }

    fn data_pages<T>(
        &mut self,
        values: &[T],
        encoding: i32,
        encode: impl Fn(&[T], &mut Vec<u8>),
        out: &mut ChunkOut,
    ) -> Result<(), String> {
        for page in values.chunks(PAGE_ROWS) {
            self.raw.clear();
            encode(page, &mut self.raw);
            self.page(KIND_DATA_V2, page.len(), encoding, out)?;
        }
        Ok(())
    }

    /// Compresses what lies in `raw` and appends it as a page.
    fn page(&mut self, kind: i32, values: usize, encoding: i32, out: &mut ChunkOut) -> Result<(), String> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        self.compressor.compress_to_buffer(&self.raw, &mut self.packed).map_err(|e| e.to_string())?;
        // Only data pages can say that they are not compressed.
        let compressed = kind == KIND_DICT || self.packed.len() < self.raw.len();
        let stored = if compressed { &self.packed } else { &self.raw };
        let small = |length: usize| i32::try_from(length).map_err(|_| "a page is too large".to_owned());
        let header = PageHeader {
            kind,
            raw_bytes: small(self.raw.len())?,
            stored_bytes: small(stored.len())?,
            crc: Some(crc32fast::hash(stored)),
            values: small(values)?,
            encoding,
            levels: 0,
            compressed,
        };
        let start = out.bytes.len();
        header.write(&mut out.bytes);
        out.raw_bytes += out.bytes.len() - start + self.raw.len();
        out.bytes.extend_from_slice(stored);
        let length = (out.bytes.len() - start) as u32;
        if kind == KIND_DICT {
            out.pages.dict_bytes = length;
        } else {
            out.pages.pages.push((values as u32, length));
        }
        Ok(())
    }
}

fn put_plain<T: Word>(values: &[T], out: &mut Vec<u8>) {
    for value in values {
        out.extend_from_slice(&value.to_i64().to_le_bytes()[..T::BYTES]);
    }
}

/// Least and greatest value, as bits of the physical type, ordered as the logical type is.
fn bounds<T: Word>(values: &[T]) -> Option<(i64, i64)> {
    Some((values.iter().min()?.to_i64(), values.iter().max()?.to_i64()))
}

/// The dictionary in order of first use; `None` when it would have more than [`DICT_MAX`] values.
fn dictionary<T: Word>(values: &[T]) -> Option<Values<'static, T>> {
    let mut dict: Vec<T> = Vec::new();
    let mut known: HashMap<T, u32> = HashMap::new();
    let mut indices = Vec::with_capacity(values.len());
    let mut last: Option<(T, u32)> = None;
    for &value in values {
        if let Some((same, index)) = last
            && same == value
        {
            indices.push(index);
            continue;
        }
        let next = dict.len() as u32;
        let index = *known.entry(value).or_insert(next);
        if index == next {
            if dict.len() == DICT_MAX {
                return None;
            }
            dict.push(value);
        }
        indices.push(index);
        last = Some((value, index));
    }
    (!dict.is_empty()).then_some(Values::Dict { indices, dict })
}

#[derive(Default)]
struct ChunkOut {
    bytes: Vec<u8>,
    raw_bytes: usize,
    pages: ChunkPages,
}

impl ChunkOut {
    fn finish(
        self,
        desc: &ColumnDescPtr,
        level: i32,
        rows: usize,
        mut encodings: Vec<Encoding>,
        statistics: Option<Statistics>,
    ) -> Result<EncodedChunk, String> {
        let dict_bytes = i64::from(self.pages.dict_bytes);
        // Definition and repetition levels are (trivially) RLE: readers expect to see that.
        encodings.push(Encoding::RLE);
        let level = ZstdLevel::try_new(level).map_err(|e| e.to_string())?;
        let mut builder = ColumnChunkMetaData::builder(ColumnDescPtr::clone(desc))
            .set_compression(Compression::ZSTD(level))
            .set_encodings(encodings)
            .set_num_values(rows as i64)
            .set_total_compressed_size(self.bytes.len() as i64)
            .set_total_uncompressed_size(self.raw_bytes as i64)
            .set_data_page_offset(dict_bytes)
            .set_dictionary_page_offset((dict_bytes > 0).then_some(0));
        if let Some(statistics) = statistics {
            builder = builder.set_statistics(statistics);
        }
        let mut offsets = OffsetIndexBuilder::new();
        let mut at = dict_bytes;
        for &(rows, bytes) in &self.pages.pages {
            offsets.append_row_count(i64::from(rows));
            offsets.append_offset_and_size(at, bytes as i32);
            at += i64::from(bytes);
        }
        let close = ColumnCloseResult {
            bytes_written: self.bytes.len() as u64,
            rows_written: rows as u64,
            metadata: builder.build().map_err(|e| e.to_string())?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok(EncodedChunk { bytes: self.bytes.into(), close, pages: self.pages })
    }
}
