//! Reads columns of the tables page by page, out of what was fetched.

use std::ops::Range;

use super::fetch::{Fetched, Wanted};
use super::meta::Meta;
use crate::error::BlockError;
use crate::meta::pages::ObjectPages;
use crate::pages::Word;
use crate::pages::decode::PageDecoder;
use crate::rollup::TOTALS;
use crate::{PROFILES, SAMPLES, SPANS, STACKS_1D};

/// A table: its object and where its pages lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) object: &'static str,
    pub(crate) pages: &'a ObjectPages,
}

impl<'a> Table<'a> {
    pub(crate) fn profiles(meta: &'a Meta) -> Self {
        Self { object: PROFILES, pages: &meta.profiles }
    }

    pub(crate) fn samples(meta: &'a Meta) -> Self {
        Self { object: SAMPLES, pages: &meta.samples }
    }

    pub(crate) fn totals(meta: &'a Meta, at: usize) -> Self {
        Self { object: TOTALS[at].0, pages: &meta.totals[at] }
    }

    pub(crate) fn stacks(meta: &'a Meta) -> Self {
        Self { object: STACKS_1D, pages: &meta.stacks }
    }

    pub(crate) fn spans(meta: &'a Meta) -> Self {
        Self { object: SPANS, pages: &meta.spans }
    }

    /// Adds what columns of some rows need.
    pub(crate) fn want(&self, columns: &[usize], rows: &Range<u64>, wanted: &mut Wanted) {
        for page in self.pages.pages_of(rows) {
            let group = self.pages.pages[page].group as usize;
            for &column in columns {
                let column = &self.pages.columns[column];
                for (offset, bytes) in [column.dicts[group], column.pages[page]] {
                    wanted.add(self.object, offset..offset + u64::from(bytes));
                }
            }
        }
    }

    /// Bytes of columns of some rows.
    pub(crate) fn bytes_of(&self, rows: &Range<u64>) -> u64 {
        let pages = self.pages.pages_of(rows);
        let columns = self.pages.columns.iter();
        columns.flat_map(|c| &c.pages[pages.clone()]).map(|&(_, bytes)| u64::from(bytes)).sum()
    }

    /// The pages that hold some rows, each with the part of it that does: (page, part of its rows, first row of the part).
    pub(crate) fn parts(
        &self,
        rows: Range<u64>,
    ) -> impl Iterator<Item = (usize, Range<usize>, u64)> + use<'a> {
        let pages = self.pages;
        pages.pages_of(&rows).map(move |at| {
            let page = pages.pages[at];
            let end = page.first + u64::from(page.rows);
            let (from, to) = (rows.start.max(page.first), rows.end.min(end));
            (at, (from - page.first) as usize..(to - page.first) as usize, from)
        })
    }
}

/// The dictionary of the row group that was read last.
#[derive(Debug)]
pub(crate) struct Dict<T> {
    group: Option<u32>,
    values: Vec<T>,
}

impl<T> Default for Dict<T> {
    fn default() -> Self {
        Self { group: None, values: Vec::new() }
    }
}

impl Table<'_> {
    /// Replaces `out` by all values of a page of a column.
    pub(crate) fn load<T: Word>(
        &self,
        column: usize,
        at: usize,
        fetched: &Fetched,
        dict: &mut Dict<T>,
        decoder: &mut PageDecoder,
        out: &mut Vec<T>,
    ) -> Result<(), BlockError> {
        let object = self.object;
        let rows = self.pages.pages[at];
        let column = &self.pages.columns[column];
        if dict.group != Some(rows.group) {
            let (offset, bytes) = column.dicts[rows.group as usize];
            dict.values.clear();
            if bytes > 0 {
                let stored = fetched.get(object, offset..offset + u64::from(bytes))?;
                dict.values =
                    decoder.dictionary(stored).map_err(|what| BlockError::damaged(object, offset, what))?;
            }
            dict.group = Some(rows.group);
        }
        out.clear();
        let (offset, bytes) = column.pages[at];
        let stored = fetched.get(object, offset..offset + u64::from(bytes))?;
        let decoded = decoder.values(stored, rows.rows as usize, &dict.values, out);
        decoded.map_err(|what| BlockError::damaged(object, offset, what))
    }

    /// As [`Table::load`], for a column of sixteen bytes a row.
    pub(crate) fn load16(
        &self,
        column: usize,
        at: usize,
        fetched: &Fetched,
        decoder: &mut PageDecoder,
        out: &mut Vec<[u8; 16]>,
    ) -> Result<(), BlockError> {
        let (offset, bytes) = self.pages.columns[column].pages[at];
        let stored = fetched.get(self.object, offset..offset + u64::from(bytes))?;
        out.clear();
        let decoded = decoder.fixed16(stored, self.pages.pages[at].rows as usize, out);
        decoded.map_err(|what| BlockError::damaged(self.object, offset, what))
    }
}

/// Values of one column, a page at a time; the last page stays decoded.
#[derive(Debug)]
pub(crate) struct Column<'a, T> {
    table: Table<'a>,
    column: usize,
    fetched: &'a Fetched,
    dict: Dict<T>,
    page: Option<usize>,
    values: Vec<T>,
}

impl<'a, T: Word> Column<'a, T> {
    pub(crate) fn new(table: Table<'a>, column: usize, fetched: &'a Fetched) -> Self {
        Self { table, column, fetched, dict: Dict::default(), page: None, values: Vec::new() }
    }

    /// All values of a page.
    pub(crate) fn page(&mut self, at: usize, decoder: &mut PageDecoder) -> Result<&[T], BlockError> {
        if self.page == Some(at) {
            return Ok(&self.values);
        }
        self.page = None;
        let Self { table, column, fetched, dict, values, .. } = self;
        table.load(*column, at, fetched, dict, decoder, values)?;
        self.page = Some(at);
        Ok(&self.values)
    }
}

/// Values of a column of sixteen bytes, a page at a time.
#[derive(Debug)]
pub(crate) struct Fixed16Column<'a> {
    table: Table<'a>,
    column: usize,
    fetched: &'a Fetched,
    page: Option<usize>,
    values: Vec<[u8; 16]>,
}

impl<'a> Fixed16Column<'a> {
    pub(crate) fn new(table: Table<'a>, column: usize, fetched: &'a Fetched) -> Self {
        Self { table, column, fetched, page: None, values: Vec::new() }
    }

    /// All values of a page.
    pub(crate) fn page(&mut self, at: usize, decoder: &mut PageDecoder) -> Result<&[[u8; 16]], BlockError> {
        if self.page != Some(at) {
            self.page = None;
            self.table.load16(self.column, at, self.fetched, decoder, &mut self.values)?;
            self.page = Some(at);
        }
        Ok(&self.values)
    }
}

/// A page decoder, or why there is none.
pub(crate) fn decoder() -> Result<PageDecoder, BlockError> {
    PageDecoder::new().map_err(|what| BlockError::Encode { object: SAMPLES, what })
}
