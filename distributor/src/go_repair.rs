//! Repairs of Go profiles (api-semantics §3.7): names of instantiated generics, and stacks that Go's runtime cut off.

use std::ops::Range;

use hashbrown::HashMap;
use hearth_formats::pprof::{Pprof, Sample};

const SHAPE: &str = "[go.shape.";
/// Frames of the root side that are compared.
const WINDOW: usize = 24;
/// Of which at least so many must be equal.
const OVERLAP_MIN: usize = 16;
/// Comparisons of frames in one profile, at most: the repair is a guess, not worth more.
const COMPARISONS_MAX: usize = 1 << 20;

/// Names without their `[go.shape.…]` parts; where the parts are in `raw` at all is asked first.
#[derive(Debug, Default)]
pub(crate) struct Stripped {
    text: String,
    cuts: Vec<(u32, Range<usize>)>,
}

impl Stripped {
    /// Looks for names to shorten; `raw` are the bytes that all strings borrow from.
    pub(crate) fn new(raw: &[u8], strings: &[&str]) -> Self {
        let mut out = Self::default();
        if memchr::memmem::find(raw, SHAPE.as_bytes()).is_none() {
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

/// Completes stacks that the runtime cut off at its limit (64 frames of CPU profiles, 32 of heap profiles), from other
/// stacks of the profile that pass through the same frames and go on.
pub(crate) fn complete_stacks(pprof: &mut Pprof<'_>) {
    let Some(least) = suspicious_depth(pprof) else { return };
    // Candidates by their outermost frame.
    let mut by_root: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, sample) in pprof.samples.iter().enumerate().filter(|(_, s)| s.location_count >= least) {
        let root = stack(pprof, sample)[sample.location_count as usize - 1];
        by_root.entry(root).or_default().push(at);
    }
    let found = search(pprof, &by_root);
    for (candidate, from, range) in found {
        let sample = pprof.samples[candidate];
        let own = sample.first_location as usize..(sample.first_location + sample.location_count) as usize;
        let first = pprof.samples[from].first_location as usize;
        let rest = first + range.start..first + range.end;
        let Ok(start) = u32::try_from(pprof.location_ids.len()) else { return };
        let count = (own.len() + rest.len()) as u32;
        pprof.location_ids.extend_from_within(own);
        pprof.location_ids.extend_from_within(rest);
        pprof.samples[candidate].first_location = start;
        pprof.samples[candidate].location_count = count;
    }
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

/// For each candidate the best continuation: (candidate, sample, its frames to append). Most equal frames first, then the
/// shortest continuation, then the earlier sample.
fn search(pprof: &Pprof<'_>, by_root: &HashMap<u64, Vec<usize>>) -> Vec<(usize, usize, Range<usize>)> {
    let mut best: HashMap<usize, (usize, usize, usize, Range<usize>)> = HashMap::new();
    let mut comparisons = 0;
    // A bit for each id modulo 4096 rules nearly all frames out.
    let mut filter = [0u64; 64];
    for root in by_root.keys() {
        filter[(root >> 6 & 63) as usize] |= 1 << (root & 63);
    }
    for (at, sample) in pprof.samples.iter().enumerate() {
        let frames = stack(pprof, sample);
        for end in OVERLAP_MIN..frames.len() {
            let frame = frames[end - 1];
            if filter[(frame >> 6 & 63) as usize] & (1 << (frame & 63)) == 0 {
                continue;
            }
            for candidate in by_root.get(&frame).into_iter().flatten().filter(|c| **c != at) {
                let cut = stack(pprof, &pprof.samples[*candidate]);
                let window = cut.iter().rev().take(WINDOW);
                let equal = frames[..end].iter().rev().zip(window).take_while(|(a, b)| a == b).count();
                comparisons += equal + 1;
                if comparisons > COMPARISONS_MAX {
                    break;
                }
                let rest = frames.len() - end;
                let better = best
                    .get(candidate)
                    .is_none_or(|(was_equal, was_rest, ..)| (equal, *was_rest) > (*was_equal, rest));
                if equal >= OVERLAP_MIN && better {
                    best.insert(*candidate, (equal, rest, at, end..frames.len()));
                }
            }
        }
    }
    let mut found: Vec<_> =
        best.into_iter().map(|(candidate, (_, _, from, range))| (candidate, from, range)).collect();
    found.sort_unstable_by_key(|(candidate, ..)| *candidate);
    // Continuations are taken from the stacks as sent: what is appended moves no positions that others refer to.
    found
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
        let whole: Vec<u64> = (110..140).collect();
        let other: Vec<u64> = (1..20).collect();
        let mut pprof = heap(&[cut.clone(), whole.clone(), other.clone()]);
        complete_stacks(&mut pprof);
        let completed: Vec<u64> = (100..140).collect();
        assert_eq!(stacks(&pprof), [completed, whole.clone(), other.clone()]);
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
}
