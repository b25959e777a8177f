//! Reads of objects and of ranges: what is returned has exactly the length that was asked for, or it is an error.
//!
//! Remote stores are not believed what they say of lengths: a body that ends early, or an answer for another range, is a
//! failed read and is tried again. A range that takes long may be asked for a second time.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use crate::class::Class;
use crate::error::{StoreError, StoreErrorKind};
use crate::folder;
use crate::metrics::Operation;
use crate::store::{Store, local, parse};
use crate::traffic::Hedge;

/// Ranges with no larger gap between them are one request …
const JOINED_GAP_BYTES_MAX: u64 = 1 << 20;
/// … that does not become longer than this by it: several requests at once are faster than one long one, and one that fails is
/// repeated as a whole. A range that is longer is one request all the same.
const JOINED_BYTES_MAX: u64 = 8 << 20;
/// Requests for ranges of one read that are on their way at once.
const RANGES_AT_ONCE: usize = 10;
/// How often a body that is shorter than it should be is asked for.
const SHORT_BODIES_MAX: u32 = 3;
/// For so many bytes more, a read may take so much longer, as one of none, before it is sent a second time.
const HEDGE_STEP_BYTES: u64 = 8 << 20;
/// The status of an object that does not exist.
const NOT_FOUND: u16 = 404;
/// The status of a range that an object does not have: such as the first byte of an empty one.
const RANGE_NOT_SATISFIABLE: u16 = 416;

impl Store {
    /// Reads a whole object of at most `limit` bytes.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        let op = Operation::Get;
        let path = parse(op, key)?;
        self.observed(op, key, |bytes: &Bytes| bytes.len() as u64, async {
            if let Some(folder) = &self.inner.folder {
                let file =
                    folder.path_to_filesystem(&path).map_err(|e| StoreError::from_backend(op, key, e))?;
                let read = folder::blocking(move || folder::read_whole(&file, limit)).await;
                return read.map_err(|e| local(op, key, e));
            }
            // As a range, the answer says how long the object is beside how long the answer is.
            let range = 0..limit.saturating_add(1);
            let found = self.read(op, key, &path, range).await?;
            if found.object_bytes > limit {
                let bytes = found.object_bytes;
                return Err(StoreError::new(op, key, StoreErrorKind::TooLarge { bytes, limit }));
            }
            Ok(found.bytes)
        })
        .await
    }

    /// Reads ranges of an object, in the order given; each answer has exactly its range's length.
    pub async fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let op = Operation::GetRange;
        let path = parse(op, key)?;
        let sum = |all: &Vec<Bytes>| all.iter().map(|b| b.len() as u64).sum();
        self.observed(op, key, sum, async {
            if let Some(folder) = &self.inner.folder {
                let file =
                    folder.path_to_filesystem(&path).map_err(|e| StoreError::from_backend(op, key, e))?;
                let ranges = ranges.to_vec();
                let read = folder::blocking(move || folder::read_ranges(&file, &ranges)).await;
                return read.map_err(|e| local(op, key, e));
            }
            if ranges.iter().any(|range| range.start > range.end) {
                return Err(StoreError::new(op, key, StoreErrorKind::OutOfRange));
            }
            // Stores refuse empty ranges, or answer them with everything.
            let wanted: Vec<_> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
            let (requests, request_of) = join(&wanted);
            let reads: Vec<_> =
                requests.iter().map(|request| self.range(key, &path, request.clone())).collect();
            let reads = futures::stream::iter(reads).buffered(RANGES_AT_ONCE);
            let read: Vec<Bytes> = reads.try_collect().await?;
            let mut got = wanted.iter().zip(request_of).map(|(range, at)| {
                let before = requests[at].start;
                read[at].slice((range.start - before) as usize..(range.end - before) as usize)
            });
            let answer = |range: &Range<u64>| {
                let bytes = if range.is_empty() { Some(Bytes::new()) } else { got.next() };
                let exact = bytes.filter(|b| b.len() as u64 == range.end - range.start);
                exact.ok_or_else(|| StoreError::new(op, key, StoreErrorKind::OutOfRange))
            };
            ranges.iter().map(answer).collect()
        })
        .await
    }

    /// One range, all of it; asked for twice if it takes long.
    async fn range(&self, key: &str, path: &Path, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = || async {
            let (op, range) = (Operation::GetRange, range.clone());
            let found = self.read(op, key, path, range.clone()).await?;
            match found.object_bytes < range.end {
                true => Err(StoreError::new(op, key, StoreErrorKind::OutOfRange)),
                false => Ok(found.bytes),
            }
        };
        let remote = &self.inner.options.remote;
        if !self.inner.remote || self.class != Class::Query || remote.hedge_after.is_zero() {
            return read().await;
        }
        let steps = (range.end - range.start) / HEDGE_STEP_BYTES;
        let patience = remote.hedge_after.saturating_mul(u32::try_from(steps + 1).unwrap_or(u32::MAX));
        self.hedged(patience, read).await
    }

    /// Reads, and reads once more at the same time if that takes longer than `patience`: the first answer counts.
    async fn hedged<F>(&self, patience: Duration, read: impl Fn() -> F) -> Result<Bytes, StoreError>
    where
        F: Future<Output = Result<Bytes, StoreError>>,
    {
        let traffic = &self.inner.traffic;
        let mut first = pin!(read());
        if let Ok(read) = tokio::time::timeout(patience, &mut first).await {
            return read;
        }
        let Ok(_place) = self.inner.hedges.try_acquire() else {
            traffic.hedge(Hedge::Refused);
            return first.await;
        };
        traffic.hedge(Hedge::Sent);
        let second = pin!(read());
        match select(first, second).await {
            Either::Left((Ok(bytes), _)) => Ok(bytes),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Ok(bytes), _)) => {
                traffic.hedge(Hedge::Won);
                Ok(bytes)
            }
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// What an object has of a range that is not empty.
    async fn read(
        &self,
        op: Operation,
        key: &str,
        path: &Path,
        range: Range<u64>,
    ) -> Result<Found, StoreError> {
        let mut tries = 1;
        loop {
            let exchanged = self.exchange_status(op, self.fetch(path, range.clone())).await;
            match exchanged.result {
                Ok(found) if found.is_whole(&range) => return Ok(found),
                Ok(found) if tries == SHORT_BODIES_MAX => {
                    let why = format!("{} bytes came of {:?}", found.bytes.len(), found.clip(&range));
                    return Err(StoreError::caused(op, key, StoreErrorKind::Unavailable, why));
                }
                Ok(_) => tries += 1,
                // The client gives up on an answer that says no and whose reasons were cut off.
                Err(error)
                    if exchanged.status == Some(NOT_FOUND)
                        && !matches!(error, object_store::Error::NotFound { .. })
                        && tries < SHORT_BODIES_MAX =>
                {
                    tries += 1;
                }
                // An empty object has no range, not even its beginning; only a head tells that from a lie.
                Err(_) if range.start == 0 && self.is_empty_range(exchanged.status) => {
                    let head =
                        self.exchange(op, object_store::ObjectStoreExt::head(&*self.inner.backend, path));
                    let meta = head.await.map_err(|e| StoreError::from_backend(op, key, e))?;
                    return match meta.size {
                        0 => Ok(Found { bytes: Bytes::new(), object_bytes: 0 }),
                        _ => Err(StoreError::new(op, key, StoreErrorKind::Unavailable)),
                    };
                }
                Err(error) => return Err(StoreError::from_backend(op, key, error)),
            }
        }
    }

    /// Whether this may be the answer to a range of an empty object. Memory has no status.
    fn is_empty_range(&self, status: Option<u16>) -> bool {
        !self.inner.remote || status == Some(RANGE_NOT_SATISFIABLE)
    }

    async fn fetch(&self, path: &Path, range: Range<u64>) -> object_store::Result<Found> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.inner.backend.get_opts(path, options).await?;
        let object_bytes = found.meta.size;
        Ok(Found { bytes: found.bytes().await?, object_bytes })
    }
}

/// The requests for ranges that are not empty, sorted, and for each range the one that has all of it.
fn join(ranges: &[Range<u64>]) -> (Vec<Range<u64>>, Vec<usize>) {
    let mut sorted: Vec<usize> = (0..ranges.len()).collect();
    sorted.sort_unstable_by_key(|&at| (ranges[at].start, ranges[at].end));
    let mut requests: Vec<Range<u64>> = Vec::new();
    let mut request_of = vec![0; ranges.len()];
    for at in sorted {
        let range = &ranges[at];
        match requests.last_mut() {
            Some(last) if range.end <= last.end => {}
            Some(last)
                if range.start <= last.end.saturating_add(JOINED_GAP_BYTES_MAX)
                    && range.end - last.start <= JOINED_BYTES_MAX =>
            {
                last.end = range.end;
            }
            _ => requests.push(range.clone()),
        }
        request_of[at] = requests.len() - 1;
    }
    (requests, request_of)
}

/// An answer, and how long the object is by it.
struct Found {
    bytes: Bytes,
    object_bytes: u64,
}

impl Found {
    /// The part of a range that the object has.
    fn clip(&self, range: &Range<u64>) -> Range<u64> {
        range.start.min(self.object_bytes)..range.end.min(self.object_bytes)
    }

    fn is_whole(&self, range: &Range<u64>) -> bool {
        let clipped = self.clip(range);
        self.bytes.len() as u64 == clipped.end - clipped.start
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::open::{RemoteOptions, StoreOptions};

    fn requests(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let (requests, request_of) = join(ranges);
        for (range, at) in ranges.iter().zip(request_of) {
            let request = &requests[at];
            assert!(request.start <= range.start && range.end <= request.end, "{range:?} in {request:?}");
        }
        requests
    }

    #[test]
    fn close_ranges_are_one_request_of_a_bounded_length() {
        const PART: u64 = JOINED_BYTES_MAX;
        assert!(requests(&[]).is_empty());
        assert_eq!(requests(&[10..20, 0..5, 15..30, 12..13]), std::slice::from_ref(&(0..30)));
        let gap = JOINED_GAP_BYTES_MAX;
        assert_eq!(requests(&[0..10, gap + 10..gap + 20]), std::slice::from_ref(&(0..gap + 20)));
        assert_eq!(requests(&[0..10, gap + 11..gap + 20]), [0..10, gap + 11..gap + 20]);
        // Parts that somebody has joined already stay apart, and what is longer is not cut.
        assert_eq!(
            requests(&[0..PART, PART..2 * PART, 2 * PART..2 * PART + 1]),
            [0..PART, PART..2 * PART, 2 * PART..2 * PART + 1]
        );
        assert_eq!(
            requests(&[5..3 * PART, 0..4, 3 * PART..3 * PART + 9]),
            [0..4, 5..3 * PART, 3 * PART..3 * PART + 9]
        );
        // Ranges that overlap are read twice where they overlap.
        assert_eq!(requests(&[0..PART, 100..PART + 100]), [0..PART, 100..PART + 100]);
        let small: Vec<Range<u64>> = (0..100).map(|at| at * (1 << 20)..at * (1 << 20) + 1000).collect();
        assert!(requests(&small).iter().all(|request| request.end - request.start <= PART));
        assert_eq!(requests(&small).len(), 13);
    }

    /// Across several requests, in any order.
    #[tokio::test]
    async fn long_reads_are_exact() {
        let store = Store::open("memory:", StoreOptions::default()).expect("opens");
        let bytes: Bytes = (0..20u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        store.put("long", bytes.clone()).await.expect("puts");
        let ranges =
            [9 << 20..17 << 20, 0..8 << 20, 3..3, 8 << 20..9 << 20, 5..6, 17 << 20..20 << 20, 0..20 << 20];
        let got = store.get_ranges("long", &ranges).await.expect("reads");
        assert_eq!(got.len(), ranges.len());
        for (range, got) in ranges.iter().zip(got) {
            assert!(got == bytes[range.start as usize..range.end as usize], "{range:?}");
        }
    }

    /// A read whose first try never answers.
    #[tokio::test(start_paused = true)]
    async fn a_slow_read_is_sent_twice_and_the_first_answer_counts() {
        let remote = RemoteOptions { hedges_max: 1, ..RemoteOptions::default() };
        let store = Store::open("memory:", StoreOptions { remote, ..StoreOptions::default() });
        let store = store.expect("opens");
        let tries = AtomicU32::new(0);
        let slow_at_first = || async {
            if tries.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            Ok(Bytes::from_static(b"second"))
        };
        let patience = Duration::from_secs(1);
        assert_eq!(store.hedged(patience, slow_at_first).await.expect("read"), "second");
        assert_eq!(tries.load(Ordering::Relaxed), 2);
        let at_once = || async { Ok(Bytes::from_static(b"first")) };
        assert_eq!(store.hedged(patience, at_once).await.expect("read"), "first");
        // The first one is slow, the second one fails.
        let calls = AtomicU32::new(0);
        let fails_second = || async {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                return Ok(Bytes::from_static(b"late"));
            }
            Err(StoreError::new(Operation::GetRange, "x", StoreErrorKind::Unavailable))
        };
        assert_eq!(store.hedged(patience, fails_second).await.expect("read"), "late");
        // No more than so many at once.
        let _place = store.inner.hedges.try_acquire().expect("a place");
        tries.store(0, Ordering::Relaxed);
        let waits = tokio::time::timeout(Duration::from_secs(60), store.hedged(patience, slow_at_first));
        assert!(waits.await.is_err() && tries.load(Ordering::Relaxed) == 1);
    }
}
