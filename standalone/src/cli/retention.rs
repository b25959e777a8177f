//! `hearth admin retention`: what a tenant's retention lets go now. Looks only: the compactor does it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use hearth_block::merge::Expiry;
use hearth_catalog::{BlockEntry, Catalog};
use hearth_common::{Clock, LimitsSource, SystemClock, TenantId, TimeRange, TimestampNs};
use hearth_model::{Answer, Question, Tally};

use super::admin_args::StoreArgs;
use super::bucket::{bytes, newest, open_block, open_with_limits, tenants};
use super::time::moment;
use crate::term::print;

pub(super) fn run(args: &StoreArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (catalog, limits) = open_with_limits(args)?;
        let now = SystemClock::default().now();
        for tenant in tenants(&catalog, args.tenant.as_deref()).await? {
            let limits = limits.limits(&tenant);
            let view = newest(&catalog, &tenant).await?;
            let period = limits.compactor_blocks_retention_period;
            let going = hearth_compactor::expired_blocks(&view.blocks, now, period);
            let kept = if period.is_zero() { "for ever".to_owned() } else { format!("for {period}") };
            print(&format!("tenant {tenant}, root version {}: kept {kept}\n", view.version()))?;
            print(&about_blocks(&tenant, &going)?)?;
            let stays = |block: &&Arc<BlockEntry>| !going.iter().any(|gone| gone.id == block.id);
            let staying: Vec<_> = view.blocks.iter().filter(stays).cloned().collect();
            let expiries = hearth_catalog::expiries(&limits, now)?;
            for (rule, expiry) in limits.retention.iter().zip(&expiries) {
                print(&format!("rule {} kept for {}\n", rule.selector, rule.period))?;
                print(&about_rule(&catalog, &tenant, &staying, expiry).await?)?;
            }
        }
        Ok(())
    })
}

/// Blocks that go as a whole.
fn about_blocks(tenant: &TenantId, blocks: &[Arc<BlockEntry>]) -> Result<String> {
    let mut text = String::new();
    for block in blocks {
        let newest = moment(block.max_time.as_ms());
        let (size, folder) = (bytes(block.bytes()), block.folder(tenant));
        writeln!(text, "  {folder}  {} profiles, {size}, newest of {newest}", block.profiles)?;
    }
    let sum = |of: fn(&BlockEntry) -> u64| blocks.iter().map(|block| of(block)).sum::<u64>();
    let (profiles, size) = (sum(|block| block.profiles), bytes(sum(BlockEntry::bytes)));
    let count = blocks.len();
    writeln!(text, "  {count} blocks with {profiles} profiles, {size}, leave the root in the next round")?;
    Ok(text)
}

/// Profiles of a rule in blocks that stay otherwise.
async fn about_rule(
    catalog: &Catalog,
    tenant: &TenantId,
    blocks: &[Arc<BlockEntry>],
    expiry: &Expiry,
) -> Result<String> {
    let mut all = Tally::default();
    let (mut now, mut later) = (0u64, 0u64);
    for block in blocks.iter().filter(|block| block.min_time < expiry.before) {
        let tally = count(catalog, tenant, block, expiry).await;
        let tally = tally.with_context(|| format!("block {} cannot be read", block.folder(tenant)))?;
        if tally.counted.is_empty() {
            continue;
        }
        // As the compactor decides.
        let count = if block.max_time < expiry.before { &mut now } else { &mut later };
        *count += 1;
        all.merge(tally);
    }
    let mut text = String::new();
    let mut by_service: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for ((service, _), counted) in &all.counted {
        let sum = by_service.entry(service.clone()).or_default();
        *sum = (sum.0 + counted.profiles, sum.1 + counted.samples, sum.2 + counted.bytes);
    }
    for (service, (profiles, samples, size)) in by_service {
        let size = bytes(size);
        writeln!(text, "  {service:<28} {profiles:>12} profiles {samples:>14} samples, about {size}")?;
    }
    let before = moment(expiry.before.as_ms());
    writeln!(
        text,
        "  older than {before}: in {now} blocks that are written anew without them in the next round,"
    )?;
    writeln!(
        text,
        "  and in {later} blocks with younger profiles, which are when they are merged or all is older"
    )?;
    Ok(text)
}

async fn count(
    catalog: &Catalog,
    tenant: &TenantId,
    block: &Arc<BlockEntry>,
    expiry: &Expiry,
) -> Result<Tally> {
    let reader = open_block(catalog, tenant, block).await?;
    let end = TimestampNs(expiry.before.0.saturating_sub(1));
    let range = TimeRange { start: TimeRange::ALL.start, end };
    let question = Question::Tally { range, selector: expiry.selector.clone() };
    match reader.prepare(&question).await?.run()? {
        Answer::Tally(tally) => Ok(tally),
        _ => Ok(Tally::default()),
    }
}
