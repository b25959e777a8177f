//! Profiles of years ago: which setting takes them, and which one shows them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use hearth_integration_tests::process::{OPEN_LIMITS, Options};
use hearth_integration_tests::{Hearth, profile};

const LABELS: [(&str, &str); 2] = [("__name__", "process_cpu"), ("service_name", "old")];
const SELECTOR: &str = "{service_name=\"old\"}";
/// In November 2023.
const TIME_MS: i64 = 1_700_000_000_000;
const RANGE_MS: (i64, i64) = (TIME_MS - 60_000, TIME_MS + 60_000);

fn old_profile(value: i64) -> Vec<u8> {
    profile::cpu(TIME_MS * 1_000_000, &[(&["main"], value)])
}

#[test]
fn without_a_setting_an_old_profile_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::plain(&dir.path().join("data")));
    let answer = hearth.api("t").push(&LABELS, &old_profile(123)).expect("an answer");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("is outside of ingestion window"), "{}", answer.text());
    hearth.stop();
}

/// `reject_older_than: 0` takes it; an answer has it, from memory and from a block, once `max_query_lookback` reaches so far.
#[test]
fn an_old_profile_is_kept_and_shown_as_far_as_queries_look_back() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = Options::new(&dir.path().join("data"));
    assert!(narrow.config.contains("reject_older_than: 0\n"), "{}", narrow.config);
    let wide = Options { config: format!("{OPEN_LIMITS}  max_query_lookback: 0\n"), ..narrow.clone() };
    let (start_ms, end_ms) = RANGE_MS;

    let hearth = Hearth::start(&narrow);
    let answer = hearth.api("t").push(&LABELS, &old_profile(123)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(hearth.api("t").total(SELECTOR, start_ms, end_ms), Ok(0), "queries look back seven days");
    hearth.stop();

    let hearth = Hearth::start(&wide);
    let api = hearth.api("t");
    assert_eq!(api.total(SELECTOR, start_ms, end_ms), Ok(123), "published by the stop");
    let answer = api.push(&LABELS, &old_profile(1000)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(api.total(SELECTOR, start_ms, end_ms), Ok(1123), "one of them in memory");
    api.flush();
    assert_eq!(api.total(SELECTOR, start_ms, end_ms), Ok(1123), "both published");
    hearth.stop();
}
