//! `hearth admin bucket`: looks at an object store from outside, without a server; checks it; makes a lost root again.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hearth_block::{BlockError, BlockReader};
use hearth_catalog::{Audit, BlockEntry, Catalog, Finding, RootView};
use hearth_common::{TenantId, TimestampNs};
use hearth_compactor::verify_block;
use hearth_node::CommonArgs;
use hearth_settings::{Settings, TenantOverrides};

use super::admin_args::{BucketArgs, BucketCommand, InspectArgs, RebuildArgs, StoreArgs, VerifyArgs};
use super::open_data;
use super::time::date;
use crate::serve;
use crate::term::{self, print};

pub(super) fn run(args: &BucketArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            BucketCommand::Ls(store) => ls(store).await,
            BucketCommand::Inspect(args) => inspect(args).await,
            BucketCommand::Verify(args) => verify(args).await,
            BucketCommand::RebuildRoot(args) => rebuild(args).await,
            BucketCommand::Open(args) => open_data::open(args).await,
        }
    })
}

/// The store that settings and flags name. A folder must be there: a typing error must not create one.
fn open(args: &StoreArgs) -> Result<Arc<Catalog>> {
    Ok(open_settings(args)?.0)
}

/// The same, and the limits of its tenants.
pub(super) fn open_with_limits(args: &StoreArgs) -> Result<(Arc<Catalog>, TenantOverrides)> {
    let (catalog, settings) = open_settings(args)?;
    Ok((catalog, hearth_node::limits(&settings)?))
}

/// The same, and all settings.
pub(super) fn open_settings(args: &StoreArgs) -> Result<(Arc<Catalog>, Settings)> {
    let common = CommonArgs {
        data_dir: args.data_dir.clone(),
        config: args.config.clone(),
        object_store: args.object_store.clone(),
        set: args.set.clone(),
        ..CommonArgs::default()
    };
    let settings = serve::load_settings(&common)?.settings;
    let url = settings.object_store_url();
    let folder = url.strip_prefix("file://").or_else(|| url.starts_with('/').then_some(url.as_str()));
    if let Some(folder) = folder
        && !Path::new(folder).is_dir()
    {
        bail!("there is no folder {folder}: name the store with --object-store, or the data with --data-dir");
    }
    Ok((hearth_node::bucket(&settings)?, settings))
}

/// The tenant that is named, else all.
pub(super) async fn tenants(catalog: &Catalog, named: Option<&str>) -> Result<Vec<TenantId>> {
    let Some(named) = named else { return Ok(catalog.tenants().await?) };
    let tenant = TenantId::parse(named).with_context(|| format!("--tenant {named}"))?;
    if !catalog.tenants().await?.contains(&tenant) {
        bail!("the store has no tenant '{named}'");
    }
    Ok(vec![tenant])
}

pub(super) fn bytes(count: u64) -> String {
    term::humanise(i64::try_from(count).unwrap_or(i64::MAX), "bytes")
}

/// A block of a tenant, to be asked.
pub(super) async fn open_block(
    catalog: &Catalog,
    tenant: &TenantId,
    block: &Arc<BlockEntry>,
) -> Result<BlockReader, BlockError> {
    let folder = block.folder(tenant);
    let objects = |object: &str| {
        let bytes = block.object(object).map(|object| object.bytes);
        catalog.store().range_reader(format!("{folder}/{object}"), bytes)
    };
    BlockReader::open(Arc::clone(block), objects).await
}

pub(super) async fn newest(catalog: &Catalog, tenant: &TenantId) -> Result<Arc<RootView>> {
    let view = catalog.newest(tenant, std::time::Duration::ZERO).await;
    let view = view.with_context(|| format!("the root of tenant {tenant} cannot be read"))?;
    Ok(view.unwrap_or_else(|| Arc::new(RootView::empty())))
}

async fn ls(args: &StoreArgs) -> Result<()> {
    let catalog = open(args)?;
    let mut text = format!(
        "{:<24} {:>8} {:>8} {:>12} {:>12} {:>10}  first day   last day\n",
        "tenant", "root", "blocks", "profiles", "samples", "size"
    );
    for tenant in tenants(&catalog, args.tenant.as_deref()).await? {
        let view = newest(&catalog, &tenant).await?;
        let sum = |of: fn(&BlockEntry) -> u64| view.blocks.iter().map(|block| of(block)).sum::<u64>();
        let days = view.blocks.iter().map(|block| block.day);
        let day = |day: Option<i32>| day.map_or_else(|| "-".to_owned(), date);
        writeln!(
            text,
            "{:<24} {:>8} {:>8} {:>12} {:>12} {:>10}  {:<10}  {}",
            tenant.to_string(),
            view.version(),
            view.blocks.len(),
            sum(|b| b.profiles),
            sum(|b| b.samples),
            bytes(sum(BlockEntry::bytes)),
            day(days.clone().min()),
            day(days.max())
        )?;
    }
    print(&text)
}

async fn inspect(args: &InspectArgs) -> Result<()> {
    let catalog = open(&args.store)?;
    let named = args.store.tenant.as_deref().context("name a tenant with --tenant")?;
    let tenant = tenants(&catalog, Some(named)).await?.remove(0);
    let view = newest(&catalog, &tenant).await?;
    let Some(wanted) = &args.block else { return print(&about_root(&view)?) };
    let is_wanted = |block: &&Arc<BlockEntry>| {
        block.id.to_string() == *wanted || block.folder(&tenant) == wanted.trim_end_matches('/')
    };
    let Some(block) = view.blocks.iter().find(is_wanted) else {
        bail!("version {} of the root names no block '{wanted}'", view.version());
    };
    print(&about_block(&tenant, block)?)
}

fn about_root(view: &RootView) -> Result<String> {
    let root = &view.root;
    let mut text = format!("root version {}\n", root.version);
    for (day, page) in &root.pages {
        writeln!(text, "\nday {} (page {day}-{:032x}, {})", date(*day), page.unique, bytes(page.bytes))?;
        for block in view.blocks.iter().filter(|block| block.day == *day) {
            writeln!(
                text,
                "  {} level {} {:>9} profiles {:>10}  {} … {}",
                block.id,
                block.level,
                block.profiles,
                bytes(block.bytes()),
                block.first_service,
                block.last_service
            )?;
        }
    }
    writeln!(text, "\npublished of each journal")?;
    for (journal, upto) in root.coverage.positions() {
        writeln!(text, "  {journal} up to {}", upto.0)?;
    }
    for (owner, upto) in root.coverage.drained() {
        writeln!(text, "  {owner} whole, up to its life {}", upto.0)?;
    }
    for tombstone in &root.tombstones {
        let blocks = tombstone.blocks.len();
        writeln!(
            text,
            "deletion {:032x}: {} in {blocks} blocks not applied",
            tombstone.id, tombstone.selector
        )?;
    }
    writeln!(text, "{} paths are condemned", root.condemned.len())?;
    Ok(text)
}

fn about_block(tenant: &TenantId, block: &BlockEntry) -> Result<String> {
    let mut text = format!("{}\n", block.folder(tenant));
    let time = |at: TimestampNs| format!("{} ms", at.as_ms());
    writeln!(text, "  format    {}, level {}, day {}", block.format, block.level, date(block.day))?;
    writeln!(text, "  times     {} to {}", time(block.min_time), time(block.max_time))?;
    writeln!(text, "  services  {} … {}", block.first_service, block.last_service)?;
    writeln!(
        text,
        "  holds     {} profiles, {} sample rows, {} series, {} units",
        block.profiles, block.samples, block.series, block.units
    )?;
    for ty in &block.types {
        writeln!(text, "  type      {ty}")?;
    }
    for object in &block.objects {
        writeln!(text, "  object    {} {} crc32c {:08x}", object.name, bytes(object.bytes), object.crc32c)?;
    }
    for source in &block.sources {
        writeln!(text, "  from      {} {} to {}", source.journal, source.after.0 + 1, source.upto.0)?;
    }
    Ok(text)
}

async fn verify(args: &VerifyArgs) -> Result<()> {
    let catalog = open(&args.store)?;
    let mut damaged = 0;
    for tenant in tenants(&catalog, args.store.tenant.as_deref()).await? {
        let mut audit = catalog.audit(&tenant).await?;
        if !args.quick {
            verify_blocks(&catalog, &tenant, &mut audit, args.block_memory.0).await?;
        }
        settle(&catalog, &tenant, &mut audit).await;
        print(&about_audit(&tenant, &audit, args.quick)?)?;
        damaged += audit.findings.len();
    }
    if damaged > 0 {
        bail!("{damaged} objects or blocks are damaged");
    }
    Ok(())
}

async fn verify_blocks(
    catalog: &Catalog,
    tenant: &TenantId,
    audit: &mut Audit,
    whole_max_bytes: u64,
) -> Result<()> {
    let bar = term::bar(audit.blocks.len() as u64, "blocks");
    for block in audit.blocks.clone() {
        let folder = format!("{}/", block.folder(tenant));
        let is_known = audit.findings.iter().any(|finding| finding.path.starts_with(&folder));
        // What is missing or has another length needs no reading.
        if !is_known && let Some(finding) = verify_block(catalog, tenant, &block, whole_max_bytes).await? {
            audit.findings.push(finding);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A compaction may have replaced a block, and collection deleted it, while it was read: what the newest root does not name
/// any more is no damage.
async fn settle(catalog: &Catalog, tenant: &TenantId, audit: &mut Audit) {
    let moved = |view: &Arc<RootView>| view.version() != audit.version;
    // A root that cannot be read is among the findings.
    let view = catalog.newest(tenant, std::time::Duration::ZERO).await.ok().flatten();
    let Some(view) = view.filter(moved) else { return };
    let stale = |finding: &Finding| {
        let of_block = |block: &Arc<BlockEntry>| {
            let folder = format!("{}/", block.folder(tenant));
            finding.path.starts_with(&folder)
        };
        audit.blocks.iter().any(of_block) && !view.blocks.iter().any(of_block)
    };
    let kept = audit.findings.iter().filter(|finding| !stale(finding)).cloned().collect();
    audit.findings = kept;
}

fn about_audit(tenant: &TenantId, audit: &Audit, quick: bool) -> Result<String> {
    let mut text = String::new();
    let read: u64 = audit.blocks.iter().map(|block| block.bytes()).sum();
    let how = if quick { "listed" } else { "read and checked" };
    writeln!(
        text,
        "tenant {tenant}: root version {} of {} kept, {} pages, {} blocks with {} {how}",
        audit.version,
        audit.versions,
        audit.pages,
        audit.blocks.len(),
        bytes(read)
    )?;
    if audit.unnamed > 0 {
        writeln!(
            text,
            "  {} blocks or pages with {} are named by no root (uploads on their way, or garbage that the compactor collects)",
            audit.unnamed,
            bytes(audit.unnamed_bytes)
        )?;
    }
    for Finding { path, what } in &audit.findings {
        writeln!(text, "  DAMAGED {path}: {what}")?;
    }
    if audit.findings.is_empty() {
        writeln!(text, "  sound")?;
    }
    Ok(text)
}

async fn rebuild(args: &RebuildArgs) -> Result<()> {
    let catalog = open(&args.store)?;
    let named = args.store.tenant.as_deref().context("name a tenant with --tenant")?;
    let tenant = tenants(&catalog, Some(named)).await?.remove(0);
    let rebuilt = catalog.rebuild(&tenant, args.write).await?;
    let mut text = String::new();
    let base =
        rebuilt.base.map_or_else(|| "from nothing".to_owned(), |version| format!("from version {version}"));
    let verb = if rebuilt.written { "wrote" } else { "would write" };
    writeln!(
        text,
        "{verb} version {} of tenant {tenant} {base}: {} blocks with {} profiles",
        rebuilt.version, rebuilt.blocks, rebuilt.profiles
    )?;
    for Finding { path, what } in &rebuilt.lost {
        writeln!(text, "  {path}: {what}")?;
    }
    match rebuilt.written {
        true => {
            writeln!(text, "start all processes of the cluster again: they remember the damaged version")?
        }
        false => writeln!(text, "stop all processes that use this store, then run it again with --write")?,
    }
    print(&text)
}
