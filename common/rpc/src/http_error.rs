//! Errors of plain HTTP handlers: JSON with a code and a message (api-semantics §5.2), and reading bodies within a cap.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hearth_common::Classify;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::body::BodyFault;
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
    text: bool,
}

impl HttpError {
    /// An error whose status the handler chose; the code follows from it.
    pub fn with_status(status: u16, message: impl Into<String>) -> Self {
        let code = code_of_status(status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into(), retry_after: None, text: false }
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The same with more to its text.
    #[must_use]
    pub fn saying(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// When the client should try again, if it should.
    pub fn retry_after(&self) -> Option<&HeaderValue> {
        self.retry_after.as_ref()
    }

    /// A plain route that needs a tenant was called without one: text, unlike every other error.
    pub(crate) fn no_tenant() -> Self {
        Self { text: true, ..Self::with_status(401, "no org id") }
    }
}

impl From<RpcError> for HttpError {
    fn from(error: RpcError) -> Self {
        let (status, code, retry_after) = (error.status(), error.code(), error.retry_after());
        Self { status, code, message: error.message, retry_after, text: false }
    }
}

impl<E: Classify + 'static> From<E> for HttpError {
    fn from(error: E) -> Self {
        RpcError::from(error).into()
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let body = match self.text {
            true => format!("{}\n", self.message),
            false => serde_json::json!({"code": self.code, "message": self.message}).to_string(),
        };
        let content_type = if self.text { "text/plain; charset=utf-8" } else { "application/json" };
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, pause);
        }
        response
    }
}

/// Reads a whole body of at most `limit_bytes` (0 = no limit): 413 when it is larger, 408 when it breaks off or stalls.
pub async fn read_body(body: Body, limit_bytes: usize) -> Result<Bytes, HttpError> {
    let limit = if limit_bytes == 0 { usize::MAX } else { limit_bytes };
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpError::with_status(413, format!("request body too large: more than {limit} bytes")))
        }
        Err(error) => Err(broken_body(&*error)),
    }
}

pub(crate) fn broken_body(error: &(dyn std::error::Error + 'static)) -> HttpError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<BodyFault>() {
            Some(fault @ (BodyFault::Busy { .. } | BodyFault::ShareTaken { .. })) => {
                let retry_after = Some(HeaderValue::from_static("1"));
                return HttpError { retry_after, ..HttpError::with_status(429, fault.to_string()) };
            }
            _ => cause = error.source(),
        }
    }
    let text = hearth_common::error::chain(error);
    HttpError::with_status(408, format!("failed reading the request body: {text}"))
}
