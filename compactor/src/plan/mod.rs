//! Which blocks are merged next: a root's blocks, the time and options in, jobs out. Pure.
//!
//! Blocks never leave their day. Within it, fresh blocks are merged when there are enough of them or they are old, and what
//! comes out when there are enough of one level; a day that is over becomes one merge, and again when it has settled. What
//! comes later is merged in when it is worth rewriting the day. Levels count how often a row was rewritten, and end: see
//! [`PlanOptions::rewrites_max`]. Must not know how blocks are read or written, nor who carries a job out.

mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::BlockEntry;
use hearth_common::TimestampNs;

pub use sets::{BlockSet, sets_of};

/// The level of a day that was merged to one, from which on blocks have rollups; fresh blocks have 0, what is merged within the day a level below this.
pub const DAY_LEVEL: u8 = hearth_block::ROLLUP_LEVEL_MIN;
/// The level of a day that was merged to one when nothing more was expected for it.
pub const SETTLED_LEVEL: u8 = 32;
/// How often late blocks are merged into a day of one of these levels.
const LATE_MERGES_MAX: u8 = 15;
/// Late blocks are merged into their day when they have this share of its bytes: rewriting it makes it grow by as much.
const LATE_SHARE: u64 = 8;
/// Most blocks of a merge that is rewritten for a deletion: as many as can be read at a time, as they only go together. What
/// comes out is cut anew and has fewer.
const REWRITE_INPUTS_MAX: usize = hearth_block::merge::INPUTS_MAX;
const DAY_NS: i64 = 86_400_000_000_000;

/// When blocks are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// So many blocks of one level are merged to one of the next; at least 2.
    pub merge_blocks: usize,
    /// Fresh blocks whose newest profile is older are merged as soon as there are two.
    pub merge_age: Duration,
    /// A day that ended longer ago is merged to one.
    pub day_age: Duration,
    /// A day that ended longer ago is merged to one for the last time; not before `day_age`.
    pub settle_age: Duration,
    /// Most blocks that are merged at a time. A merge that has more is still rewritten for deletions.
    pub inputs_max: usize,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            merge_blocks: 8,
            merge_age: Duration::from_secs(30 * 60),
            day_age: Duration::from_secs(2 * 3600),
            settle_age: Duration::from_secs(48 * 3600),
            inputs_max: 16,
        }
    }
}

impl PlanOptions {
    /// How often a row is rewritten at most, but for deletions and retention: once a level within the day, and at each of the
    /// two levels of a whole day once and with late blocks. Late blocks make a day grow by an eighth each time, so that the
    /// end of the levels is not reached before it has become six times as large.
    pub const fn rewrites_max() -> u32 {
        DAY_LEVEL as u32 - 1 + 2 * (1 + LATE_MERGES_MAX as u32)
    }
}

/// Why blocks are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A deletion is carried out; the block stays apart.
    Rewrite,
    /// Fresh blocks: enough, or old.
    Fresh,
    /// Enough blocks of one level.
    Level,
    /// The day is over.
    Day,
    /// Nothing more is expected for the day.
    Settle,
    /// Late blocks are worth rewriting their day.
    Late,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Rewrite, Self::Fresh, Self::Level, Self::Day, Self::Settle, Self::Late];

    /// As a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::Fresh => "fresh",
            Self::Level => "level",
            Self::Day => "day",
            Self::Settle => "settle",
            Self::Late => "late",
        }
    }
}

/// Blocks to be merged, all of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The day.
    pub day: i32,
    /// Why.
    pub why: Why,
    /// What is merged, from small to large.
    pub sets: Vec<BlockSet>,
    /// The level of the output if all of `goal_sets` are merged; else it stays below.
    goal: u8,
    goal_sets: usize,
}

impl Job {
    /// All blocks that are merged.
    pub fn inputs(&self) -> impl Iterator<Item = &Arc<BlockEntry>> {
        self.sets.iter().flat_map(|set| &set.blocks)
    }

    /// The level of the output. A rewrite keeps its own: it is the same merge, of fewer rows.
    pub fn level(&self) -> u8 {
        if self.sets.len() == self.goal_sets {
            return self.goal;
        }
        let most = self.sets.iter().map(|set| set.level).max().unwrap_or_default();
        // What does not become the whole day yet stays below the level that says so.
        match (most, self.goal) {
            (..DAY_LEVEL, _) => (most + 1).min(DAY_LEVEL - 1),
            (_, SETTLED_LEVEL) => (most + 1).min(SETTLED_LEVEL - 1),
            (_, goal) => most.saturating_add(1).min(goal),
        }
    }

    /// The same job without its largest set; `None` if nothing is left to be merged.
    pub fn smaller(&self) -> Option<Self> {
        let sets = self.sets[..self.sets.len().saturating_sub(1)].to_vec();
        (sets.len() > 1).then(|| Self { sets, ..self.clone() })
    }
}

/// What is to be done now, at most one job a day: deletions first, then fresh blocks, then the rest, later days first. What
/// `aside` names is not merged, nor is anything that belongs to the same merge; what `deletes` names has a deletion to carry
/// out.
pub fn plan(
    blocks: &[Arc<BlockEntry>],
    now: TimestampNs,
    options: &PlanOptions,
    aside: &dyn Fn(&BlockEntry) -> bool,
    deletes: &dyn Fn(&BlockEntry) -> bool,
) -> Vec<Job> {
    let mut days: BTreeMap<i32, Vec<BlockSet>> = BTreeMap::new();
    for set in sets_of(blocks) {
        if !set.blocks.iter().any(|block| aside(block)) {
            days.entry(set.day).or_default().push(set);
        }
    }
    let waits = |set: &BlockSet| waits(set, deletes);
    let mut jobs: Vec<(bool, Job)> = Vec::new();
    for (day, sets) in days {
        let rewrite = sets.iter().find(|set| waits(set) && !is_too_wide(set)).cloned();
        let merge = Day { day, now, options }.job(sets);
        // A merge carries deletions out on its way.
        let (urgent, job) = match (rewrite, merge) {
            (None, merge) => (false, merge),
            (Some(_), Some(merge)) if merge.sets.iter().any(waits) => (true, Some(merge)),
            (Some(set), _) => {
                let goal = set.level;
                (true, Some(Job { day, why: Why::Rewrite, sets: vec![set], goal, goal_sets: 1 }))
            }
        };
        jobs.extend(job.map(|job| (urgent, job)));
    }
    jobs.sort_by_key(|(urgent, job)| (!urgent, job.why.min(Why::Level), std::cmp::Reverse(job.day)));
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// Merges that have a deletion to carry out and more blocks than can be rewritten: no plan ever names them.
pub fn stuck(blocks: &[Arc<BlockEntry>], deletes: &dyn Fn(&BlockEntry) -> bool) -> Vec<BlockSet> {
    sets_of(blocks).into_iter().filter(|set| is_too_wide(set) && waits(set, deletes)).collect()
}

/// Whether a merge has a deletion to carry out.
fn waits(set: &BlockSet, deletes: &dyn Fn(&BlockEntry) -> bool) -> bool {
    set.blocks.iter().any(|block| deletes(block))
}

fn is_too_wide(set: &BlockSet) -> bool {
    set.blocks.len() > REWRITE_INPUTS_MAX
}

/// A day of a root.
struct Day<'a> {
    day: i32,
    now: TimestampNs,
    options: &'a PlanOptions,
}

impl Day<'_> {
    fn job(&self, mut sets: Vec<BlockSet>) -> Option<Job> {
        let end = TimestampNs((i64::from(self.day) + 1).saturating_mul(DAY_NS));
        let goal = if self.older(end, self.options.settle_age.max(self.options.day_age)) {
            Some((SETTLED_LEVEL, Why::Settle))
        } else if self.older(end, self.options.day_age) {
            Some((DAY_LEVEL, Why::Day))
        } else {
            None
        };
        let is_whole = |set: &BlockSet| goal.is_some_and(|(goal, _)| set.level >= goal);
        let has_whole = sets.iter().any(is_whole);
        // What does not leave room for another input stays as it is.
        sets.retain(|set| set.blocks.len() < self.options.inputs_max);
        sets.sort_by_key(|set| (set.bytes, set.blocks[0].id));
        match goal {
            Some((goal, why)) if !has_whole => self.merge(sets, why, goal),
            _ => {
                let base = sets.iter().rposition(is_whole).map(|at| sets.remove(at));
                let late = base.and_then(|base| self.late(base, &sets, goal?.0));
                late.or_else(|| self.within(&sets))
            }
        }
    }

    /// Merges sets, from small to large, to as few as can be.
    fn merge(&self, sets: Vec<BlockSet>, why: Why, goal: u8) -> Option<Job> {
        let goal_sets = sets.len();
        let mut inputs = 0;
        let fits = |set: &BlockSet| {
            inputs += set.blocks.len();
            inputs <= self.options.inputs_max
        };
        let sets: Vec<BlockSet> = sets.into_iter().take_while(fits).collect();
        (sets.len() > 1).then_some(Job { day: self.day, why, sets, goal, goal_sets })
    }

    /// Merges what came late into its day, if it is enough and can be done at once.
    fn late(&self, base: BlockSet, rest: &[BlockSet], goal: u8) -> Option<Job> {
        let bytes: u64 = rest.iter().map(|set| set.bytes).sum();
        let inputs: usize = rest.iter().chain([&base]).map(|set| set.blocks.len()).sum();
        let enough = bytes.saturating_mul(LATE_SHARE) >= base.bytes;
        if rest.is_empty()
            || !enough
            || inputs > self.options.inputs_max
            || base.level >= goal + LATE_MERGES_MAX
        {
            return None;
        }
        let level = base.level + 1;
        let mut sets = rest.to_vec();
        sets.push(base);
        sets.sort_by_key(|set| (set.bytes, set.blocks[0].id));
        self.merge(sets, Why::Late, level)
    }

    /// Merges blocks of one level, the lowest first.
    fn within(&self, sets: &[BlockSet]) -> Option<Job> {
        for level in 0..DAY_LEVEL - 1 {
            let mut of_level: Vec<BlockSet> = sets.iter().filter(|set| set.level == level).cloned().collect();
            let enough = of_level.len() >= self.options.merge_blocks.max(2);
            if level == 0 && !enough {
                of_level.retain(|set| self.older(set.max_time, self.options.merge_age));
            }
            if level > 0 && !enough {
                continue;
            }
            // Neighbours in time: a question for an hour then reads few blocks.
            of_level.sort_by_key(|set| (set.min_time, set.blocks[0].id));
            let why = if level == 0 { Why::Fresh } else { Why::Level };
            if let Some(mut job) = self.merge(of_level, why, level + 1) {
                job.sets.sort_by_key(|set| (set.bytes, set.blocks[0].id));
                return Some(job);
            }
        }
        None
    }

    fn older(&self, then: TimestampNs, than: Duration) -> bool {
        i128::from(self.now.0) - i128::from(then.0) > than.as_nanos() as i128
    }
}
