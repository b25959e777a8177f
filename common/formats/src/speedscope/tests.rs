use super::*;
use crate::stacks::tests::LIMITS;

fn document(frames: &str, profiles: &str) -> String {
    format!(
        r#"{{"exporter":"x","$schema":"{SCHEMA}","shared":{{"frames":[{frames}]}},"profiles":[{profiles}]}}"#
    )
}

const FRAMES: &str = r#"{"name":"a"},{"name":"b","file":"b.js","line":3},{"name":"c"}"#;

fn check(profile: &str, worth: f64, want: &[(&str, i64)]) {
    let text = document(FRAMES, profile);
    let document = Document::parse(text.as_bytes()).expect("valid");
    let [group] = document.groups() else { panic!("one group") };
    let folded = document.stacks(group, worth, LIMITS).expect("small").folded();
    let got: Vec<(&str, i64)> = folded.iter().map(|(stack, value)| (stack.as_str(), *value)).collect();
    assert_eq!(got, want, "{profile}");
}

fn refused(text: &str, want: &str) {
    let error = Document::parse(text.as_bytes()).map(drop).expect_err("refused").to_string();
    assert!(error.contains(want), "{error}");
}

fn sampled(unit: &str, samples: &str, weights: &str) -> String {
    format!(
        r#"{{"type":"sampled","name":"n","unit":"{unit}","startValue":0,"endValue":9,"samples":{samples},"weights":{weights}}}"#
    )
}

fn evented(events: &[(char, u32, f64)], end: f64) -> String {
    let events: Vec<String> = events
        .iter()
        .map(|(ty, frame, at)| format!(r#"{{"type":"{ty}","frame":{frame},"at":{at}}}"#))
        .collect();
    format!(
        r#"{{"type":"evented","name":"n","unit":"none","startValue":1,"endValue":{end},"events":[{}]}}"#,
        events.join(",")
    )
}

#[test]
fn samples_weigh_what_they_say() {
    let profile = sampled("seconds", "[[0,1],[0],[0,1],[]]", "[1,0.25,2,4]");
    check(&profile, 1e9, &[("", 4_000_000_000), ("a", 250_000_000), ("a;b", 3_000_000_000)]);
    check(&sampled("bytes", "[]", "[]"), 1.0, &[]);
    check(&sampled("none", "[[2]]", "[1e300]"), 1.0, &[("c", i64::MAX)]);
}

#[test]
fn time_belongs_to_the_innermost_frame() {
    use std::iter::zip;
    let events = [('O', 0, 2.0), ('O', 1, 5.0), ('C', 1, 6.5), ('O', 2, 6.5), ('C', 2, 7.0), ('C', 0, 8.0)];
    check(&evented(&events, 8.0), 10.0, &[("a", 40), ("a;b", 15), ("a;c", 5)]);
    // Frames that nobody closed are open until the end; time without a frame is nobody's.
    let events = [('O', 0, 2.0), ('C', 0, 3.0), ('O', 1, 5.0)];
    check(&evented(&events, 9.0), 1.0, &[("a", 1), ("b", 4)]);
    check(&evented(&events[..2], 9.0), 1.0, &[("a", 1)]);
    let deep: Vec<_> =
        zip(std::iter::repeat('O'), 0..50_000).map(|(ty, at)| (ty, 0, f64::from(at))).collect();
    let text = document(FRAMES, &evented(&deep, 50_000.0));
    let document = Document::parse(text.as_bytes()).expect("valid");
    let tree = document.stacks(&document.groups()[0], 1.0, LIMITS).expect("fits");
    assert_eq!(tree.frame_count(), 50_000);
    let narrow = StackLimits { size_bytes_max: 100, ..LIMITS };
    let error = document.stacks(&document.groups()[0], 1.0, narrow).map(drop);
    assert_eq!(error, Err(StacksError::Frames(100)));
}

#[test]
fn equal_profiles_are_one() {
    let profile = |name: &str, unit: &str, start: u32| {
        format!(
            r#"{{"type":"sampled","name":"{name}","unit":"{unit}","startValue":{start},"endValue":9,"samples":[[0]],"weights":[2]}}"#
        )
    };
    let profiles = [
        profile("x", "none", 0),
        profile("y", "none", 0),
        profile("x", "none", 0),
        profile("x", "none", 1),
        profile("x", "bytes", 0),
    ];
    let text = document(FRAMES, &profiles.join(","));
    let document = Document::parse(text.as_bytes()).expect("valid");
    let groups: Vec<(&str, Unit, usize)> =
        document.groups().iter().map(|g| (g.name.as_str(), g.unit, g.members.len())).collect();
    let none = Unit::None;
    assert_eq!(groups, [("x", none, 2), ("y", none, 1), ("x", none, 1), ("x", Unit::Bytes, 1)]);
    let tree = document.stacks(&document.groups()[0], 3.0, LIMITS).expect("small");
    assert_eq!(tree.folded(), [("a".to_owned(), 12)]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    refused("{}", "Unknown schema: ");
    refused("garbage", "no speedscope document: expected value at line 1 column 1");
    refused(r#"{"$schema": 3}"#, "invalid type: integer `3`, expected a string at line 1 column 13");
    refused(&format!(r#"{{"$schema":"{}"}}"#, "x".repeat(1000)), "x…");
    let profile = |profile: &str, want: &str| refused(&document(FRAMES, profile), want);
    profile(&sampled("hours", "[]", "[]"), "profile 0: unit \"hours\" is none of none, nanoseconds");
    profile(&sampled("none", "[[0]]", "[]"), "profile 0: 1 samples have 0 weights");
    profile(&sampled("none", "[[0],[1,3]]", "[1,1]"), "profile 0: sample 1 has frame 3, but there are 3");
    profile(&sampled("none", "[[-1]]", "[1]"), "invalid value: integer `-1`, expected u32 at line 1");
    profile(&sampled("none", "[[0]]", "[-1]"), "profile 0: the weight of sample 0 is -1, less than 0");
    profile(&sampled("none", "[[0]]", "[1e999]"), "number out of range");
    profile(r#"{"type":"odd","unit":"none"}"#, "profile type \"odd\" is neither");
    profile(r#"{"type":"sampled","unit":"none","samples":[]}"#, "\"sampled\" without weights");
    profile(&evented(&[('X', 0, 0.0)], 1.0), "invalid value: string \"X\", expected \"O\" or \"C\"");
    profile(&evented(&[('O', 9, 0.0)], 1.0), "event 0 has frame 9, but there are 3 frames");
    profile(
        &evented(&[('O', 0, 2.0), ('C', 0, 1.0)], 1.0),
        "event 1 is at 1, before the one before it, at 2",
    );
    profile(&evented(&[('O', 0, 0.0), ('C', 1, 1.0)], 1.0), "event 1 closes frame 1, but frame 0 is open");
    profile(&evented(&[('C', 1, 1.0)], 1.0), "event 0 closes frame 1, but none is open");
    let many = vec![sampled("none", "[]", "[]"); PROFILES_MAX + 1].join(",");
    profile(&many, "has 1025 profiles, more than 1024");
    let deep = format!(r#"{{"odd":{}"#, "[".repeat(100_000));
    refused(&deep, "EOF while parsing a list at line 1 column 100007");
}
