//! Our method table as a dispatcher of the Connect library, which speaks Connect, gRPC and gRPC-Web around it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use connectrpc::dispatcher::{RequestStream, StreamingResult, UnaryResult};
use connectrpc::{CodecFormat, ConnectError, Dispatcher, EncodedBody, MethodDescriptor, Payload};
use futures::FutureExt;
use hearth_common::ErrorKind;

use crate::context::{RequestContext, Tenancy};
use crate::error::RpcError;
use crate::routes::{Auth, Method};

pub(crate) struct MethodTable {
    pub(crate) methods: HashMap<&'static str, Method>,
    pub(crate) tenancy: Tenancy,
}

impl MethodTable {
    fn find(&self, path: &str) -> Option<&Method> {
        // The library cuts the leading slash off; the table has it.
        let mut key = String::with_capacity(path.len() + 1);
        key.push('/');
        key.push_str(path);
        self.methods.get(key.as_str())
    }
}

impl Dispatcher for MethodTable {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        self.find(path).map(|_| MethodDescriptor::unary(false))
    }

    fn call_unary(
        &self,
        path: &str,
        ctx: connectrpc::RequestContext,
        request: Payload,
        format: CodecFormat,
    ) -> UnaryResult {
        let Some(method) = self.find(path) else {
            return refuse(path);
        };
        let needs_tenant = method.auth == Auth::Tenant;
        let context =
            RequestContext::new(ctx.headers().clone(), self.tenancy, needs_tenant, ctx.time_remaining());
        let call = match context {
            Ok(context) => request.encoded().map(|bytes| (method.call)(context, bytes, format)),
            Err(error) => Err(error.into()),
        };
        Box::pin(async move {
            // A panic in a handler ends the request, not the process.
            let answer = AssertUnwindSafe(call?).catch_unwind().await;
            let body =
                answer.unwrap_or_else(|_| Err(RpcError::new(ErrorKind::Internal, "the handler panicked")))?;
            Ok(connectrpc::Response::new(EncodedBody::from(body)))
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

fn refuse<T: Send + 'static>(path: &str) -> futures::future::BoxFuture<'static, Result<T, ConnectError>> {
    let error = ConnectError::unimplemented(format!("method not found: {path}"));
    Box::pin(std::future::ready(Err(error)))
}
