//! Metrics of taking profiles, under the reference's names (api-semantics §11). Handles are kept for each tenant, so that a push
//! looks up no family.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use hearth_common::TenantId;
use hearth_telemetry::TurnMetrics;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::reject::Reason;

/// Profile names that are counted apart for a tenant; clients choose names, so the rest is counted as [`OTHER`].
const TYPES_MAX: usize = 32;
const OTHER: &str = "other";
/// Usage groups that are counted apart for a tenant: names may have values of labels in them. The rest is counted as [`OTHER`],
/// too.
const GROUPS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabels {
    r#type: Arc<str>,
    tenant: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    tenant: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    tenant: Arc<str>,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiscardLabels {
    reason: &'static str,
    tenant: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    r#type: Arc<str>,
    tenant: Arc<str>,
    usage_group: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupDiscardLabels {
    reason: &'static str,
    tenant: Arc<str>,
    usage_group: Arc<str>,
}

/// What bytes of a profile are counted at.
const RECEIVED: &str = "received";
const NORMALIZED: &str = "normalized";

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All families.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    compressed: Histograms<TypeLabels>,
    decompressed: Histograms<TypeLabels>,
    stages: Histograms<StageLabels>,
    samples: Histograms<TypeLabels>,
    samples_bytes: Histograms<TypeLabels>,
    symbols_bytes: Histograms<TypeLabels>,
    parse_seconds: Histograms<TypeLabels>,
    batch_series: Histograms<TenantLabels>,
    received: Family<TenantLabels, Counter>,
    discarded: Family<DiscardLabels, Counter>,
    discarded_bytes: Family<DiscardLabels, Counter>,
    group_received: Family<GroupLabels, Counter>,
    group_discarded: Family<GroupDiscardLabels, Counter>,
    /// Tenants that are known.
    pub(crate) tenants: Gauge,
    /// Requests of tenants that were too many.
    pub(crate) tenants_refused: Counter,
    /// Of requests that wait to be parsed.
    pub(crate) turns: TurnMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        /// 256 B to 64 MiB.
        fn bytes() -> Histogram {
            Histogram::new(exponential_buckets(256.0, 4.0, 10))
        }
        /// 10 KiB to 15 MiB in 30 steps of one ratio.
        fn fine_bytes() -> Histogram {
            Histogram::new(exponential_buckets(10_240.0, 1536f64.powf(1.0 / 29.0), 30))
        }
        fn counts() -> Histogram {
            Histogram::new(exponential_buckets(1.0, 4.0, 9))
        }
        fn seconds() -> Histogram {
            Histogram::new(exponential_buckets(0.000_05, 4.0, 8))
        }
        Self {
            compressed: Family::new_with_constructor(bytes),
            decompressed: Family::new_with_constructor(bytes),
            stages: Family::new_with_constructor(fine_bytes),
            samples: Family::new_with_constructor(counts),
            samples_bytes: Family::new_with_constructor(bytes),
            symbols_bytes: Family::new_with_constructor(bytes),
            parse_seconds: Family::new_with_constructor(seconds),
            batch_series: Family::new_with_constructor(counts),
            received: Family::default(),
            discarded: Family::default(),
            discarded_bytes: Family::default(),
            group_received: Family::default(),
            group_discarded: Family::default(),
            tenants: Gauge::default(),
            tenants_refused: Counter::default(),
            turns: TurnMetrics::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry;
        r.register(
            "pyroscope_distributor_received_compressed_bytes",
            "Bytes of a profile as sent",
            self.compressed.clone(),
        );
        r.register(
            "pyroscope_distributor_received_decompressed_bytes",
            "Bytes of a profile, decompressed",
            self.decompressed.clone(),
        );
        r.register(
            "pyroscope_distributor_received_decompressed_bytes_total",
            "Bytes of a profile, decompressed, by stage",
            self.stages.clone(),
        );
        r.register("pyroscope_distributor_received_samples", "Samples of a profile", self.samples.clone());
        r.register(
            "pyroscope_distributor_received_samples_bytes",
            "Bytes of the samples of a profile, decompressed, estimated",
            self.samples_bytes.clone(),
        );
        r.register(
            "pyroscope_distributor_received_symbols_bytes",
            "Bytes of the strings of a profile, decompressed",
            self.symbols_bytes.clone(),
        );
        r.register(
            "pyroscope_distributor_parse_duration_seconds",
            "Time that it takes to parse a profile",
            self.parse_seconds.clone(),
        );
        r.register("pyroscope_distributor_push_batch_series", "Series of a push", self.batch_series.clone());
        r.register("pyroscope_distributor_profiles_received", "Profiles received", self.received.clone());
        r.register("pyroscope_discarded_samples", "Profiles that were discarded", self.discarded.clone());
        r.register(
            "pyroscope_discarded_bytes",
            "Bytes of profiles that were discarded, decompressed",
            self.discarded_bytes.clone(),
        );
        let help = "Bytes of profiles that were received, decompressed, by usage group";
        r.register("pyroscope_usage_group_received_decompressed", help, self.group_received.clone());
        let help = "Bytes of profiles that were discarded, decompressed, by usage group";
        r.register("pyroscope_usage_group_discarded_bytes", help, self.group_discarded.clone());
        let help = "Tenants that have pushed within the last hour, or have not got their rate back since";
        r.register("hearth_distributor_tenants", help, self.tenants.clone());
        let help = "Requests refused because too many tenants push to this distributor";
        r.register("hearth_distributor_tenants_refused", help, self.tenants_refused.clone());
        let help = "Requests that wait for a thread to parse them";
        r.register("hearth_distributor_turns_waiting", help, self.turns.waiting());
        let help = "Time that requests waited for a thread to parse them";
        r.register("hearth_distributor_turn_wait_seconds", help, self.turns.seconds());
        let help = "Requests that were parsed behind others: their tenant took much more than its share";
        r.register("hearth_distributor_turns_behind", help, self.turns.behind());
    }

    /// The handles of a tenant.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> TenantMetrics {
        let name: Arc<str> = Arc::from(tenant.as_str());
        let labels = TenantLabels { tenant: Arc::clone(&name) };
        let stage =
            |stage| self.stages.get_or_create(&StageLabels { tenant: Arc::clone(&name), stage }).clone();
        TenantMetrics {
            received_stage: stage(RECEIVED),
            normalized_stage: stage(NORMALIZED),
            batch_series: self.batch_series.get_or_create(&labels).clone(),
            received: self.received.get_or_create(&labels).clone(),
            types: RwLock::default(),
            groups: RwLock::default(),
            families: self.clone(),
            name,
        }
    }
}

/// The handles of one tenant.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    name: Arc<str>,
    pub(crate) received_stage: Histogram,
    pub(crate) normalized_stage: Histogram,
    pub(crate) batch_series: Histogram,
    pub(crate) received: Counter,
    types: RwLock<HashMap<Arc<str>, Arc<TypeMetrics>>>,
    groups: RwLock<HashSet<Arc<str>>>,
    families: Metrics,
}

/// The handles of one profile name of a tenant.
#[derive(Debug)]
pub(crate) struct TypeMetrics {
    /// As it is counted.
    pub(crate) name: Arc<str>,
    pub(crate) compressed: Histogram,
    pub(crate) decompressed: Histogram,
    pub(crate) samples: Histogram,
    pub(crate) samples_bytes: Histogram,
    pub(crate) symbols_bytes: Histogram,
    pub(crate) parse_seconds: Histogram,
}

impl TenantMetrics {
    /// The handles of a profile name.
    pub(crate) fn of_type(&self, name: &str) -> Arc<TypeMetrics> {
        if let Some(found) = self.types.read().get(name) {
            return Arc::clone(found);
        }
        let mut types = self.types.write();
        let name = if types.len() < TYPES_MAX || types.contains_key(name) { name } else { OTHER };
        let made = types.entry(Arc::from(name)).or_insert_with_key(|name| {
            let labels = TypeLabels { r#type: Arc::clone(name), tenant: Arc::clone(&self.name) };
            let families = &self.families;
            Arc::new(TypeMetrics {
                name: Arc::clone(name),
                compressed: families.compressed.get_or_create(&labels).clone(),
                decompressed: families.decompressed.get_or_create(&labels).clone(),
                samples: families.samples.get_or_create(&labels).clone(),
                samples_bytes: families.samples_bytes.get_or_create(&labels).clone(),
                symbols_bytes: families.symbols_bytes.get_or_create(&labels).clone(),
                parse_seconds: families.parse_seconds.get_or_create(&labels).clone(),
            })
        });
        Arc::clone(made)
    }

    /// Counts a profile of a usage group as received.
    pub(crate) fn group_received(&self, r#type: &Arc<str>, group: &str, bytes: usize) {
        let usage_group = self.group(group);
        let labels = GroupLabels { r#type: Arc::clone(r#type), tenant: Arc::clone(&self.name), usage_group };
        self.families.group_received.get_or_create(&labels).inc_by(bytes as u64);
    }

    /// Counts a profile of a usage group as not taken.
    pub(crate) fn group_discarded(&self, reason: Reason, group: &str, bytes: usize) {
        let (reason, usage_group) = (reason.as_str(), self.group(group));
        let labels = GroupDiscardLabels { reason, tenant: Arc::clone(&self.name), usage_group };
        self.families.group_discarded.get_or_create(&labels).inc_by(bytes as u64);
    }

    /// The name that a group is counted under.
    fn group(&self, name: &str) -> Arc<str> {
        if let Some(known) = self.groups.read().get(name) {
            return Arc::clone(known);
        }
        let mut groups = self.groups.write();
        let name = if groups.len() < GROUPS_MAX || groups.contains(name) { name } else { OTHER };
        Arc::clone(groups.get_or_insert_with(name, |name| Arc::from(name)))
    }

    /// Counts a profile of `bytes` that is not taken.
    pub(crate) fn discard(&self, reason: Reason, bytes: usize) {
        self.discard_several(reason, 1, bytes);
    }

    /// Counts profiles that are not taken.
    pub(crate) fn discard_several(&self, reason: Reason, profiles: usize, bytes: usize) {
        let labels = DiscardLabels { reason: reason.as_str(), tenant: Arc::clone(&self.name) };
        self.families.discarded.get_or_create(&labels).inc_by(profiles as u64);
        self.families.discarded_bytes.get_or_create(&labels).inc_by(bytes as u64);
    }

    /// Takes all series of the tenant out of the families. Nobody may count with its handles any more.
    pub(crate) fn remove(&self) {
        let (families, tenant) = (&self.families, || Arc::clone(&self.name));
        for stage in [RECEIVED, NORMALIZED] {
            families.stages.remove(&StageLabels { tenant: tenant(), stage });
        }
        let labels = TenantLabels { tenant: tenant() };
        families.batch_series.remove(&labels);
        families.received.remove(&labels);
        let groups = self.groups.read();
        for r#type in self.types.read().keys() {
            let labels = TypeLabels { r#type: Arc::clone(r#type), tenant: tenant() };
            families.compressed.remove(&labels);
            families.decompressed.remove(&labels);
            families.samples.remove(&labels);
            families.samples_bytes.remove(&labels);
            families.symbols_bytes.remove(&labels);
            families.parse_seconds.remove(&labels);
            for usage_group in groups.iter().cloned() {
                let labels = GroupLabels { r#type: Arc::clone(r#type), tenant: tenant(), usage_group };
                families.group_received.remove(&labels);
            }
        }
        for reason in Reason::ALL.map(Reason::as_str) {
            let labels = DiscardLabels { reason, tenant: tenant() };
            families.discarded.remove(&labels);
            families.discarded_bytes.remove(&labels);
            for usage_group in groups.iter().cloned() {
                let labels = GroupDiscardLabels { reason, tenant: tenant(), usage_group };
                families.group_discarded.remove(&labels);
            }
        }
    }
}
