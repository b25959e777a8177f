//! A table of version 1 must be readable for ever, and damage must be found.
#![allow(clippy::print_stderr, reason = "says what to look at")]

use bytes::Bytes;
use hearth_symbols::{LineTable, Sources, TableError};

/// Made from the `outer` of `tests/programs.rs`, compiled by gcc with DWARF 5 and -O2, with all its symbols.
const GOLDEN: &[u8] = include_bytes!("golden/table-v1.bin");

#[test]
fn the_first_version_is_read() {
    let table = LineTable::open(Bytes::from_static(GOLDEN)).expect("readable for ever");
    assert_eq!(table.size_bytes(), GOLDEN.len());
    assert_eq!(table.sources(), Sources { dwarf: true, pclntab: false, symbols: true });
    let (first, last) = table.addresses();
    let mut said = String::new();
    let mut before = String::new();
    for address in first..last {
        let frames: Vec<String> = table
            .find(address)
            .map(|frame| format!("{} {}:{}", frame.function, frame.file, frame.line))
            .collect();
        let line = frames.join(" < ");
        if line != before {
            said.push_str(&format!("{address:x} {line}\n"));
            before = line;
        }
    }
    if said != include_str!("golden/table-v1.txt") {
        eprintln!("{said}");
        panic!("the table reads otherwise than it did");
    }
    // Code is mapped where it is in the file.
    assert_eq!(table.virtual_address(0x7f00_0000_1040, 0x7f00_0000_1000, 0x7f00_0000_2000, 0x1000), 0x1040);
    assert_eq!(table.virtual_address(0x1040, 0, 0, 0), 0x1040);
}

#[test]
fn every_damaged_byte_is_found() {
    for at in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] ^= 0x10;
        assert!(LineTable::open(Bytes::from(bytes)).is_err(), "byte {at}");
        assert!(LineTable::open(Bytes::copy_from_slice(&GOLDEN[..at])).is_err(), "cut at {at}");
    }
    let mut newer = GOLDEN.to_vec();
    newer[8] = 2;
    let error = LineTable::open(Bytes::from(newer)).expect_err("newer");
    assert_eq!(error, TableError::Version { found: 2, known: 1 });
}

/// Damage under a right checksum: a hostile table must not be able to make a look-up fail.
#[test]
fn hostile_tables_are_refused_or_answer() {
    for at in 8..GOLDEN.len() {
        for change in [1u8, 0x80, 0xff] {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] ^= change;
            let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
            hash.update(&bytes[..56]);
            hash.update(&bytes[64..]);
            bytes[56..64].copy_from_slice(&hash.digest().to_le_bytes());
            if let Ok(table) = LineTable::open(Bytes::from(bytes)) {
                let (first, last) = table.addresses();
                let addresses = (first..last.min(first + 2000)).chain([0, last, u64::MAX]);
                addresses.for_each(|address| _ = table.find(address).count());
                table.virtual_address(u64::MAX, 1, 2, u64::MAX);
            }
        }
    }
}
