#![no_main]

use bytes::Bytes;
use hearth_symbols::{BuildLimits, LineTable, build};

const LIMITS: BuildLimits = BuildLimits {
    max_file_bytes: 1 << 20,
    max_inflated_bytes: 1 << 20,
    max_ranges: 1 << 16,
    max_table_bytes: 1 << 22,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(hearth_symbols::build_id_of(bytes));
    if let Ok(table) = build(bytes, &LIMITS) {
        assert!(table.len() <= LIMITS.max_table_bytes);
        let table = LineTable::open(Bytes::from(table)).expect("what was built is valid");
        let (first, last) = table.addresses();
        assert!(table.find(first).next().is_some() && table.find(last).next().is_none());
    }
});
