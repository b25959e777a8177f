//! The internal port: HTTP/2 with our limits, the services on it, and a bounded drain at the end.
//!
//! With TLS, a connection is served only after its peer has shown a certificate of the cluster.

mod budget;
mod cell;
mod greeting;
mod ingester;
mod querier;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_proto::hearth::internal::v1 as pb;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::Service as _;

use crate::api::IngesterApi;
use crate::frame::Hello;
use crate::limits::{
    ANSWER_BYTES_MAX, BODIES_BYTES_MAX, CONNECTION_WINDOW_BYTES, CONNECTIONS_MAX, DRAIN_TIMEOUT,
    GREETING_TIMEOUT, HEADERS_BYTES_MAX, HTTP2_FRAME_BYTES, LINK_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX,
    PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::link::LinkSink;
use crate::metrics::{Metrics, Stranger};
use crate::server::budget::{Budget, Budgeted};
use crate::server::greeting::{Unwelcome, greet};
use crate::strangers::Strangers;
use crate::tls::Tls;

pub use querier::QuerierServerOptions;

const LINKS_PATH: &str = "/hearth.internal.v1.Cell/";

/// How the port is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who we are: peers of other clusters and versions are refused.
    pub local: Hello,
    /// With it, both sides show certificates.
    pub tls: Option<Tls>,
    /// Where things are counted.
    pub metrics: Metrics,
}

/// A bound internal port.
#[derive(Debug)]
pub struct InternalServer {
    listener: TcpListener,
    routes: Routes,
    tls: Option<Tls>,
    strangers: Strangers,
    metrics: Metrics,
    closing: CancellationToken,
    budget: Budget,
}

impl InternalServer {
    /// Binds the port; nothing is answered before [`InternalServer::run`].
    pub async fn bind(
        options: ServerOptions,
        ingester: Arc<dyn IngesterApi>,
        links: Arc<dyn LinkSink>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let ServerOptions { listen: _, local, tls, metrics } = options;
        let strangers = Strangers::new(metrics.clone());
        let closing = CancellationToken::new();
        let ingester = ingester::Service { api: ingester, metrics: metrics.clone() };
        let ingester = pb::ingester_server::IngesterServer::new(ingester)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let cell = cell::Service::new(local, links, metrics.clone(), strangers.clone(), closing.clone());
        let cell = pb::cell_server::CellServer::new(cell).max_decoding_message_size(LINK_MESSAGE_BYTES_MAX);
        let routes = Routes::new(ingester).add_service(cell).prepare();
        Ok(Self { listener, routes, tls, strangers, metrics, closing, budget: Budget::new(BODIES_BYTES_MAX) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown`; then ends links and lets open requests end, for a bounded time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // What is still open at the end of the drain ends with this.
        let tasks = CancellationToken::new();
        let _end = tasks.clone().drop_guard();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, peer, permit)) => self.serve(stream, peer, permit, &graceful, tasks.clone()),
                Err(error) => {
                    // Out of descriptors, or a peer that went away: neither ends the server.
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        self.closing.cancel();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                seconds = DRAIN_TIMEOUT.as_secs(),
                "calls were still open at the end of the drain"
            );
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
        end: CancellationToken,
    ) {
        let (counted, closing) = (self.metrics.connection(), self.closing.clone());
        let (watcher, strangers) = (graceful.watcher(), self.strangers.clone());
        let (routes, budget, tls) = (self.routes.clone(), self.budget.clone(), self.tls.clone());
        let service = service_fn(move |request: Request<Incoming>| answer(routes.clone(), &budget, request));
        tokio::spawn(async move {
            let _counted = (permit, counted);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            let greeted = tokio::select! {
                greeted = tokio::time::timeout(GREETING_TIMEOUT, greet(stream, tls.as_ref())) => greeted,
                () = closing.cancelled() => return,
            };
            let ip = peer.ip().to_string();
            let stream = match greeted {
                Ok(Ok(stream)) => stream,
                Ok(Err(Unwelcome::Stranger(stranger, why))) => return strangers.refuse(&ip, stranger, &why),
                Ok(Err(Unwelcome::Ended(error))) => return tracing::debug!(%error, "connection ended"),
                Err(_) => return strangers.refuse(&ip, Stranger::Silent, "it sends nothing"),
            };
            let connection = builder().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                served = watcher.watch(connection) => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "connection ended");
                    }
                }
                () = end.cancelled() => {}
            }
        });
    }
}

/// Links are streams without an end: their bounds are those of each frame and of the sink's pace.
fn answer(
    mut routes: Routes,
    budget: &Budget,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send + use<> {
    let stream = request.uri().path().starts_with(LINKS_PATH);
    let share = (!stream).then(|| budget.share());
    let answered = routes.call(request.map(|body| Budgeted::new(body, share.clone())));
    async move {
        let answered = answered.await;
        // The message that the role worked on is gone by now.
        drop(share);
        answered
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(HTTP2_FRAME_BYTES as usize)
        .keep_alive_interval(Some(PING_INTERVAL))
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
