//! Bugs that are put in, to see that they are found.

use hearth_ingester::simulated::Bug;

use crate::{number, runs};

/// Most seeds in which a planted bug must be found.
const PLANT_SEEDS: u64 = 2_000;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    Nothing,
    /// One in an ingester.
    Role(Bug),
    /// What is said to be on disk is not.
    DiskLies,
    /// An empty disk goes for the one that was lost.
    EmptyDiskOfOldName,
    /// A retry comes under another identity.
    NewIdentity,
    /// Heads are not told what the root covers.
    CoverageNotSent,
    /// A querier does not hear that ingesters have a newer roster.
    RosterVersionIgnored,
}

const ALL: [Plant; 17] = [
    Plant::Role(Bug::AckBeforeCommit),
    Plant::Role(Bug::PublishBeforeCommit),
    Plant::Role(Bug::ReadWithoutProbe),
    Plant::Role(Bug::CoverageIgnored),
    Plant::Role(Bug::DroppedIgnored),
    Plant::Role(Bug::DroppedBeforeIgnored),
    Plant::Role(Bug::ReleaseForgetsTenants),
    Plant::Role(Bug::RidsLostAtTrim),
    Plant::Role(Bug::RidsNotLoaded),
    Plant::Role(Bug::MisplacedAccepted),
    Plant::Role(Bug::DoubtIgnored),
    Plant::Role(Bug::RebuildSkipped),
    Plant::DiskLies,
    Plant::EmptyDiskOfOldName,
    Plant::NewIdentity,
    Plant::CoverageNotSent,
    Plant::RosterVersionIgnored,
];

impl Plant {
    /// 0 is none.
    pub(crate) fn number(self) -> usize {
        ALL.iter().position(|plant| *plant == self).map_or(0, |at| at + 1)
    }

    pub(crate) fn numbered(number: usize) -> Self {
        number.checked_sub(1).map_or(Self::Nothing, |at| ALL[at])
    }
}

/// The first seed that finds it, and how.
fn found(plant: Plant, seeds: u64) -> Option<(u64, String)> {
    let mut found = None;
    runs::all(1..seeds + 1, plant, |seed, done| {
        found = done.err().map(|why| (seed, why));
        found.is_none()
    });
    found
}

/// `HEARTH_SIM_PLANT` names one. Those that few seeds find, each time; the others by `HEARTH_SIM_PLANTS=2000`, which takes as long as it takes.
#[test]
fn planted_bugs_are_found() {
    let seeds = number("HEARTH_SIM_PLANTS").map_or(PLANT_SEEDS, |seeds| seeds.min(PLANT_SEEDS));
    let quick =
        [Plant::NewIdentity, Plant::CoverageNotSent, Plant::DiskLies, Plant::Role(Bug::RebuildSkipped)];
    let plants = if number("HEARTH_SIM_PLANTS").is_some() { &ALL[..] } else { &quick[..] };
    let mut missed = Vec::new();
    let only = std::env::var("HEARTH_SIM_PLANT").unwrap_or_default();
    for plant in plants.iter().filter(|plant| format!("{plant:?}").contains(&only)) {
        match found(*plant, seeds) {
            Some((seed, why)) => {
                let why = why.lines().find(|line| line.starts_with("seed ")).unwrap_or_default();
                eprintln!("{plant:?} is found by seed {seed}: {why}");
            }
            None => missed.push(plant),
        }
    }
    assert!(missed.is_empty(), "not found within {seeds} seeds: {missed:?}");
}
