//! debuginfo.v1alpha1.DebuginfoService (api-semantics §10.5): four methods, and the file itself by plain HTTP.
//!
//! Where the reference answers 500 for what the sender did wrong, this is 4xx: 413 for a file that is too large, 400 for one that
//! is no program, 408 for one that breaks off.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hearth_common::{ErrorKind, TenantId, TimestampNs};
use hearth_debuginfo::{Begun, Entry, FileInfo, FileKind};
use hearth_proto::debuginfo::v1alpha1 as wire;
use hearth_rpc::{Auth, HttpError, RequestContext, Routes, RpcError, StreamedBody};
use hearth_symbols::BuildId;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::debuginfo::{DebugInfo, DebugInfoError};

/// The path of the file itself.
const UPLOAD_PATH: &str = "/debuginfo.v1alpha1.DebuginfoService/Upload/{gnu_build_id}";
const TEXT: &str = "text/plain; charset=utf-8";
const NS_PER_SEC: i64 = 1_000_000_000;

/// The whole service.
pub(crate) fn routes(debuginfo: &Arc<DebugInfo>) -> Routes {
    let [begin_with, finish_with, list_with, delete_with] = [(); 4].map(|()| Arc::clone(debuginfo));
    Routes::new()
        .unary(
            "/debuginfo.v1alpha1.DebuginfoService/ShouldInitiateUpload",
            Auth::Tenant,
            move |context, request| begin(Arc::clone(&begin_with), context, request),
        )
        .unary(
            "/debuginfo.v1alpha1.DebuginfoService/UploadFinished",
            Auth::Tenant,
            move |context, request| finish(Arc::clone(&finish_with), context, request),
        )
        .unary("/debuginfo.v1alpha1.DebuginfoService/ListDebuginfo", Auth::Tenant, move |context, request| {
            list(Arc::clone(&list_with), context, request)
        })
        .unary(
            "/debuginfo.v1alpha1.DebuginfoService/DeleteDebuginfo",
            Auth::Tenant,
            move |context, request| delete(Arc::clone(&delete_with), context, request),
        )
        .http(Router::new().route(UPLOAD_PATH, post(upload)).with_state(Arc::clone(debuginfo)))
}

async fn begin(
    debuginfo: Arc<DebugInfo>,
    context: RequestContext,
    request: wire::ShouldInitiateUploadRequest,
) -> Result<wire::ShouldInitiateUploadResponse, RpcError> {
    let tenant = context.tenants.single()?;
    let no = |reason: &str| wire::ShouldInitiateUploadResponse {
        should_initiate_upload: false,
        reason: reason.to_owned(),
    };
    if !debuginfo.options.enabled {
        return Ok(no(&DebugInfoError::Disabled.to_string()));
    }
    let file =
        request.file.ok_or_else(|| RpcError::invalid("file is required: say what is to be uploaded"))?;
    if file.gnu_build_id.is_empty() {
        return Ok(no("the file has no GNU build id: link the program with --build-id"));
    }
    let file = file_info(file)?;
    Ok(match debuginfo.begin(tenant, &file).await? {
        Begun::Yes(reason) => wire::ShouldInitiateUploadResponse { should_initiate_upload: true, reason },
        Begun::No(reason) => no(&reason),
    })
}

async fn finish(
    debuginfo: Arc<DebugInfo>,
    context: RequestContext,
    request: wire::UploadFinishedRequest,
) -> Result<wire::UploadFinishedResponse, RpcError> {
    let tenant = context.tenants.single()?;
    debuginfo.finish(tenant, &build_id(&request.gnu_build_id)?).await?;
    Ok(wire::UploadFinishedResponse {})
}

async fn list(
    debuginfo: Arc<DebugInfo>,
    context: RequestContext,
    _request: wire::ListDebuginfoRequest,
) -> Result<wire::ListDebuginfoResponse, RpcError> {
    let all = debuginfo.list(context.tenants.single()?).await?;
    Ok(wire::ListDebuginfoResponse { object: all.into_iter().map(object).collect() })
}

async fn delete(
    debuginfo: Arc<DebugInfo>,
    context: RequestContext,
    request: wire::DeleteDebuginfoRequest,
) -> Result<wire::DeleteDebuginfoResponse, RpcError> {
    let tenant = context.tenants.single()?;
    debuginfo.delete(tenant, &build_id(&request.gnu_build_id)?).await?;
    Ok(wire::DeleteDebuginfoResponse {})
}

/// Takes the file of a pending upload.
async fn upload(
    State(debuginfo): State<Arc<DebugInfo>>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // In a task of its own: what was written of the file is removed even if the client goes away.
    let receiving = tokio::spawn(async move {
        let limit = debuginfo.options.upload_bytes_max;
        let mut body = StreamedBody::new(body, context.clone(), limit);
        let done = match checked_id(&context, &id, &headers) {
            Ok((tenant, build_id)) => received(&debuginfo, &tenant, &build_id, &mut body).await,
            Err(error) => Err(error),
        };
        debuginfo.count(done.as_ref().copied().map_err(|error| error.status.as_u16()));
        if done.is_err() {
            body.drain().await;
        }
        done
    });
    match receiving.await {
        Ok(Ok(_)) => StatusCode::OK.into_response(),
        Ok(Err(error)) => refusal(&error),
        Err(_) => refusal(&HttpError::with_status(500, "the handler panicked")),
    }
}

fn checked_id(
    context: &RequestContext,
    id: &str,
    headers: &HeaderMap,
) -> Result<(TenantId, BuildId), HttpError> {
    let tenant = context.tenants.single().map_err(HttpError::from)?.clone();
    let build_id = build_id(id).map_err(HttpError::from)?;
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Ok((tenant, build_id)),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let message = format!("content encoding '{other}' is not taken: send the file as it is");
            Err(HttpError::with_status(415, message))
        }
    }
}

/// Copies the body to the store.
async fn received(
    debuginfo: &Arc<DebugInfo>,
    tenant: &TenantId,
    build_id: &BuildId,
    body: &mut StreamedBody,
) -> Result<u64, HttpError> {
    let (mut receiving, _place) = debuginfo.receive(tenant, build_id).await.map_err(status)?;
    let timeout = debuginfo.options.upload_timeout;
    let copying = async {
        while let Some(piece) = body.next().await? {
            receiving.write(piece).await.map_err(|error| status(error.into()))?;
        }
        Ok::<(), HttpError>(())
    };
    let copied = tokio::time::timeout(timeout, copying).await;
    match copied.unwrap_or_else(|_| Err(status(DebugInfoError::Late(timeout)))) {
        Ok(()) => receiving.finish().await.map_err(|error| status(error.into())),
        Err(error) => {
            receiving.abort().await;
            Err(error)
        }
    }
}

/// Statuses of the file's transfer: 412 when nothing is pending, 408 for what comes too slowly.
fn status(error: DebugInfoError) -> HttpError {
    match RpcError::from(error) {
        RpcError { kind: ErrorKind::FailedPrecondition, message, .. } => HttpError::with_status(412, message),
        RpcError { kind: ErrorKind::DeadlineExceeded, message, .. } => HttpError::with_status(408, message),
        error => HttpError::from(error),
    }
}

/// An error as text, as the reference has it here.
fn refusal(error: &HttpError) -> Response {
    let mut response =
        (error.status, [(header::CONTENT_TYPE, TEXT)], format!("{}\n", error.message)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(pause) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, pause.clone());
    }
    response
}

fn build_id(text: &str) -> Result<BuildId, RpcError> {
    BuildId::parse(text).map_err(|error| RpcError::invalid(error.to_string()))
}

fn file_info(file: wire::FileMetadata) -> Result<FileInfo, RpcError> {
    let kind = match wire::file_metadata::Type::try_from(file.r#type) {
        Ok(wire::file_metadata::Type::ExecutableFull) => FileKind::ExecutableFull,
        Ok(wire::file_metadata::Type::ExecutableNoText) => FileKind::ExecutableNoText,
        _ => {
            let message =
                format!("type {} is not taken: say EXECUTABLE_FULL or EXECUTABLE_NO_TEXT", file.r#type);
            return Err(RpcError::invalid(message));
        }
    };
    let wire::FileMetadata { gnu_build_id, go_build_id, otel_file_id, name, .. } = file;
    Ok(FileInfo { build_id: build_id(&gnu_build_id)?, go_build_id, otel_file_id, name, kind })
}

fn object(entry: Entry) -> wire::ObjectMetadata {
    let FileInfo { build_id, go_build_id, otel_file_id, name, kind } = entry.file;
    let kind = match kind {
        FileKind::ExecutableFull => wire::file_metadata::Type::ExecutableFull,
        FileKind::ExecutableNoText => wire::file_metadata::Type::ExecutableNoText,
    };
    let state = match entry.finished {
        Some(_) => wire::object_metadata::State::Uploaded,
        None => wire::object_metadata::State::Uploading,
    };
    wire::ObjectMetadata {
        file: Some(wire::FileMetadata {
            gnu_build_id: build_id.as_str().to_owned(),
            go_build_id,
            otel_file_id,
            name,
            r#type: kind.into(),
        }),
        state: state.into(),
        started_at: Some(timestamp(entry.started)),
        finished_at: entry.finished.map(timestamp),
        size_bytes: i64::try_from(entry.size_bytes).unwrap_or(i64::MAX),
    }
}

fn timestamp(time: TimestampNs) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp {
        seconds: time.0.div_euclid(NS_PER_SEC),
        nanos: time.0.rem_euclid(NS_PER_SEC) as i32,
    }
}
