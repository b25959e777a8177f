//! Quotas, sampling and counting by usage group, through whole requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hearth_cluster::push::PushTarget;
use hearth_common::limits::usage::{GroupSampling, IngestionLimit, Sampling, Trickle};
use hearth_common::units::GoDuration;
use hearth_common::{Classify, Clock, ErrorKind, SystemClock, TenantId, TenantLimits};
use hearth_distributor::{Distributor, DistributorDeps, PushSeries};
use prometheus_client::registry::Registry;

mod support;
use support::pprof::Builder;
use support::target::{NOW_NS, StandingClock, Target};

struct Bench {
    distributor: Distributor,
    target: Arc<Target>,
    clock: Arc<StandingClock>,
    registry: Registry,
}

impl Bench {
    fn new(limits: TenantLimits) -> Self {
        let (target, clock) = (Arc::new(Target::default()), Arc::new(StandingClock::default()));
        let distributor = Distributor::new(DistributorDeps {
            target: Arc::clone(&target) as Arc<dyn PushTarget>,
            limits: Arc::new(Arc::new(limits)),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            replicas: Arc::new(|| 1),
            parsing: hearth_common::Turns::new(2),
        });
        let mut registry = Registry::default();
        distributor.register_metrics(&mut registry);
        Self { distributor, target, clock, registry }
    }

    fn push(&self, team: &str, profile: &[u8]) -> Result<(), (ErrorKind, String)> {
        let labels = vec![("service_name", "shop"), ("__name__", "process_cpu"), ("team", team)];
        let series = [PushSeries { labels, samples: vec![(profile, "")] }];
        let tenant = TenantId::anonymous();
        let prepared =
            self.distributor.prepare(&tenant, &series).map_err(|error| (error.kind(), error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let sent = runtime.block_on(self.distributor.send(&tenant, prepared));
        sent.map(drop).map_err(|error| (error.kind(), error.to_string()))
    }

    /// Records so far.
    fn stored(&self) -> usize {
        self.target.pushes.lock().iter().map(Vec::len).sum()
    }

    fn metric(&self, start: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a text");
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }
}

fn profile(number: i64) -> Vec<u8> {
    Builder::new(&[("cpu", "nanoseconds")]).at(NOW_NS - number).sample(&["main"], &[number + 1], &[]).build()
}

fn groups(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, selector)| ((*name).to_owned(), (*selector).to_owned())).collect()
}

#[test]
fn a_share_of_a_group_is_kept_the_same_one_at_every_try() {
    let rules = [("team/${labels.team}".to_owned(), GroupSampling { probability: 0.25 })];
    let limits = TenantLimits {
        distributor_usage_groups: groups(&[("team/${labels.team}", r#"{team=~".+"}"#)]),
        distributor_sampling: Some(Sampling { usage_groups: rules.into_iter().collect() }),
        ..TenantLimits::default()
    };
    let bench = Bench::new(limits);
    let profiles: Vec<Vec<u8>> = (0..400).map(profile).collect();
    for profile in &profiles {
        assert_eq!(bench.push("a", profile), Ok(()), "what is dropped is a success");
    }
    let kept = bench.stored();
    assert!((60..140).contains(&kept), "{kept} of 400 at a quarter");
    for profile in &profiles {
        assert_eq!(bench.push("a", profile), Ok(()));
    }
    let pushes = bench.target.pushes.lock();
    let records: Vec<_> = pushes.iter().flatten().collect();
    assert_eq!(records.len(), 2 * kept);
    assert!((0..kept).all(|at| records[at].rid == records[at + kept].rid), "a retry has the same fate");
    let annotation = r#"{"body":{"source":{"probability":0.25,"usageGroup":"team/a"}}}"#;
    let sampled = [("pyroscope.ingest.sampled".to_owned(), annotation.to_owned())];
    assert!(records.iter().all(|record| record.annotations == sampled));
    drop(pushes);
    let dropped = bench.metric(r#"pyroscope_discarded_samples_total{reason="dropped_by_sampling_rules""#);
    assert_eq!(dropped as usize, 2 * (400 - kept));
    // Another group is kept as a whole.
    let before = bench.stored();
    (0..10).for_each(|at| assert_eq!(bench.push("", &profiles[at]), Ok(())));
    assert_eq!(bench.stored(), before + 10);
}

#[test]
fn of_what_is_left_out_the_totals_can_be_kept() {
    let rules = [("all".to_owned(), GroupSampling { probability: 0.0 })];
    let limits = TenantLimits {
        distributor_usage_groups: groups(&[("all", "{}")]),
        distributor_sampling: Some(Sampling { usage_groups: rules.into_iter().collect() }),
        keep_stripped_profiles: true,
        ..TenantLimits::default()
    };
    let bench = Bench::new(limits);
    let profile = Builder::new(&[("samples", "count"), ("cpu", "nanoseconds")])
        .at(NOW_NS)
        .sample(&["main", "a"], &[1, 10], &[("k", "v")])
        .sample(&["main", "b"], &[2, 20], &[])
        .build();
    assert_eq!(bench.push("a", &profile), Ok(()));
    let pushes = bench.target.pushes.lock();
    let [record] = &pushes[0][..] else { panic!("{} records", pushes[0].len()) };
    assert!(
        record.labels.contains("__sampled__=true,") && !record.labels.contains("k=v"),
        "{}",
        record.labels
    );
    assert_eq!(record.stacks, [(String::new(), vec![3, 30])]);
    assert!(record.annotations.is_empty(), "{:?}", record.annotations);
    drop(pushes);
    assert_eq!(bench.metric(r#"pyroscope_discarded_samples_total{reason="dropped_by_sampling_rules""#), 1);
}

#[test]
fn groups_are_counted_and_names_are_bounded() {
    let limits = TenantLimits {
        distributor_usage_groups: groups(&[
            ("team/${labels.team}", "{}"),
            ("shop", r#"{service_name="shop"}"#),
        ]),
        max_profile_stacktrace_depth: 1000,
        ..TenantLimits::default()
    };
    let bench = Bench::new(limits);
    let of = |group: &str| {
        bench.metric(&format!(
            r#"pyroscope_usage_group_received_decompressed_total{{type="process_cpu",tenant="anonymous",usage_group="{group}"}}"#
        ))
    };
    for at in 0..300 {
        assert_eq!(bench.push(&format!("t{at}"), &profile(at)), Ok(()));
    }
    assert!(of("team/t0") > 0 && of("shop") > of("team/t0") * 200);
    assert_eq!(of("team/t299"), 0);
    assert!(of("other") > 0, "more names than are counted apart");
    // What is refused is counted, too.
    assert!(bench.push("t0", b"no profile").is_err());
    let old =
        Builder::new(&[("cpu", "nanoseconds")]).at(NOW_NS - 7_200_000_000_000).sample(&["main"], &[1], &[]);
    assert!(bench.push("t0", &old.build()).is_err());
    let discarded = r#"pyroscope_usage_group_discarded_bytes_total{reason="not_in_ingestion_window",tenant="anonymous",usage_group="team/t0"}"#;
    assert!(bench.metric(discarded) > 0);
}

#[test]
fn a_quota_that_is_used_up_lets_a_trickle_through() {
    let limit = IngestionLimit {
        period_type: "hour".to_owned(),
        period_limit_mb: 1,
        limit_reset_time: 1_700_003_600,
        limit_reached: true,
        sampling: Trickle { num_requests: 1, period: GoDuration::from_secs(60) },
        usage_groups: BTreeMap::new(),
    };
    let bench = Bench::new(TenantLimits { ingestion_limit: Some(limit), ..TenantLimits::default() });
    assert_eq!(bench.push("a", &profile(1)), Ok(()));
    let refused = bench.push("a", &profile(2)).expect_err("used up");
    let message = "limit of 1.0 MiB/hour reached, next reset at 2023-11-14T23:13:20Z";
    assert!(refused.0 == ErrorKind::ResourceExhausted && refused.1.starts_with(message), "{}", refused.1);
    bench.clock.0.fetch_add(60_000_000_000, Ordering::Relaxed);
    assert_eq!(bench.push("a", &profile(3)), Ok(()));
    let keys: Vec<String> =
        bench.target.pushes.lock().iter().flatten().map(|got| got.annotations[0].0.clone()).collect();
    assert_eq!(keys, ["pyroscope.ingest.throttled"; 2]);
    assert_eq!(bench.metric(r#"pyroscope_discarded_samples_total{reason="ingest_limit_reached""#), 1);
}

#[test]
fn groups_that_cannot_be_read_refuse_with_the_reason() {
    let limits =
        TenantLimits { distributor_usage_groups: groups(&[("a", "{team=")]), ..TenantLimits::default() };
    let refused = Bench::new(limits).push("a", &profile(1)).expect_err("invalid");
    assert!(
        refused.1.starts_with("the tenant's limits are not valid: distributor_usage_groups: a: 1:"),
        "{refused:?}"
    );
}

#[test]
fn an_artificial_delay_stretches_what_is_accepted() {
    let delay = GoDuration(Duration::from_millis(200));
    let bench = Bench::new(TenantLimits { ingestion_artificial_delay: delay, ..TenantLimits::default() });
    let clock = SystemClock::default();
    let began = clock.monotonic();
    assert_eq!(bench.push("a", &profile(1)), Ok(()));
    assert!(clock.monotonic() - began >= Duration::from_millis(180));
}
