//! Reads a table of an input from front to back, a window of pages at a time, so that memory does not grow with its size
//! and requests do not grow with its pages.

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
}

impl<'a> TableReader<'a> {
    pub(super) fn new(
        block: &'a BlockReader,
        table: Table<'a>,
        columns: &'static [usize],
        window_bytes: u64,
    ) -> Result<Self, MergeError> {
        let decoder = decoder()?;
        Ok(Self { block, table, columns, window_bytes, window: 0..0, fetched: Fetched::default(), decoder })
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

    /// All values of a page that is there.
    pub(super) fn load<T: Word>(
        &mut self,
        column: usize,
        page: usize,
        dict: &mut Dict<T>,
        out: &mut Vec<T>,
    ) -> Result<(), BlockError> {
        self.table.load(column, page, &self.fetched, dict, &mut self.decoder, out)
    }

    /// As [`TableReader::load`], for a column of sixteen bytes a row.
    pub(super) fn load16(
        &mut self,
        column: usize,
        page: usize,
        out: &mut Vec<[u8; 16]>,
    ) -> Result<(), BlockError> {
        self.table.load16(column, page, &self.fetched, &mut self.decoder, out)
    }
}
