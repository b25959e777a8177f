//! Planted bugs: the histories find each of them.

use super::histories::live_through;
use super::world::Planted;
use crate::bug::Bug;

const SEEDS_MAX: u64 = 2_000;

const BUGS: [Planted; 18] = [
    Planted::AckBeforeCommit,
    Planted::ServeAboveCommit,
    Planted::EmptyDiskUnderOldName,
    Planted::ReleaseBeyondLeast,
    Planted::Replica(Bug::ReplyBeforeDisk),
    Planted::Replica(Bug::LeaderCountsBeforeDisk),
    Planted::Replica(Bug::VoteNotPersisted),
    Planted::Replica(Bug::VoteForShorterLog),
    Planted::Replica(Bug::CommitOlderTerm),
    Planted::Replica(Bug::ReadWithoutProbe),
    Planted::RidsNotLoaded,
    Planted::Replica(Bug::RidsLostAtSnapshot),
    Planted::Replica(Bug::HealsWithoutRids),
    Planted::Replica(Bug::RidsKeptAtTruncation),
    Planted::Replica(Bug::DamagedVotes),
    Planted::Replica(Bug::TwoChangesAtOnce),
    Planted::Replica(Bug::OldRemovalCounts),
    Planted::Replica(Bug::ForgetsThatItLeft),
];

#[test]
fn planted_bugs_are_found() {
    let found = BUGS.map(|planted| {
        // A cell that stands still is no proof: a broken promise is.
        let story = |seed| {
            let story = live_through(seed, Some(planted));
            story.failure.filter(|_| !story.stuck).map(|failure| (seed, failure))
        };
        (planted, (0..SEEDS_MAX).find_map(story))
    });
    println!("{:<40} {:>6}  failure", "bug", "seed");
    for (planted, found) in &found {
        let (seed, failure) =
            found.as_ref().map_or(("none".to_owned(), ""), |(seed, failure)| (seed.to_string(), failure));
        let failure: String = failure.lines().next().unwrap_or("").chars().take(110).collect();
        println!("{:<40} {seed:>6}  {failure}", format!("{planted:?}"));
    }
    let missed: Vec<_> =
        found.iter().filter(|(_, found)| found.is_none()).map(|(planted, _)| planted).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} histories: {missed:?}");
}
