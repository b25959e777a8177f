//! Clusters in simulated worlds: whatever goes wrong, an answer holds each acknowledged record once.
//!
//! The roles are the real ones: ingesters with their logs, cuts and catalogs, distributors, queriers, the planner of the
//! roster, the collector. `HEARTH_SIM_SEEDS` says how many seeds, `HEARTH_SIM_FIRST` which is the first, `HEARTH_SIM_SEED`
//! tries one and shows what happened.

#![allow(clippy::print_stderr, reason = "figures of a run")]

mod checker;
mod clients;
#[path = "../../../../common/wal/tests/faulty/mod.rs"]
mod disk;
mod gossip;
mod net;
mod parts;
mod plants;
mod process;
mod runs;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_common::{Clock, TimestampNs};

use clients::Profile;
pub(crate) use plants::Plant;
use world::World;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 40;
/// How often a long run says how far it is.
const PROGRESS_SEEDS: u64 = 500;
/// Tries until an answer is to be had when all is well.
const TRIES_WELL: u32 = 200;

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    trace: u64,
    records: usize,
    answers: u64,
    /// Answers of the end that said they may miss something.
    inexact: usize,
}

/// New profiles of some age, as clients have them.
fn profiles(world: &World, from: u64, count: u64) -> Vec<Profile> {
    let now = world.node(0).clock.now().0;
    // The schedule of a profile's time places it.
    let ages_ms = if world.rules.unheard { 500 } else { 4_000 };
    let age_ns = |number: u64| (number * 997 % ages_ms) as i64 * 1_000_000;
    (from..from + count).map(|number| Profile { number, time: TimestampNs(now - age_ns(number)) }).collect()
}

async fn live(world: &Arc<World>) -> Result<Done, String> {
    world.start_all();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut pushing = Vec::new();
    let mut next = 0;
    for _ in 0..12 + world.dice.below(16) {
        let count = world.dice.below(4);
        if count > 0 {
            let new = profiles(world, next, count);
            pushing.push(tokio::spawn(clients::push(Arc::clone(world), new)));
            next += count;
        }
        if world.dice.chance(60) {
            world.trouble();
        }
        // A front that asks hears of a new roster.
        if world.dice.chance(if world.rules.unheard { 25 } else { 70 }) {
            clients::ask(world, 1).await?;
        }
        tokio::time::sleep(Duration::from_millis(world.dice.below(2_500))).await;
    }
    world.heal();
    for push in pushing {
        push.await.map_err(|error| error.to_string())??;
    }
    let mut inexact = 0;
    for wait_s in [0, 20] {
        tokio::time::sleep(Duration::from_secs(wait_s)).await;
        let heard = clients::ask(world, TRIES_WELL).await?;
        let Some(heard) = heard else { return Err("all is well, and nobody answers".to_owned()) };
        if !heard.inexact.is_empty() && !world.may_have_lost() {
            return Err(format!("nothing can be lost, and an answer says {:?}", heard.inexact));
        }
        inexact += usize::from(!heard.inexact.is_empty());
    }
    let answers = world.answers.load(Ordering::Relaxed);
    let records = world.truth.lock().acked.len();
    Ok(Done { trace: world.trace.hash(), records, answers, inexact })
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn each_acknowledged_record_counts_once_whatever_goes_wrong() {
    let one = number("HEARTH_SIM_SEED");
    let first = one.or_else(|| number("HEARTH_SIM_FIRST")).unwrap_or(1);
    let count = if one.is_some() { 1 } else { number("HEARTH_SIM_SEEDS").unwrap_or(SEEDS) };
    let (mut records, mut answers, mut inexact) = (0, 0, 0);
    runs::all(first..first + count, Plant::Nothing, |seed, done| match done {
        Ok(done) => {
            records += done.records;
            answers += done.answers;
            inexact += done.inexact;
            if (seed - first + 1).is_multiple_of(PROGRESS_SEEDS) {
                eprintln!("{} of {count} seeds", seed - first + 1);
            }
            true
        }
        Err(why) => {
            panic!("{why}\nHEARTH_SIM_SEED={seed} cargo test -p hearth-sim -- --nocapture tries it again")
        }
    });
    eprintln!(
        "{count} seeds from {first}: {records} records, {answers} answers, {inexact} of the last inexact"
    );
    assert!(answers > 0 && records > 0, "nothing happened");
}

#[test]
fn a_seed_repeats_what_happened() {
    for seed in [3, 5, 8, 17] {
        let run = || runs::one(seed, Plant::Nothing).expect("all is well");
        assert_eq!(run(), run(), "seed {seed}");
    }
}
