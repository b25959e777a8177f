//! Tenants: kept apart, asked together, and told apart in answers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::time::{SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::{Api, CPU};
use hearth_integration_tests::process::Options;
use hearth_integration_tests::{Hearth, profile};
use serde_json::{Value, json};

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn range() -> (i64, i64) {
    (now_ns() / 1_000_000 - 60_000, now_ns() / 1_000_000 + 10_000)
}

fn push(api: &Api, value: i64) {
    let labels = [("__name__", "process_cpu"), ("service_name", "s")];
    let answer = api.push(&labels, &profile::cpu(now_ns(), &[(&["main"], value)])).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ask(api: &Api, method: &str, further: Value) -> Value {
    let (start, end) = range();
    let mut question = json!({"profile_typeID": CPU, "label_selector": "{}", "start": start, "end": end});
    question.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    let answer = api.query(method, &question);
    assert_eq!(answer.status, 200, "{method}: {}", answer.text());
    answer.json()
}

/// Series by tenant: (the label `__tenant_id__`, sum).
fn by_tenant(api: &Api, selector: &str) -> Vec<(String, i64)> {
    let further = json!({"group_by": ["__tenant_id__"], "step": 70.0, "label_selector": selector});
    let series = ask(api, "SelectSeries", further);
    let of = |series: &Value| {
        let label = series["labels"][0]["value"].as_str().unwrap().to_owned();
        assert_eq!(series["labels"][0]["name"], "__tenant_id__");
        let points = series["points"].as_array().unwrap().iter();
        (label, points.map(|point| point["value"].as_f64().unwrap() as i64).sum())
    };
    let mut found: Vec<_> = series["series"].as_array().into_iter().flatten().map(of).collect();
    found.sort();
    found
}

#[test]
fn several_tenants_are_asked_together_and_answers_tell_them_apart() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let (a, b, both) = (hearth.api("a"), hearth.api("b"), hearth.api("b|a|b"));
    push(&a, 100);
    push(&b, 23);
    // Once from heads, once from blocks.
    for published in [false, true] {
        if published {
            a.flush();
        }
        let (start, end) = range();
        assert_eq!((a.total("{}", start, end), b.total("{}", start, end)), (Ok(100), Ok(23)));
        assert_eq!(both.total("{}", start, end), Ok(123));
        assert_eq!(both.total(r#"{__tenant_id__="a"}"#, start, end), Ok(100));
        assert_eq!(both.total(r#"{__tenant_id__!~"a|b"}"#, start, end), Ok(0));
        assert_eq!(a.total(r#"{__tenant_id__="b"}"#, start, end), Ok(0), "the label gives nothing of others");
        let named = |pairs: &[(&str, i64)]| {
            pairs.iter().map(|(id, sum)| ((*id).to_owned(), *sum)).collect::<Vec<_>>()
        };
        assert_eq!(by_tenant(&both, "{}"), named(&[("a", 100), ("b", 23)]));
        assert_eq!(by_tenant(&both, r#"{__tenant_id__=~"b.*"}"#), named(&[("b", 23)]));
        let names = ask(&both, "LabelNames", json!({}));
        assert!(names["names"].as_array().unwrap().contains(&json!("__tenant_id__")), "{names}");
        let names = ask(&a, "LabelNames", json!({}));
        assert!(!names["names"].as_array().unwrap().contains(&json!("__tenant_id__")), "{names}");
        let values = ask(&both, "LabelValues", json!({"name": "__tenant_id__"}));
        assert_eq!(values["names"], json!(["a", "b"]));
        let series = ask(&both, "Series", json!({"labelNames": ["service_name", "__tenant_id__"]}));
        let of = |id: &str| json!({"labels": [{"name": "__tenant_id__", "value": id}, {"name": "service_name", "value": "s"}]});
        assert_eq!(series["labelsSet"], json!([of("a"), of("b")]));
    }
    hearth.stop();
}

#[test]
fn what_names_no_single_tenant_is_refused_where_one_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let hearth = Hearth::start(&Options::new(&dir.path().join("data")));
    let (start, end) = range();
    let body = profile::cpu(now_ns(), &[(&["main"], 1)]);
    let labels = [("__name__", "process_cpu"), ("service_name", "s")];
    for (tenant, says) in [
        ("", "no org id"),
        ("a|b", "multiple org IDs present"),
        ("..", "tenant ID is '.' or '..'"),
        ("../b", "unsupported character '/'"),
        ("a%2f..%2fb", "unsupported character '%'"),
        ("a\\b", "unsupported character"),
    ] {
        let answer = hearth.api(tenant).push(&labels, &body).expect("an answer");
        assert!(answer.status == 401 && answer.text().contains(says), "{tenant}: {}", answer.text());
    }
    let many: Vec<String> = (0..101).map(|at| format!("t{at}")).collect();
    let error = hearth.api(&many.join("|")).total("{}", start, end).expect_err("too many");
    assert!(error.contains("names 101 tenants"), "{error}");
    // Whoever puts a header before or behind that of a gateway gains nothing.
    let twice = ureq::post(format!("{}/querier.v1.QuerierService/LabelNames", hearth.url))
        .config()
        .http_status_as_error(false)
        .build()
        .header("X-Scope-OrgID", "a")
        .header("x-scope-orgid", "b")
        .header("content-type", "application/json")
        .send("{}");
    let mut twice = twice.expect("an answer");
    let text = twice.body_mut().read_to_string().unwrap();
    assert!(twice.status() == 401 && text.contains("is there 2 times"), "{text}");
    hearth.stop();
}

#[test]
fn totals_of_what_sampling_leaves_out_are_kept_and_shown_where_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = dir.path().join("overrides.yaml");
    let sampling = "distributor_usage_groups: {all: '{}'}, keep_stripped_profiles: true, \
                    distributor_sampling: {usage_groups: {all: {probability: 0}}}";
    let text =
        format!("overrides:\n  off: {{{sampling}}}\n  on: {{{sampling}, include_stripped_profiles: true}}\n");
    std::fs::write(&overrides, text).unwrap();
    let mut options = Options::plain(&dir.path().join("data"));
    options.config = format!("overrides_file: {}\n", overrides.display());
    let hearth = Hearth::start(&options);
    for (tenant, total) in [("off", 0), ("on", 7)] {
        let api = hearth.api(tenant);
        push(&api, 7);
        let (start, end) = range();
        // Series count them; a flame graph has no place for what has no stack.
        assert_eq!(api.series_total("{}", start, end), Ok(total), "{tenant}");
        api.flush();
        assert_eq!(api.series_total("{}", start, end), Ok(total), "{tenant}, published");
    }
    let limits = hearth.api("on").get("/api/v1/tenant_limits").expect("an answer");
    let want =
        json!({"ingestion_rate": 4.0, "ingestion_burst_size": 2.0, "max_global_series_per_user": 5000});
    assert_eq!(limits.json(), want);
    let changed = hearth.api("").get("/runtime_config?mode=diff").expect("an answer").text();
    assert!(
        changed.contains("include_stripped_profiles: true") && !changed.contains("ingestion_rate"),
        "{changed}"
    );
    let all = hearth.api("").get("/runtime_config").expect("an answer").text();
    assert!(all.contains("ingestion_rate_mb: 4.0"), "{all}");
    hearth.stop();
}
