//! Methods that every process has: health, version, feature flags, build info.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use hearth_proto::capabilities::v1::{FeatureFlag, GetFeatureFlagsRequest, GetFeatureFlagsResponse};
use hearth_proto::grpc::health::v1::health_check_response::ServingStatus;
use hearth_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use hearth_proto::version::v1::{VersionRequest, VersionResponse};
use http::header;

use crate::error::RpcError;
use crate::routes::{Auth, Routes};

/// Says whether the process serves.
pub type Health = Arc<dyn Fn() -> bool + Send + Sync>;

/// Version of the query API that this process understands.
const QUERIER_API: u64 = 1;

/// What clients may ask about, sorted by name: none of it is in this version.
const FEATURES: [&str; 4] = ["pyroscopeRuler", "pyroscopeRulerFunctions", "utf8LabelNames", "v2StorageLayer"];

/// Routes of every process; `version` and `revision` are those of its build.
pub fn common_routes(health: Health, version: &'static str, revision: &'static str) -> Routes {
    let build_info = move || async move {
        let data = serde_json::json!({"version": version, "revision": revision, "branch": "", "buildUser": "",
            "buildDate": "", "goVersion": ""});
        let body = serde_json::json!({"status": "success", "data": data}).to_string();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    Routes::new()
        .unary("/grpc.health.v1.Health/Check", Auth::None, move |_, request: HealthCheckRequest| {
            let serving = health();
            async move {
                if !request.service.is_empty() {
                    let text = format!("unknown service {:?}", request.service);
                    return Err(RpcError::new(hearth_common::ErrorKind::NotFound, text));
                }
                let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
                Ok(HealthCheckResponse { status: status.into() })
            }
        })
        .unary("/version.v1.Version/Version", Auth::None, |_, _: VersionRequest| async {
            Ok(VersionResponse { querier_api: QUERIER_API })
        })
        .unary(
            "/capabilities.v1.FeatureFlagsService/GetFeatureFlags",
            Auth::Tenant,
            |_, _: GetFeatureFlagsRequest| async {
                let flag = |name: &&str| FeatureFlag { name: (*name).to_owned(), enabled: false };
                Ok(GetFeatureFlagsResponse { feature_flags: FEATURES.iter().map(flag).collect() })
            },
        )
        .http(Router::new().route("/api/v1/status/buildinfo", get(build_info)))
}
