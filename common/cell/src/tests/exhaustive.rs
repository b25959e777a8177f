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
        let mut walk = Walk::new(start);
        for way in &level {
            let state = walk.to(way);
            for (number, step) in (0..).zip(state.steps()) {
                explored.steps += 1;
                let next = state.after(step);
                if let Some(failure) = &next.failure {
                    explored.failure = Some(format!("{failure}, after\n{}", story(start, way, number)));
                    return explored;
                }
                if seen.insert(next.digest()) {
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

/// The states along a way. The next way mostly shares its beginning with this one.
struct Walk<'a> {
    start: &'a Small,
    steps: Vec<(u8, Small)>,
}

impl<'a> Walk<'a> {
    fn new(start: &'a Small) -> Self {
        Self { start, steps: Vec::new() }
    }

    fn to(&mut self, way: &[u8]) -> &Small {
        let shared = self.steps.iter().zip(way).take_while(|((number, _), wanted)| number == *wanted).count();
        self.steps.truncate(shared);
        for number in &way[shared..] {
            let before = self.steps.last().map_or(self.start, |(_, state)| state);
            let state = before.after(before.steps()[usize::from(*number)]);
            self.steps.push((*number, state));
        }
        self.steps.last().map_or(self.start, |(_, state)| state)
    }
}

/// What happened on a way, in words.
fn story(start: &Small, way: &[u8], last: u8) -> String {
    let mut walk = Walk::new(start);
    let mut lines = Vec::new();
    for (at, number) in way.iter().chain([&last]).enumerate() {
        let state = walk.to(&way[..at]);
        lines.push(state.told(state.steps()[usize::from(*number)]));
    }
    lines.join("\n")
}

const QUIET: Budget =
    Budget { campaigns: 0, pushes: 0, records: 0, crashes: 0, ticks: 0, reads: 0, changes: 0, letters: 3 };

fn with(start: &Small, budget: Budget) -> Small {
    let mut start = start.clone();
    start.budget = budget;
    start
}

fn check(what: &str, start: &Small, budget: Budget, depth: usize) {
    let explored = explore(&with(start, budget), depth);
    println!("{what}: {} states, {} steps, {} deep", explored.states, explored.steps, explored.depth);
    if let Some(failure) = explored.failure {
        panic!("{what}: {failure}");
    }
    assert!(explored.states > 10_000, "{what}: too little was tried");
}

const ELECTIONS: Budget = Budget { campaigns: 2, pushes: 2, records: 2, ..QUIET };
const CRASH: Budget = Budget { campaigns: 2, pushes: 2, records: 2, crashes: 1, ..QUIET };
const READS: Budget = Budget { campaigns: 1, pushes: 2, records: 1, ticks: 1, reads: 1, ..QUIET };
const REPLACEMENT: Budget = Budget { campaigns: 1, pushes: 1, records: 1, changes: 2, ..QUIET };
const REPLACEMENT_CRASH: Budget = Budget { crashes: 1, ..REPLACEMENT };

#[test]
fn two_records_and_two_more_terms() {
    check("two more terms", &Small::new(3, 0, None), ELECTIONS, 13);
}

#[test]
fn two_records_two_more_terms_and_a_crash() {
    check("two more terms and a crash", &Small::new(3, 0, None), CRASH, 8);
}

#[test]
fn questions_while_leadership_changes() {
    check("questions", &Small::new(3, 0, None), READS, 11);
}

#[test]
fn a_member_is_replaced() {
    let start = Small::new(3, 1, None);
    check("replacement", &start, REPLACEMENT, 10);
    check("replacement and a crash", &start, REPLACEMENT_CRASH, 8);
}

#[test]
#[ignore = "minutes, gigabytes"]
fn deeper() {
    let (three, four) = (Small::new(3, 0, None), Small::new(3, 1, None));
    check("two more terms", &three, ELECTIONS, 18);
    check("two more terms and a crash", &three, CRASH, 11);
    check("questions", &three, READS, 16);
    check("replacement", &four, REPLACEMENT, 12);
    check("replacement and a crash", &four, REPLACEMENT_CRASH, 9);
}

#[test]
fn small_worlds_show_planted_bugs() {
    let cases = [
        (Bug::ReplyBeforeDisk, Budget { campaigns: 1, pushes: 1, ..CRASH }),
        (Bug::VoteNotPersisted, Budget { pushes: 0, ..CRASH }),
        (Bug::VoteForShorterLog, Budget { campaigns: 1, pushes: 1, ..ELECTIONS }),
        (Bug::ReadWithoutProbe, READS),
    ];
    for (bug, budget) in cases {
        let explored = explore(&with(&Small::new(3, 0, Some(bug)), budget), 14);
        let failure = explored.failure.unwrap_or_default();
        println!(
            "{bug:?}: {} states, {} deep: {}",
            explored.states,
            explored.depth,
            failure.lines().next().unwrap_or("")
        );
        assert!(!failure.is_empty(), "{bug:?} is not found");
    }
}
