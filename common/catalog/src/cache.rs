//! What is known of each tenant's newest root, bounded by bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{TenantId, TimestampNs};
use parking_lot::Mutex;

use crate::view::RootView;

/// Most tenants that are remembered, whatever their size.
const TENANTS_MAX: usize = 100_000;

/// What a look at the store found.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The newest root; `None`: the tenant has none.
    pub(crate) view: Option<Arc<RootView>>,
    /// When it was the newest: monotonic and wall clock (a suspended machine stops the former).
    pub(crate) at: (Duration, TimestampNs),
}

/// A tenant's slot; the locks make one task look or commit for all of this process.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    known: Mutex<Option<Known>>,
    pub(crate) looking: tokio::sync::Mutex<()>,
    pub(crate) committing: tokio::sync::Mutex<()>,
}

impl Slot {
    pub(crate) fn known(&self) -> Option<Known> {
        self.known.lock().clone()
    }
}

#[derive(Debug)]
pub(crate) struct Cache {
    limit_bytes: u64,
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    slots: HashMap<TenantId, (Arc<Slot>, u64)>,
    uses: u64,
    bytes: u64,
}

impl Cache {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, tenants: Mutex::default() }
    }

    /// The tenant's slot; counts as a use.
    pub(crate) fn slot(&self, tenant: &TenantId) -> Arc<Slot> {
        let mut tenants = self.tenants.lock();
        tenants.uses += 1;
        let uses = tenants.uses;
        let (slot, used) = tenants.slots.entry(tenant.clone()).or_default();
        *used = uses;
        Arc::clone(slot)
    }

    /// Remembers what was found, unless something newer is known, and forgets the tenants not used for longest until the
    /// rest fits. Returns what is known now.
    pub(crate) fn learn(&self, tenant: &TenantId, known: Known) -> Known {
        let mut tenants = self.tenants.lock();
        tenants.uses += 1;
        let uses = tenants.uses;
        let (slot, used) = tenants.slots.entry(tenant.clone()).or_default();
        *used = uses;
        let slot = Arc::clone(slot);
        let version = |known: &Known| known.view.as_ref().map_or(0, |v| v.version());
        let size = |known: &Known| known.view.as_ref().map_or(0, |v| v.bytes);
        let now = {
            let mut held = slot.known.lock();
            let newer = held.as_ref().filter(|held| version(held) > version(&known));
            let now = newer.cloned().unwrap_or(known);
            tenants.bytes = tenants.bytes + size(&now) - held.as_ref().map_or(0, size);
            *held = Some(now.clone());
            now
        };
        tenants.shrink(self.limit_bytes, tenant);
        now
    }
}

impl Tenants {
    fn shrink(&mut self, limit_bytes: u64, keep: &TenantId) {
        while (self.bytes > limit_bytes || self.slots.len() > TENANTS_MAX) && self.slots.len() > 1 {
            // A slot that somebody holds may be in the middle of a commit: its locks must stay the only ones.
            let free = |slot: &Arc<Slot>| Arc::strong_count(slot) == 1;
            let oldest = self.slots.iter().filter(|(t, (slot, _))| *t != keep && free(slot));
            let Some(oldest) = oldest.min_by_key(|(_, (_, used))| *used).map(|(t, _)| t.clone()) else {
                return;
            };
            if let Some((slot, _)) = self.slots.remove(&oldest) {
                self.bytes -= slot.known().and_then(|k| k.view).map_or(0, |v| v.bytes);
            }
        }
    }
}
