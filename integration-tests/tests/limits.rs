//! Every limit of a tenant, gone over: what the client is told, what is counted, and that nothing else is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::{Answer, Api, CPU};
use hearth_integration_tests::process::Options;
use hearth_integration_tests::{Hearth, profile};
use serde_json::json;

const STACKS: profile::Stacks<'_> = &[(&["main", "a"], 100), (&["main", "b"], 23)];
const TOTAL: i64 = 123;
const HOUR_NS: i64 = 3_600_000_000_000;

/// One limit of one tenant, which is named after it.
struct Case {
    tenant: &'static str,
    /// What the tenant's entry says.
    limits: &'static str,
    /// A request that goes over it.
    over: fn(&Api) -> Answer,
    status: u16,
    code: &'static str,
    /// What the message must hold.
    says: &'static [&'static str],
    /// Of the metric of discarded profiles; "" = nothing is discarded.
    reason: &'static str,
}

const CASES: &[Case] = &[
    Case {
        tenant: "burst",
        limits: "ingestion_rate_mb: 0.001, ingestion_burst_size_mb: 0.02",
        over: |api| push(api, &[], &wide(600)),
        status: 429,
        code: "resource_exhausted",
        says: &[
            "push rate limit (1.0 KiB)",
            "more than may come at once (20 KiB)",
            "ingestion_burst_size_mb",
        ],
        reason: "rate_limited",
    },
    Case {
        tenant: "rate",
        limits: "ingestion_rate_mb: 0.00001, ingestion_burst_size_mb: 0.002",
        // Less than the burst of 2,097 bytes, more than what is left of it.
        over: |api| push(api, &[], &profile::cpu(now_ns(), &[(&["x".repeat(1850).as_str()], 1)])),
        status: 429,
        code: "resource_exhausted",
        says: &["push rate limit (10 B)", "ingestion_rate_mb"],
        reason: "rate_limited",
    },
    Case {
        tenant: "body",
        limits: "ingestion_body_limit_mb: 0.01",
        over: |api| ingest(api, &wide(600)),
        status: 413,
        code: "invalid_argument",
        says: &["request body too large", "ingestion_body_limit_mb"],
        reason: "body_size_limit_exceeded",
    },
    Case {
        tenant: "quota",
        limits: "ingestion_limit: {period_type: hour, period_limit_mb: 128, limit_reset_time: 4102444800, \
                 usage_groups: {over: {period_limit_mb: 1, limit_reached: true}}}, \
                 distributor_usage_groups: {over: '{team=\"over\"}'}",
        over: |api| push(api, &[("team", "over")], &now()),
        status: 429,
        code: "resource_exhausted",
        says: &["limit of 1.0 MiB/hour reached", "ingestion_limit"],
        reason: "ingest_limit_reached",
    },
    Case {
        tenant: "label-name",
        limits: "max_label_name_length: 20",
        over: |api| push(api, &[("a_name_of_more_than_twenty_bytes", "x")], &now()),
        status: 400,
        code: "invalid_argument",
        says: &["label name too long", "max_label_name_length", "20"],
        reason: "label_name_too_long",
    },
    Case {
        tenant: "label-value",
        limits: "max_label_value_length: 20",
        over: |api| push(api, &[("x", "a value of more than twenty bytes")], &now()),
        status: 400,
        code: "invalid_argument",
        says: &["label value too long", "max_label_value_length", "20"],
        reason: "label_value_too_long",
    },
    Case {
        tenant: "label-names",
        limits: "max_label_names_per_series: 3",
        over: |api| push(api, &[("x", "1"), ("y", "2")], &now()),
        status: 400,
        code: "invalid_argument",
        says: &["has 4 label names; limit 3", "max_label_names_per_series"],
        reason: "max_label_names_per_series",
    },
    Case {
        tenant: "profile-size",
        limits: "max_profile_size_bytes: 5000",
        over: |api| push(api, &[], &wide(600)),
        status: 400,
        code: "invalid_argument",
        says: &["exceeds", "limit", "max_profile_size_bytes"],
        reason: "profile_size_limit",
    },
    Case {
        tenant: "samples",
        limits: "max_profile_stacktrace_samples: 2",
        over: |api| push(api, &[], &profile::cpu(now_ns(), &[(&["a"], 1), (&["b"], 1), (&["c"], 1)])),
        status: 400,
        code: "invalid_argument",
        says: &["max_profile_stacktrace_samples, actual: 3, limit: 2"],
        reason: "samples_limit",
    },
    Case {
        tenant: "sample-labels",
        limits: "max_profile_stacktrace_sample_labels: 1",
        over: |api| {
            let labels: &[(&str, &str)] = &[("x", "1"), ("y", "2")];
            push(api, &[], &profile::labelled_cpu(now_ns(), &[(&["a"], 1, labels)]))
        },
        status: 400,
        code: "invalid_argument",
        says: &["max_profile_stacktrace_sample_labels, actual: 2, limit: 1"],
        reason: "sample_labels_limit",
    },
    Case {
        tenant: "older",
        limits: "reject_older_than: 1h",
        over: |api| push(api, &[], &profile::cpu(now_ns() - 2 * HOUR_NS, STACKS)),
        status: 400,
        code: "invalid_argument",
        says: &["outside of ingestion window", "reject_older_than"],
        reason: "not_in_ingestion_window",
    },
    Case {
        tenant: "newer",
        limits: "reject_newer_than: 10m",
        over: |api| push(api, &[], &profile::cpu(now_ns() + HOUR_NS, STACKS)),
        status: 400,
        code: "invalid_argument",
        says: &["outside of ingestion window", "reject_newer_than"],
        reason: "not_in_ingestion_window",
    },
    Case {
        tenant: "series-global",
        limits: "max_global_series_per_tenant: 1",
        over: |api| push(api, &[("pod", "another")], &now()),
        status: 429,
        code: "resource_exhausted",
        says: &["Maximum active series limit exceeded (1/1)", "max_global_series_per_tenant"],
        reason: "series_limit",
    },
    Case {
        tenant: "series-local",
        limits: "max_local_series_per_tenant: 1",
        over: |api| push(api, &[("pod", "another")], &now()),
        status: 429,
        code: "resource_exhausted",
        says: &["Maximum active series limit exceeded (1/1)", "max_local_series_per_tenant"],
        reason: "series_limit",
    },
    Case {
        tenant: "sampling",
        limits: "distributor_usage_groups: {none: '{team=\"none\"}'}, \
                 distributor_sampling: {usage_groups: {none: {probability: 0}}}",
        over: |api| push(api, &[("team", "none")], &now()),
        status: 200,
        code: "",
        says: &[],
        reason: "dropped_by_sampling_rules",
    },
    Case {
        tenant: "query-length",
        limits: "max_query_length: 1h, max_query_lookback: 0",
        over: |api| tree(api, now_ns() / 1_000_000 - 2 * 3_600_000, json!({})),
        status: 400,
        code: "invalid_argument",
        says: &["max_query_length, actual: 2h", "limit: 1h"],
        reason: "",
    },
    Case {
        tenant: "nodes",
        limits: "max_flamegraph_nodes_max: 10",
        over: |api| tree(api, now_ns() / 1_000_000 - 60_000, json!({ "maxNodes": 11 })),
        status: 400,
        code: "invalid_argument",
        says: &["max flamegraph nodes limit 11 is greater than allowed 10", "max_flamegraph_nodes_max"],
        reason: "",
    },
];

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn now() -> Vec<u8> {
    profile::cpu(now_ns(), STACKS)
}

/// A profile of many functions.
fn wide(functions: usize) -> Vec<u8> {
    let names: Vec<String> = (0..functions).map(|at| format!("a_function_with_a_long_name_{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stacks: Vec<(&[&str], i64)> = names.chunks(10).map(|stack| (stack, 1)).collect();
    profile::cpu(now_ns(), &stacks)
}

fn push(api: &Api, further: &[(&str, &str)], pprof: &[u8]) -> Answer {
    let labels = [&[("__name__", "process_cpu"), ("service_name", "s")], further].concat();
    api.push(&labels, pprof).expect("an answer")
}

fn ingest(api: &Api, pprof: &[u8]) -> Answer {
    api.post("/ingest?name=s&format=pprof", "application/octet-stream", pprof).expect("an answer")
}

fn tree(api: &Api, start_ms: i64, further: serde_json::Value) -> Answer {
    let mut ask = json!({"profile_typeID": CPU, "label_selector": "{}", "start": start_ms,
        "end": now_ns() / 1_000_000 + 10_000});
    ask.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    api.query("SelectMergeStacktraces", &ask)
}

/// The value of a sample in `/metrics`; 0 when it is not there.
fn metric(api: &Api, name: &str, labels: &[(&str, &str)]) -> f64 {
    let text = api.get("/metrics").expect("an answer").text();
    let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let has = |line: &&str| labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")));
    lines.filter(has).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// One process, in which each tenant has one limit. The defaults stay as they are.
fn start(dir: &std::path::Path) -> Hearth {
    let overrides = dir.join("overrides.yaml");
    let entries = CASES.iter().map(|case| format!("  {}: {{{}}}\n", case.tenant, case.limits));
    std::fs::write(&overrides, format!("overrides:\n{}", entries.collect::<String>())).unwrap();
    let mut options = Options::plain(&dir.join("data"));
    options.config = format!("overrides_file: {}\noverrides_reload: 200ms\n", overrides.display());
    Hearth::start(&options)
}

#[test]
fn each_limit_refuses_what_goes_over_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = start(dir.path());
    let open = hearth.api("open");
    let (start_ms, end_ms) = (now_ns() / 1_000_000 - 60_000, now_ns() / 1_000_000 + 600_000);
    for (case, before) in CASES.iter().zip(0..) {
        let (api, tenant) = (hearth.api(case.tenant), case.tenant);
        let first = push(&api, &[], &now());
        assert_eq!(first.status, 200, "{tenant}: {}", first.text());
        let over = (case.over)(&api);
        assert_eq!(over.status, case.status, "{tenant}: {}", over.text());
        for text in case.says {
            assert!(over.text().contains(text), "{tenant}: no '{text}' in {}", over.text());
        }
        if !case.code.is_empty() {
            assert_eq!(over.json()["code"], case.code, "{tenant}: {}", over.text());
        }
        let discarded = |reason: &str| {
            let labels: &[(&str, &str)] = &[("tenant", tenant), ("reason", reason)];
            metric(&api, "pyroscope_discarded_samples_total", labels)
        };
        match case.reason {
            "" => assert_eq!(metric(&api, "pyroscope_discarded_samples_total", &[("tenant", tenant)]), 0.0),
            reason => assert_eq!(discarded(reason), 1.0, "{tenant}"),
        }
        // What was there is there, what fits is taken, and so it is for others.
        assert_eq!(api.total("{}", start_ms, end_ms), Ok(TOTAL), "{tenant}");
        let again = push(&api, &[], &now());
        assert_eq!(again.status, 200, "{tenant}: {}", again.text());
        assert_eq!(push(&open, &[], &now()).status, 200);
        assert_eq!(api.total("{}", start_ms, end_ms), Ok(2 * TOTAL), "{tenant}");
        assert_eq!(open.total("{}", start_ms, end_ms), Ok((before + 1) * TOTAL));
    }
    hearth.stop();
}
