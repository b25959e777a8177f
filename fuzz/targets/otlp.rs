#![no_main]

use hearth_formats::otlp::{Otlp, json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(otlp) = Otlp::parse(bytes) {
        let entries = otlp.samples.len() + otlp.values.len() + otlp.stack_locations.len() + otlp.strings.len();
        assert!(entries <= bytes.len());
    }
    if let Ok((protobuf, layout)) = json::to_protobuf(bytes) {
        assert!(protobuf.len() <= 8 * bytes.len());
        let _ = json::parse(&protobuf, layout);
    }
});
