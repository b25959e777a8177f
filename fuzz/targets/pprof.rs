#![no_main]

use hearth_formats::pprof::Pprof;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut pprof = Pprof::default();
    if pprof.parse(bytes).is_ok() {
        assert!(pprof.location_ids.len() + pprof.values.len() + pprof.strings.len() <= bytes.len());
    }
});
