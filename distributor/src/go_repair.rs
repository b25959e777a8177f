//! Repairs of Go profiles (api-semantics §3.7): names of instantiated generics, and stacks that Go's runtime cut off.

use std::ops::Range;

use hashbrown::{HashMap, HashTable};
use hearth_formats::pprof::{Pprof, Sample};

use crate::mix::seed;

const SHAPE: &str = "[go.shape.";
/// Frames of the root side that must be equal.
const WINDOW: usize = 16;
/// Go numbers locations from 1; profiles with larger ids are not Go's.
const IDS_MAX: u64 = 1 << 20;
/// Stacks that are searched for continuations. More of them find next to nothing that the first have not: they share their
/// root side.
const SOURCES_MAX: usize = 1024;

/// Names without their `[go.shape.…]` parts; where the parts are in `raw` at all is asked first.
#[derive(Debug, Default)]
pub(crate) struct Stripped {
    text: String,
    cuts: Vec<(u32, Range<usize>)>,
}

impl Stripped {
    /// Looks for names to shorten; `raw` are the bytes that all strings borrow from, or none where these are not at hand.
    pub(crate) fn new(raw: &[u8], strings: &[&str]) -> Self {
        let mut out = Self::default();
        if !raw.is_empty() && memchr::memmem::find(raw, SHAPE.as_bytes()).is_none() {
            return out;
        }
        for (at, name) in (0..).zip(strings) {
            let start = out.text.len();
            if strip(name, &mut out.text) {
                out.cuts.push((at, start..out.text.len()));
            } else {
                out.text.truncate(start);
            }
        }
        out
    }

    /// Whether no name was shortened.
    pub(crate) fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Puts the shortened names in, and makes functions point at the first of equal strings.
    pub(crate) fn apply<'s>(&'s self, strings: &mut [&'s str], pprof: &mut Pprof<'_>) {
        for (at, range) in &self.cuts {
            strings[*at as usize] = &self.text[range.clone()];
        }
        let mut first: HashMap<&str, i64> = HashMap::with_capacity(strings.len());
        let canonical: Vec<i64> =
            (0..).zip(strings.iter()).map(|(at, text)| *first.entry(*text).or_insert(at)).collect();
        let mend = |index: &mut i64| {
            *index = usize::try_from(*index).ok().and_then(|at| canonical.get(at)).copied().unwrap_or(0);
        };
        for function in &mut pprof.functions {
            mend(&mut function.name);
            mend(&mut function.system_name);
            mend(&mut function.filename);
        }
    }
}

/// Appends the name without its bracketed shapes; `false` when it has none.
fn strip(name: &str, out: &mut String) -> bool {
    let mut rest = name;
    let mut found = false;
    while let Some(start) = rest.find(SHAPE) {
        let Some(length) = bracketed(&rest[start..]) else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + length..];
        found = true;
    }
    out.push_str(rest);
    found
}

/// Bytes from an opening bracket to the one that closes it.
fn bracketed(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 1 => return Some(at + 1),
            b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Completes stacks that the runtime cut off at its limit (64 frames of CPU profiles, 32 of heap profiles): another stack of
/// the profile passes through the same frames and goes on to a root that is known.
///
/// Roots are the outermost frames of stacks that are too short to have been cut off. A deep stack that ends in one is whole;
/// one that ends elsewhere is completed by the shortest continuation to a root, of the first sample that has it.
pub(crate) fn complete_stacks(pprof: &mut Pprof<'_>) {
    let Some(least) = suspicious_depth(pprof) else { return };
    if pprof.locations.iter().any(|location| location.id >= IDS_MAX) {
        return;
    }
    let mut roots = Bits::default();
    let outermost = |sample: &Sample| stack(pprof, sample).last().copied();
    let short = pprof.samples.iter().filter(|sample| sample.location_count < least);
    short.filter_map(outermost).for_each(|root| roots.insert(root));
    let mut windows = Windows::new();
    let mut cut = Vec::new();
    for (at, sample) in pprof.samples.iter().enumerate().filter(|(_, s)| s.location_count >= least) {
        let frames = stack(pprof, sample);
        if frames.last().is_some_and(|end| !roots.contains(*end)) {
            cut.push((at, windows.add(&frames[frames.len() - WINDOW..])));
        }
    }
    if cut.is_empty() {
        return;
    }
    let rooted = pprof.samples.iter().enumerate().filter(|(_, sample)| {
        let frames = stack(pprof, sample);
        frames.len() > WINDOW && frames.last().is_some_and(|root| roots.contains(*root))
    });
    for (at, sample) in rooted.take(SOURCES_MAX) {
        windows.search(stack(pprof, sample), at);
    }
    append(pprof, &cut, &windows);
}

/// Appends to each stack that was cut off what its window goes on with.
fn append(pprof: &mut Pprof<'_>, cut: &[(usize, usize)], windows: &Windows) {
    let before: Vec<(usize, Range<usize>)> = cut
        .iter()
        .filter_map(|(candidate, window)| {
            let (from, rest) = windows.list[*window].best.clone()?;
            let first = pprof.samples[from].first_location as usize;
            Some((*candidate, first + rest.start..first + rest.end))
        })
        .collect();
    for (candidate, rest) in before {
        let sample = pprof.samples[candidate];
        let own = sample.first_location as usize..(sample.first_location + sample.location_count) as usize;
        let Ok(start) = u32::try_from(pprof.location_ids.len()) else { return };
        let count = (own.len() + rest.len()) as u32;
        pprof.location_ids.extend_from_within(own);
        pprof.location_ids.extend_from_within(rest);
        pprof.samples[candidate].first_location = start;
        pprof.samples[candidate].location_count = count;
    }
}

/// A set of small ids.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, id: u64) {
        // Ids that no location has may be anything.
        if id >= IDS_MAX {
            return;
        }
        let word = (id / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id % 64);
    }

    fn contains(&self, id: u64) -> bool {
        self.0.get((id / 64) as usize).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

/// The outermost frames of stacks that were cut off, each sequence once, with the best continuation found.
#[derive(Debug)]
struct Windows {
    /// Powers of an odd factor: the hash of a window is a polynomial in it, so that it rolls from one window to the next.
    powers: [u64; WINDOW],
    /// Bits of hashes that may be there.
    filter: Box<[u64; FILTER_WORDS]>,
    /// (hash, index, frames of the best continuation).
    by_hash: HashTable<(u64, usize, usize)>,
    list: Vec<Window>,
}

const FILTER_WORDS: usize = 512;

#[derive(Debug)]
struct Window {
    frames: [u64; WINDOW],
    /// A sample, and which of its frames to append.
    best: Option<(usize, Range<usize>)>,
}

impl Windows {
    fn new() -> Self {
        let factor = seed() | 1;
        let mut powers = [1u64; WINDOW];
        for at in (0..WINDOW - 1).rev() {
            powers[at] = powers[at + 1].wrapping_mul(factor);
        }
        Self { powers, filter: Box::new([0; FILTER_WORDS]), by_hash: HashTable::new(), list: Vec::new() }
    }

    fn hash(&self, frames: &[u64]) -> u64 {
        let terms = frames.iter().zip(&self.powers).map(|(frame, power)| frame.wrapping_mul(*power));
        terms.fold(0, u64::wrapping_add)
    }

    /// The place of a hash in the filter: its upper bits, which depend on all others.
    fn bit(hash: u64) -> (usize, u64) {
        let spread = spread(hash);
        ((spread >> 55) as usize % FILTER_WORDS, 1 << (spread >> 49 & 63))
    }

    fn add(&mut self, frames: &[u64]) -> usize {
        let hash = self.hash(frames);
        let same = |(other, at, _): &(u64, usize, usize)| *other == hash && self.list[*at].frames == *frames;
        if let Some((_, at, _)) = self.by_hash.find(spread(hash), same) {
            return *at;
        }
        let at = self.list.len();
        let (word, bit) = Self::bit(hash);
        self.filter[word] |= bit;
        self.list.push(Window { frames: std::array::from_fn(|frame| frames[frame]), best: None });
        self.by_hash.insert_unique(spread(hash), (hash, at, usize::MAX), |(hash, ..)| spread(*hash));
        at
    }

    /// Looks for windows in a stack that ends in a root and has more frames than a window.
    fn search(&mut self, frames: &[u64], sample: usize) {
        let (factor, first_power) = (self.powers[WINDOW - 2], self.powers[0]);
        let mut hash = self.hash(&frames[..WINDOW]);
        for end in WINDOW..frames.len() {
            let (word, bit) = Self::bit(hash);
            if self.filter[word] & bit != 0 {
                self.offer(hash, frames, end, sample);
            }
            let oldest = frames[end - WINDOW].wrapping_mul(first_power);
            hash = hash.wrapping_sub(oldest).wrapping_mul(factor).wrapping_add(frames[end]);
        }
    }

    fn offer(&mut self, hash: u64, frames: &[u64], end: usize, sample: usize) {
        let rest = frames.len() - end;
        let Some((_, at, best)) = self.by_hash.find_mut(spread(hash), |(other, ..)| *other == hash) else {
            return;
        };
        let window = &mut self.list[*at];
        if rest < *best && window.frames == frames[end - WINDOW..end] {
            *best = rest;
            window.best = Some((sample, end..frames.len()));
        }
    }
}

fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// From which depth a stack may be cut off; `None` when none is.
fn suspicious_depth(pprof: &Pprof<'_>) -> Option<u32> {
    let has = |wanted: &[&[u8]]| {
        pprof.sample_types.iter().any(|ty| {
            let name = usize::try_from(ty.ty).ok().and_then(|at| pprof.strings.get(at));
            name.is_some_and(|name| wanted.contains(name))
        })
    };
    let deepest = pprof.samples.iter().map(|sample| sample.location_count).max().unwrap_or(0);
    if has(&[b"cpu"]) {
        return (deepest >= 60).then_some(60);
    }
    let heap: [&[u8]; 4] = [b"inuse_space", b"inuse_objects", b"alloc_space", b"alloc_objects"];
    (has(&heap) && (28..33).contains(&deepest)).then_some(28)
}

fn stack<'p>(pprof: &'p Pprof<'_>, sample: &Sample) -> &'p [u64] {
    let first = sample.first_location as usize;
    &pprof.location_ids[first..first + sample.location_count as usize]
}

#[cfg(test)]
mod tests {
    use hearth_formats::pprof::{Function, ValueType};

    use super::*;

    #[test]
    fn shapes_are_cut_by_depth_of_brackets() {
        let check = |name: &str, want: Option<&str>| {
            let mut out = String::new();
            let found = strip(name, &mut out);
            assert_eq!(found.then_some(out.as_str()), want, "{name}");
        };
        check("main.Map[go.shape.int]", Some("main.Map"));
        check("main.Map[go.shape.int].func1", Some("main.Map.func1"));
        check("f[go.shape.struct { x [4]int; y []string }].g[go.shape.*uint8]", Some("f.g"));
        check("main.Map[...]", None);
        check("broken[go.shape.int", None);
        check("plain", None);
    }

    #[test]
    fn functions_point_at_the_first_of_equal_names() {
        let raw = b"f[go.shape.int] f[go.shape.string]";
        let mut strings = vec!["", "f[go.shape.int]", "f[go.shape.string]", "file.go"];
        let stripped = Stripped::new(raw, &strings);
        assert!(!stripped.is_empty());
        let function = |name| Function { id: 1, name, system_name: name, filename: 3, start_line: 0 };
        let mut pprof = Pprof { functions: vec![function(1), function(2), function(-4)], ..Pprof::default() };
        stripped.apply(&mut strings, &mut pprof);
        assert_eq!(strings, ["", "f", "f", "file.go"]);
        assert_eq!(pprof.functions.iter().map(|f| f.name).collect::<Vec<_>>(), [1, 1, 0]);
        assert!(Stripped::new(b"nothing", &["f[go.shape.int]"]).is_empty());
    }

    fn heap(stacks: &[Vec<u64>]) -> Pprof<'static> {
        let mut pprof = Pprof {
            strings: vec![b"", b"inuse_space"],
            sample_types: vec![ValueType { ty: 1, unit: 0 }],
            ..Pprof::default()
        };
        for stack in stacks {
            let first_location = pprof.location_ids.len() as u32;
            pprof.location_ids.extend(stack);
            pprof.samples.push(Sample {
                first_location,
                location_count: stack.len() as u32,
                ..Sample::default()
            });
        }
        pprof
    }

    fn stacks(pprof: &Pprof<'_>) -> Vec<Vec<u64>> {
        pprof.samples.iter().map(|sample| stack(pprof, sample).to_vec()).collect()
    }

    #[test]
    fn a_cut_stack_is_completed_from_another() {
        let cut: Vec<u64> = (100..132).collect();
        let whole: Vec<u64> = (114..140).collect();
        let other: Vec<u64> = (1..20).collect();
        let mut pprof = heap(&[cut.clone(), whole.clone(), other.clone()]);
        complete_stacks(&mut pprof);
        let completed: Vec<u64> = (100..140).collect();
        assert_eq!(stacks(&pprof), [completed, whole.clone(), other]);
        // A deep stack that ends in a root is whole.
        let deep: Vec<u64> = (200..229).chain([139]).collect();
        let mut pprof = heap(&[deep.clone(), whole.clone()]);
        complete_stacks(&mut pprof);
        assert_eq!(stacks(&pprof), [deep, whole.clone()]);
        // Too little in common.
        let far: Vec<u64> = (120..140).collect();
        let mut pprof = heap(&[cut.clone(), far.clone()]);
        complete_stacks(&mut pprof);
        assert_eq!(stacks(&pprof), [cut.clone(), far]);
        // A stack of 33 frames says that the runtime does not cut at 32.
        let deep: Vec<u64> = (200..233).collect();
        let mut pprof = heap(&[cut.clone(), whole.clone(), deep.clone()]);
        complete_stacks(&mut pprof);
        assert_eq!(stacks(&pprof), [cut, whole, deep]);
    }

    #[test]
    fn of_several_continuations_the_shortest_to_a_root() {
        let cut: Vec<u64> = (100..132).collect();
        let long: Vec<u64> = (114..150).take(27).collect();
        let short: Vec<u64> = (116..132).chain([7, 8]).collect();
        let mut pprof = heap(&[cut, long, short]);
        complete_stacks(&mut pprof);
        let completed: Vec<u64> = (100..132).chain([7, 8]).collect();
        assert_eq!(stacks(&pprof)[0], completed);
    }
}
