#![no_main]

use hearth_formats::stacks::StackLimits;

const LIMITS: StackLimits =
    StackLimits { size_bytes_max: 1 << 16, name_bytes_max: 1 << 12, children_max: 1 << 12 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(stacks) = hearth_formats::trie::parse(bytes, LIMITS) {
        assert!(stacks.frame_count() <= LIMITS.size_bytes_max);
        assert!(stacks.text().len() <= LIMITS.size_bytes_max);
        let depths = stacks.stacks().take(100).map(|(stack, _)| stacks.frames(stack).count());
        assert!(depths.max().unwrap_or(0) <= stacks.frame_count());
    }
});
