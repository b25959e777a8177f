//! The service `Querier`: wire to [`QuerierApi`] and back; and the internal port of a process that keeps no cells.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_proto::hearth::internal::v1 as pb;
use hearth_telemetry::trace;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, async_trait};
use tracing::Instrument;

use super::InternalServer;
use super::budget::Budget;
use super::ingester::{TIMEOUT_DEFAULT, timeout};
use crate::blocks::{PROTOCOL, QuerierApi, Refusal, RefusalWhy};
use crate::limits::{ANSWER_BYTES_MAX, BODIES_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::metrics::{Metrics, Stranger};
use crate::status::status_of;
use crate::strangers::Strangers;
use crate::tls::Tls;
use crate::traced;
use crate::wire;

/// How the port of a querier is set up.
#[derive(Debug, Clone)]
pub struct QuerierServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Askers of other clusters are refused.
    pub cluster_id: String,
    /// With it, both sides show certificates.
    pub tls: Option<Tls>,
    /// Where things are counted.
    pub metrics: Metrics,
}

impl InternalServer {
    /// Binds the port of a querier; nothing is answered before [`InternalServer::run`].
    pub async fn bind_querier(options: QuerierServerOptions, api: Arc<dyn QuerierApi>) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let QuerierServerOptions { listen: _, cluster_id, tls, metrics } = options;
        let strangers = Strangers::new(metrics.clone());
        let service = Service { api, cluster_id, metrics: metrics.clone(), strangers: strangers.clone() };
        let service = pb::querier_server::QuerierServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let (closing, budget) = (CancellationToken::new(), Budget::new(BODIES_BYTES_MAX));
        let routes = Routes::new(service).prepare();
        Ok(Self { listener, routes, tls, strangers, metrics, closing, budget })
    }
}

#[derive(Debug)]
struct Service {
    api: Arc<dyn QuerierApi>,
    cluster_id: String,
    metrics: Metrics,
    strangers: Strangers,
}

#[async_trait]
impl pb::querier_server::Querier for Service {
    async fn blocks(
        &self,
        request: Request<pb::BlocksRequest>,
    ) -> Result<Response<pb::BlocksResponse>, Status> {
        let within: Duration = timeout(request.metadata()).unwrap_or(TIMEOUT_DEFAULT);
        let span = traced::asked("blocks", request.metadata());
        let answer = self.answer(request.into_inner()).instrument(span.clone());
        let answered = tokio::time::timeout(within, answer).await;
        let (answered, outcome) = match answered {
            Ok(Ok(Ok(response))) => (Ok(response), "ok"),
            Ok(Ok(Err(refusal))) => (Ok(wire::blocks::refusal_to(refusal)), "refused"),
            Ok(Err(status)) => (Err(status), "error"),
            Err(_) => (Err(Status::deadline_exceeded("no answer in time")), "timed_out"),
        };
        self.metrics.served("blocks", outcome);
        trace::set_outcome(&span, outcome);
        answered.map(Response::new)
    }
}

impl Service {
    async fn answer(
        &self,
        request: pb::BlocksRequest,
    ) -> Result<Result<pb::BlocksResponse, Refusal>, Status> {
        if let Err((stranger, why)) = self.acquainted(&request) {
            self.strangers.refuse(&request.asker, stranger, &why);
            return Ok(Err(Refusal::new(RefusalWhy::Stranger, why)));
        }
        let request = wire::blocks::request(request).map_err(|error| status_of(&error))?;
        let ids: Vec<u128> = request.blocks.iter().map(|block| block.id.0).collect();
        let answer = match self.api.blocks(request).await {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A large answer takes milliseconds to encode and to compress.
        let encoded = tokio::task::spawn_blocking(move || wire::blocks::answer_to(&answer, &ids)).await;
        encoded.map(Ok).map_err(|error| Status::internal(format!("the answer was not encoded: {error}")))
    }

    fn acquainted(&self, request: &pb::BlocksRequest) -> Result<(), (Stranger, String)> {
        if request.cluster_id != self.cluster_id {
            let why = format!("it is of cluster '{}', this is '{}'", request.cluster_id, self.cluster_id);
            return Err((Stranger::Cluster, why));
        }
        if request.protocol != PROTOCOL {
            let why = format!("it asks in version {}, this is version {PROTOCOL}", request.protocol);
            return Err((Stranger::Protocol, why));
        }
        Ok(())
    }
}
