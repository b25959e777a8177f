//! The port: HTTP/1.1 and h2c side by side, RPC methods before plain routes, and a bounded drain at the end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use connectrpc::{ConnectRpcService, Limits};
use futures::FutureExt;
use hearth_common::Clock;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};

use crate::accept;
use crate::adapter::MethodTable;
use crate::context::Tenancy;
use crate::http_error::HttpError;
use crate::metrics::{RequestMetrics, route_label};
use crate::routes::Routes;

/// How long a client may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream and on one connection: several profiles.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Plain answers smaller than this are not compressed.
const COMPRESS_BYTES_MIN: usize = 1024;

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
}

/// A bound port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: App,
}

#[derive(Clone)]
struct App {
    rpc: ConnectRpcService<MethodTable>,
    methods: Arc<std::collections::HashSet<&'static str>>,
    plain: Router,
    tenancy: Tenancy,
    metrics: RequestMetrics,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("methods", &self.methods).finish_non_exhaustive()
    }
}

/// Binds the port; nothing is answered before [`Server::run`].
pub async fn bind(options: ServerOptions, routes: Routes) -> io::Result<Server> {
    let listener = TcpListener::bind(options.listen).await?;
    let methods = Arc::new(routes.methods.keys().copied().collect());
    let table = MethodTable { methods: routes.methods, tenancy: options.tenancy };
    let limits = Limits::default()
        .with_max_request_body_size(options.max_message_bytes)
        .with_max_message_size(options.max_message_bytes);
    let app = App {
        rpc: ConnectRpcService::new(table).with_limits(limits),
        methods,
        plain: routes.plain.fallback(not_found),
        tenancy: options.tenancy,
        metrics: options.metrics,
        clock: options.clock,
    };
    Ok(Server { listener, app })
}

impl Server {
    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `shutdown`; then lets open ones end, for a bounded time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, _)) => serve(stream, self.app.clone(), &graceful),
                Err(error) => {
                    // Out of descriptors, or a peer that went away: neither ends the server.
                    tracing::warn!(%error, "connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                seconds = DRAIN_TIMEOUT.as_secs(),
                "requests were still open at the end of the drain"
            );
        }
    }
}

fn serve(stream: TcpStream, app: App, graceful: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
        .keep_alive_interval(Some(HEADER_TIMEOUT));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

impl App {
    async fn answer(mut self, request: Request<Incoming>) -> Response {
        let started = self.clock.monotonic();
        let method = request.method().clone();
        let route = route_label(request.uri().path());
        let is_rpc = self.methods.contains(request.uri().path());
        let known = is_rpc || known_route(&route);
        let route = if known { route } else { "notfound".to_owned() };
        let in_flight = self.metrics.start(&method, &route);
        let answer = match accept::capabilities(request.headers()) {
            Err(part) => {
                Ok((StatusCode::BAD_REQUEST, format!("Invalid header format: {part}")).into_response())
            }
            Ok(_) if is_rpc => AssertUnwindSafe(self.rpc(request)).catch_unwind().await,
            Ok(_) => AssertUnwindSafe(self.plain(request)).catch_unwind().await,
        };
        let response =
            answer.unwrap_or_else(|_| HttpError::with_status(500, "the handler panicked").into_response());
        drop(in_flight);
        let took = self.clock.monotonic().saturating_sub(started);
        self.metrics.observe(&method, &route, response.status().as_u16(), took);
        response
    }

    async fn rpc(&mut self, request: Request<Incoming>) -> Response {
        if request.method() != Method::POST {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
        }
        let Ok(response) = self.rpc.call(request).await;
        response.map(Body::new)
    }

    async fn plain(&self, request: Request<Incoming>) -> Response {
        let gzip = accepts_gzip(request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.tenancy);
        let Ok(response) = self.plain.clone().oneshot(request).await;
        if gzip { compress(response).await } else { response }
    }
}

/// Routes that get a label of their own; all others share one, so that a scanner cannot make endless series.
fn known_route(route: &str) -> bool {
    const KNOWN: [&str; 15] = [
        "root",
        "ingest",
        "pyroscope_ingest",
        "pyroscope_render",
        "pyroscope_render_diff",
        "pyroscope_label_values",
        "ready",
        "metrics",
        "flush",
        "api_v1_status_buildinfo",
        "api_v1_status_config",
        "ring",
        "cluster",
        "admin",
        "shutdown",
    ];
    KNOWN.contains(&route)
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

fn accepts_gzip(headers: &http::HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|parameter| parameter == "q=0" || parameter == "q=0.0")
    })
}

/// Gzips an answer that is whole and large enough.
async fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let Ok(collected) = body.collect().await else {
        return HttpError::with_status(500, "the answer broke off").into_response();
    };
    let bytes = collected.to_bytes();
    if bytes.len() < COMPRESS_BYTES_MIN {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    let packed = io::Write::write_all(&mut encoder, &bytes).and_then(|()| encoder.finish());
    let Ok(packed) = packed else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}
