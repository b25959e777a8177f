//! What a distributor keeps for each tenant: rate limit, compiled rules, metric handles. All of it can be lost without harm.

use std::sync::Arc;

use hashbrown::HashMap;
use hearth_common::limits::DefaultRulesPosition;
use hearth_common::{TenantId, TenantLimits};
use parking_lot::{Mutex, RwLock};

use crate::metrics::{Metrics, TenantMetrics};
use crate::ratelimit::TokenBucket;
use crate::reject::{Reason, Rejected};
use crate::relabel::{InvalidRule, Rules};
use crate::usage::{InvalidGroup, Trickles, UsageGroups};

/// Tenants that one distributor knows at once.
const TENANTS_MAX: usize = 1 << 16;

/// The state of one tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) bucket: Mutex<TokenBucket>,
    pub(crate) trickles: Mutex<Trickles>,
    pub(crate) metrics: TenantMetrics,
    rules: Mutex<Option<Arc<Compiled>>>,
}

/// The rules of a tenant, compiled, with the limits that they came from.
#[derive(Debug)]
pub(crate) struct Compiled {
    limits: Arc<TenantLimits>,
    pub(crate) series: Rules,
    pub(crate) sample_types: Option<Rules>,
    pub(crate) usage_groups: UsageGroups,
}

/// Rules of a tenant that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRules {
    /// Of relabelling.
    #[error(transparent)]
    Relabel(#[from] InvalidRule),
    /// Of usage groups.
    #[error(transparent)]
    Group(#[from] InvalidGroup),
}

impl Compiled {
    fn new(limits: &Arc<TenantLimits>) -> Result<Self, InvalidRules> {
        let position = limits.ingestion_relabeling_default_rules_position;
        let types = &limits.sample_type_relabeling_rules;
        Ok(Self {
            limits: Arc::clone(limits),
            series: Rules::compile(&limits.ingestion_relabeling_rules, position)?,
            sample_types: match types.is_empty() {
                true => None,
                false => Some(Rules::compile(types, DefaultRulesPosition::Disabled)?),
            },
            usage_groups: UsageGroups::compile(&limits.distributor_usage_groups)?,
        })
    }

    fn fits(&self, limits: &Arc<TenantLimits>) -> bool {
        let (a, b) = (&*self.limits, &**limits);
        Arc::ptr_eq(&self.limits, limits)
            || (a.ingestion_relabeling_rules == b.ingestion_relabeling_rules
                && a.sample_type_relabeling_rules == b.sample_type_relabeling_rules
                && a.distributor_usage_groups == b.distributor_usage_groups
                && a.ingestion_relabeling_default_rules_position
                    == b.ingestion_relabeling_default_rules_position)
    }
}

impl Tenant {
    /// The rules of these limits. Rules that do not compile leave the former ones in place, as a failed reload does.
    pub(crate) fn rules(
        &self,
        tenant: &TenantId,
        limits: &Arc<TenantLimits>,
    ) -> Result<Arc<Compiled>, Rejected> {
        let mut kept = self.rules.lock();
        if let Some(compiled) = kept.as_ref().filter(|compiled| compiled.fits(limits)) {
            return Ok(Arc::clone(compiled));
        }
        match Compiled::new(limits) {
            Ok(compiled) => Ok(Arc::clone(kept.insert(Arc::new(compiled)))),
            Err(error) => {
                tracing::error!(%tenant, %error, "rules of relabelling or of usage groups are not valid; the former ones stay");
                kept.clone().ok_or_else(|| Rejected {
                    kind: hearth_common::ErrorKind::FailedPrecondition,
                    reason: Reason::Unknown,
                    message: format!("the tenant's limits are not valid: {error}"),
                })
            }
        }
    }
}

/// All tenants.
#[derive(Debug, Default)]
pub(crate) struct TenantStates {
    states: RwLock<HashMap<TenantId, Arc<Tenant>>>,
}

impl TenantStates {
    /// The state of a tenant, made at its first push.
    pub(crate) fn of(&self, tenant: &TenantId, metrics: &Metrics) -> Result<Arc<Tenant>, Rejected> {
        if let Some(state) = self.states.read().get(tenant) {
            return Ok(Arc::clone(state));
        }
        let mut states = self.states.write();
        if states.len() >= TENANTS_MAX && !states.contains_key(tenant) {
            let message =
                format!("more than {TENANTS_MAX} tenants push to this distributor: add distributors");
            return Err(Rejected::exhausted(Reason::RateLimited, message));
        }
        let state = states.entry(tenant.clone()).or_insert_with(|| {
            Arc::new(Tenant {
                bucket: Mutex::default(),
                trickles: Mutex::default(),
                metrics: metrics.tenant(tenant),
                rules: Mutex::default(),
            })
        });
        Ok(Arc::clone(state))
    }
}

#[cfg(test)]
mod tests {
    use hearth_common::limits::RelabelRule;

    use super::*;

    #[test]
    fn bad_rules_leave_the_former_ones() {
        let states = TenantStates::default();
        let id = TenantId::anonymous();
        let tenant = states.of(&id, &Metrics::default()).expect("room");
        let bad =
            RelabelRule { regex: "(".to_owned(), target_label: "x".to_owned(), ..RelabelRule::default() };
        let bad = Arc::new(TenantLimits { ingestion_relabeling_rules: vec![bad], ..TenantLimits::default() });
        let refused = tenant.rules(&id, &bad).expect_err("nothing former");
        assert!(refused.message.starts_with("the tenant's limits are not valid: relabelling rule 0"));
        let good = tenant.rules(&id, &Arc::new(TenantLimits::default())).expect("valid");
        assert!(Arc::ptr_eq(&good, &tenant.rules(&id, &bad).expect("the former")));
        assert!(Arc::ptr_eq(&good, &tenant.rules(&id, &Arc::new(TenantLimits::default())).expect("equal")));
    }
}
