//! Seven questions, each asked several times, one at a time.

use std::time::Duration;

use anyhow::Result;
use hearth_common::{Clock, SystemClock};
use serde_json::{Value, json};

use super::figures::{Process, percentile_ms};
use super::requests::Requests;
use super::{Span, ms, round};
use crate::client::Client;
use crate::term;

pub(super) const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// (name, method, question without its range)
fn questions() -> [(&'static str, &'static str, Value); 7] {
    let one = "{service_name=\"svc-000\"}";
    let flame =
        |selector: &str| json!({"profile_typeID": CPU, "label_selector": selector, "max_nodes": 8192});
    [
        ("flame-one-service", "SelectMergeStacktraces", flame(one)),
        ("flame-fleet", "SelectMergeStacktraces", flame("{}")),
        (
            "series-one-service",
            "SelectSeries",
            json!({"profile_typeID": CPU, "label_selector": one, "step": 15}),
        ),
        (
            "series-by-service",
            "SelectSeries",
            json!({"profile_typeID": CPU, "label_selector": "{}", "step": 15, "group_by": ["service_name"]}),
        ),
        ("pprof-one-service", "SelectMergeProfile", json!({"profile_typeID": CPU, "label_selector": one})),
        ("label-values", "LabelValues", json!({"name": "pod"})),
        ("series-labels", "Series", json!({"label_names": ["service_name", "__profile_type__"]})),
    ]
}

/// Asks all questions `n` times; the figures.
pub(super) fn time(
    client: &Client,
    process: &Process,
    span: Span,
    n: u32,
    clock: &SystemClock,
    op: &str,
) -> Result<Value> {
    let n = n.max(1);
    let questions = questions();
    let progress = term::bar(questions.len() as u64 * u64::from(n), "asking");
    let mut figures = json!({"op": op});
    for (name, method, mut question) in questions {
        question["start"] = json!(span.start_ms);
        question["end"] = json!(span.end_ms);
        let body = question.to_string();
        let path = format!("/querier.v1.QuerierService/{method}");
        let mut times: Vec<Duration> = Vec::new();
        let (mut bytes, mut error, mut gets) = (0, None, 0);
        let asked_before = Requests::of(client)?;
        let cpu_before = process.cpu_seconds();
        for at in 0..n {
            let begun = clock.monotonic();
            let answer = client.post(&path, "application/json", body.as_bytes())?;
            times.push(clock.monotonic() - begun);
            bytes = answer.body.len();
            if let Err(refused) = answer.ok() {
                error = Some(format!("{refused:#}"));
            }
            progress.inc(1);
            if at == 0 {
                gets = Requests::of(client)?.since(asked_before).gets;
            }
        }
        let first_ms = times.first().map_or(0.0, |time| ms(*time));
        let cpu_ms = round((process.cpu_seconds() - cpu_before) * 1000.0 / f64::from(n));
        figures[name] = json!({
            "p50_ms": percentile_ms(&mut times, 0.5),
            "p95_ms": percentile_ms(&mut times, 0.95),
            "first_ms": first_ms,
            "cpu_ms": cpu_ms,
            "bytes": bytes,
            "first_gets": gets,
            "error": error,
        });
    }
    progress.finish_and_clear();
    figures["rss_mb"] = json!(process.memory_mib("VmRSS"));
    figures["peak_rss_mb"] = json!(process.memory_mib("VmHWM"));
    Ok(figures)
}
