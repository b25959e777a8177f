//! What clients get: the JSON of every method, statuses and texts.

mod support;

use hearth_common::TenantLimits;
use hearth_querier::QuerierOptions;
use serde_json::{Value, json};
use support::{BASE_MS, CPU, Got, Port, Profile, World};

const WORKED: [(&str, i64); 4] = [("main;a", 3), ("main;b;c", 5), ("main;b", 1), ("zeta", 1)];

async fn world() -> (World, Port) {
    let world = World::new();
    world.push(Profile::new("api", BASE_MS, &WORKED).label("pod", "p1"));
    world.push(Profile::new("web", BASE_MS + 10_000, &[("main", 7)]).label("größe.x", "v"));
    world.publish().await;
    let port = world.serve().await;
    (world, port)
}

fn ask(more: Value) -> Value {
    let mut body = json!({"profileTypeID": CPU, "labelSelector": "{service_name=\"api\"}",
        "start": (BASE_MS - 60_000).to_string(), "end": BASE_MS + 60_000});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

fn refused(got: &Got, status: u16, code: &str, text: &str) {
    assert_eq!((got.status, got.json["code"].as_str()), (status, Some(code)), "{}", got.json);
    let message = got.json["message"].as_str().unwrap_or_default();
    assert!(message.contains(text), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flame_graphs() {
    let (_world, port) = world().await;
    let method = "SelectMergeStacktraces";
    let worked = json!({
        "names": ["total", "zeta", "main", "b", "c", "a"],
        "levels": [
            {"values": ["0", "10", "0", "0"]},
            {"values": ["0", "9", "0", "2", "0", "1", "1", "1"]},
            {"values": ["0", "3", "3", "5", "0", "6", "1", "3"]},
            {"values": ["4", "5", "5", "4"]},
        ],
        "total": "10", "maxSelf": "5",
    });
    assert_eq!(port.rpc(method, ask(json!({}))).await.json, json!({"flamegraph": worked}));
    let snake = json!({"profile_typeID": CPU, "label_selector": "{service_name=\"api\"}",
        "start": BASE_MS, "end": BASE_MS, "max_nodes": 0, "format": "PROFILE_FORMAT_FUNCTIONS"});
    assert_eq!(port.rpc(method, snake).await.json, json!({"flamegraph": worked}), "a range of one instant");
    let nothing = json!({"flamegraph": {"names": ["total"], "levels": [{"values": ["0", "0", "0", "0"]}]}});
    for empty in [json!({"labelSelector": "{service_name=\"no\"}"}), json!({"start": 1, "end": 2})] {
        assert_eq!(port.rpc(method, ask(empty)).await.json, nothing);
    }
    let call_site = json!({"stackTraceSelector": {"callSite": [{"name": "main"}, {"name": "b"}]}});
    let graph = port.rpc(method, ask(call_site)).await.json;
    assert_eq!(graph["flamegraph"]["total"], "6", "{graph}");
    let drawn = port.rpc(method, ask(json!({"format": "PROFILE_FORMAT_DOT", "maxNodes": -1}))).await.json;
    assert!(
        drawn["dot"].as_str().is_some_and(|text| text.contains("\nN5 [label=\"zeta\\n1ns (10.00%)")),
        "{drawn}"
    );
    let tree = port.rpc(method, ask(json!({"format": "PROFILE_FORMAT_TREE"}))).await.json;
    assert!(tree["tree"].is_string() && tree.get("flamegraph").is_none(), "{tree}");
    let spans = json!({"spanSelector": ["c717c11b87121639"]});
    assert_eq!(port.rpc("SelectMergeSpanProfile", ask(spans)).await.json, nothing);
    assert_eq!(port.rpc("SelectMergeSpanProfile", ask(json!({}))).await.json, nothing, "no span, no sample");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_and_how() {
    let (_world, port) = world().await;
    let method = "SelectMergeStacktraces";
    for (change, text) in [
        (json!({"start": 0}), "missing time range in the query"),
        (json!({"start": BASE_MS + 1, "end": BASE_MS}), "query start time is after end time"),
        (
            json!({"start": BASE_MS - 90_000_000}),
            "the query time range exceeds the limit (max_query_length, actual: 25h1m0s, limit: 1d)",
        ),
        (json!({"maxNodes": -1}), "max flamegraph nodes limit must be set (max allowed 1048576)"),
        (
            json!({"maxNodes": 1_048_577}),
            "max flamegraph nodes limit 1048577 is greater than allowed 1048576",
        ),
        (json!({"profileTypeID": "cpu"}), "got(1): \"cpu\""),
        (json!({"labelSelector": ""}), "unknown position: parse error: unexpected end of input"),
        (json!({"labelSelector": "{a="}), "parse error"),
        (json!({"labelSelector": "{a=~\"(\"}"}), "error parsing regexp"),
        (json!({"spanSelector": ["nothex"]}), "invalid span id"),
        (json!({"profileIdSelector": ["nothex"]}), "invalid profile id"),
    ] {
        refused(&port.rpc(method, ask(change)).await, 400, "invalid_argument", text);
    }
    refused(&port.rpc("SelectHeatmap", json!({})).await, 501, "unimplemented", "");
    let step = port.rpc("SelectSeries", ask(json!({"step": 0}))).await;
    refused(&step, 400, "invalid_argument", "step must be >= 1ms");
    let diff = port.rpc("Diff", json!({"right": ask(json!({}))})).await;
    refused(&diff, 400, "invalid_argument", "missing time range in the query");
    let name = port.rpc("LabelValues", json!({"name": ""})).await;
    refused(&name, 400, "invalid_argument", "name is required");
    let names = port.rpc("LabelNames", json!({"matchers": ["{service_name="]})).await;
    refused(&names, 400, "invalid_argument", "parse error");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_bounds_and_what_is_not_built_says_so() {
    let (_world, port) = world().await;
    let names = |count: usize| vec!["n"; count];
    let call_site = |count: usize| json!({"callSite": vec![json!({"name": "f"}); count]});
    for (method, body, text) in [
        ("Series", json!({"labelNames": names(257)}), "257 entries in label_names are more than 256"),
        (
            "SelectSeries",
            ask(json!({"step": 15, "groupBy": names(257)})),
            "257 entries in group_by are more than 256",
        ),
        (
            "SelectMergeStacktraces",
            ask(json!({"stackTraceSelector": call_site(4097)})),
            "4097 entries in stack_trace_selector.call_site are more than 4096",
        ),
        ("LabelNames", json!({"matchers": names(131_073)}), "more than 131072 selectors, names and ids"),
        (
            "Diff",
            json!({"left": {"spanSelector": names(131_072)}}),
            "more than 131072 selectors, names and ids",
        ),
    ] {
        refused(&port.rpc(method, body).await, 400, "invalid_argument", text);
    }
    assert_eq!(port.rpc("Series", json!({"labelNames": names(256)})).await.status, 200);
    for path in ["/adhocprofiles.v1.AdHocProfileService/Upload", "/vcs.v1.VCSService/GithubApp"] {
        let got = port.rpc_with(path, json!({"name": "x", "profile": "eA=="}), &[]).await;
        refused(&got, 501, "unimplemented", "not supported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series() {
    let world = World::new();
    for ms in [90_000, 95_000, 100_000, 100_001, 120_000, 130_000, 130_400] {
        world.push(Profile::new("api", BASE_MS + ms, &[("main", 2)]).label("pod", "p"));
    }
    world.push(Profile::new("web", BASE_MS + 100_000, &[("main", 100)]));
    world.publish().await;
    let port = world.serve().await;
    let series = |more: Value| {
        let mut body = json!({"profileTypeID": CPU, "labelSelector": "{service_name=\"api\"}", "step": 10.0,
            "start": BASE_MS + 100_000, "end": BASE_MS + 130_500});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        port.rpc("SelectSeries", body)
    };
    let at = |ms: i64| (BASE_MS + ms).to_string();
    let points = json!([
        {"value": 6.0, "timestamp": at(100_000)}, {"value": 2.0, "timestamp": at(110_000)},
        {"value": 2.0, "timestamp": at(120_000)}, {"value": 2.0, "timestamp": at(130_000)},
    ]);
    assert_eq!(series(json!({})).await.json, json!({"series": [{"points": points}]}));
    let average = series(json!({"aggregation": "TIME_SERIES_AGGREGATION_TYPE_AVERAGE"})).await.json;
    assert_eq!(average["series"][0]["points"][0]["value"], 2.0);
    let grouped = series(json!({"labelSelector": "{}", "groupBy": ["service_name", "pod"]})).await.json;
    let labels: Vec<&Value> =
        grouped["series"].as_array().expect("series").iter().map(|s| &s["labels"]).collect();
    assert_eq!(labels[0], &json!([{"name": "service_name", "value": "web"}]), "greatest first");
    assert_eq!(labels[1], &json!([{"name": "pod", "value": "p"}, {"name": "service_name", "value": "api"}]));
    let limited = series(json!({"labelSelector": "{}", "groupBy": ["service_name"], "limit": 1})).await.json;
    assert_eq!(limited["series"].as_array().map(Vec::len), Some(1));
    assert_eq!(series(json!({"labelSelector": "{service_name=\"no\"}"})).await.json, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels() {
    let (_world, port) = world().await;
    let range = |more: Value| {
        let mut body = json!({"start": BASE_MS - 1000, "end": BASE_MS + 60_000});
        for (key, value) in more.as_object().expect("an object") {
            body[key] = value.clone();
        }
        body
    };
    let types = port.rpc("ProfileTypes", range(json!({}))).await.json;
    assert_eq!(
        types,
        json!({"profileTypes": [{"ID": CPU, "name": "process_cpu", "sampleType": "cpu",
        "sampleUnit": "nanoseconds", "periodType": "cpu", "periodUnit": "nanoseconds"}]})
    );
    assert_eq!(port.rpc("ProfileTypes", json!({"start": 1000, "end": 4000})).await.json, json!({}));
    let names = port.rpc("LabelNames", range(json!({}))).await.json.to_string();
    assert!(
        names.contains("__profile_type__") && names.contains("pod") && !names.contains("größe"),
        "{names}"
    );
    let all = [("accept", "*/*;allow-utf8-labelnames=true")];
    let path = "/querier.v1.QuerierService/LabelNames";
    let names = port.rpc_with(path, range(json!({})), &all).await.json.to_string();
    assert!(names.contains("größe.x"), "{names}");
    let values = range(json!({"name": "service_name", "matchers": ["{pod=\"p1\"}", "{pod=\"none\"}"]}));
    assert_eq!(port.rpc("LabelValues", values).await.json, json!({"names": ["api"]}));
    let series = port.rpc("Series", range(json!({"labelNames": ["service_name", "pod"]}))).await.json;
    assert_eq!(
        series,
        json!({"labelsSet": [
            {"labels": [{"name": "pod", "value": "p1"}, {"name": "service_name", "value": "api"}]},
            {"labels": [{"name": "service_name", "value": "web"}]},
        ]})
    );
    let series = port.rpc("Series", range(json!({}))).await.json.to_string();
    assert!(series.contains("__service_name__") && !series.contains("größe"), "{series}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pprof_and_diff() {
    let (_world, port) = world().await;
    let profile = port.rpc("SelectMergeProfile", ask(json!({}))).await.json;
    assert_eq!(profile["sample"].as_array().map(Vec::len), Some(4), "{profile}");
    assert_eq!(
        (&profile["period"], &profile["durationNanos"]),
        (&json!("1000000000"), &json!("120000000000"))
    );
    let nothing =
        port.rpc("SelectMergeProfile", ask(json!({"labelSelector": "{service_name=\"no\"}"}))).await;
    assert_eq!(nothing.json, json!({"periodType": {}, "sampleType": [{}], "stringTable": [""]}));
    let web = ask(json!({"labelSelector": "{service_name=\"web\"}"}));
    let diff = port.rpc("Diff", json!({"left": ask(json!({})), "right": web})).await.json;
    let graph = &diff["flamegraph"];
    assert_eq!(
        (&graph["leftTicks"], &graph["rightTicks"], &graph["total"]),
        (&json!("10"), &json!("7"), &json!("17"))
    );
    assert_eq!(graph["levels"][0]["values"], json!(["0", "10", "0", "0", "7", "0", "0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_analysis() {
    let (world, port) = world().await;
    world.push(Profile::new("api", BASE_MS + 99_000, &[("x", 1)]));
    let stats = port.rpc("GetProfileStats", json!({})).await.json;
    assert_eq!(
        stats,
        json!({"dataIngested": true, "oldestProfileTime": BASE_MS.to_string(),
        "newestProfileTime": (BASE_MS + 99_000).to_string()})
    );
    let query = format!("{CPU}{{service_name=\"api\"}}");
    let body = json!({"start": BASE_MS - 1000, "end": BASE_MS + 60_000, "query": query});
    let analysis = port.rpc("AnalyzeQuery", body).await.json;
    assert_eq!(analysis["queryScopes"][0]["componentType"], "Short term storage");
    assert_eq!(analysis["queryScopes"][1]["blockCount"], "1", "{analysis}");
    assert_eq!(analysis["queryScopes"][1]["profileCount"], "1", "{analysis}");
    let empty = World::new().serve().await.rpc("GetProfileStats", json!({})).await;
    assert_eq!((empty.status, empty.json), (200, json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn older_endpoints() {
    let (_world, port) = world().await;
    let query = format!("query={CPU}%7Bservice_name%3D%22api%22%7D");
    let (from, until) = (BASE_MS - 20_000, BASE_MS + 55_000);
    let path = format!("/pyroscope/render?{query}&from={from}&until={until}");
    let rendered = port.get(&path).await.json;
    assert_eq!(rendered["flamebearer"]["levels"][1], json!([0, 9, 0, 2, 0, 1, 1, 1]), "{rendered}");
    assert_eq!(rendered["flamebearer"]["numTicks"], 10);
    assert_eq!(
        rendered["metadata"],
        json!({"format": "single", "spyName": "", "sampleRate": 1_000_000_000,
        "units": "samples", "name": "cpu"})
    );
    assert_eq!(
        rendered["timeline"],
        json!({"startTime": (from / 1000) / 15 * 15, "durationDelta": 15,
        "samples": [0, 0, 10, 0, 0], "watermarks": null})
    );
    assert_eq!((&rendered["groups"], &rendered["heatmap"]), (&Value::Null, &Value::Null));
    assert!(rendered.get("leftTicks").is_none());
    let dot = port.get(&format!("{path}&format=dot&max-nodes=2")).await;
    let text = dot.json.as_str().unwrap_or_default();
    assert!(dot.status == 200 && text.starts_with("digraph \"unnamed\" {\n"), "{text}");
    assert!(text.contains("N2 [label=\"main\\n0 of 9ns (90.00%)\" id=\"node2\""), "{text}");
    let nothing =
        format!("/pyroscope/render?query={CPU}%7Ba%3D%22b%22%7D&from={from}&until={until}&format=dot");
    let nothing = port.get(&nothing).await;
    assert_eq!((nothing.status, nothing.json), (200, json!("")));
    let grouped = port.get(&format!("{path}&groupBy=pod&groupBy=service_name")).await.json;
    assert_eq!(grouped["groups"]["p1"]["samples"], json!([0, 0, 10, 0, 0]), "{grouped}");
    let side = |s: &str| format!("{s}Query={CPU}%7B%7D&{s}From={from}&{s}Until={until}");
    let diff = port.get(&format!("/pyroscope/render-diff?{}&{}", side("left"), side("right"))).await.json;
    assert_eq!((&diff["leftTicks"], &diff["metadata"]["format"]), (&json!(17), &json!("double")), "{diff}");
    for (path, text) in [
        ("/pyroscope/render?from=now-1h", "\"query\" is required"),
        ("/pyroscope/render?query=nope%7B", "failed to parse \"query\""),
        ("/pyroscope/render?query=%7B%7D", "\"query\" must contain a profile-type selection"),
        ("/pyroscope/label-values", "label parameter is required"),
        ("/pyroscope/label-values?label=pod", "missing time range in the query"),
    ] {
        refused(&port.get(path).await, 400, "invalid_argument", text);
    }
    let values = port.get(&format!("/pyroscope/label-values?label=pod&from={from}&until={until}")).await;
    assert_eq!(values.json, json!(["p1"]));
    assert_eq!(port.get("/pyroscope/label-values?label=__name__").await.json, json!([CPU]));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_tenant() {
    let (_world, port) = world().await;
    let call = |method: &str, body: Value| {
        let path = format!("/settings.v1.SettingsService/{method}");
        let port = &port;
        async move { port.rpc_with(&path, body, &[]).await }
    };
    assert_eq!(call("Get", json!({})).await.json, json!({}));
    refused(&call("Set", json!({})).await, 400, "invalid_argument", "no setting values provided");
    let set = |at: i64, value: &str| json!({"setting": {"name": "b", "value": value, "modifiedAt": at}});
    assert_eq!(call("Set", set(50, "one")).await.json["setting"]["modifiedAt"], "50");
    refused(&call("Set", set(49, "two")).await, 409, "already_exists", "newer update already written");
    assert_eq!(call("Set", set(50, "three")).await.status, 200);
    let now = call("Set", json!({"setting": {"name": "a", "value": "x"}})).await.json;
    assert_eq!(now["setting"]["modifiedAt"], (BASE_MS + 600_000).to_string());
    let all = call("Get", json!({})).await.json;
    assert_eq!((&all["settings"][0]["name"], &all["settings"][1]["value"]), (&json!("a"), &json!("three")));
    assert_eq!(call("Delete", json!({"name": "a"})).await.json, json!({}));
    assert_eq!(call("Delete", json!({"name": "unknown"})).await.status, 200);
    refused(&call("Delete", json!({})).await, 400, "invalid_argument", "no setting name provided");
    call("Set", set(BASE_MS * 2, "later")).await;
    refused(&call("Delete", json!({"name": "b"})).await, 409, "already_exists", "newer update");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_may_miss_something_say_so() {
    let (world, port) = world().await;
    *world.head.script.lock() = Some(Box::new(|head, request| {
        Some(Ok(head.answer(request, Some("3 records of a journal are damaged".to_owned()))))
    }));
    let got = port.rpc("SelectMergeStacktraces", ask(json!({}))).await;
    assert_eq!((got.status, got.inexact.as_deref()), (200, Some("3 records of a journal are damaged")));
    let path = format!("/pyroscope/render?query={CPU}%7B%7D&from={BASE_MS}&until={}", BASE_MS + 1000);
    assert!(port.get(&path).await.inexact.is_some());
    assert!(world.metrics().contains("hearth_querier_inexact_answers_total"));
    let limits = TenantLimits { query_analysis_enabled: false, ..TenantLimits::default() };
    let port = World::with(QuerierOptions::default(), limits).serve().await;
    assert_eq!(port.rpc("AnalyzeQuery", json!({})).await.json, json!({}));
}
