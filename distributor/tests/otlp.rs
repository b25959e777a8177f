//! OTLP profiles over a real port: HTTP with protobuf and JSON; what is stored, refused, and said of what could not be used.

use std::sync::Arc;

use hearth_cluster::push::PushTarget;
use hearth_common::{Clock, SystemClock, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps};
use hearth_rpc::{RequestMetrics, ServerOptions, Tenancy, bind};
use hearth_testkit::gzip;
use hearth_testkit::otlp::{Export, Profile, Release, Resource, Sample, attributes};
use prost::Message;

mod support;
use support::target::{Got, NOW_NS, StandingClock, Target};

const PATH: &str = "/v1development/profiles";
const LONG_PATH: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
const PROTOBUF: &str = "application/x-protobuf";

/// `google.rpc.Status`; `ExportProfilesPartialSuccess` has the same shape.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int64, tag = "1")]
    code: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// `ExportProfilesServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<Status>,
}

struct Port {
    url: String,
    target: Arc<Target>,
    registry: prometheus_client::registry::Registry,
    _runtime: tokio::runtime::Runtime,
}

impl Port {
    fn start(limits: TenantLimits, refuse: Option<hearth_cluster::PushOutcome>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let target = Arc::new(Target { refuse, ..Target::default() });
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

    /// Status, content type and body of a POST with these headers.
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("{}{path}", self.url)).header("x-scope-orgid", "t");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).expect("an answer");
        let content_type =
            response.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
        (
            response.status().as_u16(),
            content_type.unwrap_or_default(),
            response.body_mut().read_to_vec().expect("bytes"),
        )
    }

    /// What is said of an export that was taken.
    fn export(&self, body: &[u8]) -> Option<Status> {
        let (status, content_type, body) = self.post(PATH, &[("content-type", PROTOBUF)], body);
        assert_eq!((status, content_type.as_str()), (200, PROTOBUF), "{}", String::from_utf8_lossy(&body));
        Answer::decode(&body[..]).expect("protobuf").partial_success
    }

    /// Status of an export that was refused, and what is said of it.
    fn refused(&self, body: &[u8]) -> (u16, Status) {
        let (status, content_type, body) = self.post(PATH, &[("content-type", PROTOBUF)], body);
        assert_eq!(content_type, PROTOBUF);
        (status, Status::decode(&body[..]).expect("protobuf"))
    }

    fn last(&self) -> Vec<Got> {
        self.target.pushes.lock().last().cloned().unwrap_or_default()
    }

    fn pushes(&self) -> usize {
        self.target.pushes.lock().len()
    }

    /// Profiles that were discarded for a reason.
    fn discarded(&self, reason: &str) -> Option<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("memory");
        let name = format!("pyroscope_discarded_samples_total{{reason=\"{reason}\",tenant=\"t\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map(|count| count.parse().expect("a number"))
    }
}

fn cpu(stack: &str) -> Profile {
    Profile { time_ns: NOW_NS as u64 - 1_000_000_000, ..Profile::cpu() }.sample(Sample::new(stack, &[3]))
}

fn export(profiles: Vec<Profile>) -> Export {
    Export::of(&[("service.name", "shop"), ("host.name", "h")], profiles)
}

#[test]
fn every_release_becomes_the_same_records_in_one_push() {
    for release in Release::ALL {
        let port = Port::start(TenantLimits::default(), None);
        let mut profile = cpu("main;work");
        profile.samples.push(Sample::new("main", &[1]).linked(&[1; 16], &[2, 0, 0, 0, 0, 0, 0, 0]));
        profile.samples.push(Sample::new("main", &[2]).with(&[("thread", "t")]));
        let bytes = export(vec![profile, cpu("other")]).encode(release);
        assert_eq!(port.export(&bytes), None, "{release:?}");
        assert_eq!(port.pushes(), 1, "{release:?}");
        let got = port.last();
        let labels = "__delta__=false,__name__=process_cpu,__otel__=true,host.name=h,service.name=shop,service_name=shop";
        let with_thread = format!("{labels},thread=t");
        assert_eq!(
            got.iter().map(|got| got.labels.as_str()).collect::<Vec<_>>(),
            [labels, &with_thread, labels]
        );
        let stack = |names: &str, value| (names.to_owned(), vec![value]);
        assert_eq!(got[0].stacks, [stack("main", 10_000_000), stack("main;work", 30_000_000)]);
        assert_eq!(got[0].spans, [("main".to_owned(), 2, vec![10_000_000])]);
        assert_eq!(got[1].stacks, [stack("main", 20_000_000)]);
        assert_eq!(
            (got[0].time, &got[0].types[..]),
            (NOW_NS - 1_000_000_000, &["cpu:nanoseconds".to_owned()][..])
        );
        // The same export once more has the same identity; equal profiles of one export do not.
        let rids: Vec<_> = got.iter().map(|got| got.rid).collect();
        assert_eq!(port.export(&bytes), None);
        assert_eq!(port.last().iter().map(|got| got.rid).collect::<Vec<_>>(), rids);
        port.export(&export(vec![cpu("other"), cpu("other")]).encode(release));
        let [one, two] = &port.last()[..] else { panic!("two records") };
        assert!(one.rid != two.rid && one.stacks == two.stacks);
    }
}

#[test]
fn content_types_and_encodings() {
    let port = Port::start(TenantLimits::default(), None);
    let bytes = export(vec![cpu("main")]).encode(Release::V1_10);
    let gzipped = gzip(&bytes);
    let check = |path, headers: &[(&str, &str)], body: &[u8], want: u16| {
        let (status, _, answer) = port.post(path, headers, body);
        assert_eq!(status, want, "{headers:?}: {}", String::from_utf8_lossy(&answer));
    };
    check(PATH, &[("content-type", PROTOBUF), ("content-encoding", "gzip")], &gzipped, 200);
    check(LONG_PATH, &[("content-type", "application/protobuf")], &bytes, 200);
    check(LONG_PATH, &[("content-type", "application/json; charset=utf-8")], b"{\"dictionary\": {}}", 200);
    assert_eq!(port.pushes(), 2);
    check(PATH, &[("content-type", PROTOBUF), ("content-encoding", "gzip")], &bytes, 400);
    check(PATH, &[("content-type", PROTOBUF), ("content-encoding", "zstd")], &bytes, 415);
    check(PATH, &[("content-type", "application/proto")], &bytes, 415);
    let (status, _, body) = port.post(PATH, &[("content-type", "text/plain")], &bytes);
    assert_eq!(status, 415);
    assert!(String::from_utf8_lossy(&body).contains("send application/x-protobuf"));
    let (status, content_type, body) = port.post(PATH, &[("content-type", "application/json")], b"\"nope\"");
    assert_eq!((status, content_type.as_str()), (400, "text/plain; charset=utf-8"));
    assert!(String::from_utf8_lossy(&body).starts_with("the export cannot be read as JSON"));
    let small =
        Port::start(TenantLimits { ingestion_body_limit_mb: 0.0001, ..TenantLimits::default() }, None);
    let (status, said) = small.refused(&[0; 200]);
    assert_eq!((status, said.code), (413, 3));
    let (status, _, _) =
        small.post(PATH, &[("content-type", PROTOBUF), ("content-encoding", "gzip")], &gzip(&[0; 5000]));
    assert_eq!(status, 413);
}

#[test]
fn what_cannot_be_used_is_counted_and_the_rest_stored() {
    let port = Port::start(TenantLimits::default(), None);
    let nameless = Profile::new(("events", "count"), None, 0).sample(Sample::new("main", &[1]));
    let old = Profile { time_ns: 1_600_000_000_000_000_000, ..cpu("main") };
    let empty = Profile { samples: vec![Sample::new("x", &[])], ..cpu("x") };
    let mut half = cpu("main");
    half.samples.push(Sample::new("x", &[]));
    let profiles = vec![nameless.clone(), cpu("main"), old, empty, half, Profile::cpu()];
    let said = port.export(&export(profiles).encode(Release::V1_10)).expect("something to say");
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.message.starts_with("3 of 5 profiles were not stored; the first: profile 0 of the export"),
        "{said:?}"
    );
    assert!(said.message.contains("'events:count' and it has no period type"), "{said:?}");
    assert!(said.message.ends_with("or not one value for each type"), "{said:?}");
    assert_eq!(port.last().len(), 2);
    // Nothing at all could be used: an error, which collectors do not repeat.
    let (status, said) = port.refused(&export(vec![nameless]).encode(Release::V1_10));
    assert_eq!((status, said.code), (400, 3));
    assert!(said.message.contains("no period type"), "{said:?}");
    assert_eq!(port.pushes(), 1);
    let (status, said) = port.refused(b"");
    assert_eq!((status, said.code), (400, 3));
    assert!(said.message.contains("no dictionary"), "{said:?}");
    // Samples alone are told of without any profile being lost.
    let mut half = cpu("main");
    half.samples.push(Sample::new("x", &[]));
    let said = port.export(&export(vec![half]).encode(Release::V1_9)).expect("something to say");
    assert_eq!((said.code, said.message.split(':').next()), (0, Some("1 samples were left out")));
}

#[test]
fn a_profile_without_a_name_counts_as_one_of_wrong_labels() {
    let port = Port::start(TenantLimits::default(), None);
    let nameless = Profile::new(("events", "count"), None, 0).sample(Sample::new("main", &[1]));
    assert_eq!(port.refused(&export(vec![nameless]).encode(Release::V1_10)).0, 400);
    assert_eq!((port.discarded("invalid_labels"), port.discarded("malformed_profile")), (Some(1), None));
}

#[test]
fn an_export_of_next_to_nothing_many_times_is_refused() {
    let port = Port::start(TenantLimits::default(), None);
    // A resource with a scope of a million profiles, each of two bytes, and an empty dictionary.
    let profiles = [0x12u8, 0x00].repeat(1 << 20);
    let mut resource = Vec::new();
    hearth_testkit::wire::bytes(&mut resource, 2, &profiles);
    let mut bytes = Vec::new();
    hearth_testkit::wire::bytes(&mut bytes, 1, &resource);
    hearth_testkit::wire::bytes(&mut bytes, 2, b"");
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let (status, _, body) = port.post(PATH, &headers, &gzip(&bytes));
    let said = Status::decode(&body[..]).expect("protobuf");
    assert_eq!((status, said.code), (400, 3), "{said:?}");
    assert!(said.message.contains("more than 67108864 bytes of memory"), "{said:?}");
    assert_eq!(port.discarded("body_size_limit_exceeded"), Some(1));
}

#[test]
fn one_bad_resource_does_not_cost_the_other() {
    let port = Port::start(TenantLimits::default(), None);
    let many: Vec<(String, String)> = (0..40).map(|at| (format!("k{at}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let resource = |pairs: &[(&str, &str)]| Resource {
        attributes: attributes(pairs),
        profiles: vec![cpu("main"), cpu("main")],
        ..Resource::default()
    };
    let resources = vec![resource(&many), resource(&[("service.name", "good")])];
    let both = Export { resources, ..Export::default() };
    let said = port.export(&both.encode(Release::V1_10)).expect("something to say");
    assert_eq!(said.code, 2);
    assert!(said.message.contains("label names; limit"), "{said:?}");
    assert!(port.last().iter().all(|got| got.labels.contains("service_name=good")));
}

#[test]
fn limits_may_pass_and_are_said_so() {
    let refuse = hearth_cluster::PushOutcome::Refused {
        kind: hearth_common::ErrorKind::ResourceExhausted,
        reason: "series_limit",
        message: "Maximum active series limit exceeded (5/5)".to_owned(),
    };
    let port = Port::start(TenantLimits::default(), Some(refuse));
    let bytes = export(vec![cpu("main")]).encode(Release::V1_10);
    let (status, said) = port.refused(&bytes);
    assert_eq!((status, said.code), (429, 8));
    assert!(said.message.contains("series limit"), "{said:?}");
    let narrow = TenantLimits { ingestion_burst_size_mb: 0.000_01, ..TenantLimits::default() };
    let (status, said) = Port::start(narrow, None).refused(&bytes);
    assert_eq!((status, said.code), (429, 8), "{said:?}");
    let tight = TenantLimits { max_profile_size_bytes: 100, ..TenantLimits::default() };
    let (status, said) = Port::start(tight, None).refused(&bytes);
    assert_eq!((status, said.code), (400, 3), "{said:?}");
    assert!(said.message.contains("size limit of 100 B"), "{said:?}");
}

#[test]
fn an_export_beyond_the_rate_is_refused_before_it_is_converted() {
    let kib = 1.0 / 1024.0;
    let limits =
        TenantLimits { ingestion_rate_mb: kib, ingestion_burst_size_mb: kib, ..TenantLimits::default() };
    let port = Port::start(limits, None);
    let counted = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &port.registry).expect("memory");
        let converted = text.contains("pyroscope_distributor_received_samples_count{");
        let of = |name: &str| {
            let name = format!("pyroscope_discarded_{name}_total{{reason=\"rate_limited\",tenant=\"t\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.map(|count| count.parse::<u64>().expect("a number"))
        };
        (converted, of("samples"), of("bytes"))
    };
    let large =
        (0..200).fold(cpu("main"), |profile, at| profile.sample(Sample::new(&format!("f{at}"), &[3])));
    let (status, said) = port.refused(&export(vec![large]).encode(Release::V1_10));
    assert_eq!((status, said.code), (429, 8), "{said:?}");
    assert!(said.message.contains("push rate limit (1.0 KiB) exceeded while adding "), "{said:?}");
    // 201 samples of one value.
    assert_eq!(counted(), (false, Some(1), Some(201 * 11)));
    assert_eq!(port.export(&export(vec![cpu("main")]).encode(Release::V1_10)), None);
    assert_eq!(counted(), (true, Some(1), Some(201 * 11)));
}
