//! Whatever was reported durable is replayed, in order, exactly once, whatever the disk does; nothing else is, except what
//! was appended and on its way.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::sync::Arc;

use bytes::Bytes;
use faulty::{FaultyDisk, Random, Told};
use hearth_wal::{Damage, DamageKind, Replay, Replayed, Wal, WalError, WalOptions};
use proptest::prelude::*;

fn options() -> WalOptions {
    WalOptions { segment_bytes: 4096, salt: 77, reserve_bytes: 0, ..WalOptions::new("/nowhere") }
}

fn open(
    disk: &FaultyDisk,
    options: WalOptions,
    preamble: &str,
) -> Result<(Wal, Replay, Arc<Told>), WalError> {
    let told = Arc::new(Told::default());
    let (wal, replay) = Wal::open_on(
        Arc::new(disk.clone()),
        options,
        preamble.as_bytes().to_vec(),
        Arc::<Told>::clone(&told),
    )?;
    Ok((wal, replay, told))
}

/// An entry's payload: its number over all lives, then filling.
fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|n| (number as usize + n) as u8));
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, payload(number, bytes.len() - 8), "an entry is whole");
    number
}

fn read(replay: Replay) -> (Vec<u64>, Vec<Damage>) {
    let (mut numbers, mut damages) = (Vec::new(), Vec::new());
    for item in replay {
        match item {
            Ok(Replayed::Entry { bytes, .. }) => numbers.push(number(&bytes)),
            Ok(Replayed::Segment { .. }) => {}
            Err(damage) => damages.push(damage),
        }
    }
    (numbers, damages)
}

/// What must, and what may, be replayed.
#[derive(Default)]
struct Model {
    next: u64,
    /// Reported durable, or replayed once: in both cases somebody relies on it.
    must: Vec<u64>,
}

/// One life of a log: opens it, checks the replay, appends, and dies in some way.
fn live(disk: &FaultyDisk, model: &mut Model, random: &mut Random) {
    let fails_at_open = random.chance(10);
    if fails_at_open {
        disk.fail_after(random.below(12));
    }
    disk.short_writes(random.chance(50));
    let Ok((wal, replay, told)) = open(disk, options(), "p") else { return die(disk, random) };
    if fails_at_open {
        // The replay is not looked at: its reads may fail too.
        drop(replay);
    } else {
        let (numbers, damages) = read(replay);
        assert_eq!(damages, [], "no bit was flipped");
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order, once: {numbers:?}");
        assert!(numbers.iter().all(|n| *n < model.next), "only what was appended: {numbers:?}");
        for must in &model.must {
            assert!(numbers.contains(must), "{must} of {:?} is missing in {numbers:?}", model.must);
        }
        model.must = numbers;
    }
    if random.chance(50) {
        disk.fail_after(random.below(40));
    }
    let mut numbers = Vec::new();
    for _ in 0..random.below(30) {
        let len = if random.chance(10) { random.below(20_000) } else { random.below(300) };
        let bytes = payload(model.next, len as usize);
        let head = random.below(bytes.len() as u64) as usize;
        match wal.append(&bytes[..head], Bytes::copy_from_slice(&bytes[head..])) {
            Ok(appended) => {
                let lsn = appended.lsn;
                numbers.push(model.next);
                assert_eq!(lsn.0, numbers.len() as u64);
                if random.chance(30) {
                    told.wait(lsn);
                }
            }
            Err(WalError::Stopped { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        model.next += 1;
    }
    if random.chance(40) {
        let closed = wal.sync_and_close();
        assert_eq!(closed.is_ok(), told.failure().is_none());
        if closed.is_ok() {
            assert_eq!(told.durable_upto(), numbers.len() as u64, "a clean close writes everything");
        }
    } else {
        disk.freeze();
    }
    drop(wal);
    model.must.extend(numbers.iter().take(told.durable_upto() as usize));
    die(disk, random);
}

fn die(disk: &FaultyDisk, random: &mut Random) {
    if random.chance(50) { disk.power_cut() } else { disk.restart() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_durable_is_replayed(seed in 1u64..) {
        let mut random = Random(seed);
        let disk = FaultyDisk::new(random.next());
        let mut model = Model::default();
        for _ in 0..6 {
            live(&disk, &mut model, &mut random);
        }
    }

    /// One damaged place loses what it touches and no more, and is reported unless it is the tail.
    #[test]
    fn damage_is_reported_and_read_over(seed in 1u64.., flips in 1usize..3) {
        let mut random = Random(seed);
        let disk = FaultyDisk::new(seed);
        let (wal, _, told) = open(&disk, options(), "preamble").unwrap();
        for n in 0..60 {
            let lsn = wal.append(&[], payload(n, 200).into()).unwrap().lsn;
            if random.chance(30) {
                told.wait(lsn);
            }
        }
        wal.sync_and_close().unwrap();
        let names = disk.names();
        prop_assert!(names.len() >= 3);
        let mut in_header = false;
        let mut tail = false;
        for _ in 0..flips {
            let at = random.below(names.len() as u64) as usize;
            let mut bytes = disk.bytes(&names[at]);
            let bit = random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            in_header |= bit / 8 < 56 + 8;
            tail |= at + 1 == names.len();
            disk.plant(&names[at], bytes);
        }
        let (_, replay, _) = open(&disk, options(), "").unwrap();
        let torn = replay.torn_tail().is_some();
        let (numbers, damages) = read(replay);
        prop_assert!(numbers.is_sorted_by(|a, b| a < b));
        let lost = 60 - numbers.len();
        if !in_header {
            prop_assert!(lost <= flips, "{lost} lost by {flips} flips: {damages:?}");
        }
        prop_assert!(lost == 0 || !damages.is_empty() || (torn && tail), "{lost} lost in silence");
        prop_assert!(damages.len() <= flips);
    }

    /// Any bytes at all under a segment's name, or behind a good start.
    #[test]
    fn rubbish_never_panics(seed in 1u64.., len in 0usize..6000, good_start: bool) {
        let mut random = Random(seed);
        let disk = FaultyDisk::new(seed);
        let mut bytes = Vec::new();
        if good_start {
            let (wal, _, _) = open(&disk, options(), "preamble").unwrap();
            wal.append(b"x", payload(0, 50).into()).unwrap();
            wal.sync_and_close().unwrap();
            bytes = disk.bytes(&disk.names()[0]);
        }
        bytes.extend((0..len).map(|_| if random.chance(70) { 0 } else { random.next() as u8 }));
        disk.plant("00000000000000000001.wal", bytes.clone());
        disk.plant("00000000000000000005.wal", bytes);
        disk.plant("note.txt", vec![1]);
        let (wal, replay, _) = open(&disk, options(), "").unwrap();
        let items = replay.count();
        prop_assert!(items > 0);
        drop(wal);
    }
}

#[test]
fn a_payload_cannot_pose_as_entries() {
    let disk = FaultyDisk::new(3);
    let (wal, _, _) = open(&disk, options(), "").unwrap();
    wal.append(&[], payload(0, 10).into()).unwrap();
    wal.sync_and_close().unwrap();
    // The bytes of a valid segment, with another salt, as a payload whose header is then damaged.
    let inside = disk.bytes(&disk.names()[0]);
    let disk = FaultyDisk::new(4);
    let (wal, _, _) = open(&disk, WalOptions { salt: 78, ..options() }, "").unwrap();
    wal.append(&[], inside.into()).unwrap();
    wal.append(&[], payload(1, 10).into()).unwrap();
    wal.sync_and_close().unwrap();
    let name = disk.names()[0].clone();
    let mut bytes = disk.bytes(&name);
    bytes[56 + 2] ^= 1;
    disk.plant(&name, bytes);
    let (numbers, damages) = read(open(&disk, options(), "").unwrap().1);
    assert_eq!(numbers, [1]);
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0].kind, DamageKind::EntryHeader);
}

#[test]
fn a_missing_or_short_segment_is_a_gap() {
    let disk = FaultyDisk::new(5);
    let (wal, _, _) = open(&disk, options(), "").unwrap();
    for n in 0..60 {
        wal.append(&[], payload(n, 200).into()).unwrap();
    }
    wal.sync_and_close().unwrap();
    let names = disk.names();
    let whole = disk.bytes(&names[1]);
    disk.plant(&names[1], whole[..whole.len() - 300].to_vec());
    let (_, damages) = read(open(&disk, options(), "").unwrap().1);
    assert!(matches!(damages[0].kind, DamageKind::Short), "{damages:?}");
    disk.plant(&names[1], whole[..whole.len() - 240].to_vec());
    let (_, damages) = read(open(&disk, options(), "").unwrap().1);
    assert!(!damages.is_empty(), "{damages:?}");
    hearth_wal::Disk::remove(&disk, &names[1]).unwrap();
    let (numbers, damages) = read(open(&disk, options(), "").unwrap().1);
    assert!(matches!(damages[0].kind, DamageKind::Missing { .. }), "{damages:?}");
    assert!(numbers.len() > 30);
}
