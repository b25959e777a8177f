//! The way of a request: its headers judged, its body read within limits, then the RPC library or the plain routes.
//!
//! What is refused here costs no memory: a body is read only for a known method, a known content and a known tenant.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use connectrpc::{CompressionPolicy, ConnectError, ConnectRpcBody, ConnectRpcService, Limits, Protocol};
use futures::FutureExt;
use hearth_common::ids::InvalidTenantId;
use hearth_common::work::Lost;
use hearth_common::{Aside, Classify, Clock, TenantId};
use hearth_formats::gunzip::InflateError;
use hearth_telemetry::trace;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use crate::accept::{self, Capabilities};
use crate::adapter::{Entry, MethodTable};
use crate::body::{BodyFault, Budget, GuardedBody, Held, collect, drain};
use crate::compress::{Gunzip, accepts_gzip, gunzip, gzip_response, registry};
use crate::context::{Caller, Tenancy, Tenants};
use crate::error::RpcError;
use crate::http_error::HttpError;
use crate::metrics::{RequestMetrics, RouteLabel};
use crate::routes::{Auth, Routes};
use crate::server::ServerOptions;

/// Bodies that all requests may hold together; at least four of the largest fit.
const BODIES_BYTES_MAX: usize = 1 << 30;
/// What a gRPC body may have around its message.
const ENVELOPE_BYTES: usize = 5;
/// Asked every few seconds by whoever watches the process: no traces are made of it.
const UNTRACED: [&str; 4] = ["/ready", "/healthz", "/metrics", "/grpc.health.v1.Health/Check"];
/// Content types of RPC, for those who send another.
const ACCEPT_POST: &str = "application/grpc, application/grpc+json, application/grpc+proto, application/grpc-web, \
    application/grpc-web+json, application/grpc-web+proto, application/json, application/proto";

/// All that answers requests.
pub(crate) struct App {
    rpc: ConnectRpcService<MethodTable>,
    methods: MethodTable,
    plain: Router,
    tenancy: Tenancy,
    message_bytes_max: usize,
    budget: Arc<Budget>,
    not_found: RouteLabel,
    pub(crate) metrics: RequestMetrics,
    clock: Arc<dyn Clock>,
    aside: Aside,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("methods", &self.methods).finish_non_exhaustive()
    }
}

impl App {
    pub(crate) fn new(options: ServerOptions, routes: Routes) -> Self {
        let ServerOptions { tenancy, max_message_bytes: message_bytes_max, metrics, clock, aside, .. } =
            options;
        let methods = MethodTable::new(routes.methods);
        // The body was read and inflated before the library sees it, except inside gRPC's frames.
        let limits = Limits::default()
            .with_max_request_body_size(message_bytes_max.saturating_add(ENVELOPE_BYTES))
            .with_max_message_size(message_bytes_max);
        let budget = Budget::new(BODIES_BYTES_MAX.max(message_bytes_max.saturating_mul(4)));
        let rpc = ConnectRpcService::new(methods.clone())
            .with_limits(limits)
            .with_compression(registry(Arc::clone(&budget.inflating)))
            .with_compression_policy(CompressionPolicy::default());
        let plain = routes.plain.route_layer(middleware::from_fn_with_state(metrics.clone(), track));
        Self {
            rpc,
            methods,
            plain: plain.fallback(not_found),
            tenancy,
            message_bytes_max,
            budget,
            not_found: RouteLabel::not_found(),
            metrics,
            clock,
            aside,
        }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response {
        let path = request.uri().path();
        if UNTRACED.contains(&path) {
            return self.answer_within(request).await;
        }
        // A name that clients cannot make up: the route is known later.
        let span = trace::request("request", |name| request.headers().get(name)?.to_str().ok());
        let response = self.answer_within(request).instrument(span.clone()).await;
        trace::set_status(&span, response.status().as_u16());
        response
    }

    async fn answer_within(&self, request: Request<Incoming>) -> Response {
        let started = self.clock.monotonic();
        let method = request.method().clone();
        // Lives until the answer is ready: so long the request counts as holding its body.
        let tenants = Tenants::from_headers(request.headers(), self.tenancy);
        let held = Held::new(&self.budget, self.share_of(&tenants));
        let request = request.map(|body| GuardedBody::new(body, Arc::clone(&held)));
        let gzip = accepts_gzip(request.headers());
        let place = self.place(&tenants);
        let (mut response, label) = match accept::capabilities(request.headers()) {
            _ if is_of_another_site(&request) => {
                let text = "requests that a web page of another site has a browser send are refused\n";
                ((StatusCode::FORBIDDEN, text).into_response(), self.not_found.clone())
            }
            Err(part) => {
                let text = format!("Invalid header format: {part}\n");
                ((StatusCode::BAD_REQUEST, text).into_response(), self.not_found.clone())
            }
            Ok(capabilities) => match self.method(&request) {
                Some(entry) => {
                    let _in_flight = self.metrics.start(&method, &entry.label);
                    let answer =
                        AssertUnwindSafe(self.rpc(entry, (capabilities, tenants), request, (&held, place)));
                    (answer.catch_unwind().await.unwrap_or_else(|_| panicked()), entry.label.clone())
                }
                None => self.plain(capabilities, request, (&held, place)).await,
            },
        };
        // gRPC compresses inside its frames.
        if gzip && !is_grpc(response.headers()) {
            response = place.run(gzip_response(response)).await.unwrap_or_else(|_| panicked());
        }
        let took = self.clock.monotonic().saturating_sub(started);
        let (status, took_ms) = (response.status().as_u16(), took.as_millis() as u64);
        tracing::debug!(%method, route = label.as_str(), status, took_ms, "answered");
        self.metrics.observe(&method, &label, response.status().as_u16(), took);
        let received = held.received();
        drop(held);
        response.map(|body| self.metrics.sizes(&method, &label, received, body))
    }

    /// Of whose share a request takes.
    fn share_of(&self, tenants: &Result<Tenants, InvalidTenantId>) -> Option<TenantId> {
        let tenants = tenants.as_ref().ok().filter(|_| self.tenancy == Tenancy::Multi)?;
        tenants.all().first().cloned()
    }

    /// Where a request of these tenants is worked on.
    fn place(&self, tenants: &Result<Tenants, InvalidTenantId>) -> Place<'_> {
        let is_aside = tenants.as_ref().is_ok_and(|tenants| self.aside.is_for(tenants.all()));
        Place(is_aside.then_some(&self.aside))
    }

    fn method<B>(&self, request: &Request<B>) -> Option<&Entry> {
        let entry = self.methods.get(request.uri().path())?;
        (!entry.method.grpc_only || is_grpc(request.headers())).then_some(entry)
    }

    async fn rpc(
        &self,
        entry: &Entry,
        (capabilities, tenants): (Capabilities, Result<Tenants, InvalidTenantId>),
        request: Request<GuardedBody>,
        (held, place): (&Arc<Held>, Place<'_>),
    ) -> Response {
        let (mut parts, mut body) = request.into_parts();
        if parts.method != Method::POST {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
        }
        let Some(protocol) = protocol(&parts.headers) else {
            drain(&mut body).await;
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, [("accept-post", ACCEPT_POST)]).into_response();
        };
        trace::set_route("POST", parts.uri.path());
        let tenants = match entry.method.auth {
            Auth::None => Ok(Tenants::default()),
            Auth::Tenant => tenants,
        };
        let tenants = match tenants {
            Ok(tenants) => tenants,
            Err(error) => return refuse(error, &parts.headers, &mut body).await,
        };
        let limit = entry.method.message_bytes_max.unwrap_or(usize::MAX).min(self.message_bytes_max);
        let bytes = match read(protocol, &mut parts.headers, &mut body, (limit, held)).await {
            Ok(bytes) => bytes,
            Err(fault) => return refuse(fault, &parts.headers, &mut body).await,
        };
        tenants.say();
        parts.extensions.insert(Caller { tenants, capabilities, held: Some(Arc::clone(held)) });
        let request = Request::from_parts(parts, Full::new(bytes));
        match place.run(self.rpc.clone().call(request)).await {
            Ok(Ok(response)) => response.map(sized),
            Err(Lost) => panicked(),
        }
    }

    async fn plain(
        &self,
        capabilities: Capabilities,
        request: Request<GuardedBody>,
        (held, place): (&Arc<Held>, Place<'_>),
    ) -> (Response, RouteLabel) {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.tenancy);
        request.extensions_mut().insert(capabilities);
        request.extensions_mut().insert(Arc::clone(held));
        let mut response = match place.run(self.plain.clone().oneshot(request)).await {
            Ok(Ok(response)) => response,
            Err(Lost) => panicked(),
        };
        let label = response.extensions_mut().remove::<RouteLabel>();
        (response, label.unwrap_or_else(|| self.not_found.clone()))
    }
}

/// The message of Connect, inflated; the frame of gRPC as it came. Of at most so many bytes.
async fn read(
    protocol: Protocol,
    headers: &mut HeaderMap,
    body: &mut GuardedBody,
    (limit, held): (usize, &Arc<Held>),
) -> Result<Bytes, BodyFault> {
    if protocol != Protocol::Connect {
        return collect(body, limit.saturating_add(ENVELOPE_BYTES)).await;
    }
    let bytes = collect(body, limit).await?;
    let gzipped = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "gzip");
    if !gzipped || bytes.is_empty() {
        return Ok(bytes);
    }
    headers.remove(header::CONTENT_ENCODING);
    gunzip(bytes, limit, Some(held)).await.map_err(|error| match error {
        Gunzip::Held(fault) => fault,
        Gunzip::Inflate(InflateError::TooLarge { limit }) => {
            BodyFault::TooLarge { size: limit.saturating_add(1), limit }
        }
        Gunzip::Inflate(other) => BodyFault::Corrupt(other),
    })
}

/// On the threads that serve sockets, or where it gives way to others.
#[derive(Debug, Clone, Copy)]
struct Place<'a>(Option<&'a Aside>);

impl Place<'_> {
    async fn run<T: Send + 'static>(self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Lost> {
        match self.0 {
            Some(aside) => aside.run(work.in_current_span()).await,
            None => Ok(work.await),
        }
    }
}

/// The protocol of a unary call; none for what no unary method takes.
fn protocol(headers: &HeaderMap) -> Option<Protocol> {
    match Protocol::detect(headers) {
        Some(found) if found.is_text_mode || (found.protocol == Protocol::Connect && found.is_streaming) => {
            None
        }
        Some(found) => Some(found.protocol),
        // An unknown codec within gRPC: the library answers in gRPC's own way.
        None => is_grpc(headers).then_some(Protocol::Grpc),
    }
}

/// Whether a web page of another site had a browser send what may change something: without tenants no credential would be
/// asked for, and a page could delete the profiles of whoever looks at it. Browsers say so, and no other client does.
fn is_of_another_site<B>(request: &Request<B>) -> bool {
    let site = request.headers().get("sec-fetch-site");
    !request.method().is_safe() && site.is_some_and(|site| site == "cross-site")
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    content_type.starts_with(b"application/grpc")
}

/// Answers before the body was wanted, in the client's protocol.
async fn refuse<E: Classify + 'static>(error: E, headers: &HeaderMap, body: &mut GuardedBody) -> Response {
    drain(body).await;
    ConnectError::from(RpcError::from(error)).into_http_response(headers).map(sized)
}

/// The library's body hides its length, without which answers are neither compressed nor sent in one piece.
fn sized(body: ConnectRpcBody) -> Body {
    match body {
        ConnectRpcBody::Full(whole) => Body::new(whole),
        other => Body::new(other),
    }
}

/// Around each plain route: its name in metrics, and a panic in it ends the request, not the process.
async fn track(
    State(metrics): State<RequestMetrics>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    if let Some(path) = path {
        trace::set_route(request.method().as_str(), path.as_str());
    }
    let label = path.map_or_else(RouteLabel::not_found, |path| RouteLabel::of_path(path.as_str()));
    let in_flight = metrics.start(request.method(), &label);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    drop(in_flight);
    let mut response = answer.unwrap_or_else(|_| panicked());
    response.extensions_mut().insert(label);
    response
}

fn panicked() -> Response {
    HttpError::with_status(500, "the handler panicked").into_response()
}

async fn not_found() -> Response {
    let nosniff = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, nosniff, "404 page not found\n").into_response()
}
