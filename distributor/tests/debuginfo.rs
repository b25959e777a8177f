//! Uploads of programs over a real port: the four methods, the file, and every refusal.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hearth_common::SystemClock;
use hearth_debuginfo::Uploads;
use hearth_distributor::debuginfo::{DebugInfo, DebugInfoOptions};
use hearth_objstore::{Store, StoreOptions};
use hearth_rpc::{RequestMetrics, ServerOptions, Tenancy, bind};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

const SERVICE: &str = "/debuginfo.v1alpha1.DebuginfoService";
const ID: &str = "0123456789abcdef0123456789abcdef01234567";
const BYTES_MAX: u64 = 100_000;

struct Port {
    address: std::net::SocketAddr,
    store: Store,
    debuginfo: Arc<DebugInfo>,
    runtime: tokio::runtime::Runtime,
}

fn start(change: impl Fn(&mut DebugInfoOptions)) -> Port {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads");
    let store = Store::open("memory:", StoreOptions::default()).expect("opens");
    let mut options = DebugInfoOptions {
        enabled: true,
        upload_bytes_max: BYTES_MAX,
        upload_timeout: Duration::from_secs(30),
    };
    change(&mut options);
    let counter = AtomicU64::new(1);
    let rng = Arc::new(move || u128::from(counter.fetch_add(1, Ordering::Relaxed)));
    let clock = Arc::new(SystemClock::default());
    let uploads = Uploads::new(store.clone(), rng, clock, Duration::from_secs(420));
    let debuginfo = DebugInfo::new(uploads, options);
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().expect("an address"),
        tenancy: Tenancy::Multi,
        max_message_bytes: 8 << 20,
        metrics: RequestMetrics::new(&mut Registry::default()),
        clock: Arc::new(SystemClock::default()),
        aside: Default::default(),
    };
    let server = runtime.block_on(bind(options, debuginfo.routes())).expect("a port");
    let address = server.local_addr().expect("bound");
    runtime.spawn(server.run(std::future::pending()));
    Port { address, store, debuginfo, runtime }
}

fn elf(bytes: usize) -> Vec<u8> {
    let mut file = b"\x7fELF".to_vec();
    file.resize(bytes, 7);
    file
}

impl Port {
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
    }

    fn call(&self, method: &str, question: &Value) -> (u16, Value) {
        let headers = [("x-scope-orgid", "t"), ("content-type", "application/json")];
        let (status, text) =
            self.post(&format!("{SERVICE}/{method}"), &headers, question.to_string().as_bytes());
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    fn begin(&self, id: &str) -> Value {
        let question = json!({"file": {"gnuBuildId": id, "name": "shop", "type": "TYPE_EXECUTABLE_FULL"}});
        let (status, answer) = self.call("ShouldInitiateUpload", &question);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn send(&self, id: &str, body: &[u8]) -> (u16, String) {
        self.post(&format!("{SERVICE}/Upload/{id}"), &[("x-scope-orgid", "t")], body)
    }

    fn files(&self) -> Vec<u64> {
        let listed = self.runtime.block_on(self.store.list(&format!("debug-info/t/{ID}/exe")));
        listed.expect("lists").into_iter().map(|object| object.bytes).collect()
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.debuginfo.register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        text
    }
}

#[test]
fn a_program_is_uploaded_listed_and_deleted() {
    let port = start(|_| ());
    assert_eq!(port.call("ListDebuginfo", &json!({})).1, json!({}));
    assert_eq!(port.begin(ID)["shouldInitiateUpload"], true);
    let again = port.begin(&ID.to_uppercase());
    assert_eq!(again["shouldInitiateUpload"], Value::Null, "false is left out");
    assert_eq!(again["reason"], "somebody is uploading it");
    let (_, listed) = port.call("ListDebuginfo", &json!({}));
    assert_eq!(listed["object"][0]["state"], Value::Null, "UPLOADING is 0");
    assert_eq!(port.send(ID, &elf(70_000)), (200, String::new()));
    assert_eq!(port.call("UploadFinished", &json!({"gnuBuildId": ID})), (200, json!({})));
    let (_, listed) = port.call("ListDebuginfo", &json!({}));
    let object = &listed["object"][0];
    assert_eq!(object["file"], json!({"gnuBuildId": ID, "name": "shop", "type": "TYPE_EXECUTABLE_FULL"}));
    assert_eq!((&object["state"], &object["sizeBytes"]), (&json!("STATE_UPLOADED"), &json!("70000")));
    let started = object["startedAt"].as_str().expect("a time");
    assert!(started.starts_with("20") && started.ends_with('Z') || started.ends_with("+00:00"), "{started}");
    assert!(object["finishedAt"].as_str().is_some());
    assert_eq!(port.begin(ID)["reason"], "it has been uploaded before");
    for _ in 0..2 {
        assert_eq!(port.call("DeleteDebuginfo", &json!({"gnuBuildId": ID})), (200, json!({})));
    }
    assert_eq!((port.call("ListDebuginfo", &json!({})).1, port.files()), (json!({}), Vec::<u64>::new()));
    assert_eq!(port.begin(ID)["shouldInitiateUpload"], true);
    let metrics = port.metrics();
    assert!(metrics.contains("hearth_debuginfo_upload_bytes_total 70000\n"), "{metrics}");
    assert!(metrics.contains("hearth_debuginfo_uploads_total{outcome=\"received\"} 1\n"), "{metrics}");
}

#[test]
fn what_is_refused_and_how() {
    let port = start(|_| ());
    let begin = |file: Value| port.call("ShouldInitiateUpload", &json!({"file": file}));
    assert_eq!(port.call("ShouldInitiateUpload", &json!({})).0, 400);
    assert!(begin(json!({"name": "x"})).1["reason"].as_str().is_some_and(|text| text.contains("build id")));
    let (status, error) = begin(json!({"gnuBuildId": ID}));
    assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")));
    for bad in ["x", "0", "xyz", &"a".repeat(41), "../../etc"] {
        let file = json!({"gnuBuildId": bad, "type": "TYPE_EXECUTABLE_NO_TEXT"});
        assert_eq!(begin(file).0, 400, "{bad}");
    }
    let (status, error) = port.call("UploadFinished", &json!({"gnuBuildId": ID}));
    assert_eq!((status, &error["code"]), (404, &json!("not_found")));
    assert_eq!(port.call("UploadFinished", &json!({"gnuBuildId": "-"})).0, 400);
    assert_eq!(port.call("DeleteDebuginfo", &json!({"gnuBuildId": ""})).0, 400);

    let path = format!("{SERVICE}/Upload/{ID}");
    assert_eq!(port.post(&path, &[], b"x"), (401, "no org id\n".to_owned()));
    assert_eq!(port.send("nothex", &elf(10)).0, 400);
    let (status, text) = port.send(ID, &elf(10));
    assert_eq!(status, 412);
    assert!(text.contains("ShouldInitiateUpload") && text.ends_with('\n'), "{text}");
    port.begin(ID);
    let (status, error) = port.call("UploadFinished", &json!({"gnuBuildId": ID}));
    assert_eq!((status, &error["code"]), (400, &json!("failed_precondition")));
    let (status, text) = port.send(ID, b"\x1f\x8b\x08\x00 not a program");
    assert_eq!(status, 400);
    assert!(text.contains("no ELF file"), "{text}");
    assert_eq!(port.send(ID, b"").0, 400);
    let (status, text) = port.send(ID, &elf(BYTES_MAX as usize + 1));
    assert_eq!(status, 413, "{text}");
    assert!(text.contains("100000"), "{text}");
    let gzip = [("x-scope-orgid", "t"), ("content-encoding", "gzip")];
    assert_eq!(port.post(&path, &gzip, &elf(10)).0, 415);
    assert!(port.files().is_empty(), "nothing stays of what was refused");
    assert_eq!(port.send(ID, &elf(BYTES_MAX as usize)).0, 200, "the limit itself is fine");
    assert!(port.metrics().contains("hearth_debuginfo_uploads_total{outcome=\"failed\"} 0\n"));
}

/// A body in chunks does not say how long it is.
#[test]
fn a_body_without_a_length_is_measured() {
    let port = start(|_| ());
    port.begin(ID);
    let send = |bytes: usize| {
        let mut socket = TcpStream::connect(port.address).expect("connects");
        let head = format!(
            "POST {SERVICE}/Upload/{ID} HTTP/1.1\r\nhost: x\r\nx-scope-orgid: t\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("sent");
        for piece in elf(bytes).chunks(1000) {
            // The server may have had enough.
            let _ = socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes());
            let _ = socket.write_all(piece);
            let _ = socket.write_all(b"\r\n");
        }
        let _ = socket.write_all(b"0\r\n\r\n");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let answer = send(BYTES_MAX as usize + 1000);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(port.files().is_empty());
    assert!(send(50_000).starts_with("HTTP/1.1 200 "));
    assert_eq!(port.files(), [50_000]);
}

#[test]
fn a_file_that_breaks_off_or_takes_too_long_is_removed() {
    let port = start(|options| options.upload_timeout = Duration::from_millis(300));
    port.begin(ID);
    let head = |length: usize| {
        let mut socket = TcpStream::connect(port.address).expect("connects");
        let head = format!(
            "POST {SERVICE}/Upload/{ID} HTTP/1.1\r\nhost: x\r\nx-scope-orgid: t\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("sent");
        socket.write_all(&elf(5000)).expect("sent");
        socket
    };
    let mut slow = head(9000);
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    drop(head(9000));
    let counted = "hearth_debuginfo_uploads_total{outcome=\"refused\"} 2\n";
    for _ in 0..200 {
        if port.metrics().contains(counted) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(port.metrics().contains(counted), "{}", port.metrics());
    assert!(port.files().is_empty());
    assert!(port.metrics().contains("hearth_debuginfo_uploads_in_flight 0\n"));
}

#[test]
fn switched_off_nothing_is_taken() {
    let port = start(|options| options.enabled = false);
    let answer = port.begin(ID);
    assert_eq!(answer["shouldInitiateUpload"], Value::Null);
    assert!(answer["reason"].as_str().is_some_and(|text| text.contains("debug_info.enabled")));
    assert_eq!(port.send(ID, &elf(10)).0, 412);
}
