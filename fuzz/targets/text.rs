#![no_main]

use hearth_formats::{app_name, folded::TextStacks};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for stacks in [TextStacks::parse_groups(bytes), TextStacks::parse_lines(bytes)].into_iter().flatten() {
        assert_eq!(stacks.iter().map(|(frames, _)| frames.len()).sum::<usize>(), stacks.frames.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = app_name::parse(text);
    }
});
