//! The rules of appending, releasing and closing, on a real folder; the golden segment.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::sync::Arc;

use bytes::Bytes;
use faulty::{FaultyDisk, Told};
use hearth_common::Classify;
use hearth_wal::{Appended, Location, Replay, Replayed, SegmentNo, Wal, WalError, WalOptions};

fn open(options: WalOptions, preamble: &[u8]) -> (Wal, Replay, Arc<Told>) {
    let told = Arc::new(Told::default());
    let (wal, replay) = Wal::open(options, preamble.to_vec(), Arc::<Told>::clone(&told)).expect("opens");
    (wal, replay, told)
}

fn small(dir: &std::path::Path) -> WalOptions {
    WalOptions { segment_bytes: 2048, ..WalOptions::new(dir) }
}

#[test]
fn entries_come_back_with_their_preambles() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, replay, told) = open(small(dir.path()), b"one");
    assert_eq!(replay.count(), 0);
    let first = wal.append(b"head ", Bytes::from_static(b"body")).unwrap();
    assert!(told.wait(first.lsn));
    wal.set_preamble(b"two".to_vec()).unwrap();
    wal.roll();
    let second = wal.append(b"", Bytes::from(vec![7; 5000])).unwrap();
    assert!(told.wait(second.lsn));
    assert_eq!((first.location.segment, second.location.segment), (SegmentNo(1), SegmentNo(2)));
    assert_eq!(wal.read(first.location).unwrap(), "head body");
    assert_eq!(wal.read(second.location).unwrap(), vec![7; 5000]);
    let beside = Location { offset: first.location.offset + 1, ..first.location };
    assert!(wal.read(beside).is_err());
    drop(wal);

    let (wal, replay, _) = open(small(dir.path()), b"three");
    let preambles = replay.preambles();
    assert_eq!(preambles, [(SegmentNo(1), "one".into()), (SegmentNo(2), "two".into())]);
    // What is appended now is not part of the replay.
    wal.append(b"", Bytes::from_static(b"new")).unwrap();
    let items: Vec<Replayed> = replay.map(|item| item.expect("no damage")).collect();
    let segment = |n, p: &'static str| Replayed::Segment { segment: SegmentNo(n), preamble: p.into() };
    let entry = |location, bytes: &[u8]| Replayed::Entry { location, bytes: Bytes::copy_from_slice(bytes) };
    let entries = [entry(first.location, b"head body"), entry(second.location, &[7; 5000])];
    let [one, two] = entries;
    assert_eq!(items, [segment(1, "one"), one, segment(2, "two"), two]);
    wal.sync_and_close().unwrap();
    assert_eq!(wal.segments().len(), 3);
    assert!(matches!(wal.append(b"", Bytes::new()), Err(WalError::Closed)));
}

#[test]
fn only_what_is_not_in_use_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _, told) = open(small(dir.path()), b"");
    let appended: Vec<Appended> =
        (0..10).map(|_| wal.append(b"", Bytes::from(vec![1; 900])).unwrap()).collect();
    let (first, last) = (appended[0], appended[9]);
    assert!(told.wait(last.lsn));
    let current = last.location.segment;
    let before = wal.bytes();
    assert_eq!(wal.remove_segments_upto(SegmentNo(2)).unwrap(), 2);
    assert!(wal.bytes() < before);
    assert!(wal.read(first.location).is_err());
    assert_eq!(wal.read(last.location).unwrap(), vec![1; 900]);
    wal.remove_segments_upto(current).unwrap();
    assert_eq!(wal.segments().len(), 1, "the segment that grows stays");
    wal.roll();
    wal.remove_segments_upto(current).unwrap();
    assert_eq!((wal.segments().len(), wal.bytes()), (0, 0), "after a roll it goes");
    let last = wal.append(b"", Bytes::from_static(b"x")).unwrap();
    assert!(told.wait(last.lsn));
    wal.sync_and_close().unwrap();
    let newest = wal.segments()[0].segment;
    wal.remove_segments_upto(newest).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "after a close everything may go");
}

#[test]
fn it_says_no_before_it_is_too_late() {
    let disk = FaultyDisk::new(1);
    let options = WalOptions {
        segment_bytes: 2048,
        queue_bytes: 3000,
        quota_bytes: 6000,
        reserve_bytes: 1000,
        ..WalOptions::new("/nowhere")
    };
    let told = Arc::new(Told::default());
    let open = |options: WalOptions| {
        Wal::open_on(Arc::new(disk.clone()), options, Vec::new(), Arc::<Told>::clone(&told))
    };
    assert!(matches!(open(WalOptions { quota_bytes: 1, ..options.clone() }), Err(WalError::Option { .. })));
    let (wal, _) = open(options).unwrap();
    let entry = |bytes| wal.append(b"", Bytes::from(vec![0; bytes]));
    // The quota: what is there stays readable, nothing more comes in.
    let mut accepted = 0;
    let refused = loop {
        match entry(1000) {
            Ok(appended) => assert!(told.wait(appended.lsn)),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert!(matches!(refused, WalError::Full { quota: 6000, .. }), "{refused}");
    assert_eq!(accepted, 5);
    assert!(refused.is_full() && refused.kind() == hearth_common::ErrorKind::ResourceExhausted);
    // Room comes back by release.
    wal.roll();
    wal.remove_segments_upto(SegmentNo(100)).unwrap();
    assert!(told.wait(entry(1000).unwrap().lsn));
    // The disk: first a refusal, and by itself again when there is room.
    disk.set_free(1500);
    assert!(told.wait(entry(10).unwrap().lsn));
    let refused = entry(1000).unwrap_err();
    assert!(matches!(refused, WalError::DiskFull { reserve: 1000, .. }), "{refused}");
    disk.set_free(1 << 40);
    let again = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        entry(1000).is_ok()
    });
    assert!(again, "it looks again");
    let long = entry(hearth_wal::MAX_ENTRY_BYTES + 1).unwrap_err();
    assert!(matches!(long, WalError::TooLong { .. }));
}

#[test]
fn one_failure_ends_writing() {
    let disk = FaultyDisk::new(2);
    let told = Arc::new(Told::default());
    let (wal, _) = Wal::open_on(
        Arc::new(disk.clone()),
        WalOptions::new("/nowhere"),
        Vec::new(),
        Arc::<Told>::clone(&told),
    )
    .unwrap();
    let first = wal.append(b"", Bytes::from_static(b"kept")).unwrap();
    assert!(told.wait(first.lsn));
    disk.fail_after(1);
    let second = wal.append(b"", Bytes::from_static(b"lost")).unwrap();
    assert!(!told.wait(second.lsn));
    // The disk is well again; the log is not.
    disk.restart();
    let refused = wal.append(b"", Bytes::from_static(b"more")).unwrap_err();
    assert!(matches!(&refused, WalError::Stopped { cause } if cause.contains("sync")), "{refused}");
    assert!(wal.stats().failed && wal.sync_and_close().is_err());
    assert_eq!(told.durable_upto(), 1);
}

/// A change of these bytes is a change of the format: raise the version and keep reading the old one.
#[test]
fn the_golden_segment_is_written_and_read() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/00000000000000000001.wal");
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { salt: 0x5eed, ..WalOptions::new(dir.path()) };
    let (wal, _, told) = open(options, b"preamble");
    for (head, body) in [("head", "body"), ("", ""), ("third", "entry")] {
        // One by one: the place in the group is part of the bytes.
        assert!(told.wait(wal.append(head.as_bytes(), body.into()).unwrap().lsn));
    }
    drop(wal);
    let written = std::fs::read(dir.path().join("00000000000000000001.wal")).unwrap();
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(golden, &written).unwrap();
    }
    assert_eq!(written, std::fs::read(golden).unwrap());

    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden, dir.path().join("00000000000000000001.wal")).unwrap();
    let (_, replay, _) = open(WalOptions::new(dir.path()), b"");
    let entries: Vec<Bytes> = replay
        .filter_map(|item| match item.expect("no damage") {
            Replayed::Entry { bytes, .. } => Some(bytes),
            Replayed::Segment { preamble, .. } => {
                assert_eq!(preamble, "preamble");
                None
            }
        })
        .collect();
    assert_eq!(entries, ["headbody", "", "thirdentry"]);
}
