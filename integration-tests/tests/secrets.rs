//! No secret is ever said: not in logs however much they say, not on pages, not in errors. Secrets are credentials of stores and
//! of collectors, what stands in URLs before an `@` or behind a `?`, and private keys.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hearth_integration_tests::cluster::{Plan, Role, binaries};
use hearth_integration_tests::process::{OPEN_LIMITS, Options, binary, free_port};
use hearth_integration_tests::{Api, Cluster, Hearth, profile};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// What all secrets of this test begin with; what follows says which one it is. A multiple of three characters, so that it is
/// known in base64 wherever a multiple of three stands before it.
const MARK: &str = "hush-hush-hush-h";

fn secret(which: &str) -> String {
    format!("{MARK}{which}")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at <= three.len() { letter } else { '=' });
        }
    }
    text
}

/// No secret is in a text: neither as it is, nor in base64, wherever it begins there.
fn silent(what: &str, text: &str) {
    let shown = |at: usize| {
        text[..at].lines().last().unwrap_or_default().to_owned()
            + &text[at..].chars().take(200).collect::<String>()
    };
    if let Some(at) = text.find(MARK) {
        panic!("{what} has a secret: {}", shown(at));
    }
    for skipped in 0..3 {
        // Without the letters that depend on what stands around.
        let whole = base64(&MARK.as_bytes()[skipped..]);
        let known = &whole[..whole.len() - 4];
        if let Some(at) = text.find(known) {
            panic!("{what} has a secret in base64: {}", shown(at));
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Starts a server that must refuse to, and gives what it says.
fn refused_start(dir: &Path, program: &Path, args: &[&str], environment: &[(&str, String)]) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).args(["--log-level", "trace", "--data-dir", "data"]);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port())]);
    // Not to wait for a store that does not come.
    command.args(["--set", "store.retries_max=1", "--set", "store.retry_for=1s"]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    assert!(!output.status.success(), "it has started: {}", said(&output));
    said(&output)
}

/// A store that refuses everything and repeats what it was sent, as stores do in their errors. Gives its URL.
fn repeating_store() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(repeat(stream)));
        }
    });
    url
}

fn repeat(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let found = head
            .iter()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let (token, authorization) = (header("x-amz-security-token"), header("authorization"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InvalidToken</Code><Message>The provided token is malformed</Message>\
         <Token-0>{token}</Token-0><AWSAccessKeyId>{MARK}id</AWSAccessKeyId><StringToSign>{authorization}\n{}</StringToSign>\
         <AuthenticationErrorDetail>The signature in '{authorization}' is not that of {token}</AuthenticationErrorDetail></Error>",
        head.join("\n")
    );
    write!(
        stream,
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Nobody listens there.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

fn s3(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", secret("aws-id")),
        ("AWS_SECRET_ACCESS_KEY", secret("aws-secret")),
        ("AWS_SESSION_TOKEN", secret("aws-token")),
    ]
}

#[test]
fn a_start_that_fails_at_its_store_says_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let azure = |more: Vec<(&'static str, String)>| {
        let mut all = vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", "account".to_owned()),
            ("AZURE_STORAGE_ENDPOINT", nowhere()),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ];
        all.extend(more);
        all
    };
    let account = json!({"type": "service_account", "client_email": "a@b.c", "private_key_id": secret("gcs-id"),
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", secret("gcs-key"))});
    let sas = format!("sv=2024-01-01&sp=rw&sig={}", secret("azure-sas"));
    for (what, url, environment) in [
        ("S3 that refuses", "s3://bucket/prefix".to_owned(), s3(&repeating_store())),
        ("S3 that is away", "s3://bucket/prefix".to_owned(), s3(&nowhere())),
        ("S3 by a URL with a key", format!("s3://key:{}@/prefix", secret("url")), s3(&nowhere())),
        (
            "S3 by a URL with a query",
            format!("s3://u:{0}@bucket/a//b?sig={0}", secret("url")),
            s3(&nowhere()),
        ),
        ("no store at all", format!("ftp://key:{}@host/prefix", secret("url")), Vec::new()),
        (
            "Azure with a key",
            "az://container/prefix".to_owned(),
            azure(vec![("AZURE_STORAGE_ACCOUNT_KEY", base64(secret("azure").as_bytes()))]),
        ),
        (
            "Azure with a key that is none",
            "az://container/prefix".to_owned(),
            azure(vec![("AZURE_STORAGE_ACCOUNT_KEY", secret("azure-key!"))]),
        ),
        (
            "Azure with a signature",
            "az://container/prefix".to_owned(),
            azure(vec![("AZURE_STORAGE_SAS_KEY", sas.clone())]),
        ),
        ("GCS", "gs://bucket/prefix".to_owned(), vec![("GOOGLE_SERVICE_ACCOUNT_KEY", account.to_string())]),
        (
            "GCS with a key that is no JSON",
            "gs://bucket/prefix".to_owned(),
            vec![("GOOGLE_SERVICE_ACCOUNT_KEY", secret("gcs"))],
        ),
    ] {
        let text = refused_start(dir.path(), &binary(), &["serve", "--object-store", &url], &environment);
        assert!(text.contains("object store"), "{what}: {text}");
        silent(what, &text);
    }
}

#[test]
fn a_private_key_between_roles_is_not_said() {
    let dir = tempfile::tempdir().unwrap();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", secret("tls"));
    for file in ["cert", "key", "ca"] {
        std::fs::write(dir.path().join(file), &key).unwrap();
    }
    let args = [
        "--cluster.tls.enabled",
        "--cluster.tls.cert-file",
        "cert",
        "--cluster.tls.key-file",
        "key",
        "--cluster.tls.ca-file",
        "ca",
    ];
    let store = format!("file://{}", dir.path().join("store").display());
    let args = [&args[..], &["--object-store", &store, "--gossip.seeds", "127.0.0.1:1"]].concat();
    let text = refused_start(dir.path(), &binaries().join("hearth-distributor"), &args, &[]);
    assert!(text.contains("tls"), "{text}");
    silent("a role with a key that is none", &text);
}

/// Every page that a process has, and answers to mistakes.
fn answers(api: &Api) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in [
        "/",
        "/admin",
        "/ready",
        "/healthz",
        "/metrics",
        "/ring",
        "/nothing",
        "/runtime_config",
        "/runtime_config?mode=diff",
        "/api/v1/status/config",
        "/api/v1/status/config/diff",
        "/api/v1/status/config/default",
        "/api/v1/status/buildinfo",
        "/api/v1/tenant_limits",
        "/config",
        "/debug/pprof/",
        "/debug/pprof/cmdline",
        "/debug/pprof/heap",
        "/pyroscope/render?query=x",
        "/pyroscope/render?query=process_cpu:cpu:nanoseconds:cpu:nanoseconds%7B%7D&from=now-1h",
    ] {
        found.push((path.to_owned(), api.get(path).unwrap().text()));
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let good = profile::gzip(&profile::cpu(now_ms * 1_000_000, &[(&["main"], 17)]));
    for body in [&good[..], b"no profile"] {
        let labels = [("__name__", "process_cpu"), ("service_name", "shop")];
        found.push(("a push".to_owned(), api.push(&labels, body).unwrap().text()));
    }
    for method in ["SelectMergeStacktraces", "SelectSeries", "LabelNames", "ProfileTypes"] {
        let range = json!({"profile_typeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds", "label_selector": "{}",
            "start": now_ms - 60_000, "end": now_ms + 60_000, "step": 15});
        found.push((method.to_owned(), api.query(method, &range).text()));
        found.push((format!("a bad {method}"), api.query(method, &json!({"label_selector": "{"})).text()));
    }
    found
}

fn until(what: &str, log: impl Fn() -> String, holds: impl Fn(&str) -> bool) {
    let started = Instant::now();
    while !holds(&log()) {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_process_says_no_secret_of_its_urls_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let user = |which: &str| nowhere().replace("//", &format!("//user:{}@", secret(which)));
        let mut options = Options::new(&dir.path().join(protocol.replace('/', "-")));
        options.config = format!(
            "{OPEN_LIMITS}  symbolizer: {{ enabled: true }}\nlog: {{ level: trace }}\nprofiling: {{ heap: true }}\n\
             self_profiling: {{ push: true, interval: 1s, url: \"{}\" }}\nsymbolizer: {{ debuginfod_url: \"{}?sig={}\" }}\n\
             tracing: {{ otlp_endpoint: \"{}\", protocol: {protocol}, sample_ratio: 1 }}\n",
            user("self"),
            user("debuginfod"),
            secret("debuginfod"),
            nowhere(),
        );
        options.environment = s3(&nowhere());
        options
            .environment
            .push(("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{}", secret("header"))));
        let hearth = Hearth::start(&options);
        for (what, text) in answers(&hearth.api("t")) {
            silent(&what, &text);
        }
        for failure in ["is not pushed", "spans cannot be exported"] {
            until(failure, || hearth.log_text(), |log| log.contains(failure));
        }
        let log = hearth.log_text();
        assert!(log.contains("TRACE"), "{log}");
        silent(&format!("the log, {protocol}"), &log);
        drop(hearth);
    }
}

#[test]
fn roles_whose_store_is_away_or_refuses_say_no_secret() {
    for (endpoint, away) in [(nowhere(), true), (repeating_store(), false)] {
        let config = format!(
            "{OPEN_LIMITS}log: {{ level: trace }}\nstore: {{ retries_max: 1, retry_for: 1s, request_timeout: 2s }}\n"
        );
        let plan = Plan { factor: 1, ingesters: 1, distributors: 0, queriers: 1, compactors: 0, config };
        let mut cluster = Cluster::prepare(plan);
        cluster.set_bucket("s3://bucket/prefix", s3(&endpoint));
        let names: Vec<String> =
            [Role::Ingester, Role::Querier].into_iter().flat_map(|role| cluster.names(role)).collect();
        for name in &names {
            cluster.launch(name);
            until(name, || cluster.log(name), |log| log.contains("object store"));
            if away {
                for (what, text) in answers(&cluster.api(name, "t")) {
                    silent(&what, &text);
                }
            }
            silent(name, &cluster.log(name));
        }
    }
}

#[test]
fn checks_of_settings_say_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = secret("url");
    for (settings, environment) in [
        (format!("object_store: s3://key:{hidden}@bucket/prefix?sig={hidden}\n"), None),
        (format!("object_store: ftp://key:{hidden}@bucket\n"), None),
        (format!("object_store: [s3://key:{hidden}@bucket\n"), None),
        (format!("multitenancy: https://key:{hidden}@bucket\n"), None),
        (format!("tracing: {{ otlp_endpoint: \"user:{hidden}@host\" }}\n"), None),
        (format!("tracing: {{ otlp_endpoint: \"https://user:{hidden}@host\", protocol: grpc }}\n"), None),
        (format!("self_profiling: {{ url: \"ftp://user:{hidden}@host\" }}\n"), None),
        (format!("symbolizer: {{ debuginfod_url: \"ftp://user:{hidden}@host\" }}\n"), None),
        (String::new(), Some(("HEARTH_MULTITENANCY", format!("https://user:{hidden}@host")))),
        (String::new(), Some(("HEARTH_OBJECT_STORE", format!("s3://user:{hidden}@host")))),
    ] {
        std::fs::write(dir.path().join("h.yaml"), &settings).unwrap();
        for args in [
            &["config", "check", "h.yaml"][..],
            &["config", "--config", "h.yaml"],
            &["config", "--config", "h.yaml", "--changes"],
        ] {
            let mut command = Command::new(binary());
            command.args(args).current_dir(dir.path()).envs(environment.clone());
            let output = command.output().unwrap();
            assert!(!said(&output).is_empty());
            silent(&format!("{settings} {args:?}"), &said(&output));
        }
    }
}

#[test]
fn what_looks_for_secrets_finds_them() {
    let found = |text: &str| std::panic::catch_unwind(|| silent("x", text)).is_err();
    assert!(found(&secret("x")) && !found("hush"));
    assert_eq!(base64(b"Man") + &base64(b"Ma") + &base64(b"M"), "TWFuTWE=TQ==");
    for user in ["", "a:", "ab:"] {
        assert!(found(&base64(format!("{user}{}", secret("x")).as_bytes())), "{user}");
    }
}
