//! Whole requests against a target that decodes what it gets.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hearth_cluster::push::{PushOutcome, PushTarget};
use hearth_common::limits::{RelabelAction, RelabelRule};
use hearth_common::{Classify, Clock, ErrorKind, Rid, TenantId, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps, PushSeries};

mod support;
use support::pprof::Builder;
use support::target::{Got, NOW_NS, StandingClock, Target};

struct Bench {
    distributor: Distributor,
    target: Arc<Target>,
    clock: Arc<StandingClock>,
}

impl Bench {
    fn new(limits: TenantLimits) -> Self {
        Self::with_target(limits, Target::default())
    }

    fn with_target(limits: TenantLimits, target: Target) -> Self {
        let (target, clock) = (Arc::new(target), Arc::new(StandingClock::default()));
        let distributor = Distributor::new(DistributorDeps {
            target: Arc::clone(&target) as Arc<dyn PushTarget>,
            limits: Arc::new(Arc::new(limits)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            replicas: Arc::new(|| 1),
            parsing: hearth_common::Turns::new(2),
        });
        Self { distributor, target, clock }
    }

    /// Pushes profiles of one series; the error's kind and text.
    fn push(&self, labels: &[(&str, &str)], profiles: &[&[u8]]) -> Result<(), (ErrorKind, String)> {
        let samples = profiles.iter().map(|profile| (*profile, "")).collect();
        self.push_series(&[PushSeries { labels: labels.to_vec(), samples }])
    }

    fn push_series(&self, series: &[PushSeries<'_>]) -> Result<(), (ErrorKind, String)> {
        let tenant = TenantId::anonymous();
        let prepared =
            self.distributor.prepare(&tenant, series).map_err(|error| (error.kind(), error.to_string()))?;
        let sent = futures::executor::block_on(self.distributor.send(&tenant, prepared));
        sent.map(drop).map_err(|error| (error.kind(), error.to_string()))
    }

    /// The records of the last push.
    fn last(&self) -> Vec<Got> {
        self.target.pushes.lock().last().cloned().unwrap_or_default()
    }

    fn pushes(&self) -> usize {
        self.target.pushes.lock().len()
    }
}

const LABELS: [(&str, &str); 2] = [("service_name", "shop"), ("__name__", "process_cpu")];

fn cpu() -> Builder {
    Builder::new(&[("samples", "count"), ("cpu", "nanoseconds")]).at(NOW_NS - 1_000_000_000)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn a_profile_becomes_a_record() {
    let bench = Bench::new(TenantLimits::default());
    let profile = cpu()
        .sample(&["main", "work"], &[1, 10], &[])
        .sample(&["main"], &[2, 20], &[])
        .sample(&["main", "work"], &[3, 30], &[])
        .sample(&["main", "idle"], &[0, 0], &[])
        .sample(&["main", "broken"], &[-1, 5], &[])
        .build();
    bench.push(&LABELS, &[&profile]).expect("good");
    let [got] = &bench.last()[..] else { panic!("one record") };
    assert_eq!(got.labels, "__name__=process_cpu,service_name=shop");
    assert_eq!(got.types, ["samples:count", "cpu:nanoseconds"]);
    assert_eq!(got.time, NOW_NS - 1_000_000_000);
    let want = [("main".to_owned(), vec![2, 20]), ("main;work".to_owned(), vec![4, 40])];
    assert_eq!(got.stacks, want);
    assert!(!got.strings.iter().any(|s| s == "idle" || s == "broken"), "{:?}", got.strings);
    let zipped = gzip(&profile);
    bench.push(&LABELS, &[&zipped]).expect("good");
    assert_eq!(bench.last(), std::slice::from_ref(got), "gzip changes nothing, not even the identity");
}

#[test]
fn sample_labels_split_and_spans_stay() {
    let bench = Bench::new(TenantLimits::default());
    let span = ("span_id", "0100000000000000");
    let profile = cpu()
        .sample(&["main", "a"], &[1, 10], &[("handler", "/x"), span])
        .sample(&["main", "a"], &[2, 20], &[("handler", "/x")])
        .sample(&["main", "a"], &[3, 30], &[span])
        .sample(&["main", "b"], &[4, 40], &[("service_name", "other")])
        .build();
    bench.push(&LABELS, &[&profile]).expect("good");
    let mut got = bench.last();
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let labels: Vec<&str> = got.iter().map(|g| g.labels.as_str()).collect();
    assert_eq!(
        labels,
        ["__name__=process_cpu,handler=/x,service_name=shop", "__name__=process_cpu,service_name=shop"]
    );
    assert_eq!(got[0].stacks, [("main;a".to_owned(), vec![3, 30])]);
    assert_eq!(got[0].spans, [("main;a".to_owned(), 1, vec![1, 10])]);
    assert_eq!(got[1].stacks, [("main;a".to_owned(), vec![3, 30]), ("main;b".to_owned(), vec![4, 40])]);
    assert_eq!(got[1].spans, [("main;a".to_owned(), 1, vec![3, 30])]);
    assert_ne!(got[0].rid, got[1].rid);
    assert!(!got[0].strings.iter().any(|s| s == "b"), "a record has only its own symbols");
}

#[test]
fn rules_bring_groups_together_and_drop_them() {
    let rule =
        |action, regex: &str| RelabelRule { action, regex: regex.to_owned(), ..RelabelRule::default() };
    let profile = cpu()
        .sample(&["main"], &[1, 10], &[("thread", "1"), ("span_id", "0100000000000000")])
        .sample(&["main"], &[2, 20], &[("thread", "2"), ("span_id", "0100000000000000")])
        .sample(&["main", "x"], &[3, 30], &[("thread", "2")])
        .build();
    let apart = Bench::new(TenantLimits::default());
    apart.push(&LABELS, &[&profile]).expect("good");
    assert_eq!(apart.last().len(), 2);
    let rules = vec![rule(RelabelAction::LabelDrop, "thread")];
    let together = Bench::new(TenantLimits { ingestion_relabeling_rules: rules, ..TenantLimits::default() });
    together.push(&LABELS, &[&profile]).expect("good");
    let [got] = &together.last()[..] else { panic!("one record") };
    assert_eq!(got.stacks, [("main".to_owned(), vec![3, 30]), ("main;x".to_owned(), vec![3, 30])]);
    assert_eq!(got.spans, [("main".to_owned(), 1, vec![3, 30])]);
    let first = apart.last().iter().find(|g| g.labels.contains("thread=1")).map(|g| g.rid);
    assert_eq!(Some(got.rid), first, "the identity is that of the least group");
    let drop = RelabelRule { source_labels: vec!["thread".to_owned()], ..rule(RelabelAction::Drop, "2") };
    let some = TenantLimits { ingestion_relabeling_rules: vec![drop], ..TenantLimits::default() };
    let some = Bench::new(some);
    some.push(&LABELS, &[&profile]).expect("good");
    assert_eq!(some.last().len(), 1);
    assert_eq!(some.last()[0].stacks, [("main".to_owned(), vec![1, 10])]);
    let all = vec![rule(RelabelAction::Drop, ".*")];
    let all = Bench::new(TenantLimits { ingestion_relabeling_rules: all, ..TenantLimits::default() });
    all.push(&LABELS, &[&profile]).expect("dropping is no error");
    assert_eq!(all.pushes(), 0);
}

#[test]
fn sample_types_are_dropped_by_rules() {
    let keep = RelabelRule {
        source_labels: vec!["__type__".to_owned()],
        regex: "cpu".to_owned(),
        action: RelabelAction::Keep,
        ..RelabelRule::default()
    };
    let bench =
        Bench::new(TenantLimits { sample_type_relabeling_rules: vec![keep], ..TenantLimits::default() });
    let profile = cpu().sample(&["main"], &[1, 10], &[]).sample(&["gone"], &[1, 0], &[]).build();
    bench.push(&LABELS, &[&profile]).expect("good");
    let [got] = &bench.last()[..] else { panic!("one record") };
    assert_eq!(
        (got.types.as_slice(), got.stacks.as_slice()),
        (["cpu:nanoseconds".to_owned()].as_slice(), [("main".to_owned(), vec![10])].as_slice())
    );
    let heap = Builder::new(&[("inuse_space", "bytes")]).at(NOW_NS).sample(&["main"], &[1], &[]).build();
    bench.push(&LABELS, &[&heap]).expect("nothing left is no error");
    assert_eq!(bench.pushes(), 1);
}

#[test]
fn good_parts_are_stored_and_the_first_error_answers() {
    let bench = Bench::new(TenantLimits::default());
    let good = cpu().sample(&["main"], &[1, 10], &[]).build();
    let other = cpu().sample(&["main"], &[1, 11], &[]).build();
    let old = cpu().at(NOW_NS - 7_200_000_000_000).sample(&["main"], &[1, 10], &[]).build();
    let refused = bench.push(&LABELS, &[&good, b"garbage garbage", &old, &other]).expect_err("bad parts");
    assert_eq!(refused.0, ErrorKind::InvalidArgument);
    assert!(refused.1.starts_with("failed to parse profile"), "{}", refused.1);
    assert_eq!((bench.pushes(), bench.last().len()), (1, 2), "in one push");
    for (bytes, message) in [
        (&b""[..], "empty profile"),
        (b"\x1f\x8b\x08\x00garbage garbage garbage", "failed to decompress profile: damaged gzip data"),
    ] {
        assert_eq!(bench.push(&LABELS, &[bytes]), Err((ErrorKind::InvalidArgument, message.to_owned())));
    }
    let nothing = bench.push_series(&[]);
    assert_eq!(nothing, Err((ErrorKind::InvalidArgument, "no profiles received".to_owned())));
    assert_eq!(bench.push(&LABELS, &[]), Ok(()));
}

#[test]
fn a_bad_label_of_one_group_refuses_the_profile() {
    let bench = Bench::new(TenantLimits { max_label_value_length: 20, ..TenantLimits::default() });
    let profile = cpu()
        .sample(&["main"], &[1, 10], &[])
        .sample(&["main"], &[1, 10], &[("k", "a value that is too long")])
        .build();
    let refused = bench.push(&LABELS, &[&profile]).expect_err("too long");
    assert!(
        refused.1.contains("has label value too long: 'a value that is too long' (24 bytes"),
        "{}",
        refused.1
    );
    assert_eq!(bench.pushes(), 0);
}

#[test]
fn sizes_are_limited() {
    let limits = TenantLimits { max_profile_size_bytes: 4096, ..TenantLimits::default() };
    let bench = Bench::new(limits);
    let zeros = gzip(&vec![0; 1 << 20]);
    let (kind, text) = bench.push(&LABELS, &[&zeros]).expect_err("too large");
    let want = "uncompressed profile payload size exceeds limit of 4.1 kB; max_profile_size_bytes allows";
    assert!(kind == ErrorKind::InvalidArgument && text.starts_with(want), "{text}");
    let body = 100.0 / 1_048_576.0;
    let bench = Bench::new(TenantLimits { ingestion_body_limit_mb: body, ..TenantLimits::default() });
    let profile = cpu().sample(&["main"], &[1, 10], &[]).build();
    let many: Vec<&[u8]> = vec![&profile; 10];
    let (kind, text) = bench.push(&LABELS, &many).expect_err("too large");
    let want =
        "uncompressed batched profile payload size exceeds limit of 100 B; ingestion_body_limit_mb allows";
    assert!(kind == ErrorKind::InvalidArgument && text.starts_with(want), "{text}");
    assert_eq!(bench.pushes(), 0, "the whole request is refused");
}

#[test]
fn the_rate_is_limited_on_the_clock() {
    let mib = 1.0 / 1024.0;
    let limits =
        TenantLimits { ingestion_rate_mb: mib, ingestion_burst_size_mb: mib, ..TenantLimits::default() };
    let bench = Bench::new(limits);
    let profile = cpu().sample(&[&"x".repeat(600)], &[1, 10], &[]).build();
    assert_eq!(bench.push(&LABELS, &[&profile]), Ok(()));
    let refused = bench.push(&LABELS, &[&profile]).expect_err("at once");
    assert_eq!(refused.0, ErrorKind::ResourceExhausted);
    assert!(refused.1.starts_with("push rate limit (1.0 KiB) exceeded while adding "), "{}", refused.1);
    bench.clock.0.fetch_add(1_000_000_000, Ordering::Relaxed);
    assert_eq!(bench.push(&LABELS, &[&profile]), Ok(()));
}

#[test]
fn identities_tell_parts_apart_and_retries_not() {
    let bench = Bench::new(TenantLimits::default());
    let timed = cpu().sample(&["main"], &[1, 10], &[]).build();
    let timeless = cpu().at(0).sample(&["main"], &[1, 10], &[]).build();
    let rids = |profiles: &[&[u8]]| {
        bench.push(&LABELS, profiles).expect("good");
        bench.last().iter().map(|got| (got.rid, got.time)).collect::<Vec<_>>()
    };
    let first = rids(&[&timed, &timeless, &timeless]);
    assert_ne!(first[1].0, first[2].0, "equal parts of a request are numbered");
    assert_eq!(first[1].1, NOW_NS, "a profile without a time gets the server's");
    bench.clock.0.fetch_add(5_000_000_000, Ordering::Relaxed);
    let second = rids(&[&timed, &timeless, &timeless]);
    let only = |list: &[(Rid, i64)]| list.iter().map(|(rid, _)| *rid).collect::<Vec<_>>();
    assert_eq!(only(&first), only(&second), "no clock enters");
    let mut reversed = LABELS;
    reversed.reverse();
    let samples = vec![(&timed[..], "")];
    bench.push_series(&[PushSeries { labels: reversed.to_vec(), samples }]).expect("good");
    assert_eq!(bench.last()[0].rid, first[0].0, "the order of labels does not enter");
    let samples = vec![(&timed[..], "some-id")];
    bench.push_series(&[PushSeries { labels: LABELS.to_vec(), samples }]).expect("good");
    assert_ne!(bench.last()[0].rid, first[0].0, "a client's id tells apart");
}

#[test]
fn what_an_ingester_refuses_is_the_answer() {
    let refused = PushOutcome::Refused {
        kind: ErrorKind::ResourceExhausted,
        reason: "series_limit",
        message: "Maximum active series limit exceeded (5/5)".to_owned(),
    };
    let target = Target { refuse: Some(refused), ..Target::default() };
    let bench = Bench::with_target(TenantLimits::default(), target);
    let profile = cpu().sample(&["main"], &[1, 10], &[]).build();
    let got = bench.push(&LABELS, &[&profile]);
    let want = "Maximum active series limit exceeded (5/5)".to_owned();
    assert_eq!(got, Err((ErrorKind::ResourceExhausted, want)));
}

#[test]
fn go_names_lose_their_shapes_and_builds_get_their_source() {
    let bench = Bench::new(TenantLimits::default());
    let profile = cpu()
        .mapping("/bin/x", "abc")
        .sample(&["main.main", "main.f[go.shape.int]"], &[1, 10], &[])
        .sample(&["main.main", "main.f[go.shape.string]"], &[2, 20], &[])
        .build();
    let labels = [LABELS[0], LABELS[1], ("pyroscope_spy", "gospy"), ("service_repository", "r")];
    bench.push(&labels, &[&profile]).expect("good");
    let [got] = &bench.last()[..] else { panic!("one record") };
    assert_eq!(got.stacks, [("main.main;main.f".to_owned(), vec![3, 30])], "equal names are one stack");
    assert_eq!(got.build_ids, [r#"{"repository":"r","build_id":"abc"}"#]);
}

#[test]
fn samples_of_missing_symbols_are_dropped() {
    let bench = Bench::new(TenantLimits::default());
    let profile = cpu()
        .sample(&["only_here", "gone"], &[1, 10], &[])
        .sample(&["main"], &[2, 20], &[])
        .without_function("gone")
        .build();
    bench.push(&LABELS, &[&profile]).expect("good");
    let [got] = &bench.last()[..] else { panic!("one record") };
    assert_eq!(got.stacks, [("main".to_owned(), vec![2, 20])]);
    assert!(!got.strings.iter().any(|s| s == "only_here"), "{:?}", got.strings);
}

#[test]
fn long_labels_are_not_read_for_too_many_profiles() {
    let world = Bench::new(TenantLimits::default());
    let long = "v".repeat(1 << 20);
    let samples = vec![(&b""[..], ""); 1200];
    let series = PushSeries { labels: vec![("__name__", "process_cpu"), ("k", &long)], samples };
    let (kind, message) = world.push_series(&[series]).expect_err("too much");
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(message.contains("counted once for each profile"), "{message}");
}
