//! The port as clients meet it: every protocol, every refusal.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use hearth_common::SystemClock;
use hearth_proto::push::v1::{PushRequest, PushResponse};
use hearth_proto::types::v1::{LabelNamesRequest, LabelNamesResponse};
use hearth_rpc::{
    Auth, HttpError, RequestContext, RequestMetrics, Routes, RpcError, ServerOptions, Tenancy, bind,
    common_routes, read_body,
};
use prost::Message;

const MESSAGE_BYTES_MAX: usize = 1 << 20;

struct Port {
    url: String,
    runtime: tokio::runtime::Runtime,
}

fn routes() -> Routes {
    let echo = |ctx: RequestContext, request: LabelNamesRequest| async move {
        if request.matchers.iter().any(|m| m == "panic") {
            panic!("asked to");
        }
        if request.matchers.iter().any(|m| m == "fail") {
            return Err(RpcError::new(hearth_common::ErrorKind::ResourceExhausted, "too much, ask for less"));
        }
        let mut names = vec![ctx.tenants.single()?.to_string(), ctx.allow_utf8_label_names.to_string()];
        names.push(ctx.timeout.is_some().to_string());
        names.extend(request.matchers);
        Ok(LabelNamesResponse { names })
    };
    let body = |_ctx: RequestContext, body: axum::body::Body| async move {
        Ok::<_, HttpError>(read_body(body, 1000).await?.len().to_string())
    };
    let plain =
        Router::new().route("/ingest", post(body)).route("/metrics", get(|| async { "m".repeat(5000) }));
    common_routes(Arc::new(|| true), "1", "r")
        .unary("/querier.v1.QuerierService/LabelNames", Auth::Tenant, echo)
        .unary("/push.v1.PusherService/Push", Auth::Tenant, |_, request: PushRequest| async move {
            let bytes: usize =
                request.series.iter().flat_map(|s| &s.samples).map(|s| s.raw_profile.len()).sum();
            if bytes == 0 { Err(RpcError::invalid("no profiles received")) } else { Ok(PushResponse {}) }
        })
        .http(plain)
}

fn start() -> Port {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        tenancy: Tenancy::Multi,
        max_message_bytes: MESSAGE_BYTES_MAX,
        metrics: RequestMetrics::new(&mut registry),
        clock: Arc::new(SystemClock::default()),
        aside: Default::default(),
    };
    let server = runtime.block_on(bind(options, routes())).unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    runtime.spawn(server.run(std::future::pending()));
    Port { url, runtime }
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

fn send(port: &Port, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    let mut request = http::Request::builder().method(method).uri(format!("{}{path}", port.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let body = response.body_mut().read_to_vec().unwrap();
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

const NAMES: &str = "/querier.v1.QuerierService/LabelNames";
const TENANT: (&str, &str) = ("X-Scope-OrgID", "team-a");
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn connect_in_json_and_proto_plain_and_gzipped() {
    let port = start();
    let answer =
        send(&port, "POST", NAMES, &[TENANT, JSON], br#"{"matchers":["x"],"start":"5","end":7,"bogus":1}"#);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"names":["team-a","false","false","x"]}"#));
    assert_eq!(answer.header("content-type"), "application/json");
    let request = LabelNamesRequest { matchers: vec!["y".to_owned()], start: 1, end: 2 }.encode_to_vec();
    let accept = ("accept", "*/*;allow-utf8-labelnames=true");
    let timeout = ("connect-timeout-ms", "5000");
    let encoding = ("content-encoding", "gzip");
    let answer = send(&port, "POST", NAMES, &[TENANT, PROTO, accept, timeout, encoding], &gzip(&request));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let names = LabelNamesResponse::decode(&*answer.body).unwrap().names;
    assert_eq!(names, ["team-a", "true", "true", "y"]);
    // Large answers are gzipped for those who read it (this client undoes it), small ones are not.
    let many =
        LabelNamesRequest { matchers: vec!["z".repeat(100); 100], ..Default::default() }.encode_to_vec();
    let answer = send(&port, "POST", NAMES, &[TENANT, PROTO], &many);
    assert_eq!(LabelNamesResponse::decode(&*answer.body).unwrap().names.len(), 103);
}

#[test]
fn grpc_web_and_grpc_frames() {
    let port = start();
    let message = LabelNamesRequest { matchers: vec!["w".to_owned()], ..Default::default() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(&message);
    let answer =
        send(&port, "POST", NAMES, &[TENANT, ("content-type", "application/grpc-web+proto")], &frame);
    assert_eq!(answer.status, 200);
    let length = u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize;
    let names = LabelNamesResponse::decode(&answer.body[5..5 + length]).unwrap().names;
    assert_eq!(names, ["team-a", "false", "false", "w"]);
    assert!(String::from_utf8_lossy(&answer.body[5 + length..]).contains("grpc-status: 0"));
}

#[test]
fn refusals() {
    let port = start();
    let check = |headers: &[(&str, &str)], body: &[u8], status: u16, code: &str| {
        let answer = send(&port, "POST", NAMES, headers, body);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(code), "{}", answer.text());
        answer
    };
    check(&[JSON], b"{}", 401, r#""code":"unauthenticated","message":"no org id""#);
    check(&[JSON, ("X-Scope-OrgID", "a/b")], b"{}", 401, "unsupported character");
    check(&[JSON, ("X-Scope-OrgID", "a|b")], b"{}", 401, "multiple org IDs");
    check(&[TENANT, JSON], b"[1,2", 400, "invalid_argument");
    check(&[TENANT, PROTO], b"\xff\xff", 400, "invalid_argument");
    check(&[TENANT, ("content-type", "text/plain")], b"{}", 415, "");
    check(&[TENANT, JSON, ("accept", "a/b/c d")], b"{}", 400, "Invalid header format:");
    check(&[TENANT, JSON], br#"{"matchers":["panic"]}"#, 500, "internal");
    let answer = check(&[TENANT, JSON], br#"{"matchers":["fail"]}"#, 429, "resource_exhausted");
    assert_eq!(answer.header("content-type"), "application/json");
    let large = vec![b' '; MESSAGE_BYTES_MAX + 1];
    check(&[TENANT, JSON], &large, 429, "resource_exhausted");
    let bomb = gzip(&vec![0; 64 << 20]);
    check(&[TENANT, PROTO, ("content-encoding", "gzip")], &bomb, 429, "resource_exhausted");
    for (method, path, status, text) in [
        ("GET", NAMES, 405, ""),
        ("POST", "/querier.v1.QuerierService/NoSuchMethod", 404, "404 page not found\n"),
        ("GET", "/no/such/path", 404, "404 page not found\n"),
        ("GET", "/ingest", 405, ""),
    ] {
        let answer = send(&port, method, path, &[TENANT], b"");
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{method} {path}");
    }
    let answer = send(&port, "POST", NAMES, &[TENANT, JSON], b"{}");
    assert_eq!(answer.status, 200, "the process went on");
    drop(port.runtime);
}

#[test]
fn plain_routes() {
    let port = start();
    let answer = send(&port, "POST", "/ingest", &[TENANT], &[0; 1000]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "1000"));
    let answer = send(&port, "POST", "/ingest", &[TENANT], &[0; 1001]);
    assert_eq!(answer.status, 413);
    assert!(answer.text().starts_with(r#"{"code":"invalid_argument","message":"request body too large"#));
    assert_eq!(send(&port, "POST", "/ingest", &[], &[0; 10]).status, 401);
    assert_eq!(send(&port, "GET", "/metrics", &[], b"").body.len(), 5000);
    let answer = send(&port, "GET", "/api/v1/status/buildinfo", &[], b"");
    assert!(answer.text().starts_with(r#"{"data":{"#) || answer.text().contains(r#""status":"success""#));
    let answer = send(&port, "POST", "/grpc.health.v1.Health/Check", &[JSON], b"{}");
    assert_eq!(answer.text(), r#"{"status":"SERVING"}"#);
}

/// What a push costs around its handler. `cargo test --release -p hearth-rpc -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn cost_of_a_push() {
    let port = start();
    let raw = vec![7u8; 62_000];
    let sample = hearth_proto::push::v1::RawSample { raw_profile: raw.into(), id: String::new() };
    let series = hearth_proto::push::v1::RawProfileSeries { samples: vec![sample], ..Default::default() };
    let body = PushRequest { series: vec![series] }.encode_to_vec();
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let ticks = |thread: &str| -> u64 {
        let text = std::fs::read_to_string(thread).unwrap();
        text.rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum()
    };
    let (own, all) = ("/proc/thread-self/stat", "/proc/self/stat");
    let (own_before, all_before, started) = (ticks(own), ticks(all), Instant::now());
    let count = 20_000;
    for _ in 0..count {
        let request = agent.post(format!("{}/push.v1.PusherService/Push", port.url));
        request
            .header("content-type", "application/proto")
            .header("X-Scope-OrgID", "t")
            .send(&body[..])
            .unwrap();
    }
    let server_ticks = (ticks(all) - all_before) - (ticks(own) - own_before);
    println!("{} µs CPU a push, {:?} in all", server_ticks * 10_000 / count, started.elapsed());
}
