//! The port: HTTP/1.1 and h2c side by side, timeouts for those who are slow, and a bounded drain at the end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Aside, Clock};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::context::Tenancy;
use crate::front::App;
use crate::metrics::RequestMetrics;
use crate::routes::Routes;

/// Connections at once; more wait in the system's queue.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;
/// How long a new client may stay silent.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take between requests and for its headers. Above the 90 s after which common clients give idle
/// connections up themselves: a server that closes first makes their next push fail.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// How often an HTTP/2 client has to show that it lives.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long open requests may go on after the shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream and on one connection: several profiles.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes of all headers of an HTTP/2 request.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// How HTTP/2 begins when both sides know of it.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the port is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether tenants are told apart.
    pub tenancy: Tenancy,
    /// Bytes of one RPC message, after decompression.
    pub max_message_bytes: usize,
    /// Where requests are counted.
    pub metrics: RequestMetrics,
    /// For durations.
    pub clock: Arc<dyn Clock>,
    /// Where requests of tenants are worked on that took much more than their share; the default: where all are.
    pub aside: Aside,
}

/// A bound port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
}

/// Binds the port; nothing is answered before [`Server::run`].
pub async fn bind(options: ServerOptions, routes: Routes) -> io::Result<Server> {
    let listener = TcpListener::bind(options.listen).await?;
    Ok(Server { listener, app: Arc::new(App::new(options, routes)) })
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `shutdown`; then lets open ones end, for a bounded time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let closing = CancellationToken::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, permit)) => {
                    serve(stream, permit, Arc::clone(&self.app), &graceful, closing.clone())
                }
                Err(error) => {
                    // Out of descriptors, or a peer that went away: neither ends the server.
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        closing.cancel();
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                seconds = DRAIN_TIMEOUT.as_secs(),
                "requests were still open at the end of the drain"
            );
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    app: Arc<App>,
    graceful: &GracefulShutdown,
    closing: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let watcher = graceful.watcher();
    tokio::spawn(async move {
        let _counted = (permit, app.metrics.connection());
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(GREETING_TIMEOUT, greeting(&stream)) => greeted,
            // The drain does not wait for those who have asked nothing yet.
            () = closing.cancelled() => return,
        };
        match greeted {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%error, "connection ended"),
            Err(_) => return tracing::debug!("connection stayed silent"),
        }
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(app.answer(request).await) }
        });
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .keep_alive_interval(Some(PING_INTERVAL));
    builder
}

/// Waits until it is clear which HTTP the client speaks: the library would wait for ever.
async fn greeting(stream: &TcpStream) -> io::Result<()> {
    let mut seen = [0u8; HTTP2_PREFACE.len()];
    loop {
        let size = stream.peek(&mut seen).await?;
        if size == 0 || size == seen.len() || seen[..size] != HTTP2_PREFACE[..size] {
            return Ok(());
        }
        // A part of the preface: the rest is on its way. `peek` does not wait for more than there is.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
