//! Our method table as a dispatcher of the Connect library, which speaks Connect, gRPC and gRPC-Web around it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use connectrpc::dispatcher::{RequestStream, StreamingResult, UnaryResult};
use connectrpc::{CodecFormat, ConnectError, Dispatcher, EncodedBody, MethodDescriptor, Payload, Protocol};
use futures::FutureExt;
use hearth_common::ErrorKind;

use crate::body::BodyFault;
use crate::context::{Caller, RequestContext};
use crate::error::RpcError;
use crate::metrics::RouteLabel;
use crate::routes::Method;

/// A method and the name under which it is counted.
pub(crate) struct Entry {
    pub(crate) method: Method,
    pub(crate) label: RouteLabel,
}

/// Methods by path, without the leading slash: so the library asks for them. Clones share.
#[derive(Clone)]
pub(crate) struct MethodTable(Arc<HashMap<&'static str, Entry>>);

impl MethodTable {
    pub(crate) fn new(methods: HashMap<&'static str, Method>) -> Self {
        let entry = |(path, method): (&'static str, Method)| {
            (path.strip_prefix('/').unwrap_or(path), Entry { method, label: RouteLabel::of_path(path) })
        };
        Self(Arc::new(methods.into_iter().map(entry).collect()))
    }

    /// Looks up by the path of a URI.
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path.strip_prefix('/')?)
    }
}

impl std::fmt::Debug for MethodTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Dispatcher for MethodTable {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        self.0.get(path).map(|_| MethodDescriptor::unary(false))
    }

    fn call_unary(
        &self,
        path: &str,
        mut ctx: connectrpc::RequestContext,
        request: Payload,
        format: CodecFormat,
    ) -> UnaryResult {
        let Some(entry) = self.0.get(path) else {
            return refuse(path);
        };
        let call = Arc::clone(&entry.method.call);
        let limit = entry.method.message_bytes_max.unwrap_or(usize::MAX);
        let path = ctx.path().unwrap_or_default().to_owned();
        Box::pin(async move {
            let bytes = request.encoded()?;
            // What is inflated inside gRPC's frames was held to the port's limit only.
            if bytes.len() > limit {
                return Err(RpcError::from(BodyFault::TooLarge { size: bytes.len(), limit }).into());
            }
            // Connect's answers are compressed around the library, together with plain ones.
            let compress = (ctx.protocol() == Some(Protocol::Connect)).then_some(false);
            let timeout = ctx.time_remaining();
            let caller = ctx.extensions_mut().remove::<Caller>().unwrap_or_default();
            // Connect's messages were counted when they were inflated.
            if let Some(held) = caller.held.as_ref().filter(|_| ctx.protocol() != Some(Protocol::Connect)) {
                held.take_inflated(bytes.len()).map_err(RpcError::from)?;
            }
            let context = RequestContext::new(caller, std::mem::take(ctx.headers_mut()), timeout);
            let headers = Arc::clone(&context.response_headers);
            // A panic in a handler ends the request, not the process.
            let answer =
                AssertUnwindSafe(async move { call(context, bytes, format).await }).catch_unwind().await;
            let answer =
                answer.unwrap_or_else(|_| Err(RpcError::new(ErrorKind::Internal, "the handler panicked")));
            match answer {
                Ok(body) => {
                    let mut response = connectrpc::Response::new(EncodedBody::from(body)).compress(compress);
                    response.headers =
                        std::mem::take(&mut headers.lock().unwrap_or_else(PoisonError::into_inner));
                    Ok(response)
                }
                Err(error) => {
                    if matches!(error.kind, ErrorKind::Internal | ErrorKind::Unknown | ErrorKind::DataLoss) {
                        tracing::warn!(path, error = error.message, "request failed");
                    }
                    Err(error.into())
                }
            }
        })
    }

    fn call_server_streaming(
        &self,
        path: &str,
        _ctx: connectrpc::RequestContext,
        _request: Bytes,
        _format: CodecFormat,
    ) -> StreamingResult {
        refuse(path)
    }

    fn call_client_streaming(
        &self,
        path: &str,
        _ctx: connectrpc::RequestContext,
        _requests: RequestStream,
        _format: CodecFormat,
    ) -> UnaryResult {
        refuse(path)
    }

    fn call_bidi_streaming(
        &self,
        path: &str,
        _ctx: connectrpc::RequestContext,
        _requests: RequestStream,
        _format: CodecFormat,
    ) -> StreamingResult {
        refuse(path)
    }
}

/// The library asks only for what `lookup` names, so this is never seen.
fn refuse<T: Send + 'static>(path: &str) -> futures::future::BoxFuture<'static, Result<T, ConnectError>> {
    let error = ConnectError::unimplemented(format!("method not found: {path}"));
    Box::pin(std::future::ready(Err(error)))
}
