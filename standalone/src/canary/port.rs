//! The canary's own port: its figures, and whether its rounds go on. It ends the process on SIGTERM, which nobody else does for
//! the first process of a container.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hearth_common::{Clock, SystemClock};
use hearth_telemetry::Metrics;
use tokio::net::TcpListener;

use super::figures::{Figures, seconds};

/// Serves on a thread of its own until the process ends; where. A canary whose rounds do not end for `stalled_after` is not well.
pub(super) fn serve(listen: &str, figures: &Figures, stalled_after: Duration) -> Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(listen));
    let listener =
        listener.with_context(|| format!("cannot listen at {listen}: name another with --listen"))?;
    let address = listener.local_addr()?;
    let mut registry = Metrics::registry();
    figures.register(&mut registry);
    let (metrics, figures) = (Metrics::new(registry), figures.clone());
    let begun = seconds(SystemClock::default().now());
    let expose = move |headers: HeaderMap| async move {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let exposed = metrics.expose(accept);
        ([(header::CONTENT_TYPE, exposed.content_type)], exposed.body)
    };
    let health = move || async move {
        let age_s = seconds(SystemClock::default().now()) - figures.last_round().max(begun);
        match age_s <= stalled_after.as_secs_f64() {
            true => (StatusCode::OK, "alive\n".to_owned()).into_response(),
            false => {
                let why = format!("the last round ended {age_s:.0} s ago\n");
                (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
            }
        }
    };
    let routes = Router::new().route("/metrics", get(expose)).route("/healthz", get(health));
    std::thread::Builder::new().name("port".to_owned()).spawn(move || {
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = axum::serve(listener, routes) => ended.map_err(anyhow::Error::from),
                told = hearth_node::told_to_stop() => told.map_err(anyhow::Error::from),
            }
        });
        if let Err(error) = &ended {
            super::say(&format!("the port of the figures is gone: {error:#}"));
        }
        // Nothing has to be kept.
        std::process::exit(i32::from(ended.is_err()));
    })?;
    Ok(address)
}
