//! The Helm chart as it is rendered, run as real processes behind a real nginx: roles find each other by the flags of the
//! manifests, tenants are those of credentials, and nothing that is not public comes through the gateway.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::api::{CPU, tls};
use hearth_integration_tests::chart::{Release, Tools};
use hearth_integration_tests::shared::skipped;
use hearth_integration_tests::{otlp, profile};
use hearth_testkit::certificates::{Authority, rcgen};
use serde_json::{Value, json};

const ALICE: (&str, &str) = ("Authorization", "Basic YWxpY2U6d29uZGVy");
const BOB: (&str, &str) = ("Authorization", "Basic Ym9iOmJ1aWxkZXI=");
const OTLP: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

/// Who signed the certificate of the gateway that has one.
static AUTHORITY: OnceLock<PathBuf> = OnceLock::new();

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Status and body of a POST.
fn post(url: &str, headers: &[(&str, &str)], content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let authority = AUTHORITY.get().filter(|_| url.starts_with("https:"));
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls(authority.map(|file| &**file)).build())
        .timeout_global(Some(Duration::from_secs(30)));
    let mut request =
        ureq::Agent::new_with_config(config.build()).post(url).header("content-type", content_type);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
}

/// Pushes as an SDK does; the status.
fn push(gateway: &str, headers: &[(&str, &str)], service: &str, value: i64) -> u16 {
    let pprof = profile::gzip(&profile::cpu(now_ns() as i64, &[(&["main", "work"], value)]));
    let labels = [("__name__", "process_cpu"), ("service_name", service)];
    let body = profile::push_request(&labels, &pprof);
    post(&format!("{gateway}/push.v1.PusherService/Push"), headers, "application/proto", &body).0
}

/// Sums of a tenant by service, as Grafana asks for them.
fn totals(gateway: &str, headers: &[(&str, &str)]) -> Result<Vec<(String, i64)>, (u16, String)> {
    let now_ms = now_ns() / 1_000_000;
    let question = json!({"profile_typeID": CPU, "label_selector": "{}", "start": now_ms - 600_000,
        "end": now_ms + 600_000, "step": 1200, "group_by": ["service_name"]});
    let url = format!("{gateway}/querier.v1.QuerierService/SelectSeries");
    let (status, body) = post(&url, headers, "application/json", question.to_string().as_bytes());
    if status != 200 {
        return Err((status, String::from_utf8_lossy(&body).into_owned()));
    }
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let mut sums: Vec<(String, i64)> = Vec::new();
    for series in answer["series"].as_array().into_iter().flatten() {
        let points = series["points"].as_array().unwrap().iter();
        let sum = points.map(|point| point["value"].as_f64().unwrap() as i64).sum();
        sums.push((series["labels"][0]["value"].as_str().unwrap().to_owned(), sum));
    }
    sums.sort();
    Ok(sums)
}

fn sums(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(service, sum)| ((*service).to_owned(), *sum)).collect()
}

/// Waits until a tenant reads back exactly this.
fn expect(gateway: &str, headers: &[(&str, &str)], wanted: &[(&str, i64)]) {
    let started = Instant::now();
    loop {
        let found = totals(gateway, headers);
        if found.as_ref() == Ok(&sums(wanted)) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{found:?}, not {wanted:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The status line of a request that is sent as it is written, for paths and headers that a client would tidy.
fn raw(gateway: &str, head: &str) -> u16 {
    let mut stream = TcpStream::connect(gateway.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{head}\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

/// Exports over gRPC; curl's exit code, and the heads and trailers that came. `None`, with a note, without curl.
fn grpc(gateway: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Option<(Option<i32>, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", "--output", "/dev/null"]);
    if gateway.starts_with("https:") {
        curl.arg("--http2").arg("--cacert").arg(AUTHORITY.get().unwrap());
    } else {
        curl.arg("--http2-prior-knowledge");
    }
    curl.args(["--dump-header", "-", "--header", "content-type: application/grpc"])
        .args(["--header", "te: trailers"]);
    for (name, value) in headers {
        curl.arg("--header").arg(format!("{name}: {value}"));
    }
    curl.args(["--request", "POST"]);
    if let Some(body) = body {
        std::fs::write(file.path(), otlp::grpc_frame(body)).unwrap();
        curl.arg("--data-binary").arg(format!("@{}", file.path().display()));
    }
    curl.arg(format!("{gateway}{OTLP}"));
    match curl.output() {
        Ok(done) => Some((done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())),
        Err(error) => {
            skipped(&format!("gRPC through the gateway: curl: {error}"));
            None
        }
    }
}

/// Exports over gRPC, and is taken. False: there is no curl.
fn export(gateway: &str, headers: &[(&str, &str)], body: &[u8]) -> bool {
    let Some((code, said)) = grpc(gateway, headers, Some(body)) else { return false };
    assert!(code == Some(0) && said.contains("grpc-status: 0"), "{code:?} {said}");
    true
}

/// Exports over gRPC, and is refused with a status of HTTP.
fn export_refused(gateway: &str, headers: &[(&str, &str)], status: u16) {
    // Without a body: the gateway answers before it has read one and then resets the stream, and curl may forget the answer.
    let (code, said) = grpc(gateway, headers, None).expect("curl was there before");
    assert!(code == Some(0) && said.starts_with(&format!("HTTP/2 {status}")), "{code:?} {said}");
}

/// Paths of operators: none of them is public, however it is written.
const CLOSED: [&str; 18] = [
    "GET /metrics",
    "GET //metrics",
    "GET /metrics/",
    "GET /ring",
    "GET /cluster",
    "GET /healthz",
    "POST /flush",
    "POST /shutdown",
    "POST /leave",
    "GET /api/v1/status/config",
    "GET /api/v1/status/config/diff",
    "GET /api/v1/deletions",
    "GET /ui/../metrics",
    "GET /ui/%2e%2e/metrics",
    "POST /querier.v1.QuerierService/..%2fshutdown",
    "POST /querier.v1.QuerierService/../leave",
    "GET /ingest/../ring",
    "GET /status.v1.StatusService/GetConfig",
];

fn assert_closed(gateway: &str, authorization: &str) {
    for path in CLOSED {
        assert_eq!(raw(gateway, &format!("{path} HTTP/1.1\r\n{authorization}")), 404, "{path}");
    }
    let twice = raw(
        gateway,
        &format!("POST /querier.v1.QuerierService/%252e%252e/shutdown HTTP/1.1\r\n{authorization}"),
    );
    assert!((400..500).contains(&twice), "{twice}");
    assert_eq!(raw(gateway, "GET /ready HTTP/1.1\r\nA: b"), 200);
}

/// Nobody is another tenant than that of the credential.
fn assert_tenants(gateway: &str) {
    let push_line = "POST /push.v1.PusherService/Push HTTP/1.1\r\nContent-Type: application/proto";
    let alice = format!("{}: {}", ALICE.0, ALICE.1);
    for (headers, status) in [
        (String::new(), 401),
        ("\r\nAuthorization: Basic YWxpY2U6d3Jvbmc=".to_owned(), 401),
        // mallory has a password, and no tenant.
        ("\r\nAuthorization: Basic bWFsbG9yeTpldmls".to_owned(), 401),
        (format!("\r\n{alice}\r\nX-Scope-OrgID: team-b"), 400),
        (format!("\r\n{alice}\r\nx-scope-orgid: team-a"), 400),
        (format!("\r\n{alice}\r\nX-Scope-OrgID: 0"), 400),
        (format!("\r\n{alice}\r\nX-Scope-OrgID: \r\nX-Scope-OrgID: team-b"), 400),
        (format!("\r\n{alice}\r\nX-Scope-OrgID: team-a\r\nX-Scope-OrgID: team-b"), 400),
        // Case counts for users, too.
        ("\r\nAuthorization: Basic QWxpY2U6d29uZGVy".to_owned(), 401),
    ] {
        assert_eq!(raw(gateway, &format!("{push_line}{headers}")), status, "{headers}");
    }
    // Dropped on the way, so these are team-a's.
    for header in ["X_Scope_OrgID", "X-Scope_OrgID"] {
        assert!(
            totals(gateway, &[ALICE, (header, "team-b")])
                .unwrap()
                .iter()
                .all(|(service, _)| service != "bobs")
        );
    }
    assert_eq!(totals(gateway, &[ALICE, ("X-Scope-OrgID", "team-b")]).unwrap_err().0, 400);
}

/// Before, while and after pods are replaced it pushes with its own password: what was acknowledged is read exactly.
fn canary_reads_exactly(release: &Release) {
    let canary = &release.pods("canary")[0];
    let metrics = format!("{}/metrics", release.url(canary));
    let started = Instant::now();
    loop {
        let text = ureq::get(&metrics).call().unwrap().body_mut().read_to_string().unwrap();
        let reads = |outcome: &str| -> f64 {
            let series = format!("hearth_canary_reads_total{{age=\"fresh\",outcome=\"{outcome}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
        };
        assert!(reads("wrong") == 0.0 && reads("missing") == 0.0, "{text}\n{}", release.log(canary));
        if reads("exact") >= 3.0 {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{text}\n{}", release.log(canary));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn zones_behind_a_gateway_that_asks_for_passwords() {
    let Some(tools) = Tools::find() else { return };
    let values = "{zones: [a, b, c], objectStore: {type: file, file: {existingClaim: store}}, retention: {default: 30d},
        clusterTls: {enabled: true, secretName: cluster-tls}, distributor: {replicas: 1}, querier: {replicas: 1, diskCache: {enabled: true}},
        gateway: {replicas: 1, resolverValid: 1s, auth: {type: basic, existingSecret: users, users: {alice: team-a, bob: team-b, canary: own}}},
        canary: {enabled: true, interval: 1s, existingSecret: canary}, helmTest: {existingSecret: test}}";
    let users = "canary:{PLAIN}coal\nalice:{PLAIN}wonder\nbob:{PLAIN}builder\nmallory:{PLAIN}evil\nAlice:{PLAIN}wonder\n";
    let dir = tempfile::tempdir().unwrap();
    let files = Authority::new().issue(dir.path(), "hearth-cluster");
    let [cert, key, ca] =
        [&files.cert, &files.key, &files.ca].map(|file| std::fs::read_to_string(file).unwrap());
    let tls = [("tls.crt", &cert), ("tls.key", &key), ("ca.crt", &ca)]
        .map(|(name, pem)| ("cluster-tls", name, &**pem));
    let own = [("users", "htpasswd", users), ("canary", "user", "canary"), ("canary", "password", "coal")];
    let secrets = [&tls[..], &own].concat();
    let mut release = Release::install(&tools, values, &secrets, 1);
    let gateway = release.url(&release.pods("gateway")[0]);

    for ingester in release.pods("ingester") {
        let metrics = ureq::get(format!("{}/metrics", release.url(&ingester)))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string();
        let expires = "hearth_internode_tls_certificate_expires_timestamp_seconds ";
        assert!(metrics.unwrap().contains(expires), "{ingester} has no certificate");
    }

    assert_eq!(push(&gateway, &[ALICE], "shop", 1000), 200);
    assert_eq!(push(&gateway, &[BOB], "bobs", 77), 200);
    expect(&gateway, &[ALICE], &[("shop", 1000)]);
    expect(&gateway, &[BOB], &[("bobs", 77)]);

    if export(&gateway, &[ALICE], &otlp::export("otel", now_ns(), 75)) {
        expect(&gateway, &[ALICE], &[("otel", 750_000_000), ("shop", 1000)]);
        export_refused(&gateway, &[ALICE, ("x-scope-orgid", "team-b")], 400);
        export_refused(&gateway, &[], 401);
    }
    let http = format!("{gateway}/v1development/profiles");
    assert_eq!(post(&http, &[BOB], "application/x-protobuf", &otlp::export("otel", now_ns(), 3)).0, 200);
    expect(&gateway, &[BOB], &[("bobs", 77), ("otel", 30_000_000)]);
    // Larger than nginx takes by itself, so what refuses it is Hearth.
    let garbage = vec![7; 3 << 20];
    let refused =
        post(&format!("{gateway}/push.v1.PusherService/Push"), &[BOB], "application/proto", &garbage);
    assert_eq!(refused.0, 400, "{}", String::from_utf8_lossy(&refused.1));

    assert_tenants(&gateway);
    assert_closed(&gateway, &format!("{}: {}", ALICE.0, ALICE.1));

    // The only distributor and the only querier are replaced: nginx asks for their names again.
    for (role, workload) in [("distributor", "t-hearth-distributor"), ("querier", "t-hearth-querier")] {
        let pod = release.pods(role)[0].clone();
        release.replace(workload, &pod);
    }
    let started = Instant::now();
    while push(&gateway, &[ALICE], "later", 5) != 200 {
        assert!(started.elapsed() < Duration::from_secs(20), "the gateway does not find the new pods");
        std::thread::sleep(Duration::from_millis(200));
    }
    expect(&gateway, &[BOB], &[("bobs", 77), ("otel", 30_000_000)]);
    let said = release.smoke(&[("AUTHORIZATION_A", ALICE.1), ("AUTHORIZATION_B", BOB.1)]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
    canary_reads_exactly(&release);

    let log = release.log(&release.pods("gateway")[0]);
    assert!(log.contains("\"tenant\":\"team-a\""), "{log}");
    assert!(!log.contains("wonder") && !log.contains("YWxpY2U6"), "{log}");
}

#[test]
fn one_process_behind_a_gateway_that_asks_for_tokens() {
    let Some(tools) = Tools::find() else { return };
    let values = "{mode: single, objectStore: {type: file}, retention: {keepForever: true},
        gateway: {replicas: 1, auth: {type: bearer, existingSecret: tokens}}, helmTest: {existingSecret: test}}";
    let tokens = "\"~^Bearer 6f1ed002ab$\" \"team-a\";\n\"~^Bearer 7c2b9f10ee$\" \"team-b\";\n";
    let release = Release::install(&tools, values, &[("tokens", "tokens.map", tokens)], 2);
    let gateway = release.url(&release.pods("gateway")[0]);
    let (a, b) = (("Authorization", "Bearer 6f1ed002ab"), ("Authorization", "Bearer 7c2b9f10ee"));

    assert_eq!(push(&gateway, &[a], "shop", 11), 200);
    assert_eq!(push(&gateway, &[b], "bobs", 7), 200);
    expect(&gateway, &[a], &[("shop", 11)]);
    expect(&gateway, &[b], &[("bobs", 7)]);
    let line = "POST /push.v1.PusherService/Push HTTP/1.1\r\nContent-Type: application/proto\r\n";
    for (headers, status) in [
        ("A: b", 401),
        ("Authorization: Bearer 6F1ED002AB", 401),
        ("Authorization: Bearer 6f1ed002ab7c2b9f10ee", 401),
        ("Authorization: Bearer 6f1ed002ab\r\nX-Scope-OrgID: team-b", 400),
    ] {
        assert_eq!(raw(&gateway, &format!("{line}{headers}")), status, "{headers}");
    }
    if export(&gateway, &[a], &otlp::export("otel", now_ns(), 2)) {
        export_refused(&gateway, &[], 401);
        expect(&gateway, &[a], &[("otel", 20_000_000), ("shop", 11)]);
    }
    assert_closed(&gateway, "Authorization: Bearer 6f1ed002ab");
    let said = release.smoke(&[("AUTHORIZATION_A", a.1), ("AUTHORIZATION_B", b.1)]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
    assert!(!release.log(&release.pods("gateway")[0]).contains("6f1ed002ab"));
}

#[test]
fn one_process_behind_a_gateway_with_tls() {
    let Some(tools) = Tools::find() else { return };
    let values = "{mode: single, objectStore: {type: file}, retention: {keepForever: true},
        gateway: {replicas: 1, tls: {enabled: true, secretName: gateway-tls}, service: {port: 443}},
        canary: {enabled: true, interval: 1s, caSecret: authority}}";
    let dir = tempfile::tempdir().unwrap();
    let files = Authority::new().issue_with(dir.path(), "gateway", |params| {
        let [second, third] = Release::network(5);
        let addresses = (1..=9).map(|last| IpAddr::V4(Ipv4Addr::new(127, second, third, last)));
        params.subject_alt_names.extend(addresses.map(rcgen::SanType::IpAddress));
        // Of the authority's name it would be taken for one that signed itself.
        params.distinguished_name.push(rcgen::DnType::CommonName, "gateway");
    });
    AUTHORITY.set(files.ca.clone()).unwrap();
    let [cert, key, ca] =
        [&files.cert, &files.key, &files.ca].map(|file| std::fs::read_to_string(file).unwrap());
    let secrets =
        [("gateway-tls", "tls.crt", &*cert), ("gateway-tls", "tls.key", &key), ("authority", "ca.crt", &ca)];
    let release = Release::install(&tools, values, &secrets, 5);
    let gateway = release.url(&release.pods("gateway")[0]);
    assert!(gateway.starts_with("https://"), "{gateway}");

    let tenant = ("X-Scope-OrgID", "team-a");
    assert_eq!(push(&gateway, &[tenant], "shop", 11), 200);
    expect(&gateway, &[tenant], &[("shop", 11)]);
    if export(&gateway, &[tenant], &otlp::export("otel", now_ns(), 2)) {
        expect(&gateway, &[tenant], &[("otel", 20_000_000), ("shop", 11)]);
    }
    // Whoever speaks without TLS is told so, and nothing of it reaches a role.
    let plain = gateway.replace("https://", "http://");
    assert_eq!(push(&plain, &[tenant], "plain", 1), 400);
    canary_reads_exactly(&release);
    let said = release.smoke(&[]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
}

/// Answers each request by its token: a tenant, no tenant, whatever tenant the request itself claims, or 401. What it was asked
/// comes out of the channel.
fn authority() -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => head.extend_from_slice(&buffer[..length]),
                }
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let claimed = head.lines().find_map(|line| line.strip_prefix("x-tenant: "));
            let (status, tenant) = match head.lines().find_map(|line| line.strip_prefix("authorization: ")) {
                Some("bearer alpha") => ("200 OK", Some("team-a")),
                Some("bearer beta") => ("204 No Content", Some("team-b")),
                Some("bearer nameless") => ("200 OK", None),
                Some("bearer echo") => ("200 OK", claimed),
                Some("bearer barred") => ("403 Forbidden", Some("team-a")),
                Some("bearer broken") => ("503 Service Unavailable", Some("team-a")),
                _ => ("401 Unauthorized", Some("team-a")),
            };
            let tenant = tenant.map(|name| format!("X-Tenant: {name}\r\n")).unwrap_or_default();
            let length = if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
            let answer = format!("HTTP/1.1 {status}\r\n{tenant}{length}Connection: close\r\n\r\n");
            let _unheard = stream.write_all(answer.as_bytes());
            if said.send(head).is_err() {
                return;
            }
        }
    });
    (port, asked)
}

#[test]
fn one_process_behind_a_gateway_that_asks_a_url() {
    let Some(tools) = Tools::find() else { return };
    let (port, asked) = authority();
    let values = format!(
        "{{mode: single, objectStore: {{type: file}}, retention: {{keepForever: true}}, helmTest: {{existingSecret: test}},
        gateway: {{replicas: 1, auth: {{type: forward, forward: {{url: \"http://127.0.0.1:{port}/verify?of=x\", tenantHeader: X-Tenant}}}}}}}}"
    );
    let release = Release::install(&tools, &values, &[], 4);
    let gateway = release.url(&release.pods("gateway")[0]);
    let (a, b) = (("Authorization", "Bearer alpha"), ("Authorization", "Bearer beta"));

    assert_eq!(push(&gateway, &[a], "shop", 11), 200);
    assert_eq!(push(&gateway, &[b], "bobs", 7), 200);
    expect(&gateway, &[a], &[("shop", 11)]);
    expect(&gateway, &[b], &[("bobs", 7)]);
    let first = asked.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(first.starts_with("get /verify?of=x http/1.1\r\n"), "{first}");
    assert!(first.contains("x-original-uri: /push.v1.pusherservice/push\r\n"), "{first}");
    assert!(first.contains("x-original-method: post\r\n") && !first.contains("content-length: "), "{first}");

    let line = "POST /push.v1.PusherService/Push HTTP/1.1\r\nContent-Type: application/proto\r\n";
    for (headers, status) in [
        ("A: b", 401),
        ("Authorization: Bearer unknown", 401),
        ("Authorization: Bearer barred", 403),
        ("Authorization: Bearer broken", 500),
        // Let through and without a tenant: the role refuses it.
        ("Authorization: Bearer nameless", 401),
        // What the client claims does not reach the URL, in whatever spelling.
        ("Authorization: Bearer echo\r\nX-Tenant: team-b", 401),
        ("Authorization: Bearer echo\r\nX_Tenant: team-b", 401),
        ("Authorization: Bearer alpha\r\nX-Scope-OrgID: team-b", 400),
        ("Authorization: Bearer echo\r\nX-Scope-OrgID: team-b", 400),
        ("Authorization: Bearer alpha\r\nX-Scope-OrgID: \r\nX-Scope-OrgID: team-b", 400),
    ] {
        assert_eq!(raw(&gateway, &format!("{line}{headers}")), status, "{headers}");
    }
    // The tenant is that of the answer, whatever the request says beside it.
    for header in ["X-Tenant", "X_Scope_OrgID", "X-Scope_OrgID"] {
        assert_eq!(totals(&gateway, &[a, (header, "team-b")]), Ok(sums(&[("shop", 11)])), "{header}");
    }
    if export(&gateway, &[a], &otlp::export("otel", now_ns(), 2)) {
        export_refused(&gateway, &[], 401);
        export_refused(&gateway, &[a, ("x-scope-orgid", "team-b")], 400);
        expect(&gateway, &[a], &[("otel", 20_000_000), ("shop", 11)]);
    }
    assert_closed(&gateway, "Authorization: Bearer alpha");
    assert_eq!(raw(&gateway, "GET /_hearth_auth HTTP/1.1\r\nAuthorization: Bearer alpha"), 404);
    let said = release.smoke(&[("AUTHORIZATION_A", a.1), ("AUTHORIZATION_B", b.1)]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
    let log = release.log(&release.pods("gateway")[0]);
    assert!(log.contains("\"tenant\":\"team-a\"") && !log.contains("alpha"), "{log}");
}

#[test]
fn tenants_name_themselves_where_no_credentials_are_asked_for() {
    let Some(tools) = Tools::find() else { return };
    let values = "{objectStore: {type: file, file: {existingClaim: store}}, retention: {default: 30d}, replicationFactor: 1,
        ingester: {replicas: 1}, distributor: {replicas: 1}, querier: {replicas: 1}, gateway: {replicas: 1}}";
    let release = Release::install(&tools, values, &[], 3);
    let gateway = release.url(&release.pods("gateway")[0]);
    let (a, b) = (("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "b"));
    assert_eq!(push(&gateway, &[a], "shop", 11), 200);
    assert_eq!(push(&gateway, &[b], "bobs", 7), 200);
    expect(&gateway, &[a], &[("shop", 11)]);
    expect(&gateway, &[b], &[("bobs", 7)]);
    assert_eq!(push(&gateway, &[], "nobodys", 7), 401);
    assert_closed(&gateway, "X-Scope-OrgID: a");
    let said = release.smoke(&[]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
}

#[test]
fn the_test_of_the_chart_passes_where_tenants_are_not_told_apart() {
    let Some(tools) = Tools::find() else { return };
    let values =
        "{mode: single, multitenancy: false, objectStore: {type: file}, retention: {keepForever: true},
        gateway: {replicas: 1}}";
    let release = Release::install(&tools, values, &[], 6);
    let said = release.smoke(&[]);
    assert_eq!(said.matches("exactly").count(), 2, "{said}");
}
