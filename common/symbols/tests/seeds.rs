//! The seeds of the fuzz targets as plain tests: cut at many places, with many bits flipped. Nothing may panic.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use hearth_symbols::{BuildLimits, LineTable, build};

/// Places at which a seed is damaged.
const PLACES: usize = 400;

#[test]
fn programs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/elf");
    let limits = BuildLimits { max_inflated_bytes: 1 << 20, ..BuildLimits::default() };
    let mut seeds = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        let name = path.file_name().expect("a file").to_string_lossy();
        // What fuzzing found: an error or a table, and no panic. What would cost too much: an error.
        if name.starts_with("damaged") || name.starts_with("refused") {
            let outcome = build(&bytes, &limits);
            assert!(outcome.is_err() || name.starts_with("damaged"), "{name}");
            continue;
        }
        let table = LineTable::open(Bytes::from(build(&bytes, &limits).expect("valid"))).expect("valid");
        let (first, last) = table.addresses();
        let deepest = (first..last).map(|address| table.find(address).count()).max();
        assert_eq!((table.sources().dwarf, deepest), (true, Some(3)), "two calls are inlined");
        seeds += 1;
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(PLACES)) {
            drop(build(&bytes[..at], &limits));
            for change in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                drop(build(&damaged, &limits));
            }
        }
    }
    assert!(seeds > 0);
}
