//! What is stored of each tenant, as of its root when the compactor went over it last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_catalog::BlockEntry;
use hearth_common::TenantId;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `user`, as the reference names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    user: Arc<str>,
    compaction_level: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    tenant: Arc<str>,
}

/// Levels of each tenant.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    blocks: Family<OfLevel, Gauge>,
    bytes: Family<OfTenant, Gauge>,
    profiles: Family<OfTenant, Gauge>,
    /// Levels of blocks that are exposed of a tenant.
    known: Mutex<BTreeMap<Arc<str>, BTreeSet<u8>>>,
}

impl Stored {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Blocks of a tenant's root, by how often they were merged";
        registry.register("pyroscope_bucket_blocks_count", help, self.blocks.clone());
        let registry = registry.sub_registry_with_prefix("hearth_compactor");
        registry.register("stored_bytes", "Bytes of the blocks of a tenant's root", self.bytes.clone());
        let help = "Profile rows of the blocks of a tenant's root";
        registry.register("stored_profiles", help, self.profiles.clone());
    }

    /// Takes the blocks of a tenant.
    pub(crate) fn set(&self, tenant: &TenantId, blocks: &[Arc<BlockEntry>]) {
        let user: Arc<str> = Arc::from(tenant.as_str());
        let mut levels: BTreeMap<u8, usize> = BTreeMap::new();
        for block in blocks {
            *levels.entry(block.level).or_default() += 1;
        }
        let mut known = self.known.lock();
        let before = known.insert(Arc::clone(&user), levels.keys().copied().collect()).unwrap_or_default();
        for compaction_level in before.into_iter().filter(|level| !levels.contains_key(level)) {
            self.blocks.remove(&OfLevel { user: Arc::clone(&user), compaction_level });
        }
        for (compaction_level, count) in levels {
            let label = OfLevel { user: Arc::clone(&user), compaction_level };
            self.blocks.get_or_create(&label).set(level(count as u64));
        }
        let label = OfTenant { tenant: user };
        self.bytes.get_or_create(&label).set(level(blocks.iter().map(|block| block.bytes()).sum()));
        self.profiles.get_or_create(&label).set(level(blocks.iter().map(|block| block.profiles).sum()));
    }

    /// Forgets tenants that are not there any more.
    pub(crate) fn keep_only(&self, tenants: &[TenantId]) {
        let there: BTreeSet<&str> = tenants.iter().map(TenantId::as_str).collect();
        self.known.lock().retain(|user, levels| {
            let stays = there.contains(&**user);
            if !stays {
                for compaction_level in levels.iter().copied() {
                    self.blocks.remove(&OfLevel { user: Arc::clone(user), compaction_level });
                }
                let label = OfTenant { tenant: Arc::clone(user) };
                self.bytes.remove(&label);
                self.profiles.remove(&label);
            }
            stays
        });
    }
}

fn level(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
