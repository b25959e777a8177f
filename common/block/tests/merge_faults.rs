//! A merge whose reads or writes fail stops with an error that says where.

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::BoxFuture;
use hearth_block::merge::{BlockSink, MemorySink, RowFilter};
use hearth_block::{BlockEntry, BlockReader, EncodedBlock, MergeError, MergeOptions, ObjectEntry, merge};
use hearth_common::range_read::InMemory;
use hearth_common::{BoxError, Classify, ErrorKind, RangeRead, TenantId};
use support::{Head, made_up, open};

/// Reads of one block: fails, or gives too little, from a certain one on.
#[derive(Debug)]
struct Failing {
    object: InMemory,
    left: Arc<AtomicUsize>,
    short: bool,
}

impl RangeRead for Failing {
    fn len_hint(&self) -> Option<u64> {
        self.object.len_hint()
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        let lives = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if lives.is_ok() {
            return self.object.read(ranges);
        }
        if !self.short {
            return Box::pin(std::future::ready(Err("the store is away".into())));
        }
        let cut = ranges.iter().map(|range| self.object.0.slice(range.start as usize..range.start as usize));
        Box::pin(std::future::ready(Ok(cut.collect())))
    }
}

fn open_failing(block: &EncodedBlock, left: &Arc<AtomicUsize>, short: bool) -> BlockReader {
    let object = |name: &str| -> Arc<dyn RangeRead> {
        let bytes = block.objects.iter().find(|(object, _)| object == name).map(|(_, bytes)| bytes.clone());
        Arc::new(Failing { object: InMemory(bytes.unwrap_or_default()), left: Arc::clone(left), short })
    };
    block_on(BlockReader::open(Arc::new(block.entry.clone()), object)).expect("opens")
}

/// Fails when it has got `left` calls.
#[derive(Default)]
struct FailingSink {
    inner: MemorySink,
    left: usize,
}

impl FailingSink {
    fn call(&mut self) -> Result<(), BoxError> {
        self.left = self.left.checked_sub(1).ok_or("the store is away")?;
        Ok(())
    }
}

impl BlockSink for FailingSink {
    fn begin<'a>(&'a mut self, block: &'a BlockEntry) -> BoxFuture<'a, Result<(), BoxError>> {
        match self.call() {
            Ok(()) => self.inner.begin(block),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn part<'a>(&'a mut self, object: &'static str, bytes: Bytes) -> BoxFuture<'a, Result<(), BoxError>> {
        match self.call() {
            Ok(()) => self.inner.part(object, bytes),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn end<'a>(
        &'a mut self,
        object: &'static str,
        entry: &'a ObjectEntry,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        match self.call() {
            Ok(()) => self.inner.end(object, entry),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

fn blocks() -> [EncodedBlock; 2] {
    let profiles = made_up(41, 120);
    let (one, two) = profiles.split_at(60);
    let mut blocks = [one, two].map(|part| Head::of(part).write().expect("writes"));
    blocks[1].entry.id.0 ^= 1;
    blocks
}

#[test]
fn a_failed_read_names_the_block() {
    let [one, two] = blocks();
    let options = MergeOptions::new(TenantId::anonymous(), 1);
    for short in [false, true] {
        let mut failed = 0;
        for reads in 0.. {
            let left = Arc::new(AtomicUsize::new(usize::MAX));
            let readers = [&open(&one).expect("opens"), &open_failing(&two, &left, short)];
            left.store(reads, Ordering::Relaxed);
            let mut sink = MemorySink::default();
            match block_on(merge(&readers, &RowFilter::default(), &options, &mut sink)) {
                Ok(_) => break,
                Err(error) => {
                    failed += 1;
                    let kind = if short { ErrorKind::DataLoss } else { ErrorKind::Unavailable };
                    assert_eq!(error.kind(), kind, "{error:?}");
                    assert!(matches!(error, MergeError::Input { block, .. } if block == two.entry.id));
                }
            }
        }
        assert!(failed >= 3, "a merge reads profiles, samples and spans: {failed}");
    }
}

#[test]
fn a_failed_write_names_the_object() {
    let blocks = blocks();
    let options = MergeOptions::new(TenantId::anonymous(), 1);
    let readers: Vec<BlockReader> = blocks.iter().map(|block| open(block).expect("opens")).collect();
    let readers: Vec<&BlockReader> = readers.iter().collect();
    let mut objects = Vec::new();
    for calls in 0.. {
        let mut sink = FailingSink { left: calls, ..FailingSink::default() };
        match block_on(merge(&readers, &RowFilter::default(), &options, &mut sink)) {
            Ok(_) => break,
            Err(MergeError::Sink { object, .. }) => objects.push(object),
            Err(error) => panic!("{error:?}"),
        }
    }
    objects.dedup();
    assert_eq!(objects, ["folder", "profiles.parquet", "samples.parquet", "spans.parquet", "index"]);
}
