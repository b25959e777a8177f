use std::borrow::Cow;

use hearth_common::units::GoDuration;
use hearth_formats::pprof::{Function, Label as SampleLabel, Location, Mapping, Sample, ValueType};

use super::*;

const NOW: TimestampNs = TimestampNs(1_700_000_000_000_000_000);
const MINUTE_NS: i64 = 60_000_000_000;

/// One sample `cpu 1` with one location and function.
fn small() -> Pprof<'static> {
    Pprof {
        strings: vec![b"", b"cpu", b"main"],
        sample_types: vec![ValueType { ty: 1, unit: 0 }],
        samples: vec![Sample { location_count: 1, value_count: 1, ..Sample::default() }],
        location_ids: vec![1],
        values: vec![1],
        locations: vec![Location { id: 1, ..Location::default() }],
        functions: vec![Function { id: 1, name: 2, ..Function::default() }],
        time_ns: NOW.0,
        ..Pprof::default()
    }
}

fn series() -> Vec<Label<'static>> {
    vec![(Cow::Borrowed("__name__"), Cow::Borrowed("cpu"))]
}

fn check(change: impl FnOnce(&mut Pprof<'static>)) -> Result<TimestampNs, Rejected> {
    let mut pprof = small();
    change(&mut pprof);
    profile(&mut pprof, 100, &series(), &TenantLimits::default(), NOW)
}

#[test]
fn malformed_profiles_and_their_texts() {
    type Change = fn(&mut Pprof<'static>);
    let cases: [(Change, &str); 14] = [
        (|p| p.sample_types.clear(), "empty profile"),
        (|p| p.locations[0].id = 0, "location id is 0"),
        (|p| p.functions[0].id = 0, "function id is 0"),
        (|p| p.samples[0].value_count = 0, "sample value length mismatch"),
        (|p| p.strings.clear(), "string 0 should be empty string"),
        (|p| p.strings[0] = b"x", "string 0 should be empty string"),
        (|p| p.sample_types[0].ty = 3, "sample type type string index out of range"),
        (|p| p.functions[0].name = 3, "function name string index out of range"),
        (|p| p.functions[0].system_name = 3, "function system name string index out of range"),
        (|p| p.functions[0].filename = 3, "function file name string index out of range"),
        (
            |p| p.labels.push(SampleLabel { key: 3, ..SampleLabel::default() }),
            "sample label key string index out of range",
        ),
        (
            |p| p.mappings.push(Mapping { id: 1, filename: 9, ..Mapping::default() }),
            "mapping file name string index out of range",
        ),
        (
            |p| p.mappings.push(Mapping { id: 1, build_id: 9, ..Mapping::default() }),
            "mapping build id string index out of range",
        ),
        (|p| p.strings[1] = b"inuse-space", "sample type contains -"),
    ];
    for (change, message) in cases {
        assert_eq!(check(change), Err(Rejected::malformed(message)));
    }
    assert_eq!(check(|p| p.sample_types[0].unit = 77), Ok(NOW), "units are mended, not refused");
    assert_eq!(check(|p| p.functions[0].name = -1), Ok(NOW), "negative indices are mended, not refused");
}

#[test]
fn texts_must_be_utf8() {
    let mut out = Vec::new();
    assert_eq!(utf8(&[b"", b"gr\xc3\xb6\xc3\x9fe"], &mut out), Ok(()));
    assert_eq!(out, ["", "größe"]);
    let refused = utf8(&[b"", b"ok", b"\x00\xff"], &mut out);
    assert_eq!(refused, Err(Rejected::malformed("invalid utf8 string hex: 00ff")));
    let long = [&[b'a'; 200][..], b"\xff"].concat();
    let shown = "61".repeat(128);
    let message = format!("invalid utf8 string hex: {shown}... and 73 bytes more; wrong is byte 200");
    assert_eq!(utf8(&[&long], &mut out), Err(Rejected::malformed(message)));
}

#[test]
fn the_window_is_strict_in_milliseconds() {
    assert_eq!(check(|p| p.time_ns = 0), Ok(NOW));
    assert_eq!(check(|p| p.time_ns = -5), Ok(NOW));
    let in_window = NOW.0 - 60 * MINUTE_NS + 1_000_000;
    assert_eq!(check(|p| p.time_ns = in_window), Ok(TimestampNs(in_window)));
    let refused = check(|p| p.time_ns = NOW.0 - 60 * MINUTE_NS + 999_999).expect_err("at the bound");
    assert_eq!(refused.reason, Reason::NotInIngestionWindow);
    let want = "profile with labels '{__name__=\"cpu\"}' is outside of ingestion window (profile timestamp: \
                2023-11-14 21:13:20.000999999 +0000 UTC, the ingestion window starts at 2023-11-14 21:13:20 +0000 UTC \
                and ends at 2023-11-14 22:23:20 +0000 UTC); reject_older_than allows";
    assert!(refused.message.starts_with(want), "{}", refused.message);
    assert!(check(|p| p.time_ns = NOW.0 + 10 * MINUTE_NS).is_err());
    assert!(check(|p| p.time_ns = NOW.0 + 10 * MINUTE_NS - 1_000_000).is_ok());
    let limits = TenantLimits { reject_older_than: GoDuration::default(), ..TenantLimits::default() };
    let mut pprof = small();
    pprof.time_ns = 1;
    assert_eq!(profile(&mut pprof, 1, &series(), &limits, NOW), Ok(TimestampNs(1)));
    pprof.time_ns = NOW.0 * 2;
    let refused = profile(&mut pprof, 1, &series(), &limits, NOW).expect_err("too new");
    assert!(
        refused.message.contains("the ingestion window ends at 2023-11-14 22:23:20 +0000 UTC); reject_newer")
    );
}

#[test]
fn sizes_and_truncation() {
    let limits = TenantLimits {
        max_profile_size_bytes: 100,
        max_profile_stacktrace_samples: 1,
        max_profile_stacktrace_sample_labels: 1,
        max_profile_stacktrace_depth: 2,
        max_profile_symbol_value_length: 3,
        ..TenantLimits::default()
    };
    let run = |pprof: &mut Pprof<'static>, size| profile(pprof, size, &series(), &limits, NOW);
    let message = run(&mut small(), 101).expect_err("too large").message;
    let want = "the profile with labels '{__name__=\"cpu\"}' exceeds the size limit \
                (max_profile_size_byte, actual: 101, limit: 100)";
    assert!(message.starts_with(want), "{message}");
    let mut pprof = small();
    pprof.samples.push(pprof.samples[0]);
    let message = run(&mut pprof, 1).expect_err("too many").message;
    let want = "exceeds the samples count limit (max_profile_stacktrace_samples, actual: 2, limit: 1)";
    assert!(message.contains(want), "{message}");
    let mut pprof = small();
    pprof.samples[0].label_count = 2;
    let refused = run(&mut pprof, 1).expect_err("too many labels");
    assert_eq!(refused.reason, Reason::SampleLabelsLimit);
    let want = "exceeds the sample labels limit (max_profile_stacktrace_sample_labels, actual: 2, limit: 1)";
    assert!(refused.message.contains(want), "{}", refused.message);
    let mut pprof = small();
    pprof.location_ids = vec![1, 2, 3];
    pprof.samples[0].location_count = 3;
    assert_eq!(run(&mut pprof, 1), Ok(NOW));
    let kept = (pprof.samples[0].first_location, pprof.samples[0].location_count);
    assert_eq!(kept, (1, 2), "the root side is kept");
    assert_eq!(pprof.strings, [b"".as_slice(), b"cpu", b"ain"]);
}
