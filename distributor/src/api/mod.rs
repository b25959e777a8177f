//! The wire: every method and path that a distributor serves. Wire types stop here.

pub(crate) mod debuginfo;
mod form;
mod ingest;
mod otlp;
mod push;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use hearth_common::TenantId;
use hearth_common::limits::raise;
use hearth_rpc::{Auth, EntriesLimit, HttpError, RequestContext, Routes, read_body};
use http::StatusCode;

use crate::Distributor;
use crate::scratch::body_limit_bytes;

pub use form::files as form_files;

/// Tells the client that its answer was held back on purpose (api-semantics §3.10).
fn say_delay(context: &RequestContext, delayed: Duration) {
    if !delayed.is_zero() {
        let text = format!("artificial_delay;dur={}", delayed.as_millis());
        context.set_response_header("server-timing", &text);
    }
}

/// The body of a request, held to the tenant's limit.
async fn limited_body(distributor: &Distributor, tenant: &TenantId, body: Body) -> Result<Bytes, HttpError> {
    let limit = body_limit_bytes(&distributor.limits(tenant));
    read_body(body, limit).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            distributor.discarded_body(tenant, limit);
            error.saying(&raise("ingestion_body_limit_mb"))
        }
        _ => error,
    })
}

/// Series, their labels and their profiles.
const PUSH_ENTRIES: EntriesLimit =
    EntriesLimit { depth: 2, max: 1 << 18, what: "series, labels and profiles" };

/// Everything.
pub(crate) fn routes(distributor: Arc<Distributor>) -> Routes {
    let plain = Router::new()
        .route("/ingest", post(ingest::ingest))
        .route("/pyroscope/ingest", post(ingest::ingest))
        .route(otlp::PATH, post(otlp::http))
        .route(otlp::GRPC_PATH, post(otlp::http))
        .with_state(Arc::clone(&distributor));
    let exports = Arc::clone(&distributor);
    Routes::new()
        .grpc(otlp::GRPC_PATH, Auth::Tenant, move |context, export| {
            otlp::grpc(Arc::clone(&exports), context, export)
        })
        .bounded("/push.v1.PusherService/Push", Auth::Tenant, PUSH_ENTRIES, move |context, request| {
            push::push(Arc::clone(&distributor), context, request)
        })
        .http(plain)
}
