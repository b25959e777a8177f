//! Address ranges from several sources, the best first, to the bytes of a table. Strings, functions and chains of frames are kept
//! once.

use hashbrown::HashMap;

use crate::error::BuildError;
use crate::table::{self, GAP, LAST, Parts, Segment};
use crate::{BuildLimits, names};

/// Frames of one address: what lies deeper is cut off on the outer side.
pub(crate) const CHAIN_MAX: usize = 64;

/// A function and a line in it.
pub(crate) type FrameEntry = (u32, u32);

/// Addresses that have the same frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
    chain: u32,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Builder {
    ranges_max: usize,
    bytes_max: usize,
    segments: Vec<Segment>,
    strings: HashMap<Box<str>, u32>,
    texts: Vec<u8>,
    string_ends: Vec<u32>,
    /// Name, system name, file, start line.
    functions: Vec<[u32; 4]>,
    function_ids: HashMap<[u32; 3], u32>,
    demangled: HashMap<u32, u32>,
    frames: Vec<FrameEntry>,
    chains: HashMap<Box<[FrameEntry]>, u32>,
    /// Of the sources before: ascending, apart.
    done: Vec<Range>,
    current: Vec<Range>,
    source: u32,
    sources: u32,
}

impl Builder {
    pub(crate) fn new(limits: &BuildLimits) -> Self {
        Self {
            ranges_max: limits.max_ranges,
            // Offsets in a table have 32 bits.
            bytes_max: limits.max_table_bytes.min(u32::MAX as usize / 2),
            segments: Vec::new(),
            strings: HashMap::new(),
            texts: Vec::new(),
            string_ends: Vec::new(),
            functions: Vec::new(),
            function_ids: HashMap::new(),
            demangled: HashMap::new(),
            frames: Vec::new(),
            chains: HashMap::new(),
            done: Vec::new(),
            current: Vec::new(),
            source: 1,
            sources: 0,
        }
    }

    /// A part of the file that is mapped. Once there are any, only ranges in executable ones count: functions that the linker
    /// left out keep their debug information, at addresses near 0.
    pub(crate) fn segment(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    pub(crate) fn is_mapped(&self, start: u64) -> bool {
        self.segments.is_empty() || self.segments.iter().any(|segment| segment.holds(start))
    }

    fn string(&mut self, text: &str) -> Result<u32, BuildError> {
        if let Some(known) = self.strings.get(text) {
            return Ok(*known);
        }
        if self.texts.len() + text.len() > self.bytes_max {
            return Err(too_much("names", self.bytes_max));
        }
        let id = self.string_ends.len() as u32;
        self.texts.extend_from_slice(text.as_bytes());
        self.string_ends.push(self.texts.len() as u32);
        self.strings.insert(text.into(), id);
        Ok(id)
    }

    /// The number of a function by its name as the file has it, its source file, and where it begins (0 = not known).
    pub(crate) fn function(&mut self, name: &str, file: &str, line: u32) -> Result<u32, BuildError> {
        let system = self.string(names::cut(name))?;
        let file = self.string(names::cut(file))?;
        let key = [system, file, line];
        if let Some(known) = self.function_ids.get(&key) {
            return Ok(*known);
        }
        let shown = match self.demangled.get(&system) {
            Some(known) => *known,
            None => {
                let made = self.string(&names::demangled(name))?;
                self.demangled.insert(system, made);
                made
            }
        };
        let id = self.functions.len() as u32;
        self.functions.push([shown, system, file, line]);
        self.function_ids.insert(key, id);
        Ok(id)
    }

    /// Addresses from `start` to before `end`, with their frames, innermost first.
    pub(crate) fn range(&mut self, start: u64, end: u64, frames: &[FrameEntry]) -> Result<(), BuildError> {
        if start >= end || frames.is_empty() || !self.is_mapped(start) {
            return Ok(());
        }
        if self.current.len() + self.done.len() >= self.ranges_max {
            return Err(too_much("address ranges", self.ranges_max));
        }
        let frames = &frames[..frames.len().min(CHAIN_MAX)];
        let chain = match self.chains.get(frames) {
            Some(known) => *known,
            None => {
                let first = self.frames.len() as u32;
                if (self.frames.len() + frames.len()) * size_of::<FrameEntry>() > self.bytes_max {
                    return Err(too_much("frames", self.bytes_max));
                }
                self.frames.extend_from_slice(frames);
                self.frames.last_mut().expect("not empty").0 |= LAST;
                self.chains.insert(frames.into(), first);
                first
            }
        };
        self.current.push(Range { start, end, chain });
        Ok(())
    }

    /// Ends a source: what the next ones say of the same addresses does not count.
    pub(crate) fn next_source(&mut self) {
        let mut current = std::mem::take(&mut self.current);
        // Stable: of ranges that begin together the first counts.
        current.sort_by_key(|range| range.start);
        current.dedup_by_key(|range| range.start);
        for at in 1..current.len() {
            let begins = current[at].start;
            current[at - 1].end = current[at - 1].end.min(begins);
        }
        if !current.is_empty() {
            self.sources |= self.source;
        }
        self.source <<= 1;
        self.done = match self.done.is_empty() {
            true => current,
            false => filled(&self.done, &current),
        };
    }

    /// The bytes of the table.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.next_source();
        let Some(first) = self.done.first() else { return Err(BuildError::NoSymbols) };
        let base = first.start;
        let (mut starts, mut chains) = (Vec::new(), Vec::new());
        let mut end = base;
        let mut last = GAP;
        let mut push = |address: u64, chain: u32| {
            if chain != last || starts.is_empty() {
                starts.push((address - base) as u32);
                chains.push(chain);
                last = chain;
            }
        };
        // What is further from the first than 32 bits reach is left out.
        let reach = base.saturating_add(u64::from(u32::MAX));
        for range in self.done.iter().filter(|range| range.start < reach) {
            if range.start > end {
                push(end, GAP);
            }
            push(range.start, range.chain);
            end = range.end.min(reach);
        }
        push(end, GAP);
        let bytes = table::encode(&Parts {
            sources: self.sources,
            base,
            segments: &self.segments,
            starts: &starts,
            chains: &chains,
            frames: &self.frames,
            functions: &self.functions,
            string_ends: &self.string_ends,
            texts: &self.texts,
        });
        if bytes.len() > self.bytes_max {
            return Err(too_much("symbols", self.bytes_max));
        }
        Ok(bytes)
    }
}

fn too_much(what: &'static str, limit: usize) -> BuildError {
    BuildError::TooMuch { what, limit: limit as u64 }
}

/// Ranges with the gaps between them filled by others; all ascending and apart.
fn filled(ranges: &[Range], others: &[Range]) -> Vec<Range> {
    let mut out = Vec::with_capacity(ranges.len() + others.len());
    let mut others = others.iter().copied().peekable();
    let mut from = 0;
    let gaps = ranges.iter().map(Some).chain(std::iter::once(None));
    for range in gaps {
        let to = range.map_or(u64::MAX, |range| range.start);
        while let Some(other) = others.peek().copied().filter(|other| other.start < to) {
            let (start, end) = (other.start.max(from), other.end.min(to));
            if start < end {
                out.push(Range { start, end, ..other });
            }
            // What reaches beyond this gap may have a part in the next.
            if other.end > to {
                break;
            }
            others.next();
        }
        let Some(range) = range else { break };
        out.push(*range);
        from = range.end;
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::LineTable;

    type Case = (u64, u64, u8);

    /// What sources say of an address: the first that says anything; within one, the range that begins last before it.
    fn expected(sources: &[Vec<Case>], address: u64) -> Option<u8> {
        sources.iter().find_map(|ranges| {
            let begun = ranges.iter().filter(|(start, length, _)| *start <= address && *length > 0);
            let latest = begun.clone().map(|(start, ..)| *start).max()?;
            let (start, length, name) = begun.clone().find(|(start, ..)| *start == latest)?;
            (address < start + length).then_some(*name)
        })
    }

    #[test]
    fn addresses_at_the_end_of_all_and_far_apart() {
        let table = |ranges: &[(u64, u64)]| {
            let mut builder = Builder::new(&BuildLimits::default());
            let function = builder.function("f", "", 0).expect("small");
            ranges
                .iter()
                .for_each(|(start, end)| builder.range(*start, *end, &[(function, 1)]).expect("small"));
            LineTable::open(Bytes::from(builder.finish().expect("ranges"))).expect("valid")
        };
        let known = |table: &LineTable, address| table.find(address).next().is_some();
        let last = table(&[(u64::MAX - 9, u64::MAX)]);
        assert!(known(&last, u64::MAX - 9) && known(&last, u64::MAX - 1) && !known(&last, u64::MAX));
        let long = table(&[(5, u64::MAX), (1 << 40, 1 << 41)]);
        assert!(known(&long, 5) && known(&long, 1 << 31) && !known(&long, 1 << 40));
    }

    proptest! {
        #[test]
        fn addresses_have_the_frames_of_their_best_source(
            sources in vec(vec((0u64..60, 0u64..20, any::<u8>()), 0..12), 1..4),
        ) {
            let mut builder = Builder::new(&BuildLimits::default());
            for ranges in &sources {
                for (start, length, name) in ranges {
                    let function = builder.function(&name.to_string(), "file", 7).expect("small");
                    builder.range(1000 + start, 1000 + start + length, &[(function, 9)]).expect("small");
                }
                builder.next_source();
            }
            let Ok(bytes) = builder.finish() else {
                prop_assert!(sources.iter().flatten().all(|(_, length, _)| *length == 0));
                return Ok(());
            };
            let table = LineTable::open(Bytes::from(bytes)).expect("valid");
            for address in 0..100 {
                let found = table.find(1000 + address).next().map(|frame| frame.function.to_owned());
                prop_assert_eq!(found, expected(&sources, address).map(|name| name.to_string()), "{}", address);
            }
            prop_assert!(table.find(0).next().is_none() && table.find(u64::MAX).next().is_none());
        }
    }
}
