//! The wire: every method and path that a distributor serves. Wire types stop here.

pub(crate) mod debuginfo;
mod form;
mod ingest;
mod otlp;
mod push;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use hearth_rpc::{Auth, Routes};

use crate::Distributor;

pub use form::files as form_files;

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
        .unary("/push.v1.PusherService/Push", Auth::Tenant, move |context, request| {
            push::push(Arc::clone(&distributor), context, request)
        })
        .http(plain)
}
