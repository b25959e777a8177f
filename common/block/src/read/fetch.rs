//! Reads the ranges that a question needs: joined when close, split when long, given back by range.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use hearth_common::RangeRead;

use crate::error::BlockError;

/// Ranges with at most this much between them are read as one.
const GAP_MAX: u64 = 512 << 10;
/// A read is not made longer than this by joining.
const PART_MAX: u64 = 8 << 20;

/// Reads one range.
pub(crate) async fn one(
    object: &str,
    from: &Arc<dyn RangeRead>,
    range: Range<u64>,
) -> Result<Bytes, BlockError> {
    let expected = range.end - range.start;
    let wrong = |source| BlockError::Read { object: object.to_owned(), source };
    let mut read = from.read(std::slice::from_ref(&range)).await.map_err(wrong)?;
    match read.pop() {
        Some(bytes) if bytes.len() as u64 == expected => Ok(bytes),
        _ => Err(BlockError::damaged(
            object,
            range.start,
            format!("{expected} bytes were asked for and did not come"),
        )),
    }
}

/// Ranges to read, by object.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    objects: HashMap<&'static str, Vec<Range<u64>>>,
}

impl Wanted {
    pub(crate) fn add(&mut self, object: &'static str, range: Range<u64>) {
        if !range.is_empty() {
            self.objects.entry(object).or_default().push(range);
        }
    }

    /// Adds all that another wants.
    pub(crate) fn extend(&mut self, other: Self) {
        for (object, ranges) in other.objects {
            self.objects.entry(object).or_default().extend(ranges);
        }
    }

    /// Bytes that [`Wanted::fetch`] would read.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects.keys().map(|object| self.bytes_of(object)).sum()
    }

    /// Those of an object.
    pub(crate) fn bytes_of(&self, object: &str) -> u64 {
        let ranges = self.objects.get(object).cloned().unwrap_or_default();
        join(ranges).iter().map(|part| part.end - part.start).sum()
    }

    /// Reads everything, one call for each object.
    pub(crate) async fn fetch(
        self,
        objects: &HashMap<&'static str, Arc<dyn RangeRead>>,
    ) -> Result<Fetched, BlockError> {
        let mut fetched = Fetched::default();
        let reads = self.objects.into_iter().map(|(object, ranges)| async move {
            let parts = join(ranges);
            let Some(from) = objects.get(object) else {
                return Err(BlockError::damaged(object, 0, "the block has no such object"));
            };
            let wrong = |source| BlockError::Read { object: object.to_owned(), source };
            let bytes = from.read(&parts).await.map_err(wrong)?;
            let fits = |(part, bytes): (&Range<u64>, &Bytes)| part.end - part.start == bytes.len() as u64;
            if bytes.len() != parts.len() || !parts.iter().zip(&bytes).all(fits) {
                return Err(BlockError::damaged(object, 0, "a read gave fewer bytes than were asked for"));
            }
            Ok((object, parts.into_iter().map(|p| p.start).zip(bytes).collect::<Vec<_>>()))
        });
        for (object, parts) in futures::future::try_join_all(reads).await? {
            fetched.bytes += parts.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            fetched.objects.insert(object, parts);
        }
        Ok(fetched)
    }
}

/// Joins ranges that are close; a range is never split.
fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|r| (r.start, r.end));
    let mut parts: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match parts.last_mut() {
            Some(part) if range.end <= part.end => {}
            Some(part)
                if range.start <= part.end.saturating_add(GAP_MAX) && range.end - part.start <= PART_MAX =>
            {
                part.end = range.end;
            }
            _ => parts.push(range),
        }
    }
    parts
}

/// Bytes that were read.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fetched {
    objects: HashMap<&'static str, Vec<(u64, Bytes)>>,
    pub(crate) bytes: u64,
}

impl Fetched {
    /// Whole objects that are in memory.
    pub(crate) fn whole(objects: impl Iterator<Item = (&'static str, Bytes)>) -> Self {
        Self { objects: objects.map(|(object, bytes)| (object, vec![(0, bytes)])).collect(), bytes: 0 }
    }

    /// A range that was wanted.
    pub(crate) fn get(&self, object: &'static str, range: Range<u64>) -> Result<&[u8], BlockError> {
        let missing = || BlockError::damaged(object, range.start, "bytes that are needed were not planned");
        let parts = self.objects.get(object).ok_or_else(missing)?;
        // Parts may overlap where a long range was not joined: look back until one covers the range.
        let upto = parts.partition_point(|(start, _)| *start <= range.start);
        let covers = |(start, bytes): &&(u64, Bytes)| start + bytes.len() as u64 >= range.end;
        let (start, bytes) = parts[..upto].iter().rev().find(covers).ok_or_else(missing)?;
        Ok(&bytes[(range.start - start) as usize..(range.end - start) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_ranges_are_joined_up_to_a_part() {
        assert_eq!(join(vec![10..20, 0..5, 15..30]), vec![0..30]);
        assert_eq!(join(vec![0..10, GAP_MAX + 11..GAP_MAX + 12]), vec![0..10, GAP_MAX + 11..GAP_MAX + 12]);
        assert_eq!(
            join(vec![0..PART_MAX, PART_MAX..PART_MAX + 1]),
            vec![0..PART_MAX, PART_MAX..PART_MAX + 1]
        );
    }
}
