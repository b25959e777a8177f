//! Plain routes of the process as a whole: the page, readiness, metrics, settings, flush, and the ways out.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use futures::future::BoxFuture;
use hearth_common::error::chain;
use hearth_settings::Settings;
use hearth_telemetry::{Liveness, Metrics, Readiness};

use crate::membership::Membership;
use crate::signals::Stop;

const PAGE: &str = include_str!("page.html");
pub(crate) const YAML: &str = "text/plain; charset=utf-8";

/// Publishes everything that is in memory.
pub type Flush = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What the routes answer from.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) settings: Arc<Settings>,
    /// Set once all is registered, before the port answers.
    pub(crate) metrics: Arc<OnceLock<Metrics>>,
    pub(crate) readiness: Readiness,
    pub(crate) liveness: Liveness,
    pub(crate) flush: Flush,
    pub(crate) stop: Stop,
    /// The cluster, if there is one to leave.
    pub(crate) membership: Option<Arc<Membership>>,
}

impl Web {
    pub(crate) fn routes(self) -> Router {
        let yaml = |text: String| move || async move { ([(header::CONTENT_TYPE, YAML)], text) };
        let current = self.settings.to_yaml();
        let changed = self.settings.changes_yaml();
        Router::new()
            .route("/", get(async || Html(PAGE)))
            .route("/api/v1/status/config", get(yaml(current)))
            .route("/api/v1/status/config/default", get(yaml(Settings::default().to_yaml())))
            .route("/api/v1/status/config/diff", get(yaml(changed)))
            .route("/ready", get(ready))
            .route("/healthz", get(healthz))
            .route("/metrics", get(metrics))
            .route("/flush", post(flush))
            .route("/shutdown", post(shutdown))
            .route("/leave", post(leave))
            .with_state(self)
    }
}

async fn ready(State(web): State<Web>) -> Response {
    match web.readiness.check() {
        Ok(()) => (StatusCode::OK, "ready").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

/// For whoever restarts processes that are stuck.
async fn healthz(State(web): State<Web>) -> Response {
    match web.liveness.check() {
        Ok(()) => (StatusCode::OK, "alive").into_response(),
        Err(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {what}\n")).into_response(),
    }
}

async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let Some(metrics) = web.metrics.get() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let exposition = metrics.expose(accept);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.body).into_response()
}

async fn flush(State(web): State<Web>) -> Response {
    match (web.flush)().await {
        Ok(()) => (StatusCode::OK, "flushed\n").into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not everything is published: {why}\n")).into_response()
        }
    }
}

/// As SIGTERM: for whoever cannot send signals, such as a hook before a container stops.
async fn shutdown(State(web): State<Web>) -> Response {
    tracing::info!("asked to stop by a request");
    web.stop.ask_cleanly();
    (StatusCode::ACCEPTED, "stopping\n").into_response()
}

/// Leaves the cluster for good: not for a restart.
async fn leave(State(web): State<Web>) -> Response {
    let Some(membership) = &web.membership else {
        return (StatusCode::NOT_FOUND, "this process belongs to no cluster\n").into_response();
    };
    tracing::info!("asked to leave the cluster for good by a request");
    let membership = Arc::clone(membership);
    let kept = match tokio::task::spawn_blocking(move || membership.leave()).await {
        Ok(kept) => kept.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = kept {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("not leaving: {why}\n")).into_response();
    }
    let text = "leaving: others take its places; /ring says when it has left, then it may be stopped\n";
    (StatusCode::ACCEPTED, text).into_response()
}
