#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = hearth_formats::app_name::parse(text) {
        assert!(!name.app.is_empty());
        assert!(name.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() < text.len().max(1));
    }
});
