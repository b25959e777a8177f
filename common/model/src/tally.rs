//! An exact count of profiles and samples by service and type: what a deletion or a rule of retention would take.

use std::collections::BTreeMap;

use hearth_common::TimestampNs;

use crate::profile_type::ProfileType;

/// What was counted of one service and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Profiles that have a value of the type.
    pub profiles: u64,
    /// Their samples: stacks with a value.
    pub samples: u64,
    /// About how many bytes they take where they lie; symbols, which others share, are not counted.
    pub bytes: u64,
    /// Oldest and newest of them; `None` = there are none.
    pub oldest_newest: Option<(TimestampNs, TimestampNs)>,
}

impl Counted {
    /// Counts profiles of a type with their samples.
    pub fn add_rows(&mut self, profiles: u64, samples: u64) {
        self.profiles = self.profiles.saturating_add(profiles);
        self.samples = self.samples.saturating_add(samples);
    }

    /// Widens the span of times.
    pub fn see(&mut self, oldest: TimestampNs, newest: TimestampNs) {
        let (from, to) = self.oldest_newest.unwrap_or((oldest, newest));
        self.oldest_newest = Some((from.min(oldest), to.max(newest)));
    }

    /// Adds another count.
    pub fn merge(&mut self, other: Self) {
        self.add_rows(other.profiles, other.samples);
        self.bytes = self.bytes.saturating_add(other.bytes);
        if let Some((oldest, newest)) = other.oldest_newest {
            self.see(oldest, newest);
        }
    }
}

/// What was counted, by service and type. A profile that has several types is counted with each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Blocks that hold some of it.
    pub blocks: u64,
    /// By service and type.
    pub counted: BTreeMap<(String, ProfileType), Counted>,
}

impl Tally {
    /// Adds to the count of a service and type.
    pub fn add(&mut self, service: &str, ty: &ProfileType, counted: Counted) {
        self.counted.entry((service.to_owned(), ty.clone())).or_default().merge(counted);
    }

    /// Adds another count of other rows.
    pub fn merge(&mut self, other: Self) {
        self.blocks = self.blocks.saturating_add(other.blocks);
        for (key, counted) in other.counted {
            self.counted.entry(key).or_default().merge(counted);
        }
    }

    /// Everything together.
    pub fn sum(&self) -> Counted {
        let mut sum = Counted::default();
        self.counted.values().for_each(|counted| sum.merge(*counted));
        sum
    }
}
