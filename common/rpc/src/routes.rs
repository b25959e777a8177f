//! What a role brings to the port: RPC methods and plain HTTP routes.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use connectrpc::CodecFormat;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::RequestContext;
use crate::error::RpcError;

/// Whether a method needs a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The request must name its tenant (when tenants are told apart).
    Tenant,
    /// Anybody may call it.
    None,
}

pub(crate) type Call = Arc<
    dyn Fn(RequestContext, Bytes, CodecFormat) -> BoxFuture<'static, Result<Bytes, RpcError>> + Send + Sync,
>;

/// One method: its message types are known only to the closure.
#[derive(Clone)]
pub(crate) struct Method {
    pub(crate) auth: Auth,
    pub(crate) call: Call,
}

/// Methods by path, and plain routes.
#[derive(Clone, Default)]
pub struct Routes {
    pub(crate) methods: HashMap<&'static str, Method>,
    pub(crate) plain: Router,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}

impl Routes {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a unary method by its path, `/package.Service/Method`. The last of equal paths wins.
    #[must_use]
    pub fn unary<Req, Resp, F, Fut>(mut self, path: &'static str, auth: Auth, handler: F) -> Self
    where
        Req: prost::Message + Default + DeserializeOwned + 'static,
        Resp: prost::Message + Serialize + 'static,
        F: Fn(RequestContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, RpcError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let call: Call = Arc::new(move |context, bytes, format| {
            let request = decode::<Req>(bytes, format);
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let response = handler(context, request?).await?;
                encode(&response, format)
            })
        });
        self.methods.insert(path, Method { auth, call });
        self
    }

    /// Adds plain HTTP routes. Handlers that take a [`RequestContext`] require a tenant.
    #[must_use]
    pub fn http(mut self, router: Router) -> Self {
        self.plain = self.plain.merge(router);
        self
    }

    /// Adds all of another's.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.methods.extend(other.methods);
        self.plain = self.plain.merge(other.plain);
        self
    }
}

fn decode<Req: prost::Message + Default + DeserializeOwned>(
    bytes: Bytes,
    format: CodecFormat,
) -> Result<Req, RpcError> {
    match format {
        CodecFormat::Json => {
            // An empty body is the empty message, as in other servers of this protocol.
            let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
            serde_json::from_slice(&bytes)
                .map_err(|error| RpcError::invalid(format!("unmarshal message: {error}")))
        }
        _ => Req::decode(bytes).map_err(|error| RpcError::invalid(format!("unmarshal message: {error}"))),
    }
}

fn encode<Resp: prost::Message + Serialize>(response: &Resp, format: CodecFormat) -> Result<Bytes, RpcError> {
    match format {
        CodecFormat::Json => serde_json::to_vec(response).map(Bytes::from).map_err(|error| {
            RpcError::new(hearth_common::ErrorKind::Internal, format!("marshal message: {error}"))
        }),
        _ => Ok(Bytes::from(response.encode_to_vec())),
    }
}
