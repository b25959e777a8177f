//! What a distributor keeps for each tenant: rate limit, compiled rules, metric handles. All of it can be lost without harm, and
//! what is of tenants that have stopped pushing is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
/// A tenant that has pushed nothing for so long is forgotten, with its metrics, unless it would get back what its rate or a
/// quota does not allow yet.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// How often such tenants are looked for, by whichever request comes then …
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// … how many are forgotten at a time, as others wait for it …
const FORGOTTEN_AT_ONCE_MAX: usize = 64;
/// … and how soon the next are, when there are more.
const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The state of one tenant.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) bucket: Mutex<TokenBucket>,
    pub(crate) trickles: Mutex<Trickles>,
    pub(crate) metrics: TenantMetrics,
    rules: Mutex<Option<Arc<Compiled>>>,
    /// When it was asked for last, by the monotonic clock.
    used_at_ns: AtomicU64,
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
    fn new(tenant: &TenantId, metrics: &Metrics) -> Self {
        Self {
            bucket: Mutex::default(),
            trickles: Mutex::default(),
            metrics: metrics.tenant(tenant),
            rules: Mutex::default(),
            used_at_ns: AtomicU64::default(),
        }
    }

    /// Whether it makes no difference to the tenant when this is forgotten, and has not been needed for long.
    fn is_idle(&self, now: Duration) -> bool {
        let idle_ns = ns(now).saturating_sub(self.used_at_ns.load(Ordering::Relaxed));
        idle_ns >= ns(IDLE_MAX) && self.bucket.lock().is_full(now) && self.trickles.lock().are_over(now)
    }

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

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// All tenants.
#[derive(Debug, Default)]
pub(crate) struct TenantStates {
    states: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    /// When idle tenants are looked for next, by the monotonic clock.
    sweep_at_ns: AtomicU64,
}

impl TenantStates {
    /// The state of a tenant, made at its first push. `now` is monotonic time.
    pub(crate) fn of(
        &self,
        tenant: &TenantId,
        metrics: &Metrics,
        now: Duration,
    ) -> Result<Arc<Tenant>, Rejected> {
        self.forget_idle(metrics, now);
        if let Some(state) = self.states.read().get(tenant) {
            state.used_at_ns.store(ns(now), Ordering::Relaxed);
            return Ok(Arc::clone(state));
        }
        let mut states = self.states.write();
        if states.len() >= TENANTS_MAX && !states.contains_key(tenant) {
            metrics.tenants_refused.inc();
            let message = format!(
                "more than {TENANTS_MAX} tenants have pushed to this distributor within an hour: add distributors"
            );
            return Err(Rejected::exhausted(Reason::RateLimited, message));
        }
        let state = states.entry(tenant.clone()).or_insert_with(|| Arc::new(Tenant::new(tenant, metrics)));
        state.used_at_ns.store(ns(now), Ordering::Relaxed);
        let state = Arc::clone(state);
        metrics.tenants.set(states.len() as i64);
        Ok(state)
    }

    /// Forgets, now and then, tenants that have not pushed for long.
    fn forget_idle(&self, metrics: &Metrics, now: Duration) {
        let due_ns = self.sweep_at_ns.load(Ordering::Relaxed);
        let next_ns = ns(now.saturating_add(SWEEP_EVERY));
        // One of the requests that come at once does it.
        let is_due = ns(now) >= due_ns;
        let order = Ordering::Relaxed;
        if !is_due || self.sweep_at_ns.compare_exchange(due_ns, next_ns, order, order).is_err() {
            return;
        }
        let idle: Vec<TenantId> = {
            let states = self.states.read();
            let idle = states.iter().filter(|(_, state)| state.is_idle(now)).take(FORGOTTEN_AT_ONCE_MAX);
            idle.map(|(tenant, _)| tenant.clone()).collect()
        };
        if idle.is_empty() {
            return;
        }
        if idle.len() == FORGOTTEN_AT_ONCE_MAX {
            self.sweep_at_ns.store(ns(now.saturating_add(SWEEP_AGAIN_AFTER)), Ordering::Relaxed);
        }
        let mut states = self.states.write();
        for tenant in idle {
            // Nobody gets it while the lock is held; a request that has it may count with it, or it has come back meanwhile.
            let Some(state) = states.get(&tenant) else { continue };
            if Arc::strong_count(state) == 1 && state.is_idle(now) {
                state.metrics.remove();
                states.remove(&tenant);
            }
        }
        metrics.tenants.set(states.len() as i64);
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
        let tenant = states.of(&id, &Metrics::default(), Duration::ZERO).expect("room");
        let bad =
            RelabelRule { regex: "(".to_owned(), target_label: "x".to_owned(), ..RelabelRule::default() };
        let bad = Arc::new(TenantLimits { ingestion_relabeling_rules: vec![bad], ..TenantLimits::default() });
        let refused = tenant.rules(&id, &bad).expect_err("nothing former");
        assert!(refused.message.starts_with("the tenant's limits are not valid: relabelling rule 0"));
        let good = tenant.rules(&id, &Arc::new(TenantLimits::default())).expect("valid");
        assert!(Arc::ptr_eq(&good, &tenant.rules(&id, &bad).expect("the former")));
        assert!(Arc::ptr_eq(&good, &tenant.rules(&id, &Arc::new(TenantLimits::default())).expect("equal")));
    }

    /// A distributor's tenants and their metrics.
    struct World {
        states: TenantStates,
        metrics: Metrics,
        registry: prometheus_client::registry::Registry,
    }

    impl World {
        fn new() -> Self {
            let (metrics, mut registry) =
                (Metrics::default(), prometheus_client::registry::Registry::default());
            metrics.register(&mut registry);
            Self { states: TenantStates::default(), metrics, registry }
        }

        fn of(&self, tenant: &str, at_secs: u64) -> Result<Arc<Tenant>, Rejected> {
            let tenant = TenantId::parse(tenant).expect("valid");
            self.states.of(&tenant, &self.metrics, Duration::from_secs(at_secs))
        }

        /// Series of a tenant.
        fn series(&self, tenant: &str) -> usize {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("memory");
            text.lines().filter(|line| line.contains(&format!("tenant=\"{tenant}\""))).count()
        }
    }

    #[test]
    fn tenants_that_do_not_push_are_forgotten_with_their_series() {
        let world = World::new();
        let gone = world.of("gone", 0).expect("room");
        gone.metrics.of_type("process_cpu").samples.observe(1.0);
        gone.metrics.discard(Reason::InvalidLabels, 7);
        gone.metrics.group_received(&Arc::from("process_cpu"), "team", 7);
        gone.metrics.group_discarded(Reason::InvalidLabels, "team", 7);
        gone.metrics.received.inc();
        drop(gone);
        let held = world.of("held", 0).expect("room");
        world.of("alive", 0).expect("room");
        assert!(world.series("gone") > 0 && world.metrics.tenants.get() == 3);
        world.of("alive", 3599).expect("known");
        assert!(world.series("gone") > 0, "not idle for an hour");
        world.of("alive", 3700).expect("known");
        assert_eq!((world.series("gone"), world.metrics.tenants.get()), (0, 2));
        assert!(world.series("held") > 0 && world.series("alive") > 0);
        drop(held);
        world.of("alive", 3800).expect("known");
        assert_eq!((world.series("held"), world.metrics.tenants.get()), (0, 1));
        world.of("gone", 3800).expect("room").metrics.received.inc();
        assert!(world.series("gone") > 0, "it has come back");
    }

    #[test]
    fn what_a_tenant_has_used_up_is_not_forgotten() {
        let world = World::new();
        let slow = crate::ratelimit::Rate { limit_mb: 0.001, burst_mb: 10.0, replicas: 1 };
        let tenant = world.of("a", 0).expect("room");
        tenant.bucket.lock().take(10 << 20, slow, Duration::ZERO).expect("full");
        drop(tenant);
        world.of("b", 5000).expect("room");
        assert_eq!(world.metrics.tenants.get(), 2, "its rate gives it nothing yet");
        world.of("b", 10_001).expect("known");
        assert_eq!(world.metrics.tenants.get(), 1);
    }

    #[test]
    fn there_is_room_again_once_others_are_forgotten() {
        let world = World::new();
        let many = FORGOTTEN_AT_ONCE_MAX + 1;
        for at in 0..many {
            world.of(&format!("t{at}"), 0).expect("room");
        }
        world.of("new", 4000).expect("room");
        assert_eq!(world.metrics.tenants.get(), 2, "one is left for the next time");
        world.of("new", 4000).expect("known");
        assert_eq!(world.metrics.tenants.get(), 2);
        world.of("new", 4001).expect("known");
        assert_eq!(world.metrics.tenants.get(), 1);
        let mut states = world.states.states.write();
        let state = Arc::new(Tenant::new(&TenantId::anonymous(), &world.metrics));
        for at in states.len()..TENANTS_MAX {
            states.insert(TenantId::parse(&format!("u{at}")).expect("valid"), Arc::clone(&state));
        }
        drop(states);
        let refused = world.of("one_more", 4002).expect_err("too many");
        assert!(refused.message.contains("65536 tenants"), "{}", refused.message);
        assert_eq!((refused.reason, world.metrics.tenants_refused.get()), (Reason::RateLimited, 1));
        world.of("new", 4002).expect("known");
    }
}
