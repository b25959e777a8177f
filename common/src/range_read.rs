//! The seam through which formats read bytes without knowing where they lie: a file, an object, a slice in a test.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::BoxError;

/// Reads ranges of one immutable object.
pub trait RangeRead: Send + Sync + std::fmt::Debug {
    /// The object's length in bytes, if it is known without asking.
    fn len_hint(&self) -> Option<u64>;

    /// Reads the given ranges, in the order given; each answer has exactly the range's length or the call fails.
    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>>;
}

/// An object that is already in memory.
#[derive(Debug, Clone)]
pub struct InMemory(pub Bytes);

impl RangeRead for InMemory {
    fn len_hint(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        let cut = |range: &Range<u64>| -> Result<Bytes, BoxError> {
            let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
            if start > end || end > self.0.len() {
                return Err(format!(
                    "range {start}..{end} is outside of an object of {} bytes",
                    self.0.len()
                )
                .into());
            }
            Ok(self.0.slice(start..end))
        };
        Box::pin(std::future::ready(ranges.iter().map(cut).collect()))
    }
}
