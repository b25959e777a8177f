//! What the limits of tenants are now: for people, and for clients that ask for their own (api-semantics §1.5).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use hearth_common::LimitsSource;
use hearth_rpc::{HttpError, RequestContext};
use serde::{Deserialize, Serialize};

use crate::reload::Limits;
use crate::web::YAML;

const NO_FILE: &str = "runtime config file doesn't exist";

/// What the routes answer from.
#[derive(Debug, Clone)]
pub(crate) struct LimitsPage {
    pub(crate) limits: Arc<Limits>,
    /// Whether a file has limits of single tenants.
    pub(crate) has_file: bool,
}

/// The reference's keys.
#[derive(Debug, Serialize)]
struct TenantLimitsJson {
    ingestion_rate: f64,
    ingestion_burst_size: f64,
    max_global_series_per_user: usize,
}

#[derive(Debug, Deserialize)]
struct Mode {
    #[serde(default)]
    mode: String,
}

impl LimitsPage {
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/runtime_config", get(runtime_config))
            .route("/api/v1/tenant_limits", get(tenant_limits))
            .with_state(self)
    }
}

/// `?mode=diff`: only what differs from the limits of all.
async fn runtime_config(State(page): State<LimitsPage>, Query(mode): Query<Mode>) -> Response {
    let text = match page.has_file {
        true => page.limits.overrides().to_yaml(mode.mode == "diff"),
        false => NO_FILE.to_owned(),
    };
    ([(header::CONTENT_TYPE, YAML)], text).into_response()
}

async fn tenant_limits(
    State(page): State<LimitsPage>,
    context: RequestContext,
) -> Result<Response, HttpError> {
    let limits = page.limits.limits(context.tenants.single().map_err(HttpError::from)?);
    let json = TenantLimitsJson {
        ingestion_rate: limits.ingestion_rate_mb,
        ingestion_burst_size: limits.ingestion_burst_size_mb,
        max_global_series_per_user: limits.max_global_series_per_tenant,
    };
    Ok(Json(json).into_response())
}
