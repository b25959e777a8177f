#![no_main]

use hearth_formats::jfr::Recording;
use hearth_formats::jfr::snapshot::LabelsSnapshot;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(recording) = Recording::parse(bytes) {
        for row in &recording.rows {
            assert!(!recording.stack(row.stack).is_empty());
        }
    }
    let _ = LabelsSnapshot::parse(bytes);
});
