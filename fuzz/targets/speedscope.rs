#![no_main]

use hearth_formats::speedscope::Document;
use hearth_formats::stacks::StackLimits;

const LIMITS: StackLimits =
    StackLimits { size_bytes_max: 1 << 16, name_bytes_max: 1 << 12, children_max: 1 << 12 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Document::parse(bytes) else { return };
    for group in document.groups() {
        if let Ok(stacks) = document.stacks(group, 1e7, LIMITS) {
            assert!(stacks.frame_count() <= bytes.len());
            assert!(stacks.text().len() <= LIMITS.size_bytes_max);
        }
    }
});
