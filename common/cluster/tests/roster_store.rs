//! The format of rosters, and the chain of them in a store whose calls fail.

#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_cluster::roster::{
    Cell, CellState, Change, FolderCopy, LogId, Loss, Member, MemberState, Presence, Proposed, Roster,
    RosterError, RosterParts, RosterStore, ScheduleEntry, Sight, apply, decode_roster, encode_roster, tend,
};
use hearth_common::{Clock, Pulse, TenantId, TimestampNs};
use hearth_objstore::{Fault, Faults, Operation, Store, StoreOptions};
use parking_lot::Mutex;
use proptest::prelude::*;
use world::{BEGIN, World, cell_id, member};

/// Follows tokio's clock, which these tests stop.
#[derive(Debug)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> TimestampNs {
        TimestampNs(BEGIN.0 + self.monotonic().as_nanos() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed() + Duration::from_secs(1)
    }
}

#[derive(Debug, Clone)]
struct Random(Arc<AtomicU64>);

impl Random {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// splitmix64.
    fn next(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes calls fail, or happen although they are reported as failed.
#[derive(Debug)]
struct Chaos {
    random: Random,
    percent: u64,
}

impl Faults for Chaos {
    fn next<'a>(&'a self, operation: Operation, _key: &'a str) -> futures::future::BoxFuture<'a, Fault> {
        Box::pin(async move {
            for _ in 0..self.random.next() % 6 {
                tokio::task::yield_now().await;
            }
            if self.random.next() % 100 >= self.percent {
                return Fault::None;
            }
            match self.random.next() % 4 {
                0 => Fault::FailAfter,
                1 if operation == Operation::Create => {
                    Fault::FailThenApply { turns: (self.random.next() % 200) as u32 }
                }
                2 if operation == Operation::Create => Fault::ReportExists,
                _ => Fault::FailBefore,
            }
        })
    }
}

#[derive(Debug, Default)]
struct Away(Mutex<bool>);

impl Faults for Away {
    fn next<'a>(&'a self, _: Operation, _: &'a str) -> futures::future::BoxFuture<'a, Fault> {
        let away = *self.0.lock();
        Box::pin(async move { if away { Fault::FailBefore } else { Fault::None } })
    }
}

fn memory() -> Store {
    Store::open("memory:", StoreOptions::default()).unwrap()
}

fn parts(store: &Store, folder: Option<&Path>, seed: u64) -> RosterParts {
    let random = Random::new(seed);
    RosterParts {
        store: store.clone(),
        copy: folder.map(|folder| Arc::new(FolderCopy(folder.to_owned())) as _),
        cluster_id: "test".to_owned(),
        rng: Arc::new(move || u128::from(random.next()) << 64 | u128::from(random.next())),
        clock: Arc::new(TokioClock(tokio::time::Instant::now())),
        entry_ahead_min: Duration::from_secs(30),
    }
}

fn open(store: &Store, folder: Option<&Path>, seed: u64) -> RosterStore {
    RosterStore::open(parts(store, folder, seed)).unwrap()
}

/// A first roster of three.
fn first() -> Roster {
    World::begun(3, &["a1", "b1", "c1"]).history[0].clone()
}

/// A roster that has something in every field. By hand: the golden file must not follow the planner.
fn full() -> Roster {
    let ids = ["a1", "a2", "b1", "c1"].map(|name| member(name, 0xfeed));
    let states = [MemberState::Leaving, MemberState::Active, MemberState::Dead, MemberState::Left];
    let members = std::iter::zip(&ids, states).map(|(id, state)| Member {
        id: id.clone(),
        zone: id.instance.0[..1].to_owned(),
        state,
        joined: BEGIN,
    });
    let cell = |name: &str, log, founders: &[usize], wanted: &[usize], state| Cell {
        id: cell_id(name),
        log: LogId(log),
        founders: founders.iter().map(|at| ids[*at].clone()).collect(),
        wanted: wanted.iter().map(|at| ids[*at].clone()).collect(),
        state,
    };
    let tenant = TenantId::parse("acme").unwrap();
    let mut last = ScheduleEntry::new(TimestampNs(BEGIN.0 + 1), vec![cell_id("a2")]);
    last.shuffle_size = 3;
    last.shuffle_sizes.insert(tenant.clone(), 2);
    last.shards.entry(tenant).or_default().insert("check\"out".to_owned(), 4);
    let begin = ScheduleEntry::new(TimestampNs(i64::MIN), vec![cell_id("a1"), cell_id("a2")]);
    let text = "its only disk burned".to_owned();
    let roster = Roster {
        version: 9,
        nonce: 0xabc,
        parent: 0xdef,
        cluster_id: "test".to_owned(),
        factor: 3,
        members: members.collect(),
        cells: vec![
            cell("a1", 1, &[0, 2, 3], &[0, 2], CellState::Lingering),
            cell("a2", u128::MAX, &[1], &[1, 2], CellState::Open),
            cell("c1", 3, &[3], &[3], CellState::Drained),
        ],
        schedule: vec![begin, last],
        losses: vec![Loss { cell: cell_id("b1"), log: LogId(77), since: BEGIN, text, accepted: false }],
    };
    roster.check().unwrap();
    roster
}

#[test]
fn a_roster_is_read_as_it_was_written() {
    for roster in [first(), full()] {
        assert_eq!(decode_roster("roster", &encode_roster(&roster)).unwrap(), roster);
    }
}

#[test]
fn the_golden_roster_is_read_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/roster.bin");
    if std::env::var_os("HEARTH_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, encode_roster(&full())).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert_eq!(decode_roster("roster", &golden).unwrap(), full());
    assert_eq!(encode_roster(&full()), golden, "a change of the format needs a new format number");
}

#[test]
fn every_changed_bit_and_every_cut_is_seen() {
    let object = encode_roster(&full());
    for bit in 0..object.len() * 8 {
        let mut bad = object.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_roster("roster", &bad).is_err(), "bit {bit}");
    }
    for len in 0..object.len() {
        assert!(decode_roster("roster", &object[..len]).is_err(), "cut at {len}");
    }
}

/// A text in its envelope.
fn wrapped(json: &[u8], format: u32) -> Vec<u8> {
    let mut out = b"HEARTHRS".to_vec();
    out.extend(format.to_le_bytes());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c_append(crc32c::crc32c(&out), json).to_le_bytes());
    out.extend(json);
    out
}

/// A roster's JSON changed by hand, wrapped again.
fn edited(from: &str, to: &str, format: u32) -> Vec<u8> {
    let json = String::from_utf8(encode_roster(&full())[20..].to_vec()).unwrap();
    assert!(json.contains(from), "{json}");
    wrapped(json.replacen(from, to, 1).as_bytes(), format)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever stands in the text: it is refused, or it is a roster that is written as it was read.
    #[test]
    fn any_text_is_a_roster_or_refused(at in 0usize..4_000, with in "[0-9a-z{}\\[\\]\",:/-]{0,3}", cut in 0usize..3) {
        let object = encode_roster(&full());
        let mut text = object[20..].to_vec();
        let at = at % text.len();
        text.splice(at..(at + cut).min(text.len()), with.bytes());
        if let Ok(roster) = decode_roster("k", &wrapped(&text, 1)) {
            prop_assert_eq!(decode_roster("k", &encode_roster(&roster)).unwrap(), roster);
        }
    }
}

#[test]
fn what_is_unknown_or_contradicts_itself_is_refused() {
    let refused = |from: &str, to: &str, format| {
        let error = decode_roster("k", &edited(from, to, format)).expect_err("refused");
        hearth_common::error::chain(&error)
    };
    assert!(decode_roster("k", &edited("\"factor\":3", "\"factor\":2", 1)).is_ok());
    let check = |from: &str, to: &str, expect: &str| {
        let found = refused(from, to, 1);
        assert!(found.contains(expect), "{from} → {to}: {found}");
    };
    check("\"factor\":3", "\"factor\":3,\"new\":1", "unknown field `new`");
    check("\"factor\":3", "\"factor\":0", "factor 0 is not in 1 to 7");
    check("\"zone\":\"a\"", "\"zone\":\"a/b\"", "has a '/'");
    check("\"state\":\"leaving\"", "\"state\":\"asleep\"", "unknown variant");
    check(
        "\"effective_ns\":-9223372036854775808",
        "\"effective_ns\":9223372036854775807",
        "schedule is not valid",
    );
    check("\"log\":\"0", "\"log\":\"x", "not in its text form");
    check("\"version\":", "\"version\":0,\"version\":", "duplicate field");
    assert!(refused("\"factor\":3", "\"factor\":3", 2).contains("has format 2"));
}

#[tokio::test(start_paused = true)]
async fn proposals_make_a_chain_and_losers_learn_who_won() {
    let store = memory();
    let (one, two) = (open(&store, None, 1), open(&store, None, 2));
    assert_eq!(one.load(Duration::ZERO).await.unwrap(), None);
    let Proposed::Committed(v1) = one.propose(None, &first()).await.unwrap() else { panic!("lost") };
    assert_eq!(v1.version, 1);
    assert_eq!(two.propose(None, &first()).await.unwrap(), Proposed::Lost(Arc::clone(&v1)));
    assert_eq!(two.known(), Some(Arc::clone(&v1)));
    let next = Roster { factor: 2, ..(*v1).clone() };
    let Proposed::Committed(v2) = two.propose(Some(&v1), &next).await.unwrap() else { panic!("lost") };
    assert_eq!((v2.version, v2.parent, v2.factor), (2, v1.nonce, 2));
    let watch = one.watch();
    assert_eq!(one.load(Duration::from_secs(60)).await.unwrap(), Some(v1), "young enough");
    assert_eq!(one.load(Duration::ZERO).await.unwrap(), Some(Arc::clone(&v2)));
    assert_eq!(*watch.borrow(), Some(v2));
}

#[tokio::test(start_paused = true)]
async fn entries_that_hold_too_soon_are_refused() {
    let store = memory();
    let one = open(&store, None, 1);
    let Proposed::Committed(base) = one.propose(None, &first()).await.unwrap() else { panic!("lost") };
    let with_entry = |ahead_s: i64| {
        let effective = TimestampNs(BEGIN.0 + ahead_s * 1_000_000_000);
        let entry = ScheduleEntry::new(effective, vec![cell_id("a1")]);
        apply(Some(&base), &[Change::AddEntry(entry)]).unwrap()
    };
    let refused = one.propose(Some(&base), &with_entry(20)).await;
    assert!(matches!(refused, Err(RosterError::Refused(_))), "{refused:?}");
    assert!(matches!(one.propose(Some(&base), &with_entry(60)).await.unwrap(), Proposed::Committed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_process_goes_on_with_its_copy_while_the_store_is_away() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let one = open(&store, Some(folder.path()), 1);
    let Proposed::Committed(v1) = one.propose(None, &first()).await.unwrap() else { panic!("lost") };
    drop(one);
    let away = Arc::new(Away::default());
    *away.0.lock() = true;
    let faulty = store.with_faults(Arc::<Away>::clone(&away));
    let again = open(&faulty, Some(folder.path()), 3);
    assert_eq!(again.known(), Some(Arc::clone(&v1)));
    assert!(matches!(again.load(Duration::from_secs(60)).await, Err(RosterError::Store(_))));
    *away.0.lock() = false;
    assert_eq!(again.load(Duration::from_secs(60)).await.unwrap(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn another_bucket_or_cluster_is_told_apart() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let one = open(&store, Some(folder.path()), 1);
    let Proposed::Committed(_) = one.propose(None, &first()).await.unwrap() else { panic!("lost") };
    let empty = open(&memory(), Some(folder.path()), 2);
    let error = empty.load(Duration::ZERO).await.expect_err("an empty bucket");
    assert!(matches!(error, RosterError::WentBack { known: 1, found: 0 }), "{error}");
    let other_store = memory();
    let Proposed::Committed(_) = open(&other_store, None, 3).propose(None, &first()).await.unwrap() else {
        panic!("lost")
    };
    let other = open(&other_store, Some(folder.path()), 4);
    let error = other.load(Duration::ZERO).await.expect_err("another version 1");
    assert!(matches!(error, RosterError::WentBack { known: 1, found: 1 }), "{error}");
    let renamed = |folder| RosterParts { cluster_id: "other".to_owned(), ..parts(&store, folder, 5) };
    let error = RosterStore::open(renamed(Some(folder.path()))).expect_err("another cluster's folder");
    assert!(matches!(error, RosterError::OtherCluster { .. }), "{error}");
    let error = RosterStore::open(renamed(None)).unwrap().load(Duration::ZERO).await.expect_err("its bucket");
    assert!(matches!(error, RosterError::OtherCluster { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_copy_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("roster"), b"not a roster").unwrap();
    let error = RosterStore::open(parts(&memory(), Some(folder.path()), 1)).expect_err("damaged");
    assert!(matches!(error, RosterError::Damaged { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn hints_and_time_make_a_follower_look() {
    let store = memory();
    let (writer, reader) = (open(&store, None, 1), Arc::new(open(&store, None, 2)));
    let (hint, hints) = tokio::sync::watch::channel(0);
    let follower = Arc::clone(&reader);
    let following =
        tokio::spawn(async move { follower.follow(Duration::from_secs(30), hints, &Pulse::default()).await });
    let mut watch = reader.watch();
    let begun = tokio::time::Instant::now();
    // Let it look once before there is anything.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Proposed::Committed(v1) = writer.propose(None, &first()).await.unwrap() else { panic!("lost") };
    watch.wait_for(|roster| roster.is_some()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(30), "by time");
    let Proposed::Committed(_) = writer.propose(Some(&v1), &v1).await.unwrap() else { panic!("lost") };
    let hinted = tokio::time::Instant::now();
    // A hint too large is followed once, and does no harm.
    hint.send_replace(1_000);
    watch.wait_for(|roster| roster.as_ref().is_some_and(|r| r.version == 2)).await.unwrap();
    assert!(hinted.elapsed() < Duration::from_secs(30), "by the hint");
    drop(hint);
    following.await.unwrap();
}

/// Whoever hinted waits for it: a look that fails is repeated soon, not at the next time.
#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_when_the_store_is_back() {
    let (store, away) = (memory(), Arc::new(Away::default()));
    let faulty = store.with_faults(Arc::<Away>::clone(&away));
    let (writer, reader) = (open(&store, None, 1), Arc::new(open(&faulty, None, 2)));
    let Proposed::Committed(_) = writer.propose(None, &first()).await.unwrap() else { panic!("lost") };
    *away.0.lock() = true;
    let (hint, hints) = tokio::sync::watch::channel(0);
    let follower = Arc::clone(&reader);
    let following =
        tokio::spawn(
            async move { follower.follow(Duration::from_secs(600), hints, &Pulse::default()).await },
        );
    hint.send_replace(1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(reader.known(), None);
    *away.0.lock() = false;
    let back = tokio::time::Instant::now();
    reader.watch().wait_for(Option::is_some).await.unwrap();
    assert!(back.elapsed() < Duration::from_secs(3), "{:?}", back.elapsed());
    drop(hint);
    following.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn old_versions_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_folder(folder.path(), StoreOptions::default()).unwrap();
    let one = open(&store, None, 1);
    let Proposed::Committed(mut last) = one.propose(None, &first()).await.unwrap() else { panic!("lost") };
    let reader = open(&store, None, 4);
    assert_eq!(reader.load(Duration::ZERO).await.unwrap().unwrap().version, 1);
    for _ in 0..4 {
        let Proposed::Committed(next) = one.propose(Some(&last), &last).await.unwrap() else {
            panic!("lost")
        };
        last = next;
    }
    assert_eq!(one.collectable().await.unwrap(), [] as [u64; 0], "too few and too young");
    one.delete_versions(&[2, 1, 3]).await.unwrap();
    let newcomer = open(&store, None, 2);
    for reader in [newcomer, reader] {
        assert_eq!(reader.load(Duration::ZERO).await.unwrap().unwrap().version, 5);
    }
    // Whoever slept since version 1 does not make version 2 anew.
    let sleeper = open(&store, None, 3);
    let base = Roster { version: 1, nonce: last.parent, ..(*last).clone() };
    let lost = sleeper.propose(Some(&base), &base).await.unwrap();
    assert!(matches!(&lost, Proposed::Lost(newest) if newest.version == 5), "{lost:?}");
}

fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

/// Two processes see the same and plan at once: one cluster comes of it, and both know it.
#[tokio::test(start_paused = true)]
async fn those_who_tend_agree() {
    let store = memory();
    let mut world = World::new(3);
    for name in ["a1", "b1", "c1"] {
        world.see(name, 1, Presence::Active);
    }
    world.pass(60);
    let (one, two) = (open(&store, None, 1), open(&store, None, 2));
    let counter = AtomicU64::new(0);
    let random = || u128::from(counter.fetch_add(1, Ordering::Relaxed) + 1);
    for joins in ["", "a2", "b2"] {
        if !joins.is_empty() {
            world.see(joins, 1, Presence::Joining);
        }
        let seen: Vec<_> = world.seen.values().cloned().collect();
        let begun = TimestampNs(BEGIN.0 + 1_000_000_000);
        let sight = Sight {
            seen: &seen,
            watching_since: Duration::ZERO,
            now: world.now,
            wall: begun,
            drained: &[],
            volumes: None,
            knowledge: None,
        };
        let (a, b) = tokio::join!(
            spawnable(tend(&one, &sight, &world.options, &random)),
            spawnable(tend(&two, &sight, &world.options, &random))
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.roster.is_some() && a.notes == b.notes, "{a:?}");
        assert_eq!(a.roster, b.roster);
        let again = tend(&two, &sight, &world.options, &random).await.unwrap();
        assert_eq!((again.steps, again.roster), (0, a.roster));
    }
    let newest = one.known().unwrap();
    assert_eq!((newest.cells.len(), newest.schedule.len()), (5, 2), "one is announced");
}

/// Proposes until `count` of its own marks are committed; a mark is a loss with its own log id.
async fn writer(store: RosterStore, name: u128, count: u128) {
    let (mut done, mut unknown) = (0, false);
    while done < count {
        let mark = LogId(name << 64 | (done + 1));
        let newest = match store.load(Duration::ZERO).await {
            Ok(Some(newest)) => newest,
            Ok(None) => match store.propose(None, &first()).await {
                Ok(Proposed::Committed(newest) | Proposed::Lost(newest)) => newest,
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        if newest.losses.iter().any(|loss| loss.log == mark) {
            (done, unknown) = (done + 1, false);
            continue;
        }
        let mut next = (*newest).clone();
        let text = String::new();
        next.losses.push(Loss { cell: cell_id("a1"), log: mark, since: BEGIN, text, accepted: true });
        match store.propose(Some(&newest), &next).await {
            Ok(Proposed::Committed(now)) => assert_eq!(now.version, newest.version + 1),
            Ok(Proposed::Lost(now)) => {
                let marked = now.losses.iter().any(|loss| loss.log == mark);
                assert!(unknown || !marked, "lost is said of what is committed");
            }
            // Its fate is unknown: the next look tells.
            Err(_) => unknown = true,
        }
    }
}

/// Several writers over a store that fails, lies and repeats: each mark is in the newest version exactly once, and the
/// chain has no fork.
#[test]
fn no_change_is_lost_or_made_twice() {
    for seed in 0..40u64 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let plain = memory();
            let chaos = Chaos { random: Random::new(seed), percent: 10 + seed % 30 };
            let faulty = plain.with_faults(Arc::new(chaos));
            let writers = (0..4u128).map(|name| {
                let store = open(&faulty, None, seed * 10 + name as u64 + 1);
                tokio::spawn(writer(store, name + 1, 5))
            });
            for writer in writers.collect::<Vec<_>>() {
                writer.await.unwrap();
            }
            let newest = open(&plain, None, 99).load(Duration::ZERO).await.unwrap().unwrap();
            let mut marks: Vec<LogId> = newest.losses.iter().map(|loss| loss.log).collect();
            marks.sort();
            let expect: Vec<LogId> =
                (1..=4u128).flat_map(|name| (1..=5).map(move |n| LogId(name << 64 | n))).collect();
            assert_eq!(marks, expect, "seed {seed}");
            let mut parent = 0;
            for version in 1..=newest.version {
                let object = plain.get(&format!("cluster/roster/{version:020}"), 1 << 20).await.unwrap();
                let roster = decode_roster("k", &object).unwrap();
                assert_eq!(roster.parent, parent, "seed {seed} version {version}");
                parent = roster.nonce;
            }
        });
    }
}
