//! Kinds of errors as gRPC's codes, and what a failed call means.

use std::error::Error;
use std::io;

use hearth_common::{Classify, ErrorKind};
use tonic::{Code, Status};

use crate::error::CallError;

/// By code, from 1; 0 is no error.
const KINDS: [ErrorKind; 16] = [
    ErrorKind::Canceled,
    ErrorKind::Unknown,
    ErrorKind::InvalidArgument,
    ErrorKind::DeadlineExceeded,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::PermissionDenied,
    ErrorKind::ResourceExhausted,
    ErrorKind::FailedPrecondition,
    ErrorKind::Aborted,
    ErrorKind::OutOfRange,
    ErrorKind::Unimplemented,
    ErrorKind::Internal,
    ErrorKind::Unavailable,
    ErrorKind::DataLoss,
    ErrorKind::Unauthenticated,
];

pub(crate) fn code_of_kind(kind: ErrorKind) -> u32 {
    let at = KINDS.iter().position(|known| *known == kind);
    at.map_or(Code::Unknown as u32, |at| at as u32 + 1)
}

pub(crate) fn kind_of_code(code: u32) -> Option<ErrorKind> {
    let at = usize::try_from(code).ok()?.checked_sub(1)?;
    KINDS.get(at).copied()
}

/// An error of a role, for the caller.
pub(crate) fn status_of(error: &(impl Classify + 'static)) -> Status {
    let code = i32::try_from(code_of_kind(error.kind())).map_or(Code::Unknown, Code::from_i32);
    Status::new(code, hearth_common::error::chain(error))
}

/// What a failed call to `peer` means.
pub(crate) fn call_error(peer: &str, status: &Status) -> CallError {
    let peer = peer.to_owned();
    if let Some(io) = io_cause(status) {
        let connecting = status.source().is_some_and(|source| in_chain(source, is_connect_error));
        return match (connecting, io.kind()) {
            (true, io::ErrorKind::ConnectionRefused) => CallError::Refused(peer),
            (true, _) => CallError::Unreachable { peer, why: io.to_string() },
            (false, _) => CallError::Lost { peer, why: io.to_string() },
        };
    }
    match status.source() {
        Some(source) if in_chain(source, |cause| cause.is::<tonic::TimeoutExpired>()) => {
            CallError::TimedOut(peer)
        }
        // Made here, not there: the connection or the stream ended.
        Some(source) => CallError::Lost { peer, why: hearth_common::error::chain(source) },
        None => match status.code() {
            Code::DeadlineExceeded => CallError::TimedOut(peer),
            code => CallError::Answered {
                kind: u32::try_from(code as i32).ok().and_then(kind_of_code).unwrap_or(ErrorKind::Unknown),
                message: status.message().to_owned(),
            },
        },
    }
}

fn io_cause(status: &Status) -> Option<&io::Error> {
    let mut next = status.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = cause.source();
    }
    None
}

fn in_chain(error: &(dyn Error + 'static), is: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if is(cause) {
            return true;
        }
        next = cause.source();
    }
    false
}

fn is_connect_error(error: &(dyn Error + 'static)) -> bool {
    error.is::<tonic::ConnectError>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_codes_are_one_to_one() {
        for (at, kind) in KINDS.iter().enumerate() {
            let code = at as u32 + 1;
            assert_eq!((code_of_kind(*kind), kind_of_code(code)), (code, Some(*kind)));
        }
        assert_eq!((kind_of_code(0), kind_of_code(17)), (None, None));
        assert_eq!(code_of_kind(ErrorKind::Unavailable), Code::Unavailable as u32);
        assert_eq!(code_of_kind(ErrorKind::OutOfRange), Code::OutOfRange as u32);
    }
}
