//! OTLP profiles over gRPC and HTTP (api-semantics §3.13): one push of all records for each export.
//!
//! Where the reference answers 500 for what the sender did wrong, this is 400: collectors repeat a 500 for ever. Profiles that
//! cannot be used do not keep the others from being stored; the answer says how many and why (`partial_success`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_common::TenantId;
use hearth_formats::gunzip::InflateError;
use hearth_rpc::{HttpError, RequestContext, RpcError};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{limited_body, say_delay};
use crate::Distributor;
use crate::distributor::{Delivery, DistributeError};
use crate::otlp::{Encoding, Report, prepare};
use crate::scratch::{body_limit_bytes, in_turn};

/// The path of OTLP/HTTP.
pub(crate) const PATH: &str = "/v1development/profiles";
/// The path of gRPC, where plain HTTP is taken too.
pub(crate) const GRPC_PATH: &str =
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

const PROTOBUF: &str = "application/x-protobuf";
const TEXT: &str = "text/plain; charset=utf-8";

/// Takes an export over HTTP. The answer is protobuf, whatever the request was.
pub(crate) async fn http(
    State(distributor): State<Arc<Distributor>>,
    context: RequestContext,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let content_type = media_type(&headers);
    let encoding = match content_type {
        "application/json" => Encoding::Json,
        PROTOBUF | "application/protobuf" => Encoding::Protobuf,
        other => {
            let message = format!(
                "content type '{other}' is not taken: send application/x-protobuf or application/json"
            );
            return refusal(&HttpError::with_status(415, message), Encoding::Json);
        }
    };
    match over_http(&distributor, &context, &headers, body, encoding).await {
        Ok(answer) => {
            let headers = context.response_headers();
            ([(header::CONTENT_TYPE, PROTOBUF)], headers, answer).into_response()
        }
        Err(error) => refusal(&error, encoding),
    }
}

async fn over_http(
    distributor: &Distributor,
    context: &RequestContext,
    headers: &HeaderMap,
    body: Body,
    encoding: Encoding,
) -> Result<Bytes, HttpError> {
    let tenant = context.tenants.single().map_err(HttpError::from)?;
    let limit = body_limit_bytes(&distributor.limits(tenant));
    let sent = limited_body(distributor, tenant, body).await?;
    let bytes = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => sent,
        Some(b"gzip") => {
            let inflated = context.gunzip(sent, limit).await.map_err(HttpError::from)?;
            inflated.map_err(not_inflated)?
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let message = format!("content encoding '{other}' is not taken: send gzip or none");
            return Err(HttpError::with_status(415, message));
        }
    };
    export(distributor, context, tenant, (bytes, encoding)).await.map_err(HttpError::from)
}

/// Takes an export over gRPC, inflated already.
pub(crate) async fn grpc(
    distributor: Arc<Distributor>,
    context: RequestContext,
    bytes: Bytes,
) -> Result<Bytes, RpcError> {
    let tenant = context.tenants.single()?;
    Ok(export(&distributor, &context, tenant, (bytes, Encoding::Protobuf)).await?)
}

async fn export(
    distributor: &Distributor,
    context: &RequestContext,
    tenant: &TenantId,
    (bytes, encoding): (Bytes, Encoding),
) -> Result<Bytes, DistributeError> {
    let turn = distributor.turn(tenant).await;
    let (prepared, report) = in_turn(&turn, bytes.len(), || prepare(distributor, tenant, &bytes, encoding))?;
    drop((turn, bytes));
    let delivery = distributor.deliver(tenant, prepared).await?;
    say_delay(context, delivery.delayed);
    answer(&report, delivery)
}

/// An error when the same may be taken later, or when nothing of the export could be used; else what could not.
fn answer(report: &Report, delivery: Delivery) -> Result<Bytes, DistributeError> {
    if let Some(error) = delivery.passing {
        return Err(error);
    }
    let rejected = report.profiles_of(&delivery.failed);
    let mut message = String::new();
    if let Some(error) = delivery.first {
        if rejected >= report.profiles {
            return Err(error);
        }
        message = format!("{rejected} of {} profiles were not stored; the first: {error}", report.profiles);
    }
    if report.unusable_samples > 0 {
        let separator = if message.is_empty() { "" } else { "; " };
        message.push_str(&format!(
            "{separator}{} samples were left out: they have neither values nor timestamps, or not one value for each type",
            report.unusable_samples
        ));
    }
    Ok(Bytes::from(partial_success(rejected, &message)))
}

/// `ExportProfilesServiceResponse`: empty when all is well.
fn partial_success(rejected: usize, message: &str) -> Vec<u8> {
    if rejected == 0 && message.is_empty() {
        return Vec::new();
    }
    let mut partial = Vec::with_capacity(message.len() + 16);
    put_number(&mut partial, 1, rejected as u64);
    put_bytes(&mut partial, 2, message.as_bytes());
    let mut response = Vec::with_capacity(partial.len() + 8);
    put_bytes(&mut response, 1, &partial);
    response
}

/// The error in the words of OTLP: a `google.rpc.Status` for who speaks protobuf, text for who speaks JSON.
fn refusal(error: &HttpError, encoding: Encoding) -> Response {
    let (content_type, body) = match encoding {
        Encoding::Json => (TEXT, format!("{}\n", error.message).into_bytes()),
        Encoding::Protobuf => {
            let mut status = Vec::with_capacity(error.message.len() + 8);
            put_number(&mut status, 1, grpc_code(error.status));
            put_bytes(&mut status, 2, error.message.as_bytes());
            (PROTOBUF, status)
        }
    };
    let mut response = (error.status, [(header::CONTENT_TYPE, content_type)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(pause) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, pause.clone());
    }
    response
}

/// The gRPC number that stands for a status in `google.rpc.Status`.
fn grpc_code(status: StatusCode) -> u64 {
    match status.as_u16() {
        400 | 413 | 415 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        429 => 8,
        499 => 1,
        501 => 12,
        502 | 503 => 14,
        _ => 2,
    }
}

fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn not_inflated(error: InflateError) -> HttpError {
    match error {
        InflateError::TooLarge { .. } => {
            HttpError::with_status(413, format!("request body too large: {error}"))
        }
        InflateError::Corrupt => {
            HttpError::with_status(400, format!("the request body says it is gzip and is not: {error}"))
        }
    }
}
