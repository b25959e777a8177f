//! Merges stack trees: each input's stacks come in the order of their paths, so they merge as sorted lists do, and only
//! what the next path does not share with the one before is compared. Holds one frame of each tree.

use super::bits::{Bits, StackMap};
use super::error::{MergeError, OfBlock};
use crate::INDEX;
use crate::error::BlockError;
use crate::frame::{Frame, IndexWriter, section};
use crate::read::BlockReader;
use crate::read::fetch::{Fetched, Wanted};
use crate::read::symbols::TreeFrame;
use crate::write::canon::UNUSED;
use crate::write::symbols::TreeFrames;

/// Frames of a tree that are read in one request, in stored bytes.
const WINDOW_BYTES: u64 = 1 << 20;

/// The stacks of one input in order.
pub(super) struct TreeWalk<'a> {
    block: &'a BlockReader,
    frames: Vec<&'a Frame>,
    /// Frames before this one were fetched or passed.
    fetched_upto: usize,
    fetched: Fetched,
    next_frame: usize,
    frame: TreeFrame,
    at: usize,
    /// Locations of the output, by the input's; [`UNUSED`] on paths that are left out.
    locations: &'a [u32],
    /// Stacks that take part; `None` = all.
    used: Option<&'a Bits>,
    /// Locations of the stack that was found last, outermost first.
    path: Vec<u32>,
    stack: u32,
    nodes: u64,
    /// How much of its path the last stack shares with the one before.
    shared: usize,
}

/// What a step found.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Stack,
    NeedFrame,
    End,
}

impl<'a> TreeWalk<'a> {
    /// `ahead` holds the whole tree, if it was read already.
    pub(super) fn new(
        block: &'a BlockReader,
        unit: u32,
        locations: &'a [u32],
        used: Option<&'a Bits>,
        ahead: Option<Fetched>,
    ) -> Self {
        let meta = block.meta();
        let frames = meta.frames[meta.places[unit as usize].frames.clone()].iter();
        let frames: Vec<&Frame> = frames.filter(|frame| frame.section == section::TREE).collect();
        Self {
            block,
            fetched_upto: ahead.as_ref().map_or(0, |_| frames.len()),
            frames,
            fetched: ahead.unwrap_or_default(),
            next_frame: 0,
            frame: TreeFrame::default(),
            at: 0,
            locations,
            used,
            path: Vec::new(),
            stack: 0,
            nodes: 0,
            shared: 0,
        }
    }

    /// The next stack: how much of its path it shares with the one before; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<usize>, MergeError> {
        self.shared = self.path.len();
        loop {
            match self.step().of(self.block)? {
                Step::Stack => return Ok(Some(self.shared)),
                Step::End => return Ok(None),
                Step::NeedFrame => self.load().await?,
            }
        }
    }

    /// Locations of the stack that [`TreeWalk::next`] found last, outermost first.
    pub(super) fn path(&self) -> &[u32] {
        &self.path
    }

    /// The number of that stack in the input.
    pub(super) fn stack(&self) -> u32 {
        self.stack - 1
    }

    async fn load(&mut self) -> Result<(), MergeError> {
        let frame = self.frames[self.next_frame];
        let meta = self.block.meta();
        if meta.whole.is_none() && self.next_frame >= self.fetched_upto {
            let (mut wanted, mut bytes) = (Wanted::default(), 0);
            let from = self.fetched_upto;
            for next in &self.frames[from..] {
                if bytes > 0 && bytes + u64::from(next.stored) > WINDOW_BYTES {
                    break;
                }
                bytes += u64::from(next.stored);
                wanted.add(INDEX, next.range());
                self.fetched_upto += 1;
            }
            self.fetched = self.block.fetch(wanted).await.of(self.block)?;
        }
        let stored = self.block.stored_frame(frame, &self.fetched).of(self.block)?;
        let raw = frame.inflate(stored).of(self.block)?;
        let decoded = TreeFrame::decode(&raw, frame.count as usize, self.stack as usize);
        self.frame = decoded.map_err(|what| BlockError::index(frame.offset, what)).of(self.block)?;
        self.at = 0;
        self.next_frame += 1;
        Ok(())
    }

    fn step(&mut self) -> Result<Step, BlockError> {
        loop {
            let Some(&depth) = self.frame.depths.get(self.at) else {
                let more = self.next_frame < self.frames.len();
                return Ok(if more { Step::NeedFrame } else { Step::End });
            };
            let (location, end) = (self.frame.locations[self.at], self.frame.ends[self.at]);
            let offset = self.frames[self.next_frame - 1].offset;
            let damaged = |what: String| BlockError::index(offset, what);
            let depth = usize::from(depth);
            if (depth == 0) != (self.nodes == 0) || depth > self.path.len() + 1 {
                return Err(damaged(format!("a node has depth {depth} behind one of {}", self.path.len())));
            }
            if let Some(above) = depth.checked_sub(1) {
                let unknown = || damaged(format!("a node has location {location}, which does not exist"));
                let location = *self.locations.get(location as usize).ok_or_else(unknown)?;
                let before = self.path.get(above).copied().unwrap_or(UNUSED);
                if before >= location && before != UNUSED {
                    return Err(damaged("the children of a node are out of order".to_owned()));
                }
                self.shared = self.shared.min(above);
                self.path.truncate(above);
                self.path.push(location);
            }
            self.at += 1;
            self.nodes += 1;
            if end {
                self.stack += 1;
                if self.used.is_none_or(|used| used.has(u64::from(self.stack - 1))) {
                    return Ok(Step::Stack);
                }
            }
        }
    }
}

/// Marks the locations on used stacks.
pub(super) async fn used_locations(
    block: &BlockReader,
    unit: u32,
    locations: u32,
    used: &Bits,
    ahead: Option<Fetched>,
) -> Result<Bits, MergeError> {
    let same: Vec<u32> = (0..locations).collect();
    let mut walk = TreeWalk::new(block, unit, &same, Some(used), ahead);
    let mut found = Bits::with_len(locations as usize);
    while let Some(shared) = walk.next().await? {
        walk.path()[shared..].iter().for_each(|&location| found.insert(u64::from(location)));
    }
    Ok(found)
}

/// Writes the union of trees; gives how many stacks it has, and each input's map to them.
pub(super) async fn merge_trees(
    mut walks: Vec<TreeWalk<'_>>,
    stacks_of_part: &[Option<usize>],
    unit: u32,
    index: &mut IndexWriter,
) -> Result<(u32, Vec<StackMap>), MergeError> {
    let mut maps: Vec<StackMap> = stacks_of_part.iter().map(|&stacks| StackMap::new(stacks)).collect();
    let mut frames = TreeFrames::new(unit);
    let mut race = Race { shared: vec![0; walks.len()], live: Vec::new(), equal: Vec::new() };
    for (at, walk) in walks.iter_mut().enumerate() {
        if walk.next().await?.is_some() {
            race.live.push(at);
        }
    }
    let mut stacks = 0u32;
    while let Some(first) = race.smallest(&walks) {
        let path = walks[first].path();
        let shared = race.shared[first];
        if stacks == 0 {
            frames.push(0, 0, path.is_empty(), index)?;
        }
        for (at, &location) in path.iter().enumerate().skip(shared) {
            frames.push(at as u16 + 1, location, at + 1 == path.len(), index)?;
        }
        for at in std::mem::take(&mut race.equal) {
            maps[at].add(walks[at].stack(), stacks);
            match walks[at].next().await? {
                Some(shared) => race.shared[at] = shared,
                None => race.live.retain(|&live| live != at),
            }
        }
        stacks = stacks.checked_add(1).filter(|&stacks| stacks < UNUSED).ok_or(BlockError::Limit {
            what: "stacks of a unit",
            value: u64::from(UNUSED),
            limit: u64::from(UNUSED) - 1,
        })?;
    }
    frames.flush(index)?;
    maps.iter_mut().for_each(StackMap::seal);
    Ok((stacks, maps))
}

/// Which of the walks stands at the smallest path.
struct Race {
    /// How much the path of each walk shares with the path that was written last.
    shared: Vec<usize>,
    live: Vec<usize>,
    /// All walks that stand at the smallest path.
    equal: Vec<usize>,
}

impl Race {
    /// Finds the smallest path; `equal` gets the walks that stand at it. For all others, `shared` afterwards says what they
    /// share with that path. All paths are greater than the one that was written last, so the more one shares with that
    /// one, the smaller it is; only paths that share equally much are compared, from there on.
    fn smallest(&mut self, walks: &[TreeWalk<'_>]) -> Option<usize> {
        let mut best = *self.live.first()?;
        self.equal.clear();
        self.equal.push(best);
        for at in 1..self.live.len() {
            let other = self.live[at];
            let (of_best, of_other) = (self.shared[best], self.shared[other]);
            if of_other < of_best {
                continue;
            }
            let mut common = of_best;
            let smaller = if of_other > of_best {
                true
            } else {
                let (a, b) = (walks[best].path(), walks[other].path());
                common += a[common..].iter().zip(&b[common..]).take_while(|(a, b)| a == b).count();
                match (a.get(common), b.get(common)) {
                    (None, None) => {
                        self.equal.push(other);
                        continue;
                    }
                    (a, b) => b < a,
                }
            };
            if smaller {
                // What the walks so far share with the new best is no more than the old best shares with it.
                let shared_before = self.shared[other];
                for &passed in &self.live[..at] {
                    self.shared[passed] = match self.equal.contains(&passed) {
                        true => common,
                        false => self.shared[passed].min(common),
                    };
                }
                self.shared[other] = shared_before;
                best = other;
                self.equal.clear();
                self.equal.push(other);
            } else {
                self.shared[other] = common;
            }
        }
        Some(best)
    }
}
