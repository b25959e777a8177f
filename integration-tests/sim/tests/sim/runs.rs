//! Runs of worlds, each in a process of its own: what a process draws by chance on its own (the order in which tokio wakes,
//! hash tables) is the same each time then, and a run that ends leaves nothing behind.

#![allow(unsafe_code, reason = "the system's randomness is replaced")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use hearth_telemetry::LogStyle;

use crate::plants::Plant;
use crate::world::World;
use crate::{Done, live, number};

/// What a child is to do: a seed, and the number of a plant.
const CHILD: &str = "HEARTH_SIM_CHILD";
const DONE: &str = "the world ended well:";

/// Where the numbers in place of the system's randomness go on.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The system's randomness, which is none here. tokio and the standard library ask for it.
///
/// # Safety
/// As the system's function: `bytes` is writable for `length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(bytes: *mut u8, length: usize, _flags: u32) -> isize {
    for at in 0..length {
        let word = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: the caller promises that so many bytes are writable.
        unsafe { bytes.add(at).write((word >> 56) as u8) };
    }
    length as isize
}

/// The test that a child runs; nothing in the parent.
#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (seed, plant) = what.split_once(' ').expect("two numbers");
    let plant = Plant::numbered(plant.parse().expect("a number"));
    let seed = seed.parse().expect("a number");
    if number("HEARTH_SIM_SEED").is_some() {
        let level = std::env::var("HEARTH_SIM_LOG").unwrap_or_else(|_| "warn".to_owned());
        hearth_telemetry::init_logs(&level, LogStyle::Text).expect("a level");
    }
    // Whatever was drawn so far, a new thread begins anew.
    NEXT.store(0, Ordering::Relaxed);
    let lived = std::thread::spawn(move || live_once(seed, plant)).join();
    match lived.unwrap_or_else(|_| Err(format!("seed {seed}: a panic"))) {
        Ok(Done { trace, records, answers, inexact }) => {
            println!("\n{DONE} {trace} {records} {answers} {inexact}");
        }
        Err(why) => println!("\n{why}"),
    }
}

fn live_once(seed: u64, plant: Plant) -> Result<Done, String> {
    let show = number("HEARTH_SIM_SEED").is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let dir = tempfile::tempdir().expect("a folder");
    runtime.expect("a runtime").block_on(async {
        let world = World::new(seed, plant, dir.path());
        let lived = live(&world).await;
        let states = if lived.is_err() { world.states() } else { String::new() };
        if show && lived.is_ok() {
            eprintln!("{}", world.trace.tail());
        }
        lived.map_err(|why| format!("seed {seed}: {why}\n{}{states}", world.trace.tail()))
    })
}

/// One world, in a process of its own.
pub(crate) fn one(seed: u64, plant: Plant) -> Result<Done, String> {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "runs::child", "--nocapture"]).env(CHILD, format!("{seed} {}", plant.number()));
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(done) = text.lines().find_map(|line| line.strip_prefix(DONE)) else {
        let said = text.split_once("test runs::child ... \n").map_or(&*text, |(_, said)| said);
        return Err(format!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    };
    if number("HEARTH_SIM_SEED").is_some() {
        eprintln!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut numbers = done.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
    let mut next = || numbers.next().expect("four numbers");
    Ok(Done { trace: next(), records: next() as usize, answers: next(), inexact: next() as usize })
}

/// Worlds of many seeds, as many at once as there are processors. `heard` is told of each in their order, and says whether to
/// go on.
pub(crate) fn all(seeds: Range<u64>, plant: Plant, mut heard: impl FnMut(u64, Result<Done, String>) -> bool) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(workers);
        for _ in 0..workers {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || send.send((seed, one(seed, plant))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut early, mut due) = (BTreeMap::new(), seeds.start);
        for (seed, done) in receive {
            early.insert(seed, done);
            while let Some(done) = early.remove(&due) {
                if !heard(due, done) {
                    next.store(end, Ordering::Relaxed);
                    return;
                }
                due += 1;
            }
        }
    });
}
