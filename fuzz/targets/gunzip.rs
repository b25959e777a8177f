#![no_main]

use hearth_formats::gunzip::inflate_capped;

const LIMIT_BYTES: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    let result = inflate_capped(bytes, LIMIT_BYTES, &mut out);
    assert!(result.is_err() || out.len() <= LIMIT_BYTES);
    assert!(out.capacity() <= 2 * LIMIT_BYTES + 64);
});
