//! What expires, what is an orphan, what is due. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hearth_catalog::{BlockEntry, Condemned, RootView, StoredPath, block_path, page_key};
use hearth_common::units::GoDuration;
use hearth_common::{TenantId, TimestampNs};

/// Paths condemned by one commit: bounds the root.
const CONDEMN_MAX: usize = 10_000;
/// Paths deleted by one run.
const DELETE_MAX: usize = 10_000;

fn older(then: TimestampNs, now: TimestampNs, than: Duration) -> bool {
    i128::from(now.0) - i128::from(then.0) > than.as_nanos() as i128
}

/// Blocks whose every profile is older than the retention period, as many as go at once; none if that is zero.
pub fn expired_blocks(
    blocks: &[Arc<BlockEntry>],
    now: TimestampNs,
    retention: GoDuration,
) -> Vec<Arc<BlockEntry>> {
    if retention.is_zero() {
        return Vec::new();
    }
    let expired = blocks.iter().filter(|block| older(block.max_time, now, retention.0));
    expired.take(CONDEMN_MAX).cloned().collect()
}

/// Stored blocks and pages that the newest root does not name, is not deleting already, and that are older than the grace.
pub(crate) fn orphans(
    tenant: &TenantId,
    view: &RootView,
    stored: &[StoredPath],
    now: TimestampNs,
    grace: Duration,
) -> Vec<String> {
    let blocks = view.blocks.iter().map(|block| block_path(tenant, block));
    let pages = view.root.pages.iter().map(|(day, page)| page_key(tenant, *day, page.unique));
    let named: HashSet<String> = blocks.chain(pages).collect();
    let orphan = |s: &&StoredPath| {
        !named.contains(&s.path) && !view.root.condemned.contains_key(&s.path) && older(s.written, now, grace)
    };
    stored.iter().filter(orphan).take(CONDEMN_MAX).map(|s| s.path.clone()).collect()
}

/// Condemned paths whose delay is over.
pub(crate) fn due(condemned: &BTreeMap<String, Condemned>, now: TimestampNs, delay: Duration) -> Vec<String> {
    let due = condemned.iter().filter(|(_, c)| older(c.since, now, delay));
    due.take(DELETE_MAX).map(|(path, _)| path.clone()).collect()
}
