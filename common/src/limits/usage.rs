//! Limits of the ingest path by usage group: who pushes how much, and what of it is kept (api-semantics §3.3, §3.10, §4.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::GoDuration;

/// `distributor_sampling`: of some usage groups a share of the profiles is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// By the group's name, as in `distributor_usage_groups`.
    pub usage_groups: BTreeMap<String, GroupSampling>,
}

/// What of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSampling {
    /// 0: nothing, 1: all.
    pub probability: f64,
}

/// `ingestion_limit`: a quota of a tenant for a period, kept by somebody outside, who writes here when it is used up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestionLimit {
    /// Name of the period, such as `hour` or `month`: for the message.
    pub period_type: String,
    /// MiB of a period.
    #[serde(deserialize_with = "super::whole::read")]
    pub period_limit_mb: u64,
    /// When the next period begins, seconds since 1970.
    #[serde(deserialize_with = "super::whole::read")]
    pub limit_reset_time: i64,
    /// Nothing more is taken, but for `sampling`.
    pub limit_reached: bool,
    /// What is taken although the limit is reached.
    pub sampling: Trickle,
    /// Quotas of usage groups.
    pub usage_groups: BTreeMap<String, GroupLimit>,
}

/// So many profiles are taken in each period although a limit is reached; by each distributor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trickle {
    /// Profiles; 0: none.
    #[serde(deserialize_with = "super::whole::read")]
    pub num_requests: u32,
    /// Of this length; 0: none are taken.
    pub period: GoDuration,
}

/// The quota of a usage group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupLimit {
    /// MiB of a period.
    #[serde(deserialize_with = "super::whole::read")]
    pub period_limit_mb: u64,
    /// Nothing more of the group is taken.
    pub limit_reached: bool,
}
