//! The one table: kinds of errors to Connect codes, HTTP statuses and gRPC numbers (api-semantics §5.1).

use connectrpc::{ConnectError, ErrorCode};
use hearth_common::{Classify, ErrorKind, Retry};
use http::{HeaderValue, StatusCode};

/// An error as it goes to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// For people: what, its value, the limit, what to do.
    pub message: String,
    /// Whether a retry helps.
    pub retry: Retry,
}

impl RpcError {
    /// An error that a retry does not mend.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry: Retry::Never }
    }

    /// The client's mistake.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Not built or switched off.
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unimplemented, message)
    }

    /// The code on the wire.
    pub fn code(&self) -> &'static str {
        row(self.kind).1
    }

    /// The HTTP status of Connect and of plain HTTP.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(row(self.kind).2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Seconds after which a retry may help, as `Retry-After` has them.
    pub(crate) fn retry_after(&self) -> Option<HeaderValue> {
        match self.retry {
            Retry::After(pause) => Some(HeaderValue::from(pause.as_secs().max(1))),
            Retry::Never => None,
        }
    }
}

impl<E: Classify + 'static> From<E> for RpcError {
    fn from(error: E) -> Self {
        Self { kind: error.kind(), message: hearth_common::error::chain(&error), retry: error.retry() }
    }
}

impl From<RpcError> for ConnectError {
    fn from(error: RpcError) -> Self {
        let retry_after = error.retry_after();
        let mut connect = Self::new(row(error.kind).0, error.message);
        if let Some(pause) = retry_after {
            connect.response_headers_mut().insert(http::header::RETRY_AFTER, pause);
        }
        connect.with_http_status(
            StatusCode::from_u16(row(error.kind).2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        )
    }
}

/// (Connect code, its text, HTTP status); the gRPC number is the Connect library's for the code.
fn row(kind: ErrorKind) -> (ErrorCode, &'static str, u16) {
    match kind {
        ErrorKind::Canceled => (ErrorCode::Canceled, "canceled", 499),
        ErrorKind::Unknown => (ErrorCode::Unknown, "unknown", 500),
        ErrorKind::InvalidArgument => (ErrorCode::InvalidArgument, "invalid_argument", 400),
        ErrorKind::DeadlineExceeded => (ErrorCode::DeadlineExceeded, "deadline_exceeded", 504),
        ErrorKind::NotFound => (ErrorCode::NotFound, "not_found", 404),
        ErrorKind::AlreadyExists => (ErrorCode::AlreadyExists, "already_exists", 409),
        ErrorKind::PermissionDenied => (ErrorCode::PermissionDenied, "permission_denied", 403),
        ErrorKind::ResourceExhausted => (ErrorCode::ResourceExhausted, "resource_exhausted", 429),
        ErrorKind::FailedPrecondition => (ErrorCode::FailedPrecondition, "failed_precondition", 400),
        ErrorKind::Aborted => (ErrorCode::Aborted, "aborted", 409),
        ErrorKind::OutOfRange => (ErrorCode::OutOfRange, "out_of_range", 400),
        ErrorKind::Unimplemented => (ErrorCode::Unimplemented, "unimplemented", 501),
        ErrorKind::Internal => (ErrorCode::Internal, "internal", 500),
        ErrorKind::Unavailable => (ErrorCode::Unavailable, "unavailable", 503),
        ErrorKind::DataLoss => (ErrorCode::DataLoss, "data_loss", 500),
        ErrorKind::Unauthenticated => (ErrorCode::Unauthenticated, "unauthenticated", 401),
    }
}

/// The code that stands beside a status which a handler chose itself (api-semantics §5.1, reverse mapping).
pub(crate) fn code_of_status(status: u16) -> &'static str {
    match status {
        400 | 413 => "invalid_argument",
        401 => "unauthenticated",
        403 => "permission_denied",
        404 | 501 => "unimplemented",
        412 => "failed_precondition",
        429 | 431 => "resource_exhausted",
        499 => "canceled",
        502 | 503 => "unavailable",
        504 => "deadline_exceeded",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_reference() {
        use ErrorKind::*;
        let rows = [
            (Canceled, "canceled", 499, 1),
            (Unknown, "unknown", 500, 2),
            (InvalidArgument, "invalid_argument", 400, 3),
            (DeadlineExceeded, "deadline_exceeded", 504, 4),
            (NotFound, "not_found", 404, 5),
            (AlreadyExists, "already_exists", 409, 6),
            (PermissionDenied, "permission_denied", 403, 7),
            (ResourceExhausted, "resource_exhausted", 429, 8),
            (FailedPrecondition, "failed_precondition", 400, 9),
            (Aborted, "aborted", 409, 10),
            (OutOfRange, "out_of_range", 400, 11),
            (Unimplemented, "unimplemented", 501, 12),
            (Internal, "internal", 500, 13),
            (Unavailable, "unavailable", 503, 14),
            (DataLoss, "data_loss", 500, 15),
            (Unauthenticated, "unauthenticated", 401, 16),
        ];
        for (kind, code, status, number) in rows {
            let (connect, text, http) = row(kind);
            assert_eq!((text, http, connect.grpc_code()), (code, status, number), "{kind:?}");
            assert_eq!(connect.as_str(), code);
        }
    }
}
