//! What decoding an answer takes in memory: counted by the allocator, for the bytes that make the most of themselves.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearth_model::pprof_merge::{FunctionKey, LineKey, MappingKey};
use hearth_model::{Answer, Labels, NameTree, PointSet, PprofMerge, ProfileType, answer_bytes};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes of memory that one byte of an answer may take while it is decoded.
const TIMES_MAX: usize = 128;
/// What is taken whatever the length.
const FIXED_BYTES: usize = 16 << 10;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as of the caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes; says how many bytes were held at once on top of what was held before.
fn peak(bytes: &[u8]) -> (usize, bool) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let decoded = answer_bytes::decode(bytes).is_ok();
    (PEAK.load(Ordering::Relaxed).saturating_sub(before), decoded)
}

fn check(bytes: &[u8]) -> bool {
    let (peak, decoded) = peak(bytes);
    assert!(peak <= FIXED_BYTES + TIMES_MAX * bytes.len(), "{peak} bytes for an answer of {}", bytes.len());
    decoded
}

/// Answers whose things are as small as they can be.
fn dense() -> Vec<Answer> {
    const THINGS: u64 = 20_000;
    let mut tree = NameTree::new();
    let name = tree.intern("f");
    let mut node = NameTree::ROOT;
    let mut merge = PprofMerge::new();
    let mapping = merge.mapping(MappingKey::default());
    let function = merge.function(FunctionKey::default());
    let mut at = PprofMerge::ROOT;
    for thing in 0..THINGS {
        node = tree.child(node, name);
        let lines = [LineKey { function, line: 0 }, LineKey { function, line: thing as i64 }];
        let location = merge.location(Some(mapping), 0, &lines);
        at = merge.child(at, location);
    }
    tree.add_self(node, 1);
    let mut points = PointSet::default();
    let mut series = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut types = BTreeSet::new();
    for thing in 0..THINGS {
        let text = format!("{thing:x}");
        points.add(&Labels::from_pairs([("a", &text)]), thing as u32, 1);
        series.insert(Labels::from_pairs([("a", "b"), ("c", &text)]));
        types.insert(ProfileType::new(&text, "", "", "", ""));
        names.insert(text);
    }
    vec![
        Answer::Tree(tree),
        Answer::Pprof(merge),
        Answer::Points(points),
        Answer::Series(series),
        Answer::ProfileTypes(types),
        Answer::Names(names),
    ]
}

/// One test: the counts are of the whole process.
#[test]
fn decoding_takes_a_small_multiple_of_the_bytes() {
    let dense: Vec<Vec<u8>> =
        dense().iter().map(|answer| answer_bytes::encode(answer).expect("sums fit")).collect();
    for bytes in &dense {
        assert!(check(bytes));
    }
    let flips = vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    proptest!(config, |(which in 0..dense.len(), flips in flips, end in any::<prop::sample::Index>())| {
        let mut bytes = dense[which].clone();
        for (at, mask) in flips {
            // Half of them among the first bytes, where counts stand.
            let at = at.index(2 * bytes.len());
            let at = if at >= bytes.len() { at % 16 } else { at };
            bytes[at] ^= mask;
        }
        check(&bytes);
        check(&bytes[..end.index(bytes.len())]);
    });
}
