//! `/debug/pprof/`: profiles of the process itself, under the names that tools for pprof know.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hearth_common::Clock;
use hearth_telemetry::profiling::{self, CPU_SECONDS_MAX, ProfilingError};
use serde::Deserialize;

/// Length of a CPU profile when none is asked for, as tools expect.
const CPU_SECONDS_DEFAULT: u64 = 30;
/// Samples for each second of CPU time.
const CPU_PER_SECOND: u32 = 100;

const INDEX: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Hearth: profiles of the process\
</title><style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:46rem;\
padding:0 1rem}</style></head><body><h1>Profiles of the process itself</h1><ul>\
<li><a href=\"profile?seconds=10\">profile</a>: where threads spend CPU time, for <code>seconds</code> (30; at most 60)</li>\
<li><a href=\"heap\">heap</a>: memory in use, by where it was taken; with the setting <code>profiling.heap</code></li>\
<li><a href=\"cmdline\">cmdline</a>: the program's name</li></ul>\
<p>Answers are in the format of pprof, gzipped: <code>go tool pprof -http : http://…/debug/pprof/profile?seconds=10</code></p>\
</body></html>\n";

#[derive(Debug, Deserialize)]
struct CpuQuery {
    seconds: Option<String>,
}

pub(crate) fn routes(clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .route("/debug/pprof/", get(async || Html(INDEX)))
        .route("/debug/pprof/cmdline", get(cmdline))
        .route("/debug/pprof/profile", get(cpu))
        .route("/debug/pprof/heap", get(heap))
        .with_state(clock)
}

/// Without the flags: they may hold what is for nobody's eyes.
async fn cmdline() -> Response {
    std::env::args().next().unwrap_or_default().into_response()
}

async fn cpu(State(clock): State<Arc<dyn Clock>>, Query(query): Query<CpuQuery>) -> Response {
    let seconds = match query.seconds.as_deref() {
        None | Some("") => Ok(CPU_SECONDS_DEFAULT),
        Some(text) => text.parse().ok().filter(|n| (1..=CPU_SECONDS_MAX).contains(n)).ok_or(text),
    };
    match seconds {
        Ok(seconds) => {
            let window = Duration::from_secs(seconds);
            answer(profiling::cpu(window, CPU_PER_SECOND, &*clock).await, "profile")
        }
        Err(text) => {
            let text = format!("seconds is '{text}': write a whole number, 1 to {CPU_SECONDS_MAX}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

async fn heap() -> Response {
    let dumped = tokio::task::spawn_blocking(profiling::heap_since_start).await;
    let lost =
        |error: tokio::task::JoinError| ProfilingError::Heap(format!("the heap was not dumped: {error}"));
    answer(dumped.unwrap_or_else(|error| Err(lost(error))), "heap")
}

fn answer(taken: Result<profiling::Gzipped, ProfilingError>, name: &'static str) -> Response {
    match taken {
        Ok(bytes) => {
            let disposition = format!("attachment; filename=\"{name}\"");
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_DISPOSITION, disposition),
            ];
            (headers, bytes).into_response()
        }
        Err(error) => {
            let status = match error {
                ProfilingError::Busy => StatusCode::TOO_MANY_REQUESTS,
                ProfilingError::Heap(_) => StatusCode::NOT_IMPLEMENTED,
                ProfilingError::Cpu(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, format!("{error}\n")).into_response()
        }
    }
}
