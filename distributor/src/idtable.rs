//! Ids of a profile to positions: a dense array when the ids are, as they nearly always are, else a hash map.

use hashbrown::HashMap;

/// Says that an id is not there.
pub(crate) const NONE: u32 = u32::MAX;
/// Ids up to this many times their number are kept densely.
const DENSE_FACTOR: u64 = 4;

/// Reused from profile to profile; allocates nothing once warm.
#[derive(Debug, Default)]
pub(crate) struct IdTable {
    dense: Vec<u32>,
    sparse: HashMap<u64, u32>,
}

impl IdTable {
    /// Maps each id to its position; of equal ids the last counts. Id 0 is never there.
    pub(crate) fn fill(&mut self, ids: impl ExactSizeIterator<Item = u64> + Clone) {
        self.dense.clear();
        self.sparse.clear();
        let largest = ids.clone().max().unwrap_or(0);
        if largest <= ids.len() as u64 * DENSE_FACTOR + 64 {
            self.dense.resize(largest as usize + 1, NONE);
            for (at, id) in ids.enumerate() {
                self.dense[id as usize] = at as u32;
            }
            self.dense[0] = NONE;
        } else {
            self.sparse.extend(ids.enumerate().map(|(at, id)| (id, at as u32)));
            self.sparse.remove(&0);
        }
    }

    /// What is kept for an id, or [`NONE`].
    #[inline(always)]
    pub(crate) fn get(&self, id: u64) -> u32 {
        match self.dense.get(id as usize) {
            Some(kept) => *kept,
            None if self.sparse.is_empty() => NONE,
            None => self.sparse.get(&id).copied().unwrap_or(NONE),
        }
    }

    /// Appends what is kept for each id; returns the bits that any of it has.
    #[inline]
    pub(crate) fn extend(&self, ids: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u32>) -> u32 {
        let mut bits = 0;
        if self.sparse.is_empty() {
            let dense = &self.dense[..];
            out.extend(ids.map(|id| {
                let kept = dense.get(id as usize).copied().unwrap_or(NONE);
                bits |= kept;
                kept
            }));
        } else {
            out.extend(ids.map(|id| self.get(id)).inspect(|kept| bits |= kept));
        }
        bits
    }

    /// Replaces what is kept for an id that is there.
    pub(crate) fn set(&mut self, id: u64, value: u32) {
        match self.dense.get_mut(id as usize) {
            Some(kept) => *kept = value,
            None => drop(self.sparse.insert(id, value)),
        }
    }

    /// Replaces what is kept for each id; a value of [`NONE`] forgets it.
    pub(crate) fn update(&mut self, mut change: impl FnMut(u32) -> u32) {
        for kept in self.dense.iter_mut().chain(self.sparse.values_mut()) {
            if *kept != NONE {
                *kept = change(*kept);
            }
        }
    }
}

/// Numbers positions in the order of their first use. Starting anew costs nothing: entries carry the round they belong to.
#[derive(Debug, Default)]
pub(crate) struct FirstUse {
    entries: Vec<(u32, u32)>,
    round: u32,
    /// The positions used, in order.
    pub(crate) used: Vec<u32>,
}

impl FirstUse {
    /// Starts anew for positions below `count`.
    pub(crate) fn start(&mut self, count: usize) {
        self.used.clear();
        if self.round == u32::MAX {
            self.entries.clear();
            self.round = 0;
        }
        self.round += 1;
        if self.entries.len() < count {
            self.entries.resize(count, (0, 0));
        }
    }

    /// The number of a position that is below the count given at the start.
    #[inline(always)]
    pub(crate) fn number(&mut self, position: u32) -> u32 {
        let entry = &mut self.entries[position as usize];
        if entry.0 != self.round {
            *entry = (self.round, self.used.len() as u32);
            self.used.push(position);
        }
        entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_ids() {
        for scale in [1u64, 1_000_003] {
            let mut table = IdTable::default();
            table.fill([3 * scale, scale, 0, 3 * scale].into_iter());
            assert_eq!(table.get(3 * scale), 3, "the last of equal ids counts");
            assert_eq!(table.get(scale), 1);
            assert_eq!([table.get(0), table.get(2 * scale), table.get(u64::MAX)], [NONE; 3]);
            table.update(|kept| if kept == 1 { NONE } else { kept + 10 });
            assert_eq!([table.get(3 * scale), table.get(scale)], [13, NONE]);
        }
    }

    #[test]
    fn numbers_by_first_use() {
        let mut order = FirstUse::default();
        for _ in 0..3 {
            order.start(10);
            assert_eq!([7, 3, 7, 0].map(|at| order.number(at)), [0, 1, 0, 2]);
            assert_eq!(order.used, [7, 3, 0]);
        }
    }
}
