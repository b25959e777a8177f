//! Per-tenant limits with the reference's keys, units and defaults (api-semantics §4). A limit of 0 is off unless said.

pub mod ignored;
pub mod symbolizer;
pub mod usage;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::TenantId;
use crate::units::GoDuration;
use symbolizer::Symbolizer;
use usage::{IngestionLimit, Sampling};

/// The end of an error that a limit has made: who may change that, and where.
pub fn raise(key: &str) -> String {
    format!(
        "; {key} allows more when it is raised, for all under limits or for the tenant in the overrides file"
    )
}

/// All limits of one tenant. Field names are the YAML keys under `limits:`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// MiB per second of labels and uncompressed profiles that a tenant may push.
    pub ingestion_rate_mb: f64,
    /// MiB that may be pushed at once.
    pub ingestion_burst_size_mb: f64,
    /// MiB of one request body, after decompression.
    pub ingestion_body_limit_mb: f64,
    /// Taken for Pyroscope's sake, and without effect: the profiles of a request are worked on one after the other.
    #[serde(deserialize_with = "whole::read")]
    pub push_max_concurrency: u32,
    /// Bytes of a label name.
    #[serde(deserialize_with = "whole::read")]
    pub max_label_name_length: usize,
    /// Bytes of a label value.
    #[serde(deserialize_with = "whole::read")]
    pub max_label_value_length: usize,
    /// Labels of a series; here 0 does not switch the limit off.
    #[serde(deserialize_with = "whole::read")]
    pub max_label_names_per_series: usize,
    /// Sessions kept apart in a series; 0 strips the session label.
    #[serde(deserialize_with = "whole::read")]
    pub max_sessions_per_series: u32,
    /// Accepts any non-empty UTF-8 label name as it is.
    pub disable_label_sanitization: bool,
    /// Taken for Pyroscope's sake, and without effect: labels are always sorted.
    pub enforce_labels_order: bool,
    /// Bytes of one uncompressed profile.
    #[serde(deserialize_with = "whole::read")]
    pub max_profile_size_bytes: usize,
    /// Samples of one profile.
    #[serde(deserialize_with = "whole::read")]
    pub max_profile_stacktrace_samples: usize,
    /// Labels of one sample.
    #[serde(deserialize_with = "whole::read")]
    pub max_profile_stacktrace_sample_labels: usize,
    /// Frames of one stack; deeper stacks lose their leaf side. Never more than 32768.
    #[serde(deserialize_with = "whole::read")]
    pub max_profile_stacktrace_depth: usize,
    /// Bytes of one string of a profile; longer ones keep their tail. Never more than 512 KiB.
    #[serde(deserialize_with = "whole::read")]
    pub max_profile_symbol_value_length: usize,
    /// Profiles older than this are refused.
    pub reject_older_than: GoDuration,
    /// Profiles further ahead than this are refused.
    pub reject_newer_than: GoDuration,
    /// Prometheus relabelling rules for series.
    pub ingestion_relabeling_rules: Vec<RelabelRule>,
    /// Where the built-in rules stand: `first`, `last` or `disabled`.
    pub ingestion_relabeling_default_rules_position: DefaultRulesPosition,
    /// Rules that drop sample types.
    pub sample_type_relabeling_rules: Vec<RelabelRule>,
    /// Groups of series that are counted apart: name (with `${labels.<name>}` for a value of the series) to selector.
    pub distributor_usage_groups: BTreeMap<String, String>,
    /// What of some usage groups is kept.
    pub distributor_sampling: Option<Sampling>,
    /// Of profiles that sampling leaves out, the totals are kept: without stacks, under the label `__sampled__="true"`.
    pub keep_stripped_profiles: bool,
    /// Queries count these totals, too.
    pub include_stripped_profiles: bool,
    /// A quota that is used up, or will be.
    pub ingestion_limit: Option<IngestionLimit>,
    /// Accepted requests take this long, a tenth more or less.
    pub ingestion_artificial_delay: GoDuration,
    /// Active series per ingester.
    #[serde(deserialize_with = "whole::read")]
    pub max_local_series_per_tenant: usize,
    /// Active series of the tenant over all ingesters.
    #[serde(deserialize_with = "whole::read")]
    pub max_global_series_per_tenant: usize,
    /// How far back a query may look.
    pub max_query_lookback: GoDuration,
    /// Cells that take the tenant's profiles; 0 is all of the cluster.
    #[serde(deserialize_with = "whole::read")]
    pub ingestion_tenant_shard_size: u32,
    /// How long a range a query may ask for.
    pub max_query_length: GoDuration,
    /// Taken for Pyroscope's sake, and without effect: tenants take turns at threads, see `querier.threads`.
    #[serde(deserialize_with = "whole::read")]
    pub max_query_parallelism: u32,
    /// Whether AnalyzeQuery answers.
    pub query_analysis_enabled: bool,
    /// Whether AnalyzeQuery counts series.
    pub query_analysis_series_enabled: bool,
    /// Nodes of a flame graph when the request does not say.
    #[serde(deserialize_with = "whole::read")]
    pub max_flamegraph_nodes_default: i64,
    /// Most nodes that a request may ask for.
    #[serde(deserialize_with = "whole::read")]
    pub max_flamegraph_nodes_max: i64,
    /// Applies the two limits above to merged pprof too.
    pub max_flamegraph_nodes_on_select_merge_profile: bool,
    /// Days and hours that published data is kept; 0 is for ever. Pyroscope 2 calls it `retention_period`.
    #[serde(alias = "retention_period")]
    pub compactor_blocks_retention_period: GoDuration,
    /// Periods of some profiles that are shorter than that of all.
    pub retention: Vec<RetentionRule>,
    /// Deletions that may wait to be carried out; 0 allows none.
    #[serde(deserialize_with = "whole::read")]
    pub max_pending_deletions: usize,
    /// How a bucket of S3 encrypts the tenant's objects: `SSE-S3`, `SSE-KMS`, `DSSE-KMS`; empty: as the bucket says.
    pub s3_sse_type: String,
    /// The key of KMS for it; empty: the account's own for S3.
    pub s3_sse_kms_key_id: String,
    /// Names for addresses of native programs, when a query is answered.
    #[serde(deserialize_with = "ignored::symbolizer")]
    pub symbolizer: Symbolizer,
}

impl TenantLimits {
    /// Bytes of the body of a request; `None`: as many as there are.
    pub fn ingestion_body_limit_bytes(&self) -> Option<usize> {
        let bytes = self.ingestion_body_limit_mb * 1_048_576.0;
        (bytes > 0.0).then_some(bytes as usize)
    }
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            ingestion_rate_mb: 4.0,
            ingestion_burst_size_mb: 2.0,
            ingestion_body_limit_mb: 256.0,
            push_max_concurrency: 256,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            max_label_names_per_series: 30,
            max_sessions_per_series: 0,
            disable_label_sanitization: true,
            enforce_labels_order: false,
            max_profile_size_bytes: 4 << 20,
            max_profile_stacktrace_samples: 16_000,
            max_profile_stacktrace_sample_labels: 100,
            max_profile_stacktrace_depth: 1000,
            max_profile_symbol_value_length: 65_535,
            reject_older_than: GoDuration::from_secs(3600),
            reject_newer_than: GoDuration::from_secs(600),
            ingestion_relabeling_rules: Vec::new(),
            ingestion_relabeling_default_rules_position: DefaultRulesPosition::First,
            sample_type_relabeling_rules: Vec::new(),
            distributor_usage_groups: BTreeMap::new(),
            distributor_sampling: None,
            keep_stripped_profiles: false,
            include_stripped_profiles: false,
            ingestion_limit: None,
            ingestion_artificial_delay: GoDuration::from_secs(0),
            max_local_series_per_tenant: 0,
            max_global_series_per_tenant: 5000,
            ingestion_tenant_shard_size: 0,
            max_query_lookback: GoDuration::from_secs(7 * 86_400),
            max_query_length: GoDuration::from_secs(86_400),
            max_query_parallelism: 0,
            query_analysis_enabled: true,
            query_analysis_series_enabled: false,
            max_flamegraph_nodes_default: 8192,
            max_flamegraph_nodes_max: 1_048_576,
            max_flamegraph_nodes_on_select_merge_profile: false,
            compactor_blocks_retention_period: GoDuration::from_secs(0),
            retention: Vec::new(),
            max_pending_deletions: 64,
            s3_sse_type: String::new(),
            s3_sse_kms_key_id: String::new(),
            symbolizer: Symbolizer::default(),
        }
    }
}

/// How long profiles of a selector are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Which profiles, as in queries.
    pub selector: String,
    /// How long; longer than zero.
    pub period: GoDuration,
}

/// Where the built-in relabelling rules stand among the configured ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultRulesPosition {
    /// Before them.
    First,
    /// After them.
    Last,
    /// Nowhere.
    Disabled,
}

/// One Prometheus relabelling rule, as in its configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelRule {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What joins them.
    pub separator: String,
    /// Matched against the joined value, anchored at both ends.
    pub regex: String,
    /// Used by `hashmod`.
    #[serde(deserialize_with = "whole::read")]
    pub modulus: u64,
    /// The label that is written.
    pub target_label: String,
    /// What is written; `$1` names a capture.
    pub replacement: String,
    /// What the rule does.
    pub action: RelabelAction,
}

impl Default for RelabelRule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// Prometheus' relabelling actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are Prometheus' and say what they do")]
pub enum RelabelAction {
    Replace,
    Keep,
    Drop,
    LabelMap,
    LabelDrop,
    LabelKeep,
    HashMod,
    Lowercase,
    Uppercase,
    KeepEqual,
    DropEqual,
}

const ACTIONS: [RelabelAction; 11] = [
    RelabelAction::Replace,
    RelabelAction::Keep,
    RelabelAction::Drop,
    RelabelAction::LabelMap,
    RelabelAction::LabelDrop,
    RelabelAction::LabelKeep,
    RelabelAction::HashMod,
    RelabelAction::Lowercase,
    RelabelAction::Uppercase,
    RelabelAction::KeepEqual,
    RelabelAction::DropEqual,
];
/// Their names, in the same order.
const ACTION_NAMES: &[&str] = &[
    "replace",
    "keep",
    "drop",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "hashmod",
    "lowercase",
    "uppercase",
    "keepequal",
    "dropequal",
];

/// By its name in capitals or small letters, as Prometheus takes it.
impl<'de> Deserialize<'de> for RelabelAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        let found = ACTION_NAMES.iter().position(|name| name.eq_ignore_ascii_case(&written));
        let action = found.and_then(|at| ACTIONS.get(at).copied());
        action.ok_or_else(|| D::Error::unknown_variant(&written, ACTION_NAMES))
    }
}

/// Gives the limits of a tenant as they are now.
pub trait LimitsSource: Send + Sync + std::fmt::Debug {
    /// The tenant's limits.
    fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits>;
}

/// The same limits for every tenant.
impl LimitsSource for Arc<TenantLimits> {
    fn limits(&self, _tenant: &TenantId) -> Arc<TenantLimits> {
        Self::clone(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_in_capitals_or_small_letters() {
        assert_eq!(ACTIONS.len(), ACTION_NAMES.len());
        for (action, name) in ACTIONS.into_iter().zip(ACTION_NAMES.iter().copied()) {
            assert_eq!(serde_json::to_value(action).expect("a name"), name);
            let capitals = name.to_uppercase();
            for written in [name, capitals.as_str()] {
                let read: RelabelAction = serde_json::from_value(written.into()).expect("known");
                assert_eq!(read, action, "{written}");
            }
        }
        let error = serde_json::from_value::<RelabelAction>("Dropp".into()).expect_err("a typo").to_string();
        assert!(error.contains("`Dropp`") && error.contains("`dropequal`"), "{error}");
    }
}
