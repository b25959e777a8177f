//! Calls to other queriers: one connection for each, closed when it was idle for long.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, InstanceId};
use hearth_proto::hearth::internal::v1 as pb;
use hearth_telemetry::trace::Hop;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Channel;

use super::{BlocksAnswer, BlocksError, BlocksRequest};
use crate::connect;
use crate::error::CallError;
use crate::limits::{ANSWER_BYTES_MAX, INLINE_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::metrics::Metrics;
use crate::status::call_error;
use crate::tls::Tls;
use crate::traced::told;
use crate::wire;

/// Most connections; beyond it the one that was idle longest goes.
const CLIENTS_MAX: usize = 256;
/// A connection that nobody asked for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

type Wire = pb::querier_client::QuerierClient<Channel>;

/// The other queriers of a cluster, by where they are.
pub struct QuerierClients {
    cluster_id: String,
    asker: InstanceId,
    clock: Arc<dyn Clock>,
    tls: Option<Tls>,
    metrics: Metrics,
    /// With the time of the last call.
    clients: Mutex<BTreeMap<SocketAddr, (Wire, Duration)>>,
}

impl std::fmt::Debug for QuerierClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuerierClients").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl QuerierClients {
    /// No connection yet. Peers of another cluster refuse.
    pub fn new(
        cluster_id: &str,
        asker: InstanceId,
        clock: Arc<dyn Clock>,
        tls: Option<Tls>,
        metrics: Metrics,
    ) -> Self {
        Self { cluster_id: cluster_id.to_owned(), asker, clock, tls, metrics, clients: Mutex::default() }
    }

    /// Asks the querier at an address, within `request.timeout`. Dropped, it ends the work there, too.
    pub async fn blocks(
        &self,
        address: SocketAddr,
        request: &BlocksRequest,
    ) -> Result<BlocksAnswer, BlocksError> {
        let name = address.to_string();
        let began = Instant::now();
        let hop = Hop::begin("blocks", &name);
        let asked = self.ask(address, &name, request, &hop).await;
        let outcome = asked.as_ref().map_or_else(BlocksError::outcome, |_| "ok");
        hop.end(outcome);
        self.metrics.called(&self.metrics.peer(&name), "blocks", outcome, began.elapsed());
        asked
    }

    async fn ask(
        &self,
        address: SocketAddr,
        name: &str,
        request: &BlocksRequest,
        hop: &Hop,
    ) -> Result<BlocksAnswer, BlocksError> {
        let mut client = self.client(address, name)?;
        let message = wire::blocks::request_to(request, &self.cluster_id, &self.asker);
        let bytes = message.encoded_len();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(CallError::TooLarge { bytes }.into());
        }
        let mut sent = Request::new(message);
        sent.set_timeout(request.timeout);
        told(hop, sent.metadata_mut());
        let response = match tokio::time::timeout(request.timeout, client.blocks(sent)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(call_error(name, &status).into()),
            Err(_) => return Err(CallError::TimedOut(name.to_owned()).into()),
        };
        let ids: Vec<u128> = request.blocks.iter().map(|block| block.id.0).collect();
        let malformed = |what: String| CallError::Malformed { peer: name.to_owned(), what };
        let decoded = if response.encoded_len() <= INLINE_BYTES_MAX {
            wire::blocks::response(response, &ids)
        } else {
            let decoding = tokio::task::spawn_blocking(move || wire::blocks::response(response, &ids));
            decoding.await.map_err(|error| malformed(error.to_string()))?
        };
        Ok(decoded.map_err(|error| malformed(error.to_string()))??)
    }

    fn client(&self, address: SocketAddr, name: &str) -> Result<Wire, CallError> {
        let now = self.clock.monotonic();
        let mut clients = self.clients.lock();
        if let Some((client, asked)) = clients.get_mut(&address) {
            *asked = now;
            return Ok(client.clone());
        }
        clients.retain(|_, (_, asked)| now.saturating_sub(*asked) < IDLE_MAX);
        if clients.len() >= CLIENTS_MAX {
            let idlest = clients.iter().min_by_key(|(_, (_, asked))| *asked).map(|(address, _)| *address);
            idlest.and_then(|address| clients.remove(&address));
        }
        let client = Wire::new(connect::lazy(name, self.tls.clone())?)
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        clients.insert(address, (client.clone(), now));
        Ok(client)
    }
}
