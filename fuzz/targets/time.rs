#![no_main]

use hearth_common::TimestampNs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for now in [0, 1_700_000_000_000_000_000, i64::MAX, i64::MIN] {
        let _ = hearth_formats::attime::parse(text, TimestampNs(now));
    }
});
