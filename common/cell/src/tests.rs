//! Checks of the protocol: exhaustive small worlds, random histories of large ones, planted bugs, single rules.

mod bugs;
mod checker;
mod disk;
mod exhaustive;
mod faults;
mod histories;
mod net;
mod node;
mod root;
mod rules;
mod shell;
mod small;
mod world;

use std::sync::Arc;

use hearth_common::{DiskId, InstanceId, MemberId};

use crate::rng::Rng;

/// The member with a number. Disks differ, names do not matter.
fn member(number: usize) -> MemberId {
    MemberId { instance: InstanceId(Arc::from(format!("m{number}"))), disk: DiskId(number as u128) }
}

/// Random choices of a world.
#[derive(Clone, Debug)]
struct Dice(Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// A number in `0 .. n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n.max(1)
    }

    /// An index below `n`.
    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("an index was asked for")
    }

    /// True in so many of 10,000 cases.
    fn chance(&mut self, of_10_000: u64) -> bool {
        self.below(10_000) < of_10_000
    }
}
