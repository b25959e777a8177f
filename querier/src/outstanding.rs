//! Queries of each tenant that are not answered yet: so many, and no more.

use std::collections::HashMap;

use hearth_common::TenantId;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::QueryError;

/// Queries of one tenant at one querier; the next is refused.
pub(crate) const OUTSTANDING_MAX: usize = 100;

/// All queries under way.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    tenants: Mutex<HashMap<TenantId, usize>>,
    queries: Gauge,
    refused: Counter,
}

/// One of them; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    of: &'a Outstanding,
    tenant: TenantId,
}

impl Outstanding {
    /// Counts a query, or refuses it.
    pub(crate) fn enter(&self, tenant: &TenantId) -> Result<Entered<'_>, QueryError> {
        let mut tenants = self.tenants.lock();
        let count = tenants.entry(tenant.clone()).or_default();
        if *count >= OUTSTANDING_MAX {
            self.refused.inc();
            return Err(QueryError::Outstanding);
        }
        *count += 1;
        self.queries.inc();
        Ok(Entered { of: self, tenant: tenant.clone() })
    }

    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        let help = "Queries that are being answered, one for each tenant of a query";
        registry.register("pyroscope_query_frontend_queries_in_progress", help, self.queries.clone());
        let help = "Queries refused because too many of the tenant were being answered";
        registry.register("hearth_querier_outstanding_refused", help, self.refused.clone());
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.of.queries.dec();
        let mut tenants = self.of.tenants.lock();
        if let Some(count) = tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_too_many_does_not_touch_another() {
        let (outstanding, a) = (Outstanding::default(), TenantId::parse("a").expect("valid"));
        let mut held: Vec<_> = (0..OUTSTANDING_MAX).map(|_| outstanding.enter(&a).expect("room")).collect();
        assert!(matches!(outstanding.enter(&a), Err(QueryError::Outstanding)));
        assert!(outstanding.enter(&TenantId::parse("b").expect("valid")).is_ok());
        held.pop();
        assert!(outstanding.enter(&a).is_ok());
        drop(held);
        assert!(outstanding.tenants.lock().is_empty());
        assert_eq!((outstanding.queries.get(), outstanding.refused.get()), (0, 1));
    }
}
