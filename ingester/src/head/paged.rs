//! Arrays that only grow, in pages: a clone is a snapshot that shares the full pages and copies the open one.

use std::sync::Arc;

use hearth_block::input::LineRow;

/// Elements of a page.
const PAGE_BITS: u32 = 12;
/// Elements for which an open page first has room.
const FIRST: usize = 32;
/// Bytes of a page of text.
const TEXT_PAGE_BITS: u32 = 16;

/// A growing array in pages of `1 << BITS` elements. Runs of elements never cross a page; a run longer than a page gets a
/// longer page of its own.
#[derive(Debug, Clone)]
pub(crate) struct Paged<T, const BITS: u32 = PAGE_BITS> {
    full: Vec<Arc<[T]>>,
    open: Vec<T>,
}

impl<T, const BITS: u32> Default for Paged<T, BITS> {
    fn default() -> Self {
        Self { full: Vec::new(), open: Vec::new() }
    }
}

impl<T: Copy, const BITS: u32> Paged<T, BITS> {
    const PAGE: usize = 1 << BITS;

    /// Appends a run; returns the index of its first element.
    fn push_run(&mut self, run: &[T]) -> u32 {
        if !self.open.is_empty() && self.open.len() + run.len() > Self::PAGE {
            self.close_page();
        }
        let index = (self.full.len() << BITS) + self.open.len();
        let needed = self.open.len() + run.len();
        if needed > self.open.capacity() {
            // By a quarter: thousands of open pages must not hold half of their memory in reserve.
            let more = (self.open.len() / 4).max(FIRST).min(Self::PAGE.saturating_sub(self.open.len()));
            self.open.reserve_exact(more.max(run.len()));
        }
        self.open.extend_from_slice(run);
        if self.open.len() >= Self::PAGE {
            self.close_page();
        }
        u32::try_from(index).expect("limits cut a unit long before 2^32 elements")
    }

    /// Appends one element; returns its index. Indices are dense as long as only this is used.
    pub(crate) fn push(&mut self, element: T) -> u32 {
        self.push_run(&[element])
    }

    /// An element.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> T {
        let (page, at) = ((index >> BITS) as usize, index as usize & (Self::PAGE - 1));
        self.full.get(page).map_or_else(|| self.open[at], |page| page[at])
    }

    #[inline]
    fn run(&self, index: u32, len: usize) -> &[T] {
        let (page, at) = ((index >> BITS) as usize, index as usize & (Self::PAGE - 1));
        let page = self.full.get(page).map_or(&self.open[..], |page| &page[..]);
        &page[at..at + len]
    }

    /// Elements, when only single ones were pushed.
    pub(crate) fn len(&self) -> usize {
        (self.full.len() << BITS) + self.open.len()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        (self.full.iter().map(|page| page.len()).sum::<usize>() + self.open.capacity()) * size_of::<T>()
    }

    fn close_page(&mut self) {
        self.full.push(Arc::from(&self.open[..]));
        self.open = Vec::new();
    }
}

/// Strings, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    bytes: Paged<u8, TEXT_PAGE_BITS>,
    /// (first byte, length)
    places: Paged<(u32, u32)>,
}

impl Texts {
    /// Appends a string; returns its number.
    pub(crate) fn push(&mut self, text: &str) -> u32 {
        let first = self.bytes.push_run(text.as_bytes());
        self.places.push((first, text.len() as u32))
    }

    /// A string.
    pub(crate) fn get(&self, at: u32) -> &str {
        let (first, len) = self.places.get(at);
        if len == 0 {
            return "";
        }
        std::str::from_utf8(self.bytes.run(first, len as usize)).expect("only whole strings are pushed")
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.bytes() + self.places.bytes()
    }
}

/// Lines of locations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Paged<LineRow>);

impl Lines {
    /// Appends the lines of a location (at least one); returns where they are.
    pub(crate) fn push(&mut self, lines: &[LineRow]) -> u32 {
        self.0.push_run(lines)
    }

    /// The lines of a location.
    pub(crate) fn get(&self, at: u32, count: u32) -> &[LineRow] {
        self.0.run(at, count as usize)
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_come_back_from_the_array_and_from_older_snapshots(lens in prop::collection::vec(1usize..40, 1..60)) {
            let mut paged: Paged<u32, 3> = Paged::default();
            let mut runs = Vec::new();
            let mut snapshots = Vec::new();
            for (at, len) in lens.into_iter().enumerate() {
                let run: Vec<u32> = (0..len as u32).map(|n| n * 1000 + at as u32).collect();
                runs.push((paged.push_run(&run), run));
                snapshots.push(paged.clone());
            }
            for (count, snapshot) in snapshots.iter().enumerate() {
                for (index, run) in &runs[..=count] {
                    prop_assert_eq!(snapshot.run(*index, run.len()), &run[..]);
                }
            }
        }
    }
}
