//! Bit sets, and the map from an input's stacks to the output's: since it only rises, the set of its values is all of it.

use crate::write::canon::UNUSED;

/// A set of small numbers.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(super) fn with_len(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    pub(super) fn insert(&mut self, at: u64) {
        let word = (at / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (at % 64);
    }

    pub(super) fn has(&self, at: u64) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Numbers below this can be in the set.
    pub(super) fn len(&self) -> usize {
        self.words.len() * 64
    }
}

/// Words between two samples of the running count.
const SAMPLE_WORDS: usize = 8;

/// Stacks of an input to stacks of the output. Takes a bit for each stack of the output, or four bytes for each of the
/// input if some of the input's are left out.
#[derive(Debug)]
pub(super) enum StackMap {
    /// The n-th bit set stands at the output's number of the input's n-th stack.
    Rising { bits: Bits, before: Vec<u32>, count: u32 },
    /// By the input's number; [`UNUSED`] where it was left out.
    Table(Vec<u32>),
}

impl StackMap {
    /// A map that will get all stacks of the input (`None`) or those of a set.
    pub(super) fn new(stacks_of_part: Option<usize>) -> Self {
        match stacks_of_part {
            None => Self::Rising { bits: Bits::default(), before: Vec::new(), count: 0 },
            Some(stacks) => Self::Table(vec![UNUSED; stacks]),
        }
    }

    /// Adds the input's next stack.
    pub(super) fn add(&mut self, input: u32, output: u32) {
        match self {
            Self::Rising { bits, count, .. } => {
                bits.insert(u64::from(output));
                *count += 1;
            }
            Self::Table(table) => table[input as usize] = output,
        }
    }

    /// Makes it ready to be asked.
    pub(super) fn seal(&mut self) {
        if let Self::Rising { bits, before, .. } = self {
            let mut sum = 0u32;
            for words in bits.words.chunks(SAMPLE_WORDS) {
                before.push(sum);
                sum += words.iter().map(|word| word.count_ones()).sum::<u32>();
            }
        }
    }

    /// The output's number of a stack; none if the input has no such stack or it was left out.
    pub(super) fn get(&self, input: u32) -> Option<u32> {
        match self {
            Self::Table(table) => table.get(input as usize).copied().filter(|&stack| stack != UNUSED),
            Self::Rising { .. } => Walk::at(self, input).get(input),
        }
    }
}

/// Asks a map for one stack after the other, fastest when they rise.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    map: &'a StackMap,
    word: usize,
    /// Bits of the word that were not passed; the lowest belongs to stack `next`.
    left: u64,
    next: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(map: &'a StackMap) -> Self {
        Self::at(map, 0)
    }

    fn at(map: &'a StackMap, stack: u32) -> Self {
        let (mut word, mut next) = (0, 0);
        let mut left = 0;
        if let StackMap::Rising { bits, before, .. } = map {
            let sample = before.partition_point(|&before| before <= stack).saturating_sub(1);
            word = sample * SAMPLE_WORDS;
            next = before.get(sample).copied().unwrap_or_default();
            left = bits.words.get(word).copied().unwrap_or_default();
        }
        Self { map, word, left, next }
    }

    /// See [`StackMap::get`].
    #[inline]
    pub(super) fn get(&mut self, stack: u32) -> Option<u32> {
        let (bits, count) = match self.map {
            StackMap::Table(_) => return self.map.get(stack),
            StackMap::Rising { bits, count, .. } => (bits, *count),
        };
        if stack >= count {
            return None;
        }
        if stack < self.next {
            *self = Self::at(self.map, stack);
        }
        loop {
            let ones = self.left.count_ones();
            if stack - self.next < ones {
                break;
            }
            self.next += ones;
            self.word += 1;
            self.left = *bits.words.get(self.word)?;
        }
        while self.next < stack {
            self.left &= self.left - 1;
            self.next += 1;
        }
        Some(self.word as u32 * 64 + self.left.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_map_gives_what_was_added() {
        let outputs: Vec<u32> = (0..5_000u32).filter(|at| at % 7 < 2 || (700..1_400).contains(at)).collect();
        let mut map = StackMap::new(None);
        for (input, &output) in outputs.iter().enumerate() {
            map.add(input as u32, output);
        }
        map.seal();
        let mut walk = Walk::new(&map);
        for (input, &output) in outputs.iter().enumerate() {
            assert_eq!(walk.get(input as u32), Some(output));
            assert_eq!(walk.get(input as u32), Some(output), "again");
            assert_eq!(map.get(input as u32), Some(output));
        }
        assert_eq!(walk.get(outputs.len() as u32), None);
        assert_eq!(walk.get(3), Some(outputs[3]), "back");
        assert_eq!(walk.get(u32::MAX), None);
    }

    #[test]
    fn a_table_knows_what_was_left_out() {
        let mut map = StackMap::new(Some(4));
        map.add(1, 0);
        map.add(3, 9);
        map.seal();
        let mut walk = Walk::new(&map);
        assert_eq!([0, 1, 2, 3, 4].map(|at| walk.get(at)), [None, Some(0), None, Some(9), None]);
    }
}
