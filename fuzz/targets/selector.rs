#![no_main]

use hearth_model::selector::Selector;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Selector::parse(text);
    }
});
