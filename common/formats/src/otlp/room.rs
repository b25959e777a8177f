//! How much memory the arrays of an export may take: an entry of two bytes takes up to 80 in memory, and a gzipped body of some
//! hundred KB may have a hundred million of them. Entries are counted before they are added. Must not know: what they are.

use super::{OtlpError, Result};
use crate::wire::Reader;

/// Memory that any export may take …
const ARRAYS_BYTES_MIN: usize = 64 << 20;
/// … and one for each of its bytes (those of profilers take two to five) …
const ARRAYS_BYTES_PER_BYTE: usize = 8;
/// … but not more than this. A body of 256 MiB, the default limit, may so take four times its size.
const ARRAYS_BYTES_MAX: usize = 1 << 30;

/// What the arrays of one export may still take.
#[derive(Debug, Default)]
pub(super) struct Room {
    left: usize,
    limit: usize,
    /// Of the export.
    bytes: usize,
}

impl Room {
    /// For an export of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        let limit = bytes.saturating_mul(ARRAYS_BYTES_PER_BYTE).clamp(ARRAYS_BYTES_MIN, ARRAYS_BYTES_MAX);
        Self { left: limit, limit, bytes }
    }

    fn take<T>(&mut self, entries: usize) -> Result<()> {
        let left = self.left.checked_sub(entries.saturating_mul(size_of::<T>()));
        self.left = left.ok_or(OtlpError::Arrays { bytes: self.bytes, limit: self.limit })?;
        Ok(())
    }

    /// Adds an entry, if there is room.
    #[inline]
    pub(super) fn push<T>(&mut self, array: &mut Vec<T>, entry: T) -> Result<()> {
        self.take::<T>(1)?;
        array.push(entry);
        Ok(())
    }

    /// Adds a list of numbers, if there is room for all of it.
    #[inline]
    pub(super) fn packed<T>(
        &mut self,
        array: &mut Vec<T>,
        numbers: Reader<'_>,
        convert: impl Fn(u64) -> T,
    ) -> Result<()> {
        // The last byte of each is the only one below 128.
        let entries = numbers.rest().iter().filter(|byte| **byte < 0x80).count();
        self.take::<T>(entries)?;
        Ok(numbers.packed(array, convert)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_the_export() {
        let limit = |bytes| Room::of(bytes).limit;
        assert_eq!([0, 1 << 20, 8 << 20].map(limit), [64 << 20; 3]);
        assert_eq!(limit(16 << 20), 128 << 20);
        assert_eq!([128 << 20, 256 << 20, usize::MAX].map(limit), [1 << 30; 3]);
    }

    #[test]
    fn what_does_not_fit_is_not_added() {
        let mut room = Room { left: 24, limit: 24, bytes: 3 };
        let mut array: Vec<i64> = Vec::new();
        let one = [0x80, 0x01];
        room.packed(&mut array, Reader::new(&one), |n| n as i64).expect("one number of two bytes");
        room.push(&mut array, 7).expect("room for three");
        let two = [1, 2];
        let refused = room.packed(&mut array, Reader::new(&two), |n| n as i64).expect_err("one too many");
        assert_eq!(refused, OtlpError::Arrays { bytes: 3, limit: 24 });
        assert_eq!(array, [128, 7]);
        room.push(&mut array, 9).expect("nothing was taken");
        assert!(room.push(&mut array, 9).is_err());
    }
}
