//! What `hearth admin retention` says goes, and nothing else, goes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::process::{OPEN_LIMITS, Options, binary};
use hearth_integration_tests::{Api, Hearth, profile};

const DAY_NS: i64 = 86_400_000_000_000;
const RETENTION: &str = "  max_query_lookback: 0\n  max_query_length: 0\n  compactor_blocks_retention_period: 10d\n  \
    retention:\n    - { selector: '{pod=\"dev\"}', period: 2d }\n";

fn push(api: &Api, pod: &str, time_ns: i64, value: i64) {
    let labels = [("__name__", "process_cpu"), ("service_name", "shop"), ("pod", pod)];
    let answer = api.push(&labels, &profile::cpu(time_ns, &[(&["main"], value)])).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn what_is_said_to_go_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(&dir.path().join("data"));
    options.config = format!("{OPEN_LIMITS}{RETENTION}compactor: {{interval: 0}}\n");
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let ago_ns = |days: i64| now_ns - days * DAY_NS;
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    for (days, value) in [(12, 1), (5, 10), (0, 100)] {
        push(&api, "dev", ago_ns(days), value);
        push(&api, "prod", ago_ns(days) + 1, value * 1000);
    }
    api.flush();
    let (start_ms, end_ms) = (ago_ns(20) / 1_000_000, now_ns / 1_000_000 + 1000);
    assert_eq!(api.total("{}", start_ms, end_ms), Ok(111_111));
    hearth.stop();

    let config = dir.path().join("settings.yaml");
    std::fs::write(&config, &options.config).unwrap();
    let mut look = Command::new(binary());
    look.args(["admin", "retention", "--tenant", "t", "--config"]).arg(&config);
    let output = look.arg("--data-dir").arg(&options.data_dir).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "kept for 10d",
        "1 blocks with 2 profiles, ",
        "rule {pod=\"dev\"} kept for 2d shop 1 profiles 1 samples, about ",
        ": in 1 blocks that are written anew without them in the next round",
        "and in 0 blocks with younger profiles",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }

    options.config = format!("{OPEN_LIMITS}{RETENTION}compactor: {{interval: 100ms}}\n");
    let hearth = Hearth::start(&options);
    let api = hearth.api("t");
    let since = Instant::now();
    loop {
        let total = api.total("{}", start_ms, end_ms);
        if total == Ok(111_111 - 1001 - 10) {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{total:?}\n{}", hearth.log_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = api.get("/metrics").unwrap().text();
    for said in ["expired_blocks_total 1", "expired_profiles_total 2", "expired_rows_total 1"] {
        assert!(metrics.contains(&format!("\nhearth_compactor_{said}\n")), "{said}: {metrics}");
    }
    assert!(hearth.log_text().contains("a block is older than it is kept"), "{}", hearth.log_text());
    hearth.stop();
}
