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
use serde_json::Value;

use crate::context::RequestContext;
use crate::entries::EntriesLimit;
use crate::error::RpcError;

/// Larger JSON requests are not searched for nulls when they do not decode.
const NULLS_BYTES_MAX: usize = 1 << 20;

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
    /// Whether its path is a plain one for everything but gRPC.
    pub(crate) grpc_only: bool,
    /// Longer messages are refused, if it takes less than the port does.
    pub(crate) message_bytes_max: Option<usize>,
}

impl Method {
    fn new(auth: Auth, call: Call) -> Self {
        Self { auth, call, grpc_only: false, message_bytes_max: None }
    }
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
    pub fn unary<Req, Resp, F, Fut>(self, path: &'static str, auth: Auth, handler: F) -> Self
    where
        Req: prost::Message + Default + DeserializeOwned + 'static,
        Resp: prost::Message + Serialize + 'static,
        F: Fn(RequestContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, RpcError>> + Send + 'static,
    {
        self.add(path, auth, None, handler)
    }

    /// The same for messages whose parts are counted before they are decoded.
    #[must_use]
    pub fn bounded<Req, Resp, F, Fut>(
        self,
        path: &'static str,
        auth: Auth,
        limit: EntriesLimit,
        handler: F,
    ) -> Self
    where
        Req: prost::Message + Default + DeserializeOwned + 'static,
        Resp: prost::Message + Serialize + 'static,
        F: Fn(RequestContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, RpcError>> + Send + 'static,
    {
        self.add(path, auth, Some(limit), handler)
    }

    fn add<Req, Resp, F, Fut>(
        mut self,
        path: &'static str,
        auth: Auth,
        limit: Option<EntriesLimit>,
        handler: F,
    ) -> Self
    where
        Req: prost::Message + Default + DeserializeOwned + 'static,
        Resp: prost::Message + Serialize + 'static,
        F: Fn(RequestContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, RpcError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let call: Call = Arc::new(move |context, bytes, format| {
            let is_json = matches!(format, CodecFormat::Json);
            let counted = limit.map_or(Ok(()), |limit| limit.check(&bytes, is_json));
            let request = counted.and_then(|()| decode::<Req>(bytes, format));
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let response = handler(context, request?).await?;
                encode(&response, format)
            })
        });
        self.methods.insert(path, Method::new(auth, call));
        self
    }

    /// Adds a method that is known and not built: each client is told so in its own protocol (501, or gRPC's 12), and may do
    /// without.
    #[must_use]
    pub fn unimplemented(mut self, path: &'static str, auth: Auth, why: &'static str) -> Self {
        let call: Call =
            Arc::new(move |_, _, _| Box::pin(std::future::ready(Err(RpcError::unimplemented(why)))));
        self.methods.insert(path, Method::new(auth, call));
        self
    }

    /// Adds a unary method that only gRPC reaches, by its path; its messages are bytes to this crate. What is not gRPC on this
    /// path is a plain request.
    #[must_use]
    pub fn grpc<F, Fut>(mut self, path: &'static str, auth: Auth, handler: F) -> Self
    where
        F: Fn(RequestContext, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, RpcError>> + Send + 'static,
    {
        let call: Call = Arc::new(move |context, bytes, format| match format {
            CodecFormat::Json => Box::pin(std::future::ready(Err(RpcError::unimplemented(
                "JSON in gRPC: send protobuf, or JSON over plain HTTP",
            )))),
            _ => Box::pin(handler(context, bytes)),
        });
        self.methods.insert(path, Method { grpc_only: true, ..Method::new(auth, call) });
        self
    }

    /// Holds the messages of all methods added so far to so many bytes, inflated, where the port itself would take more.
    #[must_use]
    pub fn capped(mut self, message_bytes_max: usize) -> Self {
        for method in self.methods.values_mut() {
            method.message_bytes_max = Some(message_bytes_max);
        }
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
            from_json(&bytes).map_err(|error| RpcError::invalid(format!("unmarshal message: {error}")))
        }
        _ => Req::decode(bytes).map_err(|error| RpcError::invalid(format!("unmarshal message: {error}"))),
    }
}

fn from_json<Req: DeserializeOwned>(bytes: &[u8]) -> Result<Req, serde_json::Error> {
    let error = match serde_json::from_slice(bytes) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    if bytes.len() > NULLS_BYTES_MAX {
        return Err(error);
    }
    // In JSON of protobuf, null stands for any field that is not given; the generated code refuses some.
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return Err(error);
    };
    if !drop_nulls(&mut value) {
        return Err(error);
    }
    serde_json::from_value(value).map_err(|_| error)
}

/// Whether there were any.
fn drop_nulls(value: &mut Value) -> bool {
    let mut found = false;
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|_, field| !field.is_null());
            found = fields.len() < before;
            for field in fields.values_mut() {
                found |= drop_nulls(field);
            }
        }
        Value::Array(items) => {
            for item in items {
                found |= drop_nulls(item);
            }
        }
        _ => {}
    }
    found
}

fn encode<Resp: prost::Message + Serialize>(response: &Resp, format: CodecFormat) -> Result<Bytes, RpcError> {
    match format {
        CodecFormat::Json => serde_json::to_vec(response).map(Bytes::from).map_err(|error| {
            RpcError::new(hearth_common::ErrorKind::Internal, format!("marshal message: {error}"))
        }),
        _ => Ok(Bytes::from(response.encode_to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use hearth_proto::querier::v1::{SelectMergeStacktracesRequest, SeriesRequest};

    use super::*;

    #[test]
    fn nulls_stand_for_what_is_not_given() {
        let json = br#"{"matchers":null,"labelNames":["a"],"start":null,"end":"5","other":[{"x":null}]}"#;
        let request: SeriesRequest = from_json(json).expect("nulls are allowed");
        assert_eq!((request.matchers.len(), request.label_names.len(), request.end), (0, 1, 5));
        assert!(from_json::<SeriesRequest>(br#"{"matchers":7}"#).is_err());
        assert!(from_json::<SeriesRequest>(b"[1,2").is_err());
    }

    #[test]
    fn both_spellings_numbers_or_texts_and_unknown_things() {
        let json = br#"{"profile_typeID":"t","labelSelector":"{}","start":1,"end":"2","maxNodes":"8192",
            "format":"PROFILE_FORMAT_FUNCTIONS","sandwichFunction":"f","async":{"type":1}}"#;
        let request: SelectMergeStacktracesRequest = from_json(json).expect("valid");
        assert_eq!((request.profile_type_id.as_str(), request.start, request.end), ("t", 1, 2));
        assert_eq!((request.max_nodes, request.format), (Some(8192), 0));
        assert_eq!(request.r#async.map(|a| a.r#type), Some(1));
        let camel: SelectMergeStacktracesRequest =
            from_json(br#"{"profileTypeID":"t","max_nodes":5,"format":99}"#).expect("valid");
        assert_eq!((camel.profile_type_id.as_str(), camel.max_nodes, camel.format), ("t", Some(5), 0));
    }
}
