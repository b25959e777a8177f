//! Errors of plain HTTP handlers: JSON with a code and a message (api-semantics §5.2), and reading bodies within a cap.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_common::Classify;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::{RpcError, code_of_status};

/// An error with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// HTTP status.
    pub status: StatusCode,
    /// Connect code in the body.
    pub code: &'static str,
    /// For people.
    pub message: String,
    retry_after: Option<HeaderValue>,
}

impl HttpError {
    /// An error whose status the handler chose; the code follows from it.
    pub fn with_status(status: u16, message: impl Into<String>) -> Self {
        let code = code_of_status(status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into(), retry_after: None }
    }
}

impl From<RpcError> for HttpError {
    fn from(error: RpcError) -> Self {
        let (status, code, retry_after) = (error.status(), error.code(), error.retry_after());
        Self { status, code, message: error.message, retry_after }
    }
}

impl<E: Classify + 'static> From<E> for HttpError {
    fn from(error: E) -> Self {
        RpcError::from(error).into()
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"code": self.code, "message": self.message}).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, pause);
        }
        response
    }
}

/// Reads a whole body of at most `limit_bytes` (0 = no limit): 413 when it is larger, 408 when it breaks off.
pub async fn read_body(body: Body, limit_bytes: usize) -> Result<Bytes, HttpError> {
    let limit = if limit_bytes == 0 { usize::MAX } else { limit_bytes };
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpError::with_status(413, format!("request body too large: more than {limit} bytes")))
        }
        Err(error) => Err(HttpError::with_status(408, format!("failed reading the request body: {error}"))),
    }
}
