//! Random histories.

use super::world::{Plan, Planted, Story, World};

const SEEDS: u64 = 2_000;

/// How many seeds to try: `HEARTH_CELL_SEEDS`, or so many.
fn seeds(usual: u64) -> u64 {
    std::env::var("HEARTH_CELL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Cells of one, two, three and five members; most of three.
pub(super) fn live_through(seed: u64, planted: Option<Planted>) -> Story {
    let members = match seed % 10 {
        0 => 1,
        1 | 2 => 2,
        3 => 5,
        _ => 3,
    };
    World::new(Plan { seed, members, planted }).run()
}

#[test]
fn random_histories_keep_every_promise() {
    let first = std::env::var("HEARTH_CELL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (mut answers, mut terms, mut committed, mut members) = (0, 0, 0, 0);
    for seed in first..first + seeds(SEEDS) {
        let story = live_through(seed, None);
        if let Some(failure) = story.failure {
            panic!(
                "seed {seed}: {failure}\nagain: HEARTH_CELL_SEED={seed} HEARTH_CELL_SEEDS=1 cargo test -p hearth-cell random"
            );
        }
        answers += story.answers;
        terms += story.terms;
        committed += story.committed;
        members += story.members as u64;
    }
    println!(
        "{} histories: {answers} answers, {terms} terms, {committed} positions, {members} members",
        seeds(SEEDS)
    );
    assert!(answers > seeds(SEEDS), "the histories ask too little to show anything");
}
