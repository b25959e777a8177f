//! `/ingest` and the push RPC over a real port.

use std::io::Write;
use std::sync::Arc;

use hearth_cluster::push::PushTarget;
use hearth_common::{Clock, SystemClock, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps};
use hearth_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use hearth_proto::types::v1::LabelPair;
use hearth_rpc::{RequestMetrics, ServerOptions, Tenancy, bind};
use prost::Message;

mod support;
use support::pprof::Builder;
use support::target::{Got, NOW_NS, StandingClock, Target};

struct Port {
    url: String,
    target: Arc<Target>,
    registry: prometheus_client::registry::Registry,
    _runtime: tokio::runtime::Runtime,
}

impl Port {
    fn start(limits: TenantLimits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let target = Arc::new(Target::default());
        let distributor = Arc::new(Distributor::new(DistributorDeps {
            target: Arc::clone(&target) as Arc<dyn PushTarget>,
            limits: Arc::new(Arc::new(limits)),
            clock: Arc::new(StandingClock::default()) as Arc<dyn Clock>,
            replicas: Arc::new(|| 1),
            parsing: hearth_common::Turns::new(2),
        }));
        let mut registry = prometheus_client::registry::Registry::default();
        distributor.register_metrics(&mut registry);
        let options = ServerOptions {
            listen: "127.0.0.1:0".parse().expect("an address"),
            tenancy: Tenancy::Multi,
            max_message_bytes: 8 << 20,
            metrics: RequestMetrics::new(&mut prometheus_client::registry::Registry::default()),
            clock: Arc::new(SystemClock::default()),
            aside: Default::default(),
        };
        let server = runtime.block_on(bind(options, distributor.routes())).expect("a port");
        let url = format!("http://{}", server.local_addr().expect("bound"));
        runtime.spawn(server.run(std::future::pending()));
        Self { url, target, registry, _runtime: runtime }
    }

    /// Status and body of a POST.
    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(format!("{}{path}", self.url));
        let request = request.header("x-scope-orgid", "t").content_type(content_type);
        let mut response = request.send(body).expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
    }

    /// The records of the last push.
    fn last(&self) -> Vec<Got> {
        self.target.pushes.lock().last().cloned().unwrap_or_default()
    }

    fn pushes(&self) -> usize {
        self.target.pushes.lock().len()
    }
}

const FOLDED: &[u8] = b"main;work 3\nmain 2\n";

#[test]
fn text_stacks() {
    let port = Port::start(TenantLimits::default());
    let query = "/ingest?name=app.cpu%7Benv%3Dprod%2Cx.y%3D1%7D&from=1699999990&until=1700000000&sampleRate=100&spyName=rbspy";
    assert_eq!(port.post(query, "text/plain", FOLDED), (200, String::new()));
    let [got] = &port.last()[..] else { panic!("one record") };
    let labels = "__delta__=false,__name__=process_cpu,env=prod,pyroscope_spy=rbspy,service_name=app,x.y=1";
    assert_eq!(got.labels, labels);
    assert_eq!(
        (got.time, got.types.as_slice()),
        (1_699_999_990_000_000_000, ["cpu:nanoseconds".to_owned()].as_slice())
    );
    let want = [("main".to_owned(), vec![20_000_000]), ("main;work".to_owned(), vec![30_000_000])];
    assert_eq!(got.stacks, want);
    let lines = port.post(
        "/pyroscope/ingest?name=a.goroutines%7Bservice_name%3Db%7D&format=lines",
        "",
        b"m;n\nm;n\n",
    );
    assert_eq!(lines, (200, String::new()));
    let [got] = &port.last()[..] else { panic!("one record") };
    let labels = "__delta__=false,__name__=goroutine,app_name=a,pyroscope_spy=unknown,service_name=b";
    assert_eq!((got.labels.as_str(), got.types[0].as_str()), (labels, "goroutines:count"));
    assert_eq!(got.stacks, [("m;n".to_owned(), vec![2])]);
    assert_eq!(got.time, NOW_NS);
}

#[test]
fn what_is_wrong_and_with_which_status() {
    let limits = TenantLimits { ingestion_body_limit_mb: 0.001, ..TenantLimits::default() };
    let port = Port::start(limits);
    let check = |query: &str, body: &[u8], status: u16, want: &str| {
        let (got, text) = port.post(&format!("/ingest?{query}"), "text/plain", body);
        assert_eq!(got, status, "{query}: {text}");
        assert!(text.contains(want), "{query}: {text}");
    };
    check("name=", FOLDED, 400, r#"{"code":"invalid_argument","message":"name: service name is required"}"#);
    check("name=a%7Bd-e%3Df%7D", FOLDED, 400, "invalid label name: d-e: character is not allowed: '-'");
    check("name=my.app", FOLDED, 400, "failed to convert metadata: unknown profile type: app");
    check("name=a", b"a;b x\n", 422, r#""code":"unknown""#);
    check("name=a&format=pprof", b"garbage", 422, "failed to parse profile");
    check(
        "name=a&format=jfr",
        b"x",
        422,
        "failed to parse jfr: chunk 1, byte 0 of the recording: a chunk must begin",
    );
    check(
        "name=a&format=jfr",
        b"\x1f\x8b\x08\x08",
        422,
        "the body is gzip: a recording that is the whole body",
    );
    check("name=a&from=1600000000", FOLDED, 422, "is outside of ingestion window");
    check("name=a", &[b'x'; 2000], 413, "request body too large");
    check("name=a", b"", 200, "");
    check("name=a%7Bprofile_id%3D1%7D", FOLDED, 200, "");
    assert_eq!(port.pushes(), 0);
    let narrow = TenantLimits { ingestion_burst_size_mb: 0.000_01, ..TenantLimits::default() };
    let (status, text) = Port::start(narrow).post("/ingest?name=a", "", FOLDED);
    assert_eq!(status, 429, "{text}");
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let response = agent.post(format!("{}/ingest?name=a", port.url)).send(FOLDED).expect("an answer");
    assert_eq!(response.status().as_u16(), 401);
}

#[test]
fn a_pprof_beyond_the_rate_is_refused_before_it_is_inflated() {
    let kib = 1.0 / 1024.0;
    let limits =
        TenantLimits { ingestion_rate_mb: kib, ingestion_burst_size_mb: kib, ..TenantLimits::default() };
    let port = Port::start(limits);
    // Gzip that nobody could inflate.
    let broken = |bytes: usize| [&b"\x1f\x8b\x08\x00"[..], &vec![0xff; bytes]].concat();
    let (status, text) = port.post("/ingest?name=a&format=pprof", "", &broken(2000));
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("push rate limit (1.0 KiB) exceeded while adding "), "{text}");
    let body = [part("profile", &broken(2000)), b"--x--\r\n".to_vec()].concat();
    let (status, text) = port.post("/ingest?name=a", "multipart/form-data; boundary=x", &body);
    assert_eq!(status, 429, "{text}");
    let (status, text) = port.post("/ingest?name=a&format=pprof", "", &broken(100));
    assert_eq!(status, 422, "{text}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &port.registry).expect("memory");
    for line in [
        r#"pyroscope_discarded_samples_total{reason="rate_limited",tenant="t"} 2"#,
        r#"pyroscope_discarded_bytes_total{reason="rate_limited",tenant="t"} 4008"#,
        r#"pyroscope_discarded_samples_total{reason="malformed_profile",tenant="t"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// A node of a tree or a trie; names are short.
fn node(name: &str, value: u8, children: u8) -> Vec<u8> {
    [&[name.len() as u8], name.as_bytes(), &[value, children]].concat()
}

#[test]
fn trees_and_tries() {
    let port = Port::start(TenantLimits::default());
    let tree = [node("", 0, 2), node("main", 2, 1), node("work", 3, 0), node("gc", 5, 0)].concat();
    let trie = [node("", 0, 2), node("main", 2, 1), node(";work", 3, 0), node("gc", 5, 0)].concat();
    let want = [("gc", 50_000_000), ("main", 20_000_000), ("main;work", 30_000_000)];
    let want = want.map(|(stack, value)| (stack.to_owned(), vec![value]));
    for (query, content_type, body) in [
        ("name=a&format=tree", "", &tree),
        ("name=a", "binary/octet-stream+tree", &tree),
        ("name=a&format=trie", "", &trie),
        ("name=a&format=lines", "binary/octet-stream+trie", &trie),
    ] {
        let answer = port.post(&format!("/ingest?{query}"), content_type, body);
        assert_eq!(answer, (200, String::new()), "{query}");
        let [got] = &port.last()[..] else { panic!("one record") };
        assert_eq!(got.stacks, want, "{query}");
        assert_eq!(got.types, ["cpu:nanoseconds"]);
    }
    let pushes = port.pushes();
    for (format, body, want) in [
        ("tree", &tree[..9], "failed to parse tree: the data ends at byte 9, within the number of children"),
        ("trie", &trie[..4], "failed to parse trie: the data ends at byte 4, within the name of a node"),
        ("tree", &[0, 0, 0xff, 0xff, 0x7f], "has 2097151 children, more than 16000"),
        ("tree", &[0x1f, 0x8b, 8, 0], "the body is gzip"),
    ] {
        let (status, text) = port.post(&format!("/ingest?name=a&format={format}"), "", body);
        assert!(status == 422 && text.contains(want), "{status} {text}");
    }
    assert_eq!(port.post("/ingest?name=a&format=tree", "", b""), (200, String::new()));
    assert_eq!(port.pushes(), pushes);
}

/// Sizes count as those of the pprof that they become: many equal lines are little, a deep tree is much.
#[test]
fn sizes_of_text_are_those_of_its_pprof() {
    let port = Port::start(TenantLimits::default());
    let lines = b"main;work\n".repeat(600_000);
    assert_eq!(port.post("/ingest?name=a.goroutines&format=lines", "", &lines), (200, String::new()));
    assert_eq!(port.last()[0].stacks, [("main;work".to_owned(), vec![600_000])]);
    let mut deep = node("", 0, 1);
    (0..10_000).for_each(|_| deep.extend(node("f", 1, 1)));
    deep.extend(node("leaf", 1, 0));
    let (status, text) = port.post("/ingest?name=a&format=tree", "", &deep);
    assert!(status == 422 && text.contains("exceeds limit of 4.2 MB"), "{status} {text}");
    let wide: Vec<String> = (0..16_001).map(|n| format!("f{n} 1\n")).collect();
    let (status, text) = port.post("/ingest?name=a", "", wide.concat().as_bytes());
    assert!(status == 422 && text.contains("(max_profile_stacktrace_samples, actual: 16001"), "{text}");
}

/// A document of speedscope with profiles (name, unit, sampled) of the stacks a;b 2 and a 3.
fn speedscope(profiles: &[(&str, &str, bool)]) -> Vec<u8> {
    let profiles: Vec<String> = profiles
        .iter()
        .map(|(name, unit, sampled)| {
            let head = format!(r#""name":"{name}","unit":"{unit}","startValue":0,"endValue":5"#);
            if *sampled {
                return format!(r#"{{"type":"sampled",{head},"samples":[[0,1],[0]],"weights":[2,3]}}"#);
            }
            let event = |ty, frame, at| format!(r#"{{"type":"{ty}","frame":{frame},"at":{at}}}"#);
            let events = [("O", 0, 0), ("O", 1, 3), ("C", 1, 5), ("C", 0, 5)];
            let events: Vec<String> = events.iter().map(|(ty, frame, at)| event(ty, *frame, *at)).collect();
            format!(r#"{{"type":"evented",{head},"events":[{}]}}"#, events.join(","))
        })
        .collect();
    let schema = "https://www.speedscope.app/file-format-schema.json";
    let frames = r#"{"frames":[{"name":"a"},{"name":"b"}]}"#;
    format!(r#"{{"$schema":"{schema}","shared":{frames},"profiles":[{}]}}"#, profiles.join(",")).into_bytes()
}

#[test]
fn speedscope_documents() {
    let port = Port::start(TenantLimits::default());
    // (name, profiles, each: labels that must be there, type, values of a and of a;b).
    type Want<'a> = (&'a str, &'a str, [i64; 2]);
    let check = |query: &str, profiles: &[(&str, &str, bool)], want: &[Want<'_>]| {
        let answer = port.post(&format!("/ingest?format=speedscope&{query}"), "", &speedscope(profiles));
        assert_eq!(answer, (200, String::new()), "{query}");
        let last = port.last();
        assert_eq!(last.len(), want.len(), "{query}");
        for (got, (labels, ty, [a, ab])) in last.iter().zip(want) {
            assert!(got.labels.contains(labels), "{query}: {} {labels}", got.labels);
            assert_eq!(got.types, [*ty], "{query}");
            let want = [("a", *a), ("a;b", *ab)].map(|(stack, value)| (stack.to_owned(), vec![value]));
            assert_eq!(got.stacks, want, "{query}");
        }
    };
    let cpu = "__name__=process_cpu,profile_name=p,pyroscope_spy=unknown,service_name=x";
    for sampled in [true, false] {
        check("name=x", &[("p", "none", sampled)], &[(cpu, "cpu:nanoseconds", [30_000_000, 20_000_000])]);
        check("name=x", &[("p", "nanoseconds", sampled)], &[(cpu, "cpu:nanoseconds", [3, 2])]);
        let none_50 = [(cpu, "cpu:nanoseconds", [60_000_000, 40_000_000])];
        check("name=x&sampleRate=50", &[("p", "none", sampled)], &none_50);
        let seconds = [(cpu, "cpu:nanoseconds", [3_000_000_000, 2_000_000_000])];
        check("name=x&sampleRate=50", &[("p", "seconds", sampled)], &seconds);
    }
    check("name=x&sampleRate=0", &[("p", "none", true)], &[(cpu, "samples:count", [3, 2])]);
    let bytes = "__name__=memory,profile_name=p,";
    check("name=x", &[("p", "bytes", true)], &[(bytes, "samples:bytes", [3, 2])]);
    check("name=x.inuse_space", &[("p", "bytes", true)], &[(bytes, "inuse_space:bytes", [3, 2])]);
    let several = [("p", "milliseconds", true), ("q", "bytes", true), ("p", "milliseconds", true)];
    let wall = ("__name__=wall,profile_name=p,", "wall:nanoseconds", [6_000_000, 4_000_000]);
    let memory = ("__name__=memory,profile_name=q,", "samples:bytes", [3, 2]);
    check("name=x", &several, &[wall, memory]);
    let named = "app_name=x,profile_name=p,pyroscope_spy=unknown,service_name=s";
    check(
        "name=x%7Bservice_name%3Ds%7D",
        &[("p", "seconds", true)],
        &[(named, "cpu:nanoseconds", [3_000_000_000, 2_000_000_000])],
    );
    let pushes = port.pushes();
    for (name, body, want) in [
        ("x", b"{}".to_vec(), r#"{"code":"unknown","message":"Unknown schema: "}"#),
        ("x.app", speedscope(&[("p", "none", true)]), "unknown profile type: app"),
        ("x", speedscope(&[("p", "hours", true)]), "unit \\\"hours\\\" is none of"),
        ("x", speedscope(&[("p", "none", true)])[..200].to_vec(), "EOF while parsing"),
    ] {
        let (status, text) = port.post(&format!("/ingest?name={name}&format=speedscope"), "", &body);
        assert!(status == 422 && text.contains(want), "{status} {text}");
    }
    assert_eq!(port.pushes(), pushes);
}

fn part(name: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n");
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn pprof_raw_and_in_forms() {
    let port = Port::start(TenantLimits::default());
    let profile = Builder::new(&[("contentions", "count"), ("delay", "nanoseconds")])
        .sample(&["main"], &[1, 10], &[("k", "v")])
        .build();
    let raw = port.post("/ingest?name=my.app&format=pprof&from=1699999999", "", &profile);
    assert_eq!(raw, (200, String::new()));
    let [got] = &port.last()[..] else { panic!("one record") };
    let labels = "__delta__=false,__name__=mutex,k=v,pyroscope_spy=unknown,service_name=my.app";
    assert_eq!((got.labels.as_str(), got.time), (labels, 1_699_999_999_000_000_000));
    let form = "multipart/form-data; boundary=x";
    let config = br#"{"contentions":{"units":"lock_samples","display-name":"block_count"}}"#;
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&profile).expect("memory");
    let zipped = zipped.finish().expect("memory");
    let body = [part("profile", &zipped), part("sample_type_config", config), b"--x--\r\n".to_vec()].concat();
    assert_eq!(port.post("/ingest?name=my.app", form, &body), (200, String::new()));
    assert!(port.last()[0].labels.contains("__name__=block,"), "{:?}", port.last());
    let body = [part("prev_profile", &profile), part("profile", &profile), b"--x--\r\n".to_vec()].concat();
    let (status, text) = port.post("/ingest?name=my.app", form, &body);
    assert!(status == 422 && text.contains("unsupported client version"), "{status} {text}");
    let (status, _) = port.post("/ingest?name=my.app&format=pprof", form, &body);
    assert_eq!(status, 422);
    let pushes = port.pushes();
    let body = [part("other", &profile), b"--x--\r\n".to_vec()].concat();
    assert_eq!(port.post("/ingest?name=my.app", form, &body), (200, String::new()));
    assert_eq!(port.pushes(), pushes);
}

#[test]
fn the_push_rpc() {
    let port = Port::start(TenantLimits::default());
    let profile = Builder::new(&[("cpu", "nanoseconds")]).at(NOW_NS).sample(&["main"], &[7], &[]).build();
    let pair = |name: &str, value: &str| LabelPair { name: name.to_owned(), value: value.to_owned() };
    let sample = |bytes: &[u8]| RawSample { raw_profile: bytes.to_vec().into(), id: "an-id".to_owned() };
    let series = |samples| RawProfileSeries {
        labels: vec![pair("service_name", "s"), pair("__name__", "process_cpu")],
        samples,
        ..RawProfileSeries::default()
    };
    let push = |samples| {
        let request = PushRequest { series: vec![series(samples)] };
        port.post("/push.v1.PusherService/Push", "application/proto", &request.encode_to_vec())
    };
    assert_eq!(push(vec![sample(&profile)]).0, 200);
    assert_eq!(port.last()[0].stacks, [("main".to_owned(), vec![7])]);
    let (status, text) = push(vec![sample(b"garbage garbage"), sample(&profile)]);
    assert_eq!(status, 400, "{text}");
    assert!(text.contains(r#""code":"invalid_argument""#), "{text}");
    assert_eq!(port.pushes(), 2, "the good one is stored");
    let nothing = port.post("/push.v1.PusherService/Push", "application/json", b"{}");
    assert_eq!(nothing, (400, r#"{"code":"invalid_argument","message":"no profiles received"}"#.to_owned()));
    let large = Builder::new(&[("cpu", "nanoseconds")]).at(NOW_NS).sample(&[&"x".repeat(2 << 20)], &[7], &[]);
    let (status, text) = push(vec![sample(&large.build())]);
    assert_eq!(status, 429, "larger than the burst, on the threads for long work: {text}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &port.registry).expect("memory");
    // What is larger than the burst is refused before anything is parsed of it.
    for line in [
        r#"pyroscope_discarded_samples_total{reason="malformed_profile",tenant="t"} 1"#,
        r#"pyroscope_discarded_samples_total{reason="rate_limited",tenant="t"} 1"#,
        r#"pyroscope_distributor_received_samples_count{type="process_cpu",tenant="t"} 2"#,
        r#"pyroscope_distributor_received_decompressed_bytes_total_count{tenant="t",stage="received"} 2"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// A form of file parts.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in parts {
        let head =
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"--x--\r\n");
    out
}

#[test]
fn flight_recordings() {
    use hearth_testkit::jfr::{Belongs, Recorder};
    let recorded = |event: &str| {
        let labelled = Belongs { context: 3, span: 0x0102, ..Belongs::default() };
        Recorder::new(true)
            .setting("event", event)
            .event("jdk.ExecutionSample", "a/B.run:3;a/B$$Lambda$7.0x12.work:4", "STATE_DEFAULT", 0, labelled)
            .event("jdk.ExecutionSample", "a/B.run:3", "STATE_DEFAULT", 0, Belongs::default())
            .event("jdk.ObjectAllocationInNewTLAB", "a/B.run:3", "", 100, Belongs::default())
            .encode()
    };
    let port = Port::start(TenantLimits::default());
    let query =
        "/ingest?name=shop%7Benv%3Dprod%7D&from=1699999990&until=1700000000&spyName=javaspy&format=jfr";
    assert_eq!(port.post(query, "", &recorded("itimer")), (200, String::new()));
    let got = port.last();
    let labels = |name: &str, event: &str| {
        format!(
            "__delta__=false,__name__={name},env=prod,jfr_event={event},pyroscope_spy=javaspy,service_name=shop"
        )
    };
    let cpu: Vec<_> = got.iter().filter(|got| got.types == ["cpu:nanoseconds"]).collect();
    assert!(cpu.iter().all(|got| got.labels == labels("process_cpu", "itimer")), "{got:?}");
    assert!(got.iter().any(|got| got.labels == labels("memory", "itimer")), "{got:?}");
    let form_type = "multipart/form-data; boundary=x";
    let snapshot = b"\x0a\x0a\x08\x03\x12\x06\x0a\x04\x08\x01\x10\x02\x12\x08\x08\x01\x12\x04path\x12\x08\x08\x02\x12\x04slow";
    let zip = hearth_testkit::gzip;
    let body = form(&[("jfr", &zip(&recorded("wall"))), ("labels", &zip(snapshot))]);
    assert_eq!(port.post(query, form_type, &body), (200, String::new()));
    let got = port.last();
    let slow = got.iter().filter(|got| got.labels.contains("path=slow")).collect::<Vec<_>>();
    assert_eq!(slow.len(), 2, "cpu and wall: {got:?}");
    for got in &slow {
        assert_eq!(got.stacks, [("a/B.run;a/B$$Lambda_.work".to_owned(), vec![10_000_000])]);
        assert_eq!(got.spans.len(), 1, "{got:?}");
        assert_eq!(got.time, 1_699_999_990_000_000_000);
    }
    assert_eq!(got.len(), 5, "cpu and wall with labels and without, memory");
    let before = port.pushes();
    let check = |body: &[u8], want: &str| {
        let (status, text) = port.post(query, form_type, body);
        assert_eq!(status, 422, "{text}");
        assert!(text.contains(want), "{text}");
    };
    check(&form(&[("labels", snapshot)]), "the file part 'jfr' is missing");
    check(
        b"--x\r\nContent-Disposition: form-data; name=\"jfr\"\r\n\r\nA\r\n--x--\r\n",
        "the file part 'jfr' is missing",
    );
    check(
        &form(&[("jfr", &recorded("wall")[..200])]),
        "failed to parse jfr: chunk 1, byte 8 of the recording",
    );
    check(&form(&[("jfr", &recorded("wall")), ("labels", b"\x0a\xff")]), "the snapshot of labels is damaged");
    assert_eq!(port.pushes(), before);
    assert_eq!(
        port.post(query, form_type, &form(&[("jfr", b"")])).0,
        200,
        "an empty recording holds nothing"
    );
    let small = Port::start(TenantLimits { max_profile_size_bytes: 300, ..TenantLimits::default() });
    let (status, text) = small.post(query, form_type, &form(&[("jfr", &zip(&recorded("wall")))]));
    assert!(
        status == 422 && text.contains("uncompressed profile payload size exceeds limit"),
        "{status} {text}"
    );
}
