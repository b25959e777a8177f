//! Everything that can happen in a small world, the shortest ways first.

use std::collections::HashSet;

use super::small::{Budget, Small};
use crate::bug::Bug;

/// What was tried.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    steps: usize,
    depth: usize,
    /// What broke, and how it came about.
    failure: Option<String>,
}

/// Most states of one exploration: about 100 bytes each.
const STATES_MAX: usize = 20_000_000;

/// Tries every order of events, up to a depth. States are kept as the way to them, since there are many.
fn explore(start: &Small, depth_max: usize) -> Explored {
    let mut explored = Explored { states: 1, ..Explored::default() };
    let mut seen = HashSet::from([start.digest()]);
    let mut level: Vec<Box<[u8]>> = vec![Box::default()];
    while !level.is_empty() && explored.depth < depth_max {
        explored.depth += 1;
        let mut next_level = Vec::new();
        for way in &level {
            let state =
                way.iter().fold(start.clone(), |state, step| state.after(state.steps()[usize::from(*step)]));
            for (number, step) in state.steps().into_iter().enumerate() {
                explored.steps += 1;
                let next = state.after(step);
                if let Some(failure) = &next.failure {
                    explored.failure = Some(format!("{failure}, after\n{}", story(start, way, number)));
                    return explored;
                }
                if seen.insert(next.digest()) {
                    let number = u8::try_from(number).expect("few things can happen at once");
                    next_level.push(way.iter().copied().chain([number]).collect());
                }
            }
        }
        explored.states += next_level.len();
        assert!(explored.states < STATES_MAX, "too many states at depth {}", explored.depth);
        level = next_level;
    }
    explored
}

/// What happened on a way, in words.
fn story(start: &Small, way: &[u8], last: usize) -> String {
    let mut state = start.clone();
    let mut lines = Vec::new();
    for number in way.iter().copied().map(usize::from).chain([last]) {
        let step = state.steps()[number];
        lines.push(state.told(step));
        state = state.after(step);
    }
    lines.join("\n")
}

const QUIET: Budget =
    Budget { campaigns: 0, pushes: 0, records: 0, crashes: 0, ticks: 0, reads: 0, changes: 0, letters: 4 };

fn check(what: &str, mut start: Small, budget: Budget, depth: usize) {
    start.budget = budget;
    let explored = explore(&start, depth);
    println!("{what}: {} states, {} steps, {} deep", explored.states, explored.steps, explored.depth);
    assert_eq!(explored.failure, None, "{what}");
    assert!(explored.states > 1_000, "{what}: too little was tried");
}

#[test]
fn three_members_two_records_two_more_terms_one_crash() {
    let budget = Budget { campaigns: 2, pushes: 3, records: 2, crashes: 1, ticks: 1, reads: 1, ..QUIET };
    check("three members", Small::new(3, 0, None), budget, 5);
}
