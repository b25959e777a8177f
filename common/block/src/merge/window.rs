//! Reads a table of an input from front to back, a window of pages at a time, so that memory does not grow with its size
//! and requests do not grow with its pages.

use hashbrown::HashMap;

use super::error::{MergeError, OfBlock};
use crate::error::BlockError;
use crate::pages::Word;
use crate::pages::decode::PageDecoder;
use crate::read::BlockReader;
use crate::read::fetch::{Fetched, Wanted};
use crate::read::rows::{Dict, Table, decoder};

/// Some columns of a table. Reading elsewhere than behind the window is allowed, and costs a request.
#[derive(Debug)]
pub(super) struct TableReader<'a> {
    block: &'a BlockReader,
    table: Table<'a>,
    columns: &'static [usize],
    window_bytes: u64,
    window: std::ops::Range<usize>,
    fetched: Fetched,
    decoder: PageDecoder,
    kept: KeptPages,
}

impl<'a> TableReader<'a> {
    pub(super) fn new(
        block: &'a BlockReader,
        table: Table<'a>,
        columns: &'static [usize],
        window_bytes: u64,
    ) -> Result<Self, MergeError> {
        let decoder = decoder()?;
        let (fetched, kept) = (Fetched::default(), KeptPages::default());
        Ok(Self { block, table, columns, window_bytes, window: 0..0, fetched, decoder, kept })
    }

    pub(super) fn block(&self) -> &'a BlockReader {
        self.block
    }

    pub(super) fn table(&self) -> Table<'a> {
        self.table
    }

    /// Makes sure that a page is there; what follows it is read along with it.
    pub(super) async fn need(&mut self, page: usize) -> Result<(), MergeError> {
        if self.window.contains(&page) {
            return Ok(());
        }
        let pages = self.table.pages;
        let bytes_of = |at: usize| -> u64 {
            self.columns.iter().map(|&column| u64::from(pages.columns[column].pages[at].1)).sum()
        };
        let (mut end, mut bytes) = (page, 0);
        while end < pages.pages.len() && (end == page || bytes + bytes_of(end) <= self.window_bytes) {
            bytes += bytes_of(end);
            end += 1;
        }
        let mut wanted = Wanted::default();
        let rows = pages.pages[page].first..pages.pages[end - 1].first + u64::from(pages.pages[end - 1].rows);
        self.table.want(self.columns, &rows, &mut wanted);
        // The old window goes before the new one comes.
        self.fetched = Fetched::default();
        self.window = 0..0;
        self.fetched = self.block.fetch(wanted).await.of(self.block)?;
        self.window = page..end;
        Ok(())
    }

    /// Decodes a page that is there, unless it is the last that was. It stays decoded: neighbours on it come next.
    pub(super) fn load<T: Kept>(&mut self, column: usize, page: usize) -> Result<(), BlockError> {
        let kept = T::columns_mut(&mut self.kept).entry(column).or_default();
        if kept.page != Some(page) {
            kept.page = None;
            let Column { dict, values, .. } = &mut *kept;
            self.table.load(column, page, &self.fetched, dict, &mut self.decoder, values)?;
            kept.page = Some(page);
        }
        Ok(())
    }

    /// Values of the page of a column that was loaded last.
    pub(super) fn loaded<T: Kept>(&self, column: usize) -> &[T] {
        T::columns(&self.kept).get(&column).map_or(&[], |column| column.values.as_slice())
    }

    /// A part of a page that is there.
    pub(super) fn values<T: Kept>(
        &mut self,
        column: usize,
        page: usize,
        part: std::ops::Range<usize>,
    ) -> Result<&[T], BlockError> {
        self.load::<T>(column, page)?;
        Ok(&self.loaded(column)[part])
    }

    /// As [`TableReader::values`], for a column of sixteen bytes a row.
    pub(super) fn values16(
        &mut self,
        column: usize,
        page: usize,
        part: std::ops::Range<usize>,
    ) -> Result<&[[u8; 16]], BlockError> {
        if self.kept.page16 != Some(page) {
            self.kept.page16 = None;
            self.table.load16(column, page, &self.fetched, &mut self.decoder, &mut self.kept.values16)?;
            self.kept.page16 = Some(page);
        }
        Ok(&self.kept.values16[part])
    }
}

/// The last page of a column.
#[derive(Debug)]
pub(super) struct Column<T> {
    dict: Dict<T>,
    page: Option<usize>,
    values: Vec<T>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { dict: Dict::default(), page: None, values: Vec::new() }
    }
}

/// The last page of each column, decoded. A table has at most one column of sixteen bytes.
#[derive(Debug, Default)]
pub(super) struct KeptPages {
    u32s: HashMap<usize, Column<u32>>,
    i64s: HashMap<usize, Column<i64>>,
    u64s: HashMap<usize, Column<u64>>,
    page16: Option<usize>,
    values16: Vec<[u8; 16]>,
}

/// A type of which pages are kept.
pub(super) trait Kept: Word {
    fn columns(pages: &KeptPages) -> &HashMap<usize, Column<Self>>;
    fn columns_mut(pages: &mut KeptPages) -> &mut HashMap<usize, Column<Self>>;
}

impl Kept for u32 {
    fn columns(pages: &KeptPages) -> &HashMap<usize, Column<Self>> {
        &pages.u32s
    }

    fn columns_mut(pages: &mut KeptPages) -> &mut HashMap<usize, Column<Self>> {
        &mut pages.u32s
    }
}

impl Kept for i64 {
    fn columns(pages: &KeptPages) -> &HashMap<usize, Column<Self>> {
        &pages.i64s
    }

    fn columns_mut(pages: &mut KeptPages) -> &mut HashMap<usize, Column<Self>> {
        &mut pages.i64s
    }
}

impl Kept for u64 {
    fn columns(pages: &KeptPages) -> &HashMap<usize, Column<Self>> {
        &pages.u64s
    }

    fn columns_mut(pages: &mut KeptPages) -> &mut HashMap<usize, Column<Self>> {
        &mut pages.u64s
    }
}

/// Replaces what `out` holds.
pub(super) fn copy<T: Copy>(out: &mut Vec<T>, values: &[T]) {
    out.clear();
    out.extend_from_slice(values);
}
