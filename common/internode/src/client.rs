//! Calls to an ingester's internal port: deadlines, one connection for all calls to an address, errors told apart.

mod pool;
mod reach;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_proto::hearth::internal::v1 as pb;
use hearth_query::fetch::{FetchAnswer, FetchError, FetchRequest, HeadSource};
use hearth_telemetry::trace::Hop;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub use crate::client::pool::Pool;
pub use crate::client::reach::{IngesterCalls, Reach};

use crate::api::{Fetch, Fetched, MemberStatus, Push, Pushed};
use crate::connect;
use crate::error::CallError;
use crate::limits::{ANSWER_BYTES_MAX, INLINE_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::metrics::Metrics;
use crate::status::call_error;
use crate::tls::Tls;
use crate::traced::told;
use crate::wire;

/// An ingester behind its address. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct IngesterClient {
    address: Arc<str>,
    peer: Arc<str>,
    client: pb::ingester_client::IngesterClient<Channel>,
    metrics: Metrics,
}

impl IngesterClient {
    /// A client for `host:port`. Connects at the first call, and anew after the connection broke. Fails only when the
    /// address is none.
    pub fn connect_lazy(address: &str, tls: Option<Tls>, metrics: Metrics) -> Result<Self, CallError> {
        let client = pb::ingester_client::IngesterClient::new(connect::lazy(address, tls)?)
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { address: Arc::from(address), peer: metrics.peer(address), client, metrics })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends records of one cell. After an error that is not [`CallError::not_sent`] they may be in the log.
    pub async fn push(&self, push: Push, timeout: Duration) -> Result<Pushed, CallError> {
        let records = push.records.len();
        let (mut client, request) = (self.client.clone(), wire::ingester::push_to(push));
        self.call(
            "push",
            timeout,
            request,
            async move |request| client.push(request).await,
            |pushed| self.understood(wire::ingester::pushed(pushed, records)),
        )
        .await
    }

    /// Asks for what lies beyond a coverage, within `fetch.request.timeout`.
    pub async fn fetch(&self, fetch: Fetch) -> Result<Fetched, CallError> {
        let (mut client, timeout) = (self.client.clone(), fetch.request.timeout);
        let request = wire::ingester::fetch_to(&fetch);
        let fetched = self
            .call("fetch", timeout, request, async move |request| client.fetch(request).await, Ok)
            .await?;
        if prost::Message::encoded_len(&fetched) <= INLINE_BYTES_MAX {
            return self.understood(wire::ingester::fetched(fetched));
        }
        match tokio::task::spawn_blocking(move || wire::ingester::fetched(fetched)).await {
            Ok(decoded) => self.understood(decoded),
            Err(error) => Err(self.malformed(error.to_string())),
        }
    }

    /// How it is.
    pub async fn status(&self, timeout: Duration) -> Result<MemberStatus, CallError> {
        let mut client = self.client.clone();
        let request = pb::StatusRequest {};
        self.call(
            "status",
            timeout,
            request,
            async move |request| client.status(request).await,
            |status| self.understood(wire::status::decode(status)),
        )
        .await
    }

    /// Cuts and publishes everything.
    pub async fn flush(&self, timeout: Duration) -> Result<(), CallError> {
        let mut client = self.client.clone();
        let request = pb::FlushRequest {};
        self.call("flush", timeout, request, async move |request| client.flush(request).await, |_| Ok(()))
            .await
    }

    /// Makes it leave the cluster for good.
    pub async fn leave(&self, timeout: Duration) -> Result<(), CallError> {
        let mut client = self.client.clone();
        let request = pb::LeaveRequest {};
        self.call("leave", timeout, request, async move |request| client.leave(request).await, |_| Ok(()))
            .await
    }

    /// One call within its deadline, of which the peer is told; counted.
    async fn call<Q, A, T, F>(
        &self,
        name: &'static str,
        timeout: Duration,
        message: Q,
        send: impl FnOnce(Request<Q>) -> F,
        understand: impl FnOnce(A) -> Result<T, CallError>,
    ) -> Result<T, CallError>
    where
        Q: prost::Message,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let bytes = message.encoded_len();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(CallError::TooLarge { bytes });
        }
        let began = Instant::now();
        let hop = Hop::begin(name, &self.address);
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        told(&hop, request.metadata_mut());
        let answered = match tokio::time::timeout(timeout, send(request)).await {
            Ok(Ok(response)) => understand(response.into_inner()),
            Ok(Err(status)) => Err(call_error(&self.address, &status)),
            Err(_) => Err(CallError::TimedOut(self.address.to_string())),
        };
        let outcome = answered.as_ref().map_or_else(CallError::outcome, |_| "ok");
        self.metrics.called(&self.peer, name, outcome, began.elapsed());
        hop.end(outcome);
        answered
    }

    fn understood<T>(&self, converted: Result<T, wire::Malformed>) -> Result<T, CallError> {
        converted.map_err(|error| self.malformed(error.to_string()))
    }

    fn malformed(&self, what: String) -> CallError {
        CallError::Malformed { peer: self.address.to_string(), what }
    }
}

/// All that the process leads. Whoever knows cells asks by [`IngesterClient::fetch`].
#[async_trait]
impl HeadSource for IngesterClient {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchAnswer, FetchError> {
        let fetch = Fetch { request, roster_version: 0, cells: Vec::new() };
        Ok(Self::fetch(self, fetch).await?.outcome.into())
    }
}
