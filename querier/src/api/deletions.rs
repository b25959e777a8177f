//! `/api/v1/deletions`: deletes profiles, shows what that takes and how far it is, takes it back. JSON.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use hearth_common::{BlockId, ErrorKind, TimeRange, TimestampNs};
use hearth_rpc::{HttpError, RequestContext, RpcError};
use serde::{Deserialize, Serialize};

use super::Api;
use crate::deletions::{DeletionAsk, Report, last_of_ms};

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/deletions", post(create).get(list))
        .route("/api/v1/deletions/{id}", get(show).delete(cancel))
        .with_state(api)
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    selector: String,
    /// First millisecond; absent: from the beginning.
    from_ms: Option<i64>,
    /// Last millisecond; absent: to the end.
    until_ms: Option<i64>,
    /// Only says what would go.
    #[serde(default)]
    dry_run: bool,
    /// A selector of every series is meant so.
    #[serde(default)]
    everything: bool,
}

#[derive(Debug, Deserialize)]
struct CancelParams {
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    deletions: Vec<Report>,
}

async fn create(
    State(api): State<Api>,
    context: RequestContext,
    body: Bytes,
) -> Result<Json<Report>, HttpError> {
    let call = api.call(context);
    let work = async {
        let tenant = call.tenant()?;
        let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
            RpcError::invalid(format!(
                "the body is not what a deletion takes: {error}; send {{\"selector\": \"{{service_name=\\\"…\\\"}}\", \
                 \"from_ms\": …, \"until_ms\": …, \"dry_run\": true}}"
            ))
        })?;
        let range = TimeRange {
            start: asked.from_ms.map_or(TimeRange::ALL.start, TimestampNs::from_ms),
            end: asked.until_ms.map_or(TimeRange::ALL.end, last_of_ms),
        };
        let ask = DeletionAsk { selector: asked.selector, range, everything: asked.everything };
        if asked.dry_run {
            let takes = call.querier.preview_deletion(tenant, &ask, call.terms).await?;
            return Ok(Report::of_preview(ask, &takes));
        }
        let (info, takes) = call.querier.delete(tenant, &ask, call.terms).await?;
        let unpublished = takes.tally.sum().profiles - takes.in_blocks.sum().profiles;
        Ok(Report { profiles_unpublished: Some(unpublished), ..info.into() })
    };
    Ok(Json(api.counted("CreateDeletion", work).await?))
}

async fn list(State(api): State<Api>, context: RequestContext) -> Result<Json<Listed>, HttpError> {
    let call = api.call(context);
    let work = async {
        let all = call.querier.deletions(call.tenant()?).await?;
        Ok::<_, RpcError>(Listed { deletions: all.into_iter().map(Report::from).collect() })
    };
    Ok(Json(api.counted("ListDeletions", work).await?))
}

async fn show(
    State(api): State<Api>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Report>, HttpError> {
    let call = api.call(context);
    let work = async {
        let wanted = parse_id(&id)?;
        let all = call.querier.deletions(call.tenant()?).await?;
        let found = all.into_iter().find(|info| info.record.id == wanted);
        found
            .map(Report::from)
            .ok_or_else(|| RpcError::new(ErrorKind::NotFound, format!("there is no deletion {id}")))
    };
    Ok(Json(api.counted("GetDeletion", work).await?))
}

async fn cancel(
    State(api): State<Api>,
    context: RequestContext,
    Path(id): Path<String>,
    Query(params): Query<CancelParams>,
) -> Result<Json<serde_json::Value>, HttpError> {
    let call = api.call(context);
    let work = async {
        let tenant = call.tenant()?;
        call.querier.cancel_deletion(tenant, parse_id(&id)?, params.force).await?;
        Ok::<_, RpcError>(serde_json::json!({"id": id, "state": "cancelled"}))
    };
    Ok(Json(api.counted("CancelDeletion", work).await?))
}

fn parse_id(text: &str) -> Result<u128, RpcError> {
    let id = BlockId::from_hex(text).map(|id| id.0);
    id.ok_or_else(|| {
        RpcError::invalid(format!("'{text}' is no deletion's id: 32 hex digits, as the list has them"))
    })
}
