//! gRPC over h2c, gRPC-Web, compression, panics, deadlines, the budget and the drain: against a real port with raw clients.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use hearth_common::{ErrorKind, SystemClock};
use hearth_proto::push::v1::{PushRequest, PushResponse};
use hearth_proto::types::v1::{LabelNamesRequest, LabelNamesResponse};
use hearth_rpc::{
    Auth, EntriesLimit, RequestContext, RequestMetrics, Routes, RpcError, ServerOptions, Tenancy, bind,
    common_routes,
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const MESSAGE_BYTES_MAX: usize = 1 << 20;
const NAMES: &str = "/querier.v1.QuerierService/LabelNames";
const BOUNDED: &str = "/querier.v1.QuerierService/LabelValues";
const BOUNDED_BYTES_MAX: usize = 1000;
const ABSENT: &str = "/vcs.v1.VCSService/GithubApp";

const ENTRIES: EntriesLimit = EntriesLimit { depth: 2, max: 20, what: "matchers" };

async fn names(context: RequestContext, request: LabelNamesRequest) -> Result<LabelNamesResponse, RpcError> {
    match request.matchers.first().map(String::as_str) {
        Some("panic") => panic!("asked to"),
        Some("fail") => Err(RpcError::new(ErrorKind::ResourceExhausted, "zu viel: 100 % größer")),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            Ok(LabelNamesResponse::default())
        }
        Some("pause") => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(LabelNamesResponse { names: vec!["paused".to_owned()] })
        }
        Some("large") => Ok(LabelNamesResponse { names: vec!["n".repeat(100); 1000] }),
        _ => Ok(LabelNamesResponse { names: vec![context.tenants.single()?.to_string()] }),
    }
}

fn routes() -> Routes {
    let plain = Router::new()
        .route("/large", get(|| async { "m".repeat(50_000) }))
        .route("/small", get(|| async { "m" }))
        .route("/panic", get(|| async { panic!("asked to") as &'static str }))
        .route("/who/{id}", get(|ctx: RequestContext| async move { format!("{:?}", ctx.tenants.all()) }));
    common_routes(Arc::new(|| false), "1", "r")
        .unary(NAMES, Auth::Tenant, names)
        .unary("/push.v1.PusherService/Push", Auth::Tenant, |_, _: PushRequest| async { Ok(PushResponse {}) })
        .merge(Routes::new().bounded(BOUNDED, Auth::Tenant, ENTRIES, names).capped(BOUNDED_BYTES_MAX))
        .unimplemented(ABSENT, Auth::Tenant, "nobody built this")
        .http(plain)
}

struct Port {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
    registry: prometheus_client::registry::Registry,
}

async fn start(tenancy: Tenancy) -> Port {
    let mut registry = prometheus_client::registry::Registry::default();
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        tenancy,
        max_message_bytes: MESSAGE_BYTES_MAX,
        metrics: RequestMetrics::new(&mut registry),
        clock: Arc::new(SystemClock::default()),
        aside: Default::default(),
    };
    let server = bind(options, routes()).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.run(async move { drop(stopped.await) }));
    Port { address, stop, ended, registry }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self { status: parts.status.as_u16(), headers: parts.headers, body: collected.to_bytes(), trailers }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    fn trailer(&self, name: &str) -> &str {
        self.trailers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn request(
    port: &Port,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(format!("http://{}{path}", port.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body)).unwrap()
}

async fn http2(port: &Port, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Answer::read(send.send_request(request(port, "POST", path, headers, body)).await.unwrap()).await
}

async fn http1(port: &Port, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let stream = TcpStream::connect(port.address).await.unwrap();
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = request(port, method, path, headers, body);
    request.headers_mut().insert("host", "hearth".parse().unwrap());
    Answer::read(send.send_request(request).await.unwrap()).await
}

fn ask(matcher: &str) -> Vec<u8> {
    LabelNamesRequest { matchers: vec![matcher.to_owned()], ..Default::default() }.encode_to_vec()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

fn unframe(body: &[u8]) -> (u8, &[u8], &[u8]) {
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    (body[0], &body[5..5 + length], &body[5 + length..])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[allow(clippy::disallowed_types, reason = "a test that trusts its server")]
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const TENANT: (&str, &str) = ("x-scope-orgid", "team-a");
const PROTO: (&str, &str) = ("content-type", "application/proto");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn grpc_over_h2c() {
    let port = start(Tenancy::Multi).await;
    let answer = http2(&port, NAMES, &[GRPC, TENANT], frame(0, &ask("x"))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc+proto"));
    assert_eq!(answer.trailer("grpc-status"), "0");
    assert_eq!(LabelNamesResponse::decode(unframe(&answer.body).1).unwrap().names, ["team-a"]);

    // Compressed in its frame, both ways.
    let coding = [GRPC, TENANT, ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let answer = http2(&port, NAMES, &coding, frame(1, &gzip(&ask("large")))).await;
    let (flag, message, rest) = unframe(&answer.body);
    assert_eq!((answer.header("grpc-encoding"), flag, rest.len()), ("gzip", 1, 0));
    assert_eq!(LabelNamesResponse::decode(&*gunzip(message)).unwrap().names.len(), 1000);

    for (matcher, tenant, status, message) in [
        ("fail", TENANT, "8", "zu viel: 100 %25 gr%C3%B6%C3%9Fer"),
        ("panic", TENANT, "13", "the handler panicked"),
        ("x", ("other", "x"), "16", "no org id"),
    ] {
        let answer = http2(&port, NAMES, &[GRPC, tenant], frame(0, &ask(matcher))).await;
        assert_eq!(answer.status, 200);
        let found = if answer.trailer("grpc-status").is_empty() { &answer.headers } else { &answer.trailers };
        assert_eq!(found["grpc-status"], status, "{matcher}");
        assert_eq!(found["grpc-message"], message);
    }
    let bomb = [GRPC, TENANT, ("grpc-encoding", "gzip")];
    let answer = http2(&port, NAMES, &bomb, frame(1, &gzip(&vec![0; 64 << 20]))).await;
    assert_eq!(answer.header("grpc-status"), "8");
    let answer = http2(&port, "/grpc.health.v1.Health/Check", &[GRPC], frame(0, &[])).await;
    assert_eq!((answer.trailer("grpc-status"), unframe(&answer.body).1), ("0", &[8u8, 2][..]), "NOT_SERVING");
    let answer = http2(&port, "/grpc.health.v1.Health/Nothing", &[GRPC], frame(0, &[])).await;
    assert_eq!((answer.status, answer.text()), (404, "404 page not found\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_and_connect_on_both_versions_of_http() {
    let port = start(Tenancy::Multi).await;
    let web = ("content-type", "application/grpc-web+proto");
    for answer in [
        http1(&port, "POST", NAMES, &[web, TENANT], frame(0, &ask("fail"))).await,
        http2(&port, NAMES, &[web, TENANT], frame(0, &ask("fail"))).await,
    ] {
        let (flag, trailers, _) = unframe(&answer.body);
        let trailers = std::str::from_utf8(trailers).unwrap().to_ascii_lowercase();
        assert!(flag == 0x80 && trailers.contains("grpc-status: 8"), "{flag} {trailers}");
    }
    for answer in [
        http1(&port, "POST", NAMES, &[PROTO, TENANT], ask("x")).await,
        http2(&port, NAMES, &[PROTO, TENANT], ask("x")).await,
    ] {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/proto"));
        assert_eq!(LabelNamesResponse::decode(&*answer.body).unwrap().names, ["team-a"]);
    }
    let charset = ("content-type", "application/json; charset=utf-8");
    let answer = http1(&port, "POST", NAMES, &[charset, TENANT], b"{}".to_vec()).await;
    assert_eq!(answer.text(), r#"{"names":["team-a"]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_gzipped_for_those_who_ask() {
    let port = start(Tenancy::Single).await;
    let takes = ("accept-encoding", "br, gzip;q=0.8");
    let rpc = http1(&port, "POST", NAMES, &[PROTO, takes], ask("large")).await;
    assert_eq!((rpc.header("content-encoding"), rpc.header("content-type")), ("gzip", "application/proto"));
    assert_eq!(LabelNamesResponse::decode(&*gunzip(&rpc.body)).unwrap().names.len(), 1000);
    let plain = http1(&port, "GET", "/large", &[takes], vec![]).await;
    assert_eq!((plain.header("content-encoding"), gunzip(&plain.body).len()), ("gzip", 50_000));
    assert_eq!(plain.header("content-length"), plain.body.len().to_string());
    for (path, headers) in
        [("/small", &[takes][..]), ("/large", &[]), ("/large", &[("accept-encoding", "br")])]
    {
        assert_eq!(http1(&port, "GET", path, headers, vec![]).await.header("content-encoding"), "", "{path}");
    }
    let small = http1(&port, "POST", NAMES, &[PROTO, takes], ask("x")).await;
    assert_eq!((small.header("content-encoding"), small.status), ("", 200));
    let unknown = http1(&port, "POST", NAMES, &[PROTO, ("content-encoding", "zstd")], ask("x")).await;
    assert_eq!(unknown.status, 501, "{}", unknown.text());
    let damaged = http1(&port, "POST", NAMES, &[PROTO, ("content-encoding", "gzip")], ask("x")).await;
    assert!(damaged.status == 400 && damaged.text().contains("invalid_argument"), "{}", damaged.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_routes_know_tenants_and_survive_panics() {
    let port = start(Tenancy::Multi).await;
    let answer = http1(&port, "GET", "/who/1", &[("X-SCOPE-ORGID", "b:x=y|a")], vec![]).await;
    assert_eq!(answer.text(), "[TenantId(a), TenantId(b)]");
    let answer = http1(&port, "GET", "/who/1", &[], vec![]).await;
    assert_eq!((answer.status, answer.text()), (401, "no org id\n"));
    assert!(answer.header("content-type").starts_with("text/plain"));
    let answer = http1(&port, "GET", "/panic", &[], vec![]).await;
    assert_eq!(
        (answer.status, answer.text()),
        (500, r#"{"code":"unknown","message":"the handler panicked"}"#)
    );
    let answer = http1(&port, "GET", "/ready", &[("accept", "text/html, a/b;c=d=e, ;")], vec![]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("Invalid header format: "), "{}", answer.text());
    let flags = "/capabilities.v1.FeatureFlagsService/GetFeatureFlags";
    let answer = http1(&port, "POST", flags, &[JSON, TENANT], b"{}".to_vec()).await;
    assert!(answer.text().contains(r#"{"name":"utf8LabelNames"}"#), "{}", answer.text());
    let answer = http1(&port, "POST", "/version.v1.Version/Version", &[JSON], b"{}".to_vec()).await;
    assert_eq!(answer.text(), r#"{"QuerierAPI":"1"}"#);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &port.registry).unwrap();
    for line in [
        r#"pyroscope_request_duration_seconds_count{method="GET",route="who_id",status_code="200",ws="false"} 1"#,
        r#"pyroscope_request_duration_seconds_count{method="GET",route="panic",status_code="500",ws="false"} 1"#,
        r#"route="version_v1_version_version",status_code="200",ws="false"} 1"#,
        r#"pyroscope_inflight_requests{method="GET",route="who_id"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_content() {
    let port = start(Tenancy::Multi).await;
    for content_type in ["text/plain", "application/connect+proto", "application/grpc-web-text", ""] {
        let headers = [("content-type", content_type), TENANT];
        let answer = http1(&port, "POST", NAMES, &headers, b"{}".to_vec()).await;
        assert_eq!((answer.status, answer.text()), (415, ""), "{content_type}");
        assert!(answer.header("accept-post").contains("application/proto"));
    }
    let answer =
        http1(&port, "POST", NAMES, &[("content-type", "application/grpc+thrift"), TENANT], vec![]).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "12"));
    let answer = http1(&port, "GET", NAMES, &[TENANT], vec![]).await;
    assert_eq!((answer.status, answer.header("allow"), answer.text()), (405, "POST", ""));
    // Ten times the limit is still answered, not just cut off; whether its length is said or not.
    let answer = http1(&port, "POST", NAMES, &[PROTO, TENANT], vec![1; MESSAGE_BYTES_MAX * 10]).await;
    assert_eq!(answer.status, 429);
    assert!(
        answer.text().contains("message size 10485760 is larger than configured max"),
        "{}",
        answer.text()
    );
    let answer = http1(&port, "POST", NAMES, &[JSON], vec![1; MESSAGE_BYTES_MAX * 10]).await;
    assert_eq!((answer.status, answer.text()), (401, r#"{"code":"unauthenticated","message":"no org id"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_may_take_less_than_the_port() {
    let port = start(Tenancy::Single).await;
    let long = ask(&"x".repeat(BOUNDED_BYTES_MAX));
    let text =
        format!("message size {} is larger than configured max 1000 bytes: send less at once", long.len());
    let answer = http1(&port, "POST", BOUNDED, &[PROTO], long.clone()).await;
    assert!(answer.status == 429 && answer.text().contains(&text), "{}", answer.text());
    let gzipped = [PROTO, ("content-encoding", "gzip")];
    assert_eq!(http1(&port, "POST", BOUNDED, &gzipped, gzip(&long)).await.status, 429);
    let coding = [GRPC, ("grpc-encoding", "gzip")];
    for (headers, body) in [(&[GRPC][..], frame(0, &long)), (&coding[..], frame(1, &gzip(&long)))] {
        let answer = http2(&port, BOUNDED, headers, body).await;
        let found = if answer.trailer("grpc-status").is_empty() { &answer.headers } else { &answer.trailers };
        assert_eq!(found["grpc-status"], "8");
    }
    // Short ones that would be much in memory.
    let many = LabelNamesRequest { matchers: vec![String::new(); 21], ..Default::default() };
    let json = format!(r#"{{"matchers":[{}""]}}"#, r#""","#.repeat(20)).into_bytes();
    for (content_type, body) in [(PROTO, many.encode_to_vec()), (JSON, json)] {
        let answer = http1(&port, "POST", BOUNDED, &[content_type], body).await;
        assert!(answer.status == 400 && answer.text().contains("more than 20 matchers"), "{}", answer.text());
    }
    assert_eq!(http1(&port, "POST", BOUNDED, &[PROTO], ask("x")).await.status, 200);
    assert_eq!(http1(&port, "POST", NAMES, &[PROTO], long).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_says_so_in_every_protocol() {
    let port = start(Tenancy::Multi).await;
    let text = r#"{"code":"unimplemented","message":"nobody built this"}"#;
    for (content_type, body) in [(JSON, b"{\"clientID\":7}".to_vec()), (PROTO, vec![0xff; 20])] {
        let answer = http1(&port, "POST", ABSENT, &[content_type, TENANT], body).await;
        assert_eq!((answer.status, answer.text()), (501, text));
    }
    let answer = http2(&port, ABSENT, &[GRPC, TENANT], frame(0, &[])).await;
    let found = if answer.trailer("grpc-status").is_empty() { &answer.headers } else { &answer.trailers };
    assert_eq!((answer.status, found["grpc-status"].to_str().unwrap()), (200, "12"));
    assert_eq!(found["grpc-message"], "nobody built this");
    assert_eq!(http1(&port, "POST", ABSENT, &[JSON], b"{}".to_vec()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_another_site_sends_is_refused() {
    let port = start(Tenancy::Single).await;
    let from = |site| ("sec-fetch-site", site);
    let answer = http1(&port, "POST", NAMES, &[PROTO, from("same-origin")], ask("x")).await;
    assert_eq!(answer.status, 200);
    let answer = http1(&port, "POST", NAMES, &[PROTO, from("cross-site")], ask("x")).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let answer = http1(&port, "DELETE", "/anything", &[from("cross-site")], Vec::new()).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let answer = http1(&port, "GET", "/ready", &[from("cross-site")], Vec::new()).await;
    assert_ne!(answer.status, 403, "a link to a page changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_handler() {
    let port = start(Tenancy::Single).await;
    let started = Instant::now();
    let answer = http1(&port, "POST", NAMES, &[PROTO, ("connect-timeout-ms", "100")], ask("sleep")).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    let answer = http2(&port, NAMES, &[GRPC, ("grpc-timeout", "100m")], frame(0, &ask("sleep"))).await;
    assert_eq!(answer.header("grpc-status"), "4");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_lets_requests_end_and_waits_for_nobody_else() {
    let port = start(Tenancy::Single).await;
    let silent = TcpStream::connect(port.address).await.unwrap();
    let half = {
        use tokio::io::AsyncWriteExt;
        let mut half = TcpStream::connect(port.address).await.unwrap();
        half.write_all(b"PRI * HT").await.unwrap();
        half
    };
    let asked = {
        let request = request(&port, "POST", NAMES, &[PROTO, ("host", "h")], ask("pause"));
        let stream = TcpStream::connect(port.address).await.unwrap();
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        tokio::spawn(async move { Answer::read(send.send_request(request).await.unwrap()).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    port.stop.send(()).unwrap();
    assert_eq!(LabelNamesResponse::decode(&*asked.await.unwrap().body).unwrap().names, ["paused"]);
    port.ended.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(TcpStream::connect(port.address).await.is_err());
    drop((silent, half));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_a_length_and_in_many_pieces() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let port = start(Tenancy::Single).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let head = format!(
        "POST {NAMES} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in [r#"{"match"#, r#"ers":["#, r#""a"]}"#] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"names":["anonymous"]}"#), "{answer}");
}
