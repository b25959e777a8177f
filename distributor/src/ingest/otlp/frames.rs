//! The ids that locations of an export have in the pprof that is being made. Must not know: what a location holds.

use hearth_formats::otlp::Span;

/// Ids by location, forgotten all at once.
#[derive(Debug)]
pub(super) struct Frames {
    /// The round that an entry is of, and the id; 0 = the location is no frame.
    ids: Vec<(u32, u32)>,
    round: u32,
    /// The locations that have ids, in the order of these, from 1.
    pub(super) used: Vec<u32>,
}

impl Frames {
    /// For this many locations.
    pub(super) fn new(count: usize) -> Self {
        Self { ids: vec![(0, 0); count], round: 0, used: Vec::new() }
    }

    /// Forgets all ids. There are never more rounds than parts of an export.
    pub(super) fn start(&mut self) {
        self.round += 1;
        self.used.clear();
    }

    /// What is known of a location: its id, or 0.
    pub(super) fn get(&self, at: usize) -> Option<u64> {
        let (round, id) = self.ids[at];
        (round == self.round).then_some(u64::from(id))
    }

    /// Gives a location its id, or 0.
    pub(super) fn set(&mut self, at: usize, is_frame: bool) -> u64 {
        if is_frame {
            self.used.push(at as u32);
        }
        let id = if is_frame { self.used.len() as u32 } else { 0 };
        self.ids[at] = (self.round, id);
        u64::from(id)
    }

    /// Appends the ids of indices into a table. `false`, and nothing appended, when not all of them are known frames.
    pub(super) fn extend(&self, table: Span, indices: &[i32], out: &mut Vec<u64>) -> bool {
        let ids = &self.ids[table.range()];
        let (begun, mut good) = (out.len(), true);
        out.extend(indices.iter().map(|index| {
            // A negative index is beyond every table.
            let (round, id) = ids.get(*index as u32 as usize).copied().unwrap_or((0, 0));
            good &= round == self.round && id != 0;
            u64::from(id)
        }));
        if !good {
            out.truncate(begun);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stacks_of_known_frames_are_appended() {
        let mut frames = Frames::new(5);
        let table = Span { first: 1, count: 4 };
        frames.start();
        assert_eq!((frames.set(2, true), frames.set(1, false), frames.set(4, true)), (1, 0, 2));
        let extend = |frames: &Frames, indices: &[i32]| {
            let mut out = vec![7];
            let good = frames.extend(table, indices, &mut out);
            assert_eq!(good, out.len() == indices.len() + 1);
            out
        };
        assert_eq!(extend(&frames, &[3, 1, 3]), [7, 2, 1, 2]);
        // No frame, unknown, outside of the table at both ends.
        for wrong in [0, 2, 4, -1, i32::MAX, i32::MIN] {
            assert_eq!(extend(&frames, &[3, wrong]), [7], "{wrong}");
        }
        assert_eq!((frames.get(1), frames.get(2), frames.get(3)), (Some(0), Some(1), None));
        frames.start();
        assert_eq!((frames.get(2), frames.used.len()), (None, 0));
        assert_eq!(extend(&frames, &[3]), [7]);
    }
}
